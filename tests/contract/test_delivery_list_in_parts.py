"""A list of Kiva's is written, and what it lacks forgotten, in parts: a process may end between two. On both databases."""

from __future__ import annotations

from typing import Any

import pytest

from kiva_relay.delivery import refresher
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.outbox import mirror
from testbed.rig.delivering import Machine, ProcessEnded

DAY = 24 * 3_600
LISTED = ("A", "B", "C", "D", "E")


def listed(machine: Machine) -> set[str]:
    with machine.outbox.read() as tx:
        return {loan.loan_id for loan in mirror.by_loan_id(tx, LISTED).values()}


def test_a_process_that_ends_between_two_parts_of_the_list_loses_and_forgets_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresher, "_PART", 1)
    machine.kiva.loans = {"A": "fundRaising", "B": "fundRaising"}
    machine.clock.passes(DAY)
    assert machine.look()
    machine.owe("loan_draft", "C")
    machine.kiva.loans = {"A": "raised", "C": "fundRaising"}  # B is gone, and somebody typed C into PA2
    keep, kept = mirror.keep, list[int]()

    def ends(tx: Any, number: int, loans: Any) -> None:
        if kept:
            raise ProcessEnded
        kept.append(number)
        keep(tx, number, loans)

    with monkeypatch.context() as patched:
        patched.setattr(mirror, "keep", ends)
        machine.clock.passes(DAY)
        with pytest.raises(ProcessEnded):
            machine.look()

    assert {"A", "B"} <= listed(machine), "a reading that did not end forgets nothing"
    machine.start()
    machine.refresher = Refresher(machine.context)
    assert machine.look()
    assert listed(machine) == {"A", "C"}
    machine.send()
    assert machine.kiva.posts == [], "what Kiva has is adopted"
    assert machine.entry("loan_draft", "C").evidence == "adopted"


def test_a_process_that_ends_while_it_forgets_what_kiva_lists_no_more_has_proved_nothing_new(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresher, "_PART", 2)
    machine.kiva.loans = dict.fromkeys(LISTED, "fundRaising")
    machine.clock.passes(DAY)
    assert machine.look()
    with machine.outbox.read() as tx:
        before = mirror.last_complete(tx)
    machine.kiva.loans = {}
    drop, parts = mirror.drop, list[int]()

    def ends(tx: Any, number: int, kiva_ids: Any) -> None:
        if parts:
            raise ProcessEnded
        parts.append(len(kiva_ids))
        drop(tx, number, kiva_ids)

    with monkeypatch.context() as patched:
        patched.setattr(mirror, "drop", ends)
        machine.clock.passes(DAY)
        with pytest.raises(ProcessEnded):
            machine.look()
    assert (parts, len(listed(machine))) == ([2], 3), "a part is a transaction of its own"
    with machine.outbox.read() as tx:
        assert mirror.last_complete(tx) == before, "only a reading that came to its end proves that something is absent"
    machine.start()
    machine.refresher = Refresher(machine.context)
    machine.clock.passes(DAY)
    assert machine.look()
    assert listed(machine) == set()
    with machine.outbox.read() as tx:
        gone = [mirror.history(tx, f"k{loan}") for loan in LISTED]
    assert [[change.became for change in changes] for changes in gone] == [[None]] * len(LISTED), "each once"


def test_a_list_of_which_a_loan_cannot_be_read_forgets_nothing(machine: Machine) -> None:
    machine.kiva.loans = dict.fromkeys(LISTED, "fundRaising")
    machine.clock.passes(DAY)
    assert machine.look()
    odd: Any = ("B", "C")
    machine.kiva.loans = {"A": "fundRaising", odd: "fundRaising"}
    machine.clock.passes(DAY)
    machine.look()
    assert listed(machine) == {*LISTED}
