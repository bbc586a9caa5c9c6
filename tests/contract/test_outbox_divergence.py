"""What was sent is compared for ever: also when its row no longer maps, and when only a person knows that it arrived."""

from __future__ import annotations

from typing import Any

from kiva_relay.outbox import divergence, history, meta, query, settlement, store
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import State
from kiva_relay.resource.refusal import Refusal
from testbed.rig import outboxes as suite
from testbed.rig.outboxes import later

LOAN = "000000871"
SENT = '{"amount":1,"entreps":[{"first_name":"Awa"}],"location":"Dakar"}'
NAMELESS = Refusal("name_empty", "entreps[0].first_name")
FAR = Refusal("disbursal_too_far", "disburse_time", {"days": "120"})


def divergences(outbox: Outbox) -> list[tuple[list[str], list[str]]]:
    """The open ones: the fields, and the reasons why the row no longer maps."""
    with outbox.read() as tx:
        found = history.open_divergences(tx)
    return [([field["field"] for field in one.fields], [reason.code for reason in one.reasons]) for one in found]


def refused(outbox: Outbox, *reasons: Refusal, seconds: float = 20, **more: Any) -> None:
    suite.put(outbox, LOAN, None, refusals=reasons, seconds=seconds, **more)


def delivered(outbox: Outbox) -> None:
    suite.put(outbox, LOAN, SENT)
    suite.deliver(outbox)


def test_a_row_that_no_longer_maps_says_why(outbox: Outbox) -> None:
    delivered(outbox)
    refused(outbox, NAMELESS)
    assert divergences(outbox) == [([], ["name_empty"])]
    suite.put(outbox, LOAN, SENT, seconds=30)
    assert divergences(outbox) == []


def test_a_refused_field_does_not_hide_the_others(outbox: Outbox) -> None:
    delivered(outbox)
    refused(outbox, NAMELESS, partial='{"amount":2,"entreps":[{}],"location":"Thies"}')
    assert divergences(outbox) == [(["amount", "location"], ["name_empty"])]


def test_a_field_that_was_made_and_is_refused_all_the_same_is_shown(outbox: Outbox) -> None:
    suite.put(outbox, LOAN, '{"disburse_time":"2026-11-25"}')
    suite.deliver(outbox)
    refused(outbox, FAR, partial='{"disburse_time":"2027-03-25"}')
    assert divergences(outbox) == [(["disburse_time"], ["disbursal_too_far"])]


def test_what_a_person_has_seen_is_not_asked_again_the_next_day(outbox: Outbox) -> None:
    delivered(outbox)
    refused(outbox, FAR)
    with outbox.begin() as tx:
        settlement.done(tx, query.versions(tx, "loan_draft", LOAN)[0], by="awa", note="", now=later(25))
    refused(outbox, Refusal("disbursal_too_far", "disburse_time", {"days": "119"}), seconds=30)
    assert divergences(outbox) == []
    refused(outbox, FAR, NAMELESS, seconds=40)
    assert divergences(outbox) == [([], ["disbursal_too_far", "name_empty"])]


def test_that_time_passes_is_no_difference(outbox: Outbox) -> None:
    delivered(outbox)
    refused(outbox, Refusal("disbursed_too_long_ago", "disburse_time", {"days": "31"}), partial=SENT)
    assert divergences(outbox) == []


def test_what_is_incomplete_after_it_was_sent_is_told(outbox: Outbox) -> None:
    delivered(outbox)
    suite.put(outbox, LOAN, None, waits="incomplete", seconds=20)
    assert divergences(outbox) == [([], ["incomplete"])]


def test_lists_that_were_not_read_yet_are_no_difference(outbox: Outbox) -> None:
    delivered(outbox)
    suite.put(outbox, LOAN, None, waits="lists_unknown", seconds=20)
    assert divergences(outbox) == []


def test_another_row_under_the_number_is_not_compared(outbox: Outbox) -> None:
    delivered(outbox)
    refused(outbox, Refusal("id_used_twice", "", {"identity": LOAN, "other": "871"}), comparable=False)
    assert divergences(outbox) == []


def seen_by_a_person(outbox: Outbox, lost: Entry) -> None:
    with outbox.begin() as tx:
        settlement.settle(tx, lost, "delivered", by="awa", note="seen", now=later(30))


def test_a_correction_made_while_a_draft_was_in_doubt_is_told_when_a_person_finds_the_draft(outbox: Outbox) -> None:
    suite.put(outbox, LOAN, SENT)
    lost = suite.lose(outbox)
    suite.put(outbox, LOAN, SENT.replace("1", "2"), seconds=20)
    seen_by_a_person(outbox, lost)
    assert divergences(outbox) == [(["amount"], [])]


def test_so_is_one_after_which_it_no_longer_maps(outbox: Outbox) -> None:
    suite.put(outbox, LOAN, SENT)
    lost = suite.lose(outbox)
    refused(outbox, NAMELESS)
    seen_by_a_person(outbox, lost)
    assert divergences(outbox) == [([], ["name_empty"])]


def test_and_one_that_is_made_later(outbox: Outbox) -> None:
    suite.put(outbox, LOAN, SENT)
    seen_by_a_person(outbox, suite.lose(outbox))
    suite.put(outbox, LOAN, SENT.replace("1", "2"), seconds=40)
    assert divergences(outbox) == [(["amount"], [])]


