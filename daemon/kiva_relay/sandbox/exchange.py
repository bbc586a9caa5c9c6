"""One call from its first byte to its last: read, apply, answer, and note it all down."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from kiva_relay.sandbox import body, partner_api, reply
from kiva_relay.sandbox.request_log import LoggedCall

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from kiva_relay.sandbox.partner_api import Call
    from kiva_relay.sandbox.reply import Reply
    from kiva_relay.sandbox.state import SandboxState
L = TypeVar("L", bound=LoggedCall)


class Exchange:
    """The ASGI application of one kind of call, a key of `partner_api.HANDLERS`."""

    def __init__(self, state: SandboxState, on: str) -> None:
        self._state = state
        self._on = on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        request = Request(scope, receive, send)
        entry = arrived(LoggedCall, request, self._state, self._on)
        began = time.monotonic()
        try:
            await self._serve(request, send, entry)
        finally:
            entry.seconds = round(time.monotonic() - began, 6)

    async def _serve(self, request: Request, send: Send, entry: LoggedCall) -> None:
        call = await read(request, entry)
        if call is None:
            return
        applied = apply(self._state, self._on, call)
        record = applied.record
        entry.record = record.number if record is not None else 0
        # Whoever hung up reads no answer, though one can be written.
        entry.outcome = "answer_lost"
        try:
            if not await request.is_disconnected():
                await Response(applied.body, applied.status, media_type=reply.JSON)(
                    request.scope, request.receive, send
                )
                entry.status = applied.status
                entry.outcome = "answered"
        finally:
            if record is not None:
                self._state.ledger.answered(record, entry.outcome)


def arrived(kind: type[L], request: Request, state: SandboxState, on: str) -> L:
    """Note a call in the request log as soon as its headers are there; `kind` is what the log has of one."""
    entry = kind(
        number=state.requests.next_number(),
        time=state.now(),
        on=on,
        method=request.method,
        path=request.url.path,
        query=request.url.query,
        idempotency_key=request.headers.get("idempotency-key", ""),
    )
    state.requests.entries.append(entry)
    return entry


async def read(request: Request, entry: LoggedCall) -> Call | None:
    """The call with its body, noted in the log; None when the caller left before all of it was here."""
    try:
        raw = await request.body()
    except ClientDisconnect:
        entry.outcome = "caller_left"
        return None
    call = partner_api.Call(
        number=entry.number,
        base=str(request.base_url).rstrip("/"),
        place=request.path_params,
        query=dict(request.query_params),
        headers={name.lower(): value for name, value in request.headers.items()},
        raw=raw,
    )
    entry.bytes = len(raw)
    entry.loan_ids = call.loan_ids
    return call


def apply(state: SandboxState, on: str, call: Call) -> Reply:
    """Let a call take effect; what Kiva answers to it."""
    try:
        return partner_api.HANDLERS[on](state, call)
    except body.Malformed as why:
        return reply.refused(400, "bad_request", str(why))
