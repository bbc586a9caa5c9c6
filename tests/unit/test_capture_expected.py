"""Which positions are computed or withdrawn although no row of the MIS changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kiva_relay.capture import expected
from kiva_relay.outbox import listing, meta, mirror, query, store, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource.refusal import Refusal
from kiva_relay.resource.window import RepaymentReport
from testbed.rig import outboxes
from testbed.rig.capturing import CLOSED, NOW, OPEN, fresh_outbox, loan, seen, settings

NOVEMBER = RepaymentReport("2026-11", OPEN.cutoff, is_open=True)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = fresh_outbox(tmp_path)
    with made.begin() as tx:
        for number in ("1", "2"):
            watermark.keep(tx, seen("repayment", key=number, identity=f"L{number}"), new=True)
        refresh = mirror.begin_refresh(tx, now=NOW)
        mirror.keep(tx, refresh, [loan("L1"), loan("L2", "ended", kiva_id="K2")])
    yield made
    made.close()


def turn(outbox: Outbox, report: RepaymentReport, *, minutes: int = 0, **aliases: str) -> list[str]:
    """What is to be looked at again; and then it was."""
    with outbox.begin() as tx:
        expected.turn(tx, report, settings=settings(), aliases=aliases, now=NOW + timedelta(minutes=minutes))
    with outbox.begin() as tx:
        again = watermark.to_read_again(tx, "repayment", limit=9)
        for key in again:
            watermark.keep(tx, seen("repayment", key=key, identity=f"L{key}"))
    return again


def read_list(outbox: Outbox, *loans: mirror.MirroredLoan) -> None:
    """Kiva's list is read again."""
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=NOW)
        mirror.keep(tx, refresh, loans)
        mirror.end_refresh(tx, refresh, complete=True, listed=2, detail=None, now=NOW)


def owe(outbox: Outbox, identity: str = "L1", **changes: object) -> None:
    values: dict[str, object] = {"resource": "repayment", "period": OPEN.period, "stream": "repayment"} | changes
    with outbox.begin() as tx:
        store.owe(tx, outboxes.owed(identity, **values), now=NOW)  # type: ignore[arg-type]


def states(outbox: Outbox, identity: str = "L1") -> list[State]:
    with outbox.read() as tx:
        return [one.state for one in query.versions(tx, "repayment", identity)]


def test_what_kiva_expects_is_computed_until_it_is_there(outbox: Outbox) -> None:
    assert turn(outbox, OPEN) == ["1"]
    assert turn(outbox, OPEN) == []  # nothing that it depends on has changed
    read_list(outbox)
    assert turn(outbox, OPEN) == ["1"]
    owe(outbox)
    read_list(outbox)
    assert turn(outbox, OPEN) == []


def test_what_kiva_begins_to_expect_is_computed(outbox: Outbox) -> None:
    owe(outbox)
    turn(outbox, OPEN)
    read_list(outbox, loan("L2", kiva_id="K2"))
    assert turn(outbox, OPEN) == ["2"]
    assert turn(outbox, OPEN) == []


def test_all_of_it_is_computed_once_when_the_report_is_another(outbox: Outbox) -> None:
    owe(outbox)
    assert turn(outbox, OPEN) == ["1"]
    with outbox.read() as tx:
        assert meta.REPORT.get(tx) == OPEN.stamp
    assert turn(outbox, OPEN) == []
    assert turn(outbox, NOVEMBER) == ["1"]
    read_list(outbox)
    assert turn(outbox, NOVEMBER) == ["1"]  # the one of October is none for November


def test_what_was_withdrawn_is_computed_again(outbox: Outbox) -> None:
    owe(outbox)
    turn(outbox, OPEN)
    with outbox.begin() as tx:
        store.left_scope(tx, "repayment", "L1", reason="not_expected", now=NOW)
    read_list(outbox)
    assert turn(outbox, OPEN) == ["1"]


def test_nothing_is_computed_while_the_window_is_closed_and_what_was_not_sent_is_withdrawn(outbox: Outbox) -> None:
    owe(outbox)
    owe(outbox, "L2", waits="position_fell")
    owe(outbox, "L3", resource="journal", period="")
    assert turn(outbox, CLOSED) == []
    assert (states(outbox), states(outbox, "L2")) == ([State.WITHDRAWN], [State.WITHDRAWN])
    with outbox.read() as tx:
        assert query.versions(tx, "repayment", "L1")[0].reason == "window_closed"
        assert query.versions(tx, "repayment", "L2")[0].reason == "position_fell", "what a person was asked stays said"
        assert [entry.identity for entry in listing.closed_undecided(tx)] == ["L2"]
        assert query.versions(tx, "journal", "L3")[0].state is State.READY


