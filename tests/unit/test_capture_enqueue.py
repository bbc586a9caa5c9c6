"""What was decided is written: holds, withdrawals, divergences, entries, and when the brake holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import meter
from kiva_relay.capture import enqueue
from kiva_relay.capture.another_row import RowReplaced
from kiva_relay.capture.owed import KeyDecision, Withdrawal
from kiva_relay.outbox import hold, query, table, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.state import State
from kiva_relay.resource.refusal import Refusal
from testbed.rig import outboxes
from testbed.rig.capturing import NOW, entry, fresh_outbox, look, seen, settings


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = fresh_outbox(tmp_path)
    yield made
    made.close()


def decided(identity: str = "L1", resource: str = "loan_draft", **changes: Any) -> KeyDecision:
    owed = replace(outboxes.owed(identity, resource=resource, key=identity, stream=resource), **changes)
    return KeyDecision(captured=seen(resource, key=identity, identity=identity), owed=owed)


def write(outbox: Outbox, decision: KeyDecision, **changes: Any) -> None:
    with outbox.begin() as tx:
        enqueue.write(tx, look(decision.captured.resource, **changes), decision)


def holds(outbox: Outbox) -> list[tuple[str, str]]:
    with outbox.read() as tx:
        return [(one.what, one.reason) for one in hold.in_force(tx)]


def versions(outbox: Outbox, identity: str = "L1", resource: str = "loan_draft") -> list[State]:
    with outbox.read() as tx:
        return [one.state for one in query.versions(tx, resource, identity)]


def test_an_entry_and_what_is_known_of_the_key(outbox: Outbox) -> None:
    write(outbox, decided())
    assert versions(outbox) == [State.READY]
    with outbox.read() as tx:
        assert watermark.captured(tx, "loan_draft", ["L1"]) == {"L1": decided().captured}
    assert holds(outbox) == []


def test_a_key_that_is_known_is_not_known_twice(outbox: Outbox) -> None:
    write(outbox, decided())
    write(outbox, KeyDecision(captured=seen(key="L1", hash="newer")))
    with outbox.read() as tx:
        assert watermark.captured(tx, "loan_draft", ["L1"])["L1"].hash == "newer"
    with pytest.raises(sa.exc.IntegrityError):
        write(outbox, KeyDecision(captured=seen(key="L1"), new=True))


def test_what_is_no_longer_owed_is_withdrawn(outbox: Outbox) -> None:
    write(outbox, decided())
    write(outbox, KeyDecision(captured=seen(key="L1"), withdrawals=(Withdrawal("L1", "left_scope"),)))
    with outbox.read() as tx:
        (withdrawn,) = query.versions(tx, "loan_draft", "L1")
    assert (withdrawn.state, withdrawn.reason) == (State.WITHDRAWN, "left_scope")


@pytest.mark.parametrize("reason", ["left_scope", "gone_from_mis"])
def test_who_had_the_same_id_is_looked_at_again_when_the_other_leaves(outbox: Outbox, reason: str) -> None:
    """A loan that moves from one mapping to another: what the new one had made was withdrawn, and owed never again."""
    write(outbox, decided())
    write(outbox, KeyDecision(captured=seen(stream="another", key="L1"), new=True))
    write(outbox, KeyDecision(captured=seen(key="L1", in_scope=False), withdrawals=(Withdrawal("L1", reason),)))
    with outbox.read() as tx:
        assert watermark.captured(tx, "another", ["L1"])["L1"].again
        assert not watermark.captured(tx, "loan_draft", ["L1"])["L1"].again


def test_a_row_that_became_another_holds_its_stream(outbox: Outbox) -> None:
    write(outbox, replace(decided(), became_another=True))
    with outbox.read() as tx:
        (held,) = hold.in_force(tx)
    assert (held.what, held.reason, held.params) == (
        "stream:loan_draft",
        "mis_went_back",
        {"stream": "loan_draft", "key": "L1"},
    )


def test_a_number_that_was_sent_for_another_row_is_a_divergence(outbox: Outbox) -> None:
    write(outbox, decided())
    with outbox.read() as tx:
        (sent,) = query.versions(tx, "loan_draft", "L1")
    write(outbox, KeyDecision(captured=seen(key="L1"), replaced=RowReplaced(sent, "old", "new")))
    with outbox.read() as tx:
        (row,) = tx.execute(sa.select(table.divergence)).all()
    assert (row.entry_id, row.fields) == (sent.id, [{"field": "row", "was": "old", "is": "new"}])


def test_refusals_are_counted_once_for_each_entry(outbox: Outbox) -> None:
    refused = decided(body=None, body_sha256=None, refusals=(Refusal("name_empty", "entreps[0].first_name"),))
    counter = meter.mapping_refusals.labels(mapping="loan_draft", code="name_empty")._value
    before = counter.get()
    write(outbox, refused)
    write(outbox, replace(refused, new=False))
    assert counter.get() == before + 1


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"resource": "journal"}, True),
        ({"resource": "repayment"}, False),
        ({"origin": "backfill"}, False),
        ({"origin": "sweep"}, True),
        ({"version": 2}, False),
    ],
)
def test_what_counts_for_the_brake(changes: Any, *, counts: bool) -> None:
    assert enqueue.counts_for_the_brake(entry(**({"resource": "loan_draft"} | changes))) is counts


def test_more_than_the_brake_within_an_hour_holds_the_resource(outbox: Outbox) -> None:
    for number in range(3):  # delivery.brake of the rig
        write(outbox, decided(f"L{number}"))
    write(outbox, decided("J1", "journal"))
    write(outbox, decided("B1", origin="backfill"))
    write(outbox, decided("L0", body='{"amount":2}', body_sha256="2"))
    assert holds(outbox) == []
    write(outbox, decided("L3"))
    with outbox.read() as tx:
        (held,) = hold.in_force(tx)
    assert (held.what, held.reason, held.params) == (
        "loan_draft",
        "brake",
        {"number": 4, "within": "1 hour", "brake": 3},
    )


@pytest.mark.parametrize(("ago", "held"), [(timedelta(hours=1), False), (timedelta(minutes=59, seconds=59), True)])
def test_the_brake_counts_an_hour(outbox: Outbox, ago: timedelta, *, held: bool) -> None:
    for number in range(3):
        write(outbox, decided(f"L{number}"), now=NOW - ago)
    write(outbox, decided("L3"))
    assert (holds(outbox) == [("loan_draft", "brake")]) is held


def test_a_correction_does_not_trip_the_brake(outbox: Outbox) -> None:
    chosen = settings(delivery={"brake": 0})
    write(outbox, decided("L0"))
    write(outbox, decided("L0", body='{"amount":2}', body_sha256="2"), settings=chosen)
    assert holds(outbox) == []
    write(outbox, decided("L1"), settings=chosen)
    assert holds(outbox) == [("loan_draft", "brake")]
