"""The witness: a file outside the database that knows what may have been sent, and what Kiva answered.

Before the first byte of a request, its attempt number, resource and identities are appended and synced here. An
outbox that was restored from a backup, lost or replaced is seen by what the witness has and the outbox lacks; an
outbox whose witness was lost, by the file's own number, which the outbox remembers. No personal data: identities
are the institution's own loan and note numbers, receipts are Kiva's.

A line is one JSON object: `{"witness": …}`, the file's own number, comes first. All others begin with `to`, a
fingerprint of API and partner. `outbox` is the outbox's own number; it takes a new one whenever it was found
behind, so that an attempt number never means two things. `ended` stands on a second line of an attempt, for each
identity that the answer decided: Kiva's receipt, or null where it surely is not at Kiva.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import orjson

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import own_file

_RECOGNISED_BY = 4096
"""So many bytes before a place tell whether it is the same one: some forty lines."""

Ended = Mapping[str, Mapping[str, Any] | None]
"""What an answer decided, by identity: Kiva's receipt; None where it surely is not at Kiva."""


@dataclass(frozen=True)
class Testimony:
    """An attempt that may have reached Kiva. `loans` are the loan ids of the identities, as PA2 shows them."""

    outbox_id: str
    attempt: int
    resource: str
    identities: tuple[str, ...]
    loans: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """A place in a witness, between two lines: how many bytes come before it, and the SHA-256 of the last of them."""

    offset: int
    before: str


@dataclass(frozen=True)
class Memory:
    """What a witness says about one destination, from some place on."""

    sent: tuple[Testimony, ...] = ()
    answers: Mapping[tuple[str, int], Ended] = field(default_factory=dict)
    first_start: str | None = None

    def attempts_of(self, outbox_id: str) -> frozenset[int]:
        """The attempts of one outbox."""
        return frozenset(testimony.attempt for testimony in self.sent if testimony.outbox_id == outbox_id)

    def has(self, attempt: int) -> bool:
        """Does it know an attempt of this number, under whichever number the outbox had then?"""
        return any(testimony.attempt == attempt for testimony in self.sent)


class Witness:
    """An append-only file of testimonies about one destination. `id` is the file's own number.

    `copied`: it is another machine's, and only read.
    """

    def __init__(self, path: Path, *, api_url: str, partner_id: str, copied: bool = False) -> None:
        self.path = path
        self._to = hashlib.sha256(f"{api_url} {partner_id}".encode()).hexdigest()[:16]
        if copied:
            self._descriptor = _opened_to_read(path)
            self.id = self._number()
            if not self.id:
                os.close(self._descriptor)
                raise errors.UsageError(f"{path} is no witness of a relay.", hint=f"head -1 {path}")
            return
        try:
            self._descriptor = own_file.opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            _sync_folder(path.parent)
            self._end_torn_line()
            self.id = self._own_number()
        except OSError as error:
            if own_file.passes(error):
                words = f"outbox.witness: {path} cannot be written: {error.strerror}. Nothing is sent, nothing is lost."
                raise errors.OutboxAway(words, hint=f"df -h {path.parent}") from error
            raise errors.UsageError(
                f"outbox.witness: {path} cannot be written: {error.strerror}.",
                hint=f"sudo install -d -o kiva-relay -m 0700 {path.parent}",
            ) from error

    def testify(
        self, *, outbox_id: str, attempt: int, resource: str, identities: Sequence[str], loans: Sequence[str] = ()
    ) -> None:
        """Append one line and sync it to the disk; only then may the first byte leave."""
        line = {"outbox": outbox_id, "attempt": attempt, "resource": resource, "id": identities}
        if loans and list(loans) != list(identities):
            line["loan"] = loans
        self._append({"to": self._to, **line})
        os.fdatasync(self._descriptor)

    def ended(self, *, outbox_id: str, attempt: int, ended: Ended) -> None:
        """Append what an answer decided. Not synced: without this line the attempt is in doubt, which is safe."""
        self._append({"to": self._to, "outbox": outbox_id, "attempt": attempt, "ended": ended})

    def started_first(self, moment: str) -> None:
        """Remember since when drafts and journals are owed, where `since` is first_start."""
        self._append({"to": self._to, "first_start": moment})
        os.fdatasync(self._descriptor)

    def place(self) -> Place:
        """Its end, as it is now."""
        offset = os.fstat(self._descriptor).st_size
        return Place(offset, self._fingerprint(offset))

    def has(self, place: Place) -> bool:
        """Was this a place in this very file? In one that lost its end, or was put back, it is none."""
        return place.offset <= os.fstat(self._descriptor).st_size and self._fingerprint(place.offset) == place.before

    def memory(self, *, since: Place | None = None) -> Memory:
        """The lines about this destination; `since`: those behind that place only."""
        sent, answers, first_start = [], {}, None
        for line in self._lines(since.offset if since else 0):
            if line.get("to") != self._to:
                continue
            if "first_start" in line:
                first_start = first_start or line["first_start"]
            elif "ended" in line:
                answers[line["outbox"], line["attempt"]] = line["ended"]
            else:
                ids = tuple(line["id"])
                loans = tuple(line.get("loan", ids))
                sent.append(Testimony(line["outbox"], line["attempt"], line["resource"], ids, loans))
        return Memory(tuple(sent), answers, first_start)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _number(self) -> str:
        """The file's own number; "" in an empty file, and in one that is no witness."""
        return next((str(line["witness"]) for line in self._lines() if "witness" in line), "")

    def _own_number(self) -> str:
        if number := self._number():
            return number
        number = secrets.token_hex(8)
        self._append({"witness": number})
        os.fdatasync(self._descriptor)
        return number

    def _fingerprint(self, offset: int) -> str:
        start = max(offset - _RECOGNISED_BY, 0)
        return hashlib.sha256(os.pread(self._descriptor, offset - start, start)).hexdigest()

    def _lines(self, offset: int = 0) -> Iterator[dict[str, Any]]:
        """Every whole line. One that a power cut tore was never followed by a byte to Kiva: it is skipped."""
        with open(os.dup(self._descriptor), "rb") as file:  # noqa: PTH123 - the file that is open, whatever has its name
            file.seek(offset)
            for text in file:
                try:
                    line = orjson.loads(text)
                except orjson.JSONDecodeError:
                    continue
                if isinstance(line, dict):
                    yield line

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


def _opened_to_read(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be read: {error.strerror}.", hint=f"ls -l {path}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
