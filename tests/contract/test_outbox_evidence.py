"""What Kiva's list proves of a draft whose answer was lost, on both databases: presence, and absence with a control."""

from __future__ import annotations

from datetime import timedelta

from kiva_relay.delivery import reconciler
from kiva_relay.outbox import mirror, store
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import State
from testbed.rig.outboxes import ACCEPTED, LOST, claim, end, later, lose, put, states

LOAN = "000000871"
CONTROL = "000000900"
SETTLE_AFTER = 900


def lost(outbox: Outbox) -> None:
    """The draft of LOAN is in doubt; its attempt began at 0 and ended at 1."""
    put(outbox)
    lose(outbox)


def control_sent(outbox: Outbox, *, at: float) -> None:
    """Another draft of ours is sent, and accepted a second later."""
    put(outbox, CONTROL)
    batch = claim(outbox, seconds=at)
    assert batch is not None
    end(outbox, batch, ACCEPTED, EntryVerdict(State.DELIVERED, receipt={"loan_draft_uuid": "u"}), seconds=at + 1)


def listed(outbox: Outbox, *loans: str, at: float, status: str = "inactive", complete: bool = True) -> None:
    """Kiva's list is read."""
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=later(at))
        mirror.keep(tx, refresh, [mirror.MirroredLoan(f"k{loan}", loan, "", status) for loan in loans])
        mirror.end_refresh(tx, refresh, complete=complete, listed=len(loans), detail=None, now=later(at + 1))


def settle(outbox: Outbox, *, at: float = 9_999, visible: bool = True) -> str:
    """Look at what the list proves; the state in which LOAN's draft is then."""
    with outbox.begin() as tx:
        reconciler.settle(
            tx, settle_after=timedelta(seconds=SETTLE_AFTER), drafts_visible=visible, open_period="", now=later(at)
        )
    return states(outbox, LOAN)[-1]


def test_a_draft_that_appears_is_delivered(outbox: Outbox) -> None:
    listed(outbox, at=-60)
    lost(outbox)
    listed(outbox, LOAN, at=60)
    assert settle(outbox) == "delivered"


def test_what_only_the_witness_knows_is_delivered_when_kiva_has_it(outbox: Outbox) -> None:
    """A lost outbox knows no reading of before; what Kiva lists it would not send in any case."""
    with outbox.begin() as tx:
        store.put_in_doubt(tx, "loan_draft", LOAN, loan_id=LOAN, now=later(1))
    assert settle(outbox) == "in_doubt"
    listed(outbox, LOAN, at=60, status="fundRaising")
    assert settle(outbox) == "delivered"


def test_a_loan_that_was_there_before_proves_nothing(outbox: Outbox) -> None:
    listed(outbox, LOAN, at=-60, status="expired")
    lost(outbox)
    listed(outbox, LOAN, at=60, status="expired")
    assert settle(outbox) == "in_doubt"


def test_absence_counts_with_a_control(outbox: Outbox) -> None:
    lost(outbox)
    control_sent(outbox, at=1_000)
    listed(outbox, CONTROL, at=2_000)
    assert settle(outbox) == "ready"


def test_absence_without_a_control_proves_nothing(outbox: Outbox) -> None:
    """Kiva may not list drafts at all."""
    lost(outbox)
    listed(outbox, "000000001", at=2_000)
    assert settle(outbox) == "in_doubt"


def test_a_control_that_was_published_says_nothing_of_drafts(outbox: Outbox) -> None:
    lost(outbox)
    control_sent(outbox, at=1_000)
    listed(outbox, CONTROL, at=2_000, status="fundRaising")
    assert settle(outbox) == "in_doubt"


def test_a_control_that_was_sent_while_the_lost_one_could_still_arrive_proves_nothing(outbox: Outbox) -> None:
    lost(outbox)
    control_sent(outbox, at=300)
    listed(outbox, CONTROL, at=2_000)
    assert settle(outbox) == "in_doubt"


def test_a_list_that_was_not_read_whole_proves_no_absence(outbox: Outbox) -> None:
    lost(outbox)
    control_sent(outbox, at=1_000)
    listed(outbox, CONTROL, at=2_000, complete=False)
    assert settle(outbox) == "in_doubt"


def test_absence_never_counts_where_drafts_are_never_visible(outbox: Outbox) -> None:
    lost(outbox)
    control_sent(outbox, at=1_000)
    listed(outbox, CONTROL, at=2_000)
    assert settle(outbox, visible=False) == "in_doubt"


def test_a_strange_answer_of_success_is_never_sent_again_by_rule(outbox: Outbox) -> None:
    put(outbox)
    batch = claim(outbox)
    assert batch is not None
    end(outbox, batch, LOST, EntryVerdict(State.IN_DOUBT, reason="strange_answer"))
    control_sent(outbox, at=1_000)
    listed(outbox, CONTROL, at=2_000)
    assert settle(outbox) == "in_doubt"
