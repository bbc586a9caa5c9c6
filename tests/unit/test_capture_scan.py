"""The steps of a scan, what they move, and what was truly missed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from kiva_relay import meter
from kiva_relay.capture import scan as scans
from kiva_relay.capture.scan import Scanner, ScanStep
from kiva_relay.outbox import meta, scan, watermark
from kiva_relay.outbox.meta import Nameless
from kiva_relay.outbox.store import Overtaken
from kiva_relay.source.gap import Gap
from kiva_relay.source.mis import Mis
from kiva_relay.source.position import Cycle
from testbed.rig import capturing
from testbed.rig.capturing import NOW, Rig, document, seen

STREAM = "loan_draft"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = capturing.rig(tmp_path, ["loan_draft"])
    with made.outbox.begin() as tx:
        watermark.begin(tx, STREAM)
    for _ in range(3):
        made.mis.open_loan()
    yield made
    made.outbox.close()


def scanner(rig: Rig) -> Scanner:
    return Scanner(rig.outbox, cast("Mis", rig.mis), clock=rig.clock)


def next_step(rig: Rig, made: Scanner | None = None, limit: int = 2) -> ScanStep:
    return (made or scanner(rig)).next(document(STREAM), rig.marks()[STREAM], limit=limit)


def advance(rig: Rig, step: ScanStep, surprises: int = 0) -> scan.ScanProgress:
    with rig.outbox.begin() as tx:
        scans.advance(tx, step, surprises=surprises, now=rig.clock.now())
        found = scan.of(tx, STREAM)
    assert found is not None
    return found


def test_a_backfill_goes_through_the_keys_and_then_through_those_that_left(rig: Rig) -> None:
    first = next_step(rig)
    assert (first.keys, first.origin, first.is_leaving) == (("1", "2"), "backfill", False)
    assert first.progress == scan.ScanProgress(1, "backfill", since=NOW, total=3)
    rig.clock.pass_(60)
    later = NOW + timedelta(minutes=1)
    assert advance(rig, first, 2) == scan.ScanProgress(1, "backfill", NOW, 3, done=2, found=2, at=later)
    second = next_step(rig)
    assert (second.keys, second.progress.since) == (("3",), NOW)
    assert advance(rig, second, 1).done == 3
    last = next_step(rig)
    assert (last.keys, last.is_leaving) == ((), False)
    assert advance(rig, last).done == 3
    with rig.outbox.begin() as tx:
        watermark.keep(tx, seen(key="8", scan_number=0), new=True)
        watermark.keep(tx, seen(key="9", scan_number=1), new=True)
    leaving = next_step(rig)
    assert (leaving.keys, leaving.origin, leaving.is_leaving) == (("8",), "leaving", True)
    found = advance(rig, leaving, 1)
    assert (found.done, found.found, found.gone) == (3, 4, 1)
    end = next_step(rig)
    assert (end.keys, end.is_leaving) == ((), True)
    advance(rig, end)
    mark = rig.marks()[STREAM]
    assert (mark.scan, mark.backfilled_at, mark.swept_at) == (None, later, later)


def test_a_scan_that_was_begun_again_counts_anew(rig: Rig) -> None:
    advance(rig, next_step(rig), 2)
    with rig.outbox.begin() as tx:
        watermark.start_scan(tx, STREAM, "sweep", now=NOW)
    step = next_step(rig)
    assert (step.keys, step.origin) == (("1", "2"), "sweep")
    assert (step.progress.number, step.progress.kind, step.progress.done) == (2, "sweep", 0)


def test_a_sweep_after_an_edit_stays_one(rig: Rig) -> None:
    with rig.outbox.begin() as tx:
        watermark.start_scan(tx, STREAM, "sweep", now=NOW)
        scan.keep(tx, STREAM, scan.ScanProgress(2, "edit", since=NOW, total=0))
    step = next_step(rig)
    assert (step.progress.kind, step.progress.total, step.origin) == ("edit", 3, "sweep")


def test_a_step_of_a_scan_that_was_begun_again_meanwhile_is_not_taken(rig: Rig) -> None:
    step = next_step(rig)
    with rig.outbox.begin() as tx:
        watermark.start_scan(tx, STREAM, "backfill", now=NOW)
    with pytest.raises(Overtaken):
        advance(rig, step)
    assert rig.marks()[STREAM].scan_after is None


# ---------------------------------------------------------------- what was missed


def cycle(*keys: str) -> Cycle:
    return Cycle({STREAM: [*keys]}, {STREAM: "1"}, {STREAM: "xmin"}, timedelta(0))


def step_of(kind: str, part: str | None = None) -> ScanStep:
    mark = watermark.Watermark(STREAM, 0, None, None, None, part or kind, 1, None, None, None, None)
    return ScanStep(mark, ("1",), scan.ScanProgress(1, kind, since=NOW, total=3))


def counters() -> tuple[float, float]:
    found: Any = [meter.sweep_found.labels(stream=STREAM, what=what)._value.get() for what in ("missed", "gone")]
    return tuple(found)


def missed(rig: Rig, made: Scanner, seen_by_poll: Cycle, **by_the_stream: Any) -> int:
    with rig.outbox.begin() as tx:
        scan.keep(tx, STREAM, scan.ScanProgress(1, "sweep", since=NOW, total=3))
    made.count_missed(seen_by_poll, **by_the_stream)
    with rig.outbox.read() as tx:
        found = scan.of(tx, STREAM)
    assert found is not None
    return found.missed


def test_what_no_poll_shows_either_was_missed(rig: Rig) -> None:
    made, (before, _) = scanner(rig), counters()
    made.found(step_of("sweep"), ("1", "2"))
    made.found(step_of("sweep"), ("2", "3"))
    assert missed(rig, made, cycle("2")) == 2
    assert counters()[0] == before + 2
    assert missed(rig, made, cycle()) == 0


def test_what_the_stream_of_changes_brings_a_little_later_was_not_missed(rig: Rig) -> None:
    made = scanner(rig)
    followed: dict[str, Any] = {"followed": {STREAM}}
    made.found(step_of("sweep"), ("1", "2", "3", "4"))
    assert missed(rig, made, cycle("3"), **followed, pinned={STREAM}) == 0
    made.came(STREAM, ["1"])
    assert missed(rig, made, cycle(), **followed) == 0  # W moves to a place from before the sweep, perhaps
    made.found(step_of("sweep"), ("5",))
    made.came(STREAM, ["2"])
    assert missed(rig, made, cycle(), **followed, pinned={STREAM}) == 0
    assert missed(rig, made, cycle(), **followed) == 1  # the fourth
    assert missed(rig, made, cycle(), **followed) == 1  # the fifth
    assert missed(rig, made, cycle(), **followed) == 0


def test_what_did_not_come_by_the_stream_may_still_be_polled(rig: Rig) -> None:
    made = scanner(rig)
    made.found(step_of("sweep"), ("1", "2"))
    assert missed(rig, made, cycle(), followed={STREAM}) == 0
    made.found(step_of("sweep"), ("3",))
    assert missed(rig, made, cycle("2")) == 2


def test_another_stream_says_nothing_about_it(rig: Rig) -> None:
    made = scanner(rig)
    made.found(step_of("sweep"), ("1",))
    other = Cycle({"journal": []}, {"journal": "1"}, {}, timedelta(0))
    assert missed(rig, made, other) == 0
    assert missed(rig, made, cycle()) == 1


@pytest.mark.parametrize(("kind", "part"), [("backfill", None), ("edit", "sweep"), ("sweep", "leaving")])
def test_what_no_poll_could_show_was_not_missed(rig: Rig, kind: str, part: str | None) -> None:
    made, (_, gone) = scanner(rig), counters()
    made.found(step_of(kind, part), ("1", "2"))
    assert missed(rig, made, cycle()) == 0
    assert counters()[1] == gone + (2 if part == "leaving" else 0)


def test_rows_without_a_key_are_known_until_a_whole_scan_meets_none(rig: Rig) -> None:
    def met(step: ScanStep, *gaps: Gap) -> ScanStep:
        return dataclasses.replace(step, nameless=Nameless("loan", ("id",), step.progress.number, gaps))

    def known() -> tuple[Gap, ...]:
        with rig.outbox.read() as tx:
            found = meta.nameless(STREAM).get(tx)
        return () if found is None else found.gaps

    def begun() -> None:
        with rig.outbox.begin() as tx:
            watermark.start_scan(tx, STREAM, "sweep", now=NOW)

    begun()
    advance(rig, met(next_step(rig)))
    assert known() == ()
    advance(rig, met(next_step(rig), Gap(2, after="2")))
    advance(rig, met(next_step(rig), Gap(2, after="2")))
    assert known() == (Gap(2, after="2"),)
    begun()
    advance(rig, met(next_step(rig)))
    assert known() == (Gap(2, after="2"),), "this scan may meet them yet"
    advance(rig, met(next_step(rig)))
    advance(rig, met(next_step(rig)))
    assert known() == ()
