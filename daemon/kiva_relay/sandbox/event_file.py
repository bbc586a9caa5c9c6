"""What survives a restart: one JSON object a line, appended before the answer goes out."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

import orjson

from kiva_relay import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class EventFile:
    """One file, held open and locked by one stand-in.

    Lines reach the operating system at once, so they survive a killed process. They are not synced: a
    machine that loses power may lose the last ones.

    Raises:
        UsageError: Another stand-in has the file open, or it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
        except OSError as why:
            raise errors.UsageError(f"The ledger {path} cannot be opened: {why.strerror}.") from why
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise errors.UsageError(
                f"The ledger {path} is in use by another sandbox.",
                hint="Stop that one, or name another file.",
            ) from None
        self._cut_unfinished_line()

    def replay(self) -> Iterator[dict[str, Any]]:
        """Every event since the file began. Numbers with a point keep their digits (`orjson.Fragment`)."""
        # The file held open for writing has no buffer: lines read from it would come byte by byte.
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json.loads(line, parse_float=_digits)
                except ValueError as why:
                    raise errors.UsageError(
                        f"{self.path}:{number}: expected a JSON object, found something else.",
                        hint="Move the file away to begin an empty ledger.",
                    ) from why

    def append(self, event: Mapping[str, Any]) -> None:
        """Add one event; an unbuffered write, so it is the operating system's when this returns."""
        self._file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _cut_unfinished_line(self) -> None:
        """A process killed while it wrote leaves half a line; nobody had an answer to that call."""
        size = self._file.seek(0, os.SEEK_END)
        kept = size
        while kept:
            begin = max(0, kept - 65_536)
            self._file.seek(begin)
            found = self._file.read(kept - begin).rfind(b"\n")
            if found >= 0:
                kept = begin + found + 1
                break
            kept = begin
        if kept < size:
            self._file.truncate(kept)


def _digits(number: str) -> orjson.Fragment:
    return orjson.Fragment(number)
