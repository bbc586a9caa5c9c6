"""A trial run over the book: every row by the reader, the mapper and the decision of the real capture; none is written.

`rehearse`, `backfill --dry-run`, `mapping diff` and `mapping edit` print what it yields, a page at a time.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from zoneinfo import ZoneInfo

from kiva_relay.capture import facts, owed
from kiva_relay.capture.context import CaptureContext
from kiva_relay.capture.owed import KeyDecision, KeyFacts, MappedKey
from kiva_relay.config import settings as config
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import book, difference, lookup, mapper
from kiva_relay.mapping.book import BookDatabase
from kiva_relay.mapping.difference import Change
from kiva_relay.mapping.mapper import Context, Mapped
from kiva_relay.mapping.plan import Document
from kiva_relay.outbox import mirror
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.resource import window
from kiva_relay.resource.refusal import Refusal
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import Stream


class TrialOutcome(StrEnum):
    """What a backfill would make of a row."""

    OWED = "owed"  # it would be sent
    AT_KIVA = "at_kiva"  # Kiva has it already, under the same loan id
    OLDER = "older"  # older than `since`: posted by hand, and stays so
    KNOWN = "known"  # the outbox has it already
    WAITING = "waiting"  # not complete yet, a person decides, or its loan is not at Kiva
    REFUSED = "refused"  # the mapping or our checks say no
    NOTHING = "nothing"  # of a position: Kiva expects no report of this loan now


@dataclass(frozen=True)
class TrialRow:
    """One row in scope: what the mapping makes of it, and what would be owed for it. Bodies hold personal data."""

    key: str
    mapped: Mapped
    decision: KeyDecision
    outcome: TrialOutcome

    @property
    def loan(self) -> str:
        """What a person calls it: the loan's id, or the identity, or the row's key in the MIS."""
        return self.mapped.loan_id or self.mapped.identity or f"row {self.key}"

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Why it would be refused."""
        return () if self.decision.owed is None else self.decision.owed.refusals


@dataclass(frozen=True)
class TrialPage:
    """Some rows of a mapping; `done` were read with them, of `total` that were in scope at its beginning."""

    rows: tuple[TrialRow, ...]
    done: int
    total: int


class TrialBook(BookDatabase, Protocol):
    """What a trial run asks of the MIS; `source.mis.Mis` answers it."""

    def count(self, stream: Stream) -> int:
        """How many roots are in scope."""
        ...


def look(
    document: Document, settings: config.Settings, *, lists: lookup.Lists, now: datetime, first_start: datetime
) -> CaptureContext:
    """What a mapping's rows are tried with, as a backfill at this moment would decide them; moments with a zone."""
    return CaptureContext(
        document=document,
        settings=settings,
        origin="backfill",
        now=now,
        today=now.astimezone(ZoneInfo(settings.mis.timezone)).date(),
        report=window.report(settings, now),
        scan_number=1,
        lists=lists,
        first_start=first_start,
        aliases=lookup.loan_ids(settings.mapping_folders),
        photos="sha256",
    )


class Trial:
    """A backfill of one MIS that writes nothing.

    Kiva's list is what `listed` keeps of it. Without it, Kiva is taken to have the loan of every journal and to expect
    a report of every loan: then a trial shows what the mappings are good for.
    """

    def __init__(self, mis: TrialBook, *, listed: Outbox | None, known: Collection[tuple[str, str]] = ()) -> None:
        """`known` are the resources and identities of which the outbox has an entry."""
        self._mis, self._listed, self._known = mis, listed, known
        self._claimed: dict[tuple[str, str], tuple[str, str]] = {}

    def pages(self, look: CaptureContext) -> Iterator[TrialPage]:
        """Every row that the mapping of `look` covers, in the order of the keys.

        Raises:
            RelayError: the MIS does not answer, or refuses a query.
        """
        stream = look.document.stream
        total, done = self._mis.count(stream), 0
        for contents in book.contents(stream, self._mis, cutoff=look.report.cutoff):
            done += len(contents)
            yield TrialPage(self._rows(look, [one for one in contents if owed.is_in_scope(one)]), done, total)

    def _rows(self, look: CaptureContext, contents: Sequence[Content]) -> tuple[TrialRow, ...]:
        rows = [
            MappedKey(one.key, None, mapper.apply(look.document, one, context=look.context), "") for one in contents
        ]
        claims = [KeyFacts(other_row=self._other_row(look, row)) for row in rows]
        if self._listed is None:
            known = [_willing(look, row, claim) for row, claim in zip(rows, claims, strict=True)]
        else:
            with self._listed.read() as tx:
                known = [facts.of_kiva(tx, look, row, claim) for row, claim in zip(rows, claims, strict=True)]
        return tuple(self._row(look, row, fact) for row, fact in zip(rows, known, strict=True))

    def _row(self, look: CaptureContext, row: MappedKey, known: KeyFacts) -> TrialRow:
        decision = owed.decide(look, row, known)
        return TrialRow(row.key, row.mapped, decision, outcome(decision, self._known))

    def _other_row(self, look: CaptureContext, row: MappedKey) -> tuple[str, str] | None:
        """Another row of this trial with the same identity."""
        if row.mapped.identity is None:
            return None
        itself = (look.document.name, row.key)
        first = self._claimed.setdefault((look.document.resource, row.mapped.identity), itself)
        return None if first == itself else first


