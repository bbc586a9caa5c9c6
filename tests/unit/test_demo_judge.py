"""The judge of the demo is shown what is wrong, and has to say so: a judge that never finds anything proves nothing."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import State
from kiva_relay.resource import body as json_body
from kiva_relay.sandbox import catalogue
from testbed.institution.branch import BRANCHES
from testbed.judge import judge
from testbed.judge.case import Case, Kind
from testbed.judge.expected import Borrower, Expected, ExpectedDraft, ExpectedNote, ExpectedPosition
from testbed.judge.history import History

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
LIVESTOCK = next(one["activity_id"] for one in catalogue.lists()["activities"] if one["activity"] == "Livestock")


def draft(identity: str, **changes: Any) -> ExpectedDraft:
    values: dict[str, Any] = {
        "identity": identity,
        "kind": 1,
        "created_at": NOW,
        "complete": True,
        "borrowers": (Borrower("311", identity, " Fatou", "Diop", "Fatou Diop", "Female", Decimal("250000.000000")),),
        "principal": Decimal("250000.000000"),
        "currency": "XOF",
        "schedule_principal": Decimal("250000.000000"),
        "schedule_interest": Decimal("3125.000000"),
        "instalments": 1,
        "disbursal": date(2026, 11, 20),
        "due_days": (date(2026, 12, 20),),
        "office": BRANCHES[0].name,
        "purpose": "Elevage",
        "publishable": True,
    }
    return ExpectedDraft(**(values | changes))


def draft_body(identity: str) -> dict[str, Any]:
    fatou = {"client_id": "311", "loan_id": identity, "first_name": "Fatou", "last_name": "Diop", "gender": "female"}
    return {
        "entreps": [fatou | {"amount": 250000}],
        "currency": "XOF",
        "activity_id": LIVESTOCK,
        "location": BRANCHES[0].location,
        "disburse_time": "2026-11-20",
        "schedule": [{"date": "2026-12-20", "principal": 250000, "interest": 3125}],
    }


def entry(number: int, resource: str, identity: str, state: State, **changes: Any) -> Entry:
    values: dict[str, Any] = dict.fromkeys(Entry.__dataclass_fields__) | {
        "id": number,
        "resource": resource,
        "identity": identity,
        "loan_id": identity,
        "version": number,
        "state": state,
        "evidence": "receipt" if state is State.DELIVERED else None,
    }
    return Entry(**(values | changes))


def record(number: int, resource: str, body: Any, *, answer: str = "answered", **receipt: Any) -> dict[str, Any]:
    return {"number": number, "resource": resource, "body": body, "answer": answer, "receipt": receipt}


def loan(identity: str, *, sent_as: int = 0, status: str = "payingBack") -> dict[str, Any]:
    return {"internal_loan_id": identity, "record": sent_as, "status": status}


def text(body: Any) -> str:
    return json_body.encode(body).decode()


@pytest.fixture
def case() -> Case:
    """A day on which everything went well: a draft sent, one adopted, a position sent twice over, a note, a doubt."""
    sent, typed = draft("A-1"), draft("A-2")
    owed = Expected(
        drafts={"A-1": sent, "A-2": typed},
        positions={"A-1": ExpectedPosition("A-1", Decimal("500.000000"), Decimal(250000))},
        notes={
            "7": ExpectedNote("7", "A-1", NOW, "She bought a sheep."),
            "8": ExpectedNote("8", "A-2", NOW, "Her stall doubled."),
        },
        internal_notes=3,
    )
    history = History()
    history.note(owed.drafts)
    first, second = {"loan_id": "A-1", "amount": Decimal(100)}, {"loan_id": "A-1", "amount": Decimal("500.00")}
    news = {"internal_loan_id": "A-1", "subject": "News", "body": "She bought a sheep."}
    doubtful = {"internal_loan_id": "A-2", "subject": "News", "body": "Her stall doubled."}
    return Case(
        owed=owed,
        history=history,
        since=date(2026, 11, 1),
        ledger=[
            record(1, "loan_draft", draft_body("A-1"), loan_draft_uuid="u-1"),
            record(2, "repayment", {"repayments": [first]}, upload_id=70_002, problems=[]),
            record(3, "repayment", {"repayments": [second]}, upload_id=70_003, problems=[]),
            record(4, "journal", [news], archive_id=40_004),
            record(5, "journal", [doubtful], answer="answer_lost", archive_id=40_005),
        ],
        loans=[loan("A-1", sent_as=1), loan("A-2", status="fundRaising")],
        entries=[
            entry(
                1,
                "loan_draft",
                "A-1",
                State.DELIVERED,
                body=text(draft_body("A-1")),
                receipt={"loan_draft_uuid": "u-1"},
            ),
            entry(2, "loan_draft", "A-2", State.DELIVERED, evidence="adopted"),
            entry(3, "repayment", "A-1", State.DELIVERED, amount="100", receipt={"upload_id": 70_002}),
            entry(4, "repayment", "A-1", State.DELIVERED, amount="500.00", receipt={"upload_id": 70_003}),
            entry(5, "journal", "7", State.DELIVERED, loan_id="A-1", receipt={"archive_id": 40_004}),
            entry(6, "journal", "8", State.IN_DOUBT, loan_id="A-2", reason="answer_lost"),
        ],
        doubted=frozenset({6}),
    )


def test_a_good_day_is_good(case: Case) -> None:
    verdict = judge.judge(case)
    assert verdict.differences == []
    assert verdict.good
    assert verdict.answers_lost == 1
    assert [one.id for one in verdict.in_doubt] == [6]
    drafts, positions, journals = (verdict.sums[name] for name in ("loan_draft", "repayment", "journal"))
    assert (drafts.owed, drafts.held, drafts.adopted) == (2, 2, 1)
    assert (positions.owed, positions.held, positions.postings) == (1, 1, 2)
    assert (journals.owed, journals.held) == (2, 2)


def _draft_twice(ledger: list[dict[str, Any]]) -> None:
    ledger.append(ledger[0] | {"number": 6})


def _draft_sent_that_kiva_had(ledger: list[dict[str, Any]]) -> None:
    ledger.append(record(6, "loan_draft", draft_body("A-2"), loan_draft_uuid="u-6"))


def _draft_missing(ledger: list[dict[str, Any]]) -> None:
    del ledger[0]


def _draft_with_another_amount(ledger: list[dict[str, Any]]) -> None:
    ledger[0]["body"]["entreps"][0]["amount"] = 250001


def _draft_with_another_name(ledger: list[dict[str, Any]]) -> None:
    ledger[0]["body"]["entreps"][0]["last_name"] = "None"


def _draft_with_another_day(ledger: list[dict[str, Any]]) -> None:
    ledger[0]["body"]["disburse_time"] = "2026-11-21"


def _draft_with_another_due_day(ledger: list[dict[str, Any]]) -> None:
    ledger[0]["body"]["schedule"][0]["date"] = "2026-12-21"


def _draft_with_a_key_more(ledger: list[dict[str, Any]]) -> None:
    ledger[0]["body"]["description"] = "made up"


def _draft_that_nobody_owes(ledger: list[dict[str, Any]]) -> None:
    ledger.append(record(6, "loan_draft", draft_body("Z-9"), loan_draft_uuid="u-9"))


def _older_position_last(ledger: list[dict[str, Any]]) -> None:
    ledger[1]["body"], ledger[2]["body"] = ledger[2]["body"], ledger[1]["body"]


def _newest_position_missing(ledger: list[dict[str, Any]]) -> None:
    del ledger[2]


def _no_position_at_all(ledger: list[dict[str, Any]]) -> None:
    del ledger[1:3]


def _position_twice(ledger: list[dict[str, Any]]) -> None:
    ledger.append(ledger[2] | {"number": 6})


def _position_twice_in_one_call(ledger: list[dict[str, Any]]) -> None:
    ledger[2]["body"]["repayments"] *= 2


def _position_altered(ledger: list[dict[str, Any]]) -> None:
    ledger[1]["body"]["repayments"][0]["amount"] = Decimal(101)


def _position_of_an_unknown_loan(ledger: list[dict[str, Any]]) -> None:
    ledger[1]["body"]["repayments"].append({"loan_id": "Z-9", "amount": 1})


def _position_that_kiva_did_not_book(ledger: list[dict[str, Any]]) -> None:
    ledger[2]["receipt"]["problems"] = [{"loan_id": "A-1", "severity": "error"}]


def _journal_twice(ledger: list[dict[str, Any]]) -> None:
    ledger.append(ledger[3] | {"number": 6})


def _journal_missing(ledger: list[dict[str, Any]]) -> None:
    del ledger[3]


def _journal_altered(ledger: list[dict[str, Any]]) -> None:
    ledger[3]["body"][0]["body"] = "She bought a sheep"


def _journal_of_another_loan(ledger: list[dict[str, Any]]) -> None:
    ledger[3]["body"][0]["internal_loan_id"] = "A-2"


def _internal_note(ledger: list[dict[str, Any]]) -> None:
    private = {"internal_loan_id": "A-1", "subject": "News", "body": "Husband in hospital"}
    ledger.append(record(6, "journal", [private], archive_id=40_006))


@pytest.mark.parametrize(
    ("spoil", "kind", "resource"),
    [
        (_draft_twice, "duplicated", "loan_draft"),
        (_draft_sent_that_kiva_had, "duplicated", "loan_draft"),
        (_draft_missing, "lost", "loan_draft"),
        (_draft_with_another_amount, "different", "loan_draft"),
        (_draft_with_another_name, "different", "loan_draft"),
        (_draft_with_another_day, "different", "loan_draft"),
        (_draft_with_another_due_day, "different", "loan_draft"),
        (_draft_with_a_key_more, "different", "loan_draft"),
        (_draft_that_nobody_owes, "different", "loan_draft"),
        (_older_position_last, "different", "repayment"),
        (_newest_position_missing, "lost", "repayment"),
        (_no_position_at_all, "lost", "repayment"),
        (_position_twice, "duplicated", "repayment"),
        (_position_twice_in_one_call, "duplicated", "repayment"),
        (_position_altered, "different", "repayment"),
        (_position_of_an_unknown_loan, "different", "repayment"),
        (_position_that_kiva_did_not_book, "lost", "repayment"),
        (_journal_twice, "duplicated", "journal"),
        (_journal_missing, "lost", "journal"),
        (_journal_altered, "lost", "journal"),
        (_journal_of_another_loan, "different", "journal"),
        (_internal_note, "different", "journal"),
    ],
)
def test_a_spoiled_ledger_is_found_out(
    case: Case, spoil: Callable[[list[dict[str, Any]]], None], kind: Kind, resource: str
) -> None:
    ledger = [dict(one) for one in copy.deepcopy(list(case.ledger))]
    spoil(ledger)
    verdict = judge.judge(dataclasses.replace(case, ledger=ledger))
    assert not verdict.good
    assert verdict.count(kind, resource) >= 1, verdict.differences


def _with(case: Case, number: int, **changes: Any) -> Case:
    entries = [dataclasses.replace(one, **changes) if one.id == number else one for one in case.entries]
    return dataclasses.replace(case, entries=entries)


def _without(case: Case, *numbers: int) -> Case:
    return dataclasses.replace(case, ledger=[one for one in case.ledger if one["number"] not in numbers])


def test_what_was_true_when_it_was_sent_is_good(case: Case) -> None:
    corrected = draft("A-1", principal=Decimal(300000), disbursal=date(2026, 11, 22))
    case.history.note({"A-1": corrected})
    drafts = dict(case.owed.drafts) | {"A-1": corrected}
    owed = dataclasses.replace(case.owed, drafts=drafts)
    assert judge.judge(dataclasses.replace(case, owed=owed)).differences == []


def test_a_loan_that_was_cancelled_after_it_was_sent_is_no_fault(case: Case) -> None:
    owed = dataclasses.replace(case.owed, drafts={"A-2": case.owed.drafts["A-2"]})
    assert judge.judge(dataclasses.replace(case, owed=owed)).differences == []


def test_a_receipt_that_kiva_never_gave_is_found_out(case: Case) -> None:
    verdict = judge.judge(_with(case, 1, receipt={"loan_draft_uuid": "u-2"}))
    assert verdict.count("lost", "loan_draft") == 1


def test_an_adoption_that_kiva_does_not_bear_out_is_found_out(case: Case) -> None:
    verdict = judge.judge(dataclasses.replace(case, loans=case.loans[:1]))
    assert verdict.count("lost", "loan_draft") >= 1


def test_a_doubt_although_the_answer_arrived_is_found_out(case: Case) -> None:
    ledger = [dict(one) | {"answer": "answered"} for one in case.ledger]
    assert judge.judge(dataclasses.replace(case, ledger=ledger)).count("different", "journal") == 1


def test_a_refusal_counts_only_when_the_mis_bears_it_out(case: Case) -> None:
    reasons = [{"code": "name_empty", "field": "entreps[0].first_name", "params": {}}]
    refused = _with(_without(case, 1), 1, state=State.REFUSED, evidence=None, refusals=reasons)
    loans = [one for one in case.loans if one["internal_loan_id"] != "A-1"]
    refused = dataclasses.replace(refused, loans=loans)
    assert judge.judge(refused).count("lost", "loan_draft") == 1
    nameless = draft("A-1", borrowers=(Borrower("311", "A-1", None, None, " ", "Female", Decimal(1)),))
    owed = dataclasses.replace(refused.owed, drafts=refused.owed.drafts | {"A-1": nameless})
    verdict = judge.judge(dataclasses.replace(refused, owed=owed))
    assert verdict.count("lost", "loan_draft") == 0
    assert [one.id for one in verdict.refused] == [1]


def test_a_position_that_fell_waits_for_a_person(case: Case) -> None:
    fell = _with(_without(case, 3), 4, state=State.WAITING, evidence=None, reason="position_fell", amount="50")
    owed = dataclasses.replace(case.owed, positions={"A-1": ExpectedPosition("A-1", Decimal(50), Decimal(250000))})
    verdict = judge.judge(dataclasses.replace(fell, owed=owed))
    assert verdict.differences == []
    assert [one.id for one in verdict.waiting] == [4]
    # The same word about a position that did not fall is an excuse.
    assert judge.judge(_with(fell, 4, amount="500")).count("lost", "repayment") == 1


def test_a_position_may_be_repeated_when_an_answer_was_lost(case: Case) -> None:
    ledger = [*case.ledger, case.ledger[2]]
    assert not judge.judge(dataclasses.replace(case, ledger=ledger)).good
    assert judge.judge(dataclasses.replace(case, ledger=ledger, doubted=frozenset({4, 6}))).good


def test_what_is_older_than_the_relay_is_never_sent(case: Case) -> None:
    verdict = judge.judge(dataclasses.replace(case, since=date(2026, 11, 24)))
    assert {one.resource for one in verdict.differences} == {"loan_draft", "journal"}
    assert verdict.count("lost") == 0
