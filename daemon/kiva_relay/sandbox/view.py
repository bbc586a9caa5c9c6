"""What an administrator sees of the stand-in: what it accepted, every request, its loans. None of it is Kiva's."""

from __future__ import annotations

import ipaddress
import itertools
from typing import TYPE_CHECKING

import orjson
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from kiva_relay.sandbox import partner_api

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from kiva_relay.sandbox.state import SandboxState

_PAGE = 1_000


class View:
    """The endpoints under /sandbox/. They need no token, answer this machine only, and change nothing."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Every endpoint, for Starlette."""
        return [
            # A person opens confirm_url in a browser, so it answers a page and not JSON.
            Route("/pa2/journals/{archive:int}/confirm", self._confirm, methods=["GET"]),
            Route("/sandbox/ledger", json(self._ledger), methods=["GET"]),
            Route("/sandbox/requests", json(self._requests), methods=["GET"]),
            Route("/sandbox/loans", json(self._loans), methods=["GET"]),
        ]

    async def _ledger(self, request: Request) -> object:
        query = request.query_params
        limit = int(query.get("limit", _PAGE))
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
        page = self._state.requests.after(since, limit=int(request.query_params.get("limit", _PAGE)))
        return {
            "requests": [entry.document() for entry in page],
            "last": page[-1].number if page else since,
            "total": len(self._state.requests.entries),
        }

    async def _loans(self, request: Request) -> object:
        state = self._state
        state.coordinator.work(state.now())
        query = request.query_params
        since, limit = int(query.get("since", 0)), int(query.get("limit", _PAGE))
        loan_id = query.get("loan_id", "")
        candidates = state.loans.named(loan_id) if loan_id else state.loans
        status = query.get("status", "")
        found = sorted(
            (one for one in candidates if one.kiva_id > since and status in ("", one.status)),
            key=lambda one: one.kiva_id,
        )[:limit]
        last = found[-1].kiva_id if found else since
        return {"loans": [one.document() for one in found], "last": last, "total": len(state.loans)}

    async def _confirm(self, request: Request) -> Response:
        index = request.path_params["archive"] - partner_api.FIRST_ARCHIVE - 1
        records = self._state.ledger.records
        if not 0 <= index < len(records) or records[index].resource != "journal":
            return HTMLResponse("<!doctype html><title>PA2</title><p>No such journals.", 404)
        self._state.ledger.remark(records[index], "confirmed")
        return HTMLResponse("<!doctype html><title>PA2</title><p>Published.")


def json(endpoint: Callable[[Request], Awaitable[object]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint with its answer as JSON, and what it cannot do as 400 or 404 in plain words."""

    async def answer(request: Request) -> Response:
        if request.client is None or not ipaddress.ip_address(request.client.host).is_loopback:
            return _answer({"message": "the sandbox is looked at from its own machine only"}, 403)
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
