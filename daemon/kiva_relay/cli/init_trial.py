"""Each answer of `kiva-relay init` tried where it stands: settings read, the MIS asked, a token fetched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from kiva_relay import errors
from kiva_relay.cli import mappings
from kiva_relay.clock import SystemClock
from kiva_relay.config import loader, settings, written, yaml_reader
from kiva_relay.config.mismatch import Whole
from kiva_relay.config.settings import Settings
from kiva_relay.delivery.client import Client
from kiva_relay.delivery.token import SCOPES, Tokens
from kiva_relay.errors import Mistake
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import live
from kiva_relay.mapping.plan import Parameter
from kiva_relay.service import opening


@dataclass(frozen=True)
class AskedParameter:
    """A parameter that the mappings ask for, and what the MIS has to choose from: `3 Kiva`."""

    parameter: Parameter
    choices: Sequence[str]


def read(data: Mapping[str, Any], *, home: Path) -> Settings:
    """Answers as settings; what is still to be asked stands there by its example.

    Args:
        data: answers by dotted key, secrets as they are.
        home: the folder of the configuration, from which relative paths are seen.

    Raises:
        ConfigurationError: some are wrong.
    """
    whole = nested({**_examples(), **data})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.touch(mode=0o600)
        file.write_bytes(orjson.dumps(whole, default=str))
        return loader.load(file, environ=os.environ, overrides=_places(data, home))


def wrong(data: Mapping[str, Any], key: str, *, home: Path) -> list[Mistake]:
    """What is wrong with one answer; mistakes of others are theirs."""
    try:
        read(data, home=home)
    except errors.ConfigurationError as error:
        return [one for one in error.mistakes if one.path == key or one.path.startswith((f"{key}.", f"{key}["))]
    return []


def mis(chosen: Settings) -> str:
    """The MIS, reached: product, version, and the name of the database.

    Raises:
        Unreachable: it is away.
        RelayError: it refuses us.
    """
    opened = opening.open_mis(chosen, clock=SystemClock())
    try:
        return f"{opened.server()}, {opening.mis_url(chosen).database}"
    finally:
        opened.close()


def kiva(chosen: Settings) -> str:
    """A token, fetched: the server, and how many of the four permissions it grants.

    Raises:
        Unreachable: the server is away.
        RelayError: it refuses the credentials, or they are another partner's.
    """
    client = Client(chosen.kiva)
    try:
        token = Tokens(client, chosen.kiva, clock=SystemClock()).current()
    finally:
        client.close()
    return f"{chosen.kiva.token_url}, {len(token.scopes & {*SCOPES})}/{len(SCOPES)}"


def asked(chosen: Settings) -> list[AskedParameter]:
    """What the mappings ask for and is not answered yet, with the choices that the MIS has."""
    found, _ = mappings.read(chosen)
    parameters = {one.name: one for mapping in found for one in mapping.parameters}
    missing = [one for name, one in parameters.items() if name not in chosen.parameters]
    if not missing:
        return []
    opened = opening.open_mis(chosen, clock=SystemClock())
    try:
        return [AskedParameter(one, live.choices(one, opened)) for one in missing]
    finally:
        opened.close()


def plain(file: Path, *, home: Path) -> dict[str, Any]:
    """A file of answers, which is written like config.yaml, by dotted key. Own mappings are those of `home`.

    Raises:
        ConfigurationError: it holds mistakes.
        UsageError: it is not there.
    """
    tree = yaml_reader.scalar(file.read_text("utf-8-sig"))
    found = {} if tree is None else written.plain(tree)
    data = dict(_flat(found)) if isinstance(found, dict) else {}
    loader.load(file, environ=os.environ, overrides=_places(data, home))
    return data


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted key as a tree, in the order of the sample."""
    tree: dict[str, Any] = {}
    known = [key for key, _ in settings.every()]
    for key in sorted(flat, key=lambda one: known.index(one) if one in known else len(known)):
        *around, name = key.split(".")
        place = tree
        for part in around:
            place = place.setdefault(part, {})
        place[name] = flat[key]
    return tree


def _flat(data: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Groups of settings taken apart; what a single setting holds stays whole."""
    known = {key for key, _ in settings.every()}
    found = []
    for name, value in data.items():
        key = f"{before}{name}"
        inside = any(one.startswith(f"{key}.") for one in known) and key not in known
        found += _flat(value, f"{key}.") if inside and isinstance(value, dict) else [(key, _spelled(value))]
    return found


def _spelled(value: Any) -> Any:
    """A number that is an id keeps the zeros before it."""
    return value.source if isinstance(value, Whole) and value.source != str(int(value)) else value


def _examples() -> dict[str, Any]:
    """For each setting that has to be there, the example of its documentation."""
    found: dict[str, Any] = {}
    for key, one in settings.every():
        extra = one.json_schema_extra if isinstance(one.json_schema_extra, dict) else {}
        tree = yaml_reader.scalar(str(extra.get("example", ""))) if one.is_required() else None
        if tree is not None:
            found[key] = written.plain(tree)
    return found


def _places(data: Mapping[str, Any], home: Path) -> dict[str, str]:
    """Folders and files are meant from where the configuration will be."""
    chosen = data.get("mappings")
    if not isinstance(chosen, str) or "/" in chosen or not (home / chosen).is_dir():
        return {}
    return {"mappings": str(home / chosen)}
