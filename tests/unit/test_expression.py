from __future__ import annotations

import contextlib
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiva_relay.mapping import engine, expression, function
from kiva_relay.mapping.function import FUNCTIONS, Refused, Run
from kiva_relay.mapping.lookup import Lists, LookupTable

LOANS = [{"currency": "XOF", "purpose": None}, {"currency": "XOF", "purpose": "Elevage"}]
NAMES: dict[str, Any] = {
    "account_no": "000000871",
    "empty": None,
    "amount": Decimal("250000.000000"),
    "seven": 7,
    "day": date(2026, 11, 23),
    "client": {"firstname": "Fatou", "items": "a column", "gone": None},
    "nobody": None,
    "loans": LOANS,
    "result": "its own",
}


def value(source: str) -> Any:
    return expression.parse(source).value(NAMES, Run())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("account_no", "000000871"),
        ("client.firstname", "Fatou"),
        ("client.items", "a column"),
        ("empty or account_no", "000000871"),
        ("client.firstname ~ '/' ~ seven", "Fatou/7"),
        ("seven + 1.10", Decimal("8.10")),
        ("1.10 - seven", Decimal("-5.90")),
        ("-seven", Decimal(-7)),
        ("'a' if seven > 3 else 'b'", "a"),
        ("seven == '7'", True),
        ("seven in [1, 7]", True),
        ("seven not in [1, 7]", False),
        ("empty == none", True),
        ("not empty", True),
        ("loans | count", 2),
        ("loans | only('currency')", "XOF"),
        ("loans | first('purpose')", "Elevage"),
        ("amount | money(0)", Decimal(250000)),
        ("amount | share(1, loans, 0)", Decimal(125000)),
        ("'KIVA: good' | after('KIVA:') | trim", "good"),
        ("client['firstname']", "Fatou"),
        ("result", "its own"),
    ],
)
def test_an_expression_says(source: str, expected: object) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "empty",
        "empty ~ account_no",
        "account_no ~ empty",
        "empty + 1",
        "1 - empty",
        "-empty",
        "empty < 1",
        "client.gone",
        "nobody.firstname",
        "nobody.firstname | trim",
    ],
)
def test_null_stays_null(source: str) -> None:
    assert value(source) is None


def test_null_passes_through_every_function() -> None:
    arguments: dict[str, list[Any]] = {
        "choose": [{"F": "female"}, "unknown"],
        "lookup": ["activities"],
        "translate": ["activities.csv"],
        "share": [1, LOANS, 2],
        "only": ["currency"],
        "first": ["currency"],
        "after": ["KIVA:"],
    }
    for name in FUNCTIONS:
        assert function.call(name, Run(), None, *arguments.get(name, [])) is None


@pytest.mark.parametrize(
    ("source", "says", "remedy"),
    [
        ("amount * 1.5", "`*` is not known", "sql:"),
        ("'a' * 400000000", "`*` is not known", "sql:"),
        ("seven ** 9", "`pow` is not known", ""),
        ("client.keys()", "after `|`", "value | function"),
        ("range(9)", "after `|`", ""),
        ("seven is defined", "`is` is not known", "== none"),
        ("client.firstname | default('x')", 'no function "default"', "or"),
        ("client.firstname | tirm", 'no function "tirm"', "trim"),
        ("loans | first", "takes 1 values", "first('purpose')"),
        ("a if b", "needs an `else`", "else none"),
        ("1 < seven < 9", "one comparison", "and"),
        ("gender | choose('x')", "curly brackets", "choose({"),
        ("purpose | lookup('activity')", 'no list "activity"', "activities"),
        ("purpose | translate(other)", "between quotes", "translate('"),
        ("loans[0]", "only a column", "row["),
        ("to buy seeds", "ends before", ""),
        ("(" * 400 + "seven" + ")" * 400, "nested too deeply", ""),
        ("a" * 1001, "at most 1000", ""),
        ("{{ seven }}", "expected token", ""),
        ("seven %}", "unexpected", ""),
    ],
)
def test_what_is_not_allowed_is_said_with_what_to_write(source: str, says: str, remedy: str) -> None:
    with pytest.raises(expression.Wrong) as wrong:
        expression.parse(source)
    assert says in str(wrong.value)
    assert remedy in wrong.value.remedy


