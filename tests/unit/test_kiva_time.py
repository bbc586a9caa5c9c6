"""What depends on a day goes by Kiva's clock, whatever somebody did to that of the machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpcore
import pytest

from kiva_relay.config import loader
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import http_date
from kiva_relay.delivery.client import Client
from kiva_relay.delivery.kiva_time import KivaTime
from kiva_relay.outbox import meta
from kiva_relay.resource import window
from testbed.rig import configuration, scripted_kiva
from testbed.rig.outboxes import on_file
from testbed.rig.scripted_kiva import ScriptedKiva
from testbed.rig.set_clock import SetClock

TRUE = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
SIX_DAYS = timedelta(days=6)


def date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def close(one: datetime, other: datetime) -> bool:
    return abs(one - other) <= timedelta(seconds=2)


def test_nothing_is_known_before_an_answer() -> None:
    clock = SetClock(TRUE)
    kiva = KivaTime(clock, boot="b")
    assert kiva.learn(None) is None
    assert kiva.learn("yesterday") is None
    assert kiva.learn("Sat, 99 Nov 2026 12:00:00 GMT") is None
    assert not kiva.is_known
    assert kiva.now() == TRUE


@pytest.mark.parametrize("milliseconds", [0, 250, 500, 750, 999])
def test_whole_seconds_that_were_cut_off_are_never_more_than_half_a_second_wrong(milliseconds: int) -> None:
    moment = TRUE + timedelta(milliseconds=milliseconds)
    kiva = KivaTime(SetClock(moment), boot="b")
    kiva.learn(date(moment))
    assert abs(kiva.now() - moment) <= timedelta(seconds=0.5)


def test_an_answer_counts_from_when_it_came_not_from_when_it_is_told_of() -> None:
    clock = SetClock(TRUE)
    kiva, came = KivaTime(clock, boot="b"), clock.monotonic()
    clock.passes(60)
    kiva.learn(date(TRUE), monotonic=came)
    assert close(kiva.now(), TRUE + timedelta(minutes=1))


def test_it_goes_on_by_the_clock_that_nobody_sets() -> None:
    clock = SetClock(TRUE)
    kiva = KivaTime(clock, boot="b")
    kiva.learn(date(TRUE))
    clock.is_set(SIX_DAYS)
    clock.passes(3600)
    assert close(kiva.now(), TRUE + timedelta(hours=1))
    clock.is_set(-2 * SIX_DAYS)
    assert close(kiva.now(), TRUE + timedelta(hours=1))


def test_four_wrong_answers_of_nine_decide_nothing_and_one_out_of_a_cache_is_none() -> None:
    clock = SetClock(TRUE)
    kiva = KivaTime(clock, boot="b")
    for wrong in (False, True, False, True, False, True, False, True, False):
        kiva.learn(date(TRUE + (SIX_DAYS if wrong else timedelta(0))))
    for _ in range(20):
        kiva.learn(date(TRUE - SIX_DAYS), "518400")
    assert close(kiva.now(), TRUE)


def test_dates_that_contradict_each_other_are_no_time() -> None:
    """Two that differ by days: their middle would be an hour that nobody ever said."""
    kiva = KivaTime(SetClock(TRUE), boot="b")
    kiva.learn(date(TRUE))
    assert kiva.is_known
    kiva.learn(date(TRUE + SIX_DAYS))
    assert not kiva.is_known
    assert close(kiva.now(), TRUE)
    assert close(max(kiva.perhaps()), TRUE + SIX_DAYS)
    for _ in range(3):
        kiva.learn(date(TRUE))
    assert close(kiva.now(), TRUE)
    assert close(max(kiva.perhaps()), TRUE + SIX_DAYS)
    for _ in range(6):
        kiva.learn(date(TRUE))
    assert [close(one, TRUE) for one in kiva.perhaps()] == [True]


def test_one_answer_alone_is_compared_with_the_other_witnesses() -> None:
    kiva = KivaTime(SetClock(TRUE), boot="b")
    kiva.learn(date(TRUE + SIX_DAYS))
    assert close(min(kiva.perhaps()), TRUE)
    kiva.learn(date(TRUE + SIX_DAYS))
    kiva.learn(date(TRUE + SIX_DAYS))
    assert [close(one, TRUE + SIX_DAYS) for one in kiva.perhaps()] == [True]


def test_without_kiva_the_earliest_witness_counts_until_a_person_believes_the_machine() -> None:
    clock = SetClock(TRUE)
    kiva = KivaTime(clock, boot="b")
    clock.is_set(SIX_DAYS)
    assert close(kiva.now(), TRUE)
    kiva.hear_mis(TRUE - SIX_DAYS)
    assert close(kiva.now(), TRUE - SIX_DAYS)
    clock.passes(60)
    kiva.believe_machine()
    assert [close(one, TRUE + SIX_DAYS + timedelta(minutes=1)) for one in kiva.perhaps()] == [True, True]


def test_a_restart_remembers_what_the_clock_said_before_it_was_set(tmp_path: Path) -> None:
    clock = SetClock(TRUE)
    outbox = on_file(tmp_path)
    first = KivaTime(clock, boot="b")
    with outbox.begin() as tx:
        first.keep(tx)
    clock.is_set(SIX_DAYS)
    again, rebooted = KivaTime(clock, boot="b"), KivaTime(clock, boot="another")
    with outbox.read() as tx:
        again.recall(tx)
        rebooted.recall(tx)
    outbox.close()
    assert close(again.now(), TRUE)
    assert close(rebooted.now(), TRUE + SIX_DAYS)


def test_only_the_last_nine_count() -> None:
    kiva = KivaTime(SetClock(TRUE), boot="b")
    for moment in [TRUE] * 9 + [TRUE + SIX_DAYS] * 5:
        kiva.learn(date(moment))
    assert close(kiva.now(), TRUE + SIX_DAYS)


def test_a_restart_remembers_it_and_a_start_of_the_machine_does_not(tmp_path: Path) -> None:
    clock = SetClock(TRUE)
    outbox = on_file(tmp_path)
    kiva = KivaTime(clock, boot="b")
    kiva.learn(date(TRUE))
    clock.is_set(SIX_DAYS)
    with outbox.begin() as tx:
        kiva.keep(tx)
        known = meta.KIVA_TIME.get(tx)
        assert known is not None
        assert abs(known.off_by + SIX_DAYS.total_seconds()) < 2
        assert known.learned_at == clock.now()
    again, rebooted = KivaTime(clock, boot="b"), KivaTime(clock, boot="another")
    with outbox.read() as tx:
        again.recall(tx)
        rebooted.recall(tx)
    outbox.close()
    assert close(again.now(), TRUE)
    assert not rebooted.is_known


def test_what_is_known_is_kept_when_it_changes_and_now_and_then(tmp_path: Path) -> None:
    """It was written with each heartbeat, every five seconds."""
    clock = SetClock(TRUE)
    outbox = on_file(tmp_path)
    kiva = KivaTime(clock, boot="b")
    kiva.learn(date(TRUE))

    def kept() -> meta.KivaTimeKnown | None:
        with outbox.begin() as tx:
            kiva.keep(tx)
            return meta.KIVA_TIME.get(tx)

    first = kept()
    assert first is not None
    clock.passes(59)
    assert kept() == first
    clock.is_set(SIX_DAYS)
    moved = kept()
    assert moved is not None
    assert abs(moved.off_by + SIX_DAYS.total_seconds()) < 2
    clock.passes(60)
    again = kept()
    assert again is not None
    assert again.learned_at > moved.learned_at
    kiva.learn(date(clock.now() + SIX_DAYS))
    kiva.learn(date(clock.now() + SIX_DAYS))
    assert kept() != again
    outbox.close()


def test_every_answer_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client hands on the headers of what it gets, also of an error."""
    heard: list[str | None] = []
    settings = loader.load(configuration.write(tmp_path), environ={})
    client = Client(settings.kiva, heard=lambda headers: heard.append(headers.get("date")))
    answer = httpcore.Response(503, headers={"Date": date(TRUE)})
    monkeypatch.setattr(httpcore.ConnectionPool, "handle_request", lambda *_: answer)
    client.get("/", token="t")
    client.close()
    assert heard == [date(TRUE)]
    assert isinstance(settings.kiva, Kiva)


