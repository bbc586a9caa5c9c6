from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from kiva_relay.mapping import lookup
from kiva_relay.resource import field, loan_draft, refusal
from kiva_relay.resource.kind import RESOURCES, CheckFacts
from kiva_relay.resource.refusal import Refusal

TODAY = date(2026, 11, 23)
FACTS = CheckFacts(today=TODAY)


def entrep(number: int = 1, **changes: Any) -> dict[str, Any]:
    given = {"client_id": f"C{number}", "loan_id": f"L{number}", "first_name": "Fatou", "amount": Decimal(100)}
    return given | changes


def draft(*entreps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    people = list(entreps) or [entrep()]
    body: dict[str, Any] = {
        "entreps": people,
        "currency": "XOF",
        "disburse_time": TODAY.isoformat(),
        "schedule": [
            {"date": "2026-12-23", "principal": sum((each["amount"] for each in people), Decimal(0)), "interest": 0}
        ],
    }
    return body | changes


def codes(body: dict[str, Any], resource: str = "loan_draft", facts: CheckFacts = FACTS) -> list[tuple[str, str]]:
    return [(each.code, each.field) for each in RESOURCES[resource].check(body, facts)]


GROUP = {"internal_loan_id": "G1", "internal_client_id": "G", "group_name": "Jappo"}


def test_good_drafts_are_good() -> None:
    assert codes(draft()) == []
    assert codes(draft(entrep(1), entrep(2), **GROUP)) == []
    assert codes(draft(entrep(1), **GROUP)) == []  # a group of one
    assert codes(draft(entrep(1), entrep(2), not_pictured=[True, False], **GROUP)) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("missing", "entreps"), ("missing", "currency"), ("missing", "disburse_time"), ("missing", "schedule")]),
        (draft(internal_loan_id="L1"), [("group_field_on_individual", "internal_loan_id")]),
        (draft(not_pictured=[True]), [("group_field_on_individual", "not_pictured")]),
        (
            draft(entrep(1), entrep(2), group_name="Jappo"),
            [("group_field_missing", "internal_loan_id"), ("group_field_missing", "internal_client_id")],
        ),
        (draft(entrep(1), entrep(2), not_pictured=[True], **GROUP), [("not_pictured_length", "not_pictured")]),
        (draft(entrep(amount=Decimal(0))), [("amount_not_positive", "entreps[0].amount")]),
        (draft(entrep(first_name="")), [("name_empty", "entreps[0].first_name")]),
        (draft(colour="red"), [("wrong_type", "colour")]),
        (draft(disburse_time="soon"), [("wrong_type", "disburse_time")]),
        (draft(currency="X" * (field.TEXT_LIMIT + 1)), [("too_long", "currency")]),
        (draft(activity_id=True), [("wrong_type", "activity_id")]),
    ],
)
def test_what_pa2_would_refuse_is_said_before(body: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert codes(body) == expected


def test_instalments_add_up_exactly() -> None:
    body = draft(entrep(amount=Decimal("100.00")))
    body["schedule"][0]["principal"] = Decimal("99.99")
    assert codes(body) == [("schedule_sum", "schedule")]


@pytest.mark.parametrize(
    ("days", "code"),
    [(-30, "disbursed_too_long_ago"), (-29, None), (0, None), (90, None), (91, "disbursal_too_far")],
)
def test_the_days_of_pa2(days: int, code: str | None) -> None:
    found = codes(draft(disburse_time=(TODAY + timedelta(days=days)).isoformat()))
    assert found == ([(code, "disburse_time")] if code else [])


def test_the_last_day_is_the_last_that_is_taken() -> None:
    body = draft(disburse_time="2026-11-01")
    last = loan_draft.publish_by(body)
    assert last == date(2026, 11, 30)
    assert codes(body, facts=CheckFacts(today=last)) == []
    assert codes(body, facts=CheckFacts(today=last + timedelta(days=1))) == [
        ("disbursed_too_long_ago", "disburse_time")
    ]
    assert loan_draft.publish_by({}) is None


def test_the_ids_under_which_kiva_may_list_it() -> None:
    assert loan_draft.loan_ids(draft()) == ["L1"]
    assert loan_draft.loan_ids(draft(entrep(1), entrep(2), **GROUP)) == ["G1", "L1", "L2"]
    assert RESOURCES["loan_draft"].shown(draft(entrep(1), entrep(2), **GROUP)) == ("G1", "G")
    assert RESOURCES["loan_draft"].shown(draft()) == ("L1", "C1")


def test_what_the_coordinator_still_has_to_add() -> None:
    assert "description" in loan_draft.still_needed(draft())
    assert "entreps[0].gender" in loan_draft.still_needed(draft())
    assert "entreps[0].gender" not in loan_draft.still_needed(draft(entrep(gender="female")))


@pytest.mark.parametrize(
    ("basis", "amount", "previous", "expected"),
    [
        ("cumulative_principal", 40, 30, []),
        ("cumulative_principal", 40, 40, []),
        ("cumulative_principal", 40, 41, ["position_fell"]),
        ("cumulative_principal", 101, None, ["position_exceeds_principal"]),
        ("cumulative_principal", -1, None, ["amount_negative"]),
        ("principal_outstanding", 60, 70, []),
        ("principal_outstanding", 60, 50, ["position_fell"]),
        ("principal_outstanding", -1, None, ["position_exceeds_principal"]),
        ("principal_outstanding", 101, None, ["amount_negative"]),
    ],
)
def test_positions_on_both_bases(basis: str, amount: int, previous: int | None, expected: list[str]) -> None:
    before = None if previous is None else Decimal(previous)
    facts = CheckFacts(today=TODAY, basis=basis, principal=Decimal(100), previous=before)
    found = codes({"loan_id": "L1", "amount": Decimal(amount)}, "repayment", facts)
    assert [code for code, _ in found] == expected


def test_a_position_is_turned_without_losing_its_digits() -> None:
    facts = CheckFacts(today=TODAY, columns=3, basis="principal_outstanding", principal=Decimal("100.000000"))
    sent = RESOURCES["repayment"].complete({"loan_id": "1", "client_id": "9", "amount": Decimal("40.10")}, facts)
    assert sent == {"loan_id": "1", "client_id": "9", "amount": Decimal("59.90")}
    assert str(sent["amount"]) == "59.90"


def test_the_client_goes_along_on_three_columns_only() -> None:
    body = {"internal_loan_id": "1", "internal_client_id": "9", "subject": "News", "body": "Good."}
    journal = RESOURCES["journal"]
    assert journal.complete(body, CheckFacts(today=TODAY, columns=3)) == body
    assert "internal_client_id" not in journal.complete(body, FACTS)
    assert codes({"internal_loan_id": "1"}, "journal") == [("missing", "subject"), ("missing", "body")]


def test_every_code_has_its_sentences_and_they_fill_in() -> None:
    for code in refusal.SENTENCES:
        said = Refusal(code, "entreps[0].first_name", {"value": "Elevage", "nearest": ""})
        assert refusal.sentence(said)
        assert "{" not in refusal.sentence(said) + refusal.remedy(said).replace("{principal: …}", "")
        assert Refusal.from_json(said.to_json()) == said
    assert refusal.sentence(Refusal("of_a_later_version")) == "of_a_later_version"
    assert set(lookup.REFUSALS.values()) | set(field.EMPTY.values()) | refusal.PERSON_DECIDES <= set(refusal.SENTENCES)


def test_a_sentence_names_the_value_and_the_nearest() -> None:
    said = Refusal("activity_unknown", "activity_id", {"value": "Elevage", "nearest": "Livestock"})
    assert refusal.sentence(said) == "“Elevage” is not one of Kiva's activities. Nearest: Livestock."
    assert "lookup/activities.csv: Elevage," in refusal.remedy(said)


def test_additive_resources_are_made_once_and_alone() -> None:
    for resource in RESOURCES.values():
        assert resource.create_once == (resource.effect == "additive")
    assert RESOURCES["loan_draft"].batch_limit == 1
    assert RESOURCES["repayment"].batch_limit == 300


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Write to fatou.diop@example.sn", "contact_in_text"),
        ("Appelez le 77 123 45 67", "phone_in_text"),
        ("tel. +221771234567", "phone_in_text"),
        ("her loan of 12 500 000 XOF", None),
        ("born 23.11.1984, 3 children, since 2019-2026", None),
        ("a loan of 250000.00 for 12 months", None),
    ],
)
def test_a_text_that_holds_a_way_to_reach_the_borrower(text: str, code: str | None) -> None:
    for resource, body in (
        ("loan_draft", draft(description=text)),
        ("journal", {"internal_loan_id": "1", "subject": "News", "body": text}),
    ):
        kind = RESOURCES[resource]
        found = [*kind.check(body, FACTS), *kind.warn(body, FACTS)]
        assert [each.code for each in found if each.code.endswith("_in_text")] == ([code] if code else [])


