"""What `kiva-relay init` writes: the configuration, on one screen; the secrets; the folder of mappings of one's own."""

from __future__ import annotations

import contextlib
import grp
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from kiva_relay.cli import init_trial
from kiva_relay.cli.init_question import SECRETS
from kiva_relay.config import partner, settings, shipped, value, yaml_reader
from kiva_relay.config.written import plain

BEFORE = "before-init"
"""Behind the name of a file that was replaced."""

_GROUP = "kiva-relay"
_PLAIN = re.compile(r"[A-Za-z0-9/][\w./@-]*(?:://[\w./@:?=&%+-]*)?", re.ASCII)
_OWN = "generic"
"""The set that is made to be copied and edited."""


def apart(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same answers, with the password out of the URL of the MIS."""
    url = data.get("mis.url")
    try:
        password = urlsplit(url).password if isinstance(url, str) else None
    except ValueError:  # the setting says what is wrong with it
        password = None
    if not password or data.get("mis.password"):
        return dict(data)
    return {**data, "mis.url": str(url).replace(f":{password}@", "@", 1), "mis.password": unquote(password)}


def replaced(place: Path, data: Mapping[str, Any]) -> list[Path]:
    """The files that are there already, and would be replaced."""
    return [file for file in (place, *_secrets(place, data)) if os.path.lexists(file)]


def write(place: Path, data: Mapping[str, Any]) -> list[Path]:
    """Write everything, the configuration last and at once; what was there before is kept beside it.

    Returns:
        the files and folders that were written.
    """
    _folder(place.parent)
    secrets = _secrets(place, data)
    for file, text in secrets.items():
        _folder(file.parent)
        _file(file, f"{text}\n")
    own = _mappings(place.parent, data)
    _file(place, "\n".join(lines(place, data)) + "\n")
    return [place, *secrets, own]


def lines(place: Path, data: Mapping[str, Any]) -> Iterator[str]:
    """The configuration: what was answered, and what is not a default; each secret by its file."""
    chosen = {key: given for key, given in data.items() if given not in (None, "")}
    references = dict(zip(_names(data), ({"file": str(file)} for file in _secrets(place, data)), strict=True))
    if chosen.get("mappings") == _OWN:
        chosen["mappings"] = value.OWN_MAPPINGS
    chosen.setdefault("journals.since", chosen.get("loan_drafts.since"))
    if not partner.unit(place):
        chosen.setdefault("outbox.url", f"sqlite:///{place.parent / 'outbox.db'}")
    yield f"# {place}      all settings, explained: kiva-relay config sample"
    yield from _tree(init_trial.nested({**chosen, **references}))


def _tree(tree: Mapping[str, Any], margin: str = "", before: str = "") -> Iterator[str]:
    known = dict(settings.every())
    for name, given in tree.items():
        key = f"{before}{name}"
        if isinstance(given, dict) and key not in known:
            yield f"{margin}{name}:"
            yield from _tree(given, f"{margin}  ", f"{key}.")
            continue
        extra = known[key].json_schema_extra if key in known else None
        where = str(extra.get("where", "")) if isinstance(extra, dict) else ""
        yield f"{margin}{name}: {_yaml(given)}" + (f"    # {where}" if where.startswith("PA2") else "")


def _yaml(given: Any) -> str:
    """A value on one line, quoted where YAML would take it for something else."""
    match given:
        case bool():
            return str(given).lower()
        case dict():
            return f"{{{', '.join(f'{name}: {_yaml(inner)}' for name, inner in given.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_yaml, given))}]"
        case date():
            return given.isoformat()
        case str():
            tree = yaml_reader.scalar(given) if _PLAIN.fullmatch(given) else None
            return given if tree is not None and plain(tree) == given else orjson.dumps(given).decode()
    return str(given)


def _names(data: Mapping[str, Any]) -> list[str]:
    """The settings whose answer is a secret itself; a reference to one is written as it is."""
    return [key for key in SECRETS if isinstance(data.get(key), str) and data[key]]


def _secrets(place: Path, data: Mapping[str, Any]) -> dict[Path, str]:
    return {place.parent / "secret" / SECRETS[key]: str(data[key]) for key in _names(data)}


def _mappings(home: Path, data: Mapping[str, Any]) -> Path:
    """The folder of mappings of one's own; the set that is made to be edited is copied into it."""
    own = home / value.OWN_MAPPINGS
    _folder(own)
    if data.get("mappings") == _OWN and not any(own.iterdir()):
        shutil.copytree(shipped.folder("mappings") / _OWN, own, dirs_exist_ok=True)
        for one in own.rglob("*"):
            _owned(one, 0o750 if one.is_dir() else 0o640)
    return own


def _folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True)
        _owned(folder, 0o750)


def _file(file: Path, text: str) -> None:
    """Whole or not at all, readable for the service and nobody else, whatever the umask is."""
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    _owned(part, 0o640)
    if os.path.lexists(file):
        kept = file.with_name(f"{file.name}.{BEFORE}")
        kept.unlink(missing_ok=True)
        file.rename(kept)
    part.rename(file)


def _owned(path: Path, mode: int) -> None:
    """Root writes, the service's group reads; of somebody else's trial, that person alone is the group, too."""
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):  # where the service has no user, the trial is root's own
            os.chown(path, 0, grp.getgrnam(_GROUP).gr_gid)
    path.chmod(mode)
