"""What a person says of an entry or of a loan: from which state it leads where, and what it says when it does not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.outbox import (
    adoption,
    closing,
    listing,
    mirror,
    mirror_table,
    query,
    settlement,
    store,
    table,
    warned_call,
)
from kiva_relay.outbox.adoption import Adoption
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource.refusal import Refusal
from testbed.rig import outboxes as suite
from testbed.rig.outboxes import later

LOAN = "000000871"
JUDGED = Ending("refused", body_complete=True, status=422, detail="no")


def newest(outbox: Outbox, identity: str = LOAN) -> Entry:
    with outbox.read() as tx:
        found = query.stand(tx, "loan_draft", identity).newest
    assert found is not None
    return found


def in_state(outbox: Outbox, state: State) -> Entry:
    """An entry that came into a state by the road that leads there."""
    match state:
        case State.WAITING:
            suite.put(outbox, waits="incomplete", body=None)
        case State.REFUSED:
            suite.put(outbox)
            batch = suite.claim(outbox)
            assert batch is not None
            suite.end(outbox, batch, JUDGED, EntryVerdict(State.REFUSED, refusals=(Refusal("kiva_said_no"),)))
        case State.SENDING:
            suite.put(outbox)
            suite.claim(outbox)
        case State.IN_DOUBT:
            suite.put(outbox)
            suite.lose(outbox)
        case State.DELIVERED:
            suite.put(outbox)
            suite.deliver(outbox)
        case State.DISCARDED:
            suite.put(outbox)
            settle(outbox, "discard")
        case _:
            suite.put(outbox)
    return newest(outbox)


def settle(outbox: Outbox, verb: Any, *, seconds: float = 9) -> Entry:
    with outbox.begin() as tx:
        found = query.stand(tx, "loan_draft", LOAN).newest
        assert found is not None
        return settlement.settle(tx, found, verb, by="awa", note="looked", now=later(seconds))


LEADS = {
    (State.READY, "delivered"): State.DELIVERED,
    (State.WAITING, "delivered"): State.DELIVERED,
    (State.REFUSED, "delivered"): State.DELIVERED,
    (State.IN_DOUBT, "delivered"): State.DELIVERED,
    (State.DISCARDED, "delivered"): State.DELIVERED,
    (State.REFUSED, "resend"): State.READY,
    (State.IN_DOUBT, "resend"): State.READY,
    (State.DELIVERED, "resend"): State.WITHDRAWN,
    (State.DISCARDED, "resend"): State.WITHDRAWN,
    (State.READY, "discard"): State.DISCARDED,
    (State.WAITING, "discard"): State.DISCARDED,
    (State.REFUSED, "discard"): State.DISCARDED,
    (State.IN_DOUBT, "discard"): State.DISCARDED,
}


@pytest.mark.parametrize("verb", ["delivered", "resend", "discard"])
@pytest.mark.parametrize(
    "state",
    [State.READY, State.WAITING, State.REFUSED, State.SENDING, State.IN_DOUBT, State.DELIVERED, State.DISCARDED],
)
def test_where_a_word_leads(outbox: Outbox, state: State, verb: str) -> None:
    before = in_state(outbox, state)
    assert before.state is state
    if (state, verb) not in LEADS:
        with pytest.raises(errors.UsageError, match=f"--{verb} does not apply") as refused:
            settle(outbox, verb)
        assert refused.value.hint == f"kiva-relay outbox show {before.id}"
        assert newest(outbox) == before
        return
    found = settle(outbox, verb)
    assert found.state is LEADS[state, verb]
    assert found == newest(outbox)
    with outbox.read() as tx:
        acts = tx.execute(sa.select(table.act).order_by(table.act.c.id.desc())).first()
    assert acts is not None
    assert (acts.person, acts.verb, acts.about, acts.note) == (
        "awa",
        f"settle --{verb}",
        {"entry": before.id, "was": state.value},
        "looked",
    )
    expected = {"delivered": ("person", {"note": "looked"})}.get(verb)
    if expected is not None:
        assert (found.evidence, found.receipt) == expected


def test_what_is_sent_again_is_due_now_and_may_be_repeated_anew(outbox: Outbox) -> None:
    in_state(outbox, State.IN_DOUBT)
    found = settle(outbox, "resend", seconds=90)
    assert (found.due_at, found.repeats, found.reason) == (later(90), 0, None)


def test_a_refusal_of_our_own_checks_has_no_bytes_to_send(outbox: Outbox) -> None:
    suite.put(outbox, body=None, refusals=(Refusal("name_empty"),))
    with pytest.raises(errors.UsageError, match="does not apply"):
        settle(outbox, "resend")


def test_a_number_that_was_another_rows_is_taken_as_new(outbox: Outbox) -> None:
    suite.put(outbox, body=None, refusals=(Refusal("id_used_twice"),))
    assert settle(outbox, "resend").state is State.WITHDRAWN


# ---------------------------------------------------------------- what was typed into PA2


def adopt(outbox: Outbox, *loans: str) -> settlement.Adopted:
    with outbox.begin() as tx:
        return settlement.adopt(tx, loans, by="awa", note="typed", now=later(9))


def test_each_loan_of_a_list_is_what_it_is(outbox: Outbox) -> None:
    suite.put(outbox, "sending")
    suite.claim(outbox)
    suite.put(outbox, "sent")
    suite.deliver(outbox)
    suite.put(outbox, "doubt")
    suite.lose(outbox)
    suite.put(outbox, "doubt", '{"amount":2}', seconds=2)
    suite.put(outbox, "owed")
    done = adopt(outbox, "sending", "sent", "doubt", "owed", "unknown")
    assert (done.being_sent, done.known, done.noted) == (("sending",), ("sent",), ("unknown",))
    assert sorted(entry.identity for entry in done.moved) == ["doubt", "owed"]
    assert suite.states(outbox, "doubt") == ["delivered", "withdrawn"]
    assert suite.states(outbox, "sending") == ["sending"]
    found = newest(outbox, "unknown")
    assert (found.state, found.evidence, found.origin) == (State.DELIVERED, "person", "person")
    again = adopt(outbox, "unknown", "owed")
    assert (again.known, again.moved, again.noted) == (("unknown", "owed"), (), ())


def test_a_draft_of_two_borrowers_is_adopted_under_either_id(outbox: Outbox) -> None:
    suite.put(outbox, "group", '{"entreps":[{"loan_id":"A"},{"loan_id":"B"}]}')
    done = adopt(outbox, "A", "B")
    assert [entry.identity for entry in done.moved] == ["group"]
    assert done.noted == ()


# ---------------------------------------------------------------- what Kiva lists


def listed(outbox: Outbox, *loans: MirroredLoan, complete: bool = True) -> None:
    with outbox.begin() as tx:
        number = mirror.begin_refresh(tx, now=later(1))
        mirror.keep(tx, number, mirror.others(tx, loans))
        if complete:
            mirror.drop(tx, number, mirror.lacking_in(tx, {loan.kiva_id for loan in loans})[0])
        mirror.end_refresh(tx, number, complete=complete, listed=len(loans), detail=None, now=later(2))


def rows(outbox: Outbox) -> dict[str, tuple[str, int]]:
    columns = mirror_table.mirror.c
    with outbox.read() as tx:
        found = tx.execute(sa.select(columns.kiva_id, columns.status, columns.first_seen))
        return {row.kiva_id: (row.status, row.first_seen) for row in found}


def test_only_what_a_reading_says_otherwise_is_written(outbox: Outbox) -> None:
    a, b, c = (MirroredLoan(f"k{one}", one, "c", "issue", "10", "XOF") for one in "ABC")
    listed(outbox, a, b)
    with outbox.read() as tx:
        assert mirror.others(tx, []) == mirror.others(tx, [a, b]) == []
        assert mirror.lacking_in(tx, {"kA", "kB"}) == ([], None)
        moved, unknown = dataclasses.replace(b, status="raised"), dataclasses.replace(a, amount=None)
        assert mirror.others(tx, [moved, c]) == [moved, c]
        assert mirror.lacking_in(tx, {"kB", "kC"}) == (["kA"], None)
        assert mirror.others(tx, [unknown, b]) == [unknown]


def test_what_a_list_lacks_is_looked_for_in_pages(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Kiva lists nothing, all that is known is missing: it is not held in memory at once."""
    listed(outbox, *(MirroredLoan(f"k{number}", str(number), "c", "issue") for number in range(5)))
    monkeypatch.setattr(mirror, "_PAGE", 2)
    with outbox.read() as tx:
        assert mirror.lacking_in(tx, {"k1"}) == (["k0"], "k1")
        assert mirror.lacking_in(tx, {"k1"}, after="k1") == (["k2", "k3"], "k3")
        assert mirror.lacking_in(tx, {"k1"}, after="k3") == (["k4"], None)


