"""Is it the MIS that was read before: bound, older, shorter, on another timeline, with other ids at Kiva."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from kiva_relay import errors
from kiva_relay.capture import continuity
from kiva_relay.capture.continuity import Continuity
from kiva_relay.outbox import hold, meta, watermark
from kiva_relay.source.mis import Mis
from testbed.rig import capturing
from testbed.rig.capturing import NOW, Rig, document, seen

DRAFTS = "loan_draft"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = capturing.rig(tmp_path)
    yield made
    made.outbox.close()


def of(rig: Rig) -> Continuity:
    return Continuity(
        outbox=rig.outbox,
        settings=rig.settings,
        clock=rig.clock,
        mis=cast("Mis", rig.mis),
        documents=rig.documents,
    )


def bound(rig: Rig) -> Continuity:
    made = of(rig)
    with rig.outbox.begin() as tx:
        made.bind(tx, "postgresql:1/mis#7")
    return made


def read_up_to(rig: Rig, *streams: str, w: str = "1") -> None:
    """Their backfills are over, and they were polled."""
    with rig.outbox.begin() as tx:
        for name in streams:
            mark = watermark.watermarks(tx)[name]
            watermark.end_scan(tx, mark, now=NOW)
            watermark.advance(tx, mark, w, mode="xmin", now=NOW)


def held(rig: Rig) -> list[tuple[str, str, dict[str, Any]]]:
    with rig.outbox.read() as tx:
        return [(one.what, one.reason, dict(one.params)) for one in hold.in_force(tx)]


def again(rig: Rig) -> dict[str, tuple[int, str | None, str | None]]:
    """Of each stream its generation, W and scan."""
    return {name: (mark.generation, mark.w, mark.scan) for name, mark in rig.marks().items()}


def test_an_outbox_is_bound_once(rig: Rig) -> None:
    bound(rig)
    with rig.outbox.read() as tx:
        assert (meta.MIS.get(tx), meta.FIRST_START.get(tx)) == ("postgresql:1/mis", NOW)
    assert {name: mark.scan for name, mark in rig.marks().items()} == dict.fromkeys(
        ("loan_draft", "repayment", "journal"), "backfill"
    )
    rig.clock.pass_(60)
    read_up_to(rig, DRAFTS)
    bound(rig)
    with rig.outbox.read() as tx:
        assert meta.FIRST_START.get(tx) == NOW
    assert rig.marks()[DRAFTS].w == "1"


def test_another_mis_is_refused(rig: Rig) -> None:
    bound(rig)
    with rig.outbox.begin() as tx, pytest.raises(errors.OutboxRefused):
        of(rig).bind(tx, "postgresql:2/mis#7")


@pytest.mark.parametrize(
    ("surely", "older", "begins_again"), [(False, "9", False), (False, "1", True), (True, "9", True)]
)
def test_a_stream_of_an_older_mis_is_read_again(rig: Rig, older: str, *, surely: bool, begins_again: bool) -> None:
    made = bound(rig)
    read_up_to(rig, DRAFTS)
    rig.mis.went_back = lambda watermark: watermark == older  # type: ignore[method-assign]
    with rig.outbox.begin() as tx:
        made.notice_older(tx, surely=surely)
    assert again(rig)[DRAFTS] == ((2, None, "sweep") if begins_again else (1, "1", None))
    assert again(rig)["journal"] == (1, None, "backfill")  # it was not read yet
    assert held(rig) == ([("all", "mis_went_back", {"stream": DRAFTS})] if begins_again else [])


def test_a_stream_without_a_mapping_is_left_alone(rig: Rig) -> None:
    made = bound(rig)
    with rig.outbox.begin() as tx:
        watermark.begin(tx, "gone")
    read_up_to(rig, "gone")
    with rig.outbox.begin() as tx:
        made.notice_older(tx, surely=True)
    assert again(rig)["gone"] == (1, "1", None)


# ---------------------------------------------------------------- rows that are lost


def test_which_streams_can_be_compared(rig: Rig) -> None:
    made = bound(rig)
    names = ["loan_draft", "repayment", "journal"]
    assert made.comparable(names) == []  # their backfills are under way
    read_up_to(rig, *names)
    assert made.comparable(names) == [document("loan_draft"), document("repayment")]
    assert made.comparable(["repayment"]) == [document("repayment")]
    with rig.outbox.begin() as tx:
        watermark.start_scan(tx, DRAFTS, "sweep", now=NOW)
    assert made.comparable(names) == [document("repayment")]
    with rig.outbox.begin() as tx:
        watermark.begin_again(tx, "repayment", now=NOW)
        watermark.end_scan(tx, watermark.watermarks(tx)["repayment"], now=NOW)
    assert made.comparable(names) == []


@pytest.mark.parametrize(
    ("keys", "highest", "lost"),
    [
        (["7", "8"], 8, False),
        (["7", "8", "9"], 8, False),  # one is somebody's correction
        (["8", "9", "10"], 8, True),
        (["9", "10", "11"], None, False),
        ([], 8, False),
    ],
)
def test_a_table_that_ends_before_what_was_read(rig: Rig, keys: list[str], highest: int | None, *, lost: bool) -> None:
    made = bound(rig)
    read_up_to(rig, DRAFTS)
    with rig.outbox.begin() as tx:
        for key in keys:
            watermark.keep(tx, seen(key=key, identity=f"L{key}"), new=True)
    assert not made.was_compared(DRAFTS)
    assert made.rows_are_lost(document(DRAFTS), highest) is lost
    assert made.was_compared(DRAFTS)
    assert not made.was_compared("repayment")
    assert again(rig)[DRAFTS] == ((2, None, "sweep") if lost else (1, "1", None))
    params = {"stream": DRAFTS, "highest": 8, "was": 10}
    assert held(rig) == ([("all", "mis_went_back", params)] if lost else [])


def test_keys_are_looked_through_only_where_a_table_ends_before_what_was_captured(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, keys_above = [0], watermark.keys_above

    def counted(*given: Any) -> list[str]:
        asked[0] += 1
        return keys_above(*given)

    monkeypatch.setattr(watermark, "keys_above", counted)
    made = bound(rig)
    read_up_to(rig, DRAFTS)

    def captures(*keys: str) -> None:
        made.met(DRAFTS, keys)
        with rig.outbox.begin() as tx:
            for key in keys:
                watermark.keep(tx, seen(key=key, identity=f"L{key}"), new=True)

    captures("7", "8")
    assert [made.rows_are_lost(document(DRAFTS), highest) for highest in (8, 8, 9, 12)] == [False] * 4
    assert asked == [1]
    captures("9", "10", "11")
    assert not made.rows_are_lost(document(DRAFTS), 11)
    assert asked == [1]
    assert not made.rows_are_lost(document(DRAFTS), 10), "one is somebody's correction"
    assert not made.rows_are_lost(document(DRAFTS), 10)
    assert asked == [2]
    assert made.rows_are_lost(document(DRAFTS), 9), "9 was given again; 10 and 11 are lost"
    assert asked == [3]


def test_all_is_compared_again_when_the_mis_is_bound_again(rig: Rig) -> None:
    made = bound(rig)
    made.rows_are_lost(document(DRAFTS), 8)
    assert made.was_compared(DRAFTS)
    with rig.outbox.begin() as tx:
        made.bind(tx, "postgresql:1/mis#7")
    assert not made.was_compared(DRAFTS)


# ---------------------------------------------------------------- timelines and ids


def scans(rig: Rig) -> list[str]:
    return [name for name, mark in rig.marks().items() if mark.scan is not None]


def test_another_timeline_compares_all_of_the_book(rig: Rig) -> None:
    made = bound(rig)
    read_up_to(rig, "loan_draft", "repayment", "journal")
    for timeline in ("", "1", "1", ""):
        made.notice_timeline(timeline)
        assert scans(rig) == []
    made.notice_timeline("2")
    assert sorted(scans(rig)) == ["journal", "loan_draft", "repayment"]
    with rig.outbox.read() as tx:
        assert meta.TIMELINE.get(tx) == "2"


def test_another_timeline_is_noticed_after_a_restart(rig: Rig) -> None:
    bound(rig).notice_timeline("1")
    read_up_to(rig, "loan_draft", "repayment", "journal")
    made = of(rig)
    made.notice_timeline("1")
    assert scans(rig) == []
    of(rig).notice_timeline("2")
    assert len(scans(rig)) == 3


def test_loans_whose_ids_at_kiva_were_edited_are_looked_at_again(rig: Rig) -> None:
    bound(rig)
    with rig.outbox.begin() as tx:
        for number in "123":
            watermark.keep(tx, seen(key=number, identity=f"L{number}"), new=True)
            watermark.keep(tx, seen("repayment", key=number, identity=f"L{number}"), new=True)

    def noticed(**aliases: str) -> list[list[str]]:
        with rig.outbox.begin() as tx:
            continuity.notice_aliases(tx, aliases)
            found = [watermark.to_read_again(tx, name, limit=9) for name in ("loan_draft", "repayment")]
            for name in ("loan_draft", "repayment"):
                for number in "123":
                    watermark.keep(tx, seen(name, key=number, identity=f"L{number}"))
        return found

    assert noticed() == [[], []]
    assert noticed(typed="L1") == [["1"], ["1"]]
    assert noticed(typed="L1") == [[], []]
    assert noticed(typed="L2") == [["1", "2"], ["1", "2"]]
    assert noticed() == [["2"], ["2"]]
