"""The witness: a file outside the database that knows what may have been sent.

Before the first byte of a request that cannot be repeated, its attempt number, resource and identities are
appended and synced here. An outbox that was restored from a backup, lost or replaced is seen by what the witness
has and the outbox lacks. It holds no personal data: identities are the institution's own loan and note numbers.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from kiva_relay import errors


@dataclass(frozen=True)
class Testimony:
    """One line: an attempt that may have reached Kiva."""

    outbox_id: str
    attempt: int
    resource: str
    identities: tuple[str, ...]


class Witness:
    """An append-only file of testimonies about one destination."""

    def __init__(self, path: Path, *, api_url: str, partner_id: str) -> None:
        self.path = path
        self._to = hashlib.sha256(f"{api_url} {partner_id}".encode()).hexdigest()[:16]
        self.existed = path.exists()
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, stat.S_IRUSR | stat.S_IWUSR)
            _sync_folder(path.parent)
        except OSError as error:
            raise errors.UsageError(
                f"outbox.witness: {path} cannot be written: {error.strerror}.",
                hint=f"sudo install -d -o kiva-relay -m 0700 {path.parent}",
            ) from error

    def testify(self, *, outbox_id: str, attempt: int, resource: str, identities: Sequence[str]) -> None:
        """Append one line and sync it to the disk; only then may the first byte leave."""
        line = {
            "to": self._to,
            "outbox": outbox_id,
            "attempt": attempt,
            "resource": resource,
            "id": list(identities),
        }
        text = orjson.dumps(line) + b"\n"
        if os.write(self._descriptor, text) != len(text):
            raise OSError("the witness took only a part of a line")
        os.fdatasync(self._descriptor)

    def testimonies(self) -> Iterator[Testimony]:
        """All lines about this destination. A line that a power cut tore was never followed by a byte: skipped."""
        with self.path.open("rb") as file:
            for text in file:
                try:
                    line = orjson.loads(text)
                except orjson.JSONDecodeError:
                    continue
                if line["to"] == self._to:
                    yield Testimony(line["outbox"], line["attempt"], line["resource"], tuple(line["id"]))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
