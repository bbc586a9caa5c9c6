"""What was wrong with a simulated history: Kiva's own ledger against what the institution's MIS owed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from kiva_relay.outbox import hold, listing, mirror, table, warned_call
from kiva_relay.outbox.entry import Entry, of
from kiva_relay.outbox.state import FINAL, State

if TYPE_CHECKING:
    from testbed.simulation.run import History


@dataclass(frozen=True)
class Picture:
    """What changes while something still happens; `at_rest` when nothing is left to do.

    `to_repeat`: a position is in doubt that is sent again by itself, within a day.
    """

    entries: Sequence[tuple[int, str, int]]
    to_read: int
    scans: int
    holds: int
    taken: int
    to_repeat: bool

    @property
    def at_rest(self) -> bool:
        """Is everything settled, and read?"""
        done = all(state in FINAL for _number, state, _version in self.entries)
        return done and bool(self.entries) and not (self.to_read or self.scans or self.holds)


def picture(history: History) -> Picture:
    """How it stands."""
    columns = table.entry.c
    with history.outbox.read() as tx:
        rows = tx.execute(sa.select(columns.id, columns.state, columns.row_version)).all()
        again = tx.execute(sa.select(sa.func.count()).where(table.captured.c.again)).scalar_one()
        scans = tx.execute(sa.select(sa.func.count()).where(table.watermark.c.scan.is_not(None))).scalar_one()
        holds = len(hold.in_force(tx))
        doubts = listing.entries(tx, listing.Filter(states=[State.IN_DOUBT])).entries
    entries = [(row.id, row.state, row.row_version) for row in rows]
    to_repeat = any(entry.repeats_itself for entry in doubts)
    return Picture(entries, again, scans, holds, len(history.kiva.ledger), to_repeat)


def wrongs(history: History) -> list[str]:
    """Every part of the promise that this history broke."""
    with history.outbox.read() as tx:
        entries = [of(row) for row in tx.execute(sa.select(table.entry).order_by(table.entry.c.id))]
        doubts = tx.execute(sa.select(table.attempt.c.id).where(table.attempt.c.outcome == "in_doubt")).all()
    found = [*_twice(history), *_never_applied(history, entries), *_forgotten(history), *_positions(history)]
    found += _months(history, entries)
    found += [f"entry {entry.id} is {entry.state} in the end" for entry in entries if entry.state in _UNFINISHED]
    with history.outbox.read() as tx:
        asked = [entry.id for call in warned_call.calls(tx) for entry in call.entries]
    found += [
        f"entry {entry.id} was repeated {entry.repeats} times by itself" for entry in entries if entry.repeats > 6
    ]
    found += [f"nobody was asked about entry {number}" for number in asked]
    if len(doubts) > history.kiva.unanswered + history.kills:
        found.append(f"{len(doubts)} attempts in doubt, {history.kiva.unanswered} unanswered, {history.kills} kills")
    return found


ON_ITS_WAY = timedelta(hours=2)
"""So long a request may take in a history at the most; the month may end meanwhile."""

_UNFINISHED = (State.SENDING, State.IN_DOUBT, State.READY)


def _twice(history: History) -> Iterator[str]:
    """Applied twice without a person's word."""
    ours = [loan for loan in history.kiva.loans.values() if loan.number is not None and loan.status != "deleted"]
    for loan_id, times in Counter(loan.loan_id for loan in ours).items():
        if times > 1:
            yield f"the draft of {loan_id} is at Kiva {times} times"
    there = {loan.loan_id for loan in history.kiva.loans.values() if loan.number is None}
    for loan in ours:
        if loan.loan_id in there:
            yield f"the draft of {loan.loan_id} was sent although Kiva had the loan"
    journals = Counter(record.body["body"] for record in history.kiva.ledger if record.resource == "journal")
    for body, times in journals.items():
        if times > 1:
            yield f"the journal {body!r} is at Kiva {times} times"


