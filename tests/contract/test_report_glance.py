"""An open report at a glance says what a whole reading says: the same numbers, the same lines in the same places."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, CursorResult

from kiva_relay.account import asked, part, standing, task
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import decision, decisions, hold, mirror, report, report_table, table, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.person import Person
from kiva_relay.outbox.report import Report
from kiva_relay.page import view
from kiva_relay.report import accepted, calendar, current, glance, month
from kiva_relay.report import facts as facts_of
from kiva_relay.report.line import ReportLineKind
from kiva_relay.resource import loan_id as spelled
from kiva_relay.words import language
from testbed.rig import capturing
from testbed.rig.month import CLOSING, OPENING, WINDOW

PERIOD = "2026-11"
NOW = datetime(2026, 12, 2, 9, 0, tzinfo=UTC)
SETTINGS = capturing.settings(repayments=WINDOW, mis={"timezone": "UTC"}).model_copy(
    update={"resources": ("repayment",)}
)

BY_KIVA = [{"code": "kiva_said_no", "field": "", "params": {"text": 'it is "no"'}}]
BY_US = [{"code": "amount_negative", "field": "amount", "params": {"value": '"code":"kiva_said_no"'}}]
SINGLE: tuple[dict[str, Any], ...] = (
    {"state": "ready"},
    {"state": "ready", "stream": "repayment.b"},
    {"state": "waiting", "reason": "position_fell"},
    {"state": "waiting", "reason": "position_exceeds_kiva"},
    {"state": "waiting", "reason": "perhaps_at_kiva"},
    {"state": "waiting", "reason": "lists_unknown"},
    {"state": "waiting", "reason": "of_a_newer_version"},
    {"state": "sending"},
    {"state": "in_doubt", "reason": "answer_lost"},
    {"state": "delivered", "evidence": "receipt", "receipt": {"upload_id": "88121"}},
    {"state": "delivered", "evidence": "warned", "receipt": {"problems": [{"details": "not all could be read"}]}},
    {"state": "refused", "refusals": BY_US, "body": None},
    {"state": "refused", "refusals": BY_KIVA},
    {"state": "refused", "refusals": BY_KIVA, "done_at": NOW},
    {"state": "discarded", "reason": "person"},
    {"state": "withdrawn", "reason": "left_out"},
    {"state": "withdrawn", "reason": "left_scope"},
)
SEVERAL: tuple[tuple[dict[str, Any], ...], ...] = (
    (SINGLE[9], SINGLE[0]),
    (SINGLE[9], SINGLE[2]),
    (SINGLE[9], SINGLE[9]),
    (SINGLE[16], SINGLE[3]),
    ({"state": "superseded"}, SINGLE[2]),
    ({"state": "superseded"},),
    (SINGLE[9], SINGLE[15]),
)
ROWS: tuple[dict[str, Any] | None, ...] = ({}, {"in_scope": False}, {"in_scope": False, "gone": True}, None)


class Book:
    """A report of some loans, each in a situation that is drawn."""

    def __init__(self, outbox: Outbox, seed: int) -> None:
        self.outbox, self.dice = outbox, random.Random(seed)
        self.entries, self.loans = itertools.count(1), list[MirroredLoan]()

    def lay_down(self, number: int) -> None:
        """So many loans that Kiva expects, and some that it does not."""
        with self.outbox.begin() as tx:
            report.open_(
                tx, Report(PERIOD, date(2026, 11, 30), "cumulative_principal", OPENING, CLOSING, opened_at=OPENING)
            )
            watermark.begin(tx, "repayment")
            if self.dice.random() < 0.7:
                watermark.end_scan(tx, watermark.watermarks(tx)["repayment"], now=NOW)
            for place in range(number):
                self._loan(tx, place)
            refresh = mirror.begin_refresh(tx, now=NOW)
            mirror.keep(tx, refresh, self.loans)
            mirror.end_refresh(tx, refresh, complete=True, listed=number, detail=None, now=NOW)
            if self.dice.random() < 0.3:
                hold.put(tx, self.dice.choice(["repayment", "stream:repayment.b"]), "first_report", now=NOW)

    def _loan(self, tx: Connection, place: int) -> None:
        dice, loan_id = self.dice, f"{place:05}"
        status = dice.choice(["payingBack"] * 8 + ["defaulted", "ended"])
        self._lists(place, loan_id, status)
        if dice.random() < 0.06:  # another loan of Kiva's, with this id, or one that differs in case
            self._lists(10_000 + place, dice.choice([loan_id, f"{loan_id} "]), "payingBack")
        if (drawn := dice.random()) < 0.6:
            self._enters(tx, loan_id, (dice.choice(SINGLE),))
        elif drawn < 0.75:
            self._enters(tx, loan_id, dice.choice(SEVERAL))
        elif (row := dice.choice(ROWS)) is not None:
            seen = capturing.seen("repayment", key=loan_id, identity=loan_id, lent="500", client_id="C", **row)
            watermark.keep(tx, seen, new=True)
        if dice.random() < 0.1:
            self._enters(tx, loan_id, (SINGLE[9],), period="2026-10")
        if dice.random() < 0.15:
            decided: dict[str, Any] = {
                "period": PERIOD,
                "kiva_id": f"k{place:05}",
                "loan_id": loan_id,
                "note": "x",
                "late": False,
            }
            seen_of = {"position": "150", "lent_at_kiva": dice.choice(["500", "400"]), "currency": "XOF"}
            verb = dice.choice(["send", "leave_out"])
            decision.put(tx, verb=verb, value=None, seen=seen_of, by="awa", now=NOW, **decided)

    def _lists(self, place: int, loan_id: str, status: str) -> None:
        self.loans.append(MirroredLoan(f"k{place:05}", loan_id, "", status, "500", "XOF"))

    def _enters(
        self, tx: Connection, loan_id: str, versions: tuple[dict[str, Any], ...], *, period: str = PERIOD
    ) -> None:
        known = tx.execute(sa.select(sa.func.max(table.entry.c.version)).where(table.entry.c.identity == loan_id))
        for version, changes in enumerate(versions, start=(known.scalar() or 0) + 1):
            number = next(self.entries)
            row = {
                "id": number, "resource": "repayment", "identity": loan_id, "version": version, "stream": "repayment",
                "key": loan_id, "loan_id": loan_id, "loan_fold": spelled.fold(loan_id), "amount": "150",
                "period": period, "origin": "report", "due_at": NOW, "created_at": NOW, "changed_at": NOW,
                "body": '{"amount":150}',
            } | changes  # fmt: skip
            if row["state"] in ("delivered", "superseded", "withdrawn", "discarded"):
                row["settled_at"] = NOW
            tx.execute(sa.insert(table.entry).values(**row))
            position = {"entry_id": number, "basis": "cumulative_principal", "lent": "500", "scheduled": "40"}
            tx.execute(sa.insert(report_table.position).values(**position))
            if row.get("evidence") == "warned":
                tx.execute(sa.insert(table.batch).values(id=number, resource="repayment", created_at=NOW))
                tx.execute(sa.insert(table.batch_member).values(batch_id=number, entry_id=number, place=0))


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sends", [True, False])
def test_a_glance_says_what_a_whole_reading_says(outbox: Outbox, settings: Settings, *, seed: int, sends: bool) -> None:
    Book(outbox, seed).lay_down(90)
    settings = settings.model_copy(update={"kiva": settings.kiva.model_copy(update={"send": sends})})
    with outbox.read() as tx:
        whole = current.lines_of(tx, settings, PERIOD, NOW)
        seen = glance.every(tx, settings, PERIOD, basis="cumulative_principal")
        assert Counter((one.kind, one.cause) for one in whole) == Counter(
            {(kind, cause): number for (kind, cause, _), number in seen.glance.numbers.items()}
        )
        assert seen.glance.alike, "some are counted"
        assert seen.glance.odd, "and some are not"
        assert tuple(seen) == whole
        for kind in ReportLineKind:
            mine = tuple(one for one in whole if one.kind is kind)
            found = seen.only(partial(is_of, kind))
            assert (len(found), tuple(found)) == (len(mine), mine)
            for size in (1, 7):
                assert [found[place : place + size] for place in range(0, len(mine) + 2, 3)] == [
                    mine[place : place + size] for place in range(0, len(mine) + 2, 3)
                ]
            assert [found[-1], found[0], found[::-1]] == [mine[-1], mine[0], mine[::-1]] if mine else not found


@pytest.mark.parametrize("seed", range(4))
def test_a_month_in_parts_is_the_same_month(outbox: Outbox, settings: Settings, *, seed: int) -> None:
    Book(outbox, seed).lay_down(90)
    with outbox.read() as tx:
        whole, parts = (month.read(tx, settings, PERIOD, now=NOW, in_parts=in_parts) for in_parts in (False, True))
        assert (parts.numbers, parts.sent, parts.accounted_for) == (whole.numbers, whole.sent, whole.accounted_for)
        assert (parts.verdict, parts.not_read, parts.expected) == (whole.verdict, whole.not_read, whole.expected)
        assert tuple(parts.exceptions) == tuple(whole.exceptions)
        for kind in ReportLineKind:
            if kind is not ReportLineKind.ACCEPTED:
                assert tuple(parts.of_kind(kind)) == tuple(whole.of_kind(kind))
            assert parts.sums(kind) == whole.sums(kind)


@pytest.mark.parametrize("seed", range(4))
def test_tasks_in_parts_are_the_same_tasks(outbox: Outbox, settings: Settings, *, seed: int) -> None:
    Book(outbox, seed).lay_down(90)
    with outbox.read() as tx:
        facts, in_parts = (standing.gather(tx, settings, now=NOW, in_parts=way) for way in (False, True))
        assert facts.report.is_open
        assert (len(in_parts.decisions), tuple(in_parts.decisions)) == (len(facts.decisions), facts.decisions)
        one, other = asked.whole(tx, facts), asked.in_parts(tx, in_parts)
        assert (other.absent, other.alone, other.missing) == (one.absent, one.alone, one.missing)
        assert tuple(other.to_decide) == one.to_decide
        whole, parts = task.tasks(tx, facts), task.tasks(tx, in_parts, in_parts=True)
        assert [(each.kind, part.how_many(each)) for each in parts] == [
            (each.kind, part.how_many(each)) for each in whole
        ]
        for left, right in zip(whole, parts, strict=True):
            for first in range(0, part.how_many(left), 4):
                assert shown(part.some(left, first, 4)) == shown(part.some(right, first, 4))


def is_of(kind: ReportLineKind, each: ReportLineKind, _cause: str) -> bool:
    return each is kind


def shown(one: task.Task) -> Any:
    """A part of a task, to be compared; a task as a whole holds what is read when somebody looks at it."""
    return replace(one, part_of=None)


@pytest.mark.parametrize("seed", range(4))
def test_the_amounts_of_each_loan_are_those_of_its_line(outbox: Outbox, settings: Settings, *, seed: int) -> None:
    """An auditor, and who compares with last month's file, look at each loan: also once the report has closed."""
    Book(outbox, seed).lay_down(90)
    names = ("kiva_id", "loan_id", "kind", "cause", "currency", "position", "at_kiva", "lent", "lent_at_kiva")
    for closed in (False, True):
        with outbox.begin() as tx:
            if closed:
                of_period = report.of(tx, PERIOD)
                assert of_period is not None
                calendar.close(tx, settings, of_period, now=NOW)
            facts, glanced = (month.read(tx, settings, PERIOD, now=NOW, amounts=way) for way in (True, False))
            assert (facts.accepted, facts.verdict) == (glanced.accepted, glanced.verdict)
            whole = month.read(tx, settings, PERIOD, now=NOW, whole=True)
            assert whole.numbers[ReportLineKind.ACCEPTED]
            found = [tuple(getattr(one, name) for name in names) for one in facts.amounts]
            assert found == [tuple(getattr(one, name) for name in names) for one in whole.lines]


