"""Ids are compared by their key: what Kiva lists, what persons said, what waits. What differs in case only is asked."""

from __future__ import annotations

import pytest

from kiva_relay.delivery import reconciler
from kiva_relay.outbox import adoption, listing, mirror, query, settlement
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import State
from testbed.rig import outboxes as suite
from testbed.rig.outboxes import later

OURS = "KV/0001"


def listed(outbox: Outbox, *loan_ids: str, at: float = 0, status: str = "inactive") -> None:
    """Kiva's list is read, and what follows from it."""
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=later(at))
        mirror.keep(tx, refresh, [MirroredLoan(f"k{loan}", loan, "", status) for loan in loan_ids])
        mirror.end_refresh(tx, refresh, complete=True, listed=len(loan_ids), detail=None, now=later(at + 1))
        reconciler.adopt(tx, now=later(at + 1))
        reconciler.wake(tx, statuses=(status,), now=later(at + 1))


@pytest.mark.parametrize("at_kiva", ["KV/0001 ", "\u200bKV/0001", "KV/0001\u00a0"])
def test_what_was_typed_with_a_blank_behind_its_id_is_adopted(outbox: Outbox, at_kiva: str) -> None:
    suite.put(outbox, OURS)
    listed(outbox, at_kiva)
    assert suite.states(outbox, OURS) == ["delivered"]
    with outbox.read() as tx:
        assert mirror.by_loan_id(tx, [OURS])[OURS].loan_id == at_kiva, "echoed as Kiva spells it"


def test_what_a_person_noted_with_a_blank_is_the_same_loan(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        done = settlement.adopt(tx, [f"{OURS} "], by="awa", note="typed", now=later(0))
        assert done.noted == (f"{OURS} ",)
        assert adoption.found(tx, {1: [OURS]})[1].receipt == {"note": "typed"}
        assert settlement.adopt(tx, [OURS], by="awa", note="typed", now=later(0)).known == (OURS,)


def test_a_person_means_what_is_owed_however_she_spells_it(outbox: Outbox) -> None:
    suite.put(outbox, OURS)
    with outbox.begin() as tx:
        assert len(settlement.adopt(tx, [f" {OURS}"], by="awa", note="typed", now=later(0)).moved) == 1
    assert suite.states(outbox, OURS) == ["delivered"]


def test_a_journal_wakes_when_its_loan_is_listed_with_a_blank(outbox: Outbox) -> None:
    suite.put(outbox, "7", resource="journal", loan_id=OURS, waits="loan_not_at_kiva")
    listed(outbox, f"{OURS} ")
    assert suite.states(outbox, "7", "journal") == ["ready"]


def test_a_loan_that_differs_in_case_only_is_a_question(outbox: Outbox) -> None:
    suite.put(outbox, OURS)
    suite.put(outbox, "other")
    listed(outbox, "kv/0001")
    assert (suite.states(outbox, OURS), suite.states(outbox, "other")) == (["waiting"], ["ready"])
    with outbox.read() as tx:
        [(entry, ids)] = listing.perhaps_at_kiva(tx)
    assert (entry.reason, ids) == ("perhaps_at_kiva", ["kv/0001"])
    with outbox.begin() as tx:
        settlement.settle(tx, entry, "resend", by="awa", note="another loan", now=later(9))
    listed(outbox, "kv/0001", at=20)
    assert suite.states(outbox, OURS) == ["ready"], "she was asked, and Kiva has nothing new"


def test_a_person_says_that_it_is_the_same_loan(outbox: Outbox) -> None:
    suite.put(outbox, OURS)
    listed(outbox, "kv/0001")
    with outbox.begin() as tx:
        (entry,) = query.versions(tx, "loan_draft", OURS)
        assert settlement.settle(tx, entry, "delivered", by="awa", note="same", now=later(9)).state is State.DELIVERED


def test_what_a_person_noted_in_other_letters_is_a_question_too(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        settlement.adopt(tx, ["kv/0001"], by="awa", note="typed", now=later(0))
        assert adoption.found(tx, {1: [OURS]}) == {}
        assert adoption.perhaps(tx, [OURS])
        assert not adoption.perhaps(tx, ["kv/0001"])


def test_a_loan_is_found_by_an_id_as_somebody_types_it(outbox: Outbox) -> None:
    suite.put(outbox, OURS)
    with outbox.read() as tx:
        assert [one.loan_id for one in listing.of_loan(tx, "kv/0001 ")] == [OURS]


def test_a_published_loan_with_a_blank_is_not_to_be_published(outbox: Outbox) -> None:
    suite.put(outbox, OURS)
    suite.deliver(outbox)
    listed(outbox, f"{OURS} ", status="fundRaising")
    with outbox.read() as tx:
        assert listing.to_publish(tx) == []


def test_two_positions_of_one_loan_are_not_in_one_request(outbox: Outbox) -> None:
    for identity, loan in (("1", OURS), ("2", f"{OURS} ")):
        suite.put(outbox, identity, resource="repayment", period="2026-10", loan_id=loan)
    batch = suite.claim(outbox, "repayment", limit=9)
    assert batch is not None
    assert len(batch.entries) == 1