def _never_applied(history: History, entries: list[Entry]) -> Iterator[str]:
    """`delivered`, and Kiva does not have it."""
    loans = {loan.loan_id for loan in history.kiva.loans.values() if loan.status != "deleted"}
    journals = {record.body["body"] for record in history.kiva.ledger if record.resource == "journal"}
    positions = {(record.loan_id, Decimal(str(record.body["amount"]))) for record in history.kiva.ledger
                 if record.resource == "repayment"}  # fmt: skip
    for entry in entries:
        if entry.state is not State.DELIVERED or entry.evidence == "warned":
            continue
        if entry.resource == "loan_draft":
            there = bool(loans & set(mirror.candidates(entry)))
        elif entry.resource == "journal":
            there = f"news {entry.identity}" in journals
        else:
            there = (entry.loan_id, Decimal(entry.amount or 0)) in positions
        if not there:
            yield f"{entry.resource} {entry.identity} v{entry.version} is delivered and was never applied"


def _forgotten(history: History) -> Iterator[str]:
    """Owed, not at Kiva, and nobody is asked."""
    at_kiva = {loan.loan_id for loan in history.kiva.loans.values() if loan.status != "deleted"}
    for loan in history.mis.loans.values() if "loan_draft" in history.settings.resources else ():
        if loan["status"] == "approved" and loan["account"] not in at_kiva:
            yield f"the draft of {loan['account']} was forgotten"
    journals = {record.body["body"] for record in history.kiva.ledger if record.resource == "journal"}
    takes = history.settings.journals.statuses
    listed = {
        loan.loan_id for loan in history.kiva.loans.values() if history.kiva._shows(loan) and loan.status in takes
    }
    for note in history.mis.notes.values():
        if note["body"] not in journals and note["account"] in listed:
            yield f"the journal {note['body']!r} was forgotten"


def _months(history: History, entries: list[Entry]) -> Iterator[str]:
    """A position that Kiva booked in another month than it is of: it takes the month in which it gets it."""
    zone, booked = ZoneInfo(history.settings.mis.timezone), set()
    for record in history.kiva.ledger:
        if record.resource == "repayment":
            for moment in (record.at, record.at - ON_ITS_WAY):
                booked.add((record.loan_id, Decimal(str(record.body["amount"])), f"{moment.astimezone(zone):%Y-%m}"))
    for entry in entries:
        position = (entry.loan_id, Decimal(entry.amount or 0), entry.period)
        if entry.resource == "repayment" and entry.evidence == "receipt" and position not in booked:
            yield f"{entry.loan_id}: {entry.amount} of {entry.period} was booked in another month"


def _taken(history: History) -> Iterator[tuple[str, list[Decimal], list[Decimal]]]:
    """Of each loan the positions that Kiva took, and all that it had in the MIS."""
    for key, versions in history.mis.positions.items() if "repayment" in history.settings.resources else ():
        loan = history.mis.loans[key]["account"]
        taken = [Decimal(str(record.body["amount"])) for record in history.kiva.ledger
                 if (record.resource, record.loan_id) == ("repayment", loan)]  # fmt: skip
        yield loan, taken, versions


def order_of_positions(history: History) -> Iterator[str]:
    """An older one after a newer one."""
    for loan, taken, versions in _taken(history):
        place = 0
        for amount in taken:
            later = [number for number, version in enumerate(versions) if number >= place and version == amount]
            if not later:
                yield f"{loan}: {amount} was applied after a newer position"
                break
            place = later[0]


def _positions(history: History) -> Iterator[str]:
    """An older one after a newer one; or the last one is not the newest."""
    yield from order_of_positions(history)
    expected = {loan.loan_id for loan in history.kiva.loans.values() if loan.status == "payingBack"}
    for loan, taken, versions in _taken(history):
        if loan in expected and (not taken or taken[-1] != versions[-1]):
            yield f"{loan}: the last position at Kiva is {taken[-1] if taken else None}, the MIS has {versions[-1]}"
