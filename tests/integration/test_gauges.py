"""What the heartbeat shows in the metrics: the account, and no 0 for what nobody knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from kiva_relay import meter
from kiva_relay.cli import frame
from kiva_relay.resource.window import RepaymentReport
from kiva_relay.service import heartbeat
from testbed.rig import full_outbox


def value(name: str, **labels: str) -> float | None:
    return meter.registry.get_sample_value(f"kiva_relay_{name}", labels)


def test_the_account_and_the_age_of_a_list_that_was_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s")
    told = full_outbox.made(tmp_path)
    settings = frame.load(told.config)
    told.accept(told.owe("000000871"))
    told.refuse("000000917")
    beat = told.runs(ago=timedelta(0))
    found = heartbeat.tell(told.outbox, beat, settings)
    assert value("mirror_age_seconds") == timedelta(days=9).total_seconds(), "since the start, and not 0"
    assert value("expected", resource="loan_draft") == 2
    assert value("account", resource="loan_draft", line="delivered") == 1
    assert value("account", resource="loan_draft", line="refused") == 1
    assert value("account", resource="loan_draft", line="missing") == 0
    assert value("entries", resource="loan_draft", state="refused") == 1
    told.kiva_lists()
    again = heartbeat.tell(told.outbox, beat, settings, before=found)
    assert value("mirror_age_seconds") == 0
    assert again.lines == found.lines
    told.outbox.close()


def test_while_a_report_is_open_it_is_known_when_it_closes() -> None:
    closes = datetime(2026, 12, 10, 18, tzinfo=UTC)
    open_ = RepaymentReport("2026-11", date(2026, 11, 30), is_open=True, closes=closes)
    heartbeat.show_report(open_)
    assert value("report_closes_timestamp_seconds", period="2026-11") == closes.timestamp()
    heartbeat.show_report(replace(open_, is_open=False))
    assert value("report_closes_timestamp_seconds", period="2026-11") is None
    heartbeat.show_report(replace(open_, closes=None))
    assert value("report_closes_timestamp_seconds", period="2026-11") is None
