"""Each rule taken out of the real code: a history goes wrong. Which ones are tried is chosen by what the rule is for."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay.capture import expected
from kiva_relay.delivery import batch, breaker, outcome, reconciler, stop
from kiva_relay.delivery import mirror as listing
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.courier import Courier
from kiva_relay.delivery.outcome import Meaning, Outcome
from kiva_relay.outbox import clock_step, entry, mirror, query, recovery, store, table
from kiva_relay.outbox import state as machine
from kiva_relay.outbox.state import State
from kiva_relay.outbox.witness import Witness
from testbed.simulation import person, run
from testbed.simulation.run import Mood
from testbed.simulation.workshop import Workshop, workshop

pytestmark = pytest.mark.long

DRAFTS = Mood(trouble=0.4, kills=3, drafts_visible=True, lag=timedelta(0), switch=0.1, resources=("loan_draft",))
UNSEEN = dataclasses.replace(DRAFTS, drafts_visible=False)
POSITIONS = dataclasses.replace(DRAFTS, resources=("repayment",))
CLOCK = dataclasses.replace(DRAFTS, sets_clock=True, kills=0, switch=0)
LATE = {"late": 1}
LOST = {"answer lost": 3, "dropped before": 1}

Break = Callable[[pytest.MonkeyPatch, Workshop], None]


@pytest.fixture
def shop() -> Iterator[Workshop]:
    with workshop() as opened:
        yield opened


def sends_before_it_writes(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """The request is made first, and recorded with its answer."""

    def one(self: Any, resource: str) -> bool:
        situation = self._situation(resource)
        if situation is None or stop.why_not(situation) is not None:
            return False
        token = self._access.token()
        with self._context.outbox.engine.connect() as tx:
            due = query.due(tx, resource, limit=1, now=self._context.clock.now())
        if not due:  # its stream is held
            return False
        answer = self._context.client.post(f"/{resource}", (due[0].body or "").encode(), token=token.text, key="")
        batch = self._claim(resource)
        if batch is not None:
            self._settle(batch, answer, token)
        return batch is not None

    patch.setattr(Courier, "_one", one)


def tells_no_witness(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """What the witness did not see is taken for not sent, and nobody told it."""
    patch.setattr(Witness, "testify", lambda *_args, **_more: None)
    patch.setattr(recovery, "is_trusted", lambda *_args, **_more: (True, False))


def sends_again_what_was_lost(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """A lost answer counts as not processed."""
    original = outcome.decide

    def decide(answer: Answer, *, shape: bool, now: dt.datetime) -> Meaning:
        decision = original(answer, shape=shape, now=now)
        return Meaning(Outcome.NOT_PROCESSED) if decision.outcome is Outcome.IN_DOUBT else decision

    patch.setattr(outcome, "decide", decide)


def starts_as_if_nothing_had_left(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """What was being sent when the process ended is ready again."""
    recover = reconciler.recover
    patch.setattr(reconciler, "recover", lambda tx, **more: recover(tx, **(more | {"witnessed": _never})))


def lets_versions_overtake(patch: pytest.MonkeyPatch, shop: Workshop) -> None:
    """A newer version does not wait for an older one in doubt, and no constraint of the database stops it."""
    patch.setattr(machine, "IN_FLIGHT", frozenset({State.SENDING}))
    without_index(shop, "entry_one_in_flight")


def takes_absence_for_proof(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """A list needs no control."""
    patch.setattr(reconciler, "_control", lambda *_args: True)


def settles_at_once(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """It does not wait until the lost request can no longer arrive."""
    settle = reconciler.settle
    patch.setattr(reconciler, "settle", lambda tx, **more: settle(tx, **(more | {"settle_after": timedelta(0)})))


def forgets_what_it_doubted(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """What Kiva took last counts as what it holds, although another position may have arrived."""
    patch.setattr(query, "perhaps_arrived", lambda *_args, **_more: None)


def does_not_look_before_it_sends(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """What Kiva lists already is not adopted."""
    patch.setattr(mirror, "by_loan_id", lambda *_args, **_more: {})


def believes_an_old_list(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """What a person deleted in PA2 is taken for present until the list is read again."""
    patch.setattr(mirror, "forget", lambda *_args: None)


def owes_again_what_was_delivered(patch: pytest.MonkeyPatch, shop: Workshop) -> None:
    """A draft is owed again whenever it changes."""
    patch.setattr(table, "CREATE_ONCE", ())
    without_index(shop, "entry_once_in_its_life")


def lets_nothing_follow(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """The newer version that waited is left where it is."""
    patch.setattr(store, "follow", lambda _tx, settled, **_more: settled)


def lets_no_doubt_give_way(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """A newer position waits until the one in doubt was repeated as often as it may be, and then for ever."""
    patch.setattr(query, "behind", lambda *_args: None)
    patch.setattr(entry, "REPEATED_AFTER", ())
    patch.setattr(person.Person, "_asked", _but_no_position(person.Person._asked))


def leaves_doubts_of_a_closed_report(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """What is in doubt when its report closes stays so."""
    patch.setattr(expected, "_IN_DOUBT", expected._IN_DOUBT.where(sa.false()))


def takes_a_problem_for_success(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """A problem without a loan is nobody's."""
    patch.setattr(batch, "problems_of_the_call", lambda *_args: [])


