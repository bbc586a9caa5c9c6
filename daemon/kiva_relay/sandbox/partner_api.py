"""Kiva's Partner API, call by call: a call in, an answer out, and what it changes."""

from __future__ import annotations

import functools
import secrets
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from kiva_relay.frozen import dataclass
from kiva_relay.sandbox import body, catalogue, ledger, loan, reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kiva_relay.sandbox.reply import Reply
    from kiva_relay.sandbox.state import SandboxState

MOST_LOANS = 300

_SUCCESS = "api.success"
_FIRST_UPLOAD = 70_000
FIRST_ARCHIVE = 40_000


@dataclass(frozen=True)
class Call:
    """One call whose body was read.

    Attributes:
        number: In the request log.
        base: Where the caller reaches this server, as http://127.0.0.1:8765.
        place: The named parts of the path: partner, name.
        query: The query string's values; of a repeated one the last.
        headers: With lower-case names.
        raw: The body.
    """

    number: int
    base: str
    place: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes

    @functools.cached_property
    def document(self) -> object:
        """The body as JSON. Raises `body.Malformed` when it is none."""
        return body.parse(self.raw)

    @functools.cached_property
    def loan_ids(self) -> tuple[str, ...]:
        """Every loan id that the body names; none when it is no JSON."""
        try:
            return body.loan_ids(self.document)
        except body.Malformed:
            return ()


def token(state: SandboxState, call: Call) -> Reply:
    """`POST /oauth/token`: client credentials, form-encoded."""
    form = {name: values[-1] for name, values in parse_qs(call.raw.decode("utf-8", "replace")).items()}
    config = state.config
    if form.get("grant_type") != "client_credentials":
        return _no_token(400, "unsupported_grant_type", "Expected grant_type=client_credentials")
    client, secret = form.get("client_id", ""), form.get("client_secret", "")
    if not (client and secret and _is(config.client_id, client) and _is(config.client_secret, secret)):
        return _no_token(401, "invalid_client", "Bad client credentials")
    if config.audience is not None and form.get("audience") != config.audience:
        return _no_token(403, "access_denied", f"Service not enabled for audience {form.get('audience', '')!r}")
    granted = state.tokens.granted(form.get("scope", "").split())
    name = state.tokens.issue(frozenset(granted), expires=state.now() + config.token_life)
    return reply.good({
        "access_token": name,
        "scope": " ".join(granted),
        "iss": f"{call.base}/",
        "partnerId": config.partner,
        "token_type": "bearer",
        "expires_in": int(config.token_life.total_seconds()),
        "jti": str(uuid.uuid4()),
    })  # fmt: skip


def loan_draft(state: SandboxState, call: Call) -> Reply:
    """`POST /v3/partner/{partner}/loan_draft`: one loan. Nothing is compared with what came before."""
    refusal = _refusal(state, call, "create:loan_draft")
    if refusal is not None:
        return refusal
    fields = body.loan_draft(call.document)
    number = state.ledger.next_number()
    draft = loan.from_draft(fields, kiva_id=state.loans.next_kiva_id(), at=state.now(), record=number)
    receipt = {"code": _SUCCESS, "message": "Loan draft created", "loan_draft_uuid": draft.uuid}
    record = _accept(state, call, "loan_draft", receipt)
    state.loans.put(draft)
    state.coordinator.expect(draft)
    return reply.good(receipt, record=record)


def repayments(state: SandboxState, call: Call) -> Reply:
    """`POST /v3/partner/{partner}/repayments`: positions, each booked or answered with a problem."""
    refusal = _refusal(state, call, "create:repayment")
    if refusal is not None:
        return refusal
    rows = body.repayments(call.document)
    state.coordinator.work(state.now())
    upload = _FIRST_UPLOAD + state.ledger.next_number()
    receipt = {
        "code": _SUCCESS,
        "message": f"Received {len(rows)} repayment(s)",
        "upload_id": upload,
        "problems": state.problems(rows),
    }
    record = _accept(state, call, "repayment", receipt)
    return reply.good(receipt, record=record)


