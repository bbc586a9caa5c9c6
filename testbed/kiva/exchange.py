"""One call to a stand-in with faults: read, go wrong as asked, apply, answer, and note it all down."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from kiva_relay.sandbox import exchange
from kiva_relay.sandbox.request_log import LoggedCall
from testbed.kiva import odd, reply, variant
from testbed.kiva.wire import Wire

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from kiva_relay.sandbox.partner_api import Call
    from kiva_relay.sandbox.reply import Reply
    from testbed.kiva.fault import Fault
    from testbed.kiva.state import KivaState

# The faults after which the call takes effect; `status` and `garbage` say so themselves.
_APPLIED = ("drop_after", "cut_answer", "slow", "revoke_tokens")


@dataclass(slots=True)
class FaultyCall(LoggedCall):
    """One call, and the kind of the fault that struck it, or "".

    More outcomes than the product's: answer_cut, dropped_in_body, dropped_before.
    """

    fault: str = ""


class FaultyExchange:
    """The ASGI application of one kind of call."""

    def __init__(self, state: KivaState, on: str) -> None:
        self._state = state
        self._on = on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        request = Request(scope, receive, send)
        entry = exchange.arrived(FaultyCall, request, self._state, self._on)
        began = time.monotonic()
        try:
            await self._serve(request, Wire(scope, receive, send), entry)
        finally:
            entry.seconds = round(time.monotonic() - began, 6)

    async def _serve(self, request: Request, wire: Wire, entry: FaultyCall) -> None:
        state = self._state
        fault = state.faults.in_body(self._on)
        if fault is not None:
            await self._drop(wire, entry, fault, "dropped_in_body")
            return
        call = await exchange.read(request, entry)
        if call is None:
            return
        fault = state.faults.on_call(self._on, call.loan_ids)
        if fault is None:
            other = variant.refusal(state.config, self._on, request.url.path, call)
            await self._finish(wire, entry, other or self._apply(call), fault)
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
        takes_effect = fault.applied or fault.kind in _APPLIED
        if fault.kind == "odd":
            takes_effect = odd.ODD[fault.answer].applied
        await self._finish(wire, entry, self._apply(call) if takes_effect else None, fault)

    def _apply(self, call: Call) -> Reply:
        return reply.spelled(exchange.apply(self._state, self._on, call), self._on, self._state.config)

    async def _finish(self, wire: Wire, entry: FaultyCall, applied: Reply | None, fault: Fault | None) -> None:
        """Answer, or not, and write down which."""
        record = applied.record if applied is not None else None
        entry.record = record.number if record is not None else 0
        try:
            entry.outcome = await self._answer(wire, entry, applied, fault)
        finally:
            if record is not None:
                known = entry.outcome == "answered" and (
                    fault is None or fault.kind not in ("status", "garbage", "odd")
                )
                self._state.ledger.answered(record, "answered" if known else "answer_lost")

    async def _answer(self, wire: Wire, entry: FaultyCall, applied: Reply | None, fault: Fault | None) -> str:
        kind = fault.kind if fault is not None else ""
        if fault is not None and kind == "drop_after":
            await wire.abort(reset=fault.reset)
            return "answer_lost"
        if fault is not None and kind == "slow" and not fault.late:
            await self._state.pause(fault.seconds)
        if fault is not None and kind in ("status", "garbage"):
            sent = reply.instead(fault)
        elif fault is not None and kind == "odd":
            sent = odd.of(fault.answer, reply.Answer(200, b"{}") if applied is None else reply.of(applied), fault.dice)
        elif applied is not None:
            sent = reply.of(applied)
        else:
            raise AssertionError(f"{kind} has no answer")
        if kind == "cut_answer":
            entry.status = sent.status
            await wire.cut(sent)
            return "answer_cut"
        if not await wire.answer(sent):
            return "answer_lost"
        entry.status = sent.status
        return "answered"

    async def _drop(self, wire: Wire, entry: FaultyCall, fault: Fault, outcome: str) -> None:
        entry.fault = fault.kind
        entry.outcome = outcome
        await wire.abort(reset=fault.reset)
