"""Of the stream: which commits a snapshot sees, what is asked of a server, and the credit for reading."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from kiva_relay.capture import follow
from kiva_relay.source import pgoutput, slot
from kiva_relay.source.route import VisibleTransactions

USABLE = slot.SlotFacts(
    name="kiva_relay_sandbox_mis", role="kiva_relay", next_xid=100, wal_level="logical", keep="10GB", standbys="",
    standby=False, may_follow=True, published=True, partial=False, there=True, here=True, plugin="pgoutput", reader=None,
    wal_status="reserved", kept=0,
)  # fmt: skip


PROMOTED = replace(USABLE, there=False, here=False, plugin="", wal_status="", timeline="3", version=180_001)


@pytest.mark.parametrize(
    ("found", "followed_on", "anew"),
    [
        (PROMOTED, "2", True),
        (PROMOTED, "3", False),  # somebody dropped it
        (PROMOTED, None, False),  # it was never followed
        (replace(PROMOTED, there=True), "2", False),
        (replace(PROMOTED, published=False), "2", False),
        (replace(PROMOTED, partial=True), "2", False),
        (replace(PROMOTED, may_follow=False), "2", False),
        (replace(PROMOTED, wal_level="replica"), "2", False),
        (replace(PROMOTED, standby=True, timeline=""), "2", False),
        (replace(PROMOTED, standbys="*"), "2", False),
    ],
)
def test_a_slot_is_made_anew_where_a_standby_took_over_without_it(
    found: slot.SlotFacts, followed_on: str | None, *, anew: bool
) -> None:
    assert slot.was_left_behind(found, followed_on) is anew


def test_standbys_keep_a_slot_from_postgresql_17_on() -> None:
    assert slot.creation(PROMOTED).endswith("'pgoutput', failover => true);")
    assert slot.creation(replace(PROMOTED, version=160_009)).endswith("'pgoutput');")


@pytest.mark.parametrize(
    ("snapshot", "xid32", "seen"),
    [
        ("100:104:100,102", 99, True),
        ("100:104:100,102", 100, False),
        ("100:104:100,102", 101, True),
        ("100:104:100,102", 104, False),
        # The stream tells 32 bits of an id, a snapshot all of them.
        (f"{2**32 + 5}:{2**32 + 9}:", 2**32 - 1, True),
        (f"{2**32 + 5}:{2**32 + 9}:", 8, True),
        (f"{2**32 + 5}:{2**32 + 9}:", 9, False),
        (f"{2**32 - 5}:{2**32 - 3}:", 2, False),
    ],
)
def test_a_snapshot_sees_what_was_committed_before_it(snapshot: str, xid32: int, seen: bool) -> None:  # noqa: FBT001 - a table's column
    assert VisibleTransactions.parse(snapshot).sees(xid32) is seen


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"standby": True}, "a standby"),
        ({"wal_level": "replica"}, "needs logical"),
        ({"published": False}, "there is no publication kiva_relay_sandbox_mis"),
        ({"there": False}, "there is no slot kiva_relay_sandbox_mis"),
        ({"plugin": "test_decoding"}, "of another plugin"),
        ({"wal_status": "lost"}, "wal_status lost"),
        ({"may_follow": False}, "lacks REPLICATION"),
        ({"standbys": "*"}, "would wait for the relay"),
        ({"standbys": "ANY 1 (*)"}, "would wait for the relay"),
        ({"standbys": "FIRST 1 (berlin, paris)"}, ""),
    ],
)
def test_why_a_stream_is_not_followed(changes: dict[str, Any], said: str) -> None:
    found = slot.lacks(replace(USABLE, **changes))
    assert said in found
    assert bool(found) == bool(said)


def test_the_name_is_one_that_a_slot_may_have() -> None:
    assert slot.name("Fineract-Default", "staging") == "kiva_relay_staging_fineract_default"
    assert len(slot.name("x" * 80, "production")) == 63


def test_a_row_of_which_a_column_is_not_told_leads_nowhere() -> None:
    one = pgoutput.Transaction(xid=7, before=0, wanted={1: ("id", "loan_id")})
    one.keep(1, (3, None))
    one.keep(1, (4, 9))
    assert list(one.values(1, ("loan_id",))) == [(9,)]
    assert list(one.values(1, ("id",))) == [(3,), (4,)]
    assert list(one.values(1, ("elsewhere",))) == []
    one.empty(1)
    one.keep(1, (5, 9))
    assert list(one.values(1, ("id",))) == []
    assert one.whole == {1}


class _Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at


def test_reading_may_run_ahead_and_then_waits_until_its_share_is_kept() -> None:
    clock, nothing = _Clock(), cast("Any", None)
    following = follow.StreamFollower(
        mis=nothing, outbox=nothing, clock=cast("Any", clock), url="postgresql://h/d", password=None, name="n",
        required=False, share=0.05, news=lambda: None,
    )  # fmt: skip
    following.spent(0.05 * follow.SPAN)
    assert following.pause() == 0
    following.spent(0.01)
    assert following.pause() == pytest.approx(0.2)
    clock.at += 0.2
    assert following.pause() == pytest.approx(0)
    # In an hour of silence not more is earned than may be spent at once.
    clock.at += 3600
    following.spent(0.05 * follow.SPAN + 0.05)
    assert following.pause() == pytest.approx(1.0)
