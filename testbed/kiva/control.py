"""The other side of /sandbox/: what a test or the demo asks a running stand-in, in its own thread."""

from __future__ import annotations

import json
import ssl
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from testbed.rig import patience

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import timedelta
    from types import TracebackType
    from typing import Self

_PAGE = 1_000
_TIMEOUT = 30.0


class Sandbox:
    """A running stand-in, by its URL. Close it, or use it as a context manager; threads may share one.

    Raises:
        httpx.HTTPStatusError: The stand-in says that a request makes no sense; its words are in the message.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # The stand-in is on this machine: no proxy of the environment finds it, and nothing is encrypted.
        self._client = httpx.Client(
            base_url=self.url,
            timeout=patience.seconds(_TIMEOUT),
            trust_env=False,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def state(self) -> dict[str, Any]:
        """Counts: `accepted` by resource, `loans` by status, `requests`, `faults`, and the hour `now`."""
        return self._ask("GET", "state")

    def ledger(
        self, *, since: int = 0, resource: str = "", loan_id: str = "", bodies: bool = True
    ) -> list[dict[str, Any]]:
        """Every record after number `since`, oldest first; numbers with a point are Decimal.

        A record: number, request, time, resource, loan_ids, receipt, answer (answered, answer_lost, pending),
        note (deleted, confirmed), and body unless `bodies` is false.
        """
        query = {"resource": resource, "loan_id": loan_id, "bodies": "true" if bodies else "false"}
        return list(self._pages("ledger", "records", since, query))

    def requests(self, *, since: int = 0) -> list[dict[str, Any]]:
        """Every call after number `since`, also those that were dropped; `request_log.Entry` has the keys."""
        return list(self._pages("requests", "requests", since, {}))

    def fault(self, kind: str, **fields: Any) -> int:
        """Put a fault in force for the calls that come from now on (fields: `fault.Fault`); its number."""
        number: int = self._ask("POST", "faults", {"kind": kind, **fields})["faults"][0]["number"]
        return number

    def faults(self) -> list[dict[str, Any]]:
        """The faults in force, with how many calls each has `seen` and how often it `fired`."""
        found: list[dict[str, Any]] = self._ask("GET", "faults")["faults"]
        return found

    def clear_faults(self, number: int | None = None) -> None:
        """Take one fault out of force, or all."""
        self._ask("DELETE", "faults" if number is None else f"faults/{number}")

    def loans(self, *, status: str = "", loan_id: str = "") -> list[dict[str, Any]]:
        """The loans that Kiva has, and the drafts (status `draft`, with why PA2 refused them: `refused`)."""
        return list(self._pages("loans", "loans", 0, {"status": status, "loan_id": loan_id}))

    def seed_loans(self, loans: Iterable[Mapping[str, Any]]) -> list[int]:
        """Give Kiva loans that the relay did not send; their kiva_ids.

        Keys: internal_loan_id (needed), internal_client_id, name, location, price, currency, borrower_count,
        status (default payingBack), delinquent, kiva_id, uuid, age (seconds since Kiva got it).
        """
        kiva_ids: list[int] = self._ask("POST", "loans", {"loans": [dict(one) for one in loans]})["kiva_ids"]
        return kiva_ids

    def set_status(self, loan_id: str, status: str) -> None:
        """Put every loan with this `internal_loan_id` into a status."""
        self._ask("PATCH", f"loans/{quote(loan_id, safe='')}", {"status": status})

    def set_statuses(self, statuses: Mapping[str, str]) -> None:
        """The same for many, by their `internal_loan_id`, in one call."""
        self._ask("PATCH", "loans", {"statuses": dict(statuses)})

    def publish_all(self, *, status: str = "fundRaising") -> dict[str, Any]:
        """Publish every draft that PA2 lets through: `published` (how many), `refused` (reasons by uuid)."""
        return self._ask("POST", "publish", {"status": status})

    def publish(self, *loan_ids: str, status: str = "fundRaising") -> dict[str, Any]:
        """As `publish_all`, for the drafts of some loans."""
        return self._ask("POST", "publish", {"loan_ids": loan_ids, "status": status})

    def delete_draft(self, draft_uuid: str) -> None:
        """Delete a draft that was not published, as the coordinator may in PA2."""
        self._ask("DELETE", f"drafts/{draft_uuid}")

    def put_clock_forward(self, by: timedelta) -> datetime:
        """Let time pass at Kiva: tokens expire, the coordinator works; the hour there."""
        return datetime.fromisoformat(self._ask("POST", "clock", {"forward": by.total_seconds()})["now"])

    def _pages(self, what: str, key: str, since: int, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        while True:
            page = self._ask("GET", what, query={**query, "since": str(since), "limit": str(_PAGE)})
            yield from page[key]
            if len(page[key]) < _PAGE:
                return
            since = page["last"]

    def _ask(
        self, method: str, what: str, document: object = None, *, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        content = None if document is None else json.dumps(document)
        answer = self._client.request(method, f"/sandbox/{what}", content=content, params=query)
        if answer.is_error:
            said = f"{method} /sandbox/{what}: {answer.status_code} {answer.text}"
            raise httpx.HTTPStatusError(said, request=answer.request, response=answer)
        found: dict[str, Any] = json.loads(answer.content, parse_float=Decimal)
        return found
