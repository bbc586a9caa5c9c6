"""As much of JSON Schema as the schema of mapping files uses: what an editor would underline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_KINDS: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_KNOWN = {
    "$schema", "title", "description", "definitions", "$ref", "type", "enum", "const", "required", "properties",
    "additionalProperties", "items", "anyOf", "allOf", "if", "then", "else",
}  # fmt: skip


def complaints(value: Any, schema: dict[str, Any], whole: dict[str, Any], at: str = "") -> Iterator[str]:
    """Every place at which the value is not what the schema says; fails for a word of JSON Schema not known here."""
    assert schema.keys() <= _KNOWN, schema.keys() - _KNOWN
    if "$ref" in schema:
        yield from complaints(value, whole["definitions"][schema["$ref"].rpartition("/")[2]], whole, at)
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{at}: {value!r} is no {schema['type']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{at}: {value!r} is not {schema['const']}"
    if isinstance(value, dict):
        yield from _object(value, schema, whole, at)
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from complaints(item, schema["items"], whole, f"{at}[{number}]")
    if "anyOf" in schema:
        each = [list(complaints(value, one, whole, at)) for one in schema["anyOf"]]
        # Of all ways that do not fit, an editor names the one that fits furthest.
        yield from () if not all(each) else max(each, key=_how_far)
    for one in schema.get("allOf", ()):
        yield from complaints(value, one, whole, at)
    if "if" in schema:
        branch = "else" if list(complaints(value, schema["if"], whole, at)) else "then"
        yield from complaints(value, schema.get(branch, {}), whole, at)


def _how_far(complaints: list[str]) -> tuple[int, bool]:
    return max(len(one.split(":")[0]) for one in complaints), not any(" is no " in one for one in complaints)


def _object(value: dict[str, Any], schema: dict[str, Any], whole: dict[str, Any], at: str) -> Iterator[str]:
    known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    yield from (f"{at}: {name} is missing" for name in schema.get("required", ()) if name not in value)
    for name, part in value.items():
        if name in known:
            yield from complaints(part, known[name], whole, f"{at}.{name}")
        elif more is False:
            yield f"{at}: {name} is not known"
        elif isinstance(more, dict):
            yield from complaints(part, more, whole, f"{at}.{name}")


def _is(value: Any, kinds: str | list[str]) -> bool:
    named = [kinds] if isinstance(kinds, str) else kinds
    return any(isinstance(value, _KINDS[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in named)
