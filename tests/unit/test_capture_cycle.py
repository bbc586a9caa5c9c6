"""A cycle of capture: what it reads, in which order, what moves, and what one stream's failure costs the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kiva_relay import errors
from kiva_relay.capture import cycle as cycles
from kiva_relay.capture import page
from kiva_relay.outbox import hold, meta, mirror, table, watermark
from kiva_relay.source import position
from testbed.rig import capturing
from testbed.rig.capturing import NOW, Bench, loan

ALL = ("loan_draft", "repayment", "journal")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = capturing.bench(tmp_path)
    for _ in range(3):
        made.mis.open_loan()
    yield made
    made.outbox.close()


def until_quiet(capture: cycles.Capture) -> int:
    """How many keys were new or different until its scans are over."""
    found = 0
    for _ in range(20):
        found += capture.cycle()
        if not capture.scanning():
            return found
    raise AssertionError("its scans do not end")


def held(bench: Bench) -> list[str]:
    with bench.outbox.read() as tx:
        return [one.reason for one in hold.in_force(tx)]


def test_the_first_cycle_begins_the_backfill_and_what_comes_then_is_polled(bench: Bench) -> None:
    capture = bench.capture()
    assert not capture.scanning()  # it looked at nothing yet
    assert until_quiet(capture) == 6
    assert capture.modes == dict.fromkeys(ALL, "compare")
    marks = bench.marks()
    assert {name: (mark.w, mark.scan) for name, mark in marks.items()} == dict.fromkeys(ALL, ("3", None))
    assert all(mark.backfilled_at == NOW for mark in marks.values())
    assert [one.origin for one in bench.versions("loan_draft", "L1")] == ["backfill"]
    bench.mis.open_loan()
    assert capture.cycle() == 2
    assert [one.origin for one in bench.versions("loan_draft", "L4")] == ["poll"]
    assert {mark.w for mark in bench.marks().values()} == {"4"}
    assert capture.cycle() == 0


def test_w_moves_with_the_last_page_only(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SIZE", 2)
    capture = bench.capture()
    until_quiet(capture)
    for key in "123":
        bench.mis.loans[key]["amount"] += 100
        bench.mis._wrote("loan", key)
    stands: list[str | None] = []
    capture._pages._at = lambda name: stands.append(bench.marks()["loan_draft"].w) if name == "captured" else None
    capture.cycle()
    assert stands[:2] == ["3", "6"]


def test_a_stream_without_changes_moves_too(bench: Bench) -> None:
    capture = bench.capture()
    until_quiet(capture)
    bench.mis.commit += 1
    bench.reached.clear()
    capture.cycle()
    assert {mark.w for mark in bench.marks().values()} == {"4"}
    assert bench.reached == []  # no page was read for it


def test_a_mis_that_is_away_costs_nothing(bench: Bench) -> None:
    capture = bench.capture()
    until_quiet(capture)
    before = bench.marks()
    bench.mis.open_loan()

    def away(*_args: Any, **_more: Any) -> Any:
        raise errors.Unreachable("no connection")

    read, bench.mis.read = bench.mis.read, away  # type: ignore[method-assign]
    with pytest.raises(errors.Unreachable):
        capture.cycle()
    assert bench.marks()["loan_draft"] == before["loan_draft"]
    assert capture.stopped == {}
    bench.mis.read = read  # type: ignore[method-assign]
    assert capture.cycle() == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.RelayError("the query took longer than 30 s"), "the query took longer than 30 s"),
        (OverflowError("date value out of range"), "a row that is not understood (OverflowError, see the log)"),
        (ValueError(), "a row that is not understood (ValueError, see the log)"),
        (TypeError(), "a row that is not understood (TypeError, see the log)"),
        (KeyError(), "a row that is not understood (KeyError, see the log)"),
    ],
)
def test_what_fails_for_one_stream_costs_no_other(bench: Bench, error: Exception, said: str) -> None:
    capture = bench.capture()
    until_quiet(capture)
    bench.mis.open_loan()
    read = bench.mis.read

    def fails(stream: Any, keys: Any, **more: Any) -> Any:
        if stream.resource == "loan_draft":
            raise error
        return read(stream, keys, **more)

    bench.mis.read = fails  # type: ignore[method-assign]
    assert capture.cycle() == 1  # the position
    assert capture.stopped == {"loan_draft": said}
    assert {name: mark.w for name, mark in bench.marks().items()} == {
        "loan_draft": "3",
        "repayment": "4",
        "journal": "4",
    }
    bench.mis.read = read  # type: ignore[method-assign]
    assert capture.cycle() == 0  # it is left alone for a while
    bench.clock.pass_(30)
    assert capture.cycle() == 1
    assert capture.stopped == {}


@pytest.mark.parametrize("error", [errors.OutboxRefused("x"), errors.Stolen("x")])
def test_what_concerns_the_whole_relay_is_raised(bench: Bench, error: Exception) -> None:
    capture = bench.capture()
    until_quiet(capture)
    bench.mis.open_loan()

    def fails(*_args: Any, **_more: Any) -> Any:
        raise error

    bench.mis.read = fails  # type: ignore[method-assign]
    with pytest.raises(type(error)):
        capture.cycle()


def changed_to(bench: Bench, **changes: Any) -> None:
    """The MIS answers a look as it does, but for `changes`."""
    changes_ = bench.mis.changes
    bench.mis.changes = lambda *args, **more: replace(changes_(*args, **more), **changes)  # type: ignore[method-assign]


def test_a_stream_that_cannot_be_looked_at_is_not_read(bench: Bench) -> None:
    capture = bench.capture()
    until_quiet(capture)
    bench.mis.open_loan()
    changed_to(bench, failed={"journal": errors.RelayError("no right to read note")},
               next=dict.fromkeys(("loan_draft", "repayment"), "4"))  # fmt: skip
    assert capture.cycle() == 2
    assert capture.stopped == {"journal": "no right to read note"}
    assert bench.marks()["journal"].w == "3"


def test_what_the_look_says_of_the_mis_is_kept(bench: Bench) -> None:
    changed_to(bench, horizon_age=timedelta(minutes=3), pinned_by="session 7 of backup")
    capture = bench.capture()
    capture.cycle()
    assert (capture.horizon_age, capture.pinned_by) == (timedelta(minutes=3), "session 7 of backup")


def test_processed_is_said_of_what_was_written(bench: Bench) -> None:
    said: list[tuple[set[str], set[str]]] = []
    capture = bench.capture()
    bench.mis.processed = lambda cycle, but: said.append((set(cycle.next), set(but)))  # type: ignore[method-assign, assignment, misc]
    until_quiet(capture)
    assert said[0] == (set(ALL), set())
    read = bench.mis.read

    def fails(stream: Any, keys: Any, **more: Any) -> Any:
        if stream.resource == "loan_draft":
            raise errors.RelayError("no")
        return read(stream, keys, **more)

    bench.mis.read = fails  # type: ignore[method-assign]
    bench.mis.open_loan()
    capture.cycle()
    assert said[-1] == (set(ALL), {"loan_draft"})


# ---------------------------------------------------------------- is it the same MIS


def test_a_mis_that_went_back_is_read_again_and_nothing_is_sent(bench: Bench) -> None:
    capture = bench.capture()
    until_quiet(capture)
    changes = bench.mis.changes

    def older(*_args: Any, **_more: Any) -> Any:
        raise errors.WentBack("it is older")

    bench.mis.changes = older  # type: ignore[method-assign]
    assert capture.cycle() == 0
    assert held(bench) == ["mis_went_back"]
    assert {(mark.generation, mark.w, mark.scan) for mark in bench.marks().values()} == {(2, None, "sweep")}
    bench.mis.changes = changes  # type: ignore[method-assign]
    assert until_quiet(capture) == 0
    assert {mark.w for mark in bench.marks().values()} == {"3"}


def test_an_older_mis_is_noticed_at_the_start(bench: Bench) -> None:
    until_quiet(bench.capture())
    bench.mis.went_back = lambda _w: True  # type: ignore[method-assign, assignment]
    capture = bench.capture()
    capture.cycle()
    assert held(bench) == ["mis_went_back"]
    generations = {mark.generation for mark in bench.marks().values()}
    capture.cycle()
    assert {mark.generation for mark in bench.marks().values()} == generations == {2}


@pytest.mark.parametrize("when", ["at the start", "with a change"])
def test_a_table_that_lost_rows_is_noticed_before_a_number_is_given_twice(bench: Bench, when: str) -> None:
    capture = bench.capture()
    until_quiet(capture)
    capture.cycle()
    bench.mis.highest = lambda _stream: 1  # type: ignore[method-assign,assignment]
    if when == "at the start":
        capture = bench.capture()
    else:
        assert capture.cycle() == 0
        assert held(bench) == []  # nothing changed
        bench.mis.loans["1"]["amount"] += 100
        bench.mis._wrote("loan", "1")
    versions = len(bench.versions("loan_draft", "L1"))
    assert capture.cycle() == 0
    assert held(bench) == ["mis_went_back"]
    assert len(bench.versions("loan_draft", "L1")) == versions
    assert bench.marks()["loan_draft"].scan == "sweep"
    assert bench.marks()["repayment"].scan is None  # its turn comes
    capture.cycle()
    assert bench.marks()["repayment"].generation == 2


def test_a_table_that_cannot_be_looked_at_costs_its_stream(bench: Bench) -> None:
    capture = bench.capture()
    until_quiet(capture)

    def fails(stream: Any) -> int:
        if stream.resource == "loan_draft":
            raise errors.RelayError("it took longer than 30 s")
        return 99

    bench.mis.highest = fails  # type: ignore[method-assign]
    bench.mis.open_loan()
    assert capture.cycle() == 1
    assert set(capture.stopped) == {"loan_draft"}


def test_another_timeline_compares_the_book(bench: Bench) -> None:
    capture = bench.capture()
    changed_to(bench, timeline="1")
    until_quiet(capture)
    capture = bench.capture()
    changed_to(bench, timeline="2")
    numbers = {name: mark.scan_number for name, mark in bench.marks().items()}
    capture.cycle()
    assert {name: mark.scan_number for name, mark in bench.marks().items()} == {
        name: number + 1 for name, number in numbers.items()
    }


# ---------------------------------------------------------------- beyond the poll


def test_positions_are_computed_when_kiva_expects_them(bench: Bench) -> None:
    capture = bench.capture()
    until_quiet(capture)
    assert bench.versions("repayment", "L1") == []
    with bench.outbox.begin() as tx:
        mirror.keep(tx, mirror.begin_refresh(tx, now=NOW), [loan()])
    capture.cycle()
    (owed,) = bench.versions("repayment", "L1")
    assert (owed.origin, owed.period) == ("report", "2026-11")
    capture.cycle()
    assert len(bench.versions("repayment", "L1")) == 1


def test_keys_are_looked_at_again_as_if_they_had_been_polled(bench: Bench) -> None:
    capture = bench.capture()
    until_quiet(capture)
    bench.mis.loans["1"]["amount"] += 100
    with bench.outbox.begin() as tx:
        watermark.read_again(tx, table.captured.c.stream == "loan_draft", table.captured.c.key == "1")
    assert capture.cycle() == 1
    assert bench.versions("loan_draft", "L1")[0].origin == "poll"


def test_an_edited_mapping_is_looked_at_and_let_go(bench: Bench) -> None:
    until_quiet(bench.capture())
    bench.documents = [replace(one, fingerprint="2:edited") for one in bench.documents]
    capture = bench.capture()
    capture.cycle()
    assert held(bench) == []
    with bench.outbox.read() as tx:
        assert meta.mapping_revision("loan_draft").get(tx) is None
        assert meta.mapping_fingerprint("loan_draft").get(tx) == "2:edited"
    assert capture._revised == set()


def test_an_edit_that_changes_much_is_held(bench: Bench) -> None:
    until_quiet(bench.capture())
    for key in "123":
        bench.mis.loans[key]["amount"] += 100  # as if the mapping had made it
    bench.documents = [replace(one, fingerprint="2:edited") for one in bench.documents]
    bench.capture().cycle()
    assert held(bench) == ["mapping_changes_much"]


def test_a_sweep_finds_what_no_poll_shows(bench: Bench) -> None:
    capture = bench.capture()
    until_quiet(capture)
    bench.mis.loans["1"]["amount"] += 100
    del bench.mis.loans["2"]
    assert until_quiet(capture) == 0
    capture.sweep()
    assert {mark.scan for mark in bench.marks().values()} == {"sweep"}
    assert capture.scanning()
    assert until_quiet(capture) == 4  # of each a draft and a position
    assert bench.versions("loan_draft", "L1")[0].origin == "sweep"
    assert bench.versions("loan_draft", "L2")[0].state == "withdrawn"
    assert bench.marks()["loan_draft"].swept_at == NOW


def test_a_sweep_begins_where_nothing_is_under_way(bench: Bench) -> None:
    capture = bench.capture()
    capture.sweep()  # nothing is known yet
    assert bench.marks() == {}
    with bench.outbox.begin() as tx:
        for name in (*ALL, "other"):
            watermark.begin(tx, name)
        watermark.end_scan(tx, watermark.watermarks(tx)["journal"], now=NOW)
        watermark.end_scan(tx, watermark.watermarks(tx)["other"], now=NOW)
    capture.sweep()
    scans = {name: (mark.scan, mark.scan_number) for name, mark in bench.marks().items()}
    assert scans == {
        "loan_draft": ("backfill", 1),
        "repayment": ("backfill", 1),
        "journal": ("sweep", 2),
        "other": (None, 1),
    }


def test_what_does_not_fit_is_not_scanned(bench: Bench) -> None:
    capture = bench.capture()
    until_quiet(capture)
    capture.sweep()
    for name in ALL:
        capture._fit.stop(name, errors.RelayError("no"))
    assert not capture.scanning()
    capture._fit.stopped.pop("journal")
    assert capture.scanning()


def pages_of_scans(bench: Bench, monkeypatch: pytest.MonkeyPatch, *, busy: float) -> dict[str, int]:
    """How many pages of each stream's backfill the first cycle reads, each of which takes so long."""
    monkeypatch.setattr(page, "SIZE", 1)
    for _ in range(10):
        bench.mis.open_loan()
    read = bench.mis.read

    def slow(stream: Any, keys: Any, **more: Any) -> Any:
        bench.mis.busy_seconds += busy
        return read(stream, keys, **more)

    bench.mis.read = slow  # type: ignore[method-assign]
    bench.capture().cycle()
    return {name: int(mark.scan_after or 0) for name, mark in bench.marks().items()}


