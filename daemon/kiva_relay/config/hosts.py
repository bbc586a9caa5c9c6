"""The URL of a database that lives on several servers, as PostgreSQL's own programs take it: `postgresql://a,b:5433/db`.

A primary and its standbys: libpq tries them in order, and takes the first that is what `target_session_attrs` asks
for. SQLAlchemy knows no list behind the `//`, so that the hosts are moved behind the `?`, where libpq reads them too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from kiva_relay.config.mismatch import Mismatch

if TYPE_CHECKING:
    import sqlalchemy as sa

TARGET = "target_session_attrs"
_KINDS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
_LAST_PORT = 65_535


def of(url: str) -> list[tuple[str, str]]:
    """The hosts of a PostgreSQL URL with their ports, "" where none is written; of another, and of one host, none.

    Raises:
        Mismatch: a host or a port between the commas is none, or the list of ports does not fit that of the hosts.
    """
    scheme, _, rest = url.partition("://")
    if scheme != "postgresql":
        return []
    netloc = rest.partition("?")[0].partition("/")[0].rpartition("@")[2]
    given = dict(parse_qsl(rest.partition("?")[2], keep_blank_values=True))
    if "," in netloc:
        found = [_parted(one) for one in netloc.split(",")]
    elif not netloc and "," in given.get("host", ""):
        hosts = given["host"].split(",")
        ports = given.get("port", "").split(",")
        if len(ports) not in (1, len(hosts)):
            raise Mismatch(
                f"{len(hosts)} hosts and {len(ports)} ports: a port for each, or one for all",
                remedy="postgresql://HOST:5432,HOST:5433/DATABASE",
            )
        found = [*zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=True)]
    else:
        return []
    for host, port in found:
        if not host or (port and not (port.isascii() and port.isdecimal() and 0 < int(port) <= _LAST_PORT)):
            raise Mismatch(
                "between the commas a host is missing, or a port is no number",
                remedy="postgresql://HOST:5432,HOST:5433/DATABASE",
            )
    return found


def single(url: str) -> str:
    """The same URL with the first of several hosts alone: for what reads URLs, and knows no list of hosts."""
    found = of(url)
    scheme, mark, rest = url.partition("://")
    if not found or "," not in rest.partition("?")[0].partition("/")[0]:
        return url
    border = next((place for place, letter in enumerate(rest) if letter in "/?"), len(rest))
    user, at, _ = rest[:border].rpartition("@")
    host, port = found[0]
    bare = f"[{host}]" if ":" in host else host
    return f"{scheme}{mark}{user}{at}{bare}{f':{port}' if port else ''}{rest[border:]}"


def checked(url: str) -> str:
    """The URL, when a relay can work with what its hosts and `target_session_attrs` say.

    Raises:
        Mismatch: no kind of server that libpq knows.
    """
    of(url)
    given = dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))
    if url.startswith("postgresql:") and (kind := given.get(TARGET)) is not None and kind not in _KINDS:
        raise Mismatch(f'{TARGET} is "{kind}"; known are: {", ".join(_KINDS)}', remedy=f"{TARGET}=read-write")
    return url


def made(url: str, *, target: str) -> sa.URL:
    """The URL as SQLAlchemy takes it.

    `target` is what is asked of the server where several hosts are named, and the URL does not say it: the first that
    answers may be a standby.
    """
    import sqlalchemy as sa  # noqa: PLC0415 - who only looks at a URL need not load it

    found = of(url)
    if not found:
        return sa.make_url(url)
    parts = urlsplit(single(url))
    query: dict[str, Any] = {**sa.make_url(single(url)).query}
    query["host"] = ",".join(host for host, _ in found)
    query.pop("port", None)
    if any(port for _, port in found):
        query["port"] = ",".join(port for _, port in found)
    query.setdefault(TARGET, target)
    return sa.URL.create(
        parts.scheme,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        database=unquote(parts.path.lstrip("/")) or None,
        query=query,
    )


def named(url: sa.URL) -> str:
    """Where a server is, for a person: `db1:5432,db2`; "" where the URL names no host."""
    host, port = url.host or "", str(url.port or "")
    if not host and isinstance(listed := url.query.get("host"), str):
        host, port = listed, str(url.query.get("port", ""))
    if "," not in host:
        return f"{host}:{port}" if host and port else host
    ports = port.split(",") if port else []
    return ",".join(
        f"{one}:{ports[place]}" if place < len(ports) and ports[place] else one
        for place, one in enumerate(host.split(","))
    )


def _parted(one: str) -> tuple[str, str]:
    """`db:5433`, `db`, `[::1]:5433`."""
    if one.startswith("["):
        host, _, behind = one[1:].partition("]")
        return host, behind.removeprefix(":")
    host, _, port = one.partition(":")
    return host, port
