"""What the stand-in answers: Kiva's `{code, message, …}`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from kiva_relay.frozen import dataclass

if TYPE_CHECKING:
    from kiva_relay.sandbox.ledger import Record

JSON = "application/json"


@dataclass(frozen=True)
class Reply:
    """One answer, and the record of the ledger that it is the receipt for."""

    status: int
    body: bytes
    record: Record | None = None


def good(document: object, *, status: int = 200, record: Record | None = None) -> Reply:
    """The call was accepted."""
    return Reply(status, orjson.dumps(document), record=record)


def refused(status: int, code: str, message: str) -> Reply:
    """The call was not accepted. The codes are invented: Kiva publishes none."""
    return Reply(status, orjson.dumps({"code": f"api.error.{code}", "message": message}))
