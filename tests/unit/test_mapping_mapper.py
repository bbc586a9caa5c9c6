from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiva_relay.mapping import mapper
from kiva_relay.mapping.lookup import Lists
from kiva_relay.mapping.plan import Document
from kiva_relay.resource import body as bodies
from kiva_relay.resource.kind import CheckFacts
from kiva_relay.source.reader import Content
from kiva_relay.source.value import TornText
from testbed.rig.mapping_file import DRAFT, TODAY, changed, context, load

ROOT = {
    "id": 871,
    "account_no": "000000871",
    "approved_principal": Decimal("250000.000000"),
    "currency_code": "XOF",
    "disbursedon_date": None,
    "expected_disbursedon_date": date(2026, 12, 3),
}
RELATED: dict[str, Any] = {
    "client": {"account_no": "000000311", "firstname": "Fatou ", "lastname": "Diop"},
    "gender": {"code_value": "Femme"},
    "schedule": [{"duedate": date(2027, 1, 3), "principal_amount": Decimal("250000.000000"), "interest_amount": None}],
}


def content(root: dict[str, Any] | None = None, **related: Any) -> Content:
    return Content("871", in_scope=True, root=ROOT | (root or {}), related=RELATED | related)


def mapped(folder: Path, text: str = DRAFT, given: Content | None = None, **changes: Any) -> mapper.Mapped:
    return mapper.apply(load(folder, text), given or content(), context=context(**changes), origins=True)


def codes(found: mapper.Mapped) -> list[tuple[str, str]]:
    return [(refusal.code, refusal.field) for refusal in found.refusals]


def test_a_row_becomes_a_body(tmp_path: Path) -> None:
    found = mapped(tmp_path)
    assert found.refusals == ()
    assert (found.identity, found.loan_id, found.client_id) == ("000000871", "000000871", "000000311")
    assert found.body == {
        "entreps": [
            {
                "client_id": "000000311",
                "loan_id": "000000871",
                "first_name": "Fatou",
                "last_name": "Diop",
                "gender": "female",
                "amount": Decimal(250000),
            }
        ],
        "currency": "XOF",
        "disburse_time": "2026-12-03",
        "schedule": [{"date": "2027-01-03", "principal": Decimal(250000), "interest": Decimal(0)}],
    }
    assert bodies.decode(bodies.encode(found.body)) == found.body


TORN = TornText("Jos\N{REPLACEMENT CHARACTER}")


def test_a_text_that_cannot_be_read_costs_nothing_where_nobody_uses_it(tmp_path: Path) -> None:
    given = content({"officer": TORN}, client=RELATED["client"] | {"middlename": TORN})
    assert mapped(tmp_path, given=given).body == mapped(tmp_path).body


def test_a_text_that_cannot_be_read_is_the_refusal_of_its_row_and_names_the_column(tmp_path: Path) -> None:
    given = content(client=RELATED["client"] | {"firstname": TORN})
    (refusal,) = mapped(tmp_path, given=given).refusals
    assert (refusal.code, refusal.params) == ("text_unreadable", {"column": "client.firstname"})
    assert "first_name" not in dict(mapped(tmp_path, given=given).partial or {})["entreps"][0]
    (refusal,) = mapped(tmp_path, given=content({"account_no": TORN})).refusals[:1]
    assert (refusal.code, refusal.params) == ("text_unreadable", {"column": "m_loan.account_no"})
    stored = content(client=RELATED["client"] | {"firstname": str(TORN)})  # that letter itself stands in the MIS
    assert mapped(tmp_path, given=stored).refusals == ()


def test_a_row_of_which_nobody_knows_the_odd_column_is_refused_by_its_table(tmp_path: Path) -> None:
    for of, table in (("root", "m_loan"), ("client", "m_client")):
        found = mapped(tmp_path, given=Content("871", in_scope=True, root={}, unread=of))
        (refusal,) = found.refusals
        assert (refusal.code, refusal.params, found.body) == ("text_unreadable", {"column": table}, None)


def test_it_says_where_each_value_came_from(tmp_path: Path) -> None:
    origins = mapped(tmp_path).origins
    assert origins["entreps[0].client_id"] == "m_client.account_no"
    assert origins["entreps[0].gender"] == "m_code_value.code_value → choose"
    assert origins["disburse_time"] == "m_loan.disbursedon_date, m_loan.expected_disbursedon_date"
    assert origins["schedule[0].date"] == "m_loan_repayment_schedule.duedate"


