"""What a start makes of what the last process left open, of a lost witness and of a restored outbox, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kiva_relay.delivery import courier
from kiva_relay.outbox import meta, recovery
from kiva_relay.outbox.state import State
from kiva_relay.outbox.witness import Witness
from testbed.rig import outboxes
from testbed.rig.delivering import LOAN, Machine

WARNED = "It was being sent when the relay ended"
MISSING = "The outbox's witness is missing"
OLDER = "The outbox is older than what this machine has sent"


def outbox_id(machine: Machine) -> str:
    with machine.outbox.read() as tx:
        return meta.OUTBOX_ID.get(tx) or ""


@pytest.mark.parametrize(
    ("resource", "ends_at", "state"),
    [
        ("loan_draft", "claimed", State.READY),  # the witness knows that it never left
        ("journal", "claimed", State.READY),
        ("repayment", "claimed", State.IN_DOUBT),  # harmless to repeat, so nobody has to know
        ("loan_draft", "testified", State.IN_DOUBT),
        ("journal", "answered", State.IN_DOUBT),
        ("loan_draft", "settled", State.DELIVERED),
    ],
)
def test_what_was_being_sent_when_the_process_ended(
    machine: Machine, capsys: pytest.CaptureFixture[str], resource: str, ends_at: str, state: State
) -> None:
    machine.owe(resource)
    machine.send(ends_at=ends_at)
    capsys.readouterr()
    assert machine.start() is None
    found = machine.entry(resource)
    in_doubt = state is State.IN_DOUBT
    assert (found.state, found.reason) == (state, "process_ended" if in_doubt else None)
    assert machine.holds() == {}
    printed = capsys.readouterr().err
    assert printed.count(WARNED) == in_doubt
    assert (LOAN in printed) is in_doubt
    assert MISSING not in printed
    assert OLDER not in printed
    capsys.readouterr()
    machine.start()
    assert WARNED not in capsys.readouterr().err, "it is said once"


def test_what_had_not_left_goes_out_once_after_the_start(machine: Machine) -> None:
    machine.owe("loan_draft")
    machine.send(ends_at="claimed")
    machine.start()
    machine.send()
    assert machine.entry("loan_draft").state is State.DELIVERED
    assert len(machine.kiva.posts) == 1


def test_without_its_witness_nothing_is_known_not_to_have_left(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.owe("loan_draft")
    machine.send(ends_at="claimed")
    machine.lose_witness()
    capsys.readouterr()
    assert machine.start() is None
    assert machine.entry("loan_draft").state is State.IN_DOUBT
    assert machine.holds() == {"all: witness_missing": {"file": str(machine.context.witness.path)}}
    printed = capsys.readouterr().err
    assert MISSING in printed
    assert OLDER not in printed
    machine.start()
    assert MISSING not in capsys.readouterr().err, "a witness is missing once"


def test_an_outbox_that_is_older_than_its_witness_is_held_with_what_was_taken(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a backup: attempts 1 is in it, what the witness saw leave since is not."""
    machine.owe("loan_draft", "kept")
    machine.send()
    witness, own = machine.context.witness, outbox_id(machine)
    for attempt, resource, identity in (
        (2, "loan_draft", "lost"),
        (3, "journal", "lost too"),
        (4, "loan_draft", "answered"),
        (5, "repayment", "position"),
    ):
        witness.testify(outbox_id=own, attempt=attempt, resource=resource, identities=[identity])
    witness.ended(outbox_id=own, attempt=4, ended={"answered": {"loan_draft_uuid": "u4"}})
    capsys.readouterr()
    taken = machine.start()
    assert taken is not None
    assert [entry.identity for entry in taken.doubts] == ["lost", "lost too"]
    assert machine.holds() == {
        "all: restored_outbox": {"outbox": 1, "witness": 5, "delivered": 1, "in_doubt": 2, "positions": 1}
    }
    assert machine.entry("loan_draft", "answered").receipt == {"loan_draft_uuid": "u4"}
    printed = capsys.readouterr().err
    assert OLDER in printed
    assert MISSING not in printed
    assert machine.start() is None
    assert OLDER not in capsys.readouterr().err


def test_an_older_outbox_whose_witness_changed_too_says_the_graver_thing(machine: Machine, tmp_path: Path) -> None:
    """One hold of all is enough, and the one that says what may be sent twice is the one to read."""
    machine.owe("loan_draft")
    machine.send()
    kiva, own = machine.context.settings.kiva, outbox_id(machine)
    machine.context.witness.close()
    other = Witness(tmp_path / "other.log", api_url=kiva.api_url, partner_id=kiva.partner_id)
    other.testify(outbox_id=own, attempt=9, resource="loan_draft", identities=["lost"])
    machine.context.witness = other
    assert machine.start() is not None
    assert [name.partition(": ")[2] for name in machine.holds()] == ["restored_outbox"]


