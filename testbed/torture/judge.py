"""The judge of the torture: the stand-in's ledger against the MIS, and against what the outbox says.

It compares contents, not only ids; the order of positions; and for each doubt what the stand-in's own log says of
the answer. It trusts no receipt.
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from kiva_relay.outbox import hold, meta, store, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.witness import Witness
from kiva_relay.resource import body as json_body
from testbed.institution.branch import KIVA_FUND
from testbed.judge import expected
from testbed.kiva.control import Sandbox
from testbed.torture.branch import Branch

_LOSES_AN_ANSWER = ("answer_lost", "answer_cut", "dropped_before", "dropped_in_body", "caller_left", "open")
_BY_A_LETTER = ("receipt", "look_up")


@dataclass
class Figures:
    """What happened, and what the judge found. `wrong` is everything that should not be."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    duplicated: int = 0
    older_after_newer: int = 0
    in_doubt: int = 0
    released: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Sum up two runs."""
        for name in ("kills", "faults", "changes", "accepted"):
            getattr(self, name).update(getattr(other, name))
        for name in ("lost", "duplicated", "older_after_newer", "in_doubt", "released", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.wrong += other.wrong

    def lines(self) -> Iterator[str]:
        """For a person."""
        for title, counts in (("kills", self.kills), ("changes", self.changes), ("faults", self.faults),
                              ("accepted by Kiva", self.accepted)):  # fmt: skip
            parts = ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items()))
            yield f"{title:<18}{counts.total():>7,}   {parts}"
        yield f"{'released holds':<18}{self.released:>7,}   (too many answers lost in a row; a person looked)"
        yield f"{'in doubt':<18}{self.in_doubt:>7,}   each of them an answer that the stand-in's log says was lost"
        yield (
            f"lost {self.lost} · duplicated {self.duplicated} · older after newer {self.older_after_newer}"
            f" · in doubt {self.in_doubt} · kills {self.kills.total()} · {self.seconds:.0f} s"
        )
        yield from self.wrong[:30]


@dataclass(frozen=True)
class Case:
    """Everything that is compared. `attempts` are those in doubt, by entry; `requests` the stand-in's log, by key."""

    branch: Branch
    due: expected.Expected
    ledger: Sequence[Mapping[str, Any]]
    loans: Sequence[Mapping[str, Any]]
    requests: Mapping[str, Mapping[str, Any]]
    entries: Sequence[Any]
    diverged: frozenset[int]
    holds: Sequence[str]
    outbox_id: str
    attempts: Mapping[int, Sequence[Any]]
    unanswered: frozenset[tuple[str, str]] = frozenset()
    """Resource and identity of each sending of which a witness has no answer."""

    def newest(self, resource: str, identity: str) -> Any:
        """The newest version of what is owed for an identity; None: nothing ever was."""
        mine = [entry for entry in self.entries if (entry.resource, entry.identity) == (resource, identity)]
        return mine[-1] if mine else None


def case(mis: str, outbox: Outbox, kiva: Sandbox, branch: Branch, *, witnesses: Sequence[Path] = ()) -> Case:
    """Read everything as it is now. The outbox first: what it says of Kiva was true a moment before."""
    with outbox.read() as tx:
        entries = list(tx.execute(sa.select(table.entry).order_by(table.entry.c.id)))
        diverged = frozenset(tx.execute(sa.select(table.divergence.c.entry_id)).scalars())
        holds = [f"held: {each.what}, {each.reason}" for each in hold.in_force(tx)]
        outbox_id, attempts = str(meta.OUTBOX_ID.get(tx)), _lost_attempts(tx)
    with psycopg.connect(mis, autocommit=True) as connection:
        due = expected.expected(connection, fund_id=KIVA_FUND, cutoff=date.today(), today=date.today())
    requests = {one["idempotency_key"]: one for one in kiva.requests() if one["idempotency_key"]}
    unanswered = frozenset(itertools.chain.from_iterable(_unanswered(file, kiva.url) for file in witnesses))
    return Case(
        branch, due, kiva.ledger(), kiva.loans(), requests, entries, diverged, holds, outbox_id, attempts, unanswered
    )


