"""What is known of Kiva's list, reading by reading: which one counts, and why the newest does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kiva_relay.outbox import mirror
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.mirror import MirroredLoan
from testbed.rig import outboxes
from testbed.rig.outboxes import later


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = outboxes.on_file(tmp_path)
    yield made
    made.close()


def reads(outbox: Outbox, *loans: str, at: float = 0, why: str | None = None, status: str = "fundRaising") -> int:
    """A reading of the list that begins at that second and ends ten seconds later."""
    with outbox.begin() as tx:
        number = mirror.begin_refresh(tx, now=later(at))
        mirror.keep(tx, number, [MirroredLoan(f"k{loan}", loan, "", status) for loan in loans])
        mirror.end_refresh(tx, number, complete=why is None, listed=len(loans), detail=why, now=later(at + 10))
    return number


def test_the_newest_reading_that_ended_says_why_the_list_is_not_whole(outbox: Outbox) -> None:
    def why() -> str:
        with outbox.read() as tx:
            return mirror.why_incomplete(tx)

    assert why() == "", "nothing was read yet"
    with outbox.begin() as tx:
        mirror.begin_refresh(tx, now=later(0))
    assert why() == "", "none has ended yet"
    reads(outbox, at=20, why="3 of 4 came")
    assert why() == "3 of 4 came"
    with outbox.begin() as tx:
        mirror.begin_refresh(tx, now=later(40))
    assert why() == "3 of 4 came", "the next one is still under way"
    reads(outbox, at=60)
    assert why() == ""


def test_the_last_complete_reading_is_the_newest_that_was_whole(outbox: Outbox) -> None:
    with outbox.read() as tx:
        assert mirror.last_complete(tx) is None
    reads(outbox, at=0)
    whole = reads(outbox, at=20)
    reads(outbox, at=40, why="3 of 4 came")
    with outbox.read() as tx:
        assert mirror.last_complete(tx) == mirror.Refresh(whole, later(20), later(30))
        assert mirror.last_complete(tx, started_after=later(19)) == mirror.Refresh(whole, later(20), later(30))
        assert mirror.last_complete(tx, started_after=later(20)) is None


def test_a_loan_is_a_sighting_when_the_last_whole_reading_before_did_not_list_it(outbox: Outbox) -> None:
    def seen(*ids: str, not_before: float) -> str | None:
        with outbox.read() as tx:
            found = mirror.sighting(tx, ids, not_before=later(not_before))
        return None if found is None else found.loan_id

    reads(outbox, "A", at=0)
    reads(outbox, "A", "B", at=20)
    assert seen("B", not_before=15) == "B"
    assert seen("A", not_before=15) is None, "it was listed before: it may be an older one"
    assert seen("b", not_before=15) is None, "that is another id"
    assert seen("x", "B", not_before=15) == "B"
    assert seen("B", not_before=40) is None
    assert seen("A", not_before=5) is None, "no reading had ended before"


def test_a_status_that_became_another_stays_known_with_its_day(outbox: Outbox) -> None:
    """Kiva tells only what a loan is now: since when it is paid back decides which reports expect it."""
    reads(outbox, "L1", "L2", at=0)
    reads(outbox, "L1", "L2", at=20)
    reads(outbox, "L1", at=40, why="1 of 2 came", status="payingBack")
    reads(outbox, "L1", at=60, status="payingBack")
    reads(outbox, "L1", at=80, status="ended")
    with outbox.read() as tx:
        assert mirror.history(tx, "kL1") == [
            mirror.StatusChange(later(40), "fundRaising", "payingBack"),
            mirror.StatusChange(later(80), "payingBack", "ended"),
        ]
        assert mirror.history(tx, "kL2") == []
    with outbox.begin() as tx:
        number = mirror.begin_refresh(tx, now=later(100))
        mirror.drop(tx, number, ["kL1"])
        mirror.end_refresh(tx, number, complete=True, listed=0, detail=None, now=later(110))
    with outbox.read() as tx:
        assert mirror.history(tx, "kL1")[-1] == mirror.StatusChange(later(100), "ended", None)


def test_what_else_kiva_says_of_a_loan_is_kept_and_a_change_of_it_is_a_difference(outbox: Outbox) -> None:
    said = MirroredLoan(
        "k1", "L1", "", "payingBack", uuid="u", status_detail="late", delinquent=False, borrower_count=3
    )
    with outbox.begin() as tx:
        number = mirror.begin_refresh(tx, now=later(0))
        mirror.keep(tx, number, [said])
        assert mirror.by_loan_id(tx, ["L1"]) == {"L1": said}
        assert mirror.others(tx, [said]) == []
        late = replace(said, delinquent=True)
        assert mirror.others(tx, [late]) == [late]
