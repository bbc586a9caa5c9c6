"""What only Kiva itself can settle where its own material disagrees, asked on staging: one draft, position, journal.

Nine questions (kiva-partner-api: "Where the sources disagree, make it a setting, and settle it on staging"). What an
answer does not settle is said to be open: an absence that a list may only show later proves nothing, and what Kiva's
persons have to say no call does. Nothing of this goes through the outbox: the loan is made up, and says so.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson

from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import answer as answers
from kiva_relay.delivery import document, mirror, receipt
from kiva_relay.delivery.answer import GivenToken
from kiva_relay.delivery.client import Answer, Client
from kiva_relay.delivery.document import NotUnderstood
from kiva_relay.delivery.token import SCOPES
from kiva_relay.frozen import dataclass
from kiva_relay.outbox.mirror import EXPECTED, MirroredLoan
from kiva_relay.resource.kind import RESOURCES

QUESTIONS = (
    "audience", "scopes", "partner", "receipts", "drafts_visible", "journals_path", "journals_body", "columns", "basis",
)  # fmt: skip
_SETTINGS = {
    "partner": "kiva.partner_id",
    "drafts_visible": "kiva.drafts_visible",
    "journals_path": "kiva.journals.path",
    "journals_body": "kiva.journals.body",
    "columns": "kiva.columns",
    "basis": "repayments.basis",
}
AUDIENCES = {"staging": ("https://partner-api-stage.dk1.kiva.org", "https://partner-api-stage.kiva.org")}
"""Kiva's prose and an answer in its repository name different ones."""

LISTED_WITHIN = timedelta(hours=1)
"""A draft that is listed at all is listed so long after it was taken."""

_NO_SUCH_PATH = (404, 405)
_NOT_THIS_BODY = (400, 415, 422)
_HIDDEN = ("access_token", "jti", "client_secret")


@dataclass(frozen=True)
class StagingAnswer:
    """What staging said to a question.

    `found` is what holds there; None while it is open. `setting` is the one that it fixes, `configured` its present
    value; None where nothing is to be set. `why` is a code that says why it is open, or what was seen.
    """

    question: str
    found: str | None
    why: str
    setting: str | None = None
    configured: str | None = None

    @property
    def verdict(self) -> Literal["ok", "change", "open"]:
        """Is it settled as it is configured, or otherwise, or not at all?"""
        if self.found is None:
            return "open"
        return "ok" if self.configured in (None, self.found) else "change"


@dataclass
class Recorder:
    """Asks Kiva, and keeps each exchange as it was, but for tokens and secrets."""

    client: Client
    kiva: Kiva
    exchanges: list[dict[str, Any]] = field(default_factory=list)

    def token(self, audience: str) -> GivenToken | NotUnderstood:
        """Ask for a token for this audience."""
        fields = {
            "grant_type": "client_credentials",
            "scope": " ".join(SCOPES),
            "audience": audience,
            "client_id": self.kiva.client_id,
            "client_secret": self.kiva.client_secret.reveal(),
        }
        given = self.client.form(self.kiva.token_url, fields)
        self._keep("POST", "/oauth/token", {"audience": audience}, given)
        return answers.token(given)

    def post(self, path: str, body: Any, token: GivenToken) -> Answer:
        """Send this once."""
        given = self.client.post(path, orjson.dumps(body), token=token.text, key=str(uuid.uuid4()))
        self._keep("POST", path, body, given)
        return given

    def loans(self, status: str, token: GivenToken, *, query: str = "") -> list[MirroredLoan]:
        """Some loans in a status."""
        path = f"/v3/partner/{self.kiva.partner_id}/loans"
        params: dict[str, str | int] = {
            "status": status,
            "offset": 0,
            "limit": 20,
            **({"query": query} if query else {}),
        }
        given = self.client.get(path, token=token.text, params=params)
        self._keep("GET", f"{path}?status={status}", None, given)
        page = answers.loans(given, status=status)
        return [] if isinstance(page, NotUnderstood) else [one.loan for one in page.items if one.loan is not None]

    def _keep(self, method: str, path: str, sent: Any, given: Answer) -> None:
        try:
            body = orjson.loads(given.content)
        except orjson.JSONDecodeError:
            body = given.content.decode(errors="replace")[:2_000]
        if isinstance(body, dict):
            body = {name: "***" if name in _HIDDEN else value for name, value in body.items()}
        self.exchanges.append(
            {"method": method, "path": path, "sent": sent, "status": given.status, "body": body, "error": given.error}
        )


