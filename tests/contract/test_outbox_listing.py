"""What persons ask the outbox, on both databases: lists, counts, and the life of one entry."""

from __future__ import annotations

from datetime import date

import pytest

from kiva_relay import errors
from kiva_relay.outbox import history, hold, listing, mirror, query, sending, settlement, store
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.listing import Filter
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource.refusal import Refusal
from testbed.rig.outboxes import later, owed

GROUP = (
    '{"activity_id":45,"entreps":[{"amount":1,"loan_id":"000000872"},{"amount":1,"loan_id":"000000873"}],'
    '"internal_loan_id":"G-12"}'
)


def put(outbox: Outbox, identity: str, body: str | None = '{"amount":1}', **changes: object) -> Entry:
    with outbox.begin() as tx:
        entry = store.owe(tx, owed(identity, body, **changes), now=later(0))
    assert entry is not None
    return entry


def send(
    outbox: Outbox, resource: str, verdict: EntryVerdict, *, outcome: str = "accepted", seconds: float = 1
) -> Entry:
    """Send the first due entry of a resource; it as it stands then."""
    ending = Ending(outcome, body_complete=True, status=200 if outcome == "accepted" else None, detail="said")
    with outbox.begin() as tx:
        due = query.due(tx, resource, limit=1, now=later(seconds))
        batch = sending.claim(tx, resource, due, fence=1, now=later(seconds), request=lambda b: b[0].encode())
        assert batch is not None
        return sending.end(tx, batch, ending, {batch.entries[0].id: verdict}, by=Actor.COURIER, now=later(seconds))[0]


def accept(outbox: Outbox, resource: str = "loan_draft", *, seconds: float = 1, **receipt: str) -> Entry:
    given = receipt or {"loan_draft_uuid": "6f1c"}
    return send(outbox, resource, EntryVerdict(State.DELIVERED, receipt=dict(given)), seconds=seconds)


def lose(outbox: Outbox, resource: str = "loan_draft") -> Entry:
    return send(outbox, resource, EntryVerdict(State.IN_DOUBT, reason="answer_lost"), outcome="in_doubt")


def kiva_lists(outbox: Outbox, *loans: mirror.MirroredLoan) -> None:
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=later(50))
        mirror.keep(tx, refresh, loans)
        mirror.end_refresh(tx, refresh, complete=True, listed=len(loans), detail=None, now=later(51))


def ids(page: listing.EntryPage) -> list[str]:
    return [entry.loan_id for entry in page.entries]


def test_what_presses_stands_first_and_bodies_stay_where_they_are(outbox: Outbox) -> None:
    put(outbox, "lost")
    lose(outbox)
    put(outbox, "sent")
    accept(outbox)
    put(outbox, "ready")
    put(outbox, "refused", None, refusals=(Refusal("name_empty", "entreps[0].first_name"),))
    put(outbox, "waiting", waits="incomplete")
    with outbox.read() as tx:
        page = listing.entries(tx, Filter())
        assert ids(page) == ["lost", "refused", "waiting", "ready", "sent"]
        assert all(entry.body is None for entry in page.entries)
        assert listing.entries(tx, Filter(), limit=2).total == 5
        assert ids(listing.entries(tx, Filter(), limit=2)) == ["lost", "refused"]


def test_filters_may_be_combined(outbox: Outbox) -> None:
    refused = (Refusal("name_empty", "entreps[0].first_name"),)
    first = put(outbox, "a", None, refusals=refused)
    put(outbox, "b", None, refusals=(Refusal("missing", "currency"),))
    put(outbox, "c", None, refusals=refused, resource="journal")
    put(outbox, "d", waits="incomplete")
    with outbox.read() as tx:
        assert ids(listing.entries(tx, Filter(reason="name_empty"))) == ["a", "c"]
        assert ids(listing.entries(tx, Filter(reason="name_empty", resource="journal"))) == ["c"]
        assert ids(listing.entries(tx, Filter(reason="incomplete"))) == ["d"]
        assert ids(listing.entries(tx, Filter(reason="name_%"))) == []
        assert ids(listing.entries(tx, Filter(numbers=[first.id]))) == ["a"]
        assert ids(listing.entries(tx, Filter(states={State.WAITING}))) == ["d"]
        assert ids(listing.entries(tx, Filter(since=later(1)))) == []


def test_a_loan_is_found_by_its_own_id_and_a_group_by_a_members(outbox: Outbox) -> None:
    put(outbox, "G-12", GROUP)
    put(outbox, "note-1", resource="journal", loan_id="G-12", waits="loan_not_at_kiva")
    with outbox.read() as tx:
        assert [entry.resource for entry in listing.of_loan(tx, "G-12")] == ["loan_draft", "journal"]
        assert [entry.loan_id for entry in listing.of_loan(tx, "000000873")] == ["G-12"]
        assert listing.of_loan(tx, "873") == []


