"""The schema of a PostgreSQL that an outbox has for itself: `outbox.url` ends with `?options=-csearch_path=north`.

So several partners have one database, with tables, a lease and writers of their own each.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from kiva_relay.config.mismatch import Mismatch

_OPTIONS = re.compile(r"\s*-c\s*search_path=(.*?)\s*", re.DOTALL)
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
_EXAMPLE = "?options=-csearch_path=north"


def of(url: str) -> str:
    """Its name; "" where the URL names none: then it is the one in which the role finds itself, as a rule `public`.

    Raises:
        Mismatch: `options` say anything else, or the name needs quotes.
    """
    scheme, _, rest = url.partition("://")
    written = dict(parse_qsl(rest.partition("?")[2], keep_blank_values=True)).get("options")
    if scheme != "postgresql" or written is None:
        return ""
    said = _OPTIONS.fullmatch(written)
    if said is None:
        raise Mismatch(
            "options: the relay sets its sessions itself; only the schema can be said here",
            remedy=f"{_EXAMPLE}, or without options",
        )
    if not _NAME.fullmatch(said[1]):
        raise Mismatch(
            f'"{said[1]}" is no name of one schema: small letters, digits and _ are known, 63 at most', remedy=_EXAMPLE
        )
    return said[1]


def checked(url: str) -> str:
    """The URL, when what it says of a schema can be done.

    Raises:
        Mismatch: it cannot.
    """
    of(url)
    return url
