"""A JSON Schema of mapping files: with it any editor completes and checks them."""

from __future__ import annotations

from typing import Any

from kiva_relay.mapping import document, function, source_reader
from kiva_relay.mapping.lookup import REFUSALS
from kiva_relay.mapping.plan import LONG_FORM
from kiva_relay.resource.field import Field
from kiva_relay.resource.kind import RESOURCES

_TEXT: dict[str, Any] = {"type": "string"}
_FLAG: dict[str, Any] = {"type": "boolean"}
_COLUMNS: dict[str, Any] = {"type": ["string", "array"], "items": _TEXT}
# An expression may be a number or true as well; YAML reads those before the mapping does.
_EXPRESSION: dict[str, Any] = {"type": ["string", "number", "boolean"]}

# What each key of the long form takes; the rest take a text.
_LONG: dict[str, dict[str, Any]] = {
    "from": {**_EXPRESSION, "description": "a column, or an expression"},
    "text": {**_EXPRESSION, "description": "these very words; beside `from`: true, the function"},
    "choose": {"type": "object"},
    "lookup": {"enum": list(REFUSALS)},
    "texts": {"type": "object", "additionalProperties": _TEXT, "description": "a text for each language"},
    "language": {**_TEXT, "description": "an expression: which of the texts"},
    "trim": _FLAG,
    "name": _FLAG,
    "money": {"type": ["string", "integer"]},
    "date": {"type": ["boolean", "string", "array"]},
    "image": {"type": ["boolean", "string"]},
    "else": {"description": "refuse (as without it), leave_out, or the value"},
    "required": {"type": ["boolean", "string"], "description": "refused when it is empty: always, or for which rows"},
}

# What an editor shows beside a key.
_SAID = {
    "extends": "another mapping, of which this one says only what differs; `null` takes a part out",
    "resource": "what one row becomes",
    "identity": "the string by which Kiva will know it; sent once for each",
    "parameters": "what one institution has to say, in config.yaml under `parameters:`",
    "ask": "the question",
    "source": "the table whose rows are sent",
    "relations": "what belongs to a row, out of other tables",
    "when": "until it is true, the row waits and is no mistake",
    "fields": "what Kiva gets, and out of which columns",
    "checks": "what bounds a repayment: `principal` lent, `currency`; `scheduled`: what falls due; `written_off`",
    "left_to_the_coordinator": "fields that a person fills in in PA2",
    "table": "the table",
    "sql": "one SELECT",
    "key": "the column, or list of columns, that names a row",
    "where": "SQL: which rows are for Kiva",
    "changed_at": "the column that says when a row changed, or a list: the first that is not NULL counts",
    "changed_at_zone": "how a stamp without a zone is meant: utc, server, or a zone as Africa/Dakar",
    "created_at": "an expression: when it came into being; decides about `since` in config.yaml",
    "touched_by": "tables that are only watched: a change there means that the row is looked at again",
    "match": "its column: the loan's column, or one of a relation before it",
    "many": "several rows, in the order of order_by",
    "optional": "no row is no mistake; its columns are NULL",
    "order_by": "the column that orders many rows",
}


def render() -> dict[str, Any]:
    """The schema of all mapping files, made from what the loader itself knows.

    With `extends` any key may be missing, and `null` takes one out.
    """
    whole = {
        "required": ["resource", "identity", "source", "fields"],
        "properties": _TOP,
        "allOf": [_of_resource(name, resource.fields) for name, resource in RESOURCES.items()],
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A mapping of kiva-relay",
        "type": "object",
        "properties": {key: _described(key, {}) for key in document.KEYS},
        "additionalProperties": False,
        "if": {"required": ["extends"]},
        "then": {"properties": {**{key: _differing(each) for key, each in _TOP.items()}, **_of_any_resource()}},
        "else": whole,
        "definitions": {"field": _field(), "differing_field": _differing(_field())},
    }


def _of_any_resource() -> dict[str, Any]:
    """What differs, of a mapping whose resource stands in its base; and `extends` itself, which cannot be taken out."""
    fields = {"anyOf": [_differing(_object(resource.fields)) for resource in RESOURCES.values()]}
    names = [field.name for resource in RESOURCES.values() for field in resource.fields]
    left = {"type": "array", "items": {"enum": list(dict.fromkeys(names))}}
    return {"fields": fields, "left_to_the_coordinator": _differing(left), "extends": _TOP["extends"]}


def _differing(schema: dict[str, Any]) -> dict[str, Any]:
    """The same for a part of which only what differs is written: nothing is required, `null` takes it out."""
    said = {key: schema[key] for key in ("description",) if key in schema}
    if "$ref" in schema:
        return {**said, "$ref": "#/definitions/differing_field"}
    inner = {key: each for key, each in schema.items() if key not in ("description", "required")}
    if "properties" in inner:
        inner["properties"] = {name: _differing(each) for name, each in inner["properties"].items()}
    if "anyOf" in inner:
        inner["anyOf"] = [_differing(each) for each in inner["anyOf"]]
    for key in ("items", "additionalProperties"):
        if isinstance(inner.get(key), dict):
            inner[key] = _differing(inner[key])
    return {**said, "anyOf": [inner, {"type": "null"}]}


def _of_resource(name: str, fields: tuple[Field, ...]) -> dict[str, Any]:
    """What may stand under `fields:` follows from `resource:`."""
    left = {"type": "array", "items": {"enum": [field.name for field in fields]}}
    return {
        "if": {"properties": {"resource": {"const": name}}, "required": ["resource"]},
        "then": {"properties": {"fields": _object(fields), "left_to_the_coordinator": left}},
    }


def _described(key: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": _SAID[key], **schema} if key in _SAID else schema


def _field() -> dict[str, Any]:
    described: dict[str, dict[str, Any]] = {
        name: {"description": each.example} for name, each in function.FUNCTIONS.items()
    }
    properties = {key: described.get(key, {}) | _LONG.get(key, _TEXT) for key in LONG_FORM}
    long_form = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"anyOf": [_EXPRESSION, long_form]}


def _object(fields: tuple[Field, ...]) -> dict[str, Any]:
    properties = {field.name: {"description": field.doc} | _of(field) for field in fields}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _of(field: Field) -> dict[str, Any]:
    if field.kind != "list":
        return {"$ref": "#/definitions/field"}
    item = {"$ref": "#/definitions/field"} if field.items else _object(field.fields)
    each = {"type": "object", "required": ["each", "do"], "properties": {"each": _TEXT, "do": item}}
    return {"anyOf": [{"type": "array", "items": item}, {**each, "additionalProperties": False}]}


def _keys(known: tuple[str, ...], **kinds: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: _described(key, kinds.get(key, _TEXT)) for key in known},
        "additionalProperties": False,
    }


_RELATION = _keys(source_reader.RELATION, match={"type": "object"}, many=_FLAG, optional=_FLAG, changed_at=_COLUMNS)
_TOUCHED = _keys(source_reader.TOUCHED_BY, match={"type": "object"}, changed_at=_COLUMNS)
_TOP: dict[str, Any] = {
    "extends": _TEXT,
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
    "checks": {"type": "object", "additionalProperties": _EXPRESSION},
}
