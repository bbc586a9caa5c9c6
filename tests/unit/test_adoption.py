"""What Kiva has already is adopted: by which id, and when not."""

from __future__ import annotations

from typing import Any

import pytest

from kiva_relay.outbox import adoption
from kiva_relay.outbox.adoption import Adoption, Heard
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import State
from testbed.rig.outboxes import entry

LISTED = {loan: MirroredLoan(f"k{loan}", loan, "c", f"status of {loan}") for loan in ("A", "B")}


def listed(loan: str) -> Adoption:
    return Adoption({"kiva_id": f"k{loan}", "status": f"status of {loan}"})


@pytest.mark.parametrize(
    ("ids", "noted", "expected"),
    [
        ([], {}, None),
        (["C"], {}, None),
        (["A"], {}, listed("A")),
        (["B", "A"], {}, listed("B")),
        (["C", "A"], {}, listed("A")),
        (["C"], {"C": "typed by Awa"}, Adoption({"note": "typed by Awa"})),
        (["C", "D"], {"D": "second", "C": "first"}, Adoption({"note": "first"})),
        (["C", "B"], {"C": "typed"}, listed("B")),
        (["C"], {"A": "typed"}, None),
        (["C"], {"C": ""}, Adoption({"note": ""})),
    ],
)
def test_the_first_id_that_kiva_lists_then_what_a_person_said(
    ids: list[str], noted: dict[str, str], expected: Adoption | None
) -> None:
    assert adoption.decide(ids, LISTED, noted) == expected


@pytest.mark.parametrize(
    ("resource", "state", "older_in_flight", "may"),
    [
        ("loan_draft", None, False, True),
        ("loan_draft", State.READY, False, True),
        ("loan_draft", State.WAITING, False, True),
        ("loan_draft", State.REFUSED, False, True),
        ("loan_draft", State.SENDING, False, False),
        ("loan_draft", State.IN_DOUBT, False, False),
        ("loan_draft", State.DELIVERED, False, False),
        ("loan_draft", State.WITHDRAWN, False, False),
        ("loan_draft", None, True, False),
        ("loan_draft", State.READY, True, False),
        ("journal", None, False, False),
        ("repayment", State.READY, False, False),
    ],
)
def test_what_is_open_to_adoption(*, resource: str, state: State | None, older_in_flight: bool, may: bool) -> None:
    assert adoption.is_open(resource, state, older_in_flight=older_in_flight) is may


READY, WAITING, REFUSED, SENDING, DOUBT, DELIVERED = (
    entry(number, state=state)
    for number, state in enumerate(
        (State.READY, State.WAITING, State.REFUSED, State.SENDING, State.IN_DOUBT, State.DELIVERED), 1
    )
)


@pytest.mark.parametrize(
    ("mine", "at_kiva", "means", "settled"),
    [
        ([], False, Heard.NOTED, []),
        ([], True, Heard.KNOWN, []),
        ([READY], False, Heard.OWED, [READY]),
        ([READY], True, Heard.KNOWN, [READY]),
        ([WAITING, REFUSED], False, Heard.OWED, [WAITING, REFUSED]),
        ([DOUBT, WAITING], False, Heard.OWED, [DOUBT]),
        ([DOUBT, WAITING], True, Heard.KNOWN, [DOUBT]),
        ([SENDING], False, Heard.BEING_SENT, []),
        ([SENDING], True, Heard.BEING_SENT, []),
        ([SENDING, READY], False, Heard.BEING_SENT, []),
        ([SENDING, DOUBT, READY], False, Heard.BEING_SENT, [DOUBT]),
        ([DELIVERED], False, Heard.OWED, []),
    ],
)
def test_what_a_persons_word_means(*, mine: list[Any], at_kiva: bool, means: Heard, settled: list[Any]) -> None:
    assert adoption.heard(mine, at_kiva=at_kiva) == (means, settled)
