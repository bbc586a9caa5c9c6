"""Answers that are not Kiva's, and Kiva's in its other spelling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from kiva_relay.sandbox.reply import JSON, Reply, refused

if TYPE_CHECKING:
    from testbed.kiva.config import KivaConfig
    from testbed.kiva.fault import Fault

_HTML = "text/html; charset=utf-8"
_GARBAGE = "<!doctype html><html><head><title>Welcome</title></head><body>Please sign in.</body></html>"
# Of these calls Kiva's texts disagree about the keys, of those about whether the receipt is a list.
_SPELLED = ("loan_draft", "repayments", "journals", "loans")
_LISTED = ("repayments", "journals")


@dataclass(frozen=True)
class Answer:
    """An answer as it goes out."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def of(reply: Reply) -> Answer:
    """Kiva's answer, unchanged."""
    return Answer(reply.status, reply.body)


def instead(fault: Fault) -> Answer:
    """The answer that a fault gives in place of Kiva's."""
    if fault.kind == "garbage":
        return _text(200, fault.body or _GARBAGE)
    status = fault.status or 500
    headers = (("retry-after", fault.retry_after),) if fault.retry_after else ()
    if fault.body:
        return _text(status, fault.body, headers)
    return Answer(status, refused(status, "asked_for", f"The sandbox was asked to answer {status}").body, JSON, headers)


def spelled(reply: Reply, on: str, config: KivaConfig) -> Reply:
    """The same answer in the spelling and the shape that the stand-in was given."""
    if reply.status >= 300 or on not in _SPELLED or (config.spelling, config.receipts) == ("snake", "object"):
        return reply
    document = orjson.loads(reply.body)
    if config.spelling == "camel":
        document = _camel(document)
    if config.receipts == "list" and on in _LISTED:
        document = [document]
    return replace(reply, body=orjson.dumps(document))


def _text(status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    content_type = _HTML if text.lstrip().startswith("<") else JSON
    return Answer(status, text.encode(), content_type, headers)


def _camel(document: Any) -> Any:
    """The same JSON with its keys as `loanDraftUuid` for `loan_draft_uuid`."""
    if isinstance(document, dict):
        return {_camel_key(key): _camel(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_camel(item) for item in document]
    return document


def _camel_key(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(word.capitalize() for word in rest)
