"""The shapes that the API takes, and no more: a draft that PA2 will refuse to publish is accepted here."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_REPAYMENTS = 300

_DRAFT: Mapping[str, str] = {
    "internal_loan_id": "text",
    "internal_client_id": "text",
    "group_name": "text",
    "client_waiver_signed": "boolean",
    "currency": "text",
    "description": "text",
    "description_language_id": "integer",
    "loanuse": "text",
    "activity_id": "integer",
    "theme_type_id": "integer",
    "location": "text",
    "disburse_time": "date",
    "image_encoded": "text",
    "image_url": "text",
}
_ENTREP: Mapping[str, str] = {
    "client_id": "text",
    "loan_id": "text",
    "first_name": "text",
    "last_name": "text",
    "gender": "text",
    "amount": "number",
}
_INSTALMENT: Mapping[str, str] = {"date": "date", "principal": "number", "interest": "number"}
_REPAYMENT: Mapping[str, str] = {"loan_id": "text", "client_id": "text", "amount": "number"}
_JOURNAL: Mapping[str, str] = {
    "internal_loan_id": "text",
    "internal_client_id": "text",
    "subject": "text",
    "body": "text",
    "image_url": "text",
}


class Malformed(Exception):
    """The body is not JSON, or not of the call's shape. Answered with 400."""


def parse(raw: bytes) -> object:
    """A body as JSON.

    Raises:
        Malformed: It is none.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as why:
        raise Malformed(f"JSON parse error: {why}") from why


def loan_draft(document: object) -> dict[str, Any]:
    """The fields of a draft, every one optional; keys that Kiva does not know are let through.

    Raises:
        Malformed: A known field has another type.
    """
    fields = _object(document, "", _DRAFT)
    for place, entrep in _items(fields, "entreps"):
        _object(entrep, place, _ENTREP)
    for place, instalment in _items(fields, "schedule"):
        _object(instalment, place, _INSTALMENT)
    for place, not_pictured in _items(fields, "not_pictured"):
        _typed(not_pictured, place, "boolean")
    return fields


def repayments(document: object) -> list[dict[str, Any]]:
    """The positions of a call, each with `loan_id` and `amount`.

    Raises:
        Malformed: None, too many, or one that lacks one of the two.
    """
    fields = _object(document, "", {})
    rows = [
        _object(row, place, _REPAYMENT, required=("loan_id", "amount")) for place, row in _items(fields, "repayments")
    ]
    if not rows:
        raise Malformed("repayments: expected at least one")
    if len(rows) > MOST_REPAYMENTS:
        raise Malformed(f"repayments: expected at most {MOST_REPAYMENTS}, found {len(rows)}")
    return rows


def journals(document: object) -> list[dict[str, Any]]:
    """The journals of a call, from a bare list or from `{"journals": […]}`.

    Raises:
        Malformed: None, or one without `internal_loan_id` or `body`.
    """
    fields = {"journals": document} if isinstance(document, list) else _object(document, "", {})
    rows = [
        _object(row, place, _JOURNAL, required=("internal_loan_id", "body"))
        for place, row in _items(fields, "journals")
    ]
    if not rows:
        raise Malformed("journals: expected at least one")
    return rows


def loan_ids(document: object) -> tuple[str, ...]:
    """Every loan id that a body names, whatever its shape: the request log has them before anything is checked."""
    rows: list[object] = [document]
    if isinstance(document, list):
        rows = list(document)
    elif isinstance(document, dict):
        for key in ("entreps", "repayments", "journals"):
            inner = document.get(key)
            rows += inner if isinstance(inner, list) else []
    found = (
        row[key]
        for row in rows
        if isinstance(row, dict)
        for key in ("internal_loan_id", "loan_id")
        if isinstance(row.get(key), str)
    )
    return tuple(dict.fromkeys(found))


def _object(found: object, place: str, fields: Mapping[str, str], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise Malformed(f"{place or 'body'}: expected an object, found {_kind(found)}")
    for name in required:
        if found.get(name) in (None, ""):
            raise Malformed(f"{place}.{name}: is required")
    for name, kind in fields.items():
        if found.get(name) is not None:
            _typed(found[name], f"{place}.{name}" if place else name, kind)
    return found


def _items(fields: Mapping[str, Any], name: str) -> list[tuple[str, object]]:
    found = fields.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise Malformed(f"{name}: expected a list, found {_kind(found)}")
    return [(f"{name}[{index}]", item) for index, item in enumerate(found)]


def _typed(found: object, place: str, kind: str) -> None:
    if kind == "date":
        right = isinstance(found, str) and _is_date(found)
    elif kind == "number":
        right = isinstance(found, int | float) and not isinstance(found, bool)
    elif kind == "integer":
        right = isinstance(found, int) and not isinstance(found, bool)
    else:
        right = isinstance(found, bool if kind == "boolean" else str)
    if not right:
        expected = "a date as YYYY-MM-DD" if kind == "date" else kind
        raise Malformed(f"{place}: expected {expected}, found {_kind(found)}")


def _is_date(text: str) -> bool:
    try:
        return len(text) == len("2026-01-31") and bool(date.fromisoformat(text))
    except ValueError:
        return False


def _kind(found: object) -> str:
    names = {str: "text", bool: "boolean", int: "number", float: "number", list: "a list", dict: "an object"}
    return names.get(type(found), "null")
