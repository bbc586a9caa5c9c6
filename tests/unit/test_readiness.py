"""Ready means that something can go: one loan, one mapping, a MIS that is away are no reason to say no."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kiva_relay.cli import frame
from kiva_relay.config.settings import Settings
from kiva_relay.outbox.heartbeat import Heartbeat, Reachability
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.mirror import Refresh, TakenReading
from kiva_relay.service import readiness
from testbed.rig import configuration

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
WELL = Heartbeat(NOW - timedelta(days=2), "0.2.0", 1, NOW, streams={"journal": "journal", "repayment": "repayment"})
AWAY = Reachability(away_since=NOW)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIVA_SECRET", "s")
        return frame.load(configuration.write(tmp_path_factory.mktemp("readiness")))


def read(*, ago: timedelta = timedelta(minutes=5)) -> Refresh:
    return Refresh(1, NOW - ago, NOW - ago)


def held(what: str, reason: str) -> Hold:
    return Hold(1, what, reason, {}, NOW, "the relay", "", 0)


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, []),
        ({"mis": AWAY}, []),
        ({"stopped_streams": {"journal": "no column note"}}, []),
        ({}, [held("loan_draft", "scope_missing")]),
        ({}, [held("all", "first_start"), held("all", "asked")]),
    ],
)
def test_it_is_ready_while_something_can_go(settings: Settings, changes: dict[str, Any], holds: list[Hold]) -> None:
    assert [*readiness.lacks(replace(WELL, **changes), holds, read(), settings)] == []


@pytest.mark.parametrize(
    ("changes", "holds", "said"),
    [
        ({"stuck": {"courier": "ValueError"}}, [], "the relay's own courier (ValueError)"),
        ({"no_room": "7 MB left for the outbox"}, [], "room on the disk (7 MB left for the outbox)"),
        ({"kiva": AWAY}, [], "Kiva"),
        ({"stopped_streams": dict.fromkeys(WELL.streams, "no column")}, [], "a mapping that fits the MIS"),
        (
            {},
            [held("all", "destination_fault")],
            "everything is held: Kiva refuses the relay itself, not what it sends",
        ),
        (
            {},
            [held(what, "scope_missing") for what in ("loan_draft", "repayment", "journal")],
            "everything is held: Kiva's token does not grant this permission",
        ),
    ],
)
def test_it_is_not_when_nothing_can(settings: Settings, changes: dict[str, Any], holds: list[Hold], said: str) -> None:
    assert [*readiness.lacks(replace(WELL, **changes), holds, read(), settings)] == [said]


def test_it_is_not_while_kivas_list_is_unknown(settings: Settings) -> None:
    assert [*readiness.lacks(WELL, [], None, settings)] == ["Kiva's list of loans"]
    taken = TakenReading("the counts differ", read().started_at)
    assert [*readiness.lacks(WELL, [], None, settings, taken=taken)] == [], "a person takes it as it is"
    before_the_start = read(ago=timedelta(days=3))
    assert [*readiness.lacks(WELL, [], before_the_start, settings)] == ["Kiva's list of loans"]
    old = read(ago=timedelta(hours=27))
    assert [*readiness.lacks(WELL, [], old, settings)] == ["a new list of loans from Kiva"]
