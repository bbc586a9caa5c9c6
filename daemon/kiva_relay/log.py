"""The log: sentences with fields, one line each, and nothing personal in any of them.

`2026-11-30T02:14:31.120Z draft sent entry=1042 loan=000000871 seconds=1.4`, or the same as JSON. Names,
photos, stories, notes and secrets have no place here: a field of such a name is left out, and so is every
value that is no number, moment or text. Of an exception stay its class and where it happened: its text may
quote a row.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import sys
import traceback
import types
from collections.abc import Callable, Mapping, MutableMapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast
from uuid import UUID

from kiva_relay.terminal import to_type, unloaded, visible

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

PERSONAL = frozenset(
    {
        *(
            "address",
            "birthday",
            "borrower",
            "client_name",
            "date_of_birth",
            "display_name",
            "email",
            "first_name",
        ),
        *(
            "firstname",
            "full_name",
            "fullname",
            "gender",
            "group_name",
            "last_name",
            "lastname",
            "middlename",
            "name",
        ),
        *("mobile", "mobile_no", "national_id", "person", "phone", "surname"),
        *("image", "image_encoded", "image_url", "photo", "picture"),
        *(
            "body",
            "content",
            "description",
            "details",
            "journal",
            "loanuse",
            "note",
            "notes",
            "payload",
            "story",
        ),
        *("subject", "text"),
        *("access_token", "authorization", "client_secret", "credential", "password", "secret", "token"),
    }
)
_LONGEST = 300
_PLAIN = (str, int, float, Decimal, dt.date, dt.time, dt.timedelta, Path, UUID)
_OUR_FIRST_KEYS = ("timestamp", "level", "event", "logger")

_Event = MutableMapping[str, Any]


def get(name: str) -> FilteringBoundLogger:
    """The logger of a part, named like its module: `log.get(__name__)`. It may be made before `configure`."""
    return cast("FilteringBoundLogger", _Logger(name.removeprefix("kiva_relay.")))


class _Logger:
    """Hands on to structlog's; that is loaded with the first line, for most commands write none."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        structlog = _structlog()
        if not structlog.is_configured():
            configure()  # its own default would print whatever it is given
        return getattr(structlog.get_logger(self._name), method)


def _structlog() -> types.ModuleType:
    with unloaded.without("rich", "colorama", "greenlet"):  # its console for developers wants them, and threads do
        import structlog  # noqa: PLC0415 - as above
    return structlog


def configure(
    format: Literal["text", "json"] = "text",  # noqa: A002 - the setting is called log.format
    *,
    stream: TextIO | None = None,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> None:
    """Decide where log lines go (standard error, when `stream` is None) and what they look like.

    What libraries warn of through Python's own logging comes out as lines like ours.
    """

    def stamp(_logger: object, _method: str, event: _Event) -> _Event:
        event["timestamp"] = now().astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return event

    structlog = _structlog()
    structlog.configure(
        processors=[_without_personal, stamp, structlog.stdlib.add_log_level, _RENDERERS[format]],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *name: _Lines(stream, *name),
        cache_logger_on_first_use=False,
    )
    _take_from_libraries()


def _take_from_libraries() -> None:
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _FromLibraries)]
    root.addHandler(_FromLibraries(logging.WARNING))


class _Lines:
    """Writes whole lines; each with one call, so that threads do not mix theirs.

    A line that cannot be written (a full disk, a journal that is restarted) is lost; it ends nothing.
    """

    def __init__(self, stream: TextIO | None, name: str = "") -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        stream = self._stream or sys.stderr
        with contextlib.suppress(OSError):
            stream.write(line + "\n")
            stream.flush()

    debug = info = warning = warn = error = err = exception = critical = fatal = failure = log = msg


class _FromLibraries(logging.Handler):
    """Hands what libraries log to our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"exc_info": record.exc_info} if record.exc_info else {}
        level = min(record.levelno // 10 * 10, logging.CRITICAL)  # a library may have levels of its own between
        get(record.name).log(level, record.getMessage(), **fields)


def _without_personal(logger: object, _method: str, event: _Event) -> _Event:
    """Leave out what is personal, secret or no plain value, and say under `left_out` that it was."""
    safe: _Event = {"event": _one_line(str(event.pop("event", ""))), "logger": getattr(logger, "name", "")}
    error = event.pop("exc_info", None)
    left_out = []
    for key, value in event.items():
        if key.lower() in PERSONAL or not _plain(value):
            left_out.append(key)
        elif value is not None:
            safe[key] = _one_line(value) if isinstance(value, str) else value
    if error:
        safe.update(_where(error))
    if left_out:
        safe["left_out"] = ",".join(sorted(left_out))
    return safe


def _plain(value: object) -> bool:
    if isinstance(value, tuple | list | set | frozenset):
        return all(isinstance(item, _PLAIN) for item in value)
    return value is None or isinstance(value, _PLAIN)


def _one_line(text: str) -> str:
    """The text without line ends, which would look like lines of ours, and cut where it is too long.

    A command in it is one to be pasted, for the configuration in use.
    """
    flat = to_type.lines(visible.text(" ".join(text.split()) if not text.isprintable() else text))
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"


def _where(error: object) -> Mapping[str, str]:
    """The class of an exception and the places it came through, innermost first; never its text."""
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if not isinstance(error, BaseException):
        return {}
    frames = [*reversed(traceback.extract_tb(error.__traceback__))]
    # Between the place and ours there may be a library's many.
    shown = frames[:1] + [frame for frame in frames[1:] if "kiva_relay" in Path(frame.filename).parts]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in shown[:6]]
    return {"error": type(error).__qualname__, "at": " < ".join(places)}


def _text(_logger: object, _method: str, event: _Event) -> str:
    level = event["level"]
    words = [event["timestamp"], *([level.upper()] if level != "info" else []), event["event"]]
    words += [f"{key}={_field(value)}" for key, value in event.items() if key not in _OUR_FIRST_KEYS]
    return " ".join(words)


def _json(_logger: object, _method: str, event: _Event) -> str:
    first = {
        "time": event["timestamp"],
        "level": event["level"],
        "logger": event["logger"],
        "message": event["event"],
    }
    rest = {key: value for key, value in event.items() if key not in _OUR_FIRST_KEYS}
    return visible.json(json.dumps(first | rest, ensure_ascii=False, default=_written))


def _field(value: object) -> str:
    text = visible.text(str(_written(value)))
    return json.dumps(text, ensure_ascii=False) if not text or any(sign in text for sign in ' "=') else text


def _written(value: object) -> object:
    """How values are written that JSON has no word for: moments in ISO, lengths of time in seconds."""
    match value:
        case dt.timedelta():
            return round(value.total_seconds(), 3)
        case dt.date() | dt.time():
            return value.isoformat()
        case set() | frozenset():
            return ",".join(sorted(map(str, value)))
        case list() | tuple():
            return ",".join(map(str, value))
        case bool():
            return str(value).lower()
    return value if isinstance(value, int | float) else str(value)


_RENDERERS = types.MappingProxyType({"text": _text, "json": _json})

_take_from_libraries()
