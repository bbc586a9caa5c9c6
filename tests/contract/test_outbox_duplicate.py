"""A loan that may be owed twice, on both databases: what looks alike, who is asked, and what an answer does."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from kiva_relay import errors
from kiva_relay.account import line
from kiva_relay.account.line import LineKind, Situation
from kiva_relay.delivery import reconciler
from kiva_relay.outbox import duplicate, mirror, query, settlement, store, watermark
from kiva_relay.outbox.census import EntryGroup
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.duplicate import Likeness, Wanted
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import Actor, State
from testbed.rig.morning import captured
from testbed.rig.outboxes import deliver, later, owed

DAY = date(2026, 12, 3)
MINE = Likeness("L2", "L2", "C1", Decimal("250000.00"), "XOF", DAY, DAY)


def like(**changes: Any) -> Likeness:
    values = {name: getattr(MINE, name) for name in Likeness.__dataclass_fields__}
    return Likeness(**(values | {"loan_id": "L1", "identity": "L1"} | changes))


@pytest.mark.parametrize(
    ("other", "is_like"),
    [
        (like(), True),
        (like(amount=Decimal(250000)), True),
        (like(lent=DAY - timedelta(days=10)), True),
        (like(lent=DAY + timedelta(days=10)), True),
        (like(lent=DAY - timedelta(days=11)), False),
        (like(lent=DAY + timedelta(days=11)), False),
        (like(lent=None, known=DAY - timedelta(days=10)), True),
        (like(lent=None, known=DAY - timedelta(days=11)), False),
        (like(currency=""), True),
        (like(currency="USD"), False),
        (like(client_id="C2"), False),
        (like(amount=Decimal(250001)), False),
        (like(loan_id=" L2", identity="x"), False),
        (like(identity="L2"), False),
    ],
)
def test_one_client_one_amount_within_ten_days(other: Likeness, is_like: bool) -> None:  # noqa: FBT001
    assert duplicate.probable(MINE, [other]) == ((other,) if is_like else ())


def test_without_a_client_nothing_is_like_anything() -> None:
    nobody = like(client_id="", loan_id="L3", identity="L3")
    assert duplicate.probable(nobody, [like(client_id="")]) == ()


# ---------------------------------------------------------------- who is asked


def put(outbox: Outbox, loan: str, **changes: Any) -> Entry:
    body = f'{{"entreps":[{{"amount":250000,"client_id":"C1","loan_id":"{loan}"}}]}}'
    given: dict[str, Any] = {"client_id": "C1", "amount": "250000", "currency": "XOF", "publish_by": DAY} | changes
    with outbox.begin() as tx:
        entry = store.owe(tx, owed(loan, body, **given), now=later(0))
        assert entry is not None
        watermark.keep(tx, captured(entry), new=True)
    return entry


def wanted(loan: str = "L2", **changes: Any) -> Wanted:
    given: dict[str, Any] = {
        "client_id": "C1",
        "amount": "250000.00",
        "currency": "XOF",
        "publish_by": DAY,
        "ids": (loan,),
    } | changes
    return Wanted(loan, loan, **given)


def asked(outbox: Outbox, what: Wanted | None = None, **more: Any) -> tuple[str, ...]:
    with outbox.read() as tx:
        return duplicate.asked(tx, what or wanted(), now=later(60), **more)


def lists(outbox: Outbox, *loans: MirroredLoan, seconds: float = 10) -> int:
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=later(seconds))
        mirror.keep(tx, refresh, loans)
        mirror.end_refresh(tx, refresh, complete=True, listed=len(loans), detail=None, now=later(seconds + 1))
    return refresh


def at_kiva(loan: str, status: str = "payingBack", **changes: Any) -> MirroredLoan:
    given: dict[str, Any] = {"client_id": "C1", "status": status, "amount": "250000", "currency": "XOF"} | changes
    return MirroredLoan(f"k{loan}", loan, **given)


def test_another_draft_is_asked_about_in_each_state_in_which_it_goes(outbox: Outbox) -> None:
    put(outbox, "L1")
    assert asked(outbox) == ("L1",)
    deliver(outbox)
    assert asked(outbox) == ("L1",)
    assert asked(outbox, wanted(client_id="C2")) == ()
    assert asked(outbox, wanted(client_id="")) == ()
    assert asked(outbox, wanted(amount=None)) == ()
    assert asked(outbox, wanted("L1")) == (), "it is itself"


@pytest.mark.parametrize("ends", ["left_scope", "discard"])
def test_what_does_not_go_is_no_twin(outbox: Outbox, ends: str) -> None:
    entry = put(outbox, "L1")
    with outbox.begin() as tx:
        if ends == "discard":
            settlement.settle(tx, entry, "discard", by="awa", note="", now=later(1))
        else:
            store.left_scope(tx, "loan_draft", "L1", reason="left_scope", now=later(1))
    assert asked(outbox) == ()


def test_two_never_wait_for_each_other(outbox: Outbox) -> None:
    put(outbox, "L1")
    put(outbox, "L2", waits=duplicate.PROBABLE)
    assert asked(outbox, wanted("L1")) == ()
    assert asked(outbox, wanted("L2")) == ("L1",)


def test_what_was_sent_is_not_asked_about_any_more(outbox: Outbox) -> None:
    put(outbox, "L2")
    deliver(outbox)
    put(outbox, "L1")
    assert asked(outbox, wanted("L2")) == ()


def test_a_loan_that_kiva_lists_since_is_asked_about(outbox: Outbox) -> None:
    lists(outbox, at_kiva("OLD"), at_kiva("NEW", "fundRaising"))
    assert asked(outbox) == ("NEW",), "when an old one was posted is not known"
    second = lists(outbox, at_kiva("OLD"), at_kiva("NEW", "fundRaising"), at_kiva("TYPED"), seconds=20)
    assert asked(outbox) == ("NEW", "TYPED")
    assert asked(outbox, since=second) == ("TYPED",)
    assert asked(outbox, wanted(ids=("TYPED", "NEW"))) == (), "it is the draft's own"
    lists(outbox, at_kiva("TYPED", "deleted"), seconds=30)
    assert "TYPED" not in asked(outbox)


def test_a_draft_that_is_ready_waits_when_kiva_lists_its_like(outbox: Outbox) -> None:
    entry = put(outbox, "L2")
    lists(outbox)
    lists(outbox, at_kiva("TYPED"), seconds=20)
    with outbox.begin() as tx:
        reconciler.adopt(tx, now=later(30))
        found = query.find(tx, entry.id)
        again = watermark.to_read_again(tx, entry.stream, limit=5)
    assert found is not None
    assert (found.state, found.reason) == (State.WAITING, duplicate.PROBABLE)
    assert again == [entry.key]


# ---------------------------------------------------------------- the answer


def answer(outbox: Outbox, entry: Entry) -> None:
    with outbox.begin() as tx:
        found = query.find(tx, entry.id)
        assert found is not None
        duplicate.answer(tx, found, by="awa", note="two stalls", now=later(5))


def test_an_answer_is_a_row_and_moves_nothing(outbox: Outbox) -> None:
    put(outbox, "L1")
    entry = put(outbox, "L2", waits=duplicate.PROBABLE)
    with outbox.read() as tx:
        assert [(one.id, others) for one, others in duplicate.waiting(tx, now=later(1))] == [(entry.id, ("L1",))]
    answer(outbox, entry)
    with outbox.read() as tx:
        assert query.find(tx, entry.id) == entry, "the relay turns it into a move, nobody else"
        assert duplicate.waiting(tx, now=later(6)) == []
        assert watermark.to_read_again(tx, entry.stream, limit=5) == [entry.key]
    with pytest.raises(errors.UsageError, match="does not wait"):
        answer(outbox, entry)
    assert asked(outbox) == ()
    assert asked(outbox, wanted("L1")) == (), "it is said of both"


def test_an_answer_binds_to_what_it_was_about(outbox: Outbox) -> None:
    put(outbox, "L1")
    put(outbox, "L3", amount="300000")
    entry = put(outbox, "L2", waits=duplicate.PROBABLE)
    answer(outbox, entry)
    assert asked(outbox) == ()
    assert asked(outbox, wanted(amount="300000")) == ("L3",)
    put(outbox, "L4")
    assert asked(outbox) == ("L4",), "another one, that nobody spoke of"
    answer(outbox, entry)
    assert asked(outbox) == ()


def test_a_command_says_the_same_and_it_stays_said(outbox: Outbox) -> None:
    put(outbox, "L1")
    entry = put(outbox, "L2", waits=duplicate.PROBABLE)
    with outbox.begin() as tx:
        settled = settlement.settle(tx, entry, "resend", by="root", note="another loan", now=later(5))
    assert settled.state is State.READY
    assert asked(outbox) == ()


def test_what_waits_is_a_decision_in_the_account() -> None:
    group = EntryGroup(
        resource="loan_draft",
        state="waiting",
        reason=duplicate.PROBABLE,
        stream="loan_draft.individual",
        handled=False,
        overdue=False,
        number=1,
        reported=0,
        last_due=later(0),
    )
    now_is = Situation(holds=(), sends=True, period="", report_is_open=False)
    assert line.stand(group, now_is) == (LineKind.DECIDE, duplicate.PROBABLE)


def three(outbox: Outbox) -> tuple[Entry, Entry]:
    """Of one client and amount: the first goes, the two others wait."""
    put(outbox, "L1")
    return put(outbox, "L2", waits=duplicate.PROBABLE), put(outbox, "L3", waits=duplicate.PROBABLE)


def goes(outbox: Outbox, entry: Entry) -> None:
    """The relay has read the answer."""
    with outbox.begin() as tx:
        found = query.find(tx, entry.id)
        assert found is not None
        store.move(tx, found, State.READY, Actor.INTAKE, now=later(6), reason=None)


@pytest.mark.parametrize("first", [0, 1])
def test_of_three_that_are_alike_each_is_asked_about_once(outbox: Outbox, first: int) -> None:
    entries = three(outbox)
    one, other = entries[first], entries[1 - first]
    answer(outbox, one)
    answer(outbox, other)
    goes(outbox, one)
    assert asked(outbox, wanted(other.loan_id)) == (), "she answered before the relay had read the first answer"
    with outbox.read() as tx:
        assert duplicate.waiting(tx, now=later(7)) == []
    put(outbox, "L4")
    assert asked(outbox, wanted(other.loan_id)) == ("L4",), "a new draft, of which nobody has spoken"


def test_of_three_that_are_alike_she_sees_all_that_her_answer_is_about(outbox: Outbox) -> None:
    second, third = three(outbox)
    with outbox.read() as tx:
        shown = {one.id: others for one, others in duplicate.waiting(tx, now=later(1))}
    assert shown == {second.id: ("L1", "L3"), third.id: ("L1", "L2")}
    answer(outbox, second)
    with outbox.read() as tx:
        assert [(one.id, others) for one, others in duplicate.waiting(tx, now=later(6))] == [(third.id, ("L1",))]
