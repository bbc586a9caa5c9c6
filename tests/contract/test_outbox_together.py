"""Entries that move together: those of one request, all of them or none, by a number of statements that does not grow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import query, sending, store, tally
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.sending import Batch, Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.outbox.tally import Counted
from kiva_relay.resource.refusal import Refusal
from testbed.rig.outboxes import claim, end, later, put, states

_ACCEPTED = Ending("accepted", body_complete=True, status=200, detail=None)
_DELIVERED = EntryVerdict(State.DELIVERED, receipt={"upload_id": 1})


def owe(outbox: Outbox, loans: int, *, amount: int = 1, seconds: float = 0) -> None:
    """A position of each of so many loans."""
    for number in range(loans):
        one = {"resource": "repayment", "stream": "repayment", "period": "2026-11", "due_at": later(seconds)}
        put(outbox, f"{number:09}", f'{{"amount":{amount}}}', seconds=seconds, **one)


@contextlib.contextmanager
def asked(outbox: Outbox) -> Iterator[list[str]]:
    """The statements that are executed meanwhile."""
    statements: list[str] = []

    def executes(*given: object) -> None:
        statements.append(str(given[2]))

    sa.event.listen(outbox.engine, "before_cursor_execute", executes)
    try:
        yield statements
    finally:
        sa.event.remove(outbox.engine, "before_cursor_execute", executes)


def taken(outbox: Outbox, *, seconds: float = 0) -> Batch:
    batch = claim(outbox, "repayment", limit=250, seconds=seconds)
    assert batch is not None
    return batch


def reported(outbox: Outbox) -> int:
    with outbox.read() as tx:
        assert tally.numbers(tx) == tally.counted_anew(tx)
        return tally.numbers(tx).get(Counted("repayment", "2026-11", "delivered"), 0)


def test_a_call_of_many_positions_asks_no_more_than_one_of_few(outbox: Outbox) -> None:
    """It was five statements a position: 250 of them took a third of a second."""
    found = []
    for number, loans in enumerate((2, 60)):
        owe(outbox, loans, amount=number + 1, seconds=number * 9)
        with asked(outbox) as claimed:
            batch = taken(outbox, seconds=number * 9)
        assert len(batch.entries) == loans
        with asked(outbox) as settled:
            end(outbox, batch, _ACCEPTED, _DELIVERED, seconds=number * 9 + 1)
        found.append((len(claimed), len(settled)))
    # Once, when it is the first of its period, the number of the tally is a row that is not there yet.
    assert found[1][0] <= found[0][0]
    assert found[1][1] <= found[0][1]


def test_a_second_version_of_a_loan_is_not_counted_again(outbox: Outbox) -> None:
    owe(outbox, 3)
    end(outbox, taken(outbox), _ACCEPTED, _DELIVERED)
    assert reported(outbox) == 3
    owe(outbox, 4, amount=2, seconds=9)
    end(outbox, taken(outbox, seconds=9), _ACCEPTED, _DELIVERED, seconds=10)
    assert reported(outbox) == 4
    assert states(outbox, "000000000", "repayment") == ["delivered", "delivered"]


def test_entries_of_one_call_may_go_different_ways(outbox: Outbox) -> None:
    owe(outbox, 5)
    batch = taken(outbox)
    refused = EntryVerdict(State.REFUSED, refusals=(Refusal("kiva", "", {"said": "no"}),))
    ready = EntryVerdict(State.READY, batch_cap=1)
    verdicts = [_DELIVERED, refused, ready, _DELIVERED, refused]
    with outbox.begin() as tx:
        each = {entry.id: verdict for entry, verdict in zip(batch.entries, verdicts, strict=True)}
        moved = sending.end(tx, batch, _ACCEPTED, each, by=Actor.COURIER, now=later(1))
    assert [entry.id for entry in moved] == [entry.id for entry in batch.entries]
    assert [entry.state.value for entry in moved] == ["delivered", "refused", "ready", "delivered", "refused"]
    with outbox.read() as tx:
        assert [query.find(tx, entry.id) for entry in moved] == moved
    assert reported(outbox) == 2


def test_where_one_was_moved_meanwhile_none_moves(outbox: Outbox) -> None:
    owe(outbox, 3)
    batch = taken(outbox)
    with outbox.begin() as tx:
        store.move(tx, batch.entries[1], State.IN_DOUBT, Actor.START, now=later(1))
    with pytest.raises(store.Overtaken, match="no longer sending"):
        end(outbox, batch, _ACCEPTED, _DELIVERED, seconds=2)
    assert [states(outbox, f"{number:09}", "repayment") for number in range(3)] == [
        ["sending"],
        ["in_doubt"],
        ["sending"],
    ]
    assert reported(outbox) == 0


def test_what_waits_behind_one_of_many_goes_on(outbox: Outbox) -> None:
    """Of 40 that were accepted one had a newer amount, which waited until it was known what became of the older."""
    owe(outbox, 40)
    batch = taken(outbox)
    put(outbox, "000000007", '{"amount":9}', seconds=2, resource="repayment", stream="repayment", period="2026-11")
    assert states(outbox, "000000007", "repayment") == ["sending", "waiting"]
    end(outbox, batch, _ACCEPTED, _DELIVERED, seconds=3)
    assert states(outbox, "000000007", "repayment") == ["delivered", "ready"]
    assert reported(outbox) == 40