def test_what_was_refused_or_sent_stays_when_the_window_closes(outbox: Outbox) -> None:
    owe(outbox)
    with outbox.begin() as tx:
        (ready,) = query.versions(tx, "repayment", "L1")
        store.move(tx, ready, State.DELIVERED, Actor.PERSON, now=NOW, evidence="person")
    turn(outbox, CLOSED)
    assert states(outbox) == [State.DELIVERED]


def test_ids_that_were_typed_at_kiva_are_those_of_the_mis(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        mirror.keep(tx, 1, [loan("typed", kiva_id="K3")])
    assert turn(outbox, OPEN) == ["1"]
    read_list(outbox)
    assert turn(outbox, OPEN, typed="L2") == ["1", "2"]


# ---------------------------------------------------------------- what is unknown when its report closes


def send(outbox: Outbox, amount: int, outcome: str) -> Entry:
    """What is owed is sent; its answer comes at once, or is lost."""
    owe(outbox, body=f'{{"amount":{amount}}}', amount=str(amount))
    batch = outboxes.claim(outbox, "repayment")
    assert batch is not None
    accepted = outcome == "accepted"
    verdict = EntryVerdict(State.DELIVERED) if accepted else EntryVerdict(State.IN_DOUBT, reason="answer_lost")
    return outboxes.end(outbox, batch, outboxes.ACCEPTED if accepted else outboxes.LOST, verdict, seconds=0)[0]


def unknown(outbox: Outbox) -> list[tuple[str, str | None, str | None]]:
    """Of each period that closed unknown: what was sent, and what Kiva may hold instead."""
    with outbox.read() as tx:
        return [(one.entry.period, one.sent, one.before) for one in listing.closed_unknown(tx)]


def test_what_is_in_doubt_when_its_report_closes_is_a_line_of_its_own(outbox: Outbox) -> None:
    send(outbox, 100, "accepted")
    send(outbox, 150, "in_doubt")
    turn(outbox, CLOSED, minutes=14)
    assert states(outbox) == [State.IN_DOUBT, State.DELIVERED]
    turn(outbox, CLOSED, minutes=15)
    assert states(outbox) == [State.WITHDRAWN, State.DELIVERED]
    assert unknown(outbox) == [(OPEN.period, "150", "100")]


def test_what_was_not_sent_says_that_an_older_one_may_be_at_kiva(outbox: Outbox) -> None:
    doubt = send(outbox, 150, "in_doubt")
    owe(outbox, body='{"amount":160}', amount="160")
    with outbox.begin() as tx:
        store.follow(
            tx, store.move(tx, doubt, State.SUPERSEDED, Actor.RECONCILER, now=NOW), by=Actor.RECONCILER, now=NOW
        )
    turn(outbox, CLOSED)
    assert unknown(outbox) == [(OPEN.period, "150", None)]
    with outbox.read() as tx:
        assert query.versions(tx, "repayment", "L1")[0].reason == "closed_unknown"


def test_one_that_waited_behind_it_is_no_second_line(outbox: Outbox) -> None:
    send(outbox, 150, "in_doubt")
    owe(outbox, body='{"amount":160}', amount="160")
    turn(outbox, CLOSED)
    turn(outbox, CLOSED, minutes=15)
    assert unknown(outbox) == [(OPEN.period, "150", None)]


def test_a_refused_one_keeps_its_reasons_and_says_that_an_older_one_may_be_at_kiva(outbox: Outbox) -> None:
    doubt = send(outbox, 150, "in_doubt")
    owe(outbox, body=None, refusals=(Refusal("amount_negative", "amount", {"value": "-1"}),))
    with outbox.begin() as tx:
        store.follow(
            tx, store.move(tx, doubt, State.SUPERSEDED, Actor.RECONCILER, now=NOW), by=Actor.RECONCILER, now=NOW
        )
    turn(outbox, CLOSED)
    assert unknown(outbox) == [(OPEN.period, "150", None)]
    with outbox.read() as tx:
        assert [one.code for one in query.versions(tx, "repayment", "L1")[0].reasons] == ["amount_negative"]


def test_a_doubt_of_a_closed_report_does_not_stand_in_the_way_of_the_next_position(outbox: Outbox) -> None:
    send(outbox, 150, "in_doubt")
    owe(outbox, body='{"amount":200}', period=NOVEMBER.period)
    assert states(outbox) == [State.WAITING, State.IN_DOUBT]
    turn(outbox, NOVEMBER, minutes=15)
    assert states(outbox) == [State.READY, State.WITHDRAWN]
    assert unknown(outbox) == [(OPEN.period, "150", None)]
