from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from kiva_relay.sandbox import publishing
from testbed.rig.partner_caller import draft_body

TODAY = date(2026, 11, 23)


def test_a_draft_with_gaps_for_the_coordinator_can_be_published() -> None:
    assert publishing.refusals(draft_body("A-1"), today=TODAY) == ()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"entreps": []}, "entreps"),
        ({"internal_loan_id": "A-1"}, "internal_loan_id: not on an individual loan"),
        ({"not_pictured": [False, True]}, "not_pictured"),
        ({"location": "Thies: Senegal"}, "location"),
        ({"activity_id": 0}, "activity_id"),
        ({"currency": "CFA"}, "currency"),
        ({"disburse_time": "2026-10-24"}, "30 days ago"),
        ({"disburse_time": "2027-03-01"}, "90 days ahead"),
        ({"schedule": [{"date": "2026-12-31", "principal": 149999.99, "interest": 1}]}, "schedule"),
    ],
)
def test_pa2_says_why_it_does_not_publish(fields: dict[str, Any], named: str) -> None:
    (reason,) = publishing.refusals(draft_body("A-1", **fields), today=TODAY)
    assert named in reason


def test_the_last_days_that_pa2_takes() -> None:
    assert publishing.refusals(draft_body("A-1", disburse_time="2026-10-25"), today=TODAY) == ()
    assert publishing.refusals(draft_body("A-1", disburse_time="2027-02-21"), today=TODAY) == ()
