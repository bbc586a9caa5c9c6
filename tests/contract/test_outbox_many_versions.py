"""An identity may have hundreds of versions, for each edit of a mapping makes one: nothing costs more for that.

What is counted is work, not seconds: steps of SQLite's machine, rows that PostgreSQL took out of its tables.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.capture import expected
from kiva_relay.outbox import census, mirror, position, query, sending, settlement, store
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource.window import RepaymentReport
from testbed.rig import capturing, outboxes
from testbed.rig.outboxes import NOW, later

FEW, MANY = 4, 36
LOAN = "000000871"
BOUNDS = census.Bounds(NOW, NOW, NOW, NOW.date())
REPORT = RepaymentReport("2031-01", NOW.date(), is_open=True)
_SOON = later(900)


def owe(outbox: Outbox, resource: str, version: int, **changes: Any) -> None:
    outboxes.put(outbox, LOAN, f'{{"amount":{version}}}', resource=resource, stream=resource, **changes)


def replaced(outbox: Outbox, resource: str, number: int) -> None:
    """Each version took the place of the one before, which was not sent."""
    for version in range(number):
        owe(outbox, resource, version)


def withdrawn(outbox: Outbox, resource: str, number: int) -> None:
    """It left the scope and came back, again and again."""
    for version in range(number):
        with outbox.begin() as tx:
            store.left_scope(tx, resource, LOAN, reason="left_scope", now=later(version))
        owe(outbox, resource, version)


def accepted(outbox: Outbox, resource: str, number: int) -> None:
    """Kiva took position after position in an earlier period."""
    for version in range(number - 1):
        owe(outbox, resource, version, period="2030-12")
        outboxes.deliver(outbox, resource)
    owe(outbox, resource, number, period=REPORT.period)


def behind(outbox: Outbox, resource: str, number: int) -> None:
    """The first one is in doubt, and each of the others took the place of the one that waited behind it."""
    for version in range(number):
        owe(outbox, resource, version)
        if "in_doubt" not in outboxes.states(outbox):
            outboxes.lose(outbox, resource)


HISTORIES: dict[str, tuple[Callable[[Outbox, str, int], None], str]] = {
    "replaced draft": (replaced, "loan_draft"),
    "replaced position": (replaced, "repayment"),
    "withdrawn note": (withdrawn, "journal"),
    "accepted position": (accepted, "repayment"),
    "draft behind one in doubt": (behind, "loan_draft"),
}

Act = Callable[[Connection, Entry], object]


def another_is_owed(tx: Connection, entry: Entry) -> None:
    values = {"resource": entry.resource, "stream": entry.stream, "period": entry.period}
    assert store.owe(tx, outboxes.owed(LOAN, '{"amount":-1}', **values), now=_SOON) is not None


def the_same_is_owed(tx: Connection, entry: Entry) -> None:
    values = {"resource": entry.resource, "stream": entry.stream, "period": entry.period}
    assert store.owe(tx, outboxes.owed(LOAN, entry.body, **values), now=_SOON) is None


def it_leaves_the_scope(tx: Connection, entry: Entry) -> None:
    assert store.left_scope(tx, entry.resource, LOAN, reason="left_scope", now=_SOON)


def it_is_asked_about(tx: Connection, entry: Entry) -> None:
    query.was_sent(tx, entry.resource, LOAN)
    query.behind(tx, entry)
    query.by_hand(tx, [LOAN])
    position.last_of_another_period(tx, LOAN, LOAN, REPORT.period)


def it_is_counted(tx: Connection, entry: Entry) -> None:
    census.take(tx, BOUNDS, period=REPORT.period, expects=True, streams={entry.stream: entry.resource})


def it_is_discarded_and_counted(tx: Connection, entry: Entry) -> None:
    if entry.waits_for is None:
        settlement.settle(tx, entry, "discard", by="awa", note="", now=_SOON)
    it_is_counted(tx, entry)


def it_is_expected(tx: Connection, _entry: Entry) -> None:
    expected.turn(tx, REPORT, settings=capturing.settings(), aliases={}, now=_SOON)


def it_is_sent(tx: Connection, entry: Entry) -> None:
    due = query.due(tx, entry.resource, limit=9, now=_SOON)
    if entry.waits_for is None:
        assert sending.claim(tx, entry.resource, due, fence=1, now=_SOON, request=lambda _: b"") is not None


def the_older_arrives(tx: Connection, entry: Entry) -> None:
    older = query.stand(tx, entry.resource, LOAN).in_flight
    if older is not None:
        values = {"evidence": "look_up", "receipt": {"kiva_id": "k"}, "reason": None}
        moved = store.move(tx, older, State.DELIVERED, Actor.RECONCILER, now=_SOON, **values)
        store.follow(tx, moved, by=Actor.RECONCILER, now=_SOON)


ACTS: tuple[Act, ...] = (
    another_is_owed,
    the_same_is_owed,
    it_leaves_the_scope,
    it_is_asked_about,
    it_is_counted,
    it_is_discarded_and_counted,
    it_is_expected,
    it_is_sent,
    the_older_arrives,
)


@pytest.mark.parametrize("history", HISTORIES)
def test_no_act_costs_more_for_older_versions(outbox: Outbox, history: str) -> None:
    happened, resource = HISTORIES[history]
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=NOW)
        mirror.keep(tx, refresh, [MirroredLoan("k1", LOAN, "", "payingBack" if resource == "repayment" else "issued")])
        mirror.end_refresh(tx, refresh, complete=True, listed=1, detail=None, now=NOW)
    happened(outbox, resource, FEW)
    few = costs(outbox, resource)
    happened(outbox, resource, MANY)
    many = costs(outbox, resource)
    more = {name: (few[name], cost) for name, cost in many.items() if cost > 1.3 * few[name] + 10}
    assert not more


def costs(outbox: Outbox, resource: str) -> dict[str, int]:
    """What each act costs now; nothing of it stays."""
    if not outbox.is_file:
        with outbox.begin() as tx:
            tx.execute(sa.text("ANALYZE"))
    # Twice: who reads first after many changes also tidies up.
    return {act.__name__: min(cost(outbox, resource, act) for _ in range(2)) for act in ACTS}


class _NothingStays(Exception):
    pass


def cost(outbox: Outbox, resource: str, act: Act) -> int:
    counted = 0
    with contextlib.suppress(_NothingStays), outbox.begin() as tx:
        entry = query.stand(tx, resource, LOAN).newest
        assert entry is not None
        counted = (steps if outbox.is_file else rows)(tx, lambda: act(tx, entry))
        raise _NothingStays
    return counted


def steps(tx: Connection, act: Callable[[], object]) -> int:
    """Hundreds of instructions of SQLite's machine."""
    driver, found = tx.connection.driver_connection, [0]

    def count() -> int:
        found[0] += 1
        return 0

    assert driver is not None
    driver.set_progress_handler(count, 20)
    act()
    driver.set_progress_handler(None, 0)
    return found[0]


def rows(tx: Connection, act: Callable[[], object]) -> int:
    """Rows that PostgreSQL took out of its tables, in this transaction. Among few rows it would not use an index."""
    read = sa.text("SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0) FROM pg_stat_xact_user_tables")
    tx.execute(sa.text("SET LOCAL enable_seqscan = off"))
    before = tx.execute(read).scalar_one()
    act()
    return int(tx.execute(read).scalar_one() - before)