# ---------------------------------------------------------------- how much of the witness a start reads


def lines_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many lines of the witness the next start reads."""
    read: list[int] = []
    lines = Witness._lines

    def counted(self: Witness, offset: int = 0) -> Any:
        for line in lines(self, offset):
            read.append(1)
            yield line

    with monkeypatch.context() as patched:
        patched.setattr(Witness, "_lines", counted)
        machine.start()
    return len(read)


def test_a_start_reads_what_came_after_the_one_before(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        machine.owe("loan_draft", f"L{number}")
    machine.send()
    assert lines_read(machine, monkeypatch) >= 40
    assert lines_read(machine, monkeypatch) == 0
    machine.owe("loan_draft", "later")
    machine.send()
    assert lines_read(machine, monkeypatch) == 2
    assert machine.holds() == {}


def test_a_courier_that_runs_for_long_remembers_the_place_too(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "_READ_EVERY", 5)
    for number in range(12):
        machine.owe("loan_draft", f"L{number}")
    machine.send()
    assert lines_read(machine, monkeypatch) == 4  # the last two attempts, and their answers
    assert machine.holds() == {}


def test_the_line_of_an_attempt_that_is_under_way_is_read_by_the_next_start(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would count as never sent, and go twice."""
    machine.owe("loan_draft", "first")
    machine.send()
    machine.start()
    machine.owe("loan_draft")
    machine.send(ends_at="testified")
    with machine.outbox.begin() as tx:
        assert not recovery.was_read(tx, machine.context.witness)
    machine.start()
    assert machine.entry("loan_draft").state is State.IN_DOUBT


def test_an_outbox_that_was_put_back_reads_all_that_came_after_its_backup(tmp_path: Path) -> None:
    machine = Machine(tmp_path, outboxes.on_file(tmp_path))
    machine.owe("loan_draft", "before")
    machine.send()
    machine.start()
    machine.outbox.close()
    backup = machine.outbox.path.read_bytes()
    machine.owe("loan_draft", "lost")
    machine.send()
    machine.start()  # the place moves on; the backup has the old one
    machine.owe("loan_draft", "lost too")
    machine.send(ends_at="answered")
    machine.outbox.close()
    machine.outbox.path.write_bytes(backup)
    taken = machine.start()
    assert taken is not None
    assert [entry.identity for entry in taken.delivered] == ["lost"]
    assert [entry.identity for entry in taken.doubts] == ["lost too"]
    machine.context.witness.close()
    machine.outbox.close()


def test_a_witness_that_was_put_back_is_read_whole_and_missed(machine: Machine) -> None:
    machine.owe("loan_draft", "before")
    machine.send()
    whole = machine.context.witness.path.read_bytes()
    machine.owe("loan_draft", "after")
    machine.send()
    machine.start()
    machine.context.witness.path.write_bytes(whole)
    machine.start()
    assert [*machine.holds()] == ["all: witness_missing"]


def put_back(machine: Machine, witness: bytes) -> None:
    """As a person does with a stopped relay: the file in its place again, opened by the next start."""
    kiva, path = machine.context.settings.kiva, machine.context.witness.path
    machine.context.witness.close()
    path.write_bytes(witness)
    machine.context.witness = Witness(path, api_url=kiva.api_url, partner_id=kiva.partner_id)


def test_a_witness_that_is_put_back_whole_ends_the_hold_that_its_absence_made(machine: Machine) -> None:
    """Only `release all` ended it, and whoever did so had not looked."""
    machine.owe("loan_draft", "before")
    machine.send()
    whole = machine.context.witness.path.read_bytes()
    machine.lose_witness()
    machine.start()
    assert [*machine.holds()] == ["all: witness_missing"]
    machine.start()
    assert [*machine.holds()] == ["all: witness_missing"], "the new one is not the one that is missed"
    put_back(machine, whole)
    machine.start()
    assert machine.holds() == {}
    machine.start()
    assert machine.holds() == {}


def test_a_witness_that_is_put_back_without_its_end_ends_nothing(machine: Machine) -> None:
    machine.owe("loan_draft", "before")
    machine.send()
    old = machine.context.witness.path.read_bytes()
    machine.owe("loan_draft", "after")
    machine.send()
    machine.start()
    machine.lose_witness()
    machine.start()
    put_back(machine, old)
    for _ in range(2):
        machine.start()
        assert [*machine.holds()] == ["all: witness_missing"]
