"""Positions that become owed, or are owed no longer, by the calendar and by Kiva's list: no row of the MIS changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.config.settings import Settings
from kiva_relay.outbox import closing, meta, mirror, query, table, watermark
from kiva_relay.outbox import report as reports
from kiva_relay.outbox.entry import LATE, Entry, of
from kiva_relay.outbox.state import State
from kiva_relay.report import calendar
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource import refusal, window

CLOSED = "window_closed"

_CHUNK = 500
_entry = table.entry.c
# Asked at each look at the MIS.
_IN_DOUBT = (
    sa.select(*query.LIGHT)
    .where(_entry.resource == "repayment", _entry.state == State.IN_DOUBT.value)
    .order_by(_entry.id)
)
_STATUSES = ", ".join(repr(status) for status in mirror.EXPECTED)
# By the partial index `entry_position`: its condition has to stand here word by word. By the loan's number at Kiva:
# joined to nothing, its status serves no index, and no part is sorted again.
_WITHOUT_AN_ENTRY = sa.text(
    "SELECT m.kiva_id, m.loan_id FROM mirror m"  # noqa: S608 - our own words
    f" WHERE m.kiva_id > :after AND m.status || '' IN ({_STATUSES}) AND NOT EXISTS ("
    "SELECT 1 FROM entry e WHERE e.resource = 'repayment' AND e.state <> 'superseded' AND e.loan_id = m.loan_id"
    " AND e.period = :period AND e.state <> 'withdrawn') ORDER BY m.kiva_id LIMIT :most"
)


def turn(
    tx: Connection,
    report: window.RepaymentReport,
    *,
    settings: Settings,
    aliases: Mapping[str, str],
    now: datetime,
    known: meta.Known | None = None,
) -> None:
    """Mark the positions to be computed, and end what was not sent, or is unknown, when its report closed.

    Args:
        tx: a writing transaction of the outbox.
        report: the repayment report of `now`.
        settings: those in force.
        aliases: ids that were typed by hand at Kiva, and the MIS's own id of the same loan.
        now: with a zone.
        known: what `meta.REPORT` and `meta.EXPECTED` are; asked for where nobody did.
    """
    known = known or meta.known(tx, meta.REPORT, meta.EXPECTED)
    is_another = known.of(meta.REPORT) != report.stamp
    # First the report, then its positions: its lines say what each of them waited for.
    if not calendar.turn(tx, settings, report, now=now):
        return
    _close(tx, report, also_refused=is_another, settle_after=settings.delivery.settle_after, now=now)
    if is_another:
        meta.REPORT.put(tx, report.stamp)
    if not report.is_open:
        return
    stamp = f"{report.stamp} by reading {mirror.last_reading(tx)}"
    if not is_another and known.of(meta.EXPECTED) == stamp:
        return
    # Once a report, and once a reading of Kiva's list: the whole book was compared with it at every look.
    meta.EXPECTED.put(tx, stamp)
    expected = _identities(mirror.expected(tx), aliases) if is_another else _unreported(tx, report.period, aliases)
    watermark.read_identities_again(tx, "repayment", expected)


def _close(
    tx: Connection,
    report: window.RepaymentReport,
    *,
    also_refused: bool,
    settle_after: timedelta,
    now: datetime,
) -> None:
    """Positions that were not sent are no longer owed: Kiva would book them in the next period.

    What is in doubt ends once it can no longer arrive, so that it never stands in the way of the next report.
    """
    # While it is open, there is nothing to end but what another one left.
    if also_refused or not report.is_open:
        _close_unsent(tx, report, now=now)
    for entry in _positions(tx, State.REFUSED) if also_refused and not report.is_open else ():
        if closing.may_be_at_kiva(tx, entry):
            closing.close(tx, entry, reason=CLOSED, now=now)
    for entry in [of(row) for row in tx.execute(_IN_DOUBT)]:
        sent = query.last_sent(tx, entry) if not report.is_open or entry.period != report.period else None
        if sent is not None and now >= sent.ended_at + settle_after:
            closing.close(tx, entry, reason=CLOSED, now=now)


def _close_unsent(tx: Connection, report: window.RepaymentReport, *, now: datetime) -> None:
    """Those of which something may be at Kiva all the same one by one, and then all others at once."""
    over = sa.true() if not report.is_open else _entry.period != report.period
    if not closing.has_unsent(tx, over):
        return
    of_now = reports.of(tx, report.period)
    if of_now is not None and of_now.takes_late:
        over = sa.and_(over, sa.or_(_entry.origin != LATE, _entry.period != report.period))
        if not closing.has_unsent(tx, over):
            return
    for entry in _positions(tx, State.READY, State.WAITING, where=(over, _entry.identity.in_(query.doubtful()))):
        # What a person was asked stays said: that an amount fell is no less true when its report is closed.
        asked = entry.reason if entry.reason in refusal.PERSON_DECIDES else None
        closing.close(tx, entry, reason=asked or CLOSED, now=now)
    closing.close_all(tx, over, reason=CLOSED, keep=refusal.PERSON_DECIDES, now=now)


def _positions(tx: Connection, *states: State, where: tuple[sa.ColumnElement[bool], ...] = ()) -> list[Entry]:
    mine = (_entry.resource == "repayment", _entry.state.in_([state.value for state in states]))
    return [of(row) for row in tx.execute(sa.select(*query.LIGHT).where(*mine, *where).order_by(_entry.id))]


def _identities(loan_ids: Iterable[str], aliases: Mapping[str, str]) -> Iterator[str]:
    """The MIS's own ids of loans, by Kiva's."""
    return (aliases.get(key, key) for key in map(spelled.key, loan_ids))


def _unreported(tx: Connection, period: str, aliases: Mapping[str, str]) -> Iterator[str]:
    """Identities from which Kiva expects a position, and that have none of this period that counts.

    Asked at each reading of Kiva's list: so first for the loans without an entry, which are few once the month has
    begun. What was typed under another id is looked at by its identity, for that changes with the file that names it.
    """
    typed = [loan.loan_id for loan in mirror.by_loan_id(tx, aliases).values() if loan.status in mirror.EXPECTED]
    each = _identities(itertools.chain(_without_an_entry(tx, period), typed), aliases)
    while chunk := sorted(set(itertools.islice(each, _CHUNK))):
        of_period = (_entry.resource == "repayment", _entry.identity.in_(chunk), _entry.period == period)
        reported: set[str] = set()
        for counts in (table.STANDING, table.AT_KIVA):
            reported |= set(tx.execute(sa.select(_entry.identity).where(sa.text(counts), *of_period)).scalars())
        yield from (identity for identity in chunk if identity not in reported)


def _without_an_entry(tx: Connection, period: str) -> Iterator[str]:
    """Ids of expected loans without an entry of a period, as Kiva spells them; read in parts."""
    after = ""
    while part := tx.execute(_WITHOUT_AN_ENTRY, {"period": period, "after": after, "most": _CHUNK}).all():
        yield from (loan_id for _, loan_id in part)
        after = part[-1].kiva_id