def test_what_a_broken_reading_missed_stays_until_a_whole_one_lacks_it(outbox: Outbox) -> None:
    a, b = (MirroredLoan(f"k{one}", one, "c", "issue") for one in "AB")
    listed(outbox, a, b)
    listed(outbox, b, complete=False)
    assert rows(outbox) == {"kA": ("issue", 1), "kB": ("issue", 1)}
    listed(outbox, a, b)
    assert rows(outbox) == {"kA": ("issue", 1), "kB": ("issue", 1)}
    listed(outbox, b, complete=False)
    listed(outbox, b)
    assert rows(outbox) == {"kB": ("issue", 1)}


def test_drafts_that_kiva_has_are_found_by_any_of_their_ids(outbox: Outbox) -> None:
    suite.put(outbox, "group", '{"entreps":[{"loan_id":"A"},{"loan_id":"B"}]}')
    suite.put(outbox, "gone")
    suite.put(outbox, "noted")
    suite.put(outbox, "free")
    with outbox.begin() as tx:
        store.put_by_hand(tx, "by hand", note="typed", now=later(1))
    listed(outbox, MirroredLoan("k1", "B", "", "issue"), MirroredLoan("k2", "gone", "", "deleted"))
    with outbox.read() as tx:
        drafts = list(query.drafts(tx))
        assert adoption.of_entries(tx, drafts) == {drafts[0].id: Adoption({"kiva_id": "k1", "status": "issue"})}
        assert adoption.found(tx, {"x": ["free", "by hand"], "y": ["free"]}) == {"x": Adoption({"note": "typed"})}
        assert query.by_hand(tx, ["by hand", *(str(number) for number in range(1_000))]) == {"by hand": "typed"}