@dataclass(frozen=True)
class EarlierRun:
    """The draft of a run before: by it is told whether a draft is listed at all."""

    loan_id: str
    at: datetime


def ask(
    recorder: Recorder, *, statuses: Sequence[str], loan_id: str, now: datetime, earlier: EarlierRun | None
) -> list[StagingAnswer]:
    """All nine questions. `statuses`: in which a loan takes journals; `loan_id`: that of the loan that is made up."""
    kiva = recorder.kiva
    given, audience = _token(recorder)
    if given is None:
        return [audience, *(StagingAnswer(one, None, "no_token", _SETTINGS.get(one)) for one in QUESTIONS[1:])]
    run = _StagingRun(recorder, given, loan_id)
    draft = recorder.post(f"/v3/partner/{kiva.partner_id}/loan_draft", _draft(loan_id), given)
    run.heard("loan_draft", draft)
    found = {
        "audience": audience,
        "scopes": _scopes(given),
        "partner": _partner(given, draft, kiva),
        "drafts_visible": _visible(run, draft, now=now, earlier=earlier),
        "columns": _columns(run),
        **_journals(run, statuses),
        "basis": StagingAnswer("basis", None, "only_kiva_says", "repayments.basis"),
    }
    found["receipts"] = _receipts(run)
    return [found[one] for one in QUESTIONS]


@dataclass
class _StagingRun:
    """What one run has in hand. `receipts` are the answers that were accepted, by resource."""

    recorder: Recorder
    token: GivenToken
    loan_id: str
    receipts: dict[str, Any] = field(default_factory=dict)

    def heard(self, resource: str, given: Answer) -> bool:
        """Was it accepted?"""
        read = receipt.read(given, resource, api_url=self.recorder.kiva.api_url)
        if given.status is None or given.status // 100 != 2 or isinstance(read, NotUnderstood):  # noqa: PLR2004 - 2xx
            return False
        self.receipts[resource] = orjson.loads(given.content)
        return True

    def listed(self, statuses: Sequence[str]) -> MirroredLoan | None:
        """A loan of the partner's in one of these statuses."""
        for status in statuses:
            for loan in self.recorder.loans(status, self.token):
                if loan.loan_id:
                    return loan
        return None


def _token(recorder: Recorder) -> tuple[GivenToken | None, StagingAnswer]:
    kiva = recorder.kiva
    others = AUDIENCES.get(kiva.environment, ())
    for audience in dict.fromkeys((kiva.audience, *others)):
        given = recorder.token(audience)
        if not isinstance(given, NotUnderstood):
            return given, StagingAnswer("audience", audience, "token_given", "kiva.audience", kiva.audience)
    return None, StagingAnswer("audience", None, "no_token", "kiva.audience", kiva.audience)


def _scopes(given: GivenToken) -> StagingAnswer:
    if given.scopes is None:
        return StagingAnswer("scopes", None, "not_said")
    missing = [one for one in SCOPES if one not in given.scopes]
    return StagingAnswer("scopes", f"missing: {', '.join(missing)}" if missing else "all", "granted", None, "all")


def _partner(given: GivenToken, draft: Answer, kiva: Kiva) -> StagingAnswer:
    if given.partner_id is not None:
        return StagingAnswer("partner", given.partner_id, "token_says", "kiva.partner_id", kiva.partner_id)
    if draft.status is not None and draft.status // 100 == 2:  # noqa: PLR2004 - 2xx
        return StagingAnswer("partner", kiva.partner_id, "path_is_there", "kiva.partner_id", kiva.partner_id)
    return StagingAnswer("partner", None, "not_said", "kiva.partner_id", kiva.partner_id)


def _draft(loan_id: str) -> dict[str, Any]:
    """A loan that nobody can mistake for a real one."""
    borrower = {
        "client_id": f"{loan_id}-client",
        "loan_id": loan_id,
        "first_name": "Relay",
        "last_name": "Test, please delete",
        "gender": "unknown",
        "amount": 100,
    }
    return {"entreps": [borrower], "description": "A test of the connection. Please delete this draft."}


def _visible(run: _StagingRun, draft: Answer, *, now: datetime, earlier: EarlierRun | None) -> StagingAnswer:
    asked = ("drafts_visible", "kiva.drafts_visible", run.recorder.kiva.drafts_visible)
    if "loan_draft" not in run.receipts and earlier is None:
        return StagingAnswer(asked[0], None, f"draft_{draft.status}", *asked[1:])
    names = {run.loan_id, *([earlier.loan_id] if earlier else [])}
    for status in mirror.STATUSES:
        if any(loan.loan_id in names for loan in run.recorder.loans(status, run.token, query="relay-test")):
            return StagingAnswer(asked[0], "auto", f"listed_as_{status}", *asked[1:])
    if earlier is not None and now - earlier.at >= LISTED_WITHIN:
        return StagingAnswer(asked[0], "never", "not_listed_after_an_hour", *asked[1:])
    return StagingAnswer(asked[0], None, "not_listed_yet", *asked[1:])