def test_an_id_without_its_zeros_names_those_that_may_be_meant(outbox: Outbox) -> None:
    put(outbox, "000000871")
    put(outbox, "000000072")
    with outbox.read() as tx:
        assert listing.loans_like(tx, "871") == ["000000871"]
        assert listing.loans_like(tx, "000871 ") == ["000000871"]
        assert listing.loans_like(tx, "%") == []
        assert listing.loans_like(tx, "0") == []


def test_the_life_of_an_entry_holds_attempts_acts_and_versions(outbox: Outbox) -> None:
    put(outbox, "000000871")
    entry = lose(outbox)
    with outbox.begin() as tx:
        settlement.settle(tx, entry, "resend", by="awa", note="not in Drafts", now=later(60))
    sent = accept(outbox, seconds=61)
    kiva_lists(outbox)
    with outbox.read() as tx:
        life = history.of_entry(tx, sent)
    assert [(tried.outcome, tried.entries, tried.detail) for tried in life.attempts] == [
        ("in_doubt", 1, "said"),
        ("accepted", 1, "said"),
    ]
    assert [(act.person, act.verb, act.note) for act in life.acts] == [("awa", "settle --resend", "not in Drafts")]
    assert [version.id for version in life.versions] == [sent.id]
    assert life.looked_at == later(50)


def test_an_act_of_entry_12_is_not_one_of_entry_1(outbox: Outbox) -> None:
    for number in range(1, 13):
        put(outbox, f"loan {number}")
    with outbox.begin() as tx:
        last = query.find(tx, 12)
        assert last is not None
        settlement.settle(tx, last, "discard", by="awa", note="no", now=later(1))
        assert history.acts(tx, 1) == []
        assert len(history.acts(tx, 12)) == 1


def test_counts_and_deliveries_by_resource(outbox: Outbox) -> None:
    put(outbox, "a")
    accept(outbox)
    put(outbox, "b")
    put(outbox, "c")
    with outbox.read() as tx:
        assert listing.counts(tx)["loan_draft"] == {State.DELIVERED: 1, State.READY: 2}
        assert listing.counts(tx)["journal"] == {}
        assert listing.unsettled(tx)["loan_draft"] == {State.READY: 2}
        assert listing.delivered(tx, since=later(0)) == {"loan_draft": 1}
        assert listing.delivered(tx, since=later(2)) == {}
        assert listing.delivered(tx, since=later(0), until=later(1)) == {}


def test_a_hold_shows_what_it_keeps_back(outbox: Outbox) -> None:
    put(outbox, "a")
    put(outbox, "b", stream="loan_draft.group")
    put(outbox, "c", resource="journal")
    put(outbox, "d", waits="incomplete")
    with outbox.begin() as tx:
        hold.put(tx, "loan_draft", "brake", now=later(1))
        hold.put(tx, "stream:loan_draft.group", "mis_went_back", now=later(2))
    with outbox.read() as tx:
        kept = listing.kept_back(tx)
        assert [(one.hold.reason, dict(one.ready)) for one in kept] == [
            ("brake", {"loan_draft": 2}),
            ("mis_went_back", {"loan_draft": 1}),
        ]
        assert listing.held(tx) == {"loan_draft": 2}
        assert ids(listing.entries(tx, Filter(held=True))) == ["a", "b"]
    with outbox.begin() as tx:
        hold.put(tx, "all", "first_start", now=later(3))
    with outbox.read() as tx:
        assert listing.held(tx) == {"journal": 1, "loan_draft": 2}


def test_nothing_is_held_without_a_hold(outbox: Outbox) -> None:
    put(outbox, "a")
    with outbox.read() as tx:
        assert listing.held(tx) == {}
        assert listing.entries(tx, Filter(held=True)).total == 0


def test_drafts_to_publish_stand_by_their_last_day_until_kiva_lists_them_published(outbox: Outbox) -> None:
    put(outbox, "late", publish_by=date(2026, 12, 20))
    accept(outbox)
    put(outbox, "soon", '{"description":"…","entreps":[]}', publish_by=date(2026, 12, 4))
    accept(outbox)
    put(outbox, "G-12", GROUP)
    accept(outbox)
    put(outbox, "gone")
    accept(outbox, loan_draft_uuid="deleted-one")
    with outbox.read() as tx:
        found = listing.to_publish(tx)
    assert [draft.entry.loan_id for draft in found] == ["soon", "late", "G-12", "gone"]
    assert "image_encoded" in found[0].needed
    assert "description" not in found[0].needed
    kiva_lists(
        outbox,
        mirror.MirroredLoan("k1", "soon", "c", "fundRaising"),
        mirror.MirroredLoan("k2", "000000873", "c", "payingBack"),
        mirror.MirroredLoan("deleted-one", "gone", "c", "deleted"),
        mirror.MirroredLoan("k3", "late", "c", "inactive"),
    )
    with outbox.read() as tx:
        assert [draft.entry.loan_id for draft in listing.to_publish(tx)] == ["late"]