def test_what_is_adopted_says_by_what(outbox: Outbox) -> None:
    entry = suite.put(outbox, waits="incomplete")
    assert entry is not None
    with outbox.begin() as tx:
        found = store.adopt(tx, entry, Adoption({"kiva_id": "k"}), Actor.RECONCILER, now=later(4))
    assert found == newest(outbox)
    assert (found.state, found.evidence, found.receipt) == (State.DELIVERED, "adopted", {"kiva_id": "k"})
    assert (found.reason, found.settled_at) == (None, later(4))


def test_while_an_older_version_is_in_flight_nothing_is_adopted(outbox: Outbox) -> None:
    suite.put(outbox)
    suite.lose(outbox)
    suite.put(outbox, LOAN, '{"amount":2}', adopted={"kiva_id": "k"}, seconds=2)
    assert suite.states(outbox) == ["in_doubt", "waiting"]
    listed(outbox, MirroredLoan("k", LOAN, "", "issue"))
    with outbox.read() as tx:
        assert adoption.of_entries(tx, list(query.drafts(tx))) == {}


def test_only_a_complete_reading_forgets_what_is_no_longer_listed(outbox: Outbox) -> None:
    listed(outbox, MirroredLoan("k1", "A", "c", "payingBack", "10", "XOF"), MirroredLoan("k2", "B", "", "issue"))
    listed(outbox, MirroredLoan("k2", "B", "", "raised"), complete=False)
    with outbox.read() as tx:
        assert {loan.status for loan in mirror.by_loan_id(tx, ["A", "B"]).values()} == {"payingBack", "raised"}
        assert list(mirror.expected(tx)) == ["A"]
    listed(outbox, MirroredLoan("k2", "B", "", "defaulted"))
    with outbox.read() as tx:
        assert mirror.by_loan_id(tx, ["A"]) == {}
        assert list(mirror.expected(tx)) == ["B"]


def test_of_two_loans_with_one_id_the_one_that_is_paid_back_is_meant(outbox: Outbox) -> None:
    for first, second in (("payingBack", "issue"), ("issue", "payingBack")):
        listed(outbox, MirroredLoan("k1", "A", "", first), MirroredLoan("k2", "A", "", second))
        with outbox.read() as tx:
            assert mirror.by_loan_id(tx, ["A"])["A"].status == "payingBack"


# ---------------------------------------------------------------- a problem of a whole call


