"""Kinds of value that a setting can hold: each reads what was written, or says what to write instead."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import PlainValidator, ValidationInfo

from kiva_relay.config import duration, shipped
from kiva_relay.config.mismatch import Mismatch, Whole, found
from kiva_relay.errors import nearest

# The folder beside config.yaml that holds mappings of one's own.
OWN_MAPPINGS = "mappings"

_HOUR = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
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


def text(written: object) -> str:
    """Text that is not empty; a whole number is taken as it was written, leading zeros and all."""
    if isinstance(written, Whole):
        return written.source
    if isinstance(written, str) and written.strip():
        return written
    quoted = isinstance(written, bool | int | Decimal | date)
    raise Mismatch(
        f"expected text, found {found(written)}",
        remedy=f'write it in quotes: "{found(written)}"' if quoted else "",
    )


def partner(written: object) -> str:
    """Kiva's number of the institution, kept as text: it becomes part of every address."""
    number = text(written)
    if not _PARTNER.fullmatch(number):
        raise Mismatch(f"expected the number of the partner, found {found(number)}")
    return number


def switch(written: object) -> bool:
    """True or false; YAML 1.2 knows no `yes`, `no`, `on` and `off`."""
    if isinstance(written, bool):
        return written
    meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(str(written).lower(), "")
    raise Mismatch(f"expected true or false, found {found(written)}", remedy=meant and f"write {meant}")


def whole(lowest: int, highest: int) -> Callable[[object], int]:
    """A whole number between two bounds, both included."""

    def read(written: object) -> int:
        if not isinstance(written, int) or isinstance(written, bool) or not lowest <= written <= highest:
            raise Mismatch(f"expected a whole number from {lowest} to {highest}, found {found(written)}")
        return int(written)

    return read


def percent(written: object) -> float:
    """A share in percent: more than 0, at most 100."""
    if not isinstance(written, int | float | Decimal) or isinstance(written, bool) or not 0 < written <= 100:  # noqa: PLR2004 - percent
        raise Mismatch(f"expected a number above 0 and up to 100 (percent), found {found(written)}")
    return float(written)


def length(shortest: timedelta = timedelta(0)) -> Callable[[object], timedelta]:
    """A length of time, not below `shortest`."""

    def read(written: object) -> timedelta:
        value = duration.parse(written)
        if value < shortest:
            raise Mismatch(f"expected at least {duration.format(shortest)}, found {found(written)}")
        return value

    return read


def hour(written: object) -> time:
    """A time of day, `HH:MM`."""
    if isinstance(written, time):
        return written
    match = _HOUR.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        raise Mismatch(
            f"expected a time of day, found {found(written)}",
            remedy='two digits, a colon, two digits, from "00:00" to "23:59"',
        )
    return time(int(match[1]), int(match[2]))


def hours(written: object) -> tuple[time, ...]:
    """Times of day, in order, none twice; one alone needs no list."""
    items = written if isinstance(written, list | tuple) else [written]
    return tuple(sorted({_item(hour, item, at) for at, item in enumerate(items)}))


def zone(written: object) -> str:
    """A time zone by its name in the IANA database, `Africa/Dakar`."""
    name = text(written)
    try:
        if name not in _NO_ZONES:
            return zoneinfo.ZoneInfo(name).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass  # the message below tells all three: no such name, an absolute path, a folder of zones
    zones = sorted(zoneinfo.available_timezones() - _NO_ZONES)
    cities = {place.rpartition("/")[2]: place for place in zones if "/" in place}
    city = name.rpartition("/")[2].strip().replace(" ", "_")
    close = [cities[hit] for hit in nearest(city, cities)] or nearest(name, zones)
    if close and close[0].rpartition("/")[2].casefold() == city.casefold():
        close = close[:1]
    remedy = f"nearest: {', '.join(close)}" if close else "a name such as Africa/Dakar or America/Lima"
    raise Mismatch(f"{found(name)} is no time zone", remedy=remedy)


_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def day(*words: str) -> Callable[[object], Any]:
    """A date, or one of some words."""

    def read(written: object) -> object:
        if isinstance(written, datetime):
            written = str(written)
        if isinstance(written, date) or written in words:
            return written
        if isinstance(written, str) and _ISO_DATE.fullmatch(written):
            try:
                return date.fromisoformat(written)
            except ValueError:
                pass  # 2026-02-30: said below
        expected = f"{', '.join(words)} or a date"
        close = nearest(written, words, limit=1) if isinstance(written, str) else []
        remedy = f"did you mean: {close[0]}" if close else "a date is written as 2026-11-01"
        raise Mismatch(f"expected {expected}, found {found(written)}", remedy=remedy)

    return read


def parameter(written: object) -> str | int | Decimal | date | bool:
    """One value that a mapping asks for."""
    if isinstance(written, datetime) or not isinstance(written, str | int | Decimal | date):
        raise Mismatch(f"expected text, a number, a date, true or false, found {found(written)}")
    return int(written) if isinstance(written, Whole) else written


def names(written: object) -> tuple[str, ...]:
    """Names in the order given, none twice; one alone needs no list."""
    items = written if isinstance(written, list | tuple) else [written]
    if not items:
        raise Mismatch("expected at least one, found an empty list")
    return tuple(dict.fromkeys(_item(text, item, at) for at, item in enumerate(items)))


