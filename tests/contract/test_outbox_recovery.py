"""An outbox that is behind its witness, on both databases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.delivery import reconciler
from kiva_relay.outbox import meta, mirror, query, recovery, settlement
from kiva_relay.outbox import witness as witnesses
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.recovery import Taken
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import State
from kiva_relay.outbox.witness import Memory, Witness
from testbed.rig import outboxes as suite
from testbed.rig.outboxes import later

LOAN = "000000871"
UUID = {"loan_draft_uuid": "u"}


def told(attempt: int, *identities: str, outbox: str = "lost", resource: str = "loan_draft") -> witnesses.Testimony:
    return witnesses.Testimony(outbox, attempt, resource, identities, identities)


def take(
    outbox: Outbox, *sent: witnesses.Testimony, answers: Mapping[int, Any] | None = None, seconds: float = 1
) -> Taken | None:
    answered = {("lost", attempt): ended for attempt, ended in (answers or {}).items()}
    with outbox.begin() as tx:
        return recovery.take(tx, Memory(sent, answered), now=later(seconds))


def newest(outbox: Outbox, identity: str = LOAN, resource: str = "loan_draft") -> Entry:
    with outbox.read() as tx:
        return query.versions(tx, resource, identity)[0]


def test_what_only_the_witness_knows_starts_in_doubt_once(outbox: Outbox) -> None:
    suite.put(outbox)
    taken = take(outbox, told(7, LOAN, "unknown"))
    assert taken is not None
    assert len(taken.doubts) == 2
    assert take(outbox, told(7, LOAN, "unknown")) is None
    assert suite.states(outbox) == ["withdrawn", "in_doubt"]
    assert suite.states(outbox, "unknown") == ["in_doubt"]


def test_what_kiva_answered_is_taken_from_the_witness(outbox: Outbox) -> None:
    suite.put(outbox)
    suite.put(outbox, "refused")
    taken = take(outbox, told(7, LOAN), told(8, "refused"), answers={7: {LOAN: UUID}, 8: {"refused": None}})
    assert taken is not None
    assert (len(taken.doubts), len(taken.delivered)) == (0, 1)
    entry = newest(outbox)
    assert (entry.state, entry.evidence, entry.receipt) == (State.DELIVERED, "receipt", UUID)
    assert suite.states(outbox, "refused") == ["ready"]
    assert suite.put(outbox, LOAN, '{"amount":2}') is None


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ({8: {LOAN: UUID}}, "delivered"),
        ({7: {LOAN: None}}, "in_doubt"),
        ({7: {LOAN: None}, 8: {LOAN: None}}, None),
        ({7: {LOAN: UUID}, 8: {LOAN: None}}, "in_doubt"),
        ({8: {LOAN: None}}, "in_doubt"),
    ],
)
def test_of_several_attempts_no_lost_answer_is_forgotten(
    outbox: Outbox, answers: Mapping[int, Any], state: str | None
) -> None:
    take(outbox, told(7, LOAN), told(8, LOAN), answers=answers)
    assert suite.states(outbox) == ([] if state is None else [state])


def test_an_identity_that_was_settled_after_one_recovery_is_in_doubt_after_the_next(outbox: Outbox) -> None:
    suite.put(outbox)
    take(outbox, told(7, LOAN))
    with outbox.begin() as tx:
        settlement.settle(tx, newest_in(tx), "resend", by="awa", note="not in PA2", now=later(2))
    suite.put(outbox, seconds=3)
    assert suite.states(outbox)[-1] == "ready"
    take(outbox, told(7, LOAN), told(12, LOAN))
    assert suite.states(outbox)[-1] == "in_doubt"


def newest_in(tx: Any) -> Entry:
    return query.versions(tx, "loan_draft", LOAN)[0]


def test_a_doubt_that_the_witness_saw_leave_again_is_not_settled_by_absence(outbox: Outbox) -> None:
    """The list may lag behind what was sent last, and only the witness knows when that was."""
    suite.put(outbox)
    suite.lose(outbox)
    taken = take(outbox, told(9, LOAN), seconds=2)
    assert taken is not None
    assert [entry.id for entry in taken.doubts] == [newest(outbox).id]
    suite.put(outbox, "control")
    batch = suite.claim(outbox, seconds=3_600)
    assert batch is not None
    suite.end(outbox, batch, suite.ACCEPTED, EntryVerdict(State.DELIVERED, receipt=UUID), seconds=3_601)
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=later(7_200))
        mirror.keep(tx, refresh, [mirror.MirroredLoan("k", "control", "", "draft")])
        mirror.end_refresh(tx, refresh, complete=True, listed=1, detail=None, now=later(7_201))
        settled = reconciler.settle(
            tx, settle_after=timedelta(seconds=1), drafts_visible=True, open_period="", now=later(7_202)
        )
    assert settled == []
    assert suite.states(outbox) == ["in_doubt"]


def test_a_position_that_only_the_witness_knows_makes_the_present_one_go_out_again(outbox: Outbox) -> None:
    suite.put(outbox, resource="repayment", period="2026-10")
    suite.deliver(outbox, "repayment")
    suite.put(outbox, LOAN, '{"amount":2}', resource="repayment", period="2026-10")
    taken = take(outbox, told(9, LOAN, resource="repayment"))
    assert taken is not None
    assert taken.positions == 1
    assert suite.states(outbox, resource="repayment") == ["delivered", "withdrawn"]
    assert suite.put(outbox, resource="repayment", period="2026-10") is not None
    suite.deliver(outbox, "repayment")
    assert suite.put(outbox, resource="repayment", period="2026-10") is None


def test_an_outbox_that_was_behind_takes_a_new_number(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        meta.OUTBOX_ID.put(tx, "lost")
    take(outbox, told(9, LOAN))
    with outbox.read() as tx:
        assert meta.OUTBOX_ID.get(tx) != "lost"


# ---------------------------------------------------------------- whose witness this is


def witness(folder: Path, name: str = "witness.log") -> Witness:
    return Witness(folder / name, api_url="http://kiva", partner_id="123")


def trusted(outbox: Outbox, found: Witness) -> tuple[bool, bool]:
    with outbox.begin() as tx:
        return recovery.is_trusted(tx, outbox, found, found.memory())


def send_one(outbox: Outbox, found: Witness, identity: str = LOAN) -> None:
    suite.put(outbox, identity)
    batch = suite.claim(outbox)
    assert batch is not None
    found.testify(outbox_id="o", attempt=batch.attempt_id, resource="loan_draft", identities=[identity])
    suite.end(outbox, batch, suite.ACCEPTED, EntryVerdict(State.DELIVERED, receipt=UUID))


def test_the_same_witness_is_trusted(outbox: Outbox, tmp_path: Path) -> None:
    found = witness(tmp_path)
    assert trusted(outbox, found) == (False, False)
    send_one(outbox, found)
    assert trusted(outbox, found) == (True, False)
    found.close()


def test_a_witness_that_lost_its_end_is_missing_once(outbox: Outbox, tmp_path: Path) -> None:
    found = witness(tmp_path)
    trusted(outbox, found)
    whole = found.path.read_bytes()
    send_one(outbox, found)
    found.close()
    found.path.write_bytes(whole)
    older = witness(tmp_path)
    assert trusted(outbox, older) == (False, True)
    assert trusted(outbox, older) == (True, False)
    older.close()


def test_another_witness_proves_nothing(outbox: Outbox, tmp_path: Path) -> None:
    found = witness(tmp_path)
    trusted(outbox, found)
    send_one(outbox, found)
    found.close()
    other = witness(tmp_path, "other.log")
    assert trusted(outbox, other) == (False, True)
    assert trusted(outbox, other) == (True, False)
    other.close()


def test_a_witness_that_was_lost_before_anything_was_answered(outbox: Outbox, tmp_path: Path) -> None:
    """Nothing is excused then; the next start must still be able to compare with what was answered since."""
    found, other = witness(tmp_path), witness(tmp_path, "other.log")
    trusted(outbox, found)
    suite.put(outbox)
    batch = suite.claim(outbox)
    assert batch is not None
    assert trusted(outbox, other) == (False, True)
    suite.end(outbox, batch, suite.ACCEPTED, EntryVerdict(State.DELIVERED, receipt=UUID))
    assert trusted(outbox, other) == (False, True)
    assert trusted(outbox, other) == (True, False)
    found.close()
    other.close()


def test_the_other_machine_of_a_pair_has_a_witness_of_its_own(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, other = witness(tmp_path), witness(tmp_path, "other.log")
    trusted(outbox, found)
    send_one(outbox, found)
    monkeypatch.setattr("socket.gethostname", lambda: "the other machine")
    a_file_has_no_pair = outbox.is_file
    assert trusted(outbox, other) == (False, a_file_has_no_pair)
    found.close()
    other.close()


def test_a_machine_that_was_given_another_name_still_has_its_witness(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = witness(tmp_path)
    trusted(outbox, found)
    send_one(outbox, found)
    monkeypatch.setattr("socket.gethostname", lambda: "renamed")
    assert trusted(outbox, found) == (True, False)
    with outbox.read() as tx:
        known = meta.WITNESSES.get(tx)
    assert known is not None
    assert ("renamed" in known.known) is not outbox.is_file, "a file is at one place, whatever it is called"
    found.close()


# ---------------------------------------------------------------- what a person says of Kiva's list


def test_a_draft_that_a_person_deleted_in_pa2_is_not_there_until_the_list_is_read_again(outbox: Outbox) -> None:
    """Else the list of an hour ago would make the relay take it as being at Kiva already, and send nothing."""
    suite.put(outbox)
    suite.deliver(outbox)
    listed(outbox, "inactive")
    with outbox.begin() as tx:
        settlement.settle(tx, newest_in(tx), "resend", by="awa", note="deleted in PA2", now=later(9))
        assert mirror.by_loan_id(tx, [LOAN]) == {}
    listed(outbox, "inactive", seconds=20)
    with outbox.read() as tx:
        assert LOAN in mirror.by_loan_id(tx, [LOAN]), "what is listed after all counts"
        assert mirror.sighting(tx, [LOAN], not_before=later(10)) is None, "and is no news"


def test_what_was_published_cannot_have_been_deleted(outbox: Outbox) -> None:
    suite.put(outbox)
    suite.deliver(outbox)
    listed(outbox, "fundRaising")
    with outbox.begin() as tx:
        settlement.settle(tx, newest_in(tx), "resend", by="awa", note="a mistake", now=later(9))
        assert LOAN in mirror.by_loan_id(tx, [LOAN])


def listed(outbox: Outbox, status: str, seconds: float = 5) -> None:
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=later(seconds))
        mirror.keep(tx, refresh, [mirror.MirroredLoan("k", LOAN, "", status)])
        mirror.end_refresh(tx, refresh, complete=True, listed=1, detail=None, now=later(seconds))


def test_the_very_first_attempt_of_an_outbox_is_not_forgotten_with_it(outbox: Outbox) -> None:
    """The backup was made after the outbox had its number, and before anything was sent."""
    with outbox.begin() as tx:
        meta.OUTBOX_ID.put(tx, "lost")
    suite.put(outbox)
    taken = take(outbox, told(1, LOAN))
    assert taken is not None
    assert (taken.last, taken.witnessed, len(taken.doubts)) == (0, 1, 1)
    assert suite.states(outbox) == ["withdrawn", "in_doubt"]