@pytest.mark.parametrize(
    "source", ["missing", "client.fistname", "client.firstname.length", "loans.currency", "day + 1"]
)
def test_what_cannot_be_computed_is_refused_and_never_raised(source: str) -> None:
    with pytest.raises(Refused):
        value(source)


def test_names_are_found_where_they_stand() -> None:
    found = expression.parse("account_no ~ client.fistname").references
    assert [(reference.path, reference.offset) for reference in found] == [
        (("account_no",), 0),
        (("client", "fistname"), 13),
    ]


def test_jinja_has_nothing_of_its_own_left() -> None:
    assert set(engine.ENVIRONMENT.filters) == set(FUNCTIONS)
    assert not engine.ENVIRONMENT.tests
    assert not engine.ENVIRONMENT.globals


@given(st.text(alphabet="abc.|~()[]{}'\",:+-*/%=<> 0123456789\n#", max_size=40))
def test_no_text_breaks_the_parser(source: str) -> None:
    try:
        parsed = expression.parse(source)
    except expression.Wrong:
        return
    with contextlib.suppress(Refused):
        parsed.value(NAMES, Run())


@given(
    total=st.decimals(min_value=0, max_value=10**9, places=2),
    members=st.integers(min_value=1, max_value=40),
    digits=st.integers(min_value=0, max_value=3),
)
def test_shares_add_up_to_the_whole(total: Decimal, members: int, digits: int) -> None:
    rows: list[dict[str, object]] = [{}] * members
    parts = [function.share(Run(), total, position, rows, digits) for position in range(1, members + 1)]
    assert sum(parts) == function.money(Run(), total, digits)
    assert max(parts[1:], default=parts[0]) - min(parts) <= Decimal(1).scaleb(-digits) * members


def test_an_unknown_code_is_refused_unless_something_stands_in_for_it() -> None:
    assert value("client.firstname | choose({'Fatou': 'female'})") == "female"
    assert value("client.firstname | choose({'M': 'male'}, 'unknown')") == "unknown"
    with pytest.raises(Refused) as refused:
        value("client.firstname | choose({'M': 'male'})")
    assert refused.value.refusal.code == "code_unknown"


def test_a_name_without_translation_may_be_one_of_kivas_already(tmp_path: Any) -> None:
    table = LookupTable("activities.csv", tmp_path, {"elevage": "Livestock"})
    lists = Lists.of(
        {"activities": [{"activity": "Livestock", "activity_id": 79}, {"activity": "Pigs", "activity_id": 81}]}
    )
    run = Run(lists=lists, tables={"activities.csv": table})
    looked_up = expression.parse("name | translate('activities.csv') | lookup('activities')")
    assert looked_up.value({"name": "Elevage"}, run) == 79
    assert looked_up.value({"name": "pigs "}, run) == 81
    with pytest.raises(Refused) as refused:
        looked_up.value({"name": "Livestok"}, run)
    assert refused.value.refusal.code == "activity_unknown"
    assert refused.value.refusal.params["nearest"] == "Livestock"
    with pytest.raises(Refused) as refused:
        expression.parse("name | translate('activities.csv') ~ '!'").value({"name": "Poterie"}, run)
    assert refused.value.refusal.code == "no_translation"


@pytest.mark.parametrize(
    "word", ["self", "loop", "super", "caller", "context", "environment", "result", "varargs", "kr_self"]
)
def test_a_column_may_be_called_as_it_likes(word: str) -> None:
    for source, expected in ((f"{word} ~ '!'", "it!"), (f"client.{word} ~ '!'", "it!"), (word, "it")):
        assert expression.parse(source).value({word: "it", "client": {word: "it"}}, Run()) == expected
