"""After a report has closed, only what a person sends late goes, and nothing once it is finalised."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from kiva_relay.outbox import report
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import LATE
from kiva_relay.outbox.state import State
from kiva_relay.report import current
from kiva_relay.resource import window
from testbed.rig.delivering import Machine

PERIOD = "2026-10"


@pytest.fixture
def machine(outbox: Outbox, tmp_path: Path) -> Machine:
    """It is 23 November: the report of October has closed, and two of its positions are ready."""
    made = Machine(tmp_path, outbox)
    context = made.context
    repayments = context.settings.repayments.model_copy(update={"when": "window", "timezone": "UTC"})
    context.settings = context.settings.model_copy(update={"repayments": repayments})
    due = window.report(context.settings, made.clock.now())
    assert (due.period, due.is_open) == (PERIOD, False)
    with outbox.begin() as tx:
        opened = current.beginning(due, context.settings, now=made.clock.now())
        report.open_(tx, opened)
        report.change(tx, opened, closed_at=made.clock.now())
    made.owe("repayment", "L1", period=PERIOD, origin="report")
    made.owe("repayment", "L2", period=PERIOD, origin=LATE)
    return made


def states(machine: Machine) -> tuple[State, State]:
    return machine.entry("repayment", "L1").state, machine.entry("repayment", "L2").state


def test_what_a_person_sends_late_goes_alone(machine: Machine) -> None:
    assert machine.send() == 1
    assert states(machine) == (State.READY, State.DELIVERED)
    assert machine.send() == 0


@pytest.mark.parametrize(("before", "sent"), [(timedelta(seconds=10), 0), (timedelta(minutes=10), 1)])
def test_nothing_is_begun_so_late_that_the_next_report_may_be_open(
    machine: Machine, before: timedelta, sent: int
) -> None:
    """It was begun until the last second, and Kiva books what it gets in the report that is open by then."""
    monthly = window.of(machine.context.settings)
    assert monthly is not None
    opens = monthly.after(machine.clock.now()).opens
    machine.clock.passes((opens - before - machine.clock.now()).total_seconds())
    assert machine.send() == sent
    assert states(machine) == (State.READY, State.DELIVERED if sent else State.READY)


def test_nothing_goes_late_where_clocks_differ_on_the_report(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    context = machine.context
    now = machine.clock.now()
    both = [window.report(context.settings, moment) for moment in (now, now + timedelta(days=20))]
    assert len({one.period for one in both}) == 2
    monkeypatch.setattr(context, "reports", lambda: both)
    assert machine.send() == 0


def test_nothing_goes_late_once_it_is_finalised(machine: Machine) -> None:
    now = machine.clock.now()
    with machine.outbox.begin() as tx:
        closed = report.of(tx, PERIOD)
        assert closed is not None
        report.change(tx, closed, finalised_at=now, finalised_by="awa")
    assert machine.send() == 0
    assert states(machine) == (State.READY, State.READY)
