"""Where the files are that come with the relay and are no Python: mappings and migrations."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import kiva_relay


@functools.cache
def folder(kind: Literal["mappings", "migrations"]) -> Path:
    """The folder inside the installed package; in a checkout, the one in the repository's root."""
    package = Path(kiva_relay.__file__).resolve().parent
    installed = package / "shipped" / kind
    return installed if installed.is_dir() else package.parents[1] / kind


def mappings() -> list[str]:
    """Names of the ready-made sets of mappings: `fineract` and others."""
    return sorted(place.name for place in folder("mappings").iterdir() if place.is_dir())
