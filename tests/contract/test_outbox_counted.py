"""What is counted and looked up for status and lists, on both databases."""

from __future__ import annotations

from kiva_relay.outbox import listing, store, watermark
from kiva_relay.outbox.adoption import Adoption
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.listing import Filter
from kiva_relay.outbox.state import Actor, State
from testbed.rig.outboxes import NOW, deliver, later, put

GROUP = '{"entreps":[{"amount":1,"loan_id":"000000872"}],"internal_loan_id":"G-12"}'


def test_what_kiva_had_already_is_counted_apart(outbox: Outbox) -> None:
    for identity in ("a", "b"):
        had = put(outbox, identity)
        assert had is not None
        with outbox.begin() as tx:
            store.adopt(tx, had, Adoption({"kiva_id": "k"}), Actor.COURIER, now=later(1))
    put(outbox, "c")
    deliver(outbox)
    put(outbox, "d")
    with outbox.read() as tx:
        assert listing.delivered(tx, since=NOW) == {"loan_draft": 1}


def test_every_id_under_which_the_mis_knows_a_draft(outbox: Outbox) -> None:
    put(outbox, "owed", loan_id="owed as PA2 shows it")
    put(outbox, "a note", resource="journal", loan_id="of a note")
    with outbox.begin() as tx:
        store.put_by_hand(tx, "typed into PA2", note="", now=NOW)
        for key, identity, resource in (("1", "baselined", "loan_draft"), ("2", None, "loan_draft"), ("3", "n", "x")):
            seen = watermark.Captured(
                "s", key, resource, identity, "hash", in_scope=False, baselined=True, refused=False, again=False,
                created_at=None, scan_number=1, captured_at=NOW,
            )  # fmt: skip
            watermark.keep(tx, seen)
        assert listing.draft_ids(tx) == {"baselined", "owed as PA2 shows it"}


def test_the_mappings_that_were_ever_in_force(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        assert listing.streams(tx) == []
        for stream in ("repayment", "journal"):
            watermark.begin(tx, stream)
        assert listing.streams(tx) == ["journal", "repayment"]


def test_the_newest_version_says_how_an_identity_stands(outbox: Outbox) -> None:
    put(outbox, "a")
    put(outbox, "a", '{"amount":2}')
    put(outbox, "b")
    put(outbox, "b", '{"amount":2}', waits="incomplete")
    put(outbox, "a", resource="journal")
    many = [f"none {number}" for number in range(1_001)]
    with outbox.read() as tx:
        assert listing.latest_states(tx, "loan_draft", ["a", "b", *many]) == {"a": State.READY, "b": State.WAITING}
        assert listing.latest_states(tx, "journal", ["b"]) == {}


def test_entries_are_chosen_by_mapping_and_by_loan(outbox: Outbox) -> None:
    put(outbox, "G-12", GROUP, stream="loan_draft.group")
    put(outbox, "000000871")
    put(outbox, "note-1", resource="journal", loan_id="000000871")

    def chosen(which: Filter) -> list[str]:
        with outbox.read() as tx:
            return [entry.identity for entry in listing.entries(tx, which).entries]

    assert chosen(Filter(stream="loan_draft.group")) == ["G-12"]
    assert chosen(Filter(loan="000000871")) == ["000000871", "note-1"]
    assert chosen(Filter(loan="000000872")) == ["G-12"]
    assert chosen(Filter(loan="000000871", resource="journal")) == ["note-1"]
    assert chosen(Filter(loan="note-1")) == []


def test_a_draft_whose_body_was_deleted_long_ago_is_still_to_be_published(outbox: Outbox) -> None:
    put(outbox)
    deliver(outbox)
    with outbox.begin() as tx:
        store.purge(tx, before=later(60), now=later(60))
        (draft,) = listing.to_publish(tx)
    assert (draft.entry.identity, draft.needed, draft.warnings) == ("000000871", [], [])
