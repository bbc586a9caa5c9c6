"""The only file that writes batches and attempts: what goes to Kiva in one request, and what became of it.

All functions take an open writing transaction (`Outbox.begin()`), as `store` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import hold, query, store, table
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource import refusal

_DETAIL_LIMIT = 2_000
_FORGOTTEN_AT_ONCE = 500

_INSERT_BATCH, _INSERT_ATTEMPT = sa.insert(table.batch), sa.insert(table.attempt)
_INSERT_MEMBER = sa.insert(table.batch_member)
_CLOSE = sa.update(table.attempt).where(
    table.attempt.c.id == sa.bindparam("its_id"), table.attempt.c.ended_at.is_(None)
)


@dataclass(frozen=True)
class Sender:
    """Who sends: the server of the outbox ("" of a file), the witness's number, and the outbox's number in it."""

    server: str = ""
    witness: str = ""
    outbox: str = ""


@dataclass(frozen=True)
class Batch:
    """What goes to Kiva in one request, with the attempt that is open for it."""

    id: int
    attempt_id: int
    resource: str
    entries: tuple[Entry, ...]
    request: bytes
    started_at: datetime
    sender: Sender | None = None


@dataclass(frozen=True)
class EntryVerdict:
    """What became of one entry of a batch. `due_in`: how long until it may go again."""

    target: State
    receipt: dict[str, Any] | None = None
    refusals: tuple[refusal.Refusal, ...] = ()
    due_in: timedelta | None = None
    batch_cap: int | None = None
    reason: str | None = None
    evidence: str = "receipt"


@dataclass(frozen=True)
class Ending:
    """What became of one attempt, as evidence, kept for ever but for its words.

    `problems`: what Kiva named of no entry of it.
    """

    outcome: str
    body_complete: bool | None
    status: int | None
    detail: str | None
    problems: Sequence[Mapping[str, Any]] = ()


def claim(
    tx: Connection,
    resource: str,
    candidates: Sequence[Entry],
    *,
    fence: int,
    now: datetime,
    request: Callable[[Sequence[str]], bytes],
    sender: Sender | None = None,
) -> Batch | None:
    """Take candidates (read in this transaction) into one batch and open its attempt; None when nothing may go.

    A hold with an allowance lets that many pass. An entry whose batch was refused as a whole goes with at most
    `batch_cap` others that have the same cap, so that a batch is halved until the culprit stands alone.
    """
    holds = hold.in_force(tx)
    passes = hold.passes(holds, resource)
    entries = _companions(candidates)[: passes if passes is not None else len(candidates)]
    if not entries:
        return None
    if passes is not None:
        hold.use_allowance(tx, holds, resource, len(entries))
    content = request([entry.body or "" for entry in entries])
    batch_id = _insert_row(tx, _INSERT_BATCH, resource=resource, created_at=now)
    attempt_id = _insert_row(
        tx,
        _INSERT_ATTEMPT,
        batch_id=batch_id,
        resource=resource,
        fence=fence,
        request_sha256=hashlib.sha256(content).hexdigest(),
        started_at=now,
        server=sender.server if sender else None,
        witness=sender.witness if sender else None,
        outbox=sender.outbox if sender else None,
    )
    moved = store.move_all(
        tx, [store.EntryMove(entry, State.SENDING, {"reason": None}) for entry in entries], Actor.COURIER, now=now
    )
    members = [{"batch_id": batch_id, "entry_id": entry.id, "place": n} for n, entry in enumerate(moved)]
    tx.execute(_INSERT_MEMBER, members)
    return Batch(batch_id, attempt_id, resource, tuple(moved), content, now, sender)


def end(
    tx: Connection, batch: Batch, ending: Ending, verdicts: Mapping[int, EntryVerdict], *, by: Actor, now: datetime
) -> list[Entry]:
    """Close the attempt and move every entry of its batch, in one transaction. `verdicts` is by entry id."""
    values = {
        "ended_at": now,
        "outcome": ending.outcome,
        "body_complete": ending.body_complete,
        "status": ending.status,
        "detail": ending.detail[:_DETAIL_LIMIT] if ending.detail else None,
        "problems": list(ending.problems) or None,
    }
    if tx.execute(_CLOSE, {"its_id": batch.attempt_id, **values}).rowcount != 1:
        raise store.Overtaken(f"attempt {batch.attempt_id} was closed by somebody else")
    moves = [_move(entry, verdicts[entry.id], now=now) for entry in batch.entries]
    return store.follow_all(tx, store.move_all(tx, moves, by, now=now), by=by, now=now)


def _move(entry: Entry, verdict: EntryVerdict, *, now: datetime) -> store.EntryMove:
    values: dict[str, Any] = {"reason": verdict.reason}
    if verdict.target is State.DELIVERED:
        values |= {"evidence": verdict.evidence, "receipt": verdict.receipt}
    if verdict.target is State.REFUSED:
        values |= {"refusals": [reason.to_json() for reason in verdict.refusals], "receipt": verdict.receipt}
    if verdict.due_in is not None:
        values["due_at"] = now + verdict.due_in
    if verdict.batch_cap is not None:
        values["batch_cap"] = verdict.batch_cap
    return store.EntryMove(entry, verdict.target, values)


def forget_words(tx: Connection, *, before: datetime) -> int:
    """Delete what was said of some attempts that ended before a moment: it may quote a value; how many, 0 at the end.

    What Kiva named of a whole call stays until a person has looked at it.
    """
    columns, member = table.attempt.c, table.batch_member.c
    asked = (
        sa.select(member.batch_id)
        .join(table.entry, table.entry.c.id == member.entry_id)
        .where(sa.text(f"entry.{table.WARNED}"))
    )
    some = (
        sa.select(columns.id)
        .where(sa.text(table.WITH_WORDS), columns.ended_at < before, columns.batch_id.not_in(asked))
        .order_by(columns.ended_at)
        .limit(_FORGOTTEN_AT_ONCE)
    )
    old = columns.id.in_(list(tx.execute(some).scalars()))
    return tx.execute(sa.update(table.attempt).where(old).values(detail=None, problems=None)).rowcount


def open_batches(tx: Connection) -> list[Batch]:
    """Batches whose attempt was never closed: their process ended while it was under way."""
    open_ = sa.select(table.attempt).where(table.attempt.c.ended_at.is_(None)).order_by(table.attempt.c.id)
    return [
        Batch(
            row.batch_id,
            row.id,
            row.resource,
            tuple(query.members(tx, row.batch_id)),
            b"",
            row.started_at,
            Sender(row.server or "", row.witness, row.outbox) if row.witness and row.outbox else None,
        )
        for row in tx.execute(open_).all()
    ]


def _companions(due: Sequence[Entry]) -> list[Entry]:
    """The first due entry and those that may share its request: same cap, no loan twice."""
    chosen: dict[str, Entry] = {}
    for entry in due:
        cap = due[0].batch_cap
        if entry.batch_cap == cap and (cap is None or len(chosen) < cap):
            chosen.setdefault(spelled.key(entry.loan_id) if entry.resource == "repayment" else str(entry.id), entry)
    return list(chosen.values())


def _insert_row(tx: Connection, into: sa.Insert, **values: Any) -> int:
    key = tx.execute(into, values).inserted_primary_key
    assert key is not None  # noqa: S101 - both tables number their rows
    return int(key[0])
