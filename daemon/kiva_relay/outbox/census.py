"""What the account counts in the outbox, and cheaply: what is not settled by partial indexes, what is at Kiva by tally.

Each statement repeats the condition of its partial index word by word, for only then a database uses it. Nothing here
reads a body, nor the history of what was delivered.
"""

# ruff: noqa: S608 - the texts are put together of parts of this file alone

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import column, mirror, table, tally, unread, unreported
from kiva_relay.outbox.tally import Counted
from kiva_relay.outbox.unread import Unread
from kiva_relay.outbox.unreported import Unreported


@dataclass(frozen=True)
class Bounds:
    """From when on something is late. All are decided by the account.

    `due_before`: what was due, or is being sent, since before that. `waiting_since`: what waits, unchanged, since
    before that; `position_since`: the same for a position. `expires_by`: what waits and has its last day by then.
    """

    due_before: datetime
    waiting_since: datetime
    position_since: datetime
    expires_by: date


@dataclass(frozen=True)
class EntryGroup:
    """How many things stand alike: their present entries are not settled.

    `handled`: a person has dealt with them. `reported`: so many of them are positions of loans of which Kiva took an
    older version in the report's period. `last_due` is when the last of them is due.
    """

    resource: str
    state: str
    reason: str | None
    stream: str
    handled: bool
    overdue: bool
    number: int
    reported: int
    last_due: datetime


@dataclass(frozen=True)
class SetAside:
    """How many things ended unsent by somebody's word, or by the report's closing. `reported` as of EntryGroup.

    `cause`: of closing, what the position had waited for, or that it had just not gone.
    """

    resource: str
    number: int
    reported: int
    cause: str = ""


@dataclass(frozen=True)
class Differing:
    """How many things at Kiva are not as the MIS says. `seen`: a person has acknowledged just that."""

    resource: str
    adopted: bool
    kind: str
    seen: bool
    number: int


@dataclass(frozen=True)
class Warned:
    """How many things Kiva took with a problem of the whole call, and nobody has said yet whether they are there."""

    resource: str
    number: int


@dataclass(frozen=True)
class Census:
    """All that the account is made of. `to_read` is resource → keys that stand in no entry and are read again soon.

    `asked` is how many entries a person is asked about, of earlier reports too, or although a newer one is on its way.
    """

    at_kiva: Mapping[Counted, int]
    entries: tuple[EntryGroup, ...]
    discarded: tuple[SetAside, ...]
    left_at_closing: tuple[SetAside, ...]
    differing: tuple[Differing, ...]
    warned: tuple[Warned, ...]
    asked: int
    unreported: Unreported
    to_read: Mapping[str, int]
    unread: tuple[Unread, ...]


SEEN = "acknowledged"
"""The cause of what ended with the report's closing, and a person has seen."""