def test_a_row_that_is_gone_is_nothing(tmp_path: Path) -> None:
    gone = Content("871", in_scope=False, root=None, related={})
    assert mapped(tmp_path, given=gone) == mapper.Mapped()


def test_all_reasons_are_given_at_once(tmp_path: Path) -> None:
    found = mapped(
        tmp_path,
        given=content(
            {"currency_code": None, "approved_principal": Decimal(-1)},
            client={"account_no": "1", "firstname": "  ", "lastname": None},
            gender={"code_value": "?"},
        ),
    )
    assert found.body is None
    assert codes(found) == [
        ("code_unknown", "entreps[0].gender"),
        ("name_empty", "entreps[0].first_name"),
        ("missing", "currency"),
        ("amount_not_positive", "entreps[0].amount"),
        ("schedule_sum", "schedule"),
    ]


@pytest.mark.parametrize(
    ("line", "value", "expected"),
    [
        ("currency: {from: currency_code, required: true}", None, ("missing", "currency")),
        ("currency: {from: currency_code, lookup: currencies}", "XFO", ("currency_unknown", "currency")),
        ("currency: currency_code", True, ("wrong_type", "currency")),
        ("currency: currency_code", date(2026, 1, 1), ("wrong_type", "currency")),
        ("currency: currency_code", Decimal("1.5"), ("wrong_type", "currency")),
        ("currency: currency_code ~ 'x' if currency_code < 3 else 'y'", "XOF", ("expression_failed", "currency")),
        ("currency: {from: currency_code, money: id}", "XOF", ("wrong_type", "currency")),
        ("currency: currency_code | date | text", "yesterday", ("wrong_type", "currency")),
    ],
)
def test_a_value_that_cannot_be_sent_is_refused(
    tmp_path: Path, line: str, value: Any, expected: tuple[str, str]
) -> None:
    found = mapped(tmp_path, changed("currency: currency_code", line), content({"currency_code": value}))
    assert expected in codes(found)


@pytest.mark.parametrize(
    ("line", "value", "expected"),
    [
        ("currency: {from: currency_code, choose: {CFA: XOF}, else: refuse}", "CFA", "XOF"),
        ("currency: {from: currency_code, choose: {CFA: XOF}, else: EUR}", "?", "EUR"),
        ("currency: {from: currency_code, lookup: currencies}", "xof", "XOF"),
        ("currency: {text: XOF}", None, "XOF"),
        ("currency: currency_code", 7, "7"),
        ("currency: currency_code", Decimal("7.000"), "7"),
        ("currency: {from: currency_code, text: true}", "SÃ£o", "São"),
    ],
)
def test_a_value_is_made_fit(tmp_path: Path, line: str, value: Any, expected: str) -> None:
    text = changed("currency: currency_code", f"currency: {{text: XOF}}\n  {line.replace('currency', 'loanuse', 1)}")
    found = mapped(tmp_path, text, content({"currency_code": value}))
    assert found.body is not None, found.refusals
    assert found.body["loanuse"] == expected


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("currency: {text: EUR}", "currency_unknown"),
        ("location: {text: Dakar}", "location_unknown"),
        ("activity_id: {text: 12}", "activity_unknown"),
        ("theme_type_id: {text: 4}", "theme_unknown"),
        ("description_language_id: {text: 9}", "language_unknown"),
    ],
)
def test_what_is_not_on_kivas_lists_is_refused_also_where_nobody_looked_it_up(
    tmp_path: Path, line: str, code: str
) -> None:
    text = DRAFT if line.startswith("currency") else changed("fields:\n", f"fields:\n  {line}\n")
    found = mapped(
        tmp_path,
        text.replace("currency: currency_code", line if "currency" in line else "currency: currency_code"),
        content(),
    )
    assert codes(found) == [(code, line.partition(":")[0])]


