"""What the model and the simulation found, said once more at the store itself, on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.delivery import reconciler
from kiva_relay.outbox import mirror, query, sending, settlement, store, table, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.sending import Batch, Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource.refusal import Refusal
from testbed.rig.outboxes import NOW, later, owed

LOAN = "000000871"
SETTLE_AFTER = timedelta(minutes=15)
ENDINGS = {
    State.DELIVERED: (Ending("accepted", body_complete=True, status=200, detail=None), EntryVerdict(State.DELIVERED)),
    State.READY: (Ending("not_processed", body_complete=False, status=None, detail="reset"), EntryVerdict(State.READY)),
    State.IN_DOUBT: (
        Ending("in_doubt", body_complete=True, status=None, detail="ReadTimeout"),
        EntryVerdict(State.IN_DOUBT, reason="answer_lost"),
    ),
}


def put(outbox: Outbox, identity: str = LOAN, seconds: float = 0, **changes: Any) -> None:
    with outbox.begin() as tx:
        store.owe(tx, owed(identity, **changes), now=later(seconds))


def claim(outbox: Outbox, resource: str = "loan_draft", *, seconds: float = 0) -> Batch:
    with outbox.begin() as tx:
        due = query.due(tx, resource, limit=1, now=later(seconds))
        batch = sending.claim(tx, resource, due, fence=1, now=later(seconds), request=lambda b: ",".join(b).encode())
    assert batch is not None
    return batch


def end(outbox: Outbox, batch: Batch, state: State, *, seconds: float = 1) -> Entry:
    ending, verdict = ENDINGS[state]
    with outbox.begin() as tx:
        verdicts = {entry.id: verdict for entry in batch.entries}
        return sending.end(tx, batch, ending, verdicts, by=Actor.COURIER, now=later(seconds))[0]


def states(outbox: Outbox, resource: str = "loan_draft") -> list[str]:
    with outbox.read() as tx:
        return [entry.state.value for entry in reversed(query.versions(tx, resource, LOAN))]


def cancelled(outbox: Outbox) -> None:
    """The loan left the scope, as capture puts it down."""
    gone = Captured(
        "loan_draft.individual", LOAN.lstrip("0"), "loan_draft", LOAN, "h", in_scope=False, baselined=False,
        refused=False, again=False, created_at=None, scan_number=0, captured_at=NOW,
    )  # fmt: skip
    with outbox.begin() as tx:
        store.left_scope(tx, "loan_draft", LOAN, reason="left_scope", now=later(1))
        watermark.keep(tx, gone)


def listed(outbox: Outbox, *loans: str, seconds: float) -> None:
    """Kiva's list, read whole at that moment."""
    with outbox.begin() as tx:
        number = mirror.begin_refresh(tx, now=later(seconds))
        mirror.keep(tx, number, [MirroredLoan(f"k{loan}", loan, "", "inactive") for loan in loans])
        mirror.end_refresh(tx, number, complete=True, listed=len(loans), detail=None, now=later(seconds + 1))


def settled(outbox: Outbox, *, seconds: float) -> list[Entry]:
    with outbox.begin() as tx:
        return reconciler.settle(tx, settle_after=SETTLE_AFTER, drafts_visible=True, open_period="", now=later(seconds))


def test_a_draft_that_was_cancelled_while_it_was_sent_is_not_sent_again(outbox: Outbox) -> None:
    put(outbox)
    batch = claim(outbox)
    cancelled(outbox)
    end(outbox, batch, State.READY)
    assert states(outbox) == ["withdrawn"]


def test_nor_when_a_person_says_that_it_did_not_arrive(outbox: Outbox) -> None:
    put(outbox)
    lost = end(outbox, claim(outbox), State.IN_DOUBT)
    cancelled(outbox)
    with outbox.begin() as tx:
        settlement.settle(tx, lost, "resend", by="amina", note="not in Drafts", now=later(9))
    assert states(outbox) == ["withdrawn"]


def test_an_older_body_is_not_sent_when_the_newer_one_cannot_be_mapped(outbox: Outbox) -> None:
    put(outbox)
    batch = claim(outbox)
    put(outbox, body=None, refusals=(Refusal("name_empty", "entreps[0].first_name"),))
    end(outbox, batch, State.READY)
    assert states(outbox) == ["superseded", "refused"]