def warned(outbox: Outbox, *identities: str, resource: str = "repayment") -> list[Entry]:
    """They go in one call, which Kiva accepts with a problem that is none of theirs."""
    for identity in identities:
        suite.put(outbox, identity, resource=resource, period="2026-10" if resource == "repayment" else "")
    batch = suite.claim(outbox, resource, limit=9)
    assert batch is not None
    said = [{"severity": "error", "details": "the file is damaged"}]
    ending = dataclasses.replace(suite.ACCEPTED, problems=said)
    receipt = {"upload_id": 88121} if resource == "repayment" else {"loan_draft_uuid": "u"}
    return suite.end(outbox, batch, ending, EntryVerdict(State.DELIVERED, receipt, evidence="warned"))


def calls(outbox: Outbox) -> list[tuple[str, list[str], list[str]]]:
    with outbox.read() as tx:
        return [(one.number, one.words, [entry.identity for entry in one.entries]) for one in warned_call.calls(tx)]


def test_a_problem_of_a_call_is_one_question_and_a_yes_answers_it(outbox: Outbox) -> None:
    entries = warned(outbox, "A", "B")
    assert calls(outbox) == [("88121", ["the file is damaged"], ["A", "B"])]
    with outbox.begin() as tx:
        assert [one.identity for one in warned_call.of_the_same_call(tx, entries[1])] == ["A", "B"]
        for entry in entries:
            seen = settlement.settle(tx, entry, "delivered", by="awa", note="there", now=later(9))
            assert (seen.state, seen.evidence) == (State.DELIVERED, "person")
            assert seen.receipt == {"upload_id": 88121, "note": "there"}
    assert calls(outbox) == []
    with outbox.read() as tx:
        assert {one.evidence for one in listing.entries_in_order(tx)} == {"person"}


def test_a_position_of_such_a_call_is_sent_again_on_a_persons_word(outbox: Outbox) -> None:
    (entry,) = warned(outbox, "A")
    with outbox.begin() as tx:
        settlement.settle(tx, entry, "resend", by="awa", note="not there", now=later(9))
    assert calls(outbox) == []
    suite.put(outbox, "A", resource="repayment", period="2026-10", seconds=10)
    assert suite.states(outbox, "A", "repayment") == ["withdrawn", "ready"]


def test_what_kiva_accepted_before_is_sent_again_after_a_call_that_a_person_did_not_find(outbox: Outbox) -> None:
    suite.put(outbox, "A", '{"amount":1}', resource="repayment", period="2026-10")
    suite.deliver(outbox, "repayment")
    suite.put(outbox, "A", '{"amount":2}', resource="repayment", period="2026-10")
    (entry,) = warned(outbox)
    with outbox.begin() as tx:
        settlement.settle(tx, entry, "resend", by="awa", note="not there", now=later(9))
    suite.put(outbox, "A", '{"amount":1}', resource="repayment", period="2026-10", seconds=10)
    assert suite.states(outbox, "A", "repayment") == ["delivered", "withdrawn", "ready"]


def test_a_newer_position_goes_meanwhile_and_answers_the_question(outbox: Outbox) -> None:
    warned(outbox, "A")
    suite.put(outbox, "A", '{"amount":2}', resource="repayment", period="2026-10", seconds=5)
    assert suite.states(outbox, "A", "repayment") == ["delivered", "ready"]
    assert len(calls(outbox)) == 1
    suite.deliver(outbox, "repayment")
    assert calls(outbox) == []


def test_what_was_accepted_without_a_problem_is_not_seen_once_more(outbox: Outbox) -> None:
    suite.put(outbox, "A")
    (entry,) = suite.deliver(outbox)
    with outbox.begin() as tx, pytest.raises(errors.UsageError, match="--delivered does not apply"):
        settlement.settle(tx, entry, "delivered", by="awa", note="there", now=later(9))


def test_a_problem_of_a_call_does_not_end_by_being_marked_as_done(outbox: Outbox) -> None:
    (entry,) = warned(outbox, "A")
    with outbox.begin() as tx, pytest.raises(errors.UsageError, match="only a decision ends that"):
        settlement.done(tx, entry, by="awa", note="", now=later(9))


def test_what_is_unknown_when_its_report_closed_is_shown_until_somebody_has_seen_it(outbox: Outbox) -> None:
    suite.put(outbox, "A", resource="repayment", period="2026-10", amount="150")
    doubt = suite.lose(outbox, "repayment")
    with outbox.begin() as tx:
        closed = closing.close(tx, doubt, reason="window_closed", now=later(9))
        assert [(one.sent, one.before) for one in listing.closed_unknown(tx)] == [("150", None)]
        assert settlement.done(tx, closed, by="awa", note="", now=later(10))
        assert listing.closed_unknown(tx) == []
