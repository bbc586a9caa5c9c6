"""The kinds of value that a setting can hold: pydantic types, each with what is special about it.

What pydantic refuses by itself is put into words by `complaint`; a `Mismatch` brings its own.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationInfo

from kiva_relay.config import concealed, duration, hosts, shipped
from kiva_relay.config.concealed import CONCEALED
from kiva_relay.config.mismatch import Mismatch, Whole, found
from kiva_relay.errors import nearest

# The folder beside config.yaml that holds mappings of one's own.
OWN_MAPPINGS = "mappings"

_HOUR = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_OFFSET = re.compile(r"(?:UTC|GMT|Etc/UTC)\s*(?P<sign>[+-])\s*(?P<hours>\d{1,2})(?::?00)?", re.ASCII | re.IGNORECASE)
_PARTNER = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_PORT = re.compile(r"\d{1,5}", re.ASCII)
_LAST_PORT = 65_535
_NO_ZONES = {"localtime", "posixrules", "Factory"}
_SCHEMES = {
    "mysql2": "mysql",
    "mssql": None,
    "oracle": None,
    "pgsql": "postgresql",
    "postgres": "postgresql",
    "sqlite3": "sqlite",
    "sqlserver": None,
}
_FORBIDDEN = {"passwd", "password", "sslpassword"}
_LEAVE_OUT = "leave the password out of the URL: password: {file: /PATH}"
_Item = TypeVar("_Item")


def _digits(written: object) -> object:
    """A whole number where text is expected: as it was written, leading zeros and all."""
    return written.source if isinstance(written, Whole) else written


def _partner(number: str) -> str:
    if not _PARTNER.fullmatch(number):
        raise Mismatch(f"expected the number of the partner, found {found(number)}")
    return number


def _hour(written: object) -> object:
    match = _HOUR.fullmatch(written) if isinstance(written, str) else None
    return time(int(match[1]), int(match[2])) if match else written


def _day(written: object) -> object:
    """A date between quotes is one all the same."""
    try:
        return date.fromisoformat(written) if isinstance(written, str) and _ISO_DATE.fullmatch(written) else written
    except ValueError:
        return written  # 2026-02-30: no date, and said so


def _listed(written: object) -> object:
    """One alone needs no list."""
    return written if written is None or isinstance(written, list | tuple) else [written]


def _once(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    """In the order given, none twice."""
    return tuple(dict.fromkeys(items))


def _frozen(written: Mapping[str, _Item]) -> Mapping[str, _Item]:
    return MappingProxyType(dict(written))


def _zone(name: str) -> str:
    try:
        if name not in _NO_ZONES:
            return zoneinfo.ZoneInfo(name).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass  # the message below serves all three: no such name, an absolute path, a folder of zones
    offset = _OFFSET.fullmatch(name.strip())
    if offset:
        sign, hours = offset["sign"], int(offset["hours"])
        fixed = f"Etc/GMT{'-' if sign == '+' else '+'}{hours}" if hours else "UTC"
        remedy = "the city, as Africa/Dakar or America/Lima"
        if fixed in zoneinfo.available_timezones():
            remedy += f"; without a summer time also {fixed}"
            remedy += f": there the sign is turned around, and it means UTC{sign}{hours}" if hours else ""
        raise Mismatch(f"{found(name)} is no time zone", remedy=remedy)
    zones = sorted(zoneinfo.available_timezones() - _NO_ZONES)
    cities = {place.rpartition("/")[2]: place for place in zones if "/" in place}
    city = name.rpartition("/")[2].strip().replace(" ", "_")
    close = [cities[hit] for hit in nearest(city, cities)] or nearest(name, zones)
    if close and close[0].rpartition("/")[2].casefold() == city.casefold():
        close = close[:1]
    remedy = f"nearest: {', '.join(close)}" if close else "a name such as Africa/Dakar or America/Lima"
    raise Mismatch(f"{found(name)} is no time zone", remedy=remedy)


def _folder(name: str, info: ValidationInfo) -> str:
    home = home_of(info)
    if mapping_folder(name, home).is_dir():
        return name
    if (home / name).is_file():
        raise Mismatch(
            f"{home / name} is a file, and mappings names its folder", remedy=f"as mappings: {Path(name).parent}"
        )
    ready = shipped.mappings()
    close = nearest(name, ready, limit=1)
    also = ", and no ready-made set of mappings of this name" if "/" not in name else ""
    remedy = f"did you mean: {close[0]}" if close else f"ready-made: {', '.join(ready)}; or the path of a folder"
    raise Mismatch(f"there is no folder {home / name}{also}", remedy=remedy)


def mapping_folder(name: str, home: Path) -> Path:
    """Where a set of mappings is: ready-made if `name` is the name of one, else a path seen from `home`."""
    ready = shipped.folder("mappings") / name
    return ready if "/" not in name and name not in {".", ".."} and ready.is_dir() else home / name


def mapping_folders(chosen: Sequence[str], home: Path) -> tuple[Path, ...]:
    """The folders of mappings, in order. One's own folder `mappings` follows a ready-made set that stands alone."""
    found = tuple(mapping_folder(name, home) for name in chosen)
    own, ready = home / OWN_MAPPINGS, shipped.folder("mappings")
    alone = len(found) == 1 and found[0].parent == ready
    return (*found, own) if alone and own.is_dir() and own.resolve() != ready.resolve() else found


