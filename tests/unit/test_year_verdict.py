"""The judge of the played year notices what is wrong: each error is planted, one at a time, into a month that is right."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from testbed.year import judge, months, verdict
from testbed.year.judge import Booking, KivaLoan, MisLoan, Scene
from testbed.year.verdict import Said, Shown, Verdict

MONTH = next(months.months(date(2026, 11, 1), 1))
IN_TIME = MONTH.opens + timedelta(days=2)
EARLIER = MONTH.opens - timedelta(days=25)


def mis(identity: str, repaid: str, *, lent: str = "500", in_fund: bool = True, currency: str = "XOF") -> MisLoan:
    return MisLoan(identity, in_fund, is_lent=True, lent=Decimal(lent), repaid=Decimal(repaid), currency=currency)


def kiva(number: int, loan_id: str, *, price: str = "500", currency: str = "XOF") -> KivaLoan:
    return KivaLoan(str(number), loan_id, "C1", "payingBack", Decimal(price), currency)


def took(amount: str, at: object = IN_TIME) -> Booking:
    return Booking(Decimal(amount), at, "88120", is_error=False)  # type: ignore[arg-type]


def scene() -> Scene:
    """Eleven loans, one of each kind."""
    rows = [
        mis("A", "100"),
        mis("LOAN/2/2026", "0"),
        mis("fell", "80"),
        mis("more", "510"),
        mis("half", "300"),
        mis("moved", "70", in_fund=False),
        mis("Case", "10"),
        mis("twice", "20"),
        mis("left", "30"),
        mis("said", "40"),
    ]
    expected = [
        kiva(1, "A "),
        kiva(2, "LOAN/2/2026"),
        kiva(3, "fell"),
        kiva(4, "more", price="600"),
        kiva(5, "half", price="250"),
        kiva(6, "moved"),
        kiva(7, "cASE"),
        kiva(8, "twice"),
        kiva(9, "twice"),
        kiva(10, "left"),
        kiva(11, "said"),
    ]
    bookings = {
        "A ": [took("90", EARLIER), took("95"), took("100")],
        "LOAN/2/2026": [took("0")],
        "fell": [took("90", EARLIER)],
        "said": [took("41")],
    }
    return Scene({judge.key(row.identity): [row] for row in rows}, expected, bookings)


SAID = {"10": Said("leave_out", saw=Decimal(30)), "11": Said("value", "41", Decimal(40))}


def shown(at: Scene) -> list[Shown]:
    """The lines of a report that is right."""
    return [
        Shown(number, one.kind, next(iter(sorted(one.causes)), ""), one.position, one.held)
        for number, one in verdict.closed(at, MONTH, SAID).items()
    ]


def wrongs(at: Scene, given: list[Shown]) -> list[str]:
    found, judged = Verdict(MONTH), verdict.closed(at, MONTH, SAID)
    verdict.positions(found, judged)
    verdict.nothing_invented(found, at, judged, at)
    verdict.lines(found, judged, given)
    verdict.accounted(found, judged, {"accepted": len(given)})
    return found.wrongs


def test_nothing_is_wrong_with_a_month_that_is_right() -> None:
    right = scene()
    assert wrongs(right, shown(right)) == []
    kinds = {one.loan.loan_id: (one.kind, sorted(one.causes)) for one in verdict.closed(right, MONTH, SAID).values()}
    assert kinds == {
        "A ": ("accepted", []),
        "LOAN/2/2026": ("accepted", []),
        "fell": ("closed_without", ["position_fell"]),
        "more": ("closed_without", ["position_exceeds_principal"]),
        "half": ("closed_without", ["position_exceeds_kiva"]),
        "moved": ("closed_without", ["gone", "not_in_mis", "out_of_scope"]),
        "cASE": ("closed_without", ["perhaps_at_kiva"]),
        "twice": ("closed_without", ["id_shared_at_kiva"]),
        "left": ("left_out", ["person"]),
        "said": ("accepted", ["person"]),
    }


def test_what_a_person_said_holds_for_the_amount_that_she_saw() -> None:
    at = scene()
    given = shown(at)
    at.mis["left"] = [mis("left", "31")]
    assert verdict.closed(at, MONTH, SAID)["10"].kind == "accepted"
    assert any("'left' stands as left_out (person), and is accepted" in wrong for wrong in wrongs(at, given))


def _book(loan_id: str, *booked: Booking) -> Callable[[Scene], None]:
    def plant(at: Scene) -> None:
        at.bookings[loan_id] = [*booked]

    return plant


@pytest.mark.parametrize(
    ("plant", "noticed"),
    [
        (_book("A ", took("99.99")), "'A ': Kiva holds 99.99, the transactions say 100"),
        (_book("A ", took("100"), took("95")), "Kiva holds 95, the transactions say 100"),
        (_book("A "), "Kiva holds None, the transactions say 100"),
        (_book("A ", took("100", EARLIER)), "Kiva holds None, the transactions say 100"),
        (_book("moved", took("0")), "'moved': Kiva holds 0, and the institution has no such loan"),
        (_book("A ", took("100"), took("0")), "Kiva holds a 0 that was invented; it is 100"),
        (_book("A ", took("100"), took("101", MONTH.closes)), "when the report was closed"),
    ],
    ids=[
        "a cent less",
        "an older one after it",
        "never sent",
        "before the window",
        "of a loan not there",
        "a 0",
        "late",
    ],
)
def test_what_kiva_took_wrong_is_noticed(plant: Callable[[Scene], None], noticed: str) -> None:
    at = scene()
    right = shown(at)
    plant(at)
    assert any(noticed in wrong for wrong in wrongs(at, right)), wrongs(at, right)


def _without(place: int) -> Callable[[list[Shown]], list[Shown]]:
    return lambda given: [*given[:place], *given[place + 1 :]]


def _with(place: int, **changes: object) -> Callable[[list[Shown]], list[Shown]]:
    return lambda given: [
        replace(one, **changes) if number == place else one  # type: ignore[arg-type]
        for number, one in enumerate(given)
    ]


@pytest.mark.parametrize(
    ("plant", "noticed"),
    [
        (_without(0), "'A ' (1) has no line"),
        (_without(5), "'moved' (6) has no line"),
        (lambda given: [*given, given[0]], "loan 1 of Kiva's stands in 2 lines"),
        (lambda given: [*given, replace(given[0], kiva_id="99")], "loan 99 of Kiva's has a line"),
        (_with(5, kind="accepted", cause=""), "'moved' stands as accepted (), and is closed_without"),
        (_with(0, kind="closed_wrong", cause="window_closed"), "'A ' stands as closed_wrong"),
        (_with(2, cause="other_currency"), "'fell' is closed_without for other_currency"),
        (_with(0, at_kiva=Decimal(95)), "its line says that Kiva holds 95; it holds 100"),
        (_without(9), "the report accounts for 10 loans, and Kiva expects 11"),
    ],
)
def test_a_wrong_line_is_noticed(plant: Callable[[list[Shown]], list[Shown]], noticed: str) -> None:
    at = scene()
    given = plant(shown(at))
    assert any(noticed in wrong for wrong in wrongs(at, given)), wrongs(at, given)


@pytest.mark.parametrize("module", ["judge", "verdict", "months"])
def test_the_judge_imports_nothing_of_the_product_but_its_fields(module: str) -> None:
    file = importlib.import_module(f"testbed.year.{module}").__file__
    tree = ast.parse(Path(str(file)).read_text(encoding="utf-8"))
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert [one for one in names if one.startswith("kiva_relay") and not one.startswith("kiva_relay.resource")] == []
