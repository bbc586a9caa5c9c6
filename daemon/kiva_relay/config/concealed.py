"""How a value that may hold a secret is shown in a mistake: by its kind, never by its letters.

The one place that decides it. Which settings hold such values is known by their type: `Secret`, or a type that is
marked with `CONCEALED`, as those of URLs are.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from kiva_relay.config import mismatch


class _Concealed:
    """The mark of a type whose values may hold a password."""


CONCEALED = _Concealed()

_SCHEMES = frozenset(
    [
        "http",
        "https",
        "jdbc",
        "mariadb",
        "mssql",
        "mysql",
        "mysql2",
        "oracle",
        "pgsql",
        "postgres",
        "postgresql",
        "sqlite",
        "sqlite3",
        "sqlserver",
    ]
)
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)?(:\d{1,5})?"
_HARMLESS = re.compile(rf"[a-z0-9]+://([\w.-]+@)?{_HOST}(,{_HOST})*(/[\w./-]*)?", re.ASCII)
# Names as people give them, which no secret looks like.
_NAMES = {
    "env": re.compile(r"[A-Z]+(_[A-Z0-9]+)+", re.ASCII),
    "credential": re.compile(r"(?=.*(kiva|mis|outbox|password|secret|token))[a-z]+([-_.][a-z]+)*", re.ASCII),
}
_KEY = re.compile(r"[A-Za-z]?[a-z]*([_.\-]+[a-z]+)*[:\d]?", re.ASCII)
_REFERENCE = re.compile(r"\{\s*(?P<way>env|credential): (?P<name>[^\s{}]+)\s*\}*")
_KINDS = {bool: "true or false", str: "a text", list: "a list", tuple: "a list", dict: "a mapping"}


def found(value: object) -> str:
    """How a message names a value that may be a secret: `a text`, `a number`, `nothing`."""
    if value is None or value == "":
        return "nothing"
    return next((name for kind, name in _KINDS.items() if isinstance(value, kind)), "a number or a date")


def name(way: str, written: str) -> str:
    """The name in a reference to a secret, as a message shows it: `…` where it may be the secret itself."""
    shape = _NAMES.get(way)
    return written if shape and shape.fullmatch(written) else "…"


def key(written: str) -> str:
    """A key that may be none, as a message shows it: as it was written where it looks like the name of a setting."""
    return written if _KEY.fullmatch(written) else "…"


def is_reference(text: str) -> bool:
    """Whether a text is `{env: KIVA_SECRET}`, with or without its end, and surely nothing else."""
    match = _REFERENCE.fullmatch(text)
    return match is not None and name(match["way"], match["name"]) != "…"


def url(text: str) -> str:
    """How a message names a URL: in full where no password can be in it, else by its scheme, `mysql://…`."""
    try:
        scheme = urlsplit(text).scheme.partition("+")[0]
    except ValueError:
        scheme = ""
    if scheme not in _SCHEMES or "://" not in text:
        return "a text that does not begin like a URL"
    return mismatch.found(text if _HARMLESS.fullmatch(text) else f"{scheme}://…")


def to_write(text: str) -> str:
    """A URL to be written instead of another: never cut short; where a password can be in it, by its scheme."""
    return text if _HARMLESS.fullmatch(text) else url(text).strip('"')
