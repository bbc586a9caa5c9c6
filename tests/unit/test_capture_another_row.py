"""When a number of the MIS is another row's."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from kiva_relay.capture import another_row
from kiva_relay.capture.another_row import RowReplaced
from testbed.rig.capturing import CREATED, entry, mapped, seen

DAY = date(2026, 11, 20)
OTHER_DAY = date(2026, 11, 21)
THEIRS = {"client_id": "C2"}


@pytest.mark.parametrize(
    ("known", "now_is", "sent", "another"),
    [
        ({}, {}, {}, False),
        ({"created_at": str(CREATED)}, {"created_at": CREATED}, THEIRS, False),  # the same moment proves it
        ({"created_at": "2026-01-01"}, {"created_at": CREATED}, None, True),
        ({"created_at": str(DAY)}, {"created_at": OTHER_DAY}, None, True),
        ({"created_at": str(DAY)}, {"created_at": DAY}, None, False),
        ({"created_at": str(DAY)}, {"created_at": DAY}, {}, False),
        ({"created_at": str(DAY)}, {"created_at": DAY}, THEIRS, True),  # a day does not
        ({"created_at": None}, {"created_at": CREATED}, THEIRS, True),
        ({"created_at": str(CREATED)}, {"created_at": None}, THEIRS, True),
        ({"created_at": None}, {"created_at": None}, {}, False),
        ({"created_at": None}, {"created_at": None}, THEIRS, True),
        ({"created_at": None}, {"created_at": None}, None, False),
        ({"created_at": None}, {"created_at": None}, {"client_id": "C2", "key": "9"}, False),
        ({"created_at": None}, {"created_at": None}, {"client_id": ""}, False),
        ({"created_at": None}, {"created_at": None, "client_id": ""}, THEIRS, False),
        ({"created_at": None}, {"created_at": None, "body": {"group_name": "Teranga"}}, THEIRS, False),
        ({"created_at": None}, {"created_at": None, "body": None}, THEIRS, True),
        ({"created_at": "2026-01-01"}, {"created_at": CREATED, "identity": None}, None, False),
    ],
)
def test_what_is_another_row(known: Any, now_is: Any, sent: Any, *, another: bool) -> None:
    given = None if sent is None else entry(**sent)
    assert another_row.became_another(seen(**known), mapped(**now_is), given) is another


def test_a_row_that_nobody_knew_is_no_other() -> None:
    assert not another_row.became_another(None, mapped(), entry(client_id="C2"))
    assert another_row.former(None, mapped(), entry(client_id="C2")) is None


@pytest.mark.parametrize(
    ("known", "now_is", "same"),
    [
        ({}, {}, True),
        ({"created_at": "2026-01-01"}, {}, False),
        ({"created_at": None}, {}, False),
        ({"created_at": str(DAY)}, {"created_at": DAY}, False),
        ({"created_at": None}, {"created_at": None}, False),
        ({"created_at": None}, {"created_at": None, "identity": None}, True),
    ],
)
def test_when_nobody_has_to_know_what_was_sent(known: Any, now_is: Any, *, same: bool) -> None:
    assert another_row.is_surely_the_same(seen(**known), mapped(**now_is)) is same


def test_of_a_new_row_nobody_has_to_know_what_was_sent() -> None:
    assert another_row.is_surely_the_same(None, mapped())


@pytest.mark.parametrize(
    ("resource", "changes", "sent", "may_be_at_kiva"),
    [
        ("loan_draft", {}, False, False),
        ("loan_draft", {}, True, True),
        ("loan_draft", {"baselined": True}, False, True),
        ("repayment", {}, False, True),
    ],
)
def test_whether_kiva_may_have_something_of_the_former_row(
    resource: str, changes: Any, *, sent: bool, may_be_at_kiva: bool
) -> None:
    was = seen(resource, created_at="2026-01-01", **changes)
    found = another_row.former(was, mapped(resource), entry(resource) if sent else None)
    assert found == (was if may_be_at_kiva else None)
    assert another_row.former(seen(resource, **changes), mapped(resource), None) is None


def test_what_the_coordinator_is_shown() -> None:
    sent = entry()
    found = another_row.replaced(seen(created_at=None), mapped(created_at=DAY), sent)
    assert found == RowReplaced(sent, "created at an unknown time", "created 2026-11-20")
    assert another_row.replaced(seen("repayment"), mapped("repayment"), entry("repayment")) is None
    assert another_row.replaced(None, mapped(), sent) is None
    assert another_row.replaced(seen(), mapped(), None) is None
