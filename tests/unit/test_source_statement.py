"""Colons in SQL: which of them begin a parameter."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.dialects import postgresql

from kiva_relay import errors
from kiva_relay.source import dialect_postgresql, statement, value
from kiva_relay.source.stream import Relation, Stream, ancestors


def rendered(sql: str, **values: object) -> str:
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    return str(statement.bind(statement.fragment(sql), values).compile(dialect=dialect)).strip()


@pytest.mark.parametrize(
    "sql",
    [
        "note LIKE 'KIVA:%'",
        "note LIKE 'KIVA:day'",
        "at::date",
        "at :: date",
        "'it''s :day'",
        r"E'it\'s :day'",
        "LIKE'a:day'",
        '"odd:day"',
        "$$ :day $$",
        "$q$ :day $q$",
        "/* :day */ 1",
        "1 -- :day",
        "parts[1:day]",
        r"'a\:day'",
        '\'{"a":"day"}\'::jsonb',
        "1 = 1 -- what else: nothing",
    ],
)
def test_a_colon_that_begins_no_parameter_stays(sql: str) -> None:
    assert statement.names(sql) == []
    assert rendered(sql, day=1) == sql


def test_parameters_are_found_beside_casts_and_literals() -> None:
    sql = "a = :day AND b::date <= :day::date AND c LIKE ':no' AND d IN (:other,:day)"
    assert statement.names(sql) == ["day", "other"]


def test_a_percent_sign_and_a_semicolon_at_the_end() -> None:
    assert rendered("SELECT 1 ;  ") == "SELECT 1"
    assert rendered("x LIKE '100%'") == "x LIKE '100%'"


def test_a_parameter_that_is_not_known_is_named_with_the_nearest() -> None:
    with pytest.raises(errors.UsageError, match=r":kiva_fnd.*did you mean :kiva_fund"):
        statement.fragment("fund_id = :kiva_fnd", known=["kiva_fund"])


@pytest.mark.parametrize("parts", [("7",), ("007", "A/1"), ('"', "é\n"), ("[1]",)])
def test_a_key_can_be_read_back(parts: tuple[str, ...]) -> None:
    assert value.parts(value.key(parts), len(parts)) == parts


def test_where_clocks_went_back_the_bound_is_the_earlier_one() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    before, after = datetime(2026, 10, 25, 0, 50, tzinfo=UTC), datetime(2026, 10, 25, 1, 20, tzinfo=UTC)
    # 02:50 summer time; at 01:10 UTC a row is stamped 02:10 winter time, which must not lie below the bound.
    assert dialect_postgresql._bound("naive", before, after, [berlin]) == "2026-10-25T01:50:00"
    assert dialect_postgresql._bound("naive", after, after, [berlin]) == "2026-10-25T02:20:00"
    assert dialect_postgresql._bound("day", before, after, [UTC, ZoneInfo("Pacific/Honolulu")]) == "2026-10-24"


def test_a_relation_matched_through_nothing_is_named() -> None:
    through = Relation(name="gender", table="code", match={"id": "clent.gender_id"})
    client = Relation(name="client", table="client", match={"id": "client_id"})
    stream = Stream(name="loans", resource="loan_draft", table="loan", key=("id",), relations=(client, through))
    with pytest.raises(errors.UsageError, match="did you mean client"):
        ancestors(stream, through)


def test_lists_of_all_lengths_make_a_few_statements() -> None:
    """Of each length there would be one more entry in the DBA's pg_stat_statements, which are full then."""
    for columns, most in ((["a"], 1000), (["a", "b"], 500)):
        lengths = set()
        for wanted in range(1, most + 1):
            rows = [(number,) * len(columns) for number in range(wanted)]
            _, members = statement.within(columns, rows)
            lengths.add(len(members))
            assert len(members) <= most
            assert set(members) == (set(range(wanted)) if len(columns) == 1 else set(rows))
        assert len(lengths) == 6
