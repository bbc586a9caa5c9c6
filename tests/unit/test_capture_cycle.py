"""A cycle of capture: what it reads, in which order, what moves, and what one stream's failure costs the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.capture import cycle as cycles
from kiva_relay.capture import page
from kiva_relay.outbox import decision, history, hold, meta, mirror, table, watermark
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import State
from kiva_relay.source import position
from testbed.rig import capturing, outboxes
from testbed.rig.capturing import NOW, Rig, loan

ALL = ("loan_draft", "repayment", "journal")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = capturing.rig(tmp_path)
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


def held(rig: Rig) -> list[str]:
    with rig.outbox.read() as tx:
        return [one.reason for one in hold.in_force(tx)]


def test_the_first_cycle_begins_the_backfill_and_what_comes_then_is_polled(rig: Rig) -> None:
    capture = rig.capture()
    assert not capture.scanning()  # it looked at nothing yet
    assert until_quiet(capture) == 6
    assert capture.modes == dict.fromkeys(ALL, "compare")
    marks = rig.marks()
    assert {name: (mark.w, mark.scan) for name, mark in marks.items()} == dict.fromkeys(ALL, ("3", None))
    assert all(mark.backfilled_at == NOW for mark in marks.values())
    assert [one.origin for one in rig.versions("loan_draft", "L1")] == ["backfill"]
    rig.mis.open_loan()
    assert capture.cycle() == 2
    assert [one.origin for one in rig.versions("loan_draft", "L4")] == ["poll"]
    assert {mark.w for mark in rig.marks().values()} == {"4"}
    assert capture.cycle() == 0


def test_w_moves_with_the_last_page_only(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SIZE", 2)
    capture = rig.capture()
    until_quiet(capture)
    for key in "123":
        rig.mis.loans[key]["amount"] += 100
        rig.mis._wrote("loan", key)
    stands: list[str | None] = []
    capture._pages._at = lambda name: stands.append(rig.marks()["loan_draft"].w) if name == "captured" else None
    capture.cycle()
    assert stands[:2] == ["3", "6"]


def test_a_stream_without_changes_moves_too(rig: Rig) -> None:
    capture = rig.capture()
    until_quiet(capture)
    rig.mis.commit += 1
    rig.reached.clear()
    capture.cycle()
    assert {mark.w for mark in rig.marks().values()} == {"4"}
    assert rig.reached == []  # no page was read for it


def test_a_mis_that_is_away_costs_nothing(rig: Rig) -> None:
    capture = rig.capture()
    until_quiet(capture)
    before = rig.marks()
    rig.mis.open_loan()

    def away(*_args: Any, **_more: Any) -> Any:
        raise errors.Unreachable("no connection")

    read, rig.mis.read = rig.mis.read, away  # type: ignore[method-assign]
    with pytest.raises(errors.Unreachable):
        capture.cycle()
    assert rig.marks()["loan_draft"] == before["loan_draft"]
    assert capture.stopped == {}
    rig.mis.read = read  # type: ignore[method-assign]
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
def test_what_fails_for_one_stream_costs_no_other(rig: Rig, error: Exception, said: str) -> None:
    capture = rig.capture()
    until_quiet(capture)
    rig.mis.open_loan()
    read = rig.mis.read

    def fails(stream: Any, keys: Any, **more: Any) -> Any:
        if stream.resource == "loan_draft":
            raise error
        return read(stream, keys, **more)

    rig.mis.read = fails  # type: ignore[method-assign]
    assert capture.cycle() == 1  # the position
    assert capture.stopped == {"loan_draft": said}
    assert {name: mark.w for name, mark in rig.marks().items()} == {
        "loan_draft": "3",
        "repayment": "4",
        "journal": "4",
    }
    rig.mis.read = read  # type: ignore[method-assign]
    assert capture.cycle() == 0  # it is left alone for a while
    rig.clock.pass_(30)
    assert capture.cycle() == 1
    assert capture.stopped == {}


@pytest.mark.parametrize("error", [errors.OutboxRefused("x"), errors.Stolen("x")])
def test_what_concerns_the_whole_relay_is_raised(rig: Rig, error: Exception) -> None:
    capture = rig.capture()
    until_quiet(capture)
    rig.mis.open_loan()

    def fails(*_args: Any, **_more: Any) -> Any:
        raise error

    rig.mis.read = fails  # type: ignore[method-assign]
    with pytest.raises(type(error)):
        capture.cycle()


def changed_to(rig: Rig, **changes: Any) -> None:
    """The MIS answers a look as it does, but for `changes`."""
    changes_ = rig.mis.changes
    rig.mis.changes = lambda *args, **more: replace(changes_(*args, **more), **changes)  # type: ignore[method-assign]


def test_a_stream_that_cannot_be_looked_at_is_not_read(rig: Rig) -> None:
    capture = rig.capture()
    until_quiet(capture)
    rig.mis.open_loan()
    changed_to(rig, failed={"journal": errors.RelayError("no right to read note")},
               next=dict.fromkeys(("loan_draft", "repayment"), "4"))  # fmt: skip
    assert capture.cycle() == 2
    assert capture.stopped == {"journal": "no right to read note"}
    assert rig.marks()["journal"].w == "3"


def test_what_the_look_says_of_the_mis_is_kept(rig: Rig) -> None:
    changed_to(rig, horizon_age=timedelta(minutes=3), pinned_by="session 7 of backup")
    capture = rig.capture()
    capture.cycle()
    assert (capture.horizon_age, capture.pinned_by) == (timedelta(minutes=3), "session 7 of backup")


def test_processed_is_said_of_what_was_written(rig: Rig) -> None:
    said: list[tuple[set[str], set[str]]] = []
    capture = rig.capture()
    rig.mis.processed = lambda cycle, but=(): said.append((set(cycle.next), set(but)))  # type: ignore[method-assign,misc]
    until_quiet(capture)
    assert said[0] == (set(ALL), set())
    read = rig.mis.read

    def fails(stream: Any, keys: Any, **more: Any) -> Any:
        if stream.resource == "loan_draft":
            raise errors.RelayError("no")
        return read(stream, keys, **more)

    rig.mis.read = fails  # type: ignore[method-assign]
    rig.mis.open_loan()
    capture.cycle()
    assert said[-1] == (set(ALL), {"loan_draft"})


# ---------------------------------------------------------------- is it the same MIS


def test_a_mis_that_went_back_is_read_again_and_nothing_is_sent(rig: Rig) -> None:
    capture = rig.capture()
    until_quiet(capture)
    changes = rig.mis.changes

    def older(*_args: Any, **_more: Any) -> Any:
        raise errors.WentBack("it is older")

    rig.mis.changes = older  # type: ignore[method-assign]
    assert capture.cycle() == 0
    assert held(rig) == ["mis_went_back"]
    assert {(mark.generation, mark.w, mark.scan) for mark in rig.marks().values()} == {(2, None, "sweep")}
    rig.mis.changes = changes  # type: ignore[method-assign]
    assert until_quiet(capture) == 0
    assert {mark.w for mark in rig.marks().values()} == {"3"}


def test_an_older_mis_is_noticed_at_the_start(rig: Rig) -> None:
    until_quiet(rig.capture())
    rig.mis.went_back = lambda watermark: bool(watermark)  # type: ignore[method-assign]
    capture = rig.capture()
    capture.cycle()
    assert held(rig) == ["mis_went_back"]
    generations = {mark.generation for mark in rig.marks().values()}
    capture.cycle()
    assert {mark.generation for mark in rig.marks().values()} == generations == {2}


@pytest.mark.parametrize("when", ["at the start", "with a change"])
def test_a_table_that_lost_rows_is_noticed_before_a_number_is_given_twice(rig: Rig, when: str) -> None:
    capture = rig.capture()
    until_quiet(capture)
    capture.cycle()
    rig.mis.highest = lambda _stream: 1  # type: ignore[method-assign,assignment]
    if when == "at the start":
        capture = rig.capture()
    else:
        assert capture.cycle() == 0
        assert held(rig) == []  # nothing changed
        rig.mis.loans["1"]["amount"] += 100
        rig.mis._wrote("loan", "1")
    versions = len(rig.versions("loan_draft", "L1"))
    assert capture.cycle() == 0
    assert held(rig) == ["mis_went_back"]
    assert len(rig.versions("loan_draft", "L1")) == versions
    assert rig.marks()["loan_draft"].scan == "sweep"
    assert rig.marks()["repayment"].scan is None  # its turn comes
    capture.cycle()
    assert rig.marks()["repayment"].generation == 2


def test_a_table_that_cannot_be_looked_at_costs_its_stream(rig: Rig) -> None:
    capture = rig.capture()
    until_quiet(capture)

    def fails(stream: Any) -> int:
        if stream.resource == "loan_draft":
            raise errors.RelayError("it took longer than 30 s")
        return 99

    rig.mis.highest = fails  # type: ignore[method-assign]
    rig.mis.open_loan()
    assert capture.cycle() == 1
    assert set(capture.stopped) == {"loan_draft"}


def test_another_timeline_compares_the_book(rig: Rig) -> None:
    capture = rig.capture()
    changed_to(rig, timeline="1")
    until_quiet(capture)
    capture = rig.capture()
    changed_to(rig, timeline="2")
    numbers = {name: mark.scan_number for name, mark in rig.marks().items()}
    capture.cycle()
    assert {name: mark.scan_number for name, mark in rig.marks().items()} == {
        name: number + 1 for name, number in numbers.items()
    }


# ---------------------------------------------------------------- beyond the poll


def test_positions_are_computed_when_kiva_expects_them(rig: Rig) -> None:
    capture = rig.capture()
    until_quiet(capture)
    assert rig.versions("repayment", "L1") == []
    with rig.outbox.begin() as tx:
        reading = mirror.begin_refresh(tx, now=NOW)
        mirror.keep(tx, reading, [loan()])
        mirror.end_refresh(tx, reading, complete=True, listed=1, detail=None, now=NOW)
    capture.cycle()
    (owed,) = rig.versions("repayment", "L1")
    assert (owed.origin, owed.period) == ("report", "2026-11")
    capture.cycle()
    assert len(rig.versions("repayment", "L1")) == 1


def test_keys_are_looked_at_again_as_if_they_had_been_polled(rig: Rig) -> None:
    capture = rig.capture()
    until_quiet(capture)
    rig.mis.loans["1"]["amount"] += 100
    with rig.outbox.begin() as tx:
        watermark.read_again(tx, table.captured.c.stream == "loan_draft", table.captured.c.key == "1")
    assert capture.cycle() == 1
    assert rig.versions("loan_draft", "L1")[0].origin == "poll"


def test_a_look_at_which_nothing_changed_asks_little_of_the_outbox(rig: Rig) -> None:
    """It was 31 statements for three mappings, and grew with them; on a server each wakes the relay up."""
    capture = rig.capture()
    until_quiet(capture)
    capture.cycle()
    asked: list[str] = []
    sa.event.listen(rig.outbox.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    capture.cycle()
    assert not capture.scanning()
    assert len(asked) <= 15, asked
    assert len([sql for sql in asked if sql.startswith("BEGIN")]) == 3


def test_after_a_look_at_which_nothing_changed_everything_else_is_noticed_by_the_next(rig: Rig) -> None:
    """What others ask for between two looks: a sweep, keys to be looked at again, ids at Kiva, a policy that was seen."""
    capture = rig.capture()

    def calm() -> None:
        until_quiet(capture)
        assert capture.cycle() == 0
        assert not capture.scanning()

    calm()
    with rig.outbox.begin() as tx:
        watermark.start_scan(tx, "loan_draft", "sweep", now=NOW)
    capture.cycle()
    assert rig.marks()["loan_draft"].swept_at is not None or capture.scanning()
    calm()
    capture.sweep()
    assert capture.scanning()
    calm()
    with rig.outbox.begin() as tx:
        watermark.read_again(tx, table.captured.c.stream == "loan_draft", table.captured.c.key == "1")
    rig.mis.loans["1"]["amount"] += 100
    assert capture.cycle() == 1
    calm()
    with rig.outbox.begin() as tx:
        decision.say_whose(tx, "K1", "typed", "L2", by="awa", note="the same", now=NOW)
    rig.mis.loans["2"]["amount"] += 100
    assert capture.cycle() > 0
    calm()
    with rig.outbox.begin() as tx:
        watermark.begin_again(tx, "journal", now=NOW)
    capture.cycle()
    assert rig.marks()["journal"].generation == 2
    assert rig.marks()["journal"].w is not None


def test_an_edited_mapping_is_looked_at_and_let_go(rig: Rig) -> None:
    until_quiet(rig.capture())
    rig.documents = [replace(one, fingerprint="2:edited") for one in rig.documents]
    capture = rig.capture()
    capture.cycle()
    assert held(rig) == []
    with rig.outbox.read() as tx:
        assert meta.mapping_revision("loan_draft").get(tx) is None
        assert meta.mapping_fingerprint("loan_draft").get(tx) == "2:edited"
    assert capture._revised == set()


def test_an_edit_that_changes_much_is_held(rig: Rig) -> None:
    until_quiet(rig.capture())
    for key in "123":
        rig.mis.loans[key]["amount"] += 100  # as if the mapping had made it
    rig.documents = [replace(one, fingerprint="2:edited") for one in rig.documents]
    rig.capture().cycle()
    assert held(rig) == ["mapping_changes_much"]


def test_a_sweep_finds_what_no_poll_shows(rig: Rig) -> None:
    capture = rig.capture()
    until_quiet(capture)
    rig.mis.loans["1"]["amount"] += 100
    del rig.mis.loans["2"]
    assert until_quiet(capture) == 0
    capture.sweep()
    assert {mark.scan for mark in rig.marks().values()} == {"sweep"}
    assert capture.scanning()
    assert until_quiet(capture) == 4  # of each a draft and a position
    assert rig.versions("loan_draft", "L1")[0].origin == "sweep"
    assert rig.versions("loan_draft", "L2")[0].state == "withdrawn"
    assert rig.marks()["loan_draft"].swept_at == NOW


def test_a_sweep_begins_where_nothing_is_under_way(rig: Rig) -> None:
    capture = rig.capture()
    capture.sweep()  # nothing is known yet
    assert rig.marks() == {}
    with rig.outbox.begin() as tx:
        for name in (*ALL, "other"):
            watermark.begin(tx, name)
        watermark.end_scan(tx, watermark.watermarks(tx)["journal"], now=NOW)
        watermark.end_scan(tx, watermark.watermarks(tx)["other"], now=NOW)
    capture.sweep()
    scans = {name: (mark.scan, mark.scan_number) for name, mark in rig.marks().items()}
    assert scans == {
        "loan_draft": ("backfill", 1),
        "repayment": ("backfill", 1),
        "journal": ("sweep", 2),
        "other": (None, 1),
    }


def test_what_does_not_fit_is_not_scanned(rig: Rig) -> None:
    capture = rig.capture()
    until_quiet(capture)
    capture.sweep()
    for name in ALL:
        capture._fit.stop(name, errors.RelayError("no"))
    assert not capture.scanning()
    capture._fit.stopped.pop("journal")
    assert capture.scanning()


def pages_of_scans(rig: Rig, monkeypatch: pytest.MonkeyPatch, *, busy: float) -> dict[str, int]:
    """How many pages of each stream's backfill the first cycle reads, each of which takes so long."""
    monkeypatch.setattr(page, "SIZE", 1)
    for _ in range(10):
        rig.mis.open_loan()
    read = rig.mis.read

    def slow(stream: Any, keys: Any, **more: Any) -> Any:
        rig.mis.busy_seconds += busy
        return read(stream, keys, **more)

    rig.mis.read = slow  # type: ignore[method-assign]
    rig.capture().cycle()
    return {name: int(mark.scan_after or 0) for name, mark in rig.marks().items()}


