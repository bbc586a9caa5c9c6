"""The outbox, on both databases: what is owed, what is claimed, what became of it. One suite, two engines."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.delivery import reconciler
from kiva_relay.outbox import hold, query, sending, settlement, store, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource.refusal import Refusal
from testbed.rig.outboxes import LOST, NOT_SENT, NOW, claim, deliver, end, later, lose, put, states


def test_what_is_owed_becomes_ready_once(outbox: Outbox) -> None:
    assert put(outbox) is not None
    assert put(outbox) is None
    assert states(outbox) == ["ready"]


def test_a_correction_before_sending_takes_the_place_of_the_older_version(outbox: Outbox) -> None:
    put(outbox)
    put(outbox, body='{"amount":2}')
    assert states(outbox) == ["superseded", "ready"]
    batch = claim(outbox)
    assert batch is not None
    assert batch.request == b'{"amount":2}'


def test_a_refusal_keeps_every_reason_and_is_replaced_by_a_good_version(outbox: Outbox) -> None:
    reasons = (Refusal("name_empty", "entreps[0].first_name"), Refusal("missing", "currency"))
    refused = put(outbox, body=None, refusals=reasons)
    assert refused is not None
    assert tuple(refused.reasons) == reasons
    assert put(outbox, body=None, refusals=reasons) is None
    put(outbox)
    assert states(outbox) == ["superseded", "ready"]


def test_a_delivered_draft_is_never_owed_again_and_a_difference_is_a_divergence(outbox: Outbox) -> None:
    put(outbox)
    deliver(outbox)
    assert put(outbox) is None
    assert put(outbox, body='{"amount":2}') is None
    assert states(outbox) == ["delivered"]
    with outbox.read() as tx:
        (found,) = tx.execute(sa.select(table.divergence)).all()
    assert (found.kind, found.fields) == ("changed", [{"field": "amount", "was": "1", "is": "2"}])
    put(outbox)  # the MIS was corrected back
    with outbox.read() as tx:
        assert tx.execute(sa.select(table.divergence.c.ended_at)).scalar() is not None


def test_leaving_the_scope_withdraws_what_was_not_sent(outbox: Outbox) -> None:
    put(outbox)
    with outbox.begin() as tx:
        store.left_scope(tx, "loan_draft", "000000871", reason="left_scope", now=later(1))
    assert states(outbox) == ["withdrawn"]
    assert claim(outbox, seconds=9) is None
    put(outbox, seconds=10)
    assert states(outbox) == ["withdrawn", "ready"]


def test_leaving_the_scope_after_sending_is_the_gravest_divergence(outbox: Outbox) -> None:
    put(outbox)
    deliver(outbox)
    with outbox.begin() as tx:
        store.left_scope(tx, "loan_draft", "000000871", reason="left_scope", now=later(5))
        assert tx.execute(sa.select(table.divergence.c.kind)).scalar() == "left_scope"
    assert states(outbox) == ["delivered"]


def test_nothing_is_claimed_before_it_is_due(outbox: Outbox) -> None:
    put(outbox, due_at=later(60))
    assert claim(outbox, seconds=59) is None
    assert claim(outbox, seconds=60) is not None


def test_the_draft_with_the_nearest_last_day_goes_first(outbox: Outbox) -> None:
    put(outbox, "a")
    put(outbox, "b", publish_by=NOW.date())
    batch = claim(outbox)
    assert batch is not None
    assert batch.entries[0].identity == "b"


def test_what_was_surely_not_processed_is_ready_again(outbox: Outbox) -> None:
    put(outbox)
    batch = claim(outbox)
    assert batch is not None
    end(outbox, batch, NOT_SENT, EntryVerdict(State.READY, due_in=timedelta(seconds=29)))
    assert claim(outbox, seconds=29) is None
    assert claim(outbox, seconds=30) is not None


def test_a_doubt_is_not_claimed_and_a_newer_version_waits_behind_it(outbox: Outbox) -> None:
    put(outbox)
    lose(outbox)
    put(outbox, body='{"amount":2}')
    put(outbox, body='{"amount":3}')
    assert states(outbox) == ["in_doubt", "superseded", "waiting"]
    assert claim(outbox, seconds=9_999) is None


def test_a_doubt_settled_as_delivered_turns_the_newer_version_into_a_divergence(outbox: Outbox) -> None:
    put(outbox)
    lost = lose(outbox)
    put(outbox, body='{"amount":2}')
    with outbox.begin() as tx:
        settlement.settle(tx, lost, "delivered", by="amina", note="seen in Drafts", now=later(9))
        assert (
            tx.execute(sa.select(table.divergence.c.kind)).scalar() == "changed"
        )  # it was our body that the person saw
    assert states(outbox) == ["delivered", "withdrawn"]


def test_a_doubt_to_be_sent_again_gives_way_to_the_newer_version(outbox: Outbox) -> None:
    put(outbox)
    lost = lose(outbox)
    put(outbox, body='{"amount":2}')
    with outbox.begin() as tx:
        settlement.settle(tx, lost, "resend", by="amina", note="not in Drafts", now=later(9))
    assert states(outbox) == ["superseded", "ready"]


def test_a_doubt_that_must_not_go_out_takes_its_newer_version_along(outbox: Outbox) -> None:
    put(outbox)
    lost = lose(outbox)
    put(outbox, body='{"amount":2}')
    with outbox.begin() as tx:
        settlement.settle(tx, lost, "discard", by="amina", note="cancelled", now=later(9))
    assert states(outbox) == ["discarded", "withdrawn"]
    assert put(outbox, body='{"amount":4}') is None


def test_a_draft_deleted_in_pa2_is_owed_again_in_its_present_version(outbox: Outbox) -> None:
    put(outbox)
    (delivered,) = deliver(outbox)
    with outbox.begin() as tx:
        settlement.settle(tx, delivered, "resend", by="amina", note="deleted in PA2", now=later(9))
    put(outbox, body='{"amount":2}')
    assert states(outbox) == ["withdrawn", "ready"]


def test_a_person_cannot_touch_what_is_being_sent(outbox: Outbox) -> None:
    put(outbox)
    batch = claim(outbox)
    assert batch is not None
    with outbox.begin() as tx, pytest.raises(errors.UsageError, match="is sending"):
        settlement.settle(tx, batch.entries[0], "resend", by="amina", note="", now=later(9))


def test_a_move_on_an_entry_that_was_moved_meanwhile_fails_loudly(outbox: Outbox) -> None:
    first = put(outbox)
    assert first is not None
    claim(outbox)
    with pytest.raises(store.Overtaken), outbox.begin() as tx:
        store.move(tx, first, State.WITHDRAWN, Actor.INTAKE, now=later(1))


def test_the_database_refuses_a_second_delivery_of_a_draft(outbox: Outbox) -> None:
    put(outbox)
    deliver(outbox)
    with pytest.raises(sa.exc.IntegrityError), outbox.begin() as tx:
        tx.execute(
            sa.insert(table.entry).values(
                resource="loan_draft", identity="000000871", version=9, state="sending", stream="s", key="k",
                loan_id="l", origin="poll", due_at=NOW, created_at=NOW, changed_at=NOW, body="{}",
            )
        )  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        {"state": "sent"},
        {"state": "ready", "body": None},
        {"state": "delivered", "settled_at": NOW},
        {"state": "superseded"},
        {"state": "waiting"},
        {"state": "refused"},
        {"state": "ready", "period": "2026-10"},
        {"state": "ready", "resource": "loan"},
    ],
)
def test_the_database_refuses_illegal_rows(outbox: Outbox, values: dict[str, object]) -> None:
    row = {
        "resource": "loan_draft", "identity": "x", "version": 1, "stream": "s", "key": "k", "loan_id": "l",
        "origin": "poll", "due_at": NOW, "created_at": NOW, "changed_at": NOW, "body": "{}",
    } | values  # fmt: skip
    with pytest.raises(sa.exc.IntegrityError), outbox.begin() as tx:
        tx.execute(sa.insert(table.entry).values(**row))


def position(amount: int, *, period: str = "2026-10") -> dict[str, Any]:
    return {"body": f'{{"amount":{amount}}}', "resource": "repayment", "period": period, "stream": "repayment"}


def test_a_position_is_owed_again_when_it_differs_or_in_a_new_period(outbox: Outbox) -> None:
    put(outbox, **position(100))
    deliver(outbox, "repayment")
    assert put(outbox, **position(100)) is None
    assert put(outbox, **position(150)) is not None
    deliver(outbox, "repayment")
    assert put(outbox, **position(150, period="2026-11")) is not None
    assert states(outbox, resource="repayment") == ["delivered", "delivered", "ready"]


def test_a_position_that_went_there_and_back_is_not_sent(outbox: Outbox) -> None:
    put(outbox, **position(100))
    deliver(outbox, "repayment")
    put(outbox, **position(150))
    put(outbox, **position(100))
    assert states(outbox, resource="repayment") == ["delivered", "superseded"]


def test_a_position_that_may_have_arrived_is_corrected_although_the_last_answer_says_the_same(outbox: Outbox) -> None:
    put(outbox, **position(100))
    deliver(outbox, "repayment")
    put(outbox, **position(150))
    lose(outbox, "repayment")
    settle(outbox, seconds=16 * 60)
    put(outbox, **position(100))
    assert states(outbox, resource="repayment") == ["delivered", "superseded", "ready"]


def test_a_newer_position_waits_until_the_older_one_is_settled(outbox: Outbox) -> None:
    put(outbox, **position(100))
    lose(outbox, "repayment")
    put(outbox, **position(150))
    assert states(outbox, resource="repayment") == ["in_doubt", "waiting"]
    settle(outbox, seconds=60)
    assert states(outbox, resource="repayment") == ["in_doubt", "waiting"]
    settle(outbox, seconds=16 * 60)
    assert states(outbox, resource="repayment") == ["superseded", "ready"]


def settle(outbox: Outbox, *, seconds: float, visible: bool = True) -> list[Entry]:
    with outbox.begin() as tx:
        return reconciler.settle(
            tx, settle_after=timedelta(minutes=15), drafts_visible=visible, open_period="2026-10", now=later(seconds)
        )


def minutes_after_which_it_is_sent_again(outbox: Outbox) -> list[int]:
    """Lose each answer at once, and count the minutes until the position is ready again; until it no longer is."""
    found: list[int] = []
    now = 0
    while (batch := claim(outbox, "repayment", seconds=now)) is not None:
        end(outbox, batch, LOST, EntryVerdict(State.IN_DOUBT, reason="answer_lost"), seconds=now)
        waited = 0
        while waited < 3 * 1440 and not settle(outbox, seconds=now + waited * 60):
            waited += 15
        found.append(waited)
        now += waited * 60
    return found


def test_a_lost_position_is_sent_again_ever_more_seldom_and_six_times_at_most(outbox: Outbox) -> None:
    put(outbox, **position(100))
    *repeated, last = minutes_after_which_it_is_sent_again(outbox)
    assert repeated == [15, 60, 240, 1440, 1440, 1440]
    assert last == 3 * 1440
    assert states(outbox, resource="repayment") == ["in_doubt"]


def test_a_newer_position_goes_however_often_the_one_in_doubt_was_repeated(outbox: Outbox) -> None:
    put(outbox, **position(100))
    minutes_after_which_it_is_sent_again(outbox)
    put(outbox, **position(150), seconds=9 * 86_400)
    settle(outbox, seconds=9 * 86_400)
    assert states(outbox, resource="repayment") == ["superseded", "ready"]
    with outbox.read() as tx:
        assert query.versions(tx, "repayment", "000000871")[0].repeats == 6, "the six are of the period"


def test_what_is_in_doubt_is_not_sent_again_when_its_report_is_closed(outbox: Outbox) -> None:
    put(outbox, **position(100))
    lose(outbox, "repayment")
    with outbox.begin() as tx:
        moved = reconciler.settle(
            tx, settle_after=timedelta(minutes=15), drafts_visible=True, open_period=None, now=later(9_999)
        )
    assert moved == []


def test_a_batch_that_was_refused_as_a_whole_is_halved(outbox: Outbox) -> None:
    for number in range(4):
        put(outbox, f"loan {number}", **position(number + 1))
    batch = claim(outbox, "repayment", limit=10)
    assert batch is not None
    refused = Ending("refused", body_complete=True, status=400, detail="")
    end(outbox, batch, refused, EntryVerdict(State.READY, batch_cap=2))
    halves = [claim(outbox, "repayment", limit=10, seconds=2), claim(outbox, "repayment", limit=10, seconds=2)]
    assert [len(half.entries) for half in halves if half] == [2, 2]


def test_a_hold_lets_nothing_pass_but_its_allowance(outbox: Outbox) -> None:
    for number in range(3):
        put(outbox, f"loan {number}")
    with outbox.begin() as tx:
        hold.put(tx, "loan_draft", "asked", now=NOW)
    assert claim(outbox) is None
    with outbox.begin() as tx:
        hold.release(tx, "loan_draft", by="amina", note="two first", now=NOW, limit=2)
    assert claim(outbox) is not None
    assert claim(outbox) is not None
    assert claim(outbox) is None
    with outbox.begin() as tx:
        hold.release(tx, "loan_draft", by="amina", note="all", now=NOW)
    assert claim(outbox) is not None


def test_a_held_stream_keeps_its_entries_and_lets_others_go(outbox: Outbox) -> None:
    put(outbox, "a")
    put(outbox, "b", stream="loan_draft.group")
    with outbox.begin() as tx:
        hold.put(tx, "stream:loan_draft.individual", "mis_went_back", now=NOW)
    batch = claim(outbox)
    assert batch is not None
    assert batch.entries[0].identity == "b"
    assert claim(outbox) is None


def test_a_process_that_ended_while_sending_leaves_a_doubt(outbox: Outbox) -> None:
    put(outbox)
    batch = claim(outbox)
    assert batch is not None
    with outbox.begin() as tx:
        reconciler.recover(tx, witnessed=lambda _attempt: True, now=later(60))
    assert states(outbox) == ["in_doubt"]
    with outbox.begin() as tx:
        assert reconciler.recover(tx, witnessed=lambda _attempt: True, now=later(61)) == []


def test_an_attempt_that_the_witness_never_saw_had_not_begun_to_send(outbox: Outbox) -> None:
    put(outbox)
    claim(outbox)
    with outbox.begin() as tx:
        reconciler.recover(tx, witnessed=lambda _attempt: False, now=later(60))
    assert states(outbox) == ["ready"]


def test_a_body_settled_long_ago_is_deleted_and_still_not_owed_again(outbox: Outbox) -> None:
    put(outbox)
    put(outbox, "000000872")
    deliver(outbox)
    put(outbox, body='{"amount":2}')  # a divergence, which quotes both
    with outbox.begin() as tx:
        assert store.purge(tx, before=NOW, now=later(99)) == 0
        assert store.purge(tx, before=later(60), now=later(99)) == 2
        assert tx.execute(sa.select(table.entry.c.body)).scalars().all() == [None, None]
        ((one,),) = tx.execute(sa.select(table.divergence.c.fields)).scalars().all()
        assert (one["field"], one["was"], one["is"]) == ("amount", "deleted on 2026-11-23", "…")
    assert put(outbox) is None
    assert states(outbox) == ["delivered"]


QUOTES = Refusal("amount_not_positive", "entreps[0].amount", {"value": "-7 (Awa Diop)"})


def test_what_a_refusal_quotes_goes_with_the_bodies_and_is_not_refused_anew(outbox: Outbox) -> None:
    put(outbox, body=None, refusals=(QUOTES,))
    with outbox.begin() as tx:
        assert store.purge(tx, before=NOW, now=later(99)) == 0
        assert store.purge(tx, before=later(60), now=later(99)) == 1
        assert store.purge(tx, before=later(60), now=later(99)) == 0
        kept = tx.execute(sa.select(sa.type_coerce(table.entry.c.refusals, sa.Text))).scalar_one()
    assert "Awa" not in kept
    assert "amount_not_positive" in kept
    assert put(outbox, body=None, refusals=(QUOTES,)) is None
    other = put(outbox, body=None, refusals=(Refusal("amount_not_positive", "entreps[0].amount", {"value": "-8"}),))
    assert other is not None
    assert states(outbox) == ["superseded", "refused"]


def test_what_kiva_refused_and_whose_body_was_deleted_is_mapped_anew_on_a_persons_word(outbox: Outbox) -> None:
    put(outbox)
    batch = claim(outbox)
    assert batch is not None
    said = EntryVerdict(State.REFUSED, refusals=(Refusal("kiva_said_no", "", {"said": "Awa Diop is known"}),))
    end(outbox, batch, Ending("refused", body_complete=True, status=422, detail="Awa Diop is known"), said)
    with outbox.begin() as tx:
        assert store.purge(tx, before=later(60), now=later(99)) == 1
        assert sending.forget_words(tx, before=later(60)) == 1
        assert sending.forget_words(tx, before=later(60)) == 0
        assert tx.execute(sa.select(table.attempt.c.detail, table.attempt.c.outcome)).all() == [(None, "refused")]
        entry = query.stand(tx, "loan_draft", "000000871").newest
        assert entry is not None
        assert "Awa" not in str(entry.refusals)
        settlement.settle(tx, entry, "resend", by="amina", note="no longer", now=later(100))
    assert put(outbox) is not None
    assert states(outbox)[-1] == "ready"


def test_words_of_a_call_stay_until_a_person_has_looked(outbox: Outbox) -> None:
    put(outbox, resource="repayment", period="2026-11")
    batch = claim(outbox, "repayment")
    assert batch is not None
    problems = [{"loan_id": "", "severity": "error", "code": "E7", "details": "Awa Diop is not known"}]
    warned = EntryVerdict(State.DELIVERED, receipt={"upload_id": 7, "problems": problems}, evidence="warned")
    end(outbox, batch, Ending("accepted", body_complete=True, status=200, detail=None, problems=problems), warned)
    with outbox.begin() as tx:
        assert sending.forget_words(tx, before=later(60)) == 0
        entry = query.stand(tx, "repayment", "000000871").newest
        assert entry is not None
        settlement.settle(tx, entry, "delivered", by="amina", note="there", now=later(9))
        assert sending.forget_words(tx, before=later(60)) == 1
        assert store.purge(tx, before=later(60), now=later(99)) == 1
        kept = tx.execute(sa.select(sa.type_coerce(table.entry.c.receipt, sa.Text))).scalar_one()
    assert "Awa" not in kept
    assert "E7" in kept


def test_the_currency_of_a_draft_is_its_own(outbox: Outbox) -> None:
    """A position is worth what it says in the currency in which the loan was posted."""
    put(outbox, "000000871", currency="XOF")
    put(outbox, "000000872", currency="USD")
    put(outbox, "000000873", currency=None)
    deliver(outbox)
    put(outbox, "000000874", currency="GNF")
    with outbox.read() as tx:
        found = [query.currency_of_draft(tx, f"00000087{each}") for each in range(1, 6)]
    assert found == ["XOF", "USD", None, None, None]
