"""Which positions are computed or withdrawn although no row of the MIS changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay.capture import expected
from kiva_relay.outbox import meta, mirror, query, store, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource.window import RepaymentReport
from testbed.rig import outboxes
from testbed.rig.capturing import CLOSED, NOW, OPEN, fresh_outbox, loan, seen

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


def turn(outbox: Outbox, report: RepaymentReport, **aliases: str) -> list[str]:
    """What is to be looked at again; and then it was."""
    with outbox.begin() as tx:
        expected.turn(tx, report, aliases=aliases, now=NOW)
    with outbox.begin() as tx:
        again = watermark.to_read_again(tx, "repayment", limit=9)
        for key in again:
            watermark.keep(tx, seen("repayment", key=key, identity=f"L{key}"))
    return again


def owe(outbox: Outbox, identity: str = "L1", **changes: object) -> None:
    values: dict[str, object] = {"resource": "repayment", "period": OPEN.period, "stream": "repayment"} | changes
    with outbox.begin() as tx:
        store.owe(tx, outboxes.owed(identity, **values), now=NOW)  # type: ignore[arg-type]


def states(outbox: Outbox, identity: str = "L1") -> list[State]:
    with outbox.read() as tx:
        return [one.state for one in query.versions(tx, "repayment", identity)]


def test_what_kiva_expects_is_computed_until_it_is_there(outbox: Outbox) -> None:
    assert turn(outbox, OPEN) == ["1"]
    assert turn(outbox, OPEN) == ["1"]
    owe(outbox)
    assert turn(outbox, OPEN) == []


def test_all_of_it_is_computed_once_when_the_report_is_another(outbox: Outbox) -> None:
    owe(outbox)
    assert turn(outbox, OPEN) == ["1"]
    with outbox.read() as tx:
        assert meta.REPORT.get(tx) == OPEN.stamp
    assert turn(outbox, OPEN) == []
    assert turn(outbox, NOVEMBER) == ["1"]
    assert turn(outbox, NOVEMBER) == ["1"]  # the one of October is none for November


def test_what_was_withdrawn_is_computed_again(outbox: Outbox) -> None:
    owe(outbox)
    turn(outbox, OPEN)
    with outbox.begin() as tx:
        store.left_scope(tx, "repayment", "L1", reason="not_expected", now=NOW)
    assert turn(outbox, OPEN) == ["1"]


def test_nothing_is_computed_while_the_window_is_closed_and_what_was_not_sent_is_withdrawn(outbox: Outbox) -> None:
    owe(outbox)
    owe(outbox, "L2", waits="position_fell")
    owe(outbox, "L3", resource="journal", period="")
    assert turn(outbox, CLOSED) == []
    assert (states(outbox), states(outbox, "L2")) == ([State.WITHDRAWN], [State.WITHDRAWN])
    with outbox.read() as tx:
        assert query.versions(tx, "repayment", "L1")[0].reason == "window_closed"
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
    assert turn(outbox, OPEN, typed="L2") == ["1", "2"]
