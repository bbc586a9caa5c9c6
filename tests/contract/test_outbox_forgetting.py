"""A client is forgotten: found by the id, also as a member of a group; the same on a file and on a server."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.outbox import forgetting, forgotten, mirror, query, store, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import State
from testbed.rig import outboxes as suite
from testbed.rig.outboxes import NOW

GROUP = '{"entreps":[{"amount":1,"client_id":"C_1","first_name":"Awa"},{"amount":1,"client_id":"C2"}]}'


def forget(outbox: Outbox, client: str) -> int:
    with outbox.begin() as tx:
        loans = forgetting.of_client(tx, client)
        forgetting.forget(tx, loans, by="awa", note="asked", now=NOW)
        return len(loans)


def test_a_member_of_a_group_is_found_by_the_body_and_nobody_else(outbox: Outbox) -> None:
    suite.put(outbox, "G1", GROUP)
    suite.put(outbox, "000000900", '{"entreps":[{"amount":1,"client_id":"CX1"}]}', client_id="CX1")
    suite.deliver(outbox)
    with outbox.read() as tx:
        assert [loan.loan_id for loan in forgetting.of_client(tx, " C_1")] == ["G1"], "an underscore is no wildcard"
        assert [loan.loan_id for loan in forgetting.of_client(tx, "CX1")] == ["000000900"]
        assert forgetting.of_client(tx, "C") == []
    assert forget(outbox, "C2") == 1
    with outbox.read() as tx:
        rows = tx.execute(sa.select(table.entry.c.loan_id, table.entry.c.body)).all()
    bodies = {row.loan_id: row.body for row in rows}
    assert bodies["G1"] is None
    assert bodies["000000900"] is not None


def test_what_was_not_sent_is_not_sent_and_what_is_over_loses_its_number(outbox: Outbox) -> None:
    suite.put(outbox, "000000001", client_id="C1")
    suite.deliver(outbox)
    suite.put(outbox, "000000002", client_id="C1")
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=NOW)
        mirror.keep(tx, refresh, [MirroredLoan("k1", "000000001", "", "payingBack")])
        mirror.end_refresh(tx, refresh, complete=True, listed=1, detail=None, now=NOW)
    assert forget(outbox, "C1") == 2
    with outbox.begin() as tx:
        rows = tx.execute(sa.select(table.entry.c.loan_id, table.entry.c.state, table.entry.c.client_id)).all()
        assert {row.client_id for row in rows} == {""}
        assert {row.state for row in rows if row.loan_id == "000000001"} == {"delivered"}
        (gone,) = [row for row in rows if row.loan_id != "000000001"]
        assert gone.loan_id == f"forgotten-{forgotten.hashed(tx, '000000002')}"
        assert gone.state == State.DISCARDED.value
        assert forgotten.has(tx, " 000000002"), "however it is spelled"
        for loan in ("000000001", "000000002"):
            assert store.owe(tx, suite.owed(loan), now=NOW) is None
        assert store.owe(tx, suite.owed("000000003"), now=NOW) is not None
        position = suite.owed("000000001", resource="repayment", period="2026-10", client_id="C1")
        assert forgotten.without_client(tx, position).client_id == ""
        assert query.was_sent(tx, "loan_draft", "000000001") is not None


def test_a_forgotten_loan_that_ends_later_loses_its_number_then(outbox: Outbox) -> None:
    """It kept it for ever: the number was looked at once, on the day of the wish."""

    def listed(status: str) -> int:
        with outbox.begin() as tx:
            refresh = mirror.begin_refresh(tx, now=NOW)
            mirror.keep(tx, refresh, [MirroredLoan("k1", "000000001", "", status)])
            mirror.end_refresh(tx, refresh, complete=True, listed=1, detail=None, now=NOW)
            return forgetting.finish(tx, now=NOW)

    suite.put(outbox, "000000001", client_id="C1")
    suite.put(outbox, "000000009", client_id="")
    suite.deliver(outbox)
    assert listed("ended") == 0, "nobody asked for it"
    assert listed("payingBack") == 0
    assert forget(outbox, "C1") == 1
    assert listed("payingBack") == 0
    with outbox.read() as tx:
        assert query.was_sent(tx, "loan_draft", "000000001") is not None
    assert listed("ended") == 1
    assert listed("ended") == 0
    with outbox.begin() as tx:
        ids = set(tx.execute(sa.select(table.entry.c.loan_id)).scalars())
        assert ids == {f"forgotten-{forgotten.hashed(tx, '000000001')}", "000000009"}
        assert store.owe(tx, suite.owed("000000001"), now=NOW) is None, "and is still not sent again"


def test_the_number_stays_while_a_position_is_on_its_way(outbox: Outbox) -> None:
    """Renamed in the middle of a call, its answer could not be written down."""

    def ended() -> int:
        with outbox.begin() as tx:
            refresh = mirror.begin_refresh(tx, now=NOW)
            mirror.keep(tx, refresh, [MirroredLoan("k1", "000000001", "", "ended")])
            mirror.end_refresh(tx, refresh, complete=True, listed=1, detail=None, now=NOW)
            return forgetting.finish(tx, now=NOW)

    suite.put(outbox, "000000001", resource="repayment", period="2026-10", client_id="")
    with outbox.begin() as tx:
        forgotten.remember(tx, ["000000001"], by="awa", now=NOW)
    assert ended() == 0, "ready"
    batch = suite.claim(outbox, "repayment")
    assert batch is not None
    assert ended() == 0, "being sent"
    (lost,) = suite.end(outbox, batch, suite.LOST, EntryVerdict(State.IN_DOUBT, reason="answer_lost"))
    assert lost.state is State.IN_DOUBT
    assert ended() == 0, "in doubt"


def test_of_two_loans_under_one_id_the_one_that_is_paid_back_counts(outbox: Outbox) -> None:
    suite.put(outbox, "000000001", client_id="C1")
    suite.deliver(outbox)
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=NOW)
        mirror.keep(
            tx,
            refresh,
            [MirroredLoan("k1", "000000001", "", "ended"), MirroredLoan("k2", "000000001", "", "payingBack")],
        )
        mirror.end_refresh(tx, refresh, complete=True, listed=2, detail=None, now=NOW)
        (loan,) = forgetting.of_client(tx, "C1")
    assert (loan.status, loan.over) == ("payingBack", False)


def test_what_is_being_sent_just_now_is_not_touched(outbox: Outbox) -> None:
    suite.put(outbox, client_id="C1")
    assert suite.claim(outbox) is not None
    with pytest.raises(errors.UsageError, match="being sent"):
        forget(outbox, "C1")
    with outbox.read() as tx:
        assert not forgotten.has(tx, "000000871")


def test_where_nobody_asked_to_be_forgotten_no_loan_is_looked_at(outbox: Outbox) -> None:
    """At a million entries the night held the ids of all loans at once."""
    asked: list[str] = []
    sa.event.listen(outbox.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    with outbox.begin() as tx:
        assert forgetting.finish(tx, now=NOW) == 0
    assert not [text for text in asked if "FROM entry" in text]