def _columns(run: _StagingRun) -> StagingAnswer:
    """May a position go without the client's id?"""
    kiva = run.recorder.kiva
    asked = ("kiva.columns", str(kiva.columns))
    loan = run.listed(EXPECTED)
    if loan is None:
        return StagingAnswer("columns", None, "no_loan_paid_back", *asked)
    path = f"/v3/partner/{kiva.partner_id}/{RESOURCES['repayment'].path}"
    said = []
    for columns in (2, 3):
        client = {"client_id": loan.client_id} if columns == 3 else {}  # noqa: PLR2004 - PA2's three-column format
        if columns == 3 and not loan.client_id:  # noqa: PLR2004 - as above
            break
        given = run.recorder.post(path, {"repayments": [{"loan_id": loan.loan_id, **client, "amount": 0}]}, run.token)
        said.append(str(given.status))
        if given.status is None:
            return StagingAnswer("columns", None, "answer_lost", *asked)
        if run.heard("repayment", given) and not _problem(given):
            return StagingAnswer("columns", str(columns), "position_taken", *asked)
    return StagingAnswer("columns", None, f"position_{'_'.join(said)}", *asked)


def _problem(given: Answer) -> bool:
    said = document.one(document.read(given))
    problems = document.of(said, "problems") if said is not None else None
    return bool(problems)


def _journals(run: _StagingRun, statuses: Sequence[str]) -> dict[str, StagingAnswer]:
    """Which path and which body are taken: as configured first, then one thing otherwise at a time."""
    kiva = run.recorder.kiva
    path, body = kiva.journals.path, kiva.journals.body
    settings = {"journals_path": ("kiva.journals.path", path), "journals_body": ("kiva.journals.body", body)}

    def both(found: tuple[str | None, str | None], why: str) -> dict[str, StagingAnswer]:
        return {
            name: StagingAnswer(name, one, why, *settings[name])
            for name, one in zip(("journals_path", "journals_body"), found, strict=True)
        }

    loan = run.listed(statuses)
    if loan is None:
        return both((None, None), "no_loan_for_journals")
    refused_path: set[str] = set()
    for way, shape in _ways(path, body):
        if way in refused_path:
            continue
        given = run.recorder.post(f"/v3/{way}/{kiva.partner_id}/journals", _journal(loan, kiva, shape), run.token)
        if run.heard("journal", given):
            return both((way, shape), "journal_taken")
        if given.status in _NO_SUCH_PATH:
            refused_path.add(way)
        elif given.status not in _NOT_THIS_BODY:
            # Kiva may have it: a second one is not sent.
            return both((None, None), f"journal_{given.status}" if given.status else "answer_lost")
    return both((None, None), "journal_refused")


def _ways(path: str, body: str) -> Iterator[tuple[str, str]]:
    other = {"partner": "partners", "partners": "partner", "list": "object", "object": "list"}
    for way in (path, other[path]):
        for shape in (body, other[body]):
            yield way, shape


def _journal(loan: MirroredLoan, kiva: Kiva, shape: str) -> Any:
    client = {"internal_client_id": loan.client_id} if kiva.columns == 3 else {}  # noqa: PLR2004 - three columns
    one = {
        "internal_loan_id": loan.loan_id,
        **client,
        "subject": "A test of the connection",
        "body": "Please do not publish this.",
    }
    return [one] if shape == "list" else {"journals": [one]}


def _receipts(run: _StagingRun) -> StagingAnswer:
    """How Kiva writes its receipts: the relay reads either way, so that nothing is to be set."""
    if not run.receipts:
        return StagingAnswer("receipts", None, "none_given")
    shapes = {
        "list" if isinstance(one, list) else "object" for name, one in run.receipts.items() if name != "loan_draft"
    }
    keys = {key for one in run.receipts.values() for key in (one[0] if isinstance(one, list) else one)}
    spelling = "camelCase" if any(key != key.lower() for key in keys) else "snake_case"
    return StagingAnswer("receipts", f"{spelling}, {', '.join(sorted(shapes)) or 'object'}", "read_either_way")
