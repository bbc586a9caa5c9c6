"""Since when a transaction of MariaDB may have stamped rows, from what can be seen of it now and then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kiva_relay.source.began import Began

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_a_statement_that_was_at_work_before_its_transaction_counts_from_its_own_beginning() -> None:
    began = Began()
    began.look(at(0), {}, {})
    assert began.look(at(5), {7: at(2)}, {}) == {7: at(2)}
    assert began.look(at(10), {}, {(7, "12:00:09"): 1}) == {7: at(2)}
    assert began.look(at(90), {}, {(7, "12:00:09"): 81}) == {7: at(2)}
    assert began.look(at(95), {}, {(7, "12:01:34"): 1}) == {7: at(90)}, "the next one"
    assert began.look(at(99), {}, {}) == {}


def test_what_began_between_two_looks_counts_from_the_first_of_them() -> None:
    began = Began()
    began.look(at(0), {}, {})
    assert began.look(at(30), {}, {(8, "12:00:29"): 1}) == {8: at(0)}
    assert began.look(at(60), {8: at(59)}, {(8, "12:00:29"): 31}) == {8: at(0)}


def test_at_the_first_look_nobody_knows_who_waited() -> None:
    assert Began().look(at(0), {}, {(8, "11:59:59"): 1}) == {8: at(-300)}
    assert Began().look(at(0), {}, {(8, "10:00:00"): 7200}) == {8: at(-7200)}


def test_what_was_prepared_before_its_server_ended_may_be_old() -> None:
    began = Began()
    began.look(at(0), {}, {})
    assert began.look(at(5), {}, {(0, "12:00:02"): 3}) == {0: at(5 - 3600)}