def _path(written: object, info: ValidationInfo) -> object:
    text = _digits(written)
    return home_of(info) / text if isinstance(text, str) and text.strip() else text


def _readable(file: Path) -> Path:
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        raise Mismatch(f"the file {file} cannot be read: {error.strerror}") from None


def database(*schemes: str) -> Callable[[str, ValidationInfo], str]:
    """The URL of a database, without a driver; a SQLite file becomes an absolute path."""

    def read(url: str, info: ValidationInfo) -> str:
        parts = _split(url)
        _check_scheme(url, parts, schemes)
        if parts.scheme == "sqlite":
            return f"sqlite:///{home_of(info) / _sqlite_file(url)}"
        if not parts.path.strip("/"):
            raise Mismatch(
                f"the name of the database is missing in {concealed.url(url)}",
                remedy=f"{parts.scheme}://USER@HOST/DATABASE",
            )
        if any(name.lower() in _FORBIDDEN for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
            raise Mismatch('a password stands behind the "?"', remedy=_LEAVE_OUT)
        return hosts.checked(url)

    return read


def _check_scheme(url: str, parts: SplitResult, schemes: tuple[str, ...]) -> None:
    if parts.scheme in schemes and "://" in url:
        return
    expected = " or ".join(f"{scheme}://" for scheme in schemes)
    plain, _, driver = parts.scheme.partition("+")
    if plain == "jdbc":
        raise Mismatch("a JDBC address is not understood", remedy=f"write {expected}USER@HOST/DATABASE")
    plain = _SCHEMES.get(plain, plain) or plain
    shown = concealed.url(url)
    if plain in schemes and "://" in url:
        why = f'the driver "{driver}" is chosen by the relay' if driver else f'"{parts.scheme}://" is not known'
        meant = "://".join((plain, url.partition("://")[2]))
        raise Mismatch(why, remedy=f"write {concealed.to_write(meant)}")
    raise Mismatch(f"expected {expected}…, found {shown}")


def _sqlite_file(url: str) -> str:
    file = url.removeprefix("sqlite:///").partition("?")[0]
    if not url.startswith("sqlite:///") or not file or file == ":memory:":
        raise Mismatch(
            f"expected the path of a file, found {concealed.url(url)}",
            remedy="sqlite:////var/lib/… (four strokes: three of the URL, one of the path)",
        )
    return file


def _server(url: str) -> str:
    parts = _split(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Mismatch(f"expected https://…, found {concealed.url(url)}", remedy="as https://HOST, with its https://")
    if parts.query or parts.fragment:
        raise Mismatch("a server has no ? and no # behind it", remedy="leave out what follows the ?")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Mismatch(
            f"a server's address has no blanks and no accents, found {concealed.url(url)}",
            remedy="write a name with an accent as xn--…, and other signs as %20",
        )
    return url.rstrip("/")


def _off(written: object) -> object:
    """`off` of YAML 1.1, written by a tool, is false."""
    return "off" if written is False else written


def _listen(where: str) -> str:
    if where != "off":
        address(where)
    return where


def address(where: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:9478` or `[::1]:9478`; raises Mismatch for anything else."""
    host, _, port = where.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = bare != host or ":" not in bare
    if not bare or not bracketed or not _PORT.fullmatch(port) or int(port) > _LAST_PORT:
        raise Mismatch(f"expected an address and a port, found {found(where)}", remedy="as 127.0.0.1:9478, or off")
    return bare, int(port)


_BARE_IPV6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.%]*", re.ASCII)
_NO_PORT = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):\S*", re.ASCII)


def _split(url: str) -> SplitResult:
    """The parts of a URL; it is refused where a sign of the password may have moved the borders of the parts."""
    try:
        parts = urlsplit(hosts.single(url))
        parts.port  # noqa: B018 - reading it checks it
    except Mismatch:
        raise
    except ValueError:
        parts = None
    if parts is None or (parts.netloc and ("@" in parts.path + parts.query or parts.fragment)):
        raise _broken(url)
    return parts


def _broken(url: str) -> Mismatch:
    """Why a URL cannot be read; of what may be a password nothing is repeated."""
    server, _, behind = url.partition("://")[2].partition("/")
    host = server.rpartition("@")[2]
    if "@" not in behind and "#" not in url:
        if _BARE_IPV6.fullmatch(host):
            return Mismatch(
                "an address with colons stands between brackets", remedy="as [::1], and with a port as [::1]:5432"
            )
        if "@" in server and _NO_PORT.fullmatch(host):
            return Mismatch("the port is no number from 1 to 65535", remedy="as HOST:5432, or HOST alone")
    return Mismatch("the URL cannot be read; signs such as / : @ # in a password break it", remedy=_LEAVE_OUT)


def home_of(info: ValidationInfo) -> Path:
    """The folder of the configuration: a relative path starts there."""
    home: Path = (info.context or {}).get("folder", Path())
    return home.absolute()


Text = Annotated[str, Strict(), Field(pattern=r"\S"), BeforeValidator(_digits)]
Switch = Annotated[bool, Strict()]
Percent = Annotated[float, Strict(), Field(gt=0, le=100)]
Length = Annotated[timedelta, BeforeValidator(duration.parse)]
Hour = Annotated[time, Strict(), BeforeValidator(_hour)]
Hours = Annotated[tuple[Hour, ...], BeforeValidator(_listed), AfterValidator(lambda hours: tuple(sorted(set(hours))))]
Day = Annotated[date, Strict(), BeforeValidator(_day)]
Zone = Annotated[Text, AfterValidator(_zone)]
Server = Annotated[Text, AfterValidator(_server), CONCEALED]
Listen = Annotated[Text, AfterValidator(_listen), BeforeValidator(_off)]
Partner = Annotated[Text, AfterValidator(_partner)]
File = Annotated[Path, Strict(), BeforeValidator(_path)]
ExistingFile = Annotated[File, AfterValidator(_readable)]
Files = Annotated[tuple[File, ...], BeforeValidator(_listed), AfterValidator(_once)]
Folders = Annotated[
    tuple[Annotated[Text, AfterValidator(_folder)], ...],
    Field(min_length=1),
    BeforeValidator(_listed),
    AfterValidator(_once),
]
Names = Annotated[tuple[Text, ...], BeforeValidator(_listed), AfterValidator(_once)]
Listed = Annotated[tuple[_Item, ...], Field(min_length=1), BeforeValidator(_listed), AfterValidator(_once)]
Parameter = (
    Annotated[str, Strict()]
    | Annotated[int, Strict()]
    | Annotated[Decimal, Strict()]
    | Annotated[date, Strict()]
    | Annotated[bool, Strict()]
)
Parameters = Annotated[Mapping[str, Parameter], AfterValidator(_frozen)]
