"""What is asked of the outbox about a key, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.capture import facts
from kiva_relay.capture.owed import KeyFacts, MappedKey
from kiva_relay.outbox import mirror, query, store, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.state import Actor, State
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource.refusal import Refusal
from testbed.rig import outboxes
from testbed.rig.capturing import NOW, fresh_outbox, loan, look, mapped, seen

REFUSED: dict[str, Any] = {"body": None, "refusals": (Refusal("name_empty"),)}


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = fresh_outbox(tmp_path)
    yield made
    made.close()


def read(outbox: Outbox, resource: str = "loan_draft", known: Captured | None = None, **changes: Any) -> KeyFacts:
    with outbox.read() as tx:
        return facts.read(tx, look(resource), MappedKey("1", known, mapped(resource, **changes), "new"))


def listed(outbox: Outbox, *loans: Any) -> None:
    with outbox.begin() as tx:
        mirror.keep(tx, mirror.begin_refresh(tx, now=NOW), loans)


def delivered(outbox: Outbox, resource: str = "loan_draft", **changes: object) -> None:
    with outbox.begin() as tx:
        owed = outboxes.owed("L1", resource=resource, period="2026-09" if resource == "repayment" else "", **changes)  # type: ignore[arg-type]
        entry = store.owe(tx, owed, now=NOW)
        assert entry is not None
        store.move(tx, entry, State.DELIVERED, Actor.PERSON, now=NOW, evidence="person")


def test_nobody_is_asked_what_was_sent_of_a_row_that_is_surely_the_same(outbox: Outbox) -> None:
    delivered(outbox)
    assert read(outbox).sent is None
    assert read(outbox, known=seen()).sent is None
    found = read(outbox, known=seen(created_at="2026-01-01")).sent
    assert found is not None
    assert found.identity == "L1"


def test_another_row_with_the_same_identity(outbox: Outbox) -> None:
    assert read(outbox).other_row is None
    with outbox.begin() as tx:
        watermark.keep(tx, seen(), new=True)
        watermark.keep(tx, seen(key="3", in_scope=False), new=True)
    assert read(outbox).other_row is None
    with outbox.begin() as tx:
        watermark.keep(tx, seen(key="2"), new=True)
    assert read(outbox).other_row == ("loan_draft", "2")
    assert read(outbox, identity=None, body=None).other_row is None


def test_the_same_key_of_another_mapping_is_another_row(outbox: Outbox) -> None:
    """Its number belongs to another table, or to the same row, that would be sent by two mappings in turns."""
    with outbox.begin() as tx:
        watermark.keep(tx, seen(stream="another"), new=True)
    assert read(outbox).other_row is None, "it is not in force"
    row = MappedKey("1", None, mapped(), "new")
    with outbox.read() as tx:
        found = facts.read(tx, look(streams=["another", "loan_draft"]), row)
    assert found.other_row == ("another", "1")


def test_a_draft_that_kiva_lists_is_adopted(outbox: Outbox) -> None:
    assert read(outbox).adopted is None
    listed(outbox, loan(status="fundRaising"))
    assert read(outbox) == KeyFacts(adopted={"kiva_id": "K1", "status": "fundRaising"})
    assert read(outbox, identity=None, **REFUSED).adopted is not None


def test_a_draft_that_a_person_typed_is_adopted_unless_kiva_lists_it(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        store.put_by_hand(tx, "L1", note="typed on Monday", now=NOW)
    assert read(outbox).adopted == {"note": "typed on Monday"}
    listed(outbox, loan())
    assert read(outbox).adopted == {"kiva_id": "K1", "status": "payingBack"}


def test_a_draft_is_told_of_a_loan_of_the_same_client_and_amount(outbox: Outbox) -> None:
    assert read(outbox).twins == ()
    with outbox.begin() as tx:
        given: dict[str, Any] = {
            "client_id": "C1",
            "amount": "100.5",
            "currency": "XOF",
            "publish_by": date(2026, 12, 30),
        }
        store.owe(tx, outboxes.owed("L7", **given), now=NOW)
    assert read(outbox).twins == ("L7",)
    assert read(outbox, **REFUSED).twins == ()
    listed(outbox, loan())
    assert read(outbox).twins == (), "Kiva has it: it is adopted"


def test_a_journal_is_told_of_its_loan_when_it_has_a_body(outbox: Outbox) -> None:
    listed(outbox, loan(), loan("L2", kiva_id="K2"))
    assert read(outbox, "journal") == KeyFacts(at_kiva={"L1": loan()})
    assert read(outbox, "journal", **REFUSED) == KeyFacts()


def test_a_position_is_told_of_its_loan_and_of_what_kiva_took_last(outbox: Outbox) -> None:
    assert read(outbox, "repayment") == KeyFacts()
    listed(outbox, loan())
    assert read(outbox, "repayment") == KeyFacts(at_kiva={"L1": loan()}, listed=(loan(),))
    delivered(outbox, "repayment", amount="30.00")
    with outbox.begin() as tx:
        store.owe(tx, outboxes.owed("L1", resource="repayment", amount="35.00", period="2026-10"), now=NOW)
        assert len(query.versions(tx, "repayment", "L1")) == 2
    assert read(outbox, "repayment").previous == Decimal("30.00")
    refused = read(outbox, "repayment", **REFUSED)
    assert refused == KeyFacts(at_kiva={"L1": loan()}, listed=(loan(),), previous=Decimal("30.00"))
    assert read(outbox, "repayment", identity=None, **REFUSED) == KeyFacts()
