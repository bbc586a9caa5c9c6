"""A JSON Schema of mapping files: with it any editor completes and checks them."""

from __future__ import annotations

from typing import Any

from kiva_relay.mapping import document, function, source_reader
from kiva_relay.mapping.field_reader import LONG_FORM
from kiva_relay.mapping.lookup import REFUSALS
from kiva_relay.resource.field import Field
from kiva_relay.resource.kind import RESOURCES

_COLUMNS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_TEXT: dict[str, Any] = {"type": "string"}
_FLAG = {"type": "boolean"}

# What each key of the long form takes; the rest take a text.
_LONG: dict[str, dict[str, Any]] = {
    "text": {"type": ["string", "number", "boolean"]},
    "choose": {"type": "object"},
    "lookup": {"enum": list(REFUSALS)},
    "texts": {"type": "object", "additionalProperties": _TEXT, "description": "a text for each language"},
    "language": {**_TEXT, "description": "an expression: which of the texts"},
    "trim": _FLAG,
    "name": _FLAG,
    "date": {"type": ["boolean", "string", "array"]},
    "image": {"type": ["boolean", "string"]},
    "else": {"description": "refuse (as without it), leave_out, or the value"},
    "required": {"type": ["boolean", "string"]},
}


def render() -> dict[str, Any]:
    """The schema of all mapping files, made from what the loader itself knows."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A mapping of kiva-relay",
        "type": "object",
        "required": ["resource", "identity", "source", "fields"],
        "properties": {key: _TOP.get(key, {}) for key in document.KEYS},
        "additionalProperties": False,
        "oneOf": [
            {
                "properties": {
                    "resource": {"const": name},
                    "fields": _object(resource.fields),
                    "left_to_the_coordinator": {
                        "type": "array",
                        "items": {"enum": [field.name for field in resource.fields]},
                    },
                }
            }
            for name, resource in RESOURCES.items()
        ],
        "$defs": {"field": _field()},
    }


def _field() -> dict[str, Any]:
    described: dict[str, dict[str, Any]] = {
        name: {"description": each.example} for name, each in function.FUNCTIONS.items()
    }
    long_form = {key: described.get(key, {}) | _LONG.get(key, _TEXT) for key in LONG_FORM}
    return {"oneOf": [_TEXT, {"type": "object", "properties": long_form, "additionalProperties": False}]}


def _object(fields: tuple[Field, ...]) -> dict[str, Any]:
    properties = {field.name: {"description": field.doc} | _of(field) for field in fields}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _of(field: Field) -> dict[str, Any]:
    if field.kind != "list":
        return {"$ref": "#/$defs/field"}
    item = {"$ref": "#/$defs/field"} if field.items else _object(field.fields)
    each = {"type": "object", "required": ["each", "do"], "properties": {"each": _TEXT, "do": item}}
    return {"oneOf": [{"type": "array", "items": item}, {**each, "additionalProperties": False}]}


def _keys(known: tuple[str, ...], **kinds: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: kinds.get(key, _TEXT) for key in known},
        "additionalProperties": False,
    }


_RELATION = _keys(source_reader.RELATION, match={"type": "object"}, many=_FLAG, optional=_FLAG, changed_at=_COLUMNS)
_TOUCHED = _keys(source_reader.TOUCHED_BY, match={"type": "object"}, changed_at=_COLUMNS)
_TOP: dict[str, Any] = {
    "resource": {"enum": list(RESOURCES)},
    "identity": _TEXT,
    "parameters": {
        "type": "object",
        "additionalProperties": _keys(source_reader.PARAMETER, type={"enum": list(source_reader.TYPES)}),
    },
    "source": _keys(
        source_reader.SOURCE, key=_COLUMNS, changed_at=_COLUMNS, touched_by={"type": "array", "items": _TOUCHED}
    ),
    "relations": {"type": "object", "additionalProperties": _RELATION},
    "when": _TEXT,
    "checks": {"type": "object", "additionalProperties": _TEXT},
}