def test_what_no_line_tells_stands_behind_the_lines(outbox: Outbox, settings: Settings) -> None:
    """On the page of a task nothing but lines was shown, and its last page was an error."""
    book = Book(outbox, 1)
    with outbox.begin() as tx:
        report.open_(
            tx, Report(PERIOD, date(2026, 11, 30), "cumulative_principal", OPENING, CLOSING, opened_at=OPENING)
        )
        refresh = mirror.begin_refresh(tx, now=NOW)
        mirror.keep(tx, refresh, [MirroredLoan(f"k{one}", one, "", "payingBack", "500", "XOF") for one in ("A", "B")])
        mirror.end_refresh(tx, refresh, complete=True, listed=2, detail=None, now=NOW)
        for loan_id in ("A", "B", "C", "D"):  # Kiva expects nothing of the last two any more
            book._enters(tx, loan_id, (SINGLE[2],))
    with outbox.read() as tx:
        facts = standing.gather(tx, settings, now=NOW, in_parts=True)
        (decide,) = (one for one in task.tasks(tx, facts, in_parts=True) if isinstance(one, task.DecidePositions))
        assert part.how_many(decide) == 4
        parts = [part.some(decide, first, 3) for first in (0, 3)]
        ids = [
            ([line.loan_id for line in one.lines], [entry.loan_id for entry in one.alone])
            for one in parts
            if isinstance(one, task.DecidePositions)
        ]
    assert ids == [(["A", "B"], ["C"]), ([], ["D"])]