def outcome(decision: KeyDecision, known: Collection[tuple[str, str]]) -> TrialOutcome:
    """What would become of a row. `known` are the resources and identities of which the outbox has an entry."""
    result = decision.owed
    if result is None:
        return TrialOutcome.OLDER if decision.captured.baselined else TrialOutcome.NOTHING
    if (result.resource, result.identity) in known:
        return TrialOutcome.KNOWN
    if result.adopted is not None:
        return TrialOutcome.AT_KIVA
    if result.refusals:
        return TrialOutcome.REFUSED
    return TrialOutcome.OWED if result.waits is None else TrialOutcome.WAITING


def _willing(look: CaptureContext, row: MappedKey, claim: KeyFacts) -> KeyFacts:
    """The same facts, where Kiva has every loan under the MIS's own id and expects a report of it."""
    if look.document.resource == "loan_draft":
        return claim
    ids = owed.ids_to_look_up(look, row, claim)
    return dataclasses.replace(claim, at_kiva={one: MirroredLoan("", one, "", mirror.EXPECTED[0]) for one in ids[:1]})


# ---------------------------------------------------------------- counting


@dataclass(frozen=True)
class Reason:
    """One kind of refusal or warning; `about` is the value that was not understood, or the place in the body."""

    code: str
    about: str


@dataclass
class Tally:
    """What became of the rows of one mapping or resource. Reasons and warnings name the loans that they concern."""

    outcomes: Counter[TrialOutcome] = field(default_factory=Counter)
    reasons: dict[Reason, list[str]] = field(default_factory=lambda: defaultdict(list))
    warnings: dict[Reason, list[str]] = field(default_factory=lambda: defaultdict(list))
    examples: dict[Reason, Refusal] = field(default_factory=dict)
    filled: Counter[str] = field(default_factory=Counter)
    """How many of the bodies that would be sent have each field."""

    @property
    def rows(self) -> int:
        """How many were in scope."""
        return self.outcomes.total()

    def add(self, page: TrialPage) -> None:
        """Count a page."""
        for row in page.rows:
            self.outcomes[row.outcome] += 1
            if row.outcome is TrialOutcome.REFUSED:
                for refusal in row.refusals:
                    about = refusal.params.get("value") or difference.without_numbers(refusal.field)
                    self._note(self.reasons, Reason(refusal.code, about), refusal, row.loan)
            elif row.outcome is TrialOutcome.OWED and row.mapped.body is not None:
                self.filled.update(row.mapped.body.keys())
                for warning in row.mapped.warnings:
                    reason = Reason(warning.code, difference.without_numbers(warning.field))
                    self._note(self.warnings, reason, warning, row.loan)

    @staticmethod
    def by_number(found: Mapping[Reason, list[str]]) -> list[tuple[Reason, list[str]]]:
        """Reasons or warnings, those that concern most loans first."""
        return sorted(found.items(), key=lambda one: -len(one[1]))

    def _note(self, found: dict[Reason, list[str]], reason: Reason, example: Refusal, loan: str) -> None:
        """A loan counts once for each reason, however many of its rows have it."""
        if loan not in found[reason][-1:]:
            found[reason].append(loan)
        self.examples.setdefault(reason, example)


# ---------------------------------------------------------------- comparing two versions of a mapping


@dataclass(frozen=True)
class ComparedPage:
    """Some rows that two versions of a mapping were compared for: how many, and what an edit changes for them."""

    rows: int
    changes: tuple[Change, ...]


def compare(old: Document, new: Document, mis: BookDatabase, *, context: Context) -> Iterator[ComparedPage]:
    """What an edit of a mapping changes over the present book: exactly the rows whose outcome differs.

    Raises:
        RelayError: the MIS does not answer, or refuses what one of the two asks for.
    """
    touched = difference.touched(old, new)
    both = difference.both(old.stream, new.stream)
    for page in book.contents(both or old.stream, mis, cutoff=context.cutoff):
        edited = page
        if both is None:
            edited = mis.read(new.stream, [content.key for content in page], cutoff=context.cutoff)
        pairs = list(zip(page, edited, strict=True))
        yield _compared(old, new, pairs, context=context, touched=touched)
    if _covers(old.stream) == _covers(new.stream):
        return
    for page in book.contents(new.stream, mis, cutoff=context.cutoff):
        before = mis.read(old.stream, [content.key for content in page], cutoff=context.cutoff)
        pairs = [(was, now_is) for was, now_is in zip(before, page, strict=True) if not was.in_scope]
        yield _compared(old, new, pairs, context=context, touched=touched)


def _covers(stream: Stream) -> tuple[object, ...]:
    """What decides which rows a stream covers."""
    return stream.where, stream.table, stream.parameters


def _compared(
    old: Document,
    new: Document,
    pairs: Sequence[tuple[Content, Content]],
    *,
    context: Context,
    touched: set[str] | None,
) -> ComparedPage:
    changes = (difference.of_row((old, was), (new, now_is), context=context, touched=touched) for was, now_is in pairs)
    return ComparedPage(len(pairs), tuple(one for one in changes if one is not None))


@dataclass
class MappingDifference:
    """What an edit changes over the book. `rows` is how many were compared."""

    rows: int = 0
    changes: list[Change] = field(default_factory=list)

    def add(self, page: ComparedPage) -> None:
        """Count a page."""
        self.rows += page.rows
        self.changes += page.changes

    @property
    def bodies(self) -> list[Change]:
        """The changes by which Kiva would get something else than before."""
        return [change for change in self.changes if change.kind != "reason"]

    def fields(self) -> Counter[str]:
        """How often each field changes; the places in a list count as one field."""
        places = ({difference.without_numbers(path) for path, _, _ in change.fields} for change in self.changes)
        return Counter(path for found in places for path in found)
