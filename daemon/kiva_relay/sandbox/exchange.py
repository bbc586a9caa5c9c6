"""One call from its first byte to its last: read, go wrong as asked, apply, answer, and note it all down."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request

from kiva_relay.sandbox import body, partner_api, reply
from kiva_relay.sandbox.request_log import LoggedCall
from kiva_relay.sandbox.wire import Wire

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from kiva_relay.sandbox.fault import Fault
    from kiva_relay.sandbox.partner_api import Call
    from kiva_relay.sandbox.reply import Reply
    from kiva_relay.sandbox.state import SandboxState

_HTML = "text/html; charset=utf-8"
_GARBAGE = "<!doctype html><html><head><title>Welcome</title></head><body>Please sign in.</body></html>"
# The faults after which the call takes effect; `status` and `garbage` say so themselves.
_APPLIED = ("drop_after", "cut_answer", "slow")


class Exchange:
    """The ASGI application of one kind of call."""

    def __init__(self, state: SandboxState, on: str) -> None:
        self._state = state
        self._on = on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        request = Request(scope, receive)
        entry = self._arrived(request)
        began = time.monotonic()
        try:
            await self._serve(request, Wire(scope, receive, send), entry)
        finally:
            entry.seconds = round(time.monotonic() - began, 6)

    async def _serve(self, request: Request, wire: Wire, entry: LoggedCall) -> None:
        state = self._state
        fault = state.faults.in_body(self._on)
        if fault is not None:
            await self._drop(wire, entry, fault, "dropped_in_body")
            return
        try:
            raw = await request.body()
        except ClientDisconnect:
            entry.outcome = "caller_left"
            return
        call = _call(request, raw, entry)
        entry.bytes = len(raw)
        entry.loan_ids = call.loan_ids
        fault = state.faults.on_call(self._on, call.loan_ids)
        if fault is None:
            await self._finish(wire, entry, self._apply(call), fault)
            return
        entry.fault = fault.kind
        if fault.kind == "drop_before":
            await self._drop(wire, entry, fault, "dropped_before")
            return
        if fault.kind == "slow" and fault.late:
            await state.pause(fault.seconds)
        if state.stopping.is_set():
            await self._drop(wire, entry, fault, "dropped_before")
            return
        if fault.kind == "revoke_tokens":
            state.tokens.revoke_all(fault.status or 401)
        takes_effect = fault.applied or fault.kind in (*_APPLIED, "revoke_tokens")
        await self._finish(wire, entry, self._apply(call) if takes_effect else None, fault)

    def _apply(self, call: Call) -> Reply:
        try:
            return partner_api.HANDLERS[self._on](self._state, call)
        except body.Malformed as why:
            return reply.refused(400, "bad_request", str(why))

    async def _finish(self, wire: Wire, entry: LoggedCall, applied: Reply | None, fault: Fault | None) -> None:
        """Answer, or not, and write down which."""
        record = applied.record if applied is not None else None
        entry.record = record.number if record is not None else 0
        try:
            entry.outcome = await self._answer(wire, entry, applied, fault)
        finally:
            if record is not None:
                told = entry.outcome == "answered" and (fault is None or fault.kind not in ("status", "garbage"))
                self._state.ledger.answered(record, "answered" if told else "answer_lost")

    async def _answer(self, wire: Wire, entry: LoggedCall, applied: Reply | None, fault: Fault | None) -> str:
        kind = fault.kind if fault is not None else ""
        if fault is not None and kind == "drop_after":
            await wire.abort(reset=fault.reset)
            return "answer_lost"
        if fault is not None and kind == "slow" and not fault.late:
            await self._state.pause(fault.seconds)
        sent = _instead(fault) if fault is not None and kind in ("status", "garbage") else applied
        if sent is None:
            raise AssertionError(f"{kind} has no answer")
        if kind == "cut_answer":
            entry.status = sent.status
            await wire.cut(sent)
            return "answer_cut"
        if not await wire.answer(sent):
            return "answer_lost"
        entry.status = sent.status
        return "answered"

    async def _drop(self, wire: Wire, entry: LoggedCall, fault: Fault, outcome: str) -> None:
        entry.fault = fault.kind
        entry.outcome = outcome
        await wire.abort(reset=fault.reset)

    def _arrived(self, request: Request) -> LoggedCall:
        entry = LoggedCall(
            number=self._state.requests.next_number(),
            time=self._state.now(),
            on=self._on,
            method=request.method,
            path=request.url.path,
            query=request.url.query,
            idempotency_key=request.headers.get("idempotency-key", ""),
        )
        self._state.requests.entries.append(entry)
        return entry


def _call(request: Request, raw: bytes, entry: LoggedCall) -> Call:
    return partner_api.Call(
        number=entry.number,
        base=str(request.base_url).rstrip("/"),
        place=request.path_params,
        query=dict(request.query_params),
        headers={name.lower(): value for name, value in request.headers.items()},
        raw=raw,
    )


def _instead(fault: Fault) -> Reply:
    """The answer that a fault gives in place of Kiva's."""
    if fault.kind == "garbage":
        return _text(200, fault.body or _GARBAGE)
    status = fault.status or 500
    headers = (("retry-after", fault.retry_after),) if fault.retry_after else ()
    if fault.body:
        return _text(status, fault.body, headers)
    plain = reply.refused(status, "asked_for", f"The sandbox was asked to answer {status}")
    return reply.Reply(status, plain.body, headers=headers)


def _text(status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    content_type = _HTML if text.lstrip().startswith("<") else reply.JSON
    return reply.Reply(status, text.encode(), content_type, headers)
