"""What the preview of a position says of it, beside its body: by capture's own decision."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from kiva_relay.capture.context import mapper_context
from kiva_relay.cli import position_preview
from kiva_relay.mapping import lookup, mapper
from testbed.rig import month
from testbed.rig.month import Month, listed


@pytest.fixture
def november(tmp_path: Path) -> Month:
    return month.begin(tmp_path)


def said(november: Month, key: str = "1") -> list[str]:
    rig = november.rig
    (document,) = rig.documents
    content = rig.mis._content(document.stream, key)
    context = mapper_context(rig.settings, lists=lookup.Lists(), today=date(2026, 12, 2), cutoff=date(2026, 11, 30))
    mapped = mapper.apply(document, content, context=context)
    with rig.outbox.read() as tx:
        return list(position_preview.lines(tx, rig.settings, document, key, mapped, now=rig.clock.now()))


def test_a_position_that_a_person_has_to_look_at_waits_for_one(november: Month) -> None:
    november.lend("A", lent=500, repaid=600)
    november.lists(listed("A", lent=900))
    assert said(november)[0] == "waits for a person: more repaid than was lent."
    assert "kiva-relay report --exceptions" in said(november)[1]


def test_more_than_kiva_lists_waits_too(november: Month) -> None:
    november.lend("A", lent=500, repaid=400)
    november.lists(listed("A", lent=300))
    assert said(november)[0] == "waits for a person: more than Kiva lists as lent."


def test_a_position_that_goes_needs_no_word(november: Month) -> None:
    november.lend("A", lent=500, repaid=400)
    november.lists(listed("A"))
    assert said(november) == []


def test_a_loan_that_kiva_does_not_expect_is_not_sent(november: Month) -> None:
    november.lend("A", lent=500, repaid=400)
    november.lists(listed("B"))
    assert said(november) == ["not sent: Kiva expects no report of this loan."]


def test_without_kivas_list_nobody_knows(november: Month) -> None:
    november.lend("A", lent=500, repaid=400)
    assert "is known once Kiva's list was read" in said(november)[0]