def folders(written: object, info: ValidationInfo) -> tuple[str, ...]:
    """Folders of mappings: a ready-made set by its name, or a path, which must exist."""
    home = _home(info)
    chosen = names(written)
    for at, name in enumerate(chosen):
        if not mapping_folder(name, home).is_dir():
            ready = shipped.mappings()
            close = nearest(name, ready, limit=1)
            remedy = (
                f"did you mean: {close[0]}" if close else f"ready-made: {', '.join(ready)}; or the path of a folder"
            )
            raise Mismatch(
                f"there is no folder {home / name}, and no ready-made set of mappings of this name"
                if "/" not in name
                else f"there is no folder {home / name}",
                remedy=remedy,
                at=(at,) if isinstance(written, list | tuple) else (),
            )
    return chosen


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


def path(written: object, info: ValidationInfo) -> Path:
    """A path; a relative one starts at the folder of the configuration."""
    return _home(info) / (written if isinstance(written, Path) else text(written))


def places(written: object, info: ValidationInfo) -> tuple[Path, ...]:
    """Folders, seen from the folder of the configuration; one alone needs no list."""
    return tuple(_home(info) / name for name in names(written)) if written not in ((), []) else ()


def existing_file(written: object, info: ValidationInfo) -> Path:
    """A file that is there and can be read."""
    file = path(written, info)
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        raise Mismatch(f"the file {file} cannot be read: {error.strerror}") from None


def database(*schemes: str) -> Callable[[object, ValidationInfo], str]:
    """The URL of a database, without a driver; a SQLite file becomes an absolute path."""

    def read(written: object, info: ValidationInfo) -> str:
        url = text(written)
        parts = _split(url)
        _check_scheme(url, parts, schemes)
        if parts.scheme == "sqlite":
            return f"sqlite:///{_home(info) / _sqlite_file(url)}"
        if not parts.path.strip("/"):
            raise Mismatch(
                f"the name of the database is missing in {found(_masked(url, parts))}",
                remedy=f"{parts.scheme}://USER@HOST/DATABASE",
            )
        return url

    return read


def _check_scheme(url: str, parts: SplitResult, schemes: tuple[str, ...]) -> None:
    if parts.scheme in schemes and "://" in url:
        return
    expected = " or ".join(f"{scheme}://" for scheme in schemes)
    plain, _, driver = parts.scheme.partition("+")
    if plain == "jdbc":
        raise Mismatch("a JDBC address is not understood", remedy=f"write {expected}USER@HOST/DATABASE")
    plain = _SCHEMES.get(plain, plain) or plain
    shown = _masked(url, parts)
    if plain in schemes:
        why = f'the driver "{driver}" is chosen by the relay' if driver else f'"{parts.scheme}://" is not known'
        raise Mismatch(why, remedy=f"write {plain}://{shown.partition('://')[2]}")
    raise Mismatch(f"expected {expected}…, found {found(shown)}")


def _sqlite_file(url: str) -> str:
    file = url.removeprefix("sqlite:///").partition("?")[0]
    if not url.startswith("sqlite:///") or not file or file == ":memory:":
        raise Mismatch(
            f"expected the path of a file, found {found(url)}",
            remedy="sqlite:////var/lib/… (four strokes: three of the URL, one of the path)",
        )
    return file


def server(written: object) -> str:
    """The URL of a web server, without the stroke at its end."""
    url = text(written)
    parts = _split(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Mismatch(f"expected https://…, found {found(_masked(url, parts))}")
    return url.rstrip("/")


def listen(written: object) -> str:
    """`off`, or an address and a port."""
    if written is False:  # `off` of YAML 1.1, written by a tool
        return "off"
    where = text(written)
    if where != "off":
        address(where)
    return where


def address(where: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:9478` or `[::1]:9478`."""
    host, _, port = where.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = bare != host or ":" not in bare
    if not bare or not bracketed or not _PORT.fullmatch(port) or int(port) > _LAST_PORT:
        raise Mismatch(f"expected an address and a port, found {found(where)}", remedy="as 127.0.0.1:9478, or off")
    return bare, int(port)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        raise Mismatch(
            "the URL cannot be read; signs such as / : @ # in a password break it",
            remedy="leave the password out of the URL: password: {file: /PATH}",
        ) from None
    return parts


def _masked(url: str, parts: SplitResult) -> str:
    """The URL for a message, without the password in it."""
    return url.replace(f":{parts.password}@", ":…@", 1) if parts.password else url


def _item(read: Callable[[object], Any], item: object, at: int) -> Any:
    try:
        return read(item)
    except Mismatch as wrong:
        raise Mismatch(str(wrong), remedy=wrong.remedy, at=(at, *wrong.at)) from None


def _home(info: ValidationInfo) -> Path:
    home: Path = (info.context or {}).get("folder", Path())
    return home.absolute()


Text = Annotated[str, PlainValidator(text)]
Switch = Annotated[bool, PlainValidator(switch)]
Percent = Annotated[float, PlainValidator(percent)]
Length = Annotated[timedelta, PlainValidator(length())]
Hour = Annotated[time, PlainValidator(hour)]
Hours = Annotated[tuple[time, ...], PlainValidator(hours)]
Zone = Annotated[str, PlainValidator(zone)]
Parameter = Annotated[str | int | Decimal | date | bool, PlainValidator(parameter)]
Server = Annotated[str, PlainValidator(server)]
File = Annotated[Path, PlainValidator(path)]
ExistingFile = Annotated[Path, PlainValidator(existing_file)]
