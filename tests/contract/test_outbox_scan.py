"""How far a scan has come is kept in columns, which refuse what cannot be."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import scan, table, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.scan import ScanProgress
from testbed.rig.outboxes import NOW, later


def kept(outbox: Outbox, progress: ScanProgress, stream: str = "loan_draft") -> ScanProgress | None:
    with outbox.begin() as tx:
        scan.keep(tx, stream, progress)
    with outbox.read() as tx:
        return scan.of(tx, stream)


@pytest.fixture(autouse=True)
def _streams(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        watermark.begin(tx, "loan_draft")
        watermark.begin(tx, "journal")


FIRST = ScanProgress(number=1, kind="backfill", since=NOW, total=40)


def test_a_stream_without_a_scan_has_none(outbox: Outbox) -> None:
    with outbox.read() as tx:
        assert scan.of(tx, "loan_draft") is None


def test_what_is_kept_is_read_back(outbox: Outbox) -> None:
    moved = dataclasses.replace(FIRST, done=9, found=8, gone=3, missed=1, at=later(1.5))
    assert kept(outbox, FIRST) == FIRST
    assert kept(outbox, moved) == moved
    other = ScanProgress(number=2, kind="edit", since=later(2), total=0)
    assert kept(outbox, other, "journal") == other
    with outbox.read() as tx:
        assert scan.of(tx, "loan_draft") == moved


def test_what_polls_missed_is_added_to_the_last_scan_alone(outbox: Outbox) -> None:
    kept(outbox, dataclasses.replace(FIRST, missed=2))
    kept(outbox, FIRST, "journal")
    with outbox.begin() as tx:
        scan.missed(tx, "loan_draft", 3)
        scan.missed(tx, "no such stream", 3)
    with outbox.read() as tx:
        assert scan.of(tx, "loan_draft") == dataclasses.replace(FIRST, missed=5)
        assert scan.of(tx, "journal") == FIRST


@pytest.mark.parametrize(
    "impossible",
    [
        {"kind": "leaving"},
        {"number": 0},
        {"total": -1},
        {"done": -1, "at": NOW},
        {"missed": -1},
        {"gone": -1, "at": NOW},
        {"found": 1, "gone": 2, "at": NOW},
        {"done": 1},
        {"found": 1},
    ],
)
def test_the_database_refuses_what_cannot_be(outbox: Outbox, impossible: dict[str, object]) -> None:
    with pytest.raises(sa.exc.IntegrityError), outbox.begin() as tx:
        scan.keep(tx, "loan_draft", dataclasses.replace(FIRST, **impossible))  # type: ignore[arg-type]


def test_a_scan_belongs_to_a_known_stream(outbox: Outbox) -> None:
    with pytest.raises(sa.exc.IntegrityError), outbox.begin() as tx:
        scan.keep(tx, "unknown", FIRST)


def test_nothing_about_a_scan_is_a_fact_of_the_outbox(outbox: Outbox) -> None:
    kept(outbox, FIRST)
    with outbox.read() as tx:
        names = tx.execute(sa.select(table.meta.c.name)).scalars().all()
    assert not [name for name in names if "scan" in name]


@pytest.mark.parametrize(
    ("seconds", "done", "rate", "left"),
    [(0, 0, 0.0, None), (10, 0, 0.0, None), (10, 20, 2.0, 10), (10, 40, 4.0, 0), (10, 50, 5.0, 0)],
)
def test_rate_and_time_left(seconds: float, done: int, rate: float, left: float | None) -> None:
    progress = dataclasses.replace(FIRST, done=done, at=later(seconds))
    assert progress.rate == rate
    assert progress.left == (None if left is None else timedelta(seconds=left))
