"""A clock that is set makes nothing wait for less, and nothing for days, on both databases."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.clock import SteadyClock
from kiva_relay.delivery import reconciler
from kiva_relay.outbox import clock_step, meta, mirror, query, sending, store, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from testbed.rig.outboxes import NOW, owed
from testbed.rig.set_clock import SetClock

SETTLE_AFTER = timedelta(minutes=15)
BY = [timedelta(days=6), timedelta(days=-6), timedelta(minutes=20), timedelta(minutes=-20)]
LOST = Ending("in_doubt", body_complete=True, status=None, detail="ReadTimeout")
TAKEN = Ending("accepted", body_complete=True, status=200, detail=None)


@dataclasses.dataclass
class Relay:
    """What the relay does with its outbox, by its own hour; `machine` is the clock that somebody sets."""

    outbox: Outbox

    def __post_init__(self) -> None:
        self.machine = SetClock(NOW)
        self.starts()

    def starts(self, boot: str = "one") -> bool:
        self.hour = SteadyClock(self.machine)
        with self.outbox.begin() as tx:
            return clock_step.recall(tx, self.hour, boot=boot)

    def follows(self) -> bool:
        return clock_step.follow(self.outbox, self.hour, boot="one")

    def owes(self, identity: str, *, after: timedelta = timedelta(0), **changes: Any) -> None:
        with self.outbox.begin() as tx:
            now = self.hour.now()
            store.owe(tx, owed(identity, due_at=now + after, **changes), now=now)

    def sends(self, ending: Ending = LOST, resource: str = "loan_draft") -> None:
        verdict = EntryVerdict(State.IN_DOUBT if ending is LOST else State.DELIVERED)
        with self.outbox.begin() as tx:
            due, now = query.due(tx, resource, limit=1, now=self.hour.now()), self.hour.now()
            batch = sending.claim(tx, resource, due, fence=1, now=now, request=lambda _: b"")
            assert batch is not None
        self.machine.passes(1)
        with self.outbox.begin() as tx:
            verdicts = {entry.id: verdict for entry in batch.entries}
            sending.end(tx, batch, ending, verdicts, by=Actor.COURIER, now=self.hour.now())
        self.machine.passes(1)

    def reads_the_list(self, *loans: str) -> None:
        with self.outbox.begin() as tx:
            number = mirror.begin_refresh(tx, now=self.hour.now())
            mirror.keep(tx, number, [MirroredLoan(f"k{loan}", loan, "", "inactive") for loan in loans])
        self.machine.passes(1)
        with self.outbox.begin() as tx:
            mirror.end_refresh(tx, number, complete=True, listed=len(loans), detail=None, now=self.hour.now())

    def settles(self) -> list[str]:
        with self.outbox.begin() as tx:
            moved = reconciler.settle(
                tx, settle_after=SETTLE_AFTER, drafts_visible=True, open_period="2026-11", now=self.hour.now()
            )
        return [f"{entry.identity} {entry.state}" for entry in moved]

    def due(self, resource: str = "loan_draft") -> list[str]:
        with self.outbox.read() as tx:
            return [entry.identity for entry in query.due(tx, resource, limit=9, now=self.hour.now())]


@pytest.fixture
def relay(outbox: Outbox) -> Relay:
    return Relay(outbox)


def set_clock(relay: Relay, by: timedelta, *, restarts: bool) -> None:
    relay.machine.is_set(by)
    if restarts:
        relay.starts()
    else:
        assert relay.follows()
        assert not relay.follows()
    assert abs((relay.hour.now() - relay.machine.now()).total_seconds()) < 1


@pytest.mark.parametrize("restarts", [False, True], ids=["runs", "restarted"])
@pytest.mark.parametrize("by", BY, ids=str)
def test_what_rests_rests_as_long_as_it_would_have(relay: Relay, by: timedelta, *, restarts: bool) -> None:
    relay.owes("A", after=timedelta(minutes=10))
    relay.owes("B")
    relay.machine.passes(300)
    set_clock(relay, by, restarts=restarts)
    assert relay.due() == ["B"]
    relay.machine.passes(299)
    assert relay.due() == ["B"]
    relay.machine.passes(2)
    assert relay.due() == ["A", "B"]


@pytest.mark.parametrize("restarts", [False, True], ids=["runs", "restarted"])
@pytest.mark.parametrize("by", BY, ids=str)
def test_a_position_in_doubt_is_repeated_after_the_time_that_passed(
    relay: Relay, by: timedelta, *, restarts: bool
) -> None:
    relay.owes("A", resource="repayment", period="2026-11")
    relay.sends(resource="repayment")
    relay.machine.passes(599)
    set_clock(relay, by, restarts=restarts)
    relay.machine.passes(299)
    assert not relay.settles()
    relay.machine.passes(2)
    assert relay.settles() == ["A ready"]


@pytest.mark.parametrize("restarts", [False, True], ids=["runs", "restarted"])
@pytest.mark.parametrize("by", BY, ids=str)
def test_a_list_that_was_read_too_early_proves_nothing(relay: Relay, by: timedelta, *, restarts: bool) -> None:
    """A list of one minute after the lost answer looked six days later than it, and proved that nothing had arrived."""
    relay.reads_the_list()
    relay.owes("A")
    relay.sends()
    relay.machine.passes(30)
    set_clock(relay, by, restarts=restarts)
    relay.owes("B")
    relay.sends(TAKEN)
    relay.machine.passes(30)
    relay.reads_the_list("B")
    relay.machine.passes(1000)
    assert not relay.settles()
    relay.owes("C")
    relay.sends(TAKEN)
    relay.reads_the_list("B", "C")
    assert relay.settles() == ["A ready"]


@pytest.mark.parametrize("by", BY, ids=str)
def test_what_was_listed_before_is_no_proof_and_what_is_new_is(relay: Relay, by: timedelta) -> None:
    relay.reads_the_list()
    relay.machine.passes(60)
    relay.reads_the_list("A")
    relay.machine.passes(60)
    for identity in ("A", "B"):
        relay.owes(identity)
        relay.sends()
    set_clock(relay, by, restarts=False)
    relay.reads_the_list("A", "B")
    assert relay.settles() == ["B delivered"]


def test_a_machine_that_was_started_anew_and_is_days_behind(relay: Relay) -> None:
    """Its clock has no battery. What the outbox knows to have been has not come yet: so the clock went back."""
    relay.owes("A", resource="repayment", period="2026-11")
    relay.sends(resource="repayment")
    relay.owes("B", after=timedelta(minutes=10))
    relay.reads_the_list()
    relay.machine.is_set(timedelta(days=-6))
    assert relay.starts(boot="two")
    assert not relay.starts(boot="two")
    relay.machine.passes(901)
    assert relay.due() == ["B"]
    assert relay.settles() == ["A ready"]


def test_while_the_outbox_cannot_be_written_the_hour_goes_on_as_before(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.owes("A", after=timedelta(minutes=10))
    relay.machine.is_set(timedelta(days=6))
    before = relay.hour.now()

    def fails(*_args: object) -> None:
        raise errors.OutboxAway("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(meta.STEADY_TIME.__class__, "put", fails)
        with pytest.raises(errors.OutboxAway):
            relay.follows()
    assert relay.hour.now() == before
    assert not relay.due()
    assert relay.follows()
    assert not relay.due()


def test_what_is_settled_keeps_its_moments(relay: Relay) -> None:
    relay.owes("A")
    relay.sends(TAKEN)
    before = moments(relay)
    for _ in range(60):
        relay.owes(f"B{_}")
        relay.sends(TAKEN)
    set_clock(relay, timedelta(days=6), restarts=False)
    assert moments(relay) == before


def moments(relay: Relay) -> list[Any]:
    with relay.outbox.read() as tx:
        entry = tx.execute(sa.select(table.entry.c.due_at).where(table.entry.c.identity == "A")).all()
        attempt = tx.execute(
            sa.select(table.attempt.c.started_at, table.attempt.c.ended_at).where(table.attempt.c.id == 1)
        )
        return [*entry, *attempt.all()]
