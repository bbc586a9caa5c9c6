"""The bodies of the present book, made again by this program, beside those that the outbox holds. Only reads.

What another version has made of a row, this one must make of it, too: after an upgrade this says of how many it does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from kiva_relay.capture import facts, owed, page, trial
from kiva_relay.capture.context import CaptureContext
from kiva_relay.capture.owed import MappedKey
from kiva_relay.config import settings as config
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import book, difference, lookup, mapper
from kiva_relay.mapping.book import BookDatabase
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import catalogue, decision, divergence, meta, mirror, query, state, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry, Owed
from kiva_relay.outbox.state import State
from kiva_relay.resource import body as json_body
from kiva_relay.source.reader import Content

_TOO_OLD = "disbursed_too_long_ago"
"""Every draft comes to that in time, by whichever version."""


@dataclass(frozen=True)
class OtherBody:
    """A row of which another body is made than the outbox holds.

    `fields` are the places that differ; none where the old body was deleted, or none is made any more.
    """

    entry: int
    loan_id: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class MadeAgain:
    """Rows of the book: how many bodies of them were compared, and which differ.

    `changed` are rows that the MIS has changed since the relay read them: they say nothing about a version.
    """

    rows: int = 0
    compared: int = 0
    changed: int = 0
    others: tuple[OtherBody, ...] = ()

    def __add__(self, more: MadeAgain) -> MadeAgain:
        return MadeAgain(
            self.rows + more.rows,
            self.compared + more.compared,
            self.changed + more.changed,
            self.others + more.others,
        )


def look(
    tx: Connection, document: Document, settings: config.Settings, *, now: datetime, streams: Collection[str]
) -> CaptureContext:
    """What a mapping's rows are decided with, as a poll of this moment would decide them. `streams`: the mappings."""
    lists, first_start = lookup.Lists.of(catalogue.load(tx)), meta.FIRST_START.get(tx) or now
    made = trial.look(document, settings, lists=lists, now=now, first_start=first_start)
    decisions = decision.in_force(tx, made.report.period) if document.resource == "repayment" else {}
    return dataclasses.replace(
        made,
        origin="poll",
        scan_number=None,
        photos="bytes",
        streams=streams,
        aliases={**made.aliases, **decision.aliases(tx)},
        decisions=decisions,
    )


def pages(look: CaptureContext, mis: BookDatabase, outbox: Outbox) -> Iterator[MadeAgain]:
    """Every row that the mapping of `look` covers, some at a time.

    Raises:
        RelayError: the MIS does not answer, or refuses a query.
    """
    for contents in book.contents(look.document.stream, mis, cutoff=look.report.cutoff):
        with outbox.read() as tx:
            made = _page(tx, look, contents)
        yield made


def _page(tx: Connection, look: CaptureContext, contents: Sequence[Content]) -> MadeAgain:
    name = look.document.name
    known = watermark.captured(tx, name, [content.key for content in contents])
    # Where the mapping became another one, its digests did, too: then nobody can tell what the MIS has changed.
    can_tell = meta.mapping_fingerprint(name).get(tx) == look.document.fingerprint
    compared, changed, others = 0, 0, list[OtherBody]()
    for content in contents:
        seen = known.get(content.key)
        if seen is None or not owed.is_in_scope(content):
            continue
        mapped = mapper.apply(look.document, content, context=look.context)
        row = MappedKey(content.key, seen, mapped, seen.hash)
        now_is = owed.decide(look, row, facts.read(tx, look, row)).owed
        held = None if now_is is None else _held(tx, now_is)
        if now_is is None or held is None:
            continue
        if can_tell and page.has_changed(look, content, seen):
            changed += 1
            continue
        compared += 1
        if held.body_sha256 != now_is.body_sha256:
            others.append(OtherBody(held.id, held.loan_id, _fields(held, now_is)))
    return MadeAgain(len(contents), compared, changed, tuple(others))


def _held(tx: Connection, now_is: Owed) -> Entry | None:
    """The entry that was made of the same row, where that can be told.

    It cannot of what we did not send ourselves, of a draft that was published, for PA2's page counts from then on, and
    of what the MIS has changed after it was sent.
    """
    if not _says_something(now_is):
        return None
    newest = query.stand(tx, now_is.resource, now_is.identity).newest
    if newest is None or newest.body_sha256 is None or newest.period != now_is.period:
        return None
    if newest.state in state.UNSENT | state.IN_FLIGHT:
        return newest
    if newest.state is not State.DELIVERED or newest.evidence == "adopted":
        return None
    if newest.resource == "repayment":
        return newest
    published = newest.resource == "loan_draft" and mirror.is_published(tx, newest)
    return None if published or divergence.is_told(tx, newest.id) else newest


def _says_something(now_is: Owed) -> bool:
    """Is there a body, or a reason why there is none that is not only the day of today?"""
    return now_is.body is not None or any(reason.code != _TOO_OLD for reason in now_is.refusals)


def _fields(held: Entry, now_is: Owed) -> tuple[str, ...]:
    if held.body is None or now_is.body is None:
        return ()
    was, made = (json_body.decode(body.encode()) for body in (held.body, now_is.body))
    return tuple(path for path, _, _ in difference.places(was, made))
