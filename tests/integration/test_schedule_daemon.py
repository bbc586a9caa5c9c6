"""A daemon over changes of the clock, long jobs and jobs that raise; and streams over restarts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kiva_relay import cli, meter
from kiva_relay.capture import page
from kiva_relay.capture.page import KeyPage
from kiva_relay.outbox import store
from kiva_relay.outbox.database import Outbox
from kiva_relay.service import audit, file_watch, schedule
from kiva_relay.service.relay import Relay
from testbed.rig.note_site import NoteSite
from testbed.rig.patience import eventually
from testbed.rig.set_clock import SteppedClock

DAYS = timedelta(days=6)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NoteSite:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    return NoteSite(tmp_path)


def arrives(site: NoteSite, relay: Relay) -> None:
    """What is written into the MIS now comes into the outbox."""
    number = site.note()
    eventually(lambda: site.body(relay, number))


@pytest.mark.parametrize("by", [DAYS, pytest.param(-DAYS, marks=pytest.mark.long)])
def test_after_the_clock_was_set_by_six_days_everything_goes_on(site: NoteSite, by: timedelta) -> None:
    clock = SteppedClock()
    with clock.everywhere(), site.daemon(clock) as running:
        arrives(site, running)
        clock.by += by
        arrives(site, running)
        there = clock.now() - timedelta(seconds=1)
        eventually(lambda: (beat := site.beat(running)) and abs(beat.beats_at - there) < timedelta(minutes=1))
        clock.by -= by
        arrives(site, running)


def test_the_relays_own_sign_of_life_wakes_no_other_loop(site: NoteSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_watch, "_AT_MOST_EVERY", 0.01)

    def turns(*loops: str) -> float:
        told = ({"loop": loop, "ended": "well"} for loop in loops)
        return sum(meter.registry.get_sample_value("kiva_relay_loop_turns_total", each) or 0 for each in told)

    with site.daemon() as running:
        arrives(site, running)
        monkeypatch.setitem(schedule.PLAN, "poll", lambda _: schedule.Every(timedelta(hours=1)))
        monkeypatch.setitem(schedule.PLAN, "heartbeat", lambda _: schedule.Every(timedelta(seconds=0.05)))
        running.ask_reload()
        began = turns("heartbeat")
        eventually(lambda: turns("heartbeat") > began + 5)
        began, others = turns("heartbeat"), turns("reload", "courier", "refresher")
        eventually(lambda: turns("heartbeat") > began + 60)
        assert turns("reload", "courier", "refresher") - others < 30


def test_a_job_that_takes_longer_than_its_interval_runs_once_at_a_time_and_status_names_it(
    site: NoteSite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schedule, "LATE_AFTER", timedelta(seconds=0.5))
    monkeypatch.setitem(schedule.PLAN, "heartbeat", lambda _: schedule.Every(timedelta(seconds=0.2)))
    monkeypatch.setitem(schedule.PLAN, "audit", lambda _: schedule.Every(timedelta(seconds=0.1)))
    under_way, may_end, most = [0], threading.Event(), [0]

    def slow(_outbox: Outbox) -> None:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        may_end.wait(30)
        under_way[0] -= 1

    monkeypatch.setattr(audit, "run", slow)

    def late(running: Relay) -> list[str]:
        beat = site.beat(running)
        return [] if beat is None else [job.name for job in beat.jobs if job.overdue > 0]

    with site.daemon() as running:
        eventually(lambda: late(running) == ["audit"])
        cli.main(["status", "--config", str(site.config)])
        assert "The job “audit” is " in capsys.readouterr().out
        arrives(site, running)
        may_end.set()
        eventually(lambda: late(running) == [])
    assert most[0] == 1


def test_a_job_that_raises_runs_on_and_its_error_is_known(site: NoteSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(schedule.PLAN, "purge", lambda _: schedule.Every(timedelta(seconds=0.1)))
    monkeypatch.setitem(schedule.PLAN, "heartbeat", lambda _: schedule.Every(timedelta(seconds=0.2)))
    times = [0]

    def broken(*_args: object, **_more: object) -> int:
        times[0] += 1
        if times[0] < 3:
            raise LookupError("Awa Ndiaye")
        return 0

    monkeypatch.setattr(store, "purge", broken)

    def error(running: Relay) -> str | None:
        beat = site.beat(running)
        return next((job.error for job in beat.jobs if job.name == "purge" and job.last_run), None) if beat else None

    with site.daemon() as running:
        eventually(lambda: error(running) == "LookupError")
        arrives(site, running)
        eventually(lambda: times[0] > 3 and error(running) == "")


@pytest.mark.parametrize("step", ["read", "captured"])
def test_no_stream_starves_another_however_often_the_relay_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    monkeypatch.setattr(page, "SIZE", 5)
    site = NoteSite(tmp_path, tables=("a_note", "b_note", "c_note"))
    for table_name in site.tables:
        site.note(table_name, times=100)

    class PowerCut(BaseException):
        """The process ends here."""

    def end(name: str) -> None:
        if name == step:
            raise PowerCut

    begun: list[str] = []
    for _ in range(2 * len(site.tables)):
        with site.relay() as ended:
            pages = ended.capture_loop.capture()._pages
            read = pages.capture

            def noted(each: KeyPage, *args: Any, read: Callable[..., Any] = read, **more: Any) -> Any:
                begun.append(each.document.name)
                return read(each, *args, **more)

            monkeypatch.setattr(pages, "capture", noted)
            ended.progress.at = end
            with pytest.raises(PowerCut):
                ended.capture_loop.capture().cycle()
    assert begun == [f"journal.{name}" for name in site.tables] * 2


def test_a_loop_that_fails_goes_on_and_one_that_fails_for_long_is_told(
    site: NoteSite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kiva_relay.service.loop.STUCK_AFTER", 0.5)
    monkeypatch.setattr("kiva_relay.service.loop._LONGEST_BACK_OFF", 0.1)
    monkeypatch.setitem(schedule.PLAN, "heartbeat", lambda _: schedule.Every(timedelta(seconds=0.2)))
    with site.daemon() as running:
        arrives(site, running)
        threads = running._threads
        assert threads is not None
        monkeypatch.setattr(threads._courier._courier, "round", lambda: 1 // 0)
        eventually(lambda: (beat := site.beat(running)) and "courier" in beat.stuck)
        assert cli.main(["status", "--config", str(site.config)]) == 1
        assert (
            "The relay has not succeeded in sending to Kiva for ten minutes: ZeroDivisionError"
            in capsys.readouterr().out
        )
        assert any("courier" in line for line in threads.missing())
        arrives(site, running)
        monkeypatch.setattr(threads._courier._courier, "round", lambda: 0)
        eventually(lambda: not any("courier" in line for line in threads.missing()))
