"""Whether an answer may be taken for a yes: judged without the product's reader, by plain rules of its own."""

from __future__ import annotations

import json
import re
from typing import Any

from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.receipt import Receipt

_SIGNS = {
    "loan_draft": ("loandraftuuid",),
    "repayment": ("uploadid",),
    "journal": ("archiveid", "confirmurl"),
}
_TEXT_ONLY = ("loandraftuuid", "confirmurl")
_NO = re.compile(r"error|fail|invalid|denied|refus|reject|^no$|^bad", re.IGNORECASE)


def wrong(answer: Answer, resource: str, found: Any) -> str:
    """Why a receipt should not have been read out of this answer; empty when it may, or when there is none."""
    return why_not(answer, resource) if isinstance(found, Receipt) else ""


def why_not(answer: Answer, resource: str) -> str:
    """What keeps a success from being a receipt; empty when nothing does."""
    if not answer.read_whole:
        return "the answer was cut"
    try:
        said = json.loads(
            answer.content.decode("utf-8", "replace").lstrip("\ufeff"), object_pairs_hook=list, strict=False
        )
    except (ValueError, RecursionError):
        return "it is no JSON"
    pairs = _pairs(said)
    if pairs is None:
        return "it is no object"
    for name in _SIGNS[resource]:
        values = [value for key, value in pairs if _plain(key) == name and value is not None]
        if not values:
            return f"{name} is not there"
        if any(value != values[0] or type(value) is not type(values[0]) for value in values):
            return f"{name} stands there twice"
        if not _is_sign(name, values[0]):
            return f"{name} is {values[0]!r}"
    return _says_no(pairs)


def _pairs(said: Any) -> list[tuple[str, Any]] | None:
    """An object, or the only one of a list. Objects were read as lists of pairs, so both look alike but for tuples."""
    if isinstance(said, list) and len(said) == 1 and isinstance(said[0], list):
        said = said[0]
    is_object = isinstance(said, list) and all(isinstance(each, tuple) for each in said)
    return said if is_object else None


def _plain(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()


def _is_sign(name: str, value: Any) -> bool:
    if isinstance(value, str):
        text = value.strip()
        nothing = text.lower() in ("", "0", "null", "none", "false", "true", "error", "nan")
        if nothing or (name != "confirmurl" and ("\N{REPLACEMENT CHARACTER}" in text or "\0" in text)):
            return False
        return name == "confirmurl" or bool(re.search(r"[1-9A-Za-z]", text))
    return name not in _TEXT_ONLY and type(value) is int and value > 0


def _says_no(pairs: list[tuple[str, Any]]) -> str:
    for key, value in pairs:
        name = _plain(key)
        if name in ("code", "status") and isinstance(value, str) and _NO.search(value):
            return f"{key} is {value!r}"
        if name in ("code", "status") and type(value) in (bool, list):
            return f"{key} is {value!r}"
        if name in ("code", "status") and type(value) is int and value >= 300:
            return f"{key} is {value!r}"
        if name == "success" and value is not None and str(value).lower() in ("false", "0", "", "no", "error"):
            return f"{key} is {value!r}"
        if name in ("error", "errors") and value not in (None, "", 0, False, []):
            return f"{key} is {value!r}"
    return ""
