"""What the judge gets, and what it finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from kiva_relay.outbox.entry import Entry
from testbed.judge.expected import Expected
from testbed.judge.history import History

Kind = Literal["lost", "duplicated", "different"]


@dataclass(frozen=True)
class Case:
    """Everything that is compared.

    `ledger` and `loans` are as the stand-in gives them (`Sandbox.ledger`, `Sandbox.loans`); `entries` is the whole
    outbox; `doubted` the numbers of the entries that had an attempt whose answer was lost; `since` the day from
    which drafts and journals are ours.
    """

    owed: Expected
    history: History
    since: date
    ledger: Sequence[Mapping[str, Any]]
    loans: Sequence[Mapping[str, Any]]
    entries: Sequence[Entry]
    doubted: frozenset[int]

    def records(self, resource: str) -> list[Mapping[str, Any]]:
        """What Kiva accepted of one resource, oldest first."""
        return [record for record in self.ledger if record["resource"] == resource]

    def versions(self, resource: str) -> dict[str, list[Entry]]:
        """The entries of one resource by identity, oldest first."""
        found: dict[str, list[Entry]] = {}
        for entry in sorted(self.entries, key=lambda one: one.version):
            if entry.resource == resource:
                found.setdefault(entry.identity, []).append(entry)
        return found


@dataclass(frozen=True, order=True)
class Discrepancy:
    """One thing that is not as it should be."""

    kind: Kind
    resource: str
    loan_id: str
    text: str


@dataclass
class Sum:
    """One line of the last screen: of `owed`, `held` are at Kiva; `adopted` of these were there before us."""

    owed: int = 0
    held: int = 0
    adopted: int = 0
    postings: int = 0


@dataclass
class Judgement:
    """What the judge found. `refused` and `waiting` are entries on record, with a reason that the MIS bears out."""

    sums: dict[str, Sum] = field(default_factory=lambda: {"loan_draft": Sum(), "repayment": Sum(), "journal": Sum()})
    differences: list[Discrepancy] = field(default_factory=list)
    refused: list[Entry] = field(default_factory=list)
    waiting: list[Entry] = field(default_factory=list)
    in_doubt: list[Entry] = field(default_factory=list)
    lost_answers: Counter[str] = field(default_factory=Counter)

    @property
    def answers_lost(self) -> int:
        """How many calls Kiva accepted without its answer arriving."""
        return self.lost_answers.total()

    @property
    def good(self) -> bool:
        """Everything as it should be."""
        return not self.differences

    def count(self, kind: Kind, resource: str | None = None) -> int:
        """How many differences of a kind, of one resource or of all."""
        return sum(1 for one in self.differences if one.kind == kind and resource in (None, one.resource))

    def add(self, kind: Kind, resource: str, loan_id: str, text: str) -> None:
        """Put a difference down."""
        self.differences.append(Discrepancy(kind, resource, loan_id, text))