def test_a_story_with_the_borrowers_own_number_is_refused(tmp_path: Path) -> None:
    text = changed("fields:\n", "fields:\n  description: story\n")
    row = {"story": "Appelez Fatou au 77 123 45 67."}
    client = {"account_no": "9", "firstname": "Fatou", "lastname": "Diop", "mobile_no": "+221 77 123 45 67"}
    assert codes(mapped(tmp_path, text, content(row, client=client | {"gender_cv_id": 1}))) == [
        ("contact_in_text", "description")
    ]
    assert [each.code for each in mapped(tmp_path, text, content(row)).warnings if each.field == "description"] == [
        "phone_in_text"
    ]


def test_what_is_left_to_the_coordinator_is_no_warning(tmp_path: Path) -> None:
    text = DRAFT + "left_to_the_coordinator: [description, loanuse, image_encoded, client_waiver_signed]\n"
    before = {each.field for each in mapped(tmp_path, DRAFT, content()).warnings}
    after = {each.field for each in mapped(tmp_path, text, content()).warnings}
    assert before - after == {"description", "loanuse", "image_encoded", "client_waiver_signed"}
    assert after == {"activity_id", "location"}


def test_else_leave_out_leaves_out(tmp_path: Path) -> None:
    text = changed("else: refuse", "else: leave_out")
    found = mapped(tmp_path, text, content(gender={"code_value": "?"}))
    assert found.body is not None
    assert "gender" not in found.body["entreps"][0]


def test_when_says_not_yet(tmp_path: Path) -> None:
    text = changed("fields:\n", "when: disbursedon_date\nfields:\n")
    found = mapped(tmp_path, text, content({"currency_code": None}))
    assert (found.waiting, found.body, found.refusals) == ("incomplete", None, ())
    assert mapped(tmp_path, text, content({"disbursedon_date": TODAY})).waiting is None


def test_lists_that_were_never_read_are_waited_for(tmp_path: Path) -> None:
    text = changed("currency: currency_code", "currency: {from: currency_code, lookup: currencies}")
    found = mapped(tmp_path, text, lists=Lists())
    assert (found.waiting, found.body, found.refusals) == ("lists_unknown", None, ())


def test_relations_without_a_row_and_with_several(tmp_path: Path) -> None:
    found = mapped(tmp_path, given=content(client=None, gender=[{"code_value": "a"}, {"code_value": "b"}]))
    assert ("relation_missing", "client") in codes(found)
    assert ("relation_not_unique", "gender") in codes(found)
    assert mapped(tmp_path, given=content(gender=None)).refusals == ()


def test_no_identity_no_loan(tmp_path: Path) -> None:
    assert ("identity_empty", "identity") in codes(mapped(tmp_path, given=content({"account_no": None})))
    assert mapped(tmp_path, changed("identity: account_no", "identity: id")).identity == "871"


def test_created_at_may_come_from_a_relation(tmp_path: Path) -> None:
    text = changed("key: id\n", "key: id\n  created_at: client.activation or expected_disbursedon_date\n")
    moment = datetime(2026, 1, 1, 8, tzinfo=UTC)
    client = RELATED["client"]
    assert mapped(tmp_path, text, content(client=client | {"activation": moment})).created_at == moment
    assert mapped(tmp_path, text, content(client=client | {"activation": None})).created_at == date(2026, 12, 3)
    assert ("wrong_type", "created_at") in codes(mapped(tmp_path, text, content(client=client | {"activation": "x"})))


def test_a_moment_becomes_the_day_in_the_zone_of_the_mis(tmp_path: Path) -> None:
    late = content({"expected_disbursedon_date": datetime(2026, 12, 2, 20, tzinfo=UTC)})
    found = mapped(tmp_path, given=late, timezone="Asia/Bishkek")
    assert found.body is not None
    assert found.body["disburse_time"] == "2026-12-03"


REPAYMENT = """\
resource: repayment
identity: account_no
source: {table: m_loan, key: id}
fields: {loan_id: account_no, client_id: client_no, amount: repaid | money(2)}
checks: {principal: lent}
"""


def position(folder: Path, facts: CheckFacts, **row: Any) -> mapper.Mapped:
    root = {"id": 1, "account_no": "1", "client_no": "9", "repaid": Decimal("40.000000"), "lent": Decimal("100.000000")}
    given = Content("1", in_scope=True, root=root | row, related={})
    return mapper.apply(load(folder, REPAYMENT, name="repayment"), given, context=context(facts=facts))