_EXPECTED = ", ".join(repr(status) for status in mirror.EXPECTED)
_REPORTED = (
    "CASE WHEN e.resource = 'repayment' AND EXISTS (SELECT 1 FROM entry d WHERE d.resource = 'repayment'"
    " AND d.state <> 'superseded' AND d.loan_id = e.loan_id AND d.period = :period AND d.state = 'delivered')"
    " THEN 1 ELSE 0 END"
)
# A newer version that waits for an older one in flight is not counted: the older one stands for both. One that need
# not wait stands for both itself.
_ENTRIES = sa.text(f"""
SELECT resource, state, reason, stream, handled, overdue, count(*) AS number, sum(reported) AS reported,
       max(due_at) AS last_due
FROM (
  SELECT e.resource, e.state, e.reason, e.stream, e.due_at, {_REPORTED} AS reported,
         CASE WHEN e.done_at IS NULL THEN 0 ELSE 1 END AS handled,
         CASE WHEN e.state = 'ready' AND e.due_at < :due_before THEN 1
              WHEN e.state = 'sending' AND e.changed_at < :due_before THEN 1
              WHEN e.state = 'waiting' AND e.resource = 'repayment' AND e.created_at < :position_since THEN 1
              WHEN e.state = 'waiting' AND e.resource <> 'repayment' AND e.created_at < :waiting_since THEN 1
              WHEN e.state = 'waiting' AND e.publish_by IS NOT NULL AND e.publish_by <= :expires_by THEN 1
              ELSE 0 END AS overdue
  FROM entry e
  WHERE e.settled_at IS NULL AND e.waits_for IS NULL
    AND (e.state IN ('ready', 'waiting', 'refused') OR NOT EXISTS (
      SELECT 1 FROM entry n WHERE n.state NOT IN ('delivered', 'superseded', 'withdrawn')
        AND n.settled_at IS NULL AND n.waits_for IS NULL AND n.resource = e.resource
        AND n.identity = e.identity AND n.version > e.version))
) AS standing
GROUP BY resource, state, reason, stream, handled, overdue
ORDER BY resource, state, reason, stream, handled, overdue
""").columns(last_due=column.Moment)
_NOTHING_ELSE_STANDS = (
    "NOT EXISTS (SELECT 1 FROM entry n WHERE n.resource = e.resource AND n.identity = e.identity AND n.id <> e.id"
    " AND n.state NOT IN ('delivered', 'superseded', 'withdrawn') AND (n.state <> 'discarded'"
    " OR (n.version > e.version AND (n.resource <> 'repayment' OR n.period = :period))))"
    " AND NOT EXISTS (SELECT 1 FROM entry n WHERE n.resource = e.resource AND n.identity = e.identity"
    " AND n.state = 'delivered' AND n.version > e.version AND (n.resource <> 'repayment' OR n.period = :period))"
)
_NOT_LEFT_AT_CLOSING = (
    f"NOT EXISTS (SELECT 1 FROM entry c WHERE c.{table.LEFT_AT_CLOSING.replace('reason', 'c.reason')}"
    " AND c.period = :period AND c.loan_id = e.loan_id AND c.resource = e.resource AND c.version > e.version)"
)
_DISCARDED = sa.text(f"""
SELECT e.resource, count(*) AS number, sum({_REPORTED}) AS reported
FROM entry e
WHERE e.state = 'discarded' AND (e.resource <> 'repayment' OR e.period = :period)
  AND {_NOTHING_ELSE_STANDS}
  AND {_NOT_LEFT_AT_CLOSING}
GROUP BY e.resource ORDER BY e.resource
""")
# A person left them out of the report: a decision, not an entry. What has an entry again is counted there. The || is
# that of `report_table.STILL_IN_FORCE`: by the period alone.
_LEFT_OUT = sa.text(f"""
SELECT 'repayment' AS resource, count(*) AS number, coalesce(sum(CASE WHEN EXISTS (
    SELECT 1 FROM entry e WHERE e.resource = 'repayment' AND e.state <> 'superseded' AND e.loan_id = d.loan_id
      AND e.period = :period AND e.state = 'delivered') THEN 1 ELSE 0 END), 0) AS reported
FROM decision d JOIN mirror m ON m.kiva_id = d.kiva_id
WHERE d.period = :period AND d.undone_at || '' IS NULL AND d.verb = 'leave_out' AND m.status IN ({_EXPECTED})
  AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.settled_at IS NULL AND e.resource = 'repayment'
    AND e.loan_id = d.loan_id)
""")
_LEFT_AT_CLOSING = sa.text(f"""
SELECT reason, count(*) AS number, coalesce(sum(reported), 0) AS reported
FROM (
  SELECT e.loan_id, coalesce(min(CASE WHEN e.done_at IS NULL THEN e.reason END), '{SEEN}') AS reason,
         max({_REPORTED}) AS reported
  FROM entry e
  WHERE e.{table.LEFT_AT_CLOSING.replace("reason", "e.reason")} AND e.period = :period
    AND {_NOTHING_ELSE_STANDS}
  GROUP BY e.loan_id
) AS loans
GROUP BY reason ORDER BY reason
""")
# The || keeps SQLite from going through all entries in the order of their resource.
_WARNED = sa.text(f"""
SELECT e.resource || '' AS resource, count(*) AS number
FROM entry e
WHERE e.{table.WARNED} AND (e.resource <> 'repayment' OR e.period = :period)
  AND {_NOTHING_ELSE_STANDS}
  AND {_NOT_LEFT_AT_CLOSING}
GROUP BY 1 ORDER BY 1
""")
_REPLACED = (
    "EXISTS (SELECT 1 FROM entry n WHERE n.resource = e.resource AND n.identity = e.identity"
    " AND n.version > e.version AND n.state = 'delivered')"
)
_ASKED_OF_CALLS = sa.text(f"SELECT count(*) FROM entry e WHERE e.{table.WARNED} AND NOT {_REPLACED}")
_ASKED_OF_UNKNOWN = sa.text(f"SELECT count(*) FROM entry WHERE {table.UNKNOWN_UNSEEN}")
# The || keeps SQLite from going through all that was ever withdrawn.
_ASKED_OF_UNDECIDED = sa.text(f"""
SELECT count(*) FROM entry e
WHERE e.{table.UNDECIDED_UNSEEN.replace("done_at", "e.done_at")}
  AND e.state || '' = 'withdrawn' AND NOT {_REPLACED}
""")
_ASKED = (_ASKED_OF_CALLS, _ASKED_OF_UNKNOWN, _ASKED_OF_UNDECIDED)
# A CROSS JOIN, so that SQLite begins with the few divergences, and not with all that was delivered.
_OPEN = sa.text("""
SELECT e.resource, CASE WHEN e.evidence = 'adopted' THEN 1 ELSE 0 END AS adopted, d.kind, 0 AS seen, count(*) AS number
FROM divergence d CROSS JOIN entry e
WHERE e.id = d.entry_id AND d.ended_at IS NULL AND e.state = 'delivered' AND e.evidence <> 'warned'
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")
_SEEN = sa.text("""
SELECT e.resource, CASE WHEN e.evidence = 'adopted' THEN 1 ELSE 0 END AS adopted, d.kind, 1 AS seen, count(*) AS number
FROM divergence d CROSS JOIN entry e
WHERE e.id = d.entry_id AND d.ended_by NOT IN ('a newer difference', 'the MIS') AND e.state = 'delivered'
  AND e.evidence <> 'warned'
  AND NOT EXISTS (SELECT 1 FROM divergence n WHERE n.entry_id = d.entry_id AND n.id > d.id)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")


def take(
    tx: Connection,
    bounds: Bounds,
    *,
    period: str,
    expects: bool,
    streams: Mapping[str, str] | None,
    before: Unreported | None = None,
    recent: bool = False,
) -> Census:
    """Count everything in one picture of the outbox.

    Args:
        tx: a reading transaction.
        bounds: from when on something is late.
        period: that of the repayment report, YYYY-MM.
        expects: does Kiva expect positions now? Then each loan of its list is looked for.
        streams: the mappings in force and the resource of each; None where no relay says so: all that are known.
        before: what was found unreported last; taken as it is while nothing that it was worked out from has moved.
        recent: that was just now. Where there are many, it takes a third of a second, and is not asked again so soon.
    """
    moment = column.Moment()
    given = {
        "due_before": moment.process_bind_param(bounds.due_before, tx.dialect),
        "waiting_since": moment.process_bind_param(bounds.waiting_since, tx.dialect),
        "position_since": moment.process_bind_param(bounds.position_since, tx.dialect),
        "expires_by": bounds.expires_by.isoformat(),
        "period": period,
    }
    of_period = {"period": period}
    at_kiva = tally.numbers(tx)
    entries = tuple(EntryGroup(**_flags(row)) for row in tx.execute(_ENTRIES, given))
    discarded = tuple(SetAside(*row) for query in (_DISCARDED, _LEFT_OUT) for row in tx.execute(query, of_period))
    closed = tuple(
        SetAside("repayment", row.number, row.reported, row.reason) for row in tx.execute(_LEFT_AT_CLOSING, of_period)
    )
    missing = Unreported()
    if expects:
        positions = [each for each in entries if each.resource == "repayment"]
        stamp = (period, sum(each.number for each in positions), discarded, closed, *sorted(map(str, at_kiva.items())))
        missing = unreported.find(tx, stamp, period=period, before=before, recent=recent)
    return Census(
        at_kiva=at_kiva,
        entries=entries,
        discarded=discarded,
        left_at_closing=closed,
        differing=tuple(Differing(**_flags(row)) for query in (_OPEN, _SEEN) for row in tx.execute(query)),
        warned=tuple(Warned(*row) for row in tx.execute(_WARNED, of_period)),
        asked=sum(tx.execute(query).scalar_one() for query in _ASKED),
        unreported=missing,
        to_read=unread.to_read(tx, streams),
        unread=unread.streams(tx, streams),
    )


def _flags(row: sa.Row[Any]) -> dict[str, Any]:
    """A row's values, with flags as booleans: in neither database they come as such out of a CASE."""
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    flags = {name: bool(values[name]) for name in ("handled", "overdue", "adopted", "seen") if name in values}
    return {**values, **flags}
