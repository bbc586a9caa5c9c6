"""Edited files: what is in force against what is written, and a reload asked for through the outbox.

An edit takes effect by a command: an editor writes in place, and a mapping that is cut at a line still loads. So the
relay only notices that files differ from those in force. `kiva-relay reload`, another process, asks by a row in the
outbox and waits for the answer there.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import orjson
from sqlalchemy.engine import Connection

from kiva_relay.config import settings as config
from kiva_relay.mapping import document, extends
from kiva_relay.outbox import binding

WANTED = "reload_wanted"
RESULT = "reload_result"

NEED_A_RESTART = ("kiva", "mis", "outbox", "metrics", "log", "stop_grace")
"""Settings that are read once, when the relay starts."""


@dataclass(frozen=True)
class ReloadResult:
    """What became of a reload: `asked` is the request it answers, empty when nobody asked through the outbox."""

    at: datetime
    ok: bool
    text: str
    asked: str = ""


def ask(tx: Connection, *, now: datetime) -> str:
    """Ask the running relay to reload; what its answer will refer to."""
    asked = now.isoformat()
    binding.put(tx, WANTED, asked)
    return asked


def wanted(tx: Connection) -> str | None:
    """The request that waits for its answer."""
    return binding.get(tx, WANTED)


def withdraw(tx: Connection, asked: str) -> None:
    """Take back a request that nobody answered."""
    if wanted(tx) == asked:
        binding.remove(tx, WANTED)


def answer(tx: Connection, result: ReloadResult) -> None:
    """Say what became of it."""
    binding.put(tx, RESULT, orjson.dumps(asdict(result)).decode())
    if result.asked:
        withdraw(tx, result.asked)


def answered(tx: Connection, asked: str) -> ReloadResult | None:
    """The answer to a request, once there is one."""
    stored = orjson.loads(binding.get(tx, RESULT) or "null")
    if stored is None or stored["asked"] != asked:
        return None
    return ReloadResult(**(stored | {"at": datetime.fromisoformat(stored["at"])}))


def kept(old: config.Settings, new: config.Settings) -> tuple[config.Settings, list[str]]:
    """The new settings with the old ones where only a restart helps, and the names of those that differ."""
    differ = [name for name in NEED_A_RESTART if getattr(old, name) != getattr(new, name)]
    return new.model_copy(update={name: getattr(old, name) for name in differ}), differ


class EditedFiles:
    """The files that made what is in force: the configuration, the mappings, their code tables."""

    _in_force: dict[Path, str]
    _seen: dict[Path, str]
    _refused: dict[Path, str]

    def __init__(self, settings: config.Settings) -> None:
        self.now_in_force(settings)

    def edited(self) -> list[str]:
        """Names of the files that differ from those in force, or are new, or gone."""
        now = _digests(self._settings)
        return sorted(
            {file.name for file in now.keys() | self._in_force.keys() if now.get(file) != self._in_force.get(file)}
        )

    def settled(self) -> bool:
        """Was something edited, and does it stay as it is since the last look? What was refused counts once."""
        now = _digests(self._settings)
        settled = now == self._seen and now not in (self._in_force, self._refused)
        self._seen = now
        return settled

    def refused(self) -> None:
        """The files as they are now hold mistakes."""
        self._refused = _digests(self._settings)

    def now_in_force(self, settings: config.Settings) -> None:
        """The files as they are now are in force."""
        self._settings = settings
        self._in_force = _digests(settings)
        self._seen = self._refused = self._in_force


def _digests(settings: config.Settings) -> dict[Path, str]:
    """Fingerprints of the files; those that vanish meanwhile are left out."""
    found = {}
    folders = settings.mapping_folders
    tables = [file for folder in folders for file in (folder / "lookup").glob("*.csv")]
    files = document.files(folders)
    bases = [base for file in files for base in extends.bases(file)]
    for file in dict.fromkeys([settings.file, *files, *bases, *tables]):
        try:
            found[file] = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError:
            continue
    return found
