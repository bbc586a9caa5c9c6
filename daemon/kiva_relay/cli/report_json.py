"""The report for programs: codes and parameters, no sentences; amounts are texts."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from kiva_relay.outbox.act import Done
from kiva_relay.outbox.decision import Decision
from kiva_relay.report.comparison import ComparedLoan, Comparison
from kiva_relay.report.line import LoanAmounts, ReportLine
from kiva_relay.report.month import Month


def of(facts: Month) -> dict[str, Any]:
    """The report, and the lines at which a person has to look."""
    return {**_report(facts), "exceptions": [line(one) for one in facts.exceptions]}


def audit(facts: Month, history: Iterable[Done]) -> dict[str, Any]:
    """The report, every line, every decision, and who said that it is finalised, or is not after all."""
    return {
        **_report(facts),
        "finalising": [{"at": one.at, "person": one.person, "verb": one.verb, "note": one.note} for one in history],
        "decisions": [decision(one) for one in facts.decisions],
        "lines": [line(one) for one in facts.lines],
    }


def compared(found: Comparison, facts: Month) -> dict[str, Any]:
    """A comparison with a file that was made by hand."""
    return {
        **_report(facts),
        "compared": {
            "basis": found.basis,
            "both": found.compared,
            "as_it_should": found.as_it_should,
            "against": [_loan(one) for one in found.against],
            "only_by_hand": [one._asdict() for one in found.only_by_hand],
            "only_here": _ids(found.only_here),
            "without_amount": _ids(found.without_amount),
            "perhaps": {written: one.loan_id for written, one in found.perhaps.items()},
        },
    }


def line(one: ReportLine) -> dict[str, Any]:
    """A line: what it is called by, its codes and amounts, and what a decision about it binds to."""
    return {
        "number": one.number,
        "seen": one.seen,
        **{name: getattr(one, name) for name in ReportLine.__dataclass_fields__ if name != "price"},
        "price": None if one.price is None else asdict(one.price),
    }


def decision(one: Decision) -> dict[str, Any]:
    """What a person decided."""
    return {name: getattr(one, name) for name in Decision.__dataclass_fields__}


def _report(facts: Month) -> dict[str, Any]:
    found, report = facts.verdict, facts.report
    return {
        "period": facts.period,
        "state": facts.state,
        "verdict": found.word,
        "why": found.said,
        "loans": found.loans,
        "reason": found.reason,
        "environment": facts.settings.kiva.environment,
        "partner_id": facts.settings.kiva.partner_id,
        "sends": facts.settings.kiva.send,
        "at": facts.now,
        "cutoff": report.cutoff,
        "basis": report.basis,
        "opens": report.opens_at,
        "closes": report.closes_at,
        "opened_at": facts.opened_at,
        "looked_at": report.looked_at,
        "closed_at": report.closed_at,
        "finalised_at": report.finalised_at,
        "finalised_by": report.finalised_by,
        "list_read_at": facts.list_read,
        "expected": sum(facts.expected.values()),
        "expected_by_status": facts.expected,
        "accounted_for": facts.accounted_for,
        "numbers": {kind.value: number for kind, number in facts.numbers.items()},
        "uploads": [asdict(one) for one in facts.uploads],
    }


def _loan(one: ComparedLoan) -> dict[str, Any]:
    return {"loan_id": one.line.loan_id, "line": one.by_hand.line, "by_hand": one.by_hand.amount, "now": one.now}


def _ids(lines: Iterable[LoanAmounts]) -> list[str]:
    return [one.loan_id for one in lines]