def test_a_refusal_of_what_is_at_kiva_already_is_nobodys_work(outbox: Outbox) -> None:
    put(outbox)
    batch = claim(outbox)
    put(outbox, body=None, refusals=(Refusal("name_empty", "entreps[0].first_name"),))
    end(outbox, batch, State.DELIVERED)
    assert states(outbox) == ["delivered", "withdrawn"]


def test_a_fallen_position_can_be_confirmed_after_the_older_one_was_settled(outbox: Outbox) -> None:
    position: dict[str, Any] = {"resource": "repayment", "period": "2026-10", "stream": "repayment"}
    put(outbox, body='{"amount":100}', **position)
    lost = end(outbox, claim(outbox, "repayment"), State.IN_DOUBT)
    put(outbox, body='{"amount":50}', waits="position_fell", **position)
    with outbox.begin() as tx:
        settlement.settle(tx, lost, "delivered", by="amina", note="in PA2", now=later(9))
        fallen = query.versions(tx, "repayment", LOAN)[0]
        settlement.settle(tx, fallen, "resend", by="amina", note="a reversal", now=later(10))
    assert states(outbox, "repayment") == ["delivered", "ready"]


@pytest.mark.parametrize("verb", ["delivered", "discard"])
def test_a_version_that_waits_is_not_settled_before_the_older_one(outbox: Outbox, verb: settlement.Verb) -> None:
    put(outbox)
    lost = end(outbox, claim(outbox), State.IN_DOUBT)
    put(outbox, body='{"amount":2}')
    with outbox.begin() as tx, pytest.raises(errors.UsageError, match=f"waits for entry {lost.id}"):
        settlement.settle(tx, query.versions(tx, "loan_draft", LOAN)[0], verb, by="amina", note="", now=later(9))


def test_what_a_person_deleted_in_pa2_is_not_taken_for_present_from_an_old_list(outbox: Outbox) -> None:
    put(outbox)
    delivered = end(outbox, claim(outbox), State.DELIVERED)
    listed(outbox, LOAN, seconds=5)
    with outbox.begin() as tx:
        settlement.settle(tx, delivered, "resend", by="amina", note="deleted in PA2", now=later(9))
        assert mirror.by_loan_id(tx, [LOAN]) == {}


def test_a_list_that_is_read_while_a_person_deletes_a_draft_does_not_count(outbox: Outbox) -> None:
    put(outbox)
    delivered = end(outbox, claim(outbox), State.DELIVERED)
    with outbox.begin() as tx:
        under_way = mirror.begin_refresh(tx, now=later(5))
        settlement.settle(tx, delivered, "resend", by="amina", note="deleted in PA2", now=later(9))
        assert mirror.is_overtaken(tx, under_way)
        assert not mirror.is_overtaken(tx, mirror.begin_refresh(tx, now=later(10)))


@pytest.mark.parametrize(("minutes", "state"), [(10, "in_doubt"), (16, "ready")])
def test_absence_is_proved_by_a_draft_that_was_sent_when_the_lost_one_could_no_longer_arrive(
    outbox: Outbox, minutes: int, state: str
) -> None:
    put(outbox)
    end(outbox, claim(outbox), State.IN_DOUBT)
    put(outbox, "control", seconds=minutes * 60, due_at=later(minutes * 60))
    control = claim(outbox, seconds=minutes * 60)
    end(outbox, control, State.DELIVERED, seconds=minutes * 60 + 1)
    listed(outbox, "control", seconds=20 * 60)
    settled(outbox, seconds=21 * 60)
    assert states(outbox) == [state]


def test_a_list_without_another_draft_of_ours_proves_nothing(outbox: Outbox) -> None:
    put(outbox)
    end(outbox, claim(outbox), State.IN_DOUBT)
    listed(outbox, seconds=20 * 60)
    assert settled(outbox, seconds=21 * 60) == []


def test_a_waiting_version_never_names_one_that_is_settled(outbox: Outbox) -> None:
    put(outbox)
    lost = end(outbox, claim(outbox), State.IN_DOUBT)
    put(outbox, body='{"amount":2}', waits="incomplete")
    with outbox.begin() as tx:
        settlement.settle(tx, lost, "resend", by="amina", note="not in Drafts", now=later(9))
        assert tx.execute(sa.select(table.entry.c.waits_for).where(table.entry.c.state == "waiting")).scalar() is None