def _unanswered(file: Path, kiva: str) -> Iterator[tuple[str, str]]:
    """What a witness saw leave, and no answer to."""
    if not file.exists():
        return
    witness = Witness(file, api_url=kiva, partner_id="123", copied=True)
    memory = witness.memory()
    witness.close()
    for one in memory.sent:
        ended = memory.answers.get((one.outbox_id, one.attempt), {})
        yield from ((one.resource, identity) for identity in one.identities if identity not in ended)


def judge(case: Case) -> Figures:
    """Compare all of it."""
    found = Figures(changes=Counter(case.branch.changes), wrong=list(case.holds))
    found.accepted.update(record["resource"] for record in case.ledger)
    _drafts(case, found)
    _positions(case, found)
    _journals(case, found)
    for entry in case.entries:
        if entry.state == "in_doubt":
            found.in_doubt += 1
            found.wrong += _unfounded(case, entry)
    return found


def _drafts(case: Case, found: Figures) -> None:
    posted: dict[str, list[Decimal]] = {}
    for record in case.ledger:
        if record["resource"] == "loan_draft":
            body = record["body"]
            posted.setdefault(body["entreps"][0]["loan_id"], []).append(Decimal(str(body["schedule"][0]["interest"])))
    for entry in case.entries:
        told = (entry.resource, entry.state) == ("loan_draft", "delivered") and entry.evidence in _BY_A_LETTER
        if told and entry.identity not in posted:
            found.wrong.append(f"draft {entry.identity} is called delivered, and Kiva does not have it")
    for identity, versions in case.branch.drafts.items():
        sent, entry = posted.pop(identity, []), case.newest("loan_draft", identity)
        if len(sent) > 1:
            found.duplicated += len(sent) - 1
            found.wrong.append(f"draft {identity} is at Kiva {len(sent)} times")
        if not sent and not _is_on_record(case, entry):
            found.lost += 1
            found.wrong.append(f"draft {identity} is lost: {_said(entry)}")
        if sent and sent[0] not in versions:
            found.wrong.append(f"draft {identity}: the MIS never said {sent[0]}")
        if sent and sent[0] != versions[-1] and not _is_known_to_differ(case, identity):
            found.wrong.append(f"draft {identity} was corrected after it was sent, and nobody knows")
    found.wrong += [f"draft {identity} is at Kiva, and nobody owed it" for identity in posted]


def _is_on_record(case: Case, entry: Any) -> bool:
    """Does a person know, or does it wait behind a version that is in doubt? `judge` asks of each doubt whether it is one."""
    return entry is not None and (entry.state == "refused" or _is_doubtful(case, entry))


def _is_doubtful(case: Case, entry: Any) -> bool:
    """Is it in doubt, or does it wait behind an older version that is?"""
    older = next((each for each in case.entries if each.id == entry.waits_for), None)
    return entry.state == "in_doubt" or (older is not None and older.state == "in_doubt")


def _is_known_to_differ(case: Case, identity: str) -> bool:
    if any(loan["internal_loan_id"] == identity and loan["status"] != "draft" for loan in case.loans):
        return True  # it was published: from then on what PA2 shows is what counts, and nobody is told
    mine = [entry for entry in case.entries if (entry.resource, entry.identity) == ("loan_draft", identity)]
    return any(entry.id in case.diverged or entry.state == "in_doubt" for entry in mine)


def _positions(case: Case, found: Figures) -> None:
    posted = _posted_positions(case)
    for identity, amounts in posted.items():
        # The branch only takes money in: a position that falls is an older one that came after a newer.
        falls = sum(1 for before, after in itertools.pairwise(amounts) if after < before)
        if falls:
            found.older_after_newer += falls
            found.wrong.append(f"an older position of {identity} after a newer one: {amounts}")
    for identity in {loan["internal_loan_id"] for loan in case.loans if loan["status"] == "payingBack"}:
        ours, entry = posted.get(identity), case.newest("repayment", identity)
        last = ours[-1] if ours else None
        due = case.due.positions.get(identity)
        if due is not None and last != due.repaid and not _needs_person(entry):
            found.lost += 1
            found.wrong.append(f"position of {identity}: the MIS says {due.repaid}, Kiva {last}: {_said(entry)}")
    for entry in case.entries:
        if (entry.resource, entry.state) == ("repayment", "delivered"):
            amount = Decimal(str(json_body.decode(entry.body.encode())["amount"]))
            if amount not in posted.get(entry.loan_id, []):
                found.wrong.append(f"the position of entry {entry.id} is called delivered, and Kiva never had it")


