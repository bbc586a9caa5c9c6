"""What goes wrong beside Kiva's answers, and what is said of it: witness, disk, lists, clocks. On both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.delivery import context
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.courier import Courier
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.outbox import hold, mirror
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.state import State
from testbed.rig.delivering import LOAN, Machine
from testbed.rig.scripted_kiva import LOST, UNREACHED, answer

DAY = 24 * 3_600


@pytest.fixture
def machine(tmp_path: Path, outbox: Outbox) -> Iterator[Machine]:
    made = Machine(tmp_path, outbox)
    yield made
    made.context.witness.close()


# ---------------------------------------------------------------- sending


@pytest.mark.parametrize(
    ("said", "sentence", "warns"),
    [
        (answer(200, {"loan_draft_uuid": "u"}), "Kiva accepted it", False),
        (answer(422, "no"), "Kiva refused it", True),
        (answer(429, retry_after="90"), "It was surely not processed, and is sent again", True),
        (LOST, "The answer was lost. It is not sent again until that is settled", True),
    ],
)
def test_the_log_says_what_became_of_each_request(
    machine: Machine, capsys: pytest.CaptureFixture[str], said: Answer, sentence: str, *, warns: bool
) -> None:
    machine.owe()
    machine.kiva.answers.append(said)
    capsys.readouterr()
    assert machine.send() == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if sentence in line]
    assert ("WARNING" in line) is warns
    assert LOAN in line
    assert "loan_draft" in line


def test_a_batch_is_logged_by_its_number_not_loan_by_loan(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    for loan in ("A-1", "A-2"):
        machine.owe("repayment", loan)
    capsys.readouterr()
    assert machine.send() == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "Kiva accepted it" in line]
    assert "A-1" not in line
    assert "A-2" not in line


def test_a_resource_that_the_institution_does_not_use_is_not_sent(tmp_path: Path, outbox: Outbox) -> None:
    machine = Machine(tmp_path, outbox)
    machine.context.settings = machine.context.settings.model_copy(update={"resources": ["journal"]})
    machine.owe("loan_draft")
    machine.owe("journal", "9")
    assert machine.send() == 1
    assert (machine.entry().state, machine.entry("journal", "9").state) == (State.READY, State.DELIVERED)
    machine.context.witness.close()


def test_a_round_with_nothing_due_makes_no_request(machine: Machine) -> None:
    """Else the courier would go round for ever, and never look whether it should stop."""
    assert Courier(machine.context, stop=threading.Event()).round() == 0
    assert machine.kiva.posts == []


def test_drafts_that_kiva_has_already_do_not_keep_the_next_one_waiting(machine: Machine) -> None:
    """Each goes alone: the first of them are only adopted, and the turn goes on."""
    for loan in ("A", "B"):
        machine.owe(identity=loan)
    machine.owe(identity="C")
    with machine.outbox.begin() as tx:
        listed = [mirror.MirroredLoan(f"k{loan}", loan, "", "fundRaising") for loan in ("A", "B")]
        mirror.keep(tx, mirror.begin_refresh(tx, now=machine.clock.now()), listed)
    assert machine.send() == 1
    assert [machine.entry(identity=loan).evidence for loan in "ABC"] == ["adopted", "adopted", "receipt"]


def test_an_allowance_that_was_used_up_ends_the_turn(machine: Machine) -> None:
    for loan in ("A", "B", "C"):
        machine.owe(identity=loan)
    with machine.outbox.begin() as tx:
        hold.put(tx, "loan_draft", "asked", now=machine.clock.now())
        hold.release(tx, "loan_draft", by="awa", note="one", now=machine.clock.now(), limit=1)
    assert machine.send() == 1
    assert machine.send() == 0
    assert [machine.entry(identity=loan).state for loan in "BC"] == [State.READY, State.READY]


def test_a_witness_that_cannot_record_the_answer_costs_nothing_but_its_word(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer is in the outbox. Only after a restore would the draft be in doubt, which is safe."""

    def fails(**_more: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(machine.context.witness, "ended", fails)
    machine.owe()
    assert machine.send() == 1
    assert (machine.entry().state, machine.entry().receipt) == (State.DELIVERED, {"loan_draft_uuid": "u"})
    assert "The witness could not record what became of it" in capsys.readouterr().err


def test_a_full_disk_is_said_once_and_so_is_its_end(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(needed: int) -> tuple[bool, int, int]:
        monkeypatch.setattr(context, "FREE_BYTES", needed)
        room, printed = machine.context.has_room(), capsys.readouterr().err
        return room, printed.count("The disk is almost full"), printed.count("There is room on the disk again")

    capsys.readouterr()
    assert said(1) == (True, 0, 0)
    assert said(2**62) == (False, 1, 0)
    assert said(2**62) == (False, 0, 0)
    assert said(1) == (True, 0, 1)
    assert said(1) == (True, 0, 0)


# ---------------------------------------------------------------- reading


def test_a_problem_that_names_no_loan_is_not_repeated_by_rule(machine: Machine) -> None:
    """Kiva may have booked a part of the report: a person looks."""
    machine.owe("repayment")
    machine.kiva.answers.append(answer(200, {"upload_id": 7, "problems": [{"message": "a row was odd"}]}))
    machine.send()
    assert machine.entry("repayment").reason == "problem_without_loan"
    machine.clock.passes(DAY)
    machine.look()
    assert machine.entry("repayment").evidence == "warned"
    machine.send()
    assert len(machine.kiva.posts) == 1


def test_kiva_that_was_away_is_back_once(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    def looked() -> int:
        capsys.readouterr()
        machine.look()
        return capsys.readouterr().err.count("Kiva answers again")

    every = machine.context.settings.mirror.refresh_every.total_seconds()
    machine.clock.passes(every)
    assert looked() == 0, "it was not away"
    machine.kiva.reading = UNREACHED
    machine.clock.passes(every)
    assert looked() == 0
    machine.kiva.reading = None
    machine.clock.passes(every)
    assert looked() == 1
    machine.clock.passes(every)
    assert looked() == 0


def test_lists_that_kiva_does_not_give_cost_nothing_else_and_are_said_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kiva's list of loans is read all the same; its activities, locations and themes are asked for again soon."""
    get, gives = machine.kiva.get, False
    asked: list[str] = []

    def some(path: str, **more: Any) -> Answer:
        if path.endswith("/loans"):
            return get(path, **more)
        asked.append(path)
        return get(path, **more) if gives else answer(500)

    monkeypatch.setattr(machine.kiva, "get", some)
    missing = "Kiva did not give its lists"

    def looked(after: float) -> tuple[bool, int]:
        machine.clock.passes(after)
        capsys.readouterr()
        asked.clear()
        machine.look()
        return bool(asked), capsys.readouterr().err.count(missing)

    assert looked(DAY) == (True, 1)
    assert looked(4 * 60) == (False, 0), "it is not time yet"
    assert looked(2 * 60) == (True, 0), "asked again, and not said again"
    gives = True
    assert looked(6 * 60) == (True, 0)
    gives = False
    assert looked(DAY) == (True, 1), "a day later it is news again"
    machine.refresher = Refresher(machine.context)
    assert looked(6 * 60) == (True, 1), "and after a restart"


def test_a_look_that_only_waits_for_the_clock_reads_no_list(machine: Machine) -> None:
    """What tells the capture that Kiva's list is another one now must not be said without a reading."""
    machine.owe("repayment")
    machine.kiva.answers.append(LOST)
    machine.send()
    machine.look()  # one harmless request succeeds
    machine.clock.is_set(timedelta(minutes=30))
    asked = len(machine.kiva.gets)
    assert machine.look() is False
    assert len(machine.kiva.gets) == asked
    assert machine.entry("repayment").state is State.IN_DOUBT