def test_what_a_coordinator_should_look_at() -> None:
    body = draft(client_waiver_signed=False, activity_id=1, location="x")
    body["schedule"] = [
        {"date": "2026-12-23", "principal": 100, "interest": 0},
        {"date": "2026-12-22", "principal": 0, "interest": 0},
    ]
    facts = dataclasses.replace(FACTS, left=("description", "loanuse", "image_encoded"))
    warned = RESOURCES["loan_draft"].warn(body, facts)
    assert {(each.code, each.field) for each in warned} == {
        ("waiver_declined", "client_waiver_signed"),
        ("instalment_too_early", "schedule[1].date"),
        ("instalment_of_nothing", "schedule[1]"),
        ("needed_to_publish", "entreps[0].gender"),
    }
    for each in warned:
        assert "?" not in refusal.sentence(each)


def test_an_instalment_is_never_below_0() -> None:
    body = draft()
    body["schedule"] = [{"date": "2026-12-23", "principal": 100, "interest": Decimal(-1)}]
    assert codes(body) == [("instalment_negative", "schedule[0].interest")]


@pytest.mark.parametrize(
    ("year", "refused"),
    [("2570", "yes"), ("0027", "yes"), ("2019", "yes"), ("2057", "yes"), ("2056", ""), ("2027", "")],
)
def test_an_instalment_is_due_in_a_year_that_a_loan_reaches(year: str, refused: str) -> None:
    body = draft(disburse_time="2026-11-23")
    body["schedule"] = [{"date": f"{year}-12-23", "principal": 100, "interest": 0}]
    assert codes(body) == ([("date_impossible", "schedule[0].date")] if refused else [])
