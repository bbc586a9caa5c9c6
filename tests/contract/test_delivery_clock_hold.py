"""The report is held while clocks differ on it, and goes on once they agree, or a person has looked."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import structlog.testing

from kiva_relay.delivery.clock_hold import ClockHold
from kiva_relay.outbox import hold
from kiva_relay.outbox.database import Outbox
from testbed.rig.outboxes import NOW
from testbed.rig.set_clock import SetClock

OCTOBER = SimpleNamespace(period="2026-10", is_open=False)
NOVEMBER = SimpleNamespace(period="2026-11", is_open=True)


@dataclass
class KivaTime:
    believed: bool = False

    def believe_machine(self) -> None:
        self.believed = True


@dataclass
class Context:
    """As much of a delivery context as the hold looks at."""

    outbox: Outbox
    clocks: list[Any] = field(default_factory=lambda: [NOVEMBER])
    resources: tuple[str, ...] = ("loan_draft", "repayment")
    kiva_time: KivaTime = field(default_factory=KivaTime)
    clock: SetClock = field(default_factory=lambda: SetClock(NOW))

    @property
    def settings(self) -> Any:
        return SimpleNamespace(resources=self.resources)

    def reports(self) -> list[Any]:
        return self.clocks[:1] if self.kiva_time.believed else self.clocks

    def holds(self) -> list[tuple[str, str, Any]]:
        with self.outbox.read() as tx:
            return [(one.what, one.reason, dict(one.params)) for one in hold.in_force(tx)]


HELD = [("repayment", "clock", {"said": "2026-11, open, or 2026-10, not open"})]


@pytest.fixture
def context(outbox: Outbox) -> Context:
    return Context(outbox)


def hold_of(context: Context) -> ClockHold:
    return ClockHold(context)  # type: ignore[arg-type]


def test_it_is_put_once_and_released_once_they_agree(context: Context) -> None:
    clocks = hold_of(context)
    clocks.compare()
    assert context.holds() == []
    context.clocks = [NOVEMBER, OCTOBER]
    with structlog.testing.capture_logs() as logs:
        clocks.compare()
        clocks.compare()
    assert context.holds() == HELD
    assert len(logs) == 1
    context.clocks = [NOVEMBER]
    clocks.compare()
    assert context.holds() == []


def test_a_hold_of_the_process_before_is_released(context: Context) -> None:
    context.clocks = [NOVEMBER, OCTOBER]
    hold_of(context).compare()
    context.clocks = [NOVEMBER]
    hold_of(context).compare()
    assert context.holds() == []


def test_once_a_person_released_it_the_machine_is_believed(context: Context) -> None:
    context.clocks = [NOVEMBER, OCTOBER]
    clocks = hold_of(context)
    clocks.compare()
    with context.outbox.begin() as tx:
        hold.release(tx, "repayment", by="awa", note="the hour is right", now=NOW, reason="clock")
    clocks.compare()
    assert context.kiva_time.believed
    clocks.compare()
    assert context.holds() == []


def test_while_they_agree_nothing_is_asked_of_the_outbox(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = hold_of(context)
    clocks.compare()
    monkeypatch.setattr(context.outbox, "begin", None)
    clocks.compare()


def test_where_no_positions_are_sent_it_does_not_matter(context: Context) -> None:
    context.resources, context.clocks = ("loan_draft",), [NOVEMBER, OCTOBER]
    hold_of(context).compare()
    assert context.holds() == []
