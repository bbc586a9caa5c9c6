"""How far each stream was read, what was captured of each key, and who wins when two move the same thing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import catalogue, table, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.store import Overtaken
from kiva_relay.outbox.watermark import Captured, Watermark
from testbed.rig.outboxes import NOW, later

STREAM = "loan_draft"
SEEN = Captured(
    stream=STREAM,
    key="871",
    resource="loan_draft",
    identity="000000871",
    hash="h",
    in_scope=True,
    baselined=False,
    refused=False,
    again=False,
    created_at="2026-11-20",
    scan_number=1,
    captured_at=NOW,
)


@pytest.fixture(autouse=True)
def _stream(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        watermark.begin(tx, STREAM)


def mark(outbox: Outbox, stream: str = STREAM) -> Watermark:
    with outbox.read() as tx:
        return watermark.watermarks(tx)[stream]


def keep(outbox: Outbox, *seen: Captured) -> None:
    with outbox.begin() as tx:
        for each in seen:
            watermark.keep(tx, each)


def key(number: int, **changes: Any) -> Captured:
    return dataclasses.replace(SEEN, key=str(number), identity=f"{number:09}", **changes)


def test_a_new_stream_has_its_backfill_before_it(outbox: Outbox) -> None:
    assert mark(outbox) == Watermark(
        stream=STREAM,
        generation=1,
        w=None,
        mode=None,
        moved_at=None,
        scan="backfill",
        scan_number=1,
        scan_after=None,
        scan_started_at=None,
        backfilled_at=None,
        swept_at=None,
    )


def test_w_moves_only_from_where_it_was_seen(outbox: Outbox) -> None:
    first = mark(outbox)
    with outbox.begin() as tx:
        watermark.advance(tx, first, "10", mode="poll", now=NOW)
    assert (mark(outbox).w, mark(outbox).mode, mark(outbox).moved_at) == ("10", "poll", NOW)
    with pytest.raises(Overtaken), outbox.begin() as tx:
        watermark.advance(tx, first, "11", mode="poll", now=NOW)
    second = mark(outbox)
    with outbox.begin() as tx:
        watermark.begin_again(tx, STREAM, now=later(5))
    with pytest.raises(Overtaken), outbox.begin() as tx:
        watermark.advance(tx, second, "11", mode="poll", now=NOW)
    again = mark(outbox)
    assert (again.generation, again.w, again.moved_at) == (2, None, None)
    assert (again.scan, again.scan_number, again.scan_started_at) == ("sweep", 2, later(5))


def test_several_streams_move_by_one_statement_or_none_of_them(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        for name in ("repayment", "journal"):
            watermark.begin(tx, name)
        watermark.advance(tx, watermark.watermarks(tx)["journal"], "7", mode="poll", now=NOW)
        marks = watermark.watermarks(tx)
    asked: list[str] = []
    sa.event.listen(outbox.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    with outbox.begin() as tx:
        watermark.advance_all(tx, [(one, "10", "poll") for one in marks.values()], now=NOW)
    assert len([sql for sql in asked if sql.startswith("UPDATE watermark")]) == 1
    with outbox.read() as tx:
        moved = watermark.watermarks(tx)
    assert {one.w for one in moved.values()} == {"10"}
    stale = [(moved[STREAM], "11", "poll"), (marks["journal"], "11", "poll")]
    with pytest.raises(Overtaken), outbox.begin() as tx:
        watermark.advance_all(tx, stale, now=NOW)
    with outbox.begin() as tx:
        assert watermark.watermarks(tx) == moved
        watermark.advance_all(tx, [], now=NOW)


def test_whether_any_key_is_marked(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        assert not watermark.some_marked(tx)
        watermark.keep(tx, key(1), new=True)
        assert not watermark.some_marked(tx)
        watermark.keep(tx, key(2, again=True), new=True)
        assert watermark.some_marked(tx)
        watermark.forget(tx, STREAM, "2")
        watermark.keep(tx, key(3, unseen=True), new=True)
        assert watermark.some_marked(tx)


def test_a_stream_that_is_not_known_is_not_moved(outbox: Outbox) -> None:
    for move in (watermark.begin_again,):
        with pytest.raises(Overtaken), outbox.begin() as tx:
            move(tx, "unknown", now=NOW)
    with pytest.raises(Overtaken), outbox.begin() as tx:
        watermark.start_scan(tx, "unknown", "sweep", now=NOW)


def test_a_scan_from_its_first_key_to_its_end(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        watermark.scanned(tx, mark(outbox), "12", now=later(1))
    assert (mark(outbox).scan_after, mark(outbox).scan_started_at) == ("12", later(1))
    with outbox.begin() as tx:
        watermark.scanned(tx, mark(outbox), "24", now=later(2))
    assert (mark(outbox).scan_after, mark(outbox).scan_started_at) == ("24", later(1))
    with outbox.begin() as tx:
        watermark.start_leaving(tx, mark(outbox))
    assert (mark(outbox).scan, mark(outbox).scan_after) == ("leaving", None)
    with outbox.begin() as tx:
        watermark.end_scan(tx, mark(outbox), now=later(3))
    done = mark(outbox)
    assert (done.scan, done.scan_after, done.swept_at, done.backfilled_at) == (None, None, later(3), later(3))
    with outbox.begin() as tx:
        watermark.start_scan(tx, STREAM, "sweep", now=later(4))
        watermark.end_scan(tx, watermark.watermarks(tx)[STREAM], now=later(5))
    assert (mark(outbox).swept_at, mark(outbox).backfilled_at) == (later(5), later(3))


def test_a_scan_that_a_person_began_again_is_not_moved_by_the_old_one(outbox: Outbox) -> None:
    before = mark(outbox)
    with outbox.begin() as tx:
        watermark.start_scan(tx, STREAM, "sweep", now=NOW)
    moves: tuple[Callable[[Connection], None], ...] = (
        lambda tx: watermark.scanned(tx, before, "12", now=NOW),
        lambda tx: watermark.start_leaving(tx, before),
        lambda tx: watermark.end_scan(tx, before, now=NOW),
    )
    for move in moves:
        with pytest.raises(Overtaken), outbox.begin() as tx:
            move(tx)
    assert (mark(outbox).scan, mark(outbox).scan_number) == ("sweep", 2)


def test_all_keys_are_looked_at_again_by_one_scan_that_has_not_begun(outbox: Outbox) -> None:
    def again() -> tuple[str | None, int]:
        with outbox.begin() as tx:
            watermark.scan_again(tx, STREAM, now=NOW)
        return mark(outbox).scan, mark(outbox).scan_number

    assert again() == ("backfill", 1), "it has not begun"
    with outbox.begin() as tx:
        watermark.scanned(tx, mark(outbox), "12", now=NOW)
    assert again() == ("backfill", 2)
    with outbox.begin() as tx:
        watermark.start_leaving(tx, mark(outbox))
    assert again() == ("backfill", 3)
    with outbox.begin() as tx:
        watermark.end_scan(tx, mark(outbox), now=NOW)
    assert again() == ("sweep", 4)


def test_what_was_captured_is_kept_by_stream_and_key(outbox: Outbox) -> None:
    keep(outbox, SEEN, dataclasses.replace(SEEN, stream="journal", hash="other"))
    keep(outbox, dataclasses.replace(SEEN, hash="newer"))
    with outbox.begin() as tx:
        watermark.keep(tx, key(5), new=True)
    with outbox.read() as tx:
        assert watermark.captured(tx, STREAM, ["871", "5", "6"]) == {
            "871": dataclasses.replace(SEEN, hash="newer"),
            "5": key(5),
        }
        assert watermark.counted(tx) == {STREAM: 2, "journal": 1}
    with outbox.begin() as tx:
        watermark.forget(tx, STREAM, "871")
        assert watermark.counted(tx) == {STREAM: 1, "journal": 1}


def test_many_keys_are_asked_for_in_parts(outbox: Outbox) -> None:
    keep(outbox, *(key(number) for number in range(1_001)))
    with outbox.read() as tx:
        assert len(watermark.captured(tx, STREAM, [str(number) for number in range(1_001)])) == 1_001
    with outbox.begin() as tx:
        assert watermark.read_identities_again(tx, "loan_draft", [f"{number:09}" for number in range(1_001)]) == 1_001


def test_the_same_identity_from_another_key(outbox: Outbox) -> None:
    keep(outbox, SEEN, key(872, in_scope=False), key(873))
    with outbox.read() as tx:
        for resource, identity, stream, its, streams, found in (
            ("loan_draft", "000000871", STREAM, "871", (), None),
            ("loan_draft", "000000871", STREAM, "9", (), (STREAM, "871")),
            ("loan_draft", "000000872", STREAM, "9", (), None),
            ("loan_draft", "000000873", STREAM, "9", (), (STREAM, "873")),
            ("journal", "000000871", STREAM, "9", (), None),
            # Another mapping may give the same key; one that is not in force any more says nothing.
            ("loan_draft", "000000871", "other", "871", (STREAM,), (STREAM, "871")),
            ("loan_draft", "000000871", "other", "871", (), None),
        ):
            other = watermark.same_identity(tx, resource, identity, other_than=(stream, its), streams=streams)
            assert other == found


def test_keys_to_be_read_again(outbox: Outbox) -> None:
    keep(outbox, key(1), key(2, again=True), key(3, in_scope=False))
    with outbox.begin() as tx:
        assert watermark.to_read_again(tx, STREAM, limit=9) == ["2"]
        assert watermark.read_identities_again(tx, "loan_draft", ["000000001", "000000002", "000000003"]) == 1
        assert watermark.to_read_again(tx, STREAM, limit=9) == ["1", "2"]
        assert watermark.to_read_again(tx, STREAM, limit=1) == ["1"]
        assert watermark.to_read_again(tx, "journal", limit=9) == []
        assert watermark.read_again(tx, table.captured.c.stream == STREAM) == 0, "the third is not in scope"


def test_a_row_that_is_taken_for_a_new_one(outbox: Outbox) -> None:
    keep(outbox, key(1, baselined=True), key(2, in_scope=False))
    with outbox.begin() as tx:
        assert watermark.take_as_new(tx, "loan_draft", "000000001") == 1
        assert watermark.take_as_new(tx, "loan_draft", "000000002") == 0
        assert watermark.take_as_new(tx, "journal", "000000001") == 0
        found = watermark.captured(tx, STREAM, ["1"])["1"]
    assert (found.again, found.created_at, found.baselined) == (True, None, False)


def test_keys_above_the_highest_are_compared_as_numbers(outbox: Outbox) -> None:
    keep(outbox, key(9), key(10), key(11), key(100), key(101, in_scope=False))
    with outbox.read() as tx:
        assert sorted(watermark.keys_above(tx, STREAM, 10)) == ["100", "11"]
        assert watermark.keys_above(tx, STREAM, 100) == []
        assert watermark.keys_above(tx, "journal", 0) == []


def test_keys_that_a_scan_has_not_met(outbox: Outbox) -> None:
    keep(outbox, key(1, scan_number=2), key(2), key(3), key(4, in_scope=False))
    with outbox.begin() as tx:
        watermark.start_scan(tx, STREAM, "sweep", now=NOW)
    with outbox.read() as tx:
        assert watermark.not_scanned(tx, mark(outbox), limit=9) == ["2", "3"]
        assert watermark.not_scanned(tx, mark(outbox), limit=1) == ["2"]
        assert watermark.not_scanned(tx, dataclasses.replace(mark(outbox), scan_after="2"), limit=9) == ["3"]


def test_every_identity_that_the_mis_has(outbox: Outbox) -> None:
    keep(outbox, key(1), key(2, in_scope=False), dataclasses.replace(SEEN, key="3", identity=None))
    with outbox.read() as tx:
        assert watermark.identities(tx, "loan_draft") == {"000000001"}
        assert watermark.identities(tx, "journal") == set()


# ---------------------------------------------------------------- Kiva's lists


def test_kivas_lists_and_whether_they_changed(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        assert catalogue.keep(tx, "themes", [{"id": 1}], now=NOW) is True
        assert catalogue.keep(tx, "themes", [{"id": 1}], now=later(1)) is False
        before = catalogue.versions(tx)
        assert catalogue.keep(tx, "themes", [{"id": 2}], now=later(2)) is True
        assert catalogue.versions(tx)["themes"] != before["themes"]
        assert catalogue.load(tx) == {"themes": [{"id": 2}]}
        assert catalogue.refreshed_at(tx) is None
        for number, kind in enumerate(catalogue.KINDS):
            catalogue.keep(tx, kind, [], now=later(9 - number))
        assert catalogue.refreshed_at(tx) == later(6)


def test_a_moment_without_a_zone_is_a_bug(outbox: Outbox) -> None:
    with pytest.raises(sa.exc.StatementError, match="without a zone"), outbox.begin() as tx:
        watermark.start_scan(tx, STREAM, "sweep", now=NOW.replace(tzinfo=None))
