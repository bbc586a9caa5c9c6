"""Which mappings fit the MIS as it is now: one that does not is not read until it fits again. The others go on.

Upgrades of a MIS drop columns and change types. A row that is mapped meanwhile would be refused, or be sent with a
value that means something else. A stream that is not read misses nothing, for its watermark does not move.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from kiva_relay import errors, log, meter
from kiva_relay.clock import Clock
from kiva_relay.mapping import document as documents_
from kiva_relay.mapping.document import Document
from kiva_relay.source import failure, reader
from kiva_relay.source.mis import Mis
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import ROOT

LOOK_AGAIN = 300.0
"""Seconds after which a mapping that fits is compared again."""

TRY_AGAIN = 30.0
"""Seconds after which a mapping that does not fit is tried again."""

_LIKE = {"integer": "number", "datetime": "date", "boolean": "number"}

_log = log.get("fit")


class DoesNotFit(errors.RelayError):
    """A column that the mapping reads is gone, or holds something else than before."""


class Fit:
    """The mappings in force. `stopped` are those that are not read, by name, with the reason for a person."""

    def __init__(self, documents: Iterable[Document], mis: Mis, *, clock: Clock) -> None:
        self._documents = {document.name: document for document in documents}
        self._mis, self._clock = mis, clock
        self._next_look: dict[str, float] = {}
        self._shapes: dict[str, Mapping[str, Mapping[str, str]]] = {}
        self._kinds: dict[str, dict[tuple[str, str], str]] = {}
        self._longest: dict[str, int | None] = {}
        self._fitted: dict[str, dict[tuple[str, str], str]] = {}
        """What the columns that a mapping reads held when it fitted last."""
        self.stopped: dict[str, str] = {}

    @property
    def names(self) -> Collection[str]:
        """All of them, also those that are not read now."""
        return self._documents.keys()

    def those_that_fit(self) -> list[Document]:
        """The mappings to read in this cycle; those whose time has come are compared with the MIS first.

        Raises:
            Unreachable: the MIS is away.
        """
        live = _Live(self._mis)
        for name in self._documents:
            if self._clock.monotonic() >= self._next_look.get(name, 0.0):
                self._look(name, live)
        meter.replace(meter.stream_stopped, {(name,): 1.0 for name in self.stopped})
        return [document for name, document in self._documents.items() if name not in self.stopped]

    def stop(self, name: str, error: errors.RelayError) -> None:
        """Do not read a mapping for `TRY_AGAIN` seconds: something failed that concerns no other."""
        if name not in self.stopped:
            cause = "see kiva-relay status" if isinstance(error, failure.Quoting) else str(error)
            _log.error("A mapping does not fit the MIS and is not read; the others go on", mapping=name, cause=cause)
        self.stopped[name] = str(error)
        self._next_look[name] = self._clock.monotonic() + TRY_AGAIN
        meter.replace(meter.stream_stopped, {(one,): 1.0 for one in self.stopped})

    def confirm(self, document: Document) -> None:
        """Between reading a page and mapping it: do the columns that were read still fit?

        Raises:
            DoesNotFit: they have changed, and the mapping does not fit them.
        """
        shape = self._mis.shape(document.stream)
        if shape == self._shapes.get(document.name):
            return
        is_known = self._is_as_it_fitted(document, shape)
        if not is_known and (error := self._mistake(document, _Live(self._mis))):
            raise DoesNotFit(error, hint="kiva-relay mapping check")
        self._shapes[document.name] = shape

    def brings_photos(self, document: Document) -> bool:
        """Do its rows hold photos themselves, as far as is known?"""
        kinds: dict[str, dict[str, str]] = defaultdict(dict)
        for (owner, column), kind in self._kinds.get(document.name, {}).items():
            kinds[owner][column] = kind
        return document.stream.brings_photos(kinds, self._longest.get(document.name))

    def saw(self, document: Document, contents: Iterable[Content]) -> None:
        """Keep how long the texts are where photos, or their paths, stand."""
        if document.stream.pictures:
            before = self._longest.get(document.name)
            self._longest[document.name] = reader.longest(contents, document.stream.pictures, besides=before)

    def _is_as_it_fitted(self, document: Document, shape: Mapping[str, Mapping[str, str]]) -> bool:
        """Are the columns that were met, of those that it reads, the ones with which it was compared?"""
        met = {owner or ROOT: columns for owner, columns in shape.items()}
        fitted = self._fitted.get(document.name)
        if fitted is None:
            return False
        return _used(document, met) == {column: kind for column, kind in fitted.items() if column[0] in met}

    def _look(self, name: str, live: _Live) -> None:
        if error := self._mistake(self._documents[name], live):
            self.stop(name, DoesNotFit(error))
            return
        if self.stopped.pop(name, None) is not None:
            _log.info("The mapping fits again; what it missed is read now", mapping=name)
        self._next_look[name] = self._clock.monotonic() + LOOK_AGAIN

    def _mistake(self, document: Document, live: _Live) -> str:
        """What keeps a mapping from being read, "" when nothing does."""
        mistakes = [one for one in documents_.verify(document, live) if one.severity == "error"]
        if mistakes:
            return f"{mistakes[0].path}: {mistakes[0].message}"
        kinds = _of_columns(document, live)
        before = self._kinds.setdefault(document.name, kinds)
        for column, kind in kinds.items():
            was = before.get(column, kind)
            if _LIKE.get(was, was) != _LIKE.get(kind, kind):
                name = ".".join(part for part in column if part)
                return f"{name} was {was} and is {kind} now; look whether the mapping still means the same, then reload"
        self._fitted[document.name] = kinds
        return ""


class _Live:
    """The columns of the MIS as they are at this moment: each table and SELECT is asked once, whoever reads it."""

    def __init__(self, mis: Mis) -> None:
        self._mis = mis
        self._known: dict[str, Mapping[str, str]] = {}

    def columns(self, source: str, /) -> Mapping[str, str]:
        if source not in self._known:
            self._known[source] = self._mis.columns(source)
        return self._known[source]

    def choices(self, sql: str, /) -> Sequence[tuple[str, str]]:
        return self._mis.choices(sql)


def _of_columns(document: Document, live: _Live) -> dict[tuple[str, str], str]:
    """What the columns that the mapping reads hold, by owner and name."""
    stream = document.stream
    return _used(document, {owner: live.columns(source) for owner, source in stream.sources.items()})


def _used(document: Document, columns: Mapping[str, Mapping[str, str]]) -> dict[tuple[str, str], str]:
    """Of these columns, by owner and name, those that the mapping reads."""
    used = {(column.owner or ROOT, column.name) for column in document.columns}
    return {(owner, name): columns[owner][name] for owner, name in sorted(used) if name in columns.get(owner, {})}
