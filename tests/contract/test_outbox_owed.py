"""What a second look at the MIS makes of what is owed already, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from kiva_relay.outbox import query, settlement
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.resource.refusal import Refusal
from testbed.rig.outboxes import NOW, deliver, lose, put, states

LOAN = "000000871"
NAME, CURRENCY = (Refusal("name_empty", "entreps[0].first_name"),), (Refusal("missing", "currency"),)
INCOMPLETE: dict[str, Any] = {"body": None, "waits": "incomplete"}
ABSENT: dict[str, Any] = {"body": None, "waits": "loan_not_at_kiva"}
ONE, TWO = {"body": '{"amount":1}'}, {"body": '{"amount":2}'}
WAITS = ONE | {"waits": "incomplete"}


def refused(reasons: tuple[Refusal, ...]) -> dict[str, Any]:
    return {"body": None, "refusals": reasons}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(ONE, ONE, ["ready"], id="the same bytes"),
        pytest.param(ONE, TWO, ["superseded", "ready"], id="other bytes"),
        pytest.param(ONE, INCOMPLETE, ["superseded", "waiting"], id="became incomplete"),
        pytest.param(ONE, refused(NAME), ["superseded", "refused"], id="became wrong"),
        pytest.param(INCOMPLETE, INCOMPLETE, ["waiting"], id="still incomplete"),
        pytest.param(INCOMPLETE, ABSENT, ["superseded", "waiting"], id="waits for something else"),
        pytest.param(INCOMPLETE, ONE, ["superseded", "ready"], id="was completed"),
        pytest.param(WAITS, WAITS, ["waiting"], id="the same bytes, for the same reason"),
        pytest.param(WAITS, ONE, ["ready"], id="the reason is gone"),
        pytest.param(WAITS, ONE | {"waits": "other"}, ["superseded", "waiting"], id="another reason"),
        pytest.param(refused(NAME), refused(NAME), ["refused"], id="refused for the same reasons"),
        pytest.param(refused(NAME), refused(CURRENCY), ["superseded", "refused"], id="refused for others"),
        pytest.param(refused(NAME), ONE, ["superseded", "ready"], id="was corrected"),
        pytest.param(refused(NAME), INCOMPLETE, ["superseded", "waiting"], id="neither wrong nor complete"),
    ],
)
def test_a_new_version_is_made_only_when_something_differs(
    outbox: Outbox, first: dict[str, Any], second: dict[str, Any], expected: list[str]
) -> None:
    assert put(outbox, **first) is not None
    put(outbox, **second)
    assert states(outbox) == expected
    assert put(outbox, **second) is None
    assert states(outbox) == expected


def test_a_position_whose_doubt_ended_well_is_not_sent_again(outbox: Outbox) -> None:
    position: dict[str, Any] = {"resource": "repayment", "period": "2026-10", "stream": "repayment"}
    put(outbox, **position)
    doubt = lose(outbox, "repayment")
    word(outbox, doubt, "resend")
    deliver(outbox, "repayment")
    assert put(outbox, **position) is None
    assert states(outbox, resource="repayment") == ["delivered"], "what was lost before is settled by what was taken"


@pytest.mark.parametrize(
    ("resource", "is_owed"), [("loan_draft", False), ("journal", False), ("repayment", True)], ids=str
)
def test_what_must_not_go_out_stays_here_but_a_newer_position_is_owed(
    outbox: Outbox, resource: str, *, is_owed: bool
) -> None:
    first = put(outbox, resource=resource)
    assert first is not None
    word(outbox, first, "discard")
    assert put(outbox, resource=resource) is None
    assert (put(outbox, body='{"amount":2}', resource=resource) is not None) is is_owed


@pytest.mark.parametrize("resource", ["loan_draft", "repayment"])
def test_what_went_back_to_what_is_under_way_needs_no_other_version(outbox: Outbox, resource: str) -> None:
    put(outbox, resource=resource)
    lose(outbox, resource)
    put(outbox, body='{"amount":2}', resource=resource)
    with outbox.read() as tx:
        newer, older = query.versions(tx, resource, LOAN)
    assert (newer.waits_for, newer.reason) == (older.id, "older_in_flight")
    assert put(outbox, resource=resource) is None
    assert states(outbox, resource=resource) == ["in_doubt", "superseded"]


def word(outbox: Outbox, entry: Entry, verb: settlement.Verb) -> None:
    with outbox.begin() as tx:
        settlement.settle(tx, entry, verb, by="awa", note="", now=NOW)
