"""What a stand-in refuses that another one takes: where Kiva's own texts disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kiva_relay.sandbox import body
from kiva_relay.sandbox.reply import refused

if TYPE_CHECKING:
    from kiva_relay.sandbox.partner_api import Call
    from kiva_relay.sandbox.reply import Reply
    from testbed.kiva.config import KivaConfig


def refusal(config: KivaConfig, on: str, path: str, call: Call) -> Reply | None:
    """The refusal of a call that this stand-in does not take in this form; None when it does."""
    if on == "journals":
        if config.journal_path != "both" and f"/v3/{config.journal_path}/" not in path:
            return refused(404, "not_found", "No such resource")
        shape = "list" if isinstance(_document(call), list) else "object"
        if config.journal_body not in ("both", shape):
            return refused(400, "bad_request", f"expected {config.journal_body}, found {shape}")
    if on == "repayments" and config.client_ids:
        document = _document(call)
        rows = document.get("repayments", []) if isinstance(document, dict) else []
        if not all(isinstance(row, dict) and row.get("client_id") for row in rows):
            return refused(400, "bad_request", "client_id: is required")
    return None


def _document(call: Call) -> object:
    try:
        return call.document
    except body.Malformed:
        return None
