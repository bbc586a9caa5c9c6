"""What pydantic says of a value, in words of ours: what was expected, what was found, and what to write.

This is the one place that knows pydantic's kinds of error.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from kiva_relay.config import concealed, duration, sample, settings, written
from kiva_relay.config.concealed import CONCEALED
from kiva_relay.config.mismatch import Mismatch, found
from kiva_relay.config.secret import Secret
from kiva_relay.config.settings import Settings
from kiva_relay.config.written import Steps, Written
from kiva_relay.errors import Mistake, nearest

MISSING = "required, and not there"

_KINDS: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    Decimal: "a number",
    date: "a date",
    time: "a time of day",
    timedelta: "a length of time",
    Path: "the path of a file",
}
_REMEDIES = {
    date: "a date is written as 2026-11-01",
    time: 'two digits, a colon, two digits, from "00:00" to "23:59"',
}
_SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def mistakes(error: ValidationError, source: Written) -> list[Mistake]:
    """Every mistake once, each where it was written; a value of several possible kinds is one."""
    first: dict[Steps, ErrorDetails] = {}
    for detail in error.errors(include_url=False):
        first.setdefault(_path(detail, source), detail)
    return [_mistake(path, detail, source) for path, detail in first.items()]


def places(error: ValidationError, source: Written) -> list[Steps]:
    """Where each wrong value was written."""
    return list(dict.fromkeys(_path(detail, source) for detail in error.errors(include_url=False)))


def field_at(path: Steps) -> FieldInfo | None:
    """The setting at a path; None for a group of them, and for an unknown key."""
    model = _model(path[:-1]) if path else None
    return model.model_fields.get(str(path[-1])) if model else None


def in_a_list(path: Steps) -> Steps:
    """The group of settings in a list that a path leads into, as `("mail", "recipients", 1)`; empty: none."""
    heads = (path[:number] for number, part in enumerate(path, start=1) if isinstance(part, int))
    return next((head for head in heads if _model(head) is not None), ())


def kinds(field: FieldInfo | None) -> tuple[Any, ...]:
    """The types that the value of a setting may have: one, or those of a union."""
    return tuple(kind for kind, _ in _alternatives(field.annotation, field.metadata)) if field else ()


def concealed_at(path: Steps) -> bool:
    """Whether the value of a setting may hold a secret."""
    field = field_at(path)
    alternatives = _alternatives(field.annotation, field.metadata) if field else ()
    return any(kind is Secret or CONCEALED in bounds for kind, bounds in alternatives)


def _path(detail: ErrorDetails, source: Written) -> Steps:
    """Where the value is: pydantic's path without the names of a union's kinds.

    An item that stands alone, without a list, has no number either.
    """
    path: Steps = ()
    for part in detail["loc"]:
        inside = _model(path) is not None or isinstance(part, int) or _keyed(path)
        path = (*path, part) if inside else path
    while path and isinstance(path[-1], int) and path not in source.values:
        path = path[:-1]
    alone = tuple(part for part in path if not isinstance(part, int))
    return alone if path not in source.values and alone in source.values else path


def _keyed(path: Steps) -> bool:
    return any(typing.get_origin(kind) is Mapping for kind in kinds(field_at(path)))


def _mistake(path: Steps, detail: ErrorDetails, source: Written) -> Mistake:
    message, remedy = _sentences(path, detail)
    wrong = detail.get("ctx", {}).get("error")
    inner = (*path, *wrong.at) if isinstance(wrong, Mismatch) else path
    place = source.origin(inner, key=detail["type"] == "extra_forbidden")
    if detail["type"] == "extra_forbidden":
        path = (*path[:-1], concealed.key(str(path[-1])))
    return Mistake(place.file, place.line, place.column, written.dotted(path), message, remedy or _usual(path))


def _sentences(path: Steps, detail: ErrorDetails) -> tuple[str, str]:
    """What is wrong, and what to write instead."""
    value = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return "no such setting", _meant(path)
        case "missing":
            return MISSING, _example(path)
        case "too_short":
            return "expected at least one, found an empty list", _where(path)
        case "value_error" if isinstance(wrong := detail["ctx"]["error"], Mismatch):
            return str(wrong), wrong.remedy or _where(path)
    model = _model(path)
    if model is not None:
        # A whole line may have come here, with a secret in it.
        secrets = any(concealed_at((*path, name)) for name in model.model_fields)
        said = concealed.found(value) if secrets else found(value)
        return f"expected settings, found {said}", f"known here: {', '.join(model.model_fields)}"
    possible = list(_possible(path))
    names = [name for kind, bounds in possible for name in _names(kind, bounds)]
    if concealed_at(path):
        return f"expected {_joined(dict.fromkeys(names))}, found {concealed.found(value)}", _where(path)
    return f"expected {_joined(dict.fromkeys(names))}, found {found(value)}", _remedy(path, possible, value)


def _possible(path: Steps) -> Iterator[tuple[Any, Iterable[Any]]]:
    """The kinds of value that may stand at a path, each with its bounds: of a setting, or of an item inside it."""
    names = path
    while names and isinstance(names[-1], int):
        names = names[:-1]
    field = field_at(names) or field_at(names[:-1])
    for kind, bounds in _alternatives(field.annotation, field.metadata) if field else ():
        arguments = typing.get_args(kind)
        if typing.get_origin(kind) is tuple:
            yield from _alternatives(arguments[0], ())
        elif typing.get_origin(kind) is Mapping and field_at(names) is None:
            yield from _alternatives(arguments[1], ())
        else:
            yield kind, bounds


def _alternatives(annotation: Any, bounds: Iterable[Any]) -> Iterator[tuple[Any, Iterable[Any]]]:
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *more = typing.get_args(annotation)
        yield from _alternatives(inner, [*bounds, *more])
    elif typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        for kind in typing.get_args(annotation):
            yield from _alternatives(kind, bounds)
    elif annotation is not type(None):
        yield annotation, bounds


def _names(kind: Any, bounds: Iterable[Any]) -> Iterator[str]:
    """How a kind of value is called: `text`, `a whole number from 1 to 300`; each word of a choice."""
    if typing.get_origin(kind) is Literal:
        yield from map(str, typing.get_args(kind))
        return
    limits = {
        name: getattr(bound, name) for bound in _flat(bounds) for name in ("gt", "ge", "le") if hasattr(bound, name)
    }
    match kind, limits:
        case whole, {"ge": lowest, "le": highest} if whole is int:
            yield f"a whole number from {lowest} to {highest}"
        case _, {"gt": above, "le": highest}:
            yield f"a number above {above:g} and up to {highest:g}"
        case length, {"ge": shortest} if length is timedelta:
            yield f"at least {duration.format(shortest)}"
        case _:
            yield _KINDS.get(kind, "names and values")


def _flat(bounds: Iterable[Any]) -> Iterator[Any]:
    for bound in bounds:
        yield from bound.metadata if isinstance(bound, FieldInfo) else (bound,)


def _joined(names: Iterable[str]) -> str:
    *most, last = names
    between = ", " if " or " in last else " or "
    return f"{', '.join(most)}{between}{last}" if most else last


def _remedy(path: Steps, possible: list[tuple[Any, Iterable[Any]]], value: object) -> str:
    words = [kind for kind, _ in possible if typing.get_origin(kind) is Literal]
    choices = [str(each) for kind in words for each in typing.get_args(kind)]
    close = nearest(value, choices, limit=1) if isinstance(value, str) else []
    if close:
        return f"did you mean: {close[0]}"
    kinds = [kind for kind, _ in possible if kind not in words]
    if kinds == [str] and isinstance(value, bool | int | Decimal | date):
        return f'write it in quotes: "{found(value)}"'
    if kinds == [bool] and str(value).lower() in _SWITCHES:
        return f"write {_SWITCHES[str(value).lower()]}"
    known = (
        next((_REMEDIES[kind] for kind in kinds if kind in _REMEDIES), "") if len(possible) <= len(choices) + 1 else ""
    )
    return known or _where(path)


def _meant(path: Steps) -> str:
    """The setting that an unknown key was meant to be."""
    name, around = str(path[-1]), path[:-1]
    siblings = list((_model(around) or Settings).model_fields)
    close = nearest(name, siblings)
    if close:
        return f"did you mean: {', '.join(close)}"
    everywhere = [key for key, _ in settings.every()]
    elsewhere = [key for key in everywhere if key == name or key.rpartition(".")[2] == name]
    if elsewhere:
        above, _, key = elsewhere[0].rpartition(".")
        return f"{key} belongs under {above}:" if above else f"{key} belongs at the left margin, under nothing"
    return f"known here: {', '.join(siblings)}"


def _example(path: Steps) -> str:
    around = written.dotted(path[:-1])
    line = f"{path[-1]}: {_extra(path, 'example') or '…'}"
    where = _where(path)
    return (f"write under {around}:  " if around else "write  ") + line + (f"   ({where})" if where else "")


def _usual(path: Steps) -> str:
    """The line with its default, or with the example of its documentation, for what has no better remedy."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    field = field_at(path)
    if field is None or concealed_at(path):
        return ""
    default = field.default
    said = "" if field.is_required() or default is None else sample.written_as(default)
    line = said if said and said != str(PydanticUndefined) else _extra(path, "example")
    return f"as {path[-1]}: {line}" if line else ""


def _where(path: Steps) -> str:
    return _extra(path, "where")


def _extra(path: Steps, name: str) -> str:
    while path and isinstance(path[-1], int):
        path = path[:-1]
    field = field_at(path)
    extra = field.json_schema_extra if field else None
    return str(extra.get(name, "")) if isinstance(extra, dict) else ""


def _model(path: Steps) -> type[BaseModel] | None:
    """The group of settings at a path."""
    model: type[BaseModel] | None = Settings
    of_a_list: type[BaseModel] | None = None
    for part in path:
        if isinstance(part, int) and of_a_list is not None:
            model, of_a_list = of_a_list, None
            continue
        field = model.model_fields.get(str(part)) if model is not None else None
        kind = _inner(field.annotation) if field is not None else None
        of_a_list = _group(kind[0]) if isinstance(kind, tuple) else None
        model = None if isinstance(kind, tuple) else _group(kind)
        if model is None and of_a_list is None:
            return None
    return model or of_a_list


def _inner(annotation: Any) -> Any:
    """A type without what is noted beside it; of a list its items' type, alone in a tuple."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return (_inner(typing.get_args(annotation)[0]),) if typing.get_origin(annotation) is tuple else annotation


def _group(kind: Any) -> type[BaseModel] | None:
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
