"""What a person is asked about is read as a set: a list of fifty costs as many statements as one of five."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import closing, listing, mirror, sending
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from testbed.rig import outboxes
from testbed.rig.outboxes import NOW


def perhaps(outbox: Outbox, number: int) -> None:
    for each in range(number):
        outboxes.put(outbox, f"kv/{each}", waits="perhaps_at_kiva", loan_id=f"kv/{each}")
    loans = [MirroredLoan(str(each), f"KV/{each}", "", "payingBack") for each in range(number)]
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=NOW)
        mirror.keep(tx, refresh, loans)
        mirror.end_refresh(tx, refresh, complete=True, listed=number, detail=None, now=NOW)


def unknown(outbox: Outbox, number: int) -> None:
    for each in range(number):
        loan = f"{each:09}"
        for version, state in ((1, State.DELIVERED), (2, State.IN_DOUBT)):
            body = f'{{"loan_id":"{loan}","amount":{version}00}}'
            entry = outboxes.put(
                outbox, loan, body, resource="repayment", stream="repayment", period="2026-10", amount=f"{version}00"
            )
            assert entry is not None
            verdict = EntryVerdict(state, {"upload_id": "8"} if state is State.DELIVERED else None, reason=None)
            ending = Ending("accepted" if state is State.DELIVERED else "in_doubt", True, 200, None)  # noqa: FBT003
            with outbox.begin() as tx:
                batch = sending.claim(
                    tx, "repayment", [entry], fence=1, now=NOW, request=lambda bodies: bodies[0].encode()
                )
                assert batch is not None
                [ended] = sending.end(tx, batch, ending, {entry.id: verdict}, by=Actor.COURIER, now=NOW)
                if state is State.IN_DOUBT:
                    closing.close(tx, ended, reason="window_closed", now=NOW)


@pytest.mark.parametrize(
    ("laid", "read"),
    [(perhaps, listing.perhaps_at_kiva), (unknown, listing.closed_unknown)],
    ids=["perhaps_at_kiva", "closed_unknown"],
)
def test_a_long_list_costs_no_more_statements(
    outbox: Outbox, laid: Callable[[Outbox, int], None], read: Callable[[Connection], list[object]]
) -> None:
    laid(outbox, 20)
    asked: list[str] = []
    with outbox.read() as tx:
        sa.event.listen(tx, "before_cursor_execute", lambda *args: asked.append(args[2]))
        found = read(tx)
    assert len(found) == 20
    assert len(asked) <= 5, asked


def test_what_is_said_of_each_is_its_own(outbox: Outbox) -> None:
    perhaps(outbox, 3)
    unknown(outbox, 3)
    with outbox.read() as tx:
        assert [ids for _, ids in listing.perhaps_at_kiva(tx)] == [["KV/0"], ["KV/1"], ["KV/2"]]
        assert [(one.sent, one.before) for one in listing.closed_unknown(tx)] == [("200", "100")] * 3
