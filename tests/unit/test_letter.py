"""Which mail is due when: pure values out of pure values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from kiva_relay.account import letter
from kiva_relay.account.balance import Account
from kiva_relay.account.letter import Letter, LetterKind
from kiva_relay.account.standing import Standing
from kiva_relay.cli import frame
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import mirror
from kiva_relay.outbox.heartbeat import Heartbeat, Reachability
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.listing import Kept
from kiva_relay.outbox.report import Report
from kiva_relay.outbox.unreported import Unreported
from kiva_relay.resource import window
from testbed.rig import configuration

NOW = datetime(2026, 12, 1, 7, 30, tzinfo=UTC)
OPENS, CLOSES = datetime(2026, 12, 1, 6, 0, tzinfo=UTC), datetime(2026, 12, 10, 18, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOVEMBER = Report("2026-11", date(2026, 11, 30), "cumulative_principal", OPENS, CLOSES, opened_at=OPENS)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    more = """
        mail:
          host: mail.example.org
          from: relay@example.org
          recipients: [{address: awa@example.org, language: fr}, {address: root@example.org, role: administrator}]
        """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIVA_SECRET", "s")
        return frame.load(configuration.write(tmp_path_factory.mktemp("letter"), more))


def at(settings: Settings, now: datetime, **changes: Any) -> Standing:
    """How things stand at a moment: a relay that runs, with nothing to do."""
    good = Reachability(last_good=now - timedelta(seconds=2))
    beat = Heartbeat(now - HOUR, "0.2", 1, now - timedelta(seconds=2), mis=good, kiva=good)
    lines: dict[str, Any] = dict.fromkeys(("loan_draft", "repayment", "journal"), ())
    nothing: dict[str, Any] = {name: {} for name in ("unsettled", "corrected", "cancelled", "marks", "scans")} | {
        f"delivered_{name}": {} for name in ("yesterday", "today", "this_month")
    }
    none: dict[str, Any] = dict.fromkeys(
        (
            *("kept", "doubts", "refused", "decisions", "perhaps", "divergences", "warned"),
            *("closed_unknown", "closed_undecided", "expiring"),
        ),
        (),
    )
    values: dict[str, Any] = {
        "settings": settings,
        "now": now,
        "heartbeat": beat,
        "account": Account(lines, (), Unreported(unknown=())),
        "refresh": mirror.Refresh(1, now - MINUTE, now - MINUTE),
        "why_incomplete": "",
        "taken": None,
        "lists_read": now - MINUTE,
        "report": window.RepaymentReport("2026-11", date(2026, 11, 30), is_open=True),
    }
    return Standing(**nothing | none | values | changes)


def due(facts: Standing, *reports: Report, told: str | None = None, well: timedelta | None = None) -> list[Letter]:
    since = None if well is None else facts.now - well
    return letter.due(facts, reports, told=told, well_since=since)


def kinds(found: Sequence[Letter]) -> list[tuple[str, str]]:
    return [(one.kind.value, one.about) for one in found]


HELD = Kept(Hold(1, "loan_draft", "asked", {}, NOW, "awa", "wait", 0), {"loan_draft": 3})

# ---------------------------------------------------------------- each morning


@pytest.mark.parametrize(
    ("zone", "hour", "is_due"),
    [
        ("Africa/Dakar", time(7, 29), False),
        ("Africa/Dakar", time(7, 30), True),
        ("Africa/Dakar", time(23, 59), True),
        ("America/Lima", time(7, 30), False),  # half past two there
        ("America/Lima", time(12, 30), True),
        ("Asia/Manila", time(7, 30), True),
    ],
)
def test_the_morning_by_the_zone_of_the_institution(
    settings: Settings,
    zone: str,
    hour: time,
    is_due: bool,  # noqa: FBT001 - one of a table
) -> None:
    there = settings.model_copy(update={"mis": settings.mis.model_copy(update={"timezone": zone})})
    facts = at(there, datetime.combine(NOW.date(), hour, tzinfo=UTC))
    assert (LetterKind.MORNING in {one.kind for one in due(facts)}) is is_due


def test_the_morning_is_worth_nothing_the_day_after(settings: Settings) -> None:
    (one,) = due(at(settings, NOW))
    assert (one.kind, one.about, one.role) == (LetterKind.MORNING, "2026-12-01", "coordinator")
    assert one.until == datetime(2026, 12, 2, tzinfo=UTC)


@pytest.mark.parametrize("hour", [time(2, 30), time(1, 59), time(3, 0)])
def test_an_hour_that_summer_time_leaves_out_is_kept(settings: Settings, hour: time) -> None:
    there = settings.model_copy(
        update={
            "mis": settings.mis.model_copy(update={"timezone": "Europe/Paris"}),
            "mail": settings.mail.model_copy(update={"at": hour}),
        }
    )
    assert kinds(due(at(there, datetime(2027, 3, 28, 12, 0, tzinfo=UTC)))) == [("morning", "2027-03-28")]
    assert kinds(due(at(there, datetime(2027, 3, 27, 23, 30, tzinfo=UTC)))) == []  # half past midnight there


# ---------------------------------------------------------------- the report


def told_of(settings: Settings, now: datetime, one: Report) -> list[tuple[str, str]]:
    return [found for found in kinds(due(at(settings, now), one)) if found[0] != "morning"]


def test_a_report_from_opening_to_closing(settings: Settings) -> None:
    told: list[tuple[str, str]] = []
    now = OPENS
    while now < CLOSES:
        told += [one for one in told_of(settings, now, NOVEMBER) if one not in told]
        now += 10 * MINUTE
    closed = replace(NOVEMBER, closed_at=CLOSES)
    told += told_of(settings, CLOSES + MINUTE, closed)
    assert told == [
        ("report_opened", "2026-11"),
        ("report_closes", "2026-11/3"),
        ("report_closes", "2026-11/1"),
        ("report_closed", "2026-11"),
    ]
    assert told_of(settings, CLOSES + 2 * DAY, closed) == []


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (datetime(2026, 12, 7, 7, 29, tzinfo=UTC), []),
        (datetime(2026, 12, 7, 7, 30, tzinfo=UTC), ["2026-11/3"]),
        (datetime(2026, 12, 8, 22, 0, tzinfo=UTC), ["2026-11/3"]),
        (datetime(2026, 12, 9, 7, 30, tzinfo=UTC), ["2026-11/1"]),
        (datetime(2026, 12, 10, 17, 59, tzinfo=UTC), ["2026-11/1"]),
        (datetime(2026, 12, 10, 18, 0, tzinfo=UTC), []),
    ],
)
def test_a_reminder_that_was_missed_comes_until_the_next(settings: Settings, now: datetime, told: list[str]) -> None:
    assert [about for kind, about in told_of(settings, now, NOVEMBER) if kind == "report_closes"] == told


def test_an_opening_is_told_when_what_the_mis_gives_was_looked_at(settings: Settings) -> None:
    facts = at(settings, OPENS + 14 * MINUTE)
    assert told_of(settings, facts.now, NOVEMBER) == []
    assert letter.next_at(facts, [NOVEMBER], None, None) == OPENS + 15 * MINUTE
    later = at(settings, OPENS + 15 * MINUTE)
    assert told_of(settings, later.now, NOVEMBER) == [("report_opened", "2026-11")]
    assert letter.next_at(later, [NOVEMBER], None, None) is None


def test_no_reminder_of_an_hour_before_the_opening(settings: Settings) -> None:
    short = replace(NOVEMBER, opened_at=datetime(2026, 12, 9, 8, 0, tzinfo=UTC))
    assert told_of(settings, short.opened_at + HOUR, short) == [("report_opened", "2026-11")]


def test_nothing_of_a_report_that_is_finalised_or_not_sent_or_without_a_window(settings: Settings) -> None:
    finalised = replace(NOVEMBER, finalised_at=NOW, finalised_by="awa")
    assert told_of(settings, NOW, finalised) == []
    assert told_of(settings, NOW, replace(NOVEMBER, opens_at=None, closes_at=None)) == []
    without = settings.model_copy(update={"resources": ("loan_draft",)})
    assert told_of(without, NOW, NOVEMBER) == []


# ---------------------------------------------------------------- the first word of `status`


def about_health(facts: Standing, **how: Any) -> list[str]:
    return [one.about for one in due(facts, **how) if one.kind is LetterKind.HEALTH]


def test_held_is_told_once_and_that_it_is_over_when_it_has_stayed_so(settings: Settings) -> None:
    held = at(settings, NOW, kept=(HELD,))
    (about,) = about_health(held)
    assert about == "HELD 2026-12-01T07:30:00Z"
    assert about_health(replace(held, now=NOW + HOUR), told=about) == []
    well = at(settings, NOW + HOUR)
    assert about_health(well, told=about) == []
    assert about_health(well, told=about, well=4 * MINUTE) == []
    assert letter.next_at(well, [], about, well.now - 4 * MINUTE) == well.now + MINUTE
    (over,) = about_health(well, told=about, well=5 * MINUTE)
    assert over.startswith("OK ")
    assert about_health(well, told=over, well=HOUR) == []


def test_stopped_is_told_after_held(settings: Settings) -> None:
    grave = replace(HELD, hold=replace(HELD.hold, reason="restored_outbox"))
    (about,) = about_health(at(settings, NOW, kept=(grave,)), told="HELD 2026-11-30T07:00:00Z")
    assert about.startswith("STOPPED ")


def test_well_from_the_beginning_is_no_news(settings: Settings) -> None:
    assert about_health(at(settings, NOW), well=HOUR) == []
    assert about_health(at(settings, NOW), told="OK 2026-11-30T07:00:00Z", well=HOUR) == []


def test_a_relay_that_has_just_begun_does_not_say_that_it_is_stopped(settings: Settings) -> None:
    assert about_health(at(settings, NOW, heartbeat=None)) == []
