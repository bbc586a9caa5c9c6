"""Settings and mappings in force: one value, that never changes and is replaced as a whole."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kiva_relay import errors
from kiva_relay.config.settings import Settings
from kiva_relay.mapping import document, extends, lookup, origin
from kiva_relay.mapping.document import Document

_TRIES = 5


@dataclass(frozen=True, eq=False)
class Configuration:
    """What a turn of a loop works with, from its beginning to its end.

    `aliases`: ids that were typed by hand at Kiva, and the MIS's own for the same loan (`lookup/loan_ids.csv`).
    `files`: fingerprints of all files that this was read from, by path.
    """

    settings: Settings
    documents: tuple[Document, ...]
    aliases: Mapping[str, str]
    files: Mapping[Path, str]

    @property
    def fingerprints(self) -> dict[str, str]:
        """What tells each mapping from its other versions, by name."""
        return {document.name: document.fingerprint for document in self.documents}


def of(settings: Settings, documents: Sequence[Document]) -> Configuration:
    """The configuration of settings and mappings that were read already."""
    return Configuration(settings, tuple(documents), lookup.loan_ids(settings.mapping_folders), digests(settings))


def read(read_settings: Callable[[], Settings]) -> Configuration:
    """Read all files as they are at one moment: when one changes meanwhile, all are read again.

    Raises:
        ConfigurationError: all mistakes in them at once.
        UsageError: they do not stop changing.
    """
    for _ in range(_TRIES):
        before = digests(read_settings())
        settings = read_settings()
        documents = document.load(
            settings.mapping_folders, parameters=settings.parameters, resources=settings.resources
        )
        aliases = lookup.loan_ids(settings.mapping_folders)
        if digests(settings) == before:
            return Configuration(settings, tuple(documents), aliases, before)
    raise errors.UsageError(
        "The files change while they are read.", hint="Nothing changed. When they are written: kiva-relay reload"
    )


def digests(settings: Settings) -> dict[Path, str]:
    """Fingerprints of the files of a configuration, by path; a file that cannot be read is left out."""
    found = {}
    folders = settings.mapping_folders
    files = document.files(folders)
    bases = [base for file in files for base in extends.bases(file)]
    # The code tables of a base come with it.
    beside = dict.fromkeys([*folders, *(base.parent for base in bases)])
    tables = [file for folder in beside for file in (folder / "lookup").glob("*.csv")]
    for file in dict.fromkeys([settings.file, *files, *bases, *tables]):
        try:
            found[file] = _digest(file, origin.stamp(file))
        except OSError:
            continue
    return found


@functools.lru_cache(maxsize=1024)
def _digest(file: Path, stamp: tuple[int, ...]) -> str:
    del stamp  # as the daemon looks every few seconds, a file is read only after it was written
    return hashlib.sha256(file.read_bytes()).hexdigest()
