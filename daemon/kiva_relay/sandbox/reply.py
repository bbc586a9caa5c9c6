"""What the stand-in answers: Kiva's `{code, message, …}`, in either spelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from kiva_relay.sandbox.ledger import Record

JSON = "application/json"


@dataclass(frozen=True)
class Reply:
    """One answer, and the record of the ledger that it is the receipt for."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    record: Record | None = None


def good(document: object, *, status: int = 200, record: Record | None = None) -> Reply:
    """The call was accepted."""
    return Reply(status, orjson.dumps(document), record=record)


def refused(status: int, code: str, message: str) -> Reply:
    """The call was not accepted. The codes are invented: Kiva publishes none."""
    return Reply(status, orjson.dumps({"code": f"api.error.{code}", "message": message}))


def spelled(document: Any, spelling: str) -> Any:
    """The same JSON with the keys in Kiva's other spelling, `loanDraftUuid` for `loan_draft_uuid`."""
    if spelling == "snake":
        return document
    if isinstance(document, dict):
        return {_camel(key): spelled(value, spelling) for key, value in document.items()}
    if isinstance(document, list):
        return [spelled(item, spelling) for item in document]
    return document


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(word.capitalize() for word in rest)
