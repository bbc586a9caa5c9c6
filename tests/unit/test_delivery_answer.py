"""How Kiva's answers are read: a typed value, or not understood; nothing raises, and nothing is taken for a yes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kiva_relay.delivery import answer as answers
from kiva_relay.delivery import document, receipt
from kiva_relay.delivery.answer import ListedLoan
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.document import NotUnderstood
from kiva_relay.delivery.receipt import Problem
from kiva_relay.outbox.mirror import MirroredLoan
from testbed.rig.scripted_kiva import answer

NO_NUMBERS: tuple[Any, ...] = (True, -1, "-1", 1.5, "1.5", "", "7a", "²", "1_0", [7], {}, None, "9" * 30, 2**70)
NO_IDS: tuple[Any, ...] = ("", "  ", True, 1.5, [1], {}, None, "x" * 256, "a\0", "a\N{REPLACEMENT CHARACTER}", "\ud800")
NO_WARNINGS: tuple[Any, ...] = ("critical", "error", None, "", "warn", "info", 1, True, ["warning"], {})
API = "https://partner-api.k1.kiva.org"
UUID = "3f8a0e5c-9c1d-4a4b-8d2e-0b7f6a5c4d3e"
UPLOAD = {"upload_id": 7}
JOURNAL = {"archive_id": "a1", "confirm_url": "https://www.kiva.org/pa2/a1"}


def raw(content: bytes, status: int = 200) -> Answer:
    return Answer(status, {}, content, body_complete=True, read_whole=True)


def kept(resource: str, said: Any) -> dict[str, Any] | None:
    found = receipt.read(said if isinstance(said, Answer) else answer(200, said), resource, api_url=API)
    return None if isinstance(found, NotUnderstood) else found.kept()


# ---------------------------------------------------------------- the document


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{\x00}\x00",
        b'{"a":',
    ],
)
def test_what_is_no_json_is_not_understood(content: bytes) -> None:
    assert isinstance(document.read(raw(content)), NotUnderstood)


def test_an_answer_that_was_cut_is_not_understood() -> None:
    cut = Answer(200, {}, b"{}", body_complete=True, read_whole=False)
    assert isinstance(document.read(cut), NotUnderstood)


def test_a_byte_order_mark_is_skipped_and_a_letter_in_a_wrong_encoding_spoils_only_its_text() -> None:
    said = document.read(raw(b'\xef\xbb\xbf{"message":"pr\xeat accept\xe9","uuid":"u"}'))
    assert document.of(said, "uuid") == "u"
    assert "\N{REPLACEMENT CHARACTER}" in document.of(said, "message")


def test_a_line_break_that_stands_in_a_text_as_it_is_spoils_nothing() -> None:
    """RFC 8259 forbids it, and servers that put their texts together by hand send it."""
    assert document.of(document.read(raw(b'{"message":"no\nroom\there"}')), "message") == "no\nroom\there"


@pytest.mark.parametrize("content", [b'{"a":NaN,"b":1}', b'{"a":1e999,"b":1}', b'{"a":' + b"9" * 5_000 + b',"b":1}'])
def test_a_number_that_is_none_spoils_only_itself(content: bytes) -> None:
    said = document.read(raw(content))
    assert document.whole(document.of(said, "b")) == 1
    assert document.whole(document.of(said, "a")) is None
    assert document.finite(document.of(said, "a")) is None
    assert document.identifier(document.of(said, "a")) is None


def test_a_key_that_stands_twice_with_two_values_has_none() -> None:
    twice = document.read(raw(b'{"a_b":1,"aB":2}'))
    assert isinstance(document.of(twice, "a_b"), NotUnderstood)
    assert document.of(document.read(raw(b'{"a_b":1,"aB":1,"AB":null}')), "ab") == 1
    assert isinstance(document.of(document.read(raw(b'{"a":1,"a":true}')), "a"), NotUnderstood)


@pytest.mark.parametrize(
    ("value", "expected"), [(7, 7), ("7", 7), ("007", 7), (" 7 ", 7), ("1.0", 1), (1.0, 1), (0, 0)]
)
def test_a_whole_number(value: Any, expected: int) -> None:
    assert document.whole(value) == expected


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_no_whole_number(value: Any) -> None:
    assert document.whole(value) is None


@pytest.mark.parametrize(("value", "expected"), [("KV/1", "KV/1"), (" KV/1 ", " KV/1 "), (871, "871"), ("0", "0")])
def test_an_id(value: Any, expected: str) -> None:
    assert document.identifier(value) == expected


@pytest.mark.parametrize("value", NO_IDS)
def test_no_id(value: Any) -> None:
    assert document.identifier(value) is None


# ---------------------------------------------------------------- receipts


@pytest.mark.parametrize(
    ("resource", "said", "expected"),
    [
        ("loan_draft", {"loan_draft_uuid": UUID}, {"loan_draft_uuid": UUID}),
        ("loan_draft", {"loanDraftUuid": UUID, "code": "api.success"}, {"loan_draft_uuid": UUID}),
        ("loan_draft", {"LoanDraftUuid": UUID, "loan_draft_uuid": None, "code": 200}, {"loan_draft_uuid": UUID}),
        ("loan_draft", [{"loan_draft_uuid": "u"}], {"loan_draft_uuid": "u"}),
        ("loan_draft", {"loan_draft_uuid": UUID, "success": True, "message": "no error"}, {"loan_draft_uuid": UUID}),
        ("repayment", {"upload_id": 7, "other": 8}, UPLOAD),
        ("repayment", {"uploadId": "88121"}, {"upload_id": "88121"}),
        ("repayment", {"upload_id": 1}, {"upload_id": 1}),
        ("repayment", {"upload_id": 2**63 - 1}, {"upload_id": 2**63 - 1}),
        ("repayment", {"upload_id": 7, "problems": []}, UPLOAD),
        ("repayment", {"upload_id": 7, "problems": None}, UPLOAD),
        ("journal", JOURNAL, JOURNAL),
        (
            "journal",
            {"archiveId": 5, "confirmUrl": "https://kiva.org/x"},
            {"archive_id": 5, "confirm_url": "https://kiva.org/x"},
        ),
    ],
)
def test_a_receipt(resource: str, said: Any, expected: dict[str, Any]) -> None:
    assert kept(resource, said) == expected


@pytest.mark.parametrize(
    "uuid", ["", " ", None, False, True, 0, 7, [], {}, ["u"], "null", "None", "0", "false", "00000000-0000-0000-0000-000000000000", "see message", "x" * 200, "u\N{REPLACEMENT CHARACTER}"]
)  # fmt: skip
def test_a_draft_without_a_uuid_is_not_accepted(uuid: Any) -> None:
    assert kept("loan_draft", {"loan_draft_uuid": uuid}) is None


@pytest.mark.parametrize(
    "no",
    [
        {"code": "error"},
        {"code": "api.error"},
        {"code": "ValidationFailed"},
        {"code": 500},
        {"code": "400"},
        {"code": False},
        {"code": ["api.success"]},
        {"status": "error"},
        {"status": 422},
        {"success": False},
        {"success": "false"},
        {"isSuccess": 0},
        {"ok": {}},
        {"error": "no such partner"},
        {"errors": [{"code": 1}]},
        {"error": True},
        {"error": 1},
        {"errors": {"amount": []}},
    ],
)
def test_what_says_no_is_not_accepted_whatever_signs_it_has(no: dict[str, Any]) -> None:
    """`{"code": "error", …}` with a 200 was stored as delivered once."""
    assert kept("loan_draft", {"loan_draft_uuid": UUID} | no) is None
    assert kept("repayment", UPLOAD | no) is None
    assert kept("journal", JOURNAL | no) is None


@pytest.mark.parametrize("nothing", [None, [], {}, "", False, 0])
def test_an_error_that_is_empty_says_nothing_and_so_do_problems(nothing: Any) -> None:
    said = UPLOAD | {"error": nothing, "errors": nothing, "problems": nothing}
    assert kept("repayment", said) == UPLOAD


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ("loan_draft", "u"),
        ("loan_draft", None),
        ("loan_draft", []),
        ("loan_draft", [{"loan_draft_uuid": "u"}, {"loan_draft_uuid": "v"}]),
        ("loan_draft", [[{"loan_draft_uuid": "u"}]]),
        ("loan_draft", UPLOAD),
        ("repayment", {"upload_id": 0}),
        ("repayment", {"upload_id": 2**63}),
        ("repayment", {"upload_id": True}),
        ("repayment", {"upload_id": 7.5}),
        ("repayment", {"upload_id": -7}),
        ("journal", {"archive_id": "a"}),
        ("journal", {"archive_id": "a", "confirm_url": ""}),
        ("journal", {"archive_id": "a", "confirm_url": None}),
        ("journal", {"archive_id": "a", "confirm_url": ["https://kiva.org/a"]}),
        ("journal", {"confirm_url": "https://kiva.org/a"}),
        ("journal", {"archive_id": "a", "confirm_url": "https://kiva.org/" + "a" * 1_984}),
    ],
)
def test_what_is_no_receipt(resource: str, said: Any) -> None:
    assert kept(resource, said) is None


def test_signs_that_can_be_read_count_though_a_letter_beside_them_cannot() -> None:
    content = b'\xef\xbb\xbf{"message":"Cr\xe9\xe9","loan_draft_uuid":"%s"}' % UUID.encode()
    assert kept("loan_draft", raw(content)) == {"loan_draft_uuid": UUID}
    assert kept("loan_draft", raw(b'{"loan_draft_uuid":"u\xe9"}')) is None


def test_signs_that_stand_there_twice_are_none() -> None:
    assert kept("loan_draft", raw(b'{"loan_draft_uuid":"u","loan_draft_uuid":"v"}')) is None
    assert kept("loan_draft", raw(b'{"code":"error","code":"api.success","loan_draft_uuid":"u"}')) is None


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://www.kiva.org/pa2/1", True),
        ("https://kiva.org", True),
        ("https://partner-api.k1.kiva.org/x", True),
        ("http://www.kiva.org/pa2/1", False),
        ("https://kiva.org.evil.example/1", False),
        ("https://evilkiva.org/1", False),
        ("https://www.kiva.org@evil.example/", False),
        ("https://evil.example\\@kiva.org/", False),
        ("https://evil.example/?kiva.org", False),
        ("javascript:alert(1)//kiva.org", False),
        ("https://[::1", False),
        ("https://www.kiva.org/\u202egpj", False),
        ("https://www.kiva.org/\x1b[2J", False),
        ("//kiva.org/1", False),
        ("c", False),
    ],
)
def test_an_address_that_nobody_should_open_is_kept_as_text(url: str, *, link: bool) -> None:
    found = kept("journal", {"archive_id": "a", "confirm_url": url})
    assert found == {"archive_id": "a", "confirm_url": url} | ({} if link else {"confirm_url_is_a_link": False})


def test_a_long_address_is_kept_whole() -> None:
    said = {"archive_id": "a", "confirm_url": "https://kiva.org/" + "a" * 1_983}
    assert kept("journal", said) == said


def test_https_at_the_host_of_the_partner_api_is_a_link_on_any_port() -> None:
    assert receipt.is_link("https://kiva.test/x", "http://kiva.test:8765")
    assert receipt.is_link("https://KIVA.test:1/x", "https://kiva.test")
    assert not receipt.is_link("https://other.test/x", "https://kiva.test")
    assert not receipt.is_link("https:///x", "https://kiva.test")


def test_the_sandbox_is_reached_as_it_is() -> None:
    assert receipt.is_link("http://127.0.0.1:8765/x", "http://127.0.0.1:8765")
    assert not receipt.is_link("http://127.0.0.1:8766/x", "http://127.0.0.1:8765")


# ---------------------------------------------------------------- problems


def problems(said: Any) -> list[Problem]:
    found = receipt.read(answer(200, UPLOAD | {"problems": said}), "repayment", api_url=API)
    assert not isinstance(found, NotUnderstood)
    return list(found.problems)


def test_one_problem_that_is_no_list_is_a_list_of_one() -> None:
    said = {"loan_id": "A", "severity": "error", "code": "E7", "details": "closed"}
    assert problems(said) == problems([said]) == [Problem("A", "error", "E7", "closed")]


@pytest.mark.parametrize("severity", ["warning", "Warning ", *NO_WARNINGS])
def test_only_a_warning_is_a_warning(severity: Any) -> None:
    expected = "error" if severity in NO_WARNINGS else "warning"
    assert problems([{"loanId": 5, "severity": severity}]) == [Problem("5", expected, "", "")]


@pytest.mark.parametrize("said", ["closed", [None], [7], ["closed"], True, [[]], {"a": 1}])
def test_a_problem_that_cannot_be_read_does_not_vanish(said: Any) -> None:
    assert [(found.loan_id, found.severity) for found in problems(said)] == [("", "error")]


def test_what_is_kept_of_problems_is_bounded() -> None:
    many = problems([{"loan_id": "x" * 300, "details": "d" * 2_001, "code": "c" * 501, "severity": "s" * 999}] * 1_100)
    assert len(many) == 1_001
    assert many[-1].details == "and 100 more problems, which were not kept"
    assert many[0] == Problem("", "error", "c" * 500, "d" * 2_000)


def test_what_an_error_says() -> None:
    assert receipt.error(answer(422, {"code": "E", "message": "no"})) == receipt.KivaError("E", "no")
    assert receipt.error(raw(b"<html>\0", 502)) == receipt.KivaError("", "<html>\N{REPLACEMENT CHARACTER}")


# ---------------------------------------------------------------- loans


def page(*items: Any, **more: Any) -> Any:
    return answers.loans(answer(200, {"total_records": len(items), "data": list(items)} | more), status="issue")


def test_a_loan() -> None:
    said = {
        "kiva_id": 5,
        "internal_loan_id": "KV/1 ",
        "internal_client_id": 7,
        "loan_local_price": "10.50",
        "loan_currency": "XOF",
        "name": "\ud800",
    }
    (item,) = page(said).items
    assert item == ListedLoan("5", MirroredLoan("5", "KV/1 ", "7", "issue", "10.50", "XOF"))


@pytest.mark.parametrize("odd", [None, [], {}, True, float("nan"), "x" * 999, -1, "\0"])
def test_a_loan_whose_id_reads_serves_whatever_else_is_odd(odd: Any) -> None:
    names = ("kiva_id", "internal_client_id", "loan_local_price", "loan_currency", "status", "name", "delinquent")
    (item,) = page(dict.fromkeys(names, odd) | {"internal_loan_id": "L1", "uuid": "u"}).items
    assert item.loan is not None
    assert item.loan.loan_id == "L1"
    assert len(item.loan.status) <= 255


@pytest.mark.parametrize("none", [None, "", "  ", 0, "0"])
def test_a_loan_without_an_id_cannot_be_ours_and_counts_by_its_uuid(none: Any) -> None:
    (item,) = page({"kiva_id": none, "uuid": "u1", "internal_loan_id": none}).items
    assert item == ListedLoan("u1", MirroredLoan("u1", "", "", "issue", uuid="u1"))


@pytest.mark.parametrize("odd", [True, False, 1.5, [], ["L1"], {}, "\0", "x" * 300, float("nan")])
def test_a_loan_whose_id_cannot_be_read_may_be_any(odd: Any) -> None:
    (item,) = page({"kiva_id": 9, "internal_loan_id": odd}).items
    assert (item.counts_as, item.loan, item.called) == ("9", None, "kiva_id 9")


@pytest.mark.parametrize("item", [None, 5, "x", [], True])
def test_an_item_that_is_no_object_may_be_any_loan(item: Any) -> None:
    assert page(item).items == (ListedLoan("", None, is_object=False),)


@pytest.mark.parametrize(
    "said",
    [
        [],
        None,
        5,
        {},
        {"data": []},
        {"total_records": 1},
        {"total_records": True, "data": []},
        {"total_records": -1, "data": []},
        {"total_records": "many", "data": []},
        {"total_records": 0, "data": {}},
        {"total_records": 1, "data": 5},
        {"total_records": 0, "data": [], "code": "error"},
    ],
)
def test_a_page_that_is_not_understood(said: Any) -> None:
    assert isinstance(answers.loans(answer(200, said), status="issue"), NotUnderstood)


@pytest.mark.parametrize(("total", "expected"), [(3, 3), ("3", 3), ("1.0", 1), (1.0, 1)])
def test_a_total_that_is_a_text(total: Any, expected: int) -> None:
    assert page(total_records=total).total == expected


def test_a_page_with_another_status_is_not_understood() -> None:
    assert isinstance(answers.loans(answer(500, {"total_records": 0, "data": []}), status="issue"), NotUnderstood)


# ---------------------------------------------------------------- lists


def items(kind: str, *said: Any) -> tuple[list[Any], int]:
    found = answers.list_of(answer(200, {kind: list(said)}), kind)
    assert not isinstance(found, NotUnderstood)
    return [*found.items], found.left_out


def test_an_item_that_makes_no_sense_is_left_out_and_counted_and_the_others_serve() -> None:
    odd = (
        {"activity": "New one"},
        {"activity_id": 0, "activity": "A"},
        {"activity_id": True, "activity": "B"},
        None,
        5,
    )
    good = ({"activity_id": 1, "activity": "Retail"}, {"activityId": "79", "Activity": " Bakery ", "other": 1})
    expected = [{"activity_id": 1, "activity": "Retail"}, {"activity_id": 79, "activity": "Bakery"}]
    assert items("activities", *odd, *good) == (expected, 5)


def test_a_name_is_taken_whole_or_not_at_all() -> None:
    """One with blanks before it was cut first and measured then: it was taken without its end."""
    long = "a" * 500
    assert items("activities", {"activity_id": 1, "activity": f"   {long}  "}) == (
        [{"activity_id": 1, "activity": long}],
        0,
    )
    for odd in (f"{long}b", f"   {long}b", "pr\ud800t", "pr\0t"):
        assert isinstance(
            answers.list_of(answer(200, {"activities": [{"activity_id": 1, "activity": odd}]}), "activities"),
            NotUnderstood,
        )


def test_the_other_lists() -> None:
    assert items("themes", {"themeTypeId": "48", "themeType": "General"}) == (
        [{"theme_type_id": 48, "theme_type": "General"}],
        0,
    )
    place = {"country": "Kenya", "location": "Kisumu", "full_name": "Kisumu: Kenya"}
    assert items("locations", place, {"country": "Kenya"}) == ([place], 1)
    spoken = {"currency": "KES", "language_code": "en", "language_name": "English", "language_id": 1}
    assert items("locales", spoken, {"currency": "XOF", "language_id": []}, {"language_id": 2}) == (
        [spoken, {"currency": "XOF"}],
        1,
    )


@pytest.mark.parametrize(
    "said", [[], None, {}, {"themes": {}}, {"themes": None}, {"themes": [{"theme_type": "x"}, None]}]
)
def test_a_list_that_is_not_understood(said: Any) -> None:
    assert isinstance(answers.list_of(answer(200, said), "themes"), NotUnderstood)


def test_a_list_that_is_empty_is_one() -> None:
    assert items("themes") == ([], 0)


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize("odd", [None, "", 5, True, [], {}, "t t", "t\u00e9", "t\n", "t" * 20_000, "\ud800"])
def test_a_token_that_cannot_be_sent(odd: Any) -> None:
    assert isinstance(answers.token(raw(json.dumps({"access_token": odd}).encode())), NotUnderstood)


def test_a_token_never_shows_itself() -> None:
    assert "s3cret" not in repr(answers.token(answer(200, {"access_token": "s3cret"})))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"delinquent": True, "borrower_count": 3, "status_detail": "late"}, (True, 3, "late")),
        ({"delinquent": "false", "borrowerCount": "12", "statusDetail": " x "}, (False, 12, "x")),
        ({"delinquent": "perhaps", "borrower_count": -1, "status_detail": None}, (None, None, None)),
        ({"delinquent": [], "borrower_count": 1.5, "status_detail": {}}, (None, None, None)),
        ({}, (None, None, None)),
    ],
)
def test_what_decides_nothing_is_kept_where_it_reads(said: Any, kept: tuple[Any, ...]) -> None:
    (item,) = page(said | {"kiva_id": 7, "internal_loan_id": "L1"}).items
    assert item.loan is not None
    assert (item.loan.delinquent, item.loan.borrower_count, item.loan.status_detail) == kept


@pytest.mark.parametrize("price", [0, "0.00", -1, "", None, "ten"])
def test_a_loan_of_no_amount_is_one_whose_amount_is_unknown(price: Any) -> None:
    """Else every position would be more than what Kiva lent, and a person would be asked about it."""
    (item,) = page({"kiva_id": 7, "internal_loan_id": "L1", "loan_local_price": price}).items
    assert item.loan is not None
    assert item.loan.amount is None


@pytest.mark.parametrize("said", ["ISSUE", " issue ", "", None, 7, []])
def test_a_status_is_that_which_was_asked_for_in_whatever_case_it_comes(said: Any) -> None:
    (item,) = page({"kiva_id": 7, "internal_loan_id": "L1", "status": said}).items
    assert item.loan is not None
    assert item.loan.status == "issue"
