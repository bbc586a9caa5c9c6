"""Many rows that leave at once: not seen is not gone, so a person is asked before anything is withdrawn for them.

A policy of the database that hides rows, a right that was taken away, a status that was renamed: each looks like rows
that left. Of a mapping, so many may leave within a day as a tenth of its scope, and twenty in any case. What is beyond
that stays as it was known, and the mapping is held. A sweep that meets the rows again lifts the hold; a person who
releases it says that they left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.capture.context import CaptureContext
from kiva_relay.outbox import hold, meta, mirror, query, watermark
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.source.reader import Content

REASON = "many_left"

FEW = 20
"""So many may always leave within a day."""

PART = 10
"""More than one in so many is a reason to ask."""

ALL_OF = 3
"""A scope of so many rows that is empty at the end of the day is one, too."""

_DAY = timedelta(days=1)

_log = log.get("capture")


def of(
    tx: Connection, look: CaptureContext, contents: Iterable[Content], known: Mapping[str, Captured]
) -> Collection[str]:
    """The keys of a page that stay as they are known, for too many of their kind have left; the mapping is held then.

    The hold's parameters: `stream`, its name; `number`, how many left; `of`, how many were in scope.

    Args:
        tx: a writing transaction of the outbox.
        look: what the page is decided with.
        contents: the page.
        known: what is known of its keys.
    """
    leaving = {one.key: one for one in contents if one.key in known and known[one.key].in_scope and not _is_there(one)}
    if not leaving:
        return ()
    stream, what = look.document.name, hold.STREAM + look.document.name
    if hold.released_since(tx, what, REASON, look.now - _DAY):
        return ()
    so_far = _today(tx, look)
    counted = sum(_counts(tx, one, known[key]) for key, one in leaving.items())
    gone = so_far.gone + sum(_is_no_end(tx, one, known[key]) for key, one in leaving.items())
    number = so_far.counted + counted
    if look.origin == "leaving":
        # The scan knows how many it did not meet, not only those of this page.
        number = max(number, so_far.counted + watermark.unmet(tx, stream, look.scan_number or 0))
    is_all = gone >= so_far.of >= ALL_OF
    if not is_all and (number <= FEW or number * PART <= so_far.of):
        meta.leaving(stream).put(tx, dataclasses.replace(so_far, counted=so_far.counted + counted, gone=gone))
        return ()
    given = {"stream": stream, "number": max(number, gone if is_all else 0), "of": so_far.of}
    if hold.put(tx, what, REASON, now=look.now, params=given):
        _log.error("Many rows left at once; held, nothing is withdrawn", stream=stream, rows=given["number"])
    return tuple(leaving)


def met_again(tx: Connection, stream: str, *, now: datetime) -> None:
    """A scan is over: without a row that it did not see, the hold is lifted."""
    if not watermark.has_unseen(tx, stream):
        hold.release(tx, hold.STREAM + stream, by=hold.RELAY, note="the rows are there", now=now, reason=REASON)


def is_released(tx: Connection, stream: str) -> bool:
    """Did a person say that the rows left, so that they are looked at again?"""
    if not watermark.has_unseen(tx, stream):
        return False
    what = hold.STREAM + stream
    return not any(held.what == what and held.reason == REASON for held in hold.in_force(tx))


def _is_there(content: Content) -> bool:
    return content.root is not None and content.in_scope


def _today(tx: Connection, look: CaptureContext) -> meta.Leaving:
    """What left since the day began; a day begins with the first row that leaves."""
    known = meta.leaving(look.document.name).get(tx)
    if known is not None and timedelta(0) <= look.now - known.since < _DAY:
        return known
    return meta.Leaving(since=look.now, of=watermark.in_scope(tx, look.document.name))


def _counts(tx: Connection, content: Content, seen: Captured) -> bool:
    """Is it one of those that a person is asked about?

    A row that is still shown is not, when the MIS itself says that it is out of scope and nothing is undone by that: a
    loan that was paid off.
    """
    return content.root is None or (RESOURCES[seen.resource].create_once and _is_no_end(tx, content, seen))


def _is_no_end(tx: Connection, content: Content, seen: Captured) -> bool:
    """Is leaving not just the normal end of a draft or journal that was published?"""
    if content.root is None or not RESOURCES[seen.resource].create_once:
        return True
    if seen.identity is None:
        return False
    known = query.stand(tx, seen.resource, seen.identity)
    sent = known.sent
    return bool(known.unsent) or (sent is not None and sent.evidence != "adopted" and not mirror.is_published(tx, sent))