def test_a_cycle_reads_some_pages_of_each_scan(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    read = pages_of_scans(rig, monkeypatch, busy=0)
    assert read["loan_draft"] == read["repayment"] != 0
    assert rig.reached.count("read") == 5 + 5 + 2


def test_a_cycle_leaves_the_mis_its_time_and_no_stream_goes_without(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    mis = rig.settings.mis.model_copy(update={"poll_every": timedelta(seconds=10), "max_load": 5})
    rig.settings = rig.settings.model_copy(update={"mis": mis})
    pages_of_scans(rig, monkeypatch, busy=0.3)
    assert rig.reached.count("read") == 2 + 1 + 1  # half a second, and one page of each other stream


def test_a_scan_ends_when_the_relay_does(rig: Rig) -> None:
    capture = rig.capture()
    capture._stop.set()
    capture.cycle()
    assert rig.reached == []
    assert {mark.scan for mark in rig.marks().values()} == {"backfill"}


def test_nothing_is_followed_without_a_stream(rig: Rig) -> None:
    capture = rig.capture()
    assert capture.follow() == 0
    until_quiet(capture)
    assert capture.follow() == 0
    assert capture.follows_in() is None


# ---------------------------------------------------------------- beside a stream of changes


class Following:
    """In place of the follower: says what it is told, and remembers what was asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.pinned: frozenset[str] = frozenset()
        self.routed: Any = None
        self.has_news = False
        self.is_followed = True
        self.rests = 0.0
        self.said: dict[str, Any] = {}

    def look(self, _streams: Any, _marks: Any) -> Any:
        self.calls.append("look")
        return {}

    def bar(self, cycle: position.Cycle, _followed: Any) -> Any:
        return cycle, self.pinned

    def pause(self) -> float:
        return self.rests

    def take(self, streams: Any, *, cutoff: Any, most: Any) -> Any:
        self.said["streams"], self.said["most"] = [one.name for one in streams], most
        routed, self.routed = self.routed, None
        return routed

    def taken(self, _routed: Any, *, missed: Any) -> None:
        self.calls.append("taken")
        self.said["missed"] = set(missed)

    def spent(self, seconds: float) -> None:
        self.said["spent"] = seconds

    def settle(self, *, at_once: bool = True) -> None:
        assert not at_once
        self.calls.append("settle")


@pytest.fixture
def following(rig: Rig) -> tuple[cycles.Capture, Following]:
    stream = Following()
    capture = rig.capture(following=stream)
    assert capture.follow() == 0  # not before the first cycle
    assert stream.calls == []
    until_quiet(capture)
    return capture, stream


def routed(rig: Rig, *keys: str, **more: Any) -> Any:
    from kiva_relay.source.route import Routed  # noqa: PLC0415

    stream = rig.documents[0].stream
    contents = rig.mis.read(stream, keys[: page.SIZE], cutoff=NOW.date())
    values: dict[str, Any] = {"keys": {"loan_draft": dict.fromkeys(keys)}, "contents": {"loan_draft": contents}}
    return Routed(**(values | more))


def test_where_there_is_no_stream_nobody_asks_how_the_report_stands(
    following: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked at each look, for what never comes."""
    capture, stream = following
    asked: list[str] = []
    monkeypatch.setattr(cycles.Capture, "report", lambda _self: asked.append("report"))
    stream.is_followed = False
    assert (capture.follow(), asked, capture.follows_in()) == (0, [], None)


def test_what_the_stream_brings_is_captured_at_once(rig: Rig, following: Any) -> None:
    capture, stream = following
    rig.mis.open_loan()
    stream.routed = routed(rig, "4")
    rig.mis.read = lambda *_args, **_more: pytest.fail("it was read")  # type: ignore[method-assign]
    assert capture.follow() == 1
    assert rig.versions("loan_draft", "L4") != []
    assert stream.calls[-1] == "taken"
    most = dict.fromkeys(ALL, page.SIZE)
    assert (stream.said["streams"], stream.said["most"], stream.said["missed"]) == ([*ALL], most, set())
    assert rig.marks()["loan_draft"].w == "3"
    assert not capture.waits


def test_only_the_first_page_was_read_with_the_keys(rig: Rig, following: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    capture, stream = following
    monkeypatch.setattr(page, "SIZE", 2)
    for key in "123":
        rig.mis.loans[key]["amount"] += 100
    stream.routed = routed(rig, "1", "2", "3")
    asked: list[Any] = []
    read = rig.mis.read

    def counted(of: Any, keys: Any, **more: Any) -> Any:
        asked.append(tuple(keys))
        rig.mis.busy_seconds += 2
        return read(of, keys, **more)

    rig.mis.read = counted  # type: ignore[method-assign,assignment]
    assert capture.follow() == 3
    assert asked == [("3",)]
    assert stream.said["spent"] == 2


def test_what_no_snapshot_sees_yet_is_waited_for(rig: Rig, following: Any) -> None:
    capture, stream = following
    assert capture.follows_in() is None
    for seconds in (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0, 1.0):
        stream.routed = routed(rig, waiting=[object()])
        capture.follow()
        assert capture.waits
        assert capture.follows_in() == pytest.approx(seconds)
    stream.routed = routed(rig, waiting=[object()], done=[object()])
    capture.follow()
    assert capture.follows_in() == pytest.approx(0.01)  # another one was seen: they come by turns
    stream.rests = 0.1
    assert capture.follows_in() == 0.1
    stream.rests, stream.has_news = 0.0, True
    assert capture.follows_in() == 0
    stream.has_news = False
    capture.follow()
    assert not capture.waits
    assert capture.follows_in() is None


def test_what_came_is_taken_as_soon_as_it_may_be(rig: Rig) -> None:
    stream = Following()
    capture = rig.capture(following=stream)
    stream.has_news = True
    assert capture.follows_in() is None  # not before the first cycle
    until_quiet(capture)
    assert capture.follows_in() == 0
    stream.rests = 0.07
    assert capture.follows_in() == 0.07


def test_whoever_sends_is_told_of_each_page_that_brought_something(rig: Rig) -> None:
    stream, wrote = Following(), list[int]()
    capture = rig.capture(following=stream, wrote=lambda: wrote.append(len(rig.versions("loan_draft", "L4"))))
    until_quiet(capture)
    assert len(wrote) == 2  # a page of loans, a page of positions; there are no notes
    stream.routed = routed(rig, "1")
    capture.follow()
    assert len(wrote) == 2
    rig.mis.open_loan()
    stream.routed = routed(rig, "4")
    capture.follow()
    assert wrote[2:] == [1]


def test_the_mis_is_left_alone_for_a_while(rig: Rig, following: Any) -> None:
    capture, stream = following
    stream.routed, stream.rests = routed(rig, "1"), 0.1
    assert capture.follow() == 0
    assert stream.routed is not None


def test_a_stream_that_fails_is_missed_by_no_other(rig: Rig, following: Any) -> None:
    capture, stream = following
    stream.routed = routed(rig, failed={"journal": errors.RelayError("no right")})
    capture.follow()
    assert set(capture.stopped) == stream.said["missed"] == {"journal"}
    stream.routed = routed(rig)
    capture.follow()
    assert stream.said["streams"] == ["loan_draft", "repayment"]


def test_rows_that_the_stream_lost_are_compared_first(rig: Rig, following: Any) -> None:
    capture, stream = following
    rig.mis.highest = lambda _stream: 1  # type: ignore[method-assign,assignment]
    stream.routed = routed(rig, "1", shrunk={"loan_draft"})
    stream.calls.clear()
    assert capture.follow() == 0
    assert held(rig) == ["mis_went_back"]
    assert stream.calls == []


def test_w_stays_where_the_stream_may_not_have_come_by(rig: Rig, following: Any) -> None:
    capture, stream = following
    stream.pinned = frozenset({"loan_draft", "journal"})
    rig.mis.open_loan()
    assert capture.cycle() == 2
    assert {name: mark.w for name, mark in rig.marks().items()} == {
        "loan_draft": "3",
        "repayment": "4",
        "journal": "3",
    }
    assert stream.calls[-1] == "settle"


def test_two_rows_whose_ids_nobody_can_tell_apart_are_both_refused(tmp_path: Path) -> None:
    made = capturing.rig(tmp_path, ["loan_draft"])
    made.mis.open_loan()
    made.capture().cycle()
    made.mis.open_loan()
    made.mis.loans["2"]["account"] = "L1\u200b "
    made.capture().cycle()
    newest, before = made.versions("loan_draft", "L1")
    assert (newest.state, before.state) == (State.REFUSED, State.SUPERSEDED)
    assert newest.reasons[0].params["other"] == "1 and 2"


def test_the_comparison_of_an_edited_mapping_ends_although_a_marked_row_left_the_scope(tmp_path: Path) -> None:
    """Kiva's lists changed, and the row had been refused: it is looked at once, and then no more."""
    made = capturing.rig(tmp_path, ["loan_draft"])
    key = made.mis.open_loan()
    made.capture().cycle()
    made.mis.loans[key]["status"] = "rejected"
    made.mis._wrote("loan", key)
    made.capture().cycle()
    with made.outbox.begin() as tx:
        tx.execute(sa.update(table.captured).values(again=True))
    made.capture().cycle()
    with made.outbox.read() as tx:
        assert watermark.to_read_again(tx, "loan_draft", limit=9) == []


def test_what_no_longer_maps_after_it_was_sent_is_told_with_what_can_still_be_made(tmp_path: Path) -> None:
    made = capturing.rig(tmp_path, ["loan_draft"])
    key = made.mis.open_loan()
    made.capture().cycle()
    batch = outboxes.claim(made.outbox, seconds=9_999)
    assert batch is not None
    outboxes.end(made.outbox, batch, outboxes.ACCEPTED, EntryVerdict(State.DELIVERED, {"loan_draft_uuid": "u"}))
    made.mis.loans[key] |= {"first_name": "", "client": "C9"}
    made.mis._wrote("loan", key)
    made.capture().cycle()
    with made.outbox.read() as tx:
        (found,) = history.open_divergences(tx)
    assert [one["field"] for one in found.fields] == ["entreps[0].client_id"]
    assert [reason.field for reason in found.reasons] == ["entreps[0].first_name"]