def test_what_was_typed_by_hand_was_not_ours_and_is_not_compared(outbox: Outbox) -> None:
    entry = suite.put(outbox, LOAN, SENT)
    assert entry is not None
    seen_by_a_person(outbox, entry)
    suite.put(outbox, LOAN, SENT.replace("1", "2"), seconds=40)
    assert divergences(outbox) == []


def test_a_problem_of_its_call_does_not_end_the_comparing(outbox: Outbox) -> None:
    suite.put(outbox, LOAN, SENT)
    batch = suite.claim(outbox)
    assert batch is not None
    verdict = EntryVerdict(State.DELIVERED, {"loan_draft_uuid": "u"}, evidence="warned")
    suite.end(outbox, batch, suite.ACCEPTED, verdict)
    suite.put(outbox, LOAN, SENT.replace("1", "2"), seconds=20)
    assert divergences(outbox) == [(["amount"], [])]
    with outbox.begin() as tx:
        assert store.purge(tx, before=later(99), now=later(99)) == 1


# ---------------------------------------------------------------- after its body was deleted


def purged(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        store.purge(tx, before=later(99), now=later(99))


def test_a_body_that_was_deleted_is_compared_by_the_hashes_of_its_fields(outbox: Outbox) -> None:
    delivered(outbox)
    purged(outbox)
    suite.put(outbox, LOAN, SENT.replace("1", "1.00"), seconds=100)
    assert divergences(outbox) == []
    suite.put(outbox, LOAN, SENT.replace("1", "2").replace("Awa", "Aminata"), seconds=110)
    with outbox.read() as tx:
        (found,) = history.open_divergences(tx)
        kept = query.versions(tx, "loan_draft", LOAN)[0].hashes
    assert [(one["field"], one["was"], one["is"]) for one in found.fields] == [
        ("amount", "deleted on 2026-11-23", "2"),
        ("entreps[0].first_name", "deleted on 2026-11-23", "Aminata"),
    ]
    assert "Awa" not in str(kept)


def test_hashes_of_two_outboxes_are_not_alike(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        first = divergence.hashes(tx, SENT, now=later(1))
        meta.HASH_KEY.put(tx, "another")
        assert divergence.hashes(tx, SENT, now=later(1)) != first


def test_what_a_person_has_seen_stays_seen_when_the_body_is_deleted(outbox: Outbox) -> None:
    delivered(outbox)
    suite.put(outbox, LOAN, SENT.replace("1", "2"), seconds=20)
    with outbox.begin() as tx:
        settlement.done(tx, query.versions(tx, "loan_draft", LOAN)[0], by="awa", note="", now=later(25))
    purged(outbox)
    suite.put(outbox, LOAN, SENT.replace("1", "2"), seconds=100)
    assert divergences(outbox) == []
    suite.put(outbox, LOAN, SENT.replace("1", "3"), seconds=110)
    assert divergences(outbox) == [(["amount"], [])]


def test_nothing_of_a_person_stays_in_a_divergence_whose_body_was_deleted(outbox: Outbox) -> None:
    delivered(outbox)
    refused(outbox, Refusal("code_unknown", "gender", {"value": "Awa"}), partial=SENT.replace("Awa", "Aminata"))
    purged(outbox)
    with outbox.read() as tx:
        (found,) = history.open_divergences(tx)
    assert [one["field"] for one in found.fields] == ["entreps[0].first_name"]
    assert "Awa" not in str(found.fields) + str(found.reasons)
    assert "Aminata" not in str(found.fields)


def test_the_body_of_a_doubt_goes_too_and_then_only_a_person_sends_it_again(outbox: Outbox) -> None:
    suite.put(outbox, LOAN, SENT)
    lost = suite.lose(outbox)
    purged(outbox)
    with outbox.begin() as tx:
        gone = query.find(tx, lost.id)
        assert gone is not None
        assert (gone.state, gone.body) == (State.IN_DOUBT, None)
        settlement.settle(tx, gone, "resend", by="awa", note="not there", now=later(120))
    assert suite.states(outbox, LOAN) == ["withdrawn"]
    suite.put(outbox, LOAN, SENT, seconds=130)
    assert suite.states(outbox, LOAN) == ["withdrawn", "ready"]


def test_the_body_that_kiva_refused_goes_too(outbox: Outbox) -> None:
    """It names a person, and stood there for ever."""
    suite.put(outbox, LOAN, SENT)
    batch = suite.claim(outbox)
    assert batch is not None
    kivas = Refusal("kiva_refused", "", {"said": "no"})
    ending = Ending("refused", body_complete=True, status=422, detail="no")
    (entry,) = suite.end(outbox, batch, ending, EntryVerdict(State.REFUSED, refusals=(kivas,)))
    assert entry.body is not None
    purged(outbox)
    with outbox.read() as tx:
        gone = query.find(tx, entry.id)
    assert gone is not None
    assert (gone.state, gone.body) == (State.REFUSED, None)
    # The same row owes nothing new by it: its fingerprint stays.
    suite.put(outbox, LOAN, SENT, seconds=130)
    assert suite.states(outbox, LOAN) == ["refused"]


def test_the_amount_of_a_position_is_kept(outbox: Outbox) -> None:
    suite.put(outbox, LOAN, resource="repayment", period="2026-10", amount="150")
    suite.deliver(outbox, "repayment")
    purged(outbox)
    with outbox.read() as tx:
        kept = query.versions(tx, "repayment", LOAN)[0]
    assert (kept.body, kept.amount, kept.period) == (None, "150", "2026-10")
