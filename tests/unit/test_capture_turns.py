"""Which stream comes first, also when the relay ends in the middle of one; and what a capture says before it looked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.capture import cycle as cycles
from kiva_relay.capture import page
from kiva_relay.outbox import meta, table, watermark
from testbed.rig import capturing
from testbed.rig.capturing import Rig


class ProcessEnded(BaseException):
    """The process ended: nothing of it is left but the outbox."""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = capturing.rig(tmp_path)
    for _ in range(3):
        made.mis.open_loan()
    yield made
    made.outbox.close()


def quiet(rig: Rig) -> cycles.Capture:
    """A capture whose backfills are over."""
    capture = rig.capture()
    capture.cycle()
    while capture.scanning():
        capture.cycle()
    return capture


def read_in_order(rig: Rig, *, ends_after: int = 99) -> list[str]:
    """Of which stream each page is that is read from now on; the process ends with the last of so many."""
    read, names = rig.mis.read, list[str]()

    def noted(stream: Any, keys: Any, **more: Any) -> Any:
        names.append(stream.name)
        if len(names) > ends_after:
            raise ProcessEnded
        return read(stream, keys, **more)

    rig.mis.read = noted  # type: ignore[method-assign]
    return names


def turns(rig: Rig) -> list[str]:
    with rig.outbox.read() as tx:
        return meta.TURNS.get(tx) or []


def test_before_the_first_look_nothing_is_known_of_the_mis(rig: Rig) -> None:
    capture = rig.capture()
    assert (capture.modes, capture.horizon_age, capture.pinned_by, capture.waits) == ({}, timedelta(0), "", False)
    assert (capture.stopped, capture.scanning()) == ({}, False)


def again(rig: Rig, capture: cycles.Capture, what: str) -> None:
    """Each draft and each position has something to be read."""
    if what == "changes":
        for key in "123":
            rig.mis.loans[key]["amount"] += 100
            rig.mis.loans[key]["repaid"] += 1
            rig.mis._wrote("loan", key)
    elif what == "keys to look at again":
        with rig.outbox.begin() as tx:
            watermark.read_again(tx, table.captured.c.in_scope)
    else:
        capture.sweep()


@pytest.mark.parametrize("what", ["changes", "keys to look at again", "a scan"])
def test_a_relay_that_ends_in_the_middle_of_a_stream_begins_with_another(
    rig: Rig, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a stream whose pages end the process, by the memory they take say, would keep all others from being read."""
    capture = quiet(rig)
    again(rig, capture, what)
    monkeypatch.setattr(page, "SIZE", 2)
    names = read_in_order(rig, ends_after=1)
    with pytest.raises(ProcessEnded):
        capture.cycle()
    ended_in = names[-1]
    assert turns(rig)[-1] == ended_in
    names.clear()
    with pytest.raises(ProcessEnded):
        rig.capture().cycle()
    assert names[0] != ended_in


def test_a_stream_that_had_its_turn_comes_last(rig: Rig) -> None:
    capture = quiet(rig)
    before = turns(rig)
    assert sorted(before) == ["journal", "loan_draft", "repayment"]
    for resource in ("loan_draft", "repayment"):
        with rig.outbox.begin() as tx:
            watermark.read_again(tx, table.captured.c.stream == resource)
        capture.cycle()
        assert turns(rig)[-1] == resource
    capture.cycle()
    assert turns(rig)[-1] == "repayment", "who has nothing to be read takes no turn"


def test_a_page_has_as_many_keys_as_the_documentation_says() -> None:
    first, *_ = page.of(capturing.document("journal"), [str(number) for number in range(1_000)], "poll")
    said = (Path(__file__).parents[2] / "docs/architecture.md").read_text(encoding="utf-8")
    assert f"For each page of {len(first.keys)} keys" in said


def test_what_the_mis_was_kept_busy_before_takes_nothing_from_this_cycle(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that runs for weeks would else read one page of a sweep in each cycle."""
    monkeypatch.setattr(page, "SIZE", 1)
    rig.mis.busy_seconds = 100_000.0
    rig.capture().cycle()
    assert rig.marks()["loan_draft"].scan is None, "all of a small book in one cycle"
