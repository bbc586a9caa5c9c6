"""What shows that Kiva is there, and how many answers in a row were lost or said no."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay.delivery import breaker
from kiva_relay.delivery.breaker import Asked, Destination
from kiva_relay.outbox import hold
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import State
from kiva_relay.resource.refusal import Refusal
from testbed.rig import outboxes, scripted_kiva
from testbed.rig.outboxes import ACCEPTED, LOST, NOW, later

REFUSED = Ending("refused", body_complete=True, status=422, detail="no")
NUMBERS = itertools.count(1)
VERDICTS = {
    "accepted": EntryVerdict(State.DELIVERED, receipt={"loan_draft_uuid": "u"}),
    "refused": EntryVerdict(State.REFUSED, refusals=(Refusal("kiva_refused", "no"),)),
    "in_doubt": EntryVerdict(State.IN_DOUBT, reason="answer_lost"),
}


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = outboxes.on_file(tmp_path)
    yield made
    made.close()


def sends(outbox: Outbox, ending: Ending, resource: str = "loan_draft") -> None:
    """Something of its own is sent, and ends so."""
    more: dict[str, Any] = {"period": "2026-11"} if resource == "repayment" else {}
    outboxes.put(outbox, f"{next(NUMBERS):09}", resource=resource, stream=resource, **more)
    batch = outboxes.claim(outbox, resource)
    assert batch is not None
    outboxes.end(outbox, batch, ending, VERDICTS[ending.outcome])


# ---------------------------------------------------------------- is Kiva there?


def test_a_token_does_not_show_that_the_partner_api_is_there() -> None:
    there = Destination(clock=scripted_kiva.clock())
    there.unreachable("refused", Asked.LOANS)
    assert there.answered(Asked.TOKEN) is False
    assert there.down_since is not None
    assert there.pause(Asked.LOANS)
    assert there.last_harmless_success is None
    assert there.answered(Asked.LOANS) is True
    assert there.last_harmless_success is not None


def test_only_what_is_harmless_shows_that_something_may_be_sent() -> None:
    clock = scripted_kiva.clock()
    there = Destination(clock=clock)
    assert there.answered(Asked.SENDING) is False
    assert there.answered(Asked.TOKEN) is False
    assert there.last_harmless_success is None
    for asked in (Asked.LOANS, Asked.LISTS, Asked.PROBE):
        clock.passes(1)
        assert there.answered(asked) is False
        assert there.last_harmless_success == clock.now()


def test_each_waits_for_itself() -> None:
    clock = scripted_kiva.clock()
    there = Destination(clock=clock)
    there.unreachable("refused", Asked.LISTS, pause=outboxes.later(60) - NOW)
    assert there.pause(Asked.LISTS).total_seconds() == 60
    assert there.pause().total_seconds() == 60
    assert not there.pause(Asked.SENDING, Asked.LOANS)
    there.answered(Asked.LOANS)
    assert there.pause(Asked.LISTS).total_seconds() == 60


def test_a_list_that_is_not_whole_is_said_when_it_was_given_so_and_then_once_an_hour(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = scripted_kiva.clock()
    there = Destination(clock=clock)
    began = clock.now()

    def lines(*, given: bool) -> int:
        there.list_is_incomplete("3 of 4 came", given=given)
        return capsys.readouterr().err.count("list of loans cannot be read whole")

    assert (there.list_words, there.list_incomplete_since) == ("", None)
    assert lines(given=False) == 0, "whoever asked has said why it was not given"
    assert lines(given=True) == 1
    clock.passes(3_599)
    assert lines(given=True) == 0
    clock.passes(1)
    assert lines(given=True) == 1
    assert (there.list_words, there.list_incomplete_since) == ("3 of 4 came", began)
    there.list_is_whole()
    assert (there.list_words, there.list_incomplete_since) == ("", None)
    assert lines(given=True) == 1


# ---------------------------------------------------------------- in a row


def refusals(outbox: Outbox) -> int:
    with outbox.read() as tx:
        return breaker.refusals_in_a_row(tx, "loan_draft")


def doubts(outbox: Outbox, resource: str = "loan_draft") -> int:
    with outbox.read() as tx:
        return breaker.doubts_in_a_row(tx, resource)[0]


def test_a_row_ends_with_what_is_accepted_of_the_same_resource(outbox: Outbox) -> None:
    for ending, count in ((REFUSED, refusals), (LOST, doubts)):
        assert count(outbox) == 0
        sends(outbox, ending)
        sends(outbox, ACCEPTED, "journal")
        sends(outbox, ending)
        sends(outbox, ending, "journal")
        assert count(outbox) == 2
        sends(outbox, ACCEPTED)
        assert count(outbox) == 0


@pytest.mark.parametrize(
    ("ending", "count", "reason"), [(REFUSED, refusals, "many_refusals"), (LOST, doubts, "many_in_doubt")]
)
def test_a_row_ends_when_a_person_has_looked(outbox: Outbox, ending: Ending, count: Any, reason: str) -> None:
    for _ in range(3):
        sends(outbox, ending)
    with outbox.begin() as tx:
        hold.put(tx, "loan_draft", reason, now=later(5))
        hold.put(tx, "loan_draft", "asked", now=later(5))
        hold.release(tx, "loan_draft", by="awa", note="another hold", now=later(6), reason="asked")
    assert count(outbox) == 3
    with outbox.begin() as tx:
        hold.release(tx, "loan_draft", by="awa", note="looked", now=later(6))
    assert count(outbox) == 0
    sends(outbox, ending)
    assert count(outbox) == 1


def test_the_last_answer_that_was_lost_is_told_with_the_row(outbox: Outbox) -> None:
    with outbox.read() as tx:
        assert breaker.doubts_in_a_row(tx, "loan_draft") == (0, None)
    sends(outbox, LOST)
    with outbox.read() as tx:
        assert breaker.doubts_in_a_row(tx, "loan_draft") == (1, later(1))


def test_what_may_be_sent_twice_leaves_no_row(outbox: Outbox) -> None:
    """A position replaces the one before; what was lost of it harms nobody."""
    sends(outbox, LOST, "repayment")
    assert doubts(outbox, "repayment") == 0
    assert breaker.lost_at(outbox) == []


def test_whether_something_was_lost_last_is_one_statement_and_every_row_of_lost_ones_is_told(outbox: Outbox) -> None:
    """It is asked at each look of an idle relay; it was six statements and a transaction around them."""
    asked: list[str] = []
    sa.event.listen(outbox.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert breaker.lost_at(outbox) == []
    assert len([sql for sql in asked if sql.startswith("SELECT")]) == 1
    sends(outbox, LOST, "journal")
    assert breaker.lost_at(outbox) == [later(1)]
    sends(outbox, LOST)
    assert breaker.lost_at(outbox) == [later(1), later(1)]
    sends(outbox, ACCEPTED, "journal")
    assert breaker.lost_at(outbox) == [later(1)]
    with outbox.begin() as tx:
        hold.put(tx, "loan_draft", "many_in_doubt", now=later(5))
        hold.release(tx, "loan_draft", by="awa", note="looked", now=later(6))
    assert breaker.lost_at(outbox) == []