def _posted_positions(case: Case) -> dict[str, list[Decimal]]:
    """What Kiva took of each loan, in its order."""
    posted: dict[str, list[Decimal]] = {}
    calls = (record["body"]["repayments"] for record in case.ledger if record["resource"] == "repayment")
    for row in itertools.chain.from_iterable(calls):
        posted.setdefault(row["loan_id"], []).append(Decimal(str(row["amount"])))
    return posted


def _journals(case: Case, found: Figures) -> None:
    journals = [record["body"] for record in case.ledger if record["resource"] == "journal"]
    posted = Counter(row["body"] for body in journals for row in body)
    at_kiva = {loan["internal_loan_id"] for loan in case.loans}
    for note in case.due.notes.values():
        if note.body not in case.branch.notes:
            continue
        times, entry = posted.pop(note.body, 0), case.newest("journal", note.id)
        if times > 1:
            found.duplicated += times - 1
            found.wrong.append(f"note {note.id} is at Kiva {times} times")
        waits = entry is not None and (
            entry.reason == "loan_not_eligible" or (entry.reason == "loan_not_at_kiva" and note.identity not in at_kiva)
        )
        if not times and not waits and (entry is None or not _is_doubtful(case, entry)):
            found.lost += 1
            found.wrong.append(f"note {note.id} is lost: {_said(entry)}")
        if not times and entry is not None and entry.state == "delivered":
            found.wrong.append(f"note {note.id} is called delivered, and Kiva does not have it")
    found.wrong += [f"Kiva has a text that nobody marked for it: {text!r}" for text in posted]


def _lost_attempts(tx: sa.Connection) -> dict[int, list[Any]]:
    """The attempts in doubt of each entry, oldest first."""
    query = (
        sa.select(table.batch_member.c.entry_id, table.attempt)
        .join(table.attempt, table.attempt.c.batch_id == table.batch_member.c.batch_id)
        .where(table.attempt.c.outcome == "in_doubt")
        .order_by(table.attempt.c.id)
    )
    attempts: dict[int, list[Any]] = {}
    for row in tx.execute(query):
        attempts.setdefault(row.entry_id, []).append(row)
    return attempts


def _unfounded(case: Case, entry: Any) -> list[str]:
    """Why a doubt is none: the stand-in's log says that the answer arrived, and the process lived to read it."""
    attempts = case.attempts.get(entry.id)
    if entry.reason == store.KNOWN_FROM_WITNESS and (entry.resource, entry.identity) in case.unanswered:
        return []  # the outbox's server was lost, and it was killed before the answer was written down
    if not attempts:
        return [f"entry {entry.id} is in doubt without an attempt whose answer was lost"]
    number = attempts[-1].outbox or case.outbox_id
    request = case.requests.get(str(uuid.uuid5(uuid.NAMESPACE_URL, f"{number}/{attempts[-1].id}")))
    if attempts[-1].detail == "the process ended":
        return []  # it was killed between telling the witness and writing the answer down
    if request is None:
        return [f"entry {entry.id} is in doubt, and nothing was ever sent"]
    if request["outcome"] in _LOSES_AN_ANSWER or request["fault"] in ("garbage", "status"):
        return []
    return [f"entry {entry.id} is in doubt, and its answer arrived: {request}"]


def _needs_person(entry: Any) -> bool:
    return entry is not None and (entry.state == "in_doubt" or entry.reason == "older_in_flight")


def _said(entry: Any) -> str:
    return "nothing in the outbox" if entry is None else f"entry {entry.id} {entry.state} {entry.reason or ''}"
