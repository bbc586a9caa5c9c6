"""What a test, the demo or a curious administrator asks of the stand-in; Kiva has nothing of it."""

from __future__ import annotations

import ipaddress
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from kiva_relay.sandbox import fault, loan, partner_api

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from kiva_relay.sandbox.loan import SandboxLoan
    from kiva_relay.sandbox.state import SandboxState

PAGE = 1_000


class ControlApi:
    """The endpoints under /sandbox/. They need no token, and answer this machine only."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Every endpoint, for Starlette."""
        table: tuple[tuple[str, str, Callable[[Request], Awaitable[object]]], ...] = (
            ("GET", "/sandbox/state", self._summary),
            ("GET", "/sandbox/ledger", self._ledger),
            ("GET", "/sandbox/requests", self._requests),
            ("GET", "/sandbox/faults", self._faults),
            ("POST", "/sandbox/faults", self._add_faults),
            ("DELETE", "/sandbox/faults", self._remove_faults),
            ("DELETE", "/sandbox/faults/{number:int}", self._remove_faults),
            ("GET", "/sandbox/loans", self._loans),
            ("POST", "/sandbox/loans", self._seed),
            ("PATCH", "/sandbox/loans/{loan_id:path}", self._change),
            ("POST", "/sandbox/publish", self._publish),
            ("DELETE", "/sandbox/drafts/{uuid}", self._delete_draft),
            ("POST", "/sandbox/clock", self._clock),
        )
        # A person opens confirm_url in a browser, so it answers a page and not JSON.
        confirm = Route("/pa2/journals/{archive:int}/confirm", self._confirm, methods=["GET"])
        return [
            confirm,
            *(Route(path, _json(endpoint), methods=[method]) for method, path, endpoint in table),
        ]

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

    async def _ledger(self, request: Request) -> object:
        query = request.query_params
        limit = int(query.get("limit", PAGE))
        found = self._state.ledger.after(
            int(query.get("since", 0)), resource=query.get("resource", ""), loan_id=query.get("loan_id", "")
        )
        page = list(itertools.islice(found, limit))
        bodies = query.get("bodies", "true") != "false"
        return {
            "records": [record.document(bodies=bodies) for record in page],
            "last": page[-1].number if page else int(query.get("since", 0)),
            "total": len(self._state.ledger.records),
        }

    async def _requests(self, request: Request) -> object:
        since = int(request.query_params.get("since", 0))
        page = self._state.requests.after(since, limit=int(request.query_params.get("limit", PAGE)))
        return {
            "requests": [entry.document() for entry in page],
            "last": page[-1].number if page else since,
            "total": len(self._state.requests.entries),
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

    async def _loans(self, request: Request) -> object:
        state = self._state
        state.coordinator.work(state.now())
        query = request.query_params
        since, limit = int(query.get("since", 0)), int(query.get("limit", PAGE))
        loan_id = query.get("loan_id", "")
        candidates = state.loans.named(loan_id) if loan_id else state.loans
        status = query.get("status", "")
        found = sorted(
            (one for one in candidates if one.kiva_id > since and status in ("", one.status)),
            key=lambda one: one.kiva_id,
        )[:limit]
        last = found[-1].kiva_id if found else since
        return {"loans": [one.document() for one in found], "last": last, "total": len(state.loans)}

    async def _seed(self, request: Request) -> object:
        state = self._state
        given = (await _document(request))["loans"]
        loans: list[SandboxLoan] = []
        first = state.loans.next_kiva_id()
        for number, fields in enumerate(given, first):
            loans.append(loan.seeded(fields, kiva_id=number, at=state.now()))
        for one in loans:
            state.loans.put(one)
        return {"seeded": len(loans), "kiva_ids": [one.kiva_id for one in loans]}

    async def _change(self, request: Request) -> object:
        state = self._state
        state.coordinator.work(state.now())
        found = state.loans.named(request.path_params["loan_id"])
        if not found:
            raise LookupError("no loan with this internal_loan_id")
        status = (await _document(request))["status"]
        if status == loan.DRAFT:
            raise ValueError("status: a published loan does not become a draft again")
        for one in found:
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

    async def _confirm(self, request: Request) -> Response:
        index = request.path_params["archive"] - partner_api.FIRST_ARCHIVE - 1
        records = self._state.ledger.records
        if not 0 <= index < len(records) or records[index].resource != "journal":
            return HTMLResponse("<!doctype html><title>PA2</title><p>No such journals.", 404)
        self._state.ledger.remark(records[index], "confirmed")
        return HTMLResponse("<!doctype html><title>PA2</title><p>Published.")


def _json(endpoint: Callable[[Request], Awaitable[object]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint with its answer as JSON, and what it cannot do as 400 or 404 in plain words."""

    async def answer(request: Request) -> Response:
        if request.client is None or not ipaddress.ip_address(request.client.host).is_loopback:
            return _answer({"message": "the sandbox is controlled from its own machine only"}, 403)
        try:
            return _answer(await endpoint(request), 200)
        except LookupError as why:
            missing = isinstance(why, KeyError)
            return _answer({"message": f"{why} is missing" if missing else str(why)}, 400 if missing else 404)
        except (ValueError, TypeError) as why:
            return _answer({"message": str(why)}, 400)

    return answer


def _answer(document: object, status: int) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


async def _document(request: Request, *, empty: Any = None) -> Any:
    raw = await request.body()
    return orjson.loads(raw) if raw or empty is None else empty