@pytest.mark.parametrize("ahead", [SIX_DAYS, -SIX_DAYS])
def test_a_clock_that_is_six_days_wrong_reports_no_wrong_month(tmp_path: Path, ahead: timedelta) -> None:
    """On 28 November with the clock in December the November report would open; for Kiva it is October's that is closed."""
    settings = loader.load(
        configuration.write(
            tmp_path, 'repayments: {opens_on: {day: 1, at: "06:00"}, closes_on: {day: 10, at: "18:00"}}\n'
        ),
        environ={},
    )
    clock = SetClock(TRUE)
    kiva = KivaTime(clock, boot="b")
    kiva.learn(date(TRUE))
    for hour in range(48):
        if hour == 5:
            clock.is_set(ahead)
        if hour == 40:
            clock.is_set(-ahead)
        clock.passes(3600)
        true = TRUE + timedelta(hours=hour + 1)
        found, right = window.report(settings, kiva.now()), window.report(settings, true)
        assert (found.period, found.is_open) == (right.period, right.is_open), hour


def test_the_last_day_to_publish_is_the_institutions_and_by_kivas_clock(tmp_path: Path) -> None:
    """At 19:32 in Lima it is the next day in UTC already, and the clock of the machine is a week further: it may go."""
    clock = SetClock(datetime(2026, 11, 29, 0, 32, tzinfo=UTC))
    outbox = on_file(tmp_path)
    kiva = KivaTime(clock, boot="b")
    kiva.learn(date(clock.now()))
    context = scripted_kiva.context(tmp_path, outbox, ScriptedKiva(), clock)
    lima = context.settings.mis.model_copy(update={"timezone": "America/Lima"})
    context.settings = context.settings.model_copy(update={"mis": lima})
    context.kiva_time = kiva
    clock.is_set(SIX_DAYS)
    assert str(context.day_at_kiva()) == "2026-11-28"
    context.witness.close()
    outbox.close()