def test_of_five_hundred_lines_the_first_page_reads_ten(
    outbox: Outbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(outbox, 1)
    with outbox.begin() as tx:
        report.open_(
            tx, Report(PERIOD, date(2026, 11, 30), "cumulative_principal", OPENING, CLOSING, opened_at=OPENING)
        )
        for place in range(500):
            book._lists(place, f"{place:05}", "payingBack")
            book._enters(tx, f"{place:05}", (SINGLE[2],))
        refresh = mirror.begin_refresh(tx, now=NOW)
        mirror.keep(tx, refresh, book.loans)
        mirror.end_refresh(tx, refresh, complete=True, listed=500, detail=None, now=NOW)
    read, position = list[int](), facts_of._position

    def noted(row: Sequence[Any]) -> Any:
        read.append(row[0])
        return position(row)

    monkeypatch.setattr(facts_of, "_position", noted)
    with outbox.read() as tx:
        facts = standing.gather(tx, settings, now=NOW, in_parts=True)
        shown = view.today(tx, facts, Person("ann", "coordinator", "en"), language.of("en"))
        assert len(read) == view.AT_ONCE, "the others were counted"
        assert isinstance(facts.decisions, decisions.Decisions)
        assert "_entries" not in vars(facts.decisions)
        (card,) = (card for group in shown.groups for card in group.cards if card.name == "decide")
        assert card.title.startswith("500 ")
        read.clear()
        told = view.one(tx, facts, Person("ann", "coordinator", "en"), language.of("en"), name="decide", page=50)
        assert told is not None
        assert (told.page, told.pages, len(read)) == (50, 50, 10)
        assert "00499" in "".join(piece.text for line in told.lines for piece in line.pieces)


def test_amounts_are_those_of_the_whole_reading(outbox: Outbox, settings: Settings) -> None:
    book = Book(outbox, 2)
    book.lay_down(40)
    with outbox.read() as tx:
        lines = current.lines_of(tx, settings, PERIOD, NOW)
        assert {one.position for one in lines} <= {Decimal(150), None}
        for one in lines:
            assert current.lines_with(tx, settings, PERIOD, [one.kiva_id]) == [one]


def test_accepted_loans_are_read_some_thousands_at_a_time(
    outbox: Outbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row by row a hundred thousand took twice the time."""
    Book(outbox, 2).lay_down(90)
    read, fetch = list[int](), CursorResult._fetchmany_impl

    def noted(result: CursorResult[Any], size: int | None = None) -> Sequence[Any]:
        rows: Sequence[Any] = fetch(result, size)
        read.append(len(rows))
        return rows

    monkeypatch.setattr(CursorResult, "_fetchmany_impl", noted)
    with outbox.read() as tx:
        number = month.read(tx, settings, PERIOD, now=NOW).accepted.number
        assert number > 1
        for loans in (accepted.amounts(tx, PERIOD, closed=False), accepted.lines(tx, PERIOD)):
            read.clear()
            assert len(list(loans)) == number
            assert read[:1] == [number]