def believes_one_clock(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """Where clocks differ on the month, and Kiva does not say the hour, the report is not held."""
    patch.setattr(DeliveryContext, "reports", lambda self: [self.report()])


def takes_an_unreadable_id_for_nobodys(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """A list with a loan whose id cannot be read counts as whole: it proves that what it does not name is absent."""
    loans = listing.loans
    patch.setattr(listing, "loans", lambda ask, **more: dataclasses.replace(loans(ask, **more), unreadable=()))


def lets_a_set_clock_change_what_waits(patch: pytest.MonkeyPatch, _shop: Workshop) -> None:
    """When the clock is set, what waits is not moved along: a list of before looks later than what was lost."""
    patch.setattr(clock_step, "_move", lambda _tx, _by: None)


def _but_no_position(asked: Callable[..., bool]) -> Callable[..., bool]:
    """The person whom nobody asks about positions."""
    return lambda self, one: one.resource != "repayment" and asked(self, one)


def without_index(shop: Workshop, name: str) -> None:
    """Drop an index of the entries; the workshop of a test without it is its own."""
    with shop.outbox.engine.begin() as tx:
        next(each for each in table.entry.indexes if each.name == name).drop(tx)


def _never(_attempt: int) -> bool:
    return False


RULES: dict[str, tuple[Break, Mood]] = {
    "intent before send": (sends_before_it_writes, UNSEEN),
    "witness": (tells_no_witness, UNSEEN),
    "in doubt instead of retry": (sends_again_what_was_lost, dataclasses.replace(UNSEEN, faults=LOST)),
    "a doubt at start": (starts_as_if_nothing_had_left, UNSEEN),
    "version order": (lets_versions_overtake, dataclasses.replace(POSITIONS, faults=LATE)),
    "control for absence": (takes_absence_for_proof, dataclasses.replace(UNSEEN, faults=LOST)),
    "settle after": (
        settles_at_once,
        dataclasses.replace(POSITIONS, faults=LATE, kills=0, switch=0, trouble=0.6, steps=30),
    ),
    "doubts stay in mind": (
        forgets_what_it_doubted,
        dataclasses.replace(
            POSITIONS,
            faults={"answer lost": 1},
            trouble=0.5,
            kills=0,
            switch=0,
            steps=30,
            actors={"courier": 4, "capture": 5, "refresher": 6, "institution": 6, "time": 6},
        ),
    ),
    "adopt": (does_not_look_before_it_sends, DRAFTS),
    "a deletion is believed": (believes_an_old_list, dataclasses.replace(DRAFTS, steps=40, kills=0)),
    "once": (owes_again_what_was_delivered, DRAFTS),
    "the waiting one follows": (lets_nothing_follow, POSITIONS),
    "a doubt gives way": (lets_no_doubt_give_way, dataclasses.replace(POSITIONS, faults={"answer lost": 1})),
    "a report closes": (
        leaves_doubts_of_a_closed_report,
        dataclasses.replace(POSITIONS, faults={"answer lost": 1}, starts=run.NEW_MONTH),
    ),
    "clocks agree": (
        believes_one_clock,
        dataclasses.replace(CLOCK, trouble=0, starts=run.NEW_MONTH + timedelta(hours=4), resources=("repayment",)),
    ),
    "an id that cannot be read": (
        takes_an_unreadable_id_for_nobodys,
        dataclasses.replace(DRAFTS, unreadable=0.3, faults=LOST, kills=0, steps=40),
    ),
    "a set clock": (lets_a_set_clock_change_what_waits, dataclasses.replace(CLOCK, faults=LATE, trouble=0.6, steps=30)),
    "a problem is asked about": (
        takes_a_problem_for_success,
        dataclasses.replace(POSITIONS, faults={"problem of the call": 1}),
    ),
}
MOST_SEEDS = 600


@pytest.mark.parametrize("rule", RULES)
def test_a_history_goes_wrong_without(rule: str, shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks, mood = RULES[rule]
    breaks(monkeypatch, shop)
    found = next((wrong for seed in range(MOST_SEEDS) if (wrong := run.tried(seed, shop, mood=mood))), None)
    assert found is not None, f"{MOST_SEEDS} histories went well although: {breaks.__doc__}"
    print(f"seed {found.seed}:\n" + "\n".join(found.steps))  # noqa: T201 - `pytest -rP` shows the history


OUTAGE = dataclasses.replace(DRAFTS, trouble=1, faults={"status 502": 1}, kills=0, switch=0)


def doubts_after_an_outage(shop: Workshop) -> int:
    """Sixty drafts wait, and for an hour Kiva's gateway answers 502 to whatever is posted, though it lists its loans."""
    history = run.History(1, shop, OUTAGE)
    history.begin()
    for _ in range(60):
        history.mis.open_loan()
    for _ in range(120):
        history.clock.moment += timedelta(seconds=30)
        for loop in history.loops.values():
            loop()
    history.end()
    with shop.outbox.read() as tx:
        where = table.entry.c.state == State.IN_DOUBT.value
        return int(tx.execute(sa.select(sa.func.count()).select_from(table.entry).where(where)).scalar_one())


def test_an_outage_of_an_hour_leaves_at_most_three_in_doubt(shop: Workshop) -> None:
    assert 1 <= doubts_after_an_outage(shop) <= stop.MOST_DOUBTS


def test_every_waiting_draft_comes_into_doubt_without_the_canary(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "doubts_in_a_row", lambda *_args: (0, None))
    assert doubts_after_an_outage(shop) == 60
