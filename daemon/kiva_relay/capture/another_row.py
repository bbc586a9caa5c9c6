"""A number of the MIS that is another row's now, or two rows': what is owed for one must never go out for the other."""

from __future__ import annotations

from datetime import datetime

from kiva_relay.frozen import dataclass
from kiva_relay.mapping.mapper import Mapped
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource.kind import RESOURCES


@dataclass(frozen=True)
class RowReplaced:
    """The number of something sent belongs to another row of the MIS now: a divergence, with both rows in words."""

    sent: Entry
    was: str
    now_is: str


def is_surely_the_same(seen: Captured | None, mapped: Mapped) -> bool:
    """Is it the row that had this key before? Then nobody has to know what was sent of it.

    A creation moment proves it. A mere date does not, for a number may be given again on the same day.
    """
    if seen is None or mapped.identity is None:
        return True
    return isinstance(mapped.created_at, datetime) and seen.created_at == str(mapped.created_at)


def became_another(seen: Captured | None, mapped: Mapped, sent: Entry | None) -> bool:
    """A row that has another creation moment, or without one another borrower, is another row under the old number.

    `sent` is the version of its identity that is at Kiva or may be.
    """
    if seen is None or mapped.identity is None:
        return False
    if seen.created_at is not None and mapped.created_at is not None:
        if seen.created_at != str(mapped.created_at):
            return True
        if isinstance(mapped.created_at, datetime):
            return False
    if sent is None or sent.key != seen.key or "group_name" in (mapped.body or {}):
        return False
    return bool(sent.client_id and mapped.client_id) and sent.client_id != mapped.client_id


def former(seen: Captured | None, mapped: Mapped, sent: Entry | None) -> Captured | None:
    """The row that had this number before, when Kiva may have something of it; of a position nobody knows."""
    if seen is None or not became_another(seen, mapped, sent):
        return None
    surely_nothing = RESOURCES[seen.resource].create_once and not seen.baselined and sent is None
    return None if surely_nothing else seen


def replaced(row: Captured | None, mapped: Mapped, sent: Entry | None) -> RowReplaced | None:
    """What the coordinator is shown of a number whose `former` row was sent; a position is simply corrected."""
    if row is None or sent is None or not RESOURCES[row.resource].create_once:
        return None
    was, now_is = (f"created {moment or 'at an unknown time'}" for moment in (row.created_at, mapped.created_at))
    return RowReplaced(sent, was, now_is)