def test_a_cycle_reads_some_pages_of_each_scan(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read = pages_of_scans(bench, monkeypatch, busy=0)
    assert read["loan_draft"] == read["repayment"] != 0
    assert bench.reached.count("read") == 5 + 5 + 2


def test_a_cycle_leaves_the_mis_its_time_and_no_stream_goes_without(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    mis = bench.settings.mis.model_copy(update={"poll_every": timedelta(seconds=10), "max_load": 5})
    bench.settings = bench.settings.model_copy(update={"mis": mis})
    pages_of_scans(bench, monkeypatch, busy=0.3)
    assert bench.reached.count("read") == 2 + 1 + 1  # half a second, and one page of each other stream


def test_a_scan_ends_when_the_relay_does(bench: Bench) -> None:
    capture = bench.capture()
    capture._stop.set()
    capture.cycle()
    assert bench.reached == []
    assert {mark.scan for mark in bench.marks().values()} == {"backfill"}


def test_nothing_is_followed_without_a_stream(bench: Bench) -> None:
    capture = bench.capture()
    capture.waits = True
    assert capture.follow() == 0
    assert not capture.waits


# ---------------------------------------------------------------- beside a stream of changes


class Following:
    """In place of the follower: says what it is told, and remembers what was asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.pinned: frozenset[str] = frozenset()
        self.routed: Any = None
        self.rests = 0.0
        self.said: dict[str, Any] = {}

    def look(self, _streams: Any, _marks: Any) -> Any:
        self.calls.append("look")
        return {}

    def bar(self, cycle: position.Cycle, _followed: Any) -> Any:
        return cycle, self.pinned

    def pause(self) -> float:
        return self.rests

    def take(self, streams: Any, *, cutoff: Any, most: int) -> Any:
        self.said["streams"], self.said["most"] = [one.name for one in streams], most
        routed, self.routed = self.routed, None
        return routed

    def taken(self, _routed: Any, *, missed: Any) -> None:
        self.calls.append("taken")
        self.said["missed"] = set(missed)

    def spent(self, seconds: float) -> None:
        self.said["spent"] = seconds

    def settle(self) -> None:
        self.calls.append("settle")


@pytest.fixture
def following(bench: Bench) -> tuple[cycles.Capture, Following]:
    stream = Following()
    capture = bench.capture(following=stream)
    assert capture.follow() == 0  # not before the first cycle
    assert stream.calls == []
    until_quiet(capture)
    return capture, stream


def routed(bench: Bench, *keys: str, **more: Any) -> Any:
    from kiva_relay.source.route import Routed  # noqa: PLC0415

    stream = bench.documents[0].stream
    contents = bench.mis.read(stream, keys[: page.SIZE], cutoff=NOW.date())
    values: dict[str, Any] = {"keys": {"loan_draft": dict.fromkeys(keys)}, "contents": {"loan_draft": contents}}
    return Routed(**(values | more))


def test_what_the_stream_brings_is_captured_at_once(bench: Bench, following: Any) -> None:
    capture, stream = following
    bench.mis.open_loan()
    stream.routed = routed(bench, "4")
    bench.mis.read = lambda *_args, **_more: pytest.fail("it was read")  # type: ignore[method-assign]
    assert capture.follow() == 1
    assert bench.versions("loan_draft", "L4") != []
    assert stream.calls[-1] == "taken"
    assert (stream.said["streams"], stream.said["most"], stream.said["missed"]) == ([*ALL], page.SIZE, set())
    assert bench.marks()["loan_draft"].w == "3"
    assert not capture.waits


def test_only_the_first_page_was_read_with_the_keys(
    bench: Bench, following: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, stream = following
    monkeypatch.setattr(page, "SIZE", 2)
    for key in "123":
        bench.mis.loans[key]["amount"] += 100
    stream.routed = routed(bench, "1", "2", "3")
    asked: list[Any] = []
    read = bench.mis.read

    def counted(of: Any, keys: Any, **more: Any) -> Any:
        asked.append(tuple(keys))
        bench.mis.busy_seconds += 2
        return read(of, keys, **more)

    bench.mis.read = counted  # type: ignore[method-assign, assignment]
    assert capture.follow() == 3
    assert asked == [("3",)]
    assert stream.said["spent"] == 2


def test_what_no_snapshot_sees_yet_is_waited_for(bench: Bench, following: Any) -> None:
    capture, stream = following
    stream.routed = routed(bench, waiting=[object()])
    capture.follow()
    assert capture.waits
    capture.follow()
    assert not capture.waits


def test_the_mis_is_left_alone_for_a_while(bench: Bench, following: Any) -> None:
    capture, stream = following
    stream.routed, stream.rests = routed(bench, "1"), 0.1
    assert capture.follow() == 0
    assert stream.routed is not None


def test_a_stream_that_fails_is_missed_by_no_other(bench: Bench, following: Any) -> None:
    capture, stream = following
    stream.routed = routed(bench, failed={"journal": errors.RelayError("no right")})
    capture.follow()
    assert set(capture.stopped) == stream.said["missed"] == {"journal"}
    stream.routed = routed(bench)
    capture.follow()
    assert stream.said["streams"] == ["loan_draft", "repayment"]


def test_rows_that_the_stream_lost_are_compared_first(bench: Bench, following: Any) -> None:
    capture, stream = following
    bench.mis.highest = lambda _stream: 1  # type: ignore[method-assign,assignment]
    stream.routed = routed(bench, "1", shrunk={"loan_draft"})
    stream.calls.clear()
    assert capture.follow() == 0
    assert held(bench) == ["mis_went_back"]
    assert stream.calls == []


def test_w_stays_where_the_stream_may_not_have_come_by(bench: Bench, following: Any) -> None:
    capture, stream = following
    stream.pinned = frozenset({"loan_draft", "journal"})
    bench.mis.open_loan()
    assert capture.cycle() == 2
    assert {name: mark.w for name, mark in bench.marks().items()} == {
        "loan_draft": "3",
        "repayment": "4",
        "journal": "3",
    }
    assert stream.calls[-1] == "settle"
