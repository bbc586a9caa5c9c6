"""The witness: a file outside the database that knows what may have been sent, and what Kiva answered.

Before the first byte of a request, its attempt number, resource and identities are appended and synced here. An
outbox that was restored from a backup, lost or replaced is seen by what the witness has and the outbox lacks; an
outbox whose witness was lost, by what the outbox has and the witness lacks. It holds no personal data: identities
are the institution's own loan and note numbers, receipts are Kiva's.

A line is one JSON object. `to` is a fingerprint of API and partner, `outbox` the outbox's own number, which it
changes whenever it was found behind: so an attempt number never means two things. An attempt of 0 says that the
outbox and this file belong together. `ended` stands on a second line, for each identity that the answer decided:
Kiva's receipt, or null where it surely is not at Kiva.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from kiva_relay import errors


@dataclass(frozen=True)
class Testimony:
    """An attempt that may have reached Kiva, or (`ended` is not None) what became of it, by identity."""

    outbox_id: str
    attempt: int
    resource: str
    identities: tuple[str, ...] = ()
    ended: Mapping[str, Mapping[str, Any] | None] | None = None


class Witness:
    """An append-only file of testimonies about one destination."""

    def __init__(self, path: Path, *, api_url: str, partner_id: str) -> None:
        self.path = path
        self._to = hashlib.sha256(f"{api_url} {partner_id}".encode()).hexdigest()[:16]
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, stat.S_IRUSR | stat.S_IWUSR)
            _sync_folder(path.parent)
            self._end_torn_line()
        except OSError as error:
            raise errors.UsageError(
                f"outbox.witness: {path} cannot be written: {error.strerror}.",
                hint=f"sudo install -d -o kiva-relay -m 0700 {path.parent}",
            ) from error

    def belongs_to(self, outbox_id: str) -> None:
        """Say that this file is the witness of an outbox: without this line it is a new, or another one's."""
        self.testify(outbox_id=outbox_id, attempt=0, resource="", identities=())

    def testify(self, *, outbox_id: str, attempt: int, resource: str, identities: Sequence[str]) -> None:
        """Append one line and sync it to the disk; only then may the first byte leave."""
        self._append(
            {"to": self._to, "outbox": outbox_id, "attempt": attempt, "resource": resource, "id": list(identities)}
        )
        os.fdatasync(self._descriptor)

    def ended(
        self, *, outbox_id: str, attempt: int, resource: str, ended: Mapping[str, Mapping[str, Any] | None]
    ) -> None:
        """Append what an answer decided. Not synced: without this line the attempt is in doubt, which is safe."""
        self._append(
            {"to": self._to, "outbox": outbox_id, "attempt": attempt, "resource": resource, "ended": dict(ended)}
        )

    def testimonies(self) -> Iterator[Testimony]:
        """All lines about this destination. A line that a power cut tore was never followed by a byte: skipped."""
        with self.path.open("rb") as file:
            for text in file:
                with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
                    line = orjson.loads(text)
                    if line["to"] == self._to:
                        yield Testimony(
                            outbox_id=line["outbox"],
                            attempt=line["attempt"],
                            resource=line["resource"],
                            identities=tuple(line.get("id", ())),
                            ended=line.get("ended"),
                        )

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _append(self, line: Mapping[str, Any]) -> None:
        text = orjson.dumps(line) + b"\n"
        before = os.fstat(self._descriptor).st_size
        if os.write(self._descriptor, text) != len(text):
            os.ftruncate(self._descriptor, before)  # else the next line would be glued to this part, and lost
            raise OSError(f"the witness {self.path} took only a part of a line")

    def _end_torn_line(self) -> None:
        """End a last line that was torn, else the next one would be glued to it, and lost."""
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")
            os.fdatasync(self._descriptor)


@dataclass(frozen=True)
class Memory:
    """What the witness says, sorted: which attempts left, and what became of each identity in them."""

    sent: tuple[Testimony, ...]
    answers: Mapping[tuple[str, int], Mapping[str, Mapping[str, Any] | None]]

    def belongs_to(self, outbox_id: str) -> bool:
        """Has this witness ever worked for the outbox of this number?"""
        return any(told.outbox_id == outbox_id for told in self.sent)

    def knows(self, attempt: int) -> bool:
        """Did an attempt of this number leave, from whichever outbox?"""
        return any(told.attempt == attempt for told in self.sent)

    def attempts_of(self, outbox_id: str) -> frozenset[int]:
        """The attempts of one outbox."""
        return frozenset(told.attempt for told in self.sent if told.outbox_id == outbox_id)


def remembered(testimonies: Iterable[Testimony]) -> Memory:
    """Sort the lines of a witness."""
    sent, answers = [], {}
    for told in testimonies:
        if told.ended is None:
            sent.append(told)
        else:
            answers[told.outbox_id, told.attempt] = told.ended
    return Memory(tuple(sent), answers)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
