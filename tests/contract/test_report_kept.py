"""What was counted of an open report is kept while nothing moves, and counted again as soon as anything does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.account import standing
from kiva_relay.outbox import act, decision, mirror, query, sending, settlement, store, table, unreported
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.person import Person
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.page import view
from kiva_relay.report import alike, current, glance
from kiva_relay.words import language
from testbed.rig.full_outbox import owed
from tests.contract.test_report_glance import NOW, PERIOD, SETTINGS, Book

LATER = NOW + timedelta(minutes=1)


def of_state(tx: Connection, state: State) -> Entry:
    """The first position in a state."""
    where = (table.entry.c.state == state.value, table.entry.c.period == PERIOD)
    number = tx.execute(table.entry.select().where(*where).order_by(table.entry.c.id).limit(1)).one().id
    found = query.find(tx, number)
    assert found is not None
    return found


def is_sent(tx: Connection, ending: Ending, verdict: EntryVerdict) -> None:
    entry = of_state(tx, State.READY)
    batch = sending.claim(tx, "repayment", [entry], fence=1, now=LATER, request=lambda _: b"{}")
    assert batch is not None
    sending.end(tx, batch, ending, {entry.id: verdict}, by=Actor.COURIER, now=LATER)


def is_accepted(tx: Connection) -> None:
    taken = Ending("accepted", body_complete=True, status=200, detail=None)
    is_sent(tx, taken, EntryVerdict(State.DELIVERED, receipt={"upload_id": "1"}))


def is_lost(tx: Connection) -> None:
    lost = Ending("in_doubt", body_complete=None, status=None, detail="ReadTimeout")
    is_sent(tx, lost, EntryVerdict(State.IN_DOUBT, reason="answer_lost"))


def is_settled(tx: Connection) -> None:
    settlement.settle(tx, of_state(tx, State.IN_DOUBT), "delivered", by="awa", note="looked", now=LATER)


def is_left_out(tx: Connection) -> None:
    entry = of_state(tx, State.WAITING)
    (loan,) = mirror.alike(tx, [entry.loan_id])[:1]
    decided = {"period": PERIOD, "kiva_id": loan.kiva_id, "loan_id": loan.loan_id, "note": "", "late": False}
    decision.put(tx, verb="leave_out", value=None, seen={}, by="awa", now=LATER, **decided)  # type: ignore[arg-type]
    act.record(tx, by="awa", verb="report decide --leave-out", about={}, note="", now=LATER)


def is_undone(tx: Connection) -> None:
    one = decision.all_of(tx, PERIOD)[0]
    assert decision.undo(tx, one.kiva_id, period=PERIOD, by="awa", now=LATER)
    act.record(tx, by="awa", verb="undo", about={}, note="", now=LATER)


def is_replaced(tx: Connection) -> None:
    """The MIS has another amount."""
    entry = of_state(tx, State.WAITING)
    new = owed(entry.identity, resource="repayment", loan_id=entry.loan_id, body='{"amount":1}', now=LATER)
    assert store.owe(tx, new, now=LATER) is not None


def list_begins(tx: Connection) -> None:
    mirror.keep(tx, mirror.begin_refresh(tx, now=LATER), [MirroredLoan("k00001", "00001", "", "ended", "500", "XOF")])


def list_goes_on(tx: Connection) -> None:
    number = mirror.last_reading(tx)
    assert number is not None
    mirror.keep(tx, number, [MirroredLoan("k00002", "00002", "", "payingBack", "500", "XOF")])


def list_ends(tx: Connection) -> None:
    number = mirror.last_reading(tx)
    assert number is not None
    mirror.end_refresh(tx, number, complete=False, listed=2, detail="cut", now=LATER)


HAPPENINGS = (
    is_accepted, is_lost, is_settled, is_left_out, is_undone, is_replaced, list_begins, list_goes_on, list_ends,
)  # fmt: skip


@pytest.fixture
def book(outbox: Outbox) -> Outbox:
    made = Book(outbox, 5)
    made.lay_down(120)
    with outbox.begin() as tx:  # no hold, whatever was drawn: it is not what is counted
        tx.execute(table.hold.delete())
        if tx.dialect.name == "postgresql":  # its rows have numbers of their own
            for name in ("entry", "batch"):
                tx.execute(sa.text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), 10000)"))
    return outbox


def is_as_a_whole_reading_says(outbox: Outbox) -> None:
    with outbox.read() as tx:
        found = glance.every(tx, SETTINGS, PERIOD, basis="cumulative_principal")
        assert tuple(found) == current.lines_of(tx, SETTINGS, PERIOD, NOW)


def test_whatever_happens_a_glance_says_what_a_whole_reading_says(book: Outbox) -> None:
    is_as_a_whole_reading_says(book)
    for happens in HAPPENINGS:
        with book.begin() as tx:
            happens(tx)
        for _ in range(2):
            is_as_a_whole_reading_says(book)


@pytest.mark.parametrize("happens", HAPPENINGS[:1] + HAPPENINGS[3:4] + HAPPENINGS[5:6], ids=lambda one: one.__name__)
def test_the_page_counts_the_book_once_while_nothing_moves(
    book: Outbox, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Connection], None]
) -> None:
    counted = list[str]()

    def noted(module: object, name: str) -> None:
        real = getattr(module, name)

        def counts(*given: Any, **more: Any) -> Any:
            counted.append(name)
            return real(*given, **more)

        monkeypatch.setattr(module, name, counts)

    noted(alike, "groups")
    noted(unreported, "_in_scope")
    account = None

    def opened() -> object:
        nonlocal account
        with book.read() as tx:
            facts = standing.gather(tx, SETTINGS, now=NOW, in_parts=True, before=account)
            account = facts.account
            return view.today(tx, facts, Person("ann", "coordinator", "en"), language.of("en"))

    first = opened()
    counted.clear()
    assert [opened() for _ in range(3)] == [first] * 3
    assert counted == []
    with book.begin() as tx:
        happens(tx)
    opened()
    assert "groups" in counted
