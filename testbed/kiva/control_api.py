"""What a test or the demo asks of the stand-in beside what the product shows; Kiva has nothing of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
from starlette.routing import Route

from kiva_relay.sandbox import loan, view
from testbed.kiva import fault, seed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from kiva_relay.sandbox.loan import SandboxLoan
    from testbed.kiva.state import KivaState


class ControlApi:
    """The endpoints under /sandbox/. They need no token, and answer this machine only."""

    def __init__(self, state: KivaState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Every endpoint, for Starlette."""
        table: tuple[tuple[str, str, Callable[[Request], Awaitable[object]]], ...] = (
            ("GET", "/sandbox/state", self._summary),
            ("GET", "/sandbox/faults", self._faults),
            ("POST", "/sandbox/faults", self._add_faults),
            ("DELETE", "/sandbox/faults", self._remove_faults),
            ("DELETE", "/sandbox/faults/{number:int}", self._remove_faults),
            ("POST", "/sandbox/loans", self._seed),
            ("PATCH", "/sandbox/loans", self._change_many),
            ("PATCH", "/sandbox/loans/{loan_id:path}", self._change),
            ("POST", "/sandbox/publish", self._publish),
            ("DELETE", "/sandbox/drafts/{uuid}", self._delete_draft),
            ("POST", "/sandbox/clock", self._clock),
        )
        return [Route(path, view.json(endpoint), methods=[method]) for method, path, endpoint in table]

    async def _summary(self, _: Request) -> object:
        state = self._state
        now = state.now()
        state.coordinator.work(now)
        return {
            "partner_id": state.config.partner,
            "now": now.isoformat(),
            "accepted": dict(state.ledger.counts),
            "records": len(state.ledger.records),
            "requests": len(state.requests.entries),
            "loans": state.loans.counts(),
            "tokens": len(state.tokens),
            "faults": [one.document() for one in state.faults.all],
        }

    async def _faults(self, _: Request) -> object:
        return {"faults": [one.document() for one in self._state.faults.all]}

    async def _add_faults(self, request: Request) -> object:
        given = await _document(request)
        several = given if isinstance(given, list) else [given]
        # All are read before any is in force, so that a mistake in the second leaves nothing behind.
        parsed = [fault.parse(one) for one in several]
        return {"faults": [self._state.faults.add(one).document() for one in parsed]}

    async def _remove_faults(self, request: Request) -> object:
        return {"removed": self._state.faults.remove(request.path_params.get("number"))}

    async def _seed(self, request: Request) -> object:
        state = self._state
        given = (await _document(request))["loans"]
        loans: list[SandboxLoan] = []
        first = state.loans.next_kiva_id()
        for number, fields in enumerate(given, first):
            loans.append(seed.seeded(fields, kiva_id=number, at=state.now()))
        for one in loans:
            state.loans.put(one)
        return {"seeded": len(loans), "kiva_ids": [one.kiva_id for one in loans]}

    async def _change(self, request: Request) -> object:
        return self._moved({request.path_params["loan_id"]: (await _document(request))["status"]})

    async def _change_many(self, request: Request) -> object:
        return self._moved((await _document(request))["statuses"])

    def _moved(self, statuses: Mapping[str, str]) -> object:
        """Put loans into statuses, by their `internal_loan_id`; all of them, or none."""
        state = self._state
        state.coordinator.work(state.now())
        found = [(one, status) for loan_id, status in statuses.items() for one in state.loans.named(loan_id)]
        if not found or {one.internal_loan_id for one, _ in found} != statuses.keys():
            raise LookupError("no loan with this internal_loan_id")
        if loan.DRAFT in statuses.values():
            raise ValueError("status: a published loan does not become a draft again")
        for one, status in found:
            state.coordinator.move(one, status, state.now())
        return {"changed": len(found)}

    async def _publish(self, request: Request) -> object:
        state = self._state
        now = state.now()
        state.coordinator.work(now)
        given = await _document(request, empty={})
        wanted, status = given.get("loan_ids"), given.get("status", "fundRaising")
        drafts = [
            one
            for one in state.loans
            if one.status == loan.DRAFT and (wanted is None or one.internal_loan_id in wanted)
        ]
        published = [one for one in drafts if state.coordinator.publish(one, now)]
        for one in published:
            if status != one.status:
                state.coordinator.move(one, status, now)
        refused = {one.uuid: one.refused for one in drafts if one.refused}
        return {"published": len(published), "refused": refused}

    async def _delete_draft(self, request: Request) -> object:
        state = self._state
        state.coordinator.work(state.now())
        one = state.loans.draft(request.path_params["uuid"])
        if one is None or one.status != loan.DRAFT:
            raise LookupError("no draft with this uuid waits to be published")
        state.loans.remove(one)
        state.ledger.remark(state.ledger.records[one.record - 1], "deleted")
        return {"deleted": one.uuid}

    async def _clock(self, request: Request) -> object:
        self._state.put_clock_forward(timedelta(seconds=(await _document(request))["forward"]))
        return {"now": self._state.now().isoformat()}


async def _document(request: Request, *, empty: Any = None) -> Any:
    raw = await request.body()
    return orjson.loads(raw) if raw or empty is None else empty