@pytest.mark.parametrize(
    "written",
    ["", ",", "²", "0", "Mon,", "()" * 40, "Fri, 99 Nov 2026 99:99:99 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
     "Fri, 27 Nov 2026 10:00:00 +9999", "x" * 100_000, "\0", ", , , ,", ":::"],
)  # fmt: skip
def test_a_date_that_is_none_is_not_learned_and_raises_nothing(written: str) -> None:
    kiva = KivaTime(SetClock(TRUE), boot="b")
    kiva.hear({"date": written})
    assert not kiva.is_known


@pytest.mark.parametrize("year", [2000, 2026, 2199])
def test_a_year_in_which_a_relay_may_run_is_one(year: int) -> None:
    assert http_date.read(date(TRUE.replace(year=year))) == TRUE.replace(year=year)


@pytest.mark.parametrize("year", [1999, 2200])
def test_a_year_in_which_none_can_run_is_no_date(year: int) -> None:
    assert http_date.read(date(TRUE.replace(year=year))) is None


@pytest.mark.parametrize(
    ("written", "hour"),
    [("Sat, 28 Nov 2026 12:00:00 GMT", 12), ("Sat, 28 Nov 2026 12:00:00", 12), ("Sat, 28 Nov 2026 12:00:00 +0500", 7)],
)
def test_a_date_is_in_utc_where_no_zone_is_named(written: str, hour: int) -> None:
    assert http_date.read(written) == TRUE.replace(hour=hour)


def test_digits_that_are_none_of_ours_are_no_date() -> None:
    """Python reads them as digits; no server writes them."""
    assert http_date.read("Sat, ٢٨ Nov 2026 12:00:00 GMT") is None
    assert http_date.read(None) is None


def test_a_clock_that_is_wrong_is_said_once_and_again_after_it_was_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SetClock(TRUE)
    outbox = on_file(tmp_path)
    kiva = KivaTime(clock, boot="b")
    kiva.learn(date(TRUE))

    def said(by: timedelta) -> int:
        clock.is_set(by)
        capsys.readouterr()
        with outbox.begin() as tx:
            kiva.keep(tx)
        return capsys.readouterr().err.count("The clock of this machine is wrong")

    assert said(SIX_DAYS) == 1
    assert said(timedelta(0)) == 0
    assert said(-SIX_DAYS) == 0
    assert said(-SIX_DAYS) == 1
    outbox.close()