def journals(state: SandboxState, call: Call) -> Reply:
    """`POST /v3/partner/{partner}/journals`, or `/v3/partners/…`: waits at `confirm_url` for a person."""
    refusal = _refusal(state, call, "create:journal_update")
    if refusal is not None:
        return refusal
    rows = body.journals(call.document)
    archive = FIRST_ARCHIVE + state.ledger.next_number()
    receipt = {
        "code": _SUCCESS,
        "message": f"Received {len(rows)} journal(s)",
        "archive_id": archive,
        "confirm_url": f"{call.base}/pa2/journals/{archive}/confirm",
    }
    record = _accept(state, call, "journal", receipt)
    return reply.good(receipt, status=201, record=record)


def loans(state: SandboxState, call: Call) -> Reply:
    """`GET /v3/partner/{partner}/loans`: one status, a page at a time, the newest loans first."""
    refusal = _refusal(state, call, "read:loans")
    if refusal is not None:
        return refusal
    status = call.query.get("status", "")
    if not status:
        return reply.refused(400, "bad_request", "status: is required")
    try:
        offset, limit = int(call.query.get("offset", 0)), int(call.query.get("limit", 20))
    except ValueError:
        return reply.refused(400, "bad_request", "offset, limit: expected whole numbers")
    if offset < 0 or not 1 <= limit <= MOST_LOANS:
        return reply.refused(400, "bad_request", f"expected offset from 0 and limit from 1 to {MOST_LOANS}")
    state.coordinator.work(state.now())
    found = state.listed(status, call.query.get("query", ""))
    rows = [one.row(state.config.partner) for one in found[offset : offset + limit]]
    return reply.good({"total_records": len(found), "data": rows})


def config(state: SandboxState, call: Call) -> Reply:
    """`GET /v3/partner/{partner}/config/{name}`: one of Kiva's lists. Any good token may read it."""
    refusal = _refusal(state, call, "")
    if refusal is not None:
        return refusal
    name = call.place["name"]
    if name not in catalogue.NAMES:
        return unknown_path(state, call)
    items = catalogue.lists()[name]
    return reply.good({
        "as_of_date_time": f"{state.now():%Y-%m-%dT%H:%M:%SZ}",
        name: items,
        "code": _SUCCESS,
        "message": f"Found {len(items)} value(s) for configuration '{name}'",
    })  # fmt: skip


def unknown_path(state: SandboxState, call: Call) -> Reply:  # noqa: ARG001 - the shape of every call's function
    """Anything else, and every path of another partner."""
    return reply.refused(404, "not_found", "No such resource")


HANDLERS: Mapping[str, Callable[[SandboxState, Call], Reply]] = {
    "token": token,
    "loan_draft": loan_draft,
    "repayments": repayments,
    "journals": journals,
    "loans": loans,
    "config": config,
    "other": unknown_path,
}


def _refusal(state: SandboxState, call: Call, scope: str) -> Reply | None:
    """Why the call is not looked at: no good token, another partner's path, a scope that is missing."""
    authorization = call.headers.get("authorization", "")
    without_token = state.tokens.refusal(authorization, "", now=state.now())
    if without_token is not None:
        status, message = without_token
        return reply.refused(status, "unauthorized" if status == 401 else "forbidden", message)  # noqa: PLR2004 - HTTP
    if call.place["partner"] != state.config.partner:
        return unknown_path(state, call)
    without_scope = state.tokens.refusal(authorization, scope, now=state.now())
    if without_scope is not None:
        return reply.refused(without_scope[0], "forbidden", without_scope[1])
    if scope.startswith("create:") and not call.headers.get("content-type", "").startswith(reply.JSON):
        return reply.refused(415, "unsupported_media_type", f"Expected Content-Type {reply.JSON}")
    return None


def _is(expected: str | None, found: str) -> bool:
    return expected is None or secrets.compare_digest(expected.encode(), found.encode())


def _no_token(status: int, error: str, description: str) -> Reply:
    document = {"error": error, "error_description": description}
    return reply.good(document, status=status)


def _accept(state: SandboxState, call: Call, resource: str, receipt: Mapping[str, Any]) -> ledger.Record:
    record = ledger.Record(
        number=state.ledger.next_number(),
        request=call.number,
        time=state.now(),
        resource=resource,
        body=ledger.one_line(call.raw),
        loan_ids=call.loan_ids,
        receipt=receipt,
    )
    state.ledger.accept(record)
    return record
