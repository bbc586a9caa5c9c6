"""The rows of the MIS that a mapping covers, a page at a time: for samples and trial runs, which write nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Protocol

from kiva_relay.source import reader
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import Stream

PAGE = 500
"""Rows of one page."""

PAGE_WITH_PHOTOS = 10
"""Of one whose rows bring photos: they are held whole, and a camera's is of megabytes."""


class BookDatabase(Protocol):
    """What is asked of the MIS here; `source.mis.Mis` answers it."""

    def scan(self, stream: Stream, *, after: str | None, limit: int) -> list[str]:
        """Keys in scope behind a key, in the order of the table's key."""
        ...

    def read(self, stream: Stream, keys: Sequence[str], *, cutoff: date) -> list[Content]:
        """The content of each key, in the order of the keys."""
        ...

    def columns(self, source: str, /) -> Mapping[str, str]:
        """The columns of a table or of a SELECT, and their kinds."""
        ...


def contents(
    stream: Stream, mis: BookDatabase, *, cutoff: date, limit: int | None = None, page: int = PAGE
) -> Iterator[list[Content]]:
    """Everything in scope, in the order of the keys, page by page; at most `limit` rows.

    `cutoff` is the day up to which repayments count, `page` how many rows one page has at most.

    Raises:
        RelayError: the database does not answer, or refuses a query.
    """
    kinds = {of: mis.columns(stream.sources[of]) for of in {of for of, _ in stream.pictures}}
    after, left, longest = None, limit, None
    while left is None or left > 0:
        size = min(page, PAGE_WITH_PHOTOS) if stream.brings_photos(kinds, longest) else page
        keys = mis.scan(stream, after=after, limit=size if left is None else min(size, left))
        if not keys:
            return
        found = mis.read(stream, keys, cutoff=cutoff)
        longest = reader.longest(found, stream.pictures, besides=longest)
        yield found
        del found  # two pages of photos are not held at once
        after = keys[-1]
        left = None if left is None else left - len(keys)
