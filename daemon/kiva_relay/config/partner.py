"""One of several partners on a machine: `/etc/kiva-relay/north/config.yaml` is the configuration of north.

Its unit is `kiva-relay@north`; its secrets, its state and its witness stand in folders of its name.
"""

from __future__ import annotations

import re
from pathlib import Path

HOME = Path("/etc/kiva-relay")
UNIT = "kiva-relay"
FILE = "config.yaml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_OF_UNIT = re.compile(rf"{UNIT}(?:-[a-z]+)*@({_NAME.pattern})\.service", re.ASCII)


def is_name(text: str) -> bool:
    """May a partner be called so: is it a name, and no path?"""
    return _NAME.fullmatch(text) is not None


def file(name: str) -> Path:
    """The configuration of a partner."""
    return HOME / name / FILE


def of_folder(folder: Path) -> str:
    """Whose folder it is; "" where it is no partner's."""
    return folder.name if folder.parent == HOME and is_name(folder.name) else ""


def of(configuration: Path) -> str:
    """Whose configuration it is; "" where it is no partner's."""
    return of_folder(configuration.parent) if configuration.name == FILE else ""


def of_unit(unit: str) -> str:
    """Whose unit of systemd it is, as `kiva-relay@north.service`; "" where it is no partner's."""
    found = _OF_UNIT.fullmatch(unit)
    return found[1] if found else ""


def unit(configuration: Path) -> str:
    """The unit that runs with a configuration, as `kiva-relay` or `kiva-relay@north`; "" where none of ours does."""
    if configuration == HOME / FILE:
        return UNIT
    name = of(configuration)
    return f"{UNIT}@{name}" if name else ""


def secrets(folder: Path) -> Path:
    """Where the secrets of a configuration in this folder stand, for systemd to read them."""
    return (folder if of_folder(folder) else HOME) / "secret"


def every() -> list[str]:
    """The partners that have a configuration here, by name; those that can be seen."""
    try:
        return sorted(one.parent.name for one in HOME.glob(f"*/{FILE}") if of(one))
    except OSError:
        return []