def test_a_draft_that_the_mis_cancelled_is_to_be_deleted_not_published(outbox: Outbox) -> None:
    put(outbox, "000000640")
    sent = accept(outbox)
    with outbox.begin() as tx:
        store.left_scope(tx, "loan_draft", "000000640", reason="left_scope", now=later(5))
    with outbox.read() as tx:
        assert listing.to_publish(tx) == []
        (divergence,) = history.open_divergences(tx)
        assert (divergence.entry.loan_id, divergence.kind) == ("000000640", "left_scope")
    with outbox.begin() as tx:
        assert settlement.done(tx, sent, by="awa", note="", now=later(6))
    with outbox.read() as tx:
        assert history.open_divergences(tx) == []
        assert listing.to_publish(tx) == []
        assert history.of_entry(tx, sent).divergences[0].ended_by == "awa"


def test_an_acknowledged_change_leaves_the_draft_to_be_published(outbox: Outbox) -> None:
    put(outbox, "000000871")
    sent = accept(outbox)
    with outbox.begin() as tx:
        store.owe(tx, owed("000000871", '{"amount":2}'), now=later(5))
        assert not settlement.done(tx, sent, by="awa", note="", now=later(6))
        assert [draft.entry.id for draft in listing.to_publish(tx)] == [sent.id]
        with pytest.raises(store.Overtaken):  # who clicks twice has not seen what the second click would answer
            settlement.done(tx, sent, by="awa", note="", now=later(7))
        seen = query.find(tx, sent.id)
        assert seen is not None
        assert settlement.done(tx, seen, by="awa", note="", now=later(7))
        assert listing.to_publish(tx) == []
        now_done = query.find(tx, sent.id)
        assert now_done is not None
        with pytest.raises(errors.UsageError, match="nothing to mark as done"):
            settlement.done(tx, now_done, by="awa", note="", now=later(8))


def test_a_doubt_is_not_done_by_saying_so(outbox: Outbox) -> None:
    put(outbox, "000000871")
    lost = lose(outbox)
    with outbox.begin() as tx, pytest.raises(errors.UsageError, match="only a decision ends that"):
        settlement.done(tx, lost, by="awa", note="", now=later(6))


def test_journals_to_confirm_until_they_are_done(outbox: Outbox) -> None:
    put(outbox, "note-1", resource="journal", loan_id="000000233")
    sent = accept(outbox, "journal", archive_id="a", confirm_url="https://kiva.example/1")
    put(outbox, "note-2", resource="journal", loan_id="000000234")
    accept(outbox, "journal", archive_id="b")
    with outbox.read() as tx:
        assert [entry.loan_id for entry in listing.to_confirm(tx)] == ["000000233"]
    with outbox.begin() as tx:
        settlement.done(tx, sent, by="awa", note="", now=later(6))
        assert listing.to_confirm(tx) == []


def test_positions_that_a_person_decides_come_with_the_last_one_taken(outbox: Outbox) -> None:
    put(outbox, "000000412", resource="repayment", amount="180000", period="2026-10")
    accept(outbox, "repayment", upload_id="1")
    put(outbox, "000000412", '{"amount":150000}', resource="repayment", amount="150000", waits="position_fell")
    put(outbox, "000000413", resource="repayment", waits="incomplete")
    with outbox.read() as tx:
        (fallen,) = listing.decisions(tx)
        before = query.last_delivered(tx, "repayment", fallen.identity, before=fallen.version)
    assert before is not None
    assert (fallen.amount, before.amount) == ("150000", "180000")


def test_what_ended_before_it_was_sent_is_counted(outbox: Outbox) -> None:
    put(outbox, "a")
    put(outbox, "a", '{"amount":2}')
    with outbox.begin() as tx:
        store.left_scope(tx, "loan_draft", "a", reason="left_scope", now=later(1))
    with outbox.read() as tx:
        assert listing.ended_unsent(tx, State.SUPERSEDED, since=later(0)) == {"loan_draft": 1}
        assert listing.ended_unsent(tx, State.WITHDRAWN, since=later(0)) == {"loan_draft": 1}
        assert listing.ended_unsent(tx, State.WITHDRAWN, since=later(2)) == {}


def test_drafts_that_may_expire_before_they_are_sent(outbox: Outbox) -> None:
    put(outbox, "b", publish_by=date(2026, 12, 9))
    put(outbox, "a", publish_by=date(2026, 12, 4))
    put(outbox, "c")
    with outbox.read() as tx:
        assert [entry.loan_id for entry in listing.expiring(tx)] == ["a", "b"]
        assert listing.refused(tx) == []
