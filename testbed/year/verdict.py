"""Where each loan has to stand when a report closed, by the judge; and what is wrong with a month, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from testbed.year import judge
from testbed.year.judge import Booking, KivaLoan, MisLoan, Scene
from testbed.year.months import Month

ACCEPTED, LEFT_OUT, MISSING = "accepted", "left_out", "missing"
WITHOUT, WRONG = "closed_without", "closed_wrong"

FELL, MORE_THAN_LENT, MORE_THAN_AT_KIVA = "position_fell", "position_exceeds_principal", "position_exceeds_kiva"
CURRENCY, TWICE, CASE = "other_currency", "id_shared_at_kiva", "perhaps_at_kiva"
LOST = ("not_in_mis", "out_of_scope", "gone")

MOST_NAMED = 12


@dataclass(frozen=True)
class Said:
    """What the coordinator said of a loan of Kiva's, as she remembers it, and the position that she saw.

    Of a report it holds for what she saw: another amount is another question. Which loan it is holds for life.
    What is `late` goes after the report has closed. `own`: the institution's id, where that is another one.
    """

    verb: str = ""
    value: str = ""
    saw: Decimal | None = None
    late: bool = False
    own: str = ""


@dataclass(frozen=True)
class Judged:
    """Where a loan stands: its id in the institution, the position of the institution, what Kiva holds, and what keeps them apart."""

    loan: KivaLoan
    key: str
    kind: str
    causes: frozenset[str]
    position: Decimal | None
    held: Decimal | None
    before: Decimal | None

    @property
    def nobody_decides(self) -> bool:
        """Is it one of those at which no person has to look?"""
        return not self.causes


@dataclass(frozen=True)
class Shown:
    """A line of the product's report."""

    kiva_id: str
    kind: str
    cause: str
    position: Decimal | None
    at_kiva: Decimal | None


@dataclass
class Verdict:
    """Of one month: how many loans stand where, and what is wrong."""

    month: Month
    counts: Counter[str] = field(default_factory=Counter)
    wrongs: list[str] = field(default_factory=list)

    def wrong(self, sentence: str) -> None:
        """One more thing that is wrong."""
        self.counts["wrong"] += 1
        if len(self.wrongs) < MOST_NAMED:
            self.wrongs.append(f"{self.month.period}: {sentence}")


def closed(scene: Scene, month: Month, said: Mapping[str, Said]) -> dict[str, Judged]:
    """Where every loan stands that Kiva expects, by `kiva_id`, now that the report is closed."""
    twins = Counter(judge.key(one.loan_id) for one in scene.expected)
    folded = {key.casefold(): key for key, rows in scene.mis.items() if any(row.is_reported for row in rows)}
    return {
        one.kiva_id: _stands(scene, month, one, said.get(one.kiva_id), twins=twins, folded=folded)
        for one in scene.expected
    }


def _stands(
    scene: Scene,
    month: Month,
    loan: KivaLoan,
    said: Said | None,
    *,
    twins: Mapping[str, int],
    folded: Mapping[str, str],
) -> Judged:
    booked: Sequence[Booking] = scene.bookings.get(loan.loan_id, ())
    held, before = judge.held(booked, month), judge.before(booked, month)
    key = judge.key(said.own if said is not None and said.own else loan.loan_id)
    rows = [row for row in scene.mis.get(key, ()) if row.is_reported]
    position = rows[0].position if rows else None
    verb = "" if said is None or said.saw != position else said.verb
    if verb == "leave_out":
        return Judged(loan, key, LEFT_OUT, frozenset({"person"}), position, held, before)
    if not rows:
        causes = {CASE} if key not in scene.mis and key.casefold() in folded else set(LOST)
        if twins[judge.key(loan.loan_id)] > 1:
            causes.add(TWICE)  # both are so
        return Judged(loan, key, WITHOUT if held is None else WRONG, frozenset(causes), None, held, before)
    asked = _asked(rows[0], loan, before, twice=twins[judge.key(loan.loan_id)] > 1)
    if said is not None and said.late:
        held = judge.held(booked, month, also_late=True)
    if verb in {"send", "value", "keep"}:
        wanted = {"send": position, "value": Decimal(said.value or 0) if said else None, "keep": before}[verb]
        return Judged(loan, key, ACCEPTED if held == wanted else WRONG, frozenset({"person"}), wanted, held, before)
    if asked:
        return Judged(loan, key, WITHOUT if held is None else WRONG, asked, position, held, before)
    return Judged(loan, key, ACCEPTED, frozenset(), position, held, before)


