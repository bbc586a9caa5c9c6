"""Compares with what Kiva says, and settles what evidence can settle. It guesses nothing.

Presence is proof only if that loan was not listed before the attempt. Absence is proof only by a complete reading
that carries its own control: it lists another draft of ours that was sent more than `settle_after` after the attempt
ended, when the lost request could no longer arrive, and that is not published yet. A position needs no proof: once its
request can no longer arrive, a newer one takes its place, and without one it is sent again, ever more seldom.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import adoption, duplicate, mirror, query, sending, store, table, watermark
from kiva_relay.outbox.entry import REPEATED_AFTER, Entry, of
from kiva_relay.outbox.sending import Batch
from kiva_relay.outbox.state import UNSENT, Actor, State
from kiva_relay.outbox.witness import Ended
from kiva_relay.resource import loan_id as spelled

_NOT_BY_ABSENCE = ("strange_answer", store.KNOWN_FROM_WITNESS)
"""Kiva may have taken it; or it was sent once more than this outbox knows, nobody knows when."""

_WAITS_FOR_LOAN = ("loan_not_at_kiva", "loan_not_eligible")


def recover(
    tx: Connection,
    *,
    witnessed: Callable[[Batch], bool],
    answered: Callable[[Batch], Ended | None] = lambda _batch: None,
    now: datetime,
) -> list[Entry]:
    """At start: whatever was being sent when the process ended is in doubt.

    An additive attempt that the witness never heard of had not begun to send: it is ready again. One whose answer the
    witness has is what Kiva answered.
    """
    moved = []
    for batch in sending.open_batches(tx):
        once = batch.resource in table.CREATE_ONCE
        ended = answered(batch) if once else None
        if ended is not None and all(entry.identity in ended for entry in batch.entries):
            moved += _as_answered(tx, batch, ended, now=now)
            continue
        never_left = once and not witnessed(batch)
        if never_left:
            ending = sending.Ending(
                "not_processed", body_complete=False, status=None, detail="the process ended before"
            )
            verdict = sending.EntryVerdict(State.READY)
        else:
            ending = sending.Ending("in_doubt", body_complete=None, status=None, detail="the process ended")
            verdict = sending.EntryVerdict(State.IN_DOUBT, reason="process_ended")
        verdicts = dict.fromkeys((entry.id for entry in batch.entries), verdict)
        moved += sending.end(tx, batch, ending, verdicts, by=Actor.START, now=now)
    return moved


def _as_answered(tx: Connection, batch: Batch, ended: Ended, *, now: datetime) -> list[Entry]:
    """The process wrote down what Kiva answered, and ended before the outbox knew; or the outbox forgot it."""
    verdicts = {}
    for entry in batch.entries:
        receipt = ended[entry.identity]
        target = State.READY if receipt is None else State.DELIVERED
        verdicts[entry.id] = sending.EntryVerdict(target, receipt=None if receipt is None else dict(receipt))
    taken = any(receipt is not None for receipt in ended.values())
    outcome = "accepted" if taken else "not_processed"
    ending = sending.Ending(outcome, body_complete=taken, status=None, detail="the witness had Kiva's answer")
    return sending.end(tx, batch, ending, verdicts, by=Actor.START, now=now)


def settle(
    tx: Connection, *, settle_after: timedelta, drafts_visible: bool, open_period: str | None, now: datetime
) -> list[Entry]:
    """Settle every doubt for which there is evidence now; what was moved.

    `open_period` is the period of the repayment report, None while it is closed: a position of another is not sent.
    """
    moved = []
    for entry, attempt in _doubts(tx):
        if entry.resource == "loan_draft":
            done = _draft(tx, entry, attempt, settle_after=settle_after, drafts_visible=drafts_visible, now=now)
        elif entry.resource == "repayment":
            done = _position(tx, entry, attempt, settle_after=settle_after, open_period=open_period, now=now)
        else:
            done = None
        if done is not None:
            moved.append(store.follow(tx, done, by=Actor.RECONCILER, now=now))
    return moved


def wake(tx: Connection, *, statuses: Collection[str], now: datetime) -> list[Entry]:
    """Journals whose loan is eligible now go out; those whose loan no longer is wait. `statuses`: of eligible loans."""
    columns = table.entry.c
    reasons = (*_WAITS_FOR_LOAN, None)
    where = (columns.resource == "journal", columns.state.in_((State.READY.value, State.WAITING.value)))
    unsent = [entry for row in tx.execute(sa.select(table.entry).where(*where)) if (entry := of(row)).reason in reasons]
    at_kiva = mirror.by_loan_id(tx, {entry.loan_id for entry in unsent})
    moved = []
    for entry in unsent:
        loan = at_kiva.get(spelled.key(entry.loan_id))
        if entry.state is State.READY and loan is not None and loan.status not in statuses:
            moved.append(store.move(tx, entry, State.WAITING, Actor.RECONCILER, now=now, reason="loan_not_eligible"))
        elif entry.state is State.WAITING and loan is not None and loan.status in statuses:
            due = max(entry.due_at, now)
            moved.append(store.move(tx, entry, State.READY, Actor.RECONCILER, now=now, reason=None, due_at=due))
    return moved


def adopt(tx: Connection, *, now: datetime) -> list[Entry]:
    """Drafts that were not sent and that Kiva has all the same: somebody typed them into PA2. They are delivered.

    Where a new id at Kiva differs in case only, or a new loan there is of the same client and amount, a person is
    asked before the draft goes.
    """
    columns = table.entry.c
    where = (columns.resource == adoption.RESOURCE, columns.state.in_([state.value for state in UNSENT]))
    unsent = [of(row) for row in tx.execute(sa.select(table.entry).where(*where))]
    found = adoption.of_entries(tx, unsent)
    refresh = mirror.last_complete(tx)
    for entry in unsent:
        asks = entry.state is State.READY and entry.id not in found and refresh is not None
        since = refresh.id if refresh else 0
        if asks and mirror.differing_in_case(tx, mirror.candidates(entry), since=since):
            store.move(tx, entry, State.WAITING, Actor.RECONCILER, now=now, reason=adoption.PERHAPS)
        elif asks and duplicate.asked(tx, duplicate.of_entry(entry), now=now, since=since):
            store.move(tx, entry, State.WAITING, Actor.RECONCILER, now=now, reason=duplicate.PROBABLE)
            watermark.read_identities_again(tx, entry.resource, [entry.identity])
    return [store.adopt(tx, entry, found[entry.id], Actor.RECONCILER, now=now) for entry in unsent if entry.id in found]


def _doubts(tx: Connection) -> list[tuple[Entry, query.Sent | None]]:
    entries = [of(row) for row in tx.execute(sa.select(table.entry).where(table.entry.c.state == State.IN_DOUBT.value))]
    return [(entry, query.last_sent(tx, entry)) for entry in entries]


def _draft(
    tx: Connection,
    entry: Entry,
    attempt: query.Sent | None,
    *,
    settle_after: timedelta,
    drafts_visible: bool,
    now: datetime,
) -> Entry | None:
    if attempt is not None:
        found = mirror.sighting(tx, mirror.candidates(entry), not_before=attempt.started_at)
    else:  # known from the witness only: when it was sent is not, and what Kiva has would be adopted in any case
        found = next(iter(mirror.by_loan_id(tx, mirror.candidates(entry)).values()), None)
    if found is not None:
        receipt = {"kiva_id": found.kiva_id, "status": found.status}
        return store.move(
            tx,
            entry,
            State.DELIVERED,
            Actor.RECONCILER,
            now=now,
            evidence="look_up",
            receipt=receipt,
            reason=None,
        )
    if attempt is None or not drafts_visible or entry.reason in _NOT_BY_ABSENCE or entry.body is None:
        return None
    if mirror.by_loan_id(tx, mirror.candidates(entry)):
        return None  # listed, and perhaps an older loan with the same id: neither presence nor absence
    cannot_arrive = attempt.ended_at + settle_after
    refresh = mirror.last_complete(tx, started_after=cannot_arrive)
    if refresh is None or not _control(tx, cannot_arrive, refresh):
        return None
    return store.move(tx, entry, State.READY, Actor.RECONCILER, now=now, reason=None, due_at=now)


def _control(tx: Connection, after: datetime, refresh: mirror.Refresh) -> bool:
    """Does this reading list another draft of ours, sent when the lost one could no longer arrive, and still a draft?

    A list that lags shows what came later only when it shows what came before.
    """
    columns, attempt = table.entry.c, table.attempt.c
    ours = (
        sa.select(columns.loan_id)
        .join(table.batch_member, table.batch_member.c.entry_id == columns.id)
        .join(table.attempt, attempt.batch_id == table.batch_member.c.batch_id)
        .where(
            columns.resource == "loan_draft",
            columns.state == State.DELIVERED.value,
            columns.evidence == "receipt",
            attempt.outcome == "accepted",
            attempt.started_at > after,
            attempt.ended_at < refresh.started_at,
        )
    )
    listed = mirror.by_loan_id(tx, set(tx.execute(ours).scalars()), listed_by=refresh.id)
    return any(loan.status not in mirror.PUBLISHED for loan in listed.values())


def _position(
    tx: Connection,
    entry: Entry,
    attempt: query.Sent | None,
    *,
    settle_after: timedelta,
    open_period: str | None,
    now: datetime,
) -> Entry | None:
    """Once the lost request can no longer arrive: a newer one goes instead, or the same again while the report is open.

    What is in doubt when its report closes ends there (`capture/expected.py`).
    """
    if attempt is None or entry.period != open_period or now < attempt.ended_at + settle_after:
        return None
    if query.behind(tx, entry) is not None:
        return store.move(tx, entry, State.SUPERSEDED, Actor.RECONCILER, now=now)
    if not entry.repeats_itself or now < attempt.ended_at + max(REPEATED_AFTER[entry.repeats], settle_after):
        return None
    values = {"reason": None, "due_at": now, "repeats": entry.repeats + 1}
    return store.move(tx, entry, State.READY, Actor.RECONCILER, now=now, **values)