def test_a_position_is_on_the_basis_that_was_agreed(tmp_path: Path) -> None:
    repaid = position(tmp_path, CheckFacts(today=TODAY))
    assert repaid.body == {"loan_id": "1", "amount": Decimal("40.00")}
    assert (repaid.client_id, repaid.bounds) == ("9", {"principal": Decimal(100)})
    assert bodies.encode(repaid.body) == b'{"amount":40.00,"loan_id":"1"}'
    outstanding = position(tmp_path, CheckFacts(today=TODAY, columns=3, basis="principal_outstanding"))
    assert outstanding.body == {"loan_id": "1", "client_id": "9", "amount": Decimal("60.00")}
    unknown = position(tmp_path, CheckFacts(today=TODAY, basis="principal_outstanding"), lent=None)
    assert codes(unknown) == [("principal_unknown", "amount")]


def test_what_a_person_decides_is_no_refusal_of_the_mapping(tmp_path: Path) -> None:
    assert position(tmp_path, CheckFacts(today=TODAY), repaid=Decimal(101)).body is not None
    assert codes(position(tmp_path, CheckFacts(today=TODAY), repaid=Decimal(-1))) == [("amount_negative", "amount")]


anything = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.integers(),
    st.decimals(),
    st.booleans(),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=3),
    st.just([{"x": 1}]),
)


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> Document:
    return load(tmp_path_factory.mktemp("draft"), DRAFT)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_the_row_holds_nothing_is_raised(draft: Document, data: st.DataObject) -> None:
    root = {name: data.draw(anything) for name in ROOT}
    related = {
        "client": data.draw(st.none() | st.fixed_dictionaries(dict.fromkeys(RELATED["client"], anything)) | anything),
        "gender": data.draw(st.none() | st.just({}) | anything),
        "schedule": [{name: data.draw(anything) for name in RELATED["schedule"][0]}],
    }
    found = mapper.apply(draft, Content("1", in_scope=True, root=root, related=related), context=context())
    assert found.body is None or bodies.encode(found.body)


@pytest.mark.parametrize(
    ("first_name", "expected"),
    [
        ("Fa\u200btou", "Fatou"),
        ("\u202eFatou\u202c", "Fatou"),
        ("\ufeffFatou", "Fatou"),
        ("علی\u200cرضا", "علی\u200cرضا"),
    ],
)
def test_letters_that_nobody_sees_are_taken_out_without_any_function(
    tmp_path: Path, first_name: str, expected: str
) -> None:
    given = content()
    client = {**RELATED["client"], "firstname": first_name}
    found = mapped(tmp_path, DRAFT, dataclasses.replace(given, related={**given.related, "client": client}))
    assert found.body is not None
    assert found.body["entreps"][0]["first_name"] == expected


def test_a_megabyte_in_any_column_costs_the_row_and_no_time(tmp_path: Path) -> None:
    text = changed("first_name: client.firstname", "first_name: {from: client.firstname, name: true}")
    text = text.replace(
        "last_name: {from: client.lastname, trim: true}", "last_name: {from: client.lastname, text: true}"
    )
    given = content({"account_no": "7" * 1_000_000})
    long = {"firstname": "Ã©" * 500_000, "lastname": "Ã©" * 500_000}
    related: dict[str, Any] = {
        **given.related,
        "client": {**RELATED["client"], **long},
        "gender": {"code_value": "F" * 1_000_000},
    }
    found = mapped(tmp_path, text, dataclasses.replace(given, related=related))
    assert found.body is None
    assert {"identity", "entreps[0].first_name", "entreps[0].last_name"} <= {each.field for each in found.refusals}
    assert all(len(value) <= 500 for each in found.refusals for value in each.params.values())


@pytest.mark.parametrize("year", [27, 1900, 2570])
def test_an_instalment_of_another_calendar_is_refused(tmp_path: Path, year: int) -> None:
    given = content()
    rows = [{**row, "duedate": date(year, 12, 1)} for row in RELATED["schedule"]]
    found = mapped(tmp_path, DRAFT, dataclasses.replace(given, related={**given.related, "schedule": rows}))
    assert {(each.code, each.field) for each in found.refusals} == {
        ("date_impossible", f"schedule[{number}].date") for number in range(len(rows))
    }