def _asked(row: MisLoan, loan: KivaLoan, before: Decimal | None, *, twice: bool) -> frozenset[str]:
    """Why a person has to decide."""
    found = {
        TWICE: twice,
        FELL: before is not None and row.repaid < row.on_basis(before),
        MORE_THAN_LENT: row.repaid > row.lent,
        MORE_THAN_AT_KIVA: max(row.repaid, row.position) > loan.price > 0,
        CURRENCY: loan.currency not in {"", row.currency},
    }
    return frozenset(cause for cause, applies in found.items() if applies)


def positions(verdict: Verdict, judged: Mapping[str, Judged]) -> None:
    """What Kiva holds is what the transactions say, of every loan that nobody had to decide."""
    for one in judged.values():
        verdict.counts["expected"] += 1
        if one.nobody_decides:
            verdict.counts["undisputed"] += 1
            if one.held != one.position:
                verdict.wrong(f"{one.loan.loan_id!r}: Kiva holds {one.held}, the transactions say {one.position}")
        for cause in one.causes:
            verdict.counts[cause] += 1


def nothing_invented(verdict: Verdict, scene: Scene, judged: Mapping[str, Judged], opening: Scene) -> None:
    """No amount for what the institution did not have all the while, no 0 that it does not say, nothing out of hours.

    What a person sends late is judged by its line alone: look before she does.
    """
    for one in judged.values():
        had = any(row.is_reported for each in (scene, opening) for row in each.mis.get(one.key, ()))
        if one.held is not None and not had:
            verdict.wrong(f"{one.loan.loan_id!r}: Kiva holds {one.held}, and the institution has no such loan")
        if one.held == 0 and one.position not in {0, None}:
            verdict.wrong(f"{one.loan.loan_id!r}: Kiva holds a 0 that was invented; it is {one.position}")
    month = verdict.month
    for loan_id, booked in scene.bookings.items():
        for each in booked:
            if month.closes <= each.at:
                verdict.wrong(f"{loan_id!r}: {each.amount} came at {each.at}, when the report was closed")


def lines(verdict: Verdict, judged: Mapping[str, Judged], shown: Sequence[Shown]) -> None:
    """The product's lines are the judge's: one for each loan that Kiva expects, of the same kind, for the same reason."""
    numbers = Counter(one.kiva_id for one in shown)
    for kiva_id, number in numbers.items():
        if number > 1:
            verdict.wrong(f"loan {kiva_id} of Kiva's stands in {number} lines")
        if kiva_id not in judged:
            verdict.wrong(f"loan {kiva_id} of Kiva's has a line, and nothing is expected of it")
    for kiva_id, one in judged.items():
        if kiva_id not in numbers:
            verdict.wrong(f"{one.loan.loan_id!r} ({kiva_id}) has no line; it is {one.kind} for {sorted(one.causes)}")
    for each in shown:
        one_judged = judged.get(each.kiva_id)
        if one_judged is None:
            continue
        name = repr(one_judged.loan.loan_id)
        if each.kind != one_judged.kind:
            verdict.wrong(
                f"{name} stands as {each.kind} ({each.cause}), and is {one_judged.kind} ({sorted(one_judged.causes)}):"
                f" {one_judged.position} in the MIS, {one_judged.held} at Kiva, {one_judged.before} before"
            )
        elif each.kind in {WITHOUT, WRONG} and each.cause not in one_judged.causes:
            verdict.wrong(f"{name} is {each.kind} for {each.cause}, and not for {sorted(one_judged.causes)}")
        if each.at_kiva != one_judged.held:
            verdict.wrong(f"{name}: its line says that Kiva holds {each.at_kiva}; it holds {one_judged.held}")


def accounted(verdict: Verdict, judged: Mapping[str, Judged], counted: Mapping[str, int]) -> None:
    """What the report says in sum is what Kiva expects."""
    verdict.counts.update({f"line: {kind}": number for kind, number in counted.items()})
    total = sum(counted.values())
    if total != len(judged):
        verdict.wrong(f"the report accounts for {total} loans, and Kiva expects {len(judged)}")
