"""Borrowers' names, read live from the MIS for the page that is shown just now. Kept nowhere: not even in memory.

A name that cannot be read is simply not there: the page works by ids, also while the MIS is away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from kiva_relay import errors, log
from kiva_relay.capture.context import mapper_context
from kiva_relay.clock import Clock
from kiva_relay.config.settings import Settings
from kiva_relay.mapping import lookup, mapper
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import catalogue, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.resource import body as json_body
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource import window
from kiva_relay.source.mis import Mis
from kiva_relay.terminal import visible

_AWAY_FOR = 30.0
"""Seconds in which a MIS that did not answer is not asked again: nobody waits for it at each click."""
_MOST = 100
_MOST_BORROWERS = 6
_log = log.get("page")


class MisNames:
    """Who the borrowers are, by the MIS. `opens` is called for each page that is shown."""

    def __init__(
        self, settings: Settings, documents: Sequence[Document], *, opens: Callable[[], Mis], clock: Clock
    ) -> None:
        self._settings, self._opens, self._clock = settings, opens, clock
        self._documents = {one.name: one for one in documents if one.resource == "loan_draft"}
        self._not_before = 0.0
        self._lists: tuple[dict[str, str], lookup.Lists] | None = None

    def of(self, outbox: Outbox, loan_ids: Collection[str]) -> dict[str, str]:
        """Loan id → the names of its borrowers, of those that the MIS tells."""
        wanted = {spelled.key(one): one for one in list(dict.fromkeys(loan_ids))[:_MOST] if one}
        if not wanted or self._clock.monotonic() < self._not_before:
            return {}
        keys = self._keys(outbox, wanted)
        if not keys:
            return {}
        try:
            return {wanted[identity]: names for identity, names in self._read(keys) if identity in wanted}
        except errors.RelayError as error:
            self._not_before = self._clock.monotonic() + _AWAY_FOR
            _log.warning("Names cannot be shown: the MIS does not answer", error=type(error).__name__)
            return {}

    def _keys(self, outbox: Outbox, wanted: Collection[str]) -> dict[str, dict[str, str]]:
        """By mapping, the keys of these loans in the MIS, each with the loan's own key."""
        columns, found = table.captured.c, dict[str, dict[str, str]]()
        query = sa.select(columns.stream, columns.key, columns.identity).where(
            columns.resource == "loan_draft", columns.identity.in_(sorted(wanted))
        )
        with outbox.read() as tx:
            for row in tx.execute(query):
                if row.stream in self._documents:
                    found.setdefault(row.stream, {})[row.key] = row.identity
            # Kiva's lists, without which nothing is mapped; they name no borrower, and are kept.
            versions = catalogue.versions(tx)
            if self._lists is None or self._lists[0] != versions:
                self._lists = (versions, lookup.Lists.of(catalogue.load(tx)))
        return found

    def _read(self, keys: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
        now = self._clock.now()
        today = now.astimezone(ZoneInfo(self._settings.mis.timezone)).date()
        cutoff = window.report(self._settings, now).cutoff
        lists = lookup.Lists() if self._lists is None else self._lists[1]
        context = mapper_context(self._settings, lists=lists, today=today, cutoff=cutoff, photos="sha256")
        mis = self._opens()
        try:
            for stream, of_stream in keys.items():
                document = self._documents[stream]
                for content in mis.read(document.stream, list(of_stream), cutoff=cutoff):
                    mapped = mapper.apply(document, content, context=context)
                    if names := _names(mapped.body or mapped.partial or {}):
                        yield of_stream[content.key], names
        finally:
            mis.close()


def _names(body: json_body.Body) -> str:
    """The borrowers of a draft, before them the group's name."""
    people = [
        " ".join(str(one[part]) for part in ("first_name", "last_name") if one.get(part))
        for one in body.get("entreps", ())
    ]
    shown = [name for name in people if name]
    several = [*shown[:_MOST_BORROWERS], *(["…"] if len(shown) > _MOST_BORROWERS else [])]
    group = str(body.get("group_name") or "")
    return visible.text(": ".join(part for part in (group, ", ".join(several)) if part))
