"""A Kiva that misbehaves, in place of `delivery/client.Client`: one draw of the dice decides what becomes of a request.

It is the judge's witness as well: `ledger` holds what it has taken, in that order, whatever it answered.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kiva_relay.delivery.client import Answer

FAULTS = {
    "dropped before": 4,
    "request lost": 4,
    "answer lost": 5,
    "answer cut": 2,
    "late": 5,
    "status 500, taken": 3,
    "status 502": 3,
    "status 503, come back": 2,
    "status 429": 2,
    "status 401": 1,
    "strange answer, taken": 1,
    "judged": 2,
    "problem": 2,
    "problem of the call": 2,
}
"""How likely each fault is, against the others. What is taken late arrives within LATEST of being sent."""

LATEST = timedelta(minutes=10)
_NO_ANSWER = ("request lost", "answer lost", "late")


@dataclass
class Loan:
    """A loan or draft at Kiva. `number` is of the ledger's record that made it; None: it was there before us."""

    kiva_id: str
    loan_id: str
    status: str
    listed_from: datetime
    number: int | None = None


@dataclass(frozen=True)
class Record:
    """Something that Kiva has taken."""

    number: int
    resource: str
    loan_id: str
    body: Mapping[str, Any]
    at: datetime


@dataclass
class FakeKiva:
    """`pause` is called wherever somebody else may act, or the process end; `trouble` is the share of faulty answers.

    `unreadable` is the share of listed loans whose id makes no sense. `now` is the world's hour, whatever the relay's machine believes. `dates` are what its answers say of the hour, as headers; `heard` is told of the headers of each.
    """

    dice: random.Random
    now: Callable[[], datetime]
    pause: Callable[[str], None]
    tell: Callable[[str], None]
    trouble: float
    drafts_visible: bool
    lag: timedelta
    faults: Mapping[str, int]
    unreadable: float = 0.0
    ledger: list[Record] = field(default_factory=list)
    loans: dict[str, Loan] = field(default_factory=dict)
    unanswered: int = 0
    posted: int = 0
    dates: Callable[[], Mapping[str, str]] = dict
    heard: Callable[[Mapping[str, str]], None] = lambda _headers: None
    _late: list[tuple[datetime, str, Any]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    # ---------------------------------------------------------------- what the relay's client can do

    def form(self, url: str, fields: Mapping[str, str]) -> Answer:
        """A token."""
        self.heard(self.dates())
        return _answer(200, {"access_token": "t", "expires_in": 3600, "scope": fields["scope"]})

    def get(self, path: str, *, token: str, params: Mapping[str, str | int] | None = None) -> Answer:
        """The list of loans, or one of Kiva's lists."""
        self.arrive()
        self.heard(self.dates())
        what = path.rsplit("/", 1)[1]
        if what != "loans":
            return _answer(200, {what: []})
        self.pause("the list is asked for")
        asked = dict(params or {})
        listed = [loan for loan in self.loans.values() if self._shows(loan) and loan.status == asked.get("status")]
        offset, limit = int(asked.get("offset", 0)), int(asked.get("limit", 300))
        rows = [
            {
                "kiva_id": loan.kiva_id,
                "internal_loan_id": {} if self.dice.random() < self.unreadable else loan.loan_id,
                "internal_client_id": "",
                "status": loan.status,
            }
            for loan in listed
        ]
        return _answer(200, {"total_records": len(rows), "data": rows[offset : offset + limit]})

    def post(self, path: str, content: bytes, *, token: str, key: str) -> Answer:
        """A draft, positions or journals; what becomes of it is the dice's business."""
        resource = {"loan_draft": "loan_draft", "repayments": "repayment", "journals": "journal"}[
            path.rsplit("/", maxsplit=1)[-1]
        ]
        self.posted += 1
        said = json.loads(content)
        fault = self._fault(resource)
        self.tell(f"Kiva: request {self.posted}, a {resource}: {fault or 'taken'}")
        try:
            self.pause(f"request {self.posted} is on its way")
        except BaseException:
            self.unanswered += 1
            if self.dice.random() < 0.5:
                self._later(resource, said)
            raise
        self.arrive()
        answer = self._becomes(resource, said, fault)
        if answer.status is not None:
            self.heard(self.dates())
        return answer

    def close(self) -> None:
        """Nothing is open."""

    # ---------------------------------------------------------------- what the world does

    def arrive(self, *, all_of_it: bool = False) -> None:
        """What was sent late and is there by now is taken."""
        now = self.now()
        for each in [each for each in self._late if all_of_it or each[0] <= now]:
            self._late.remove(each)
            self.take(each[1], each[2], at=each[0])

    def under_way(self) -> bool:
        """May something still arrive?"""
        return bool(self._late)

    def take(self, resource: str, said: Any, *, but: str | None = None, at: datetime | None = None) -> list[Record]:
        """Take a request, except what is of one loan."""
        if resource == "loan_draft":
            bodies = [(said["entreps"][0]["loan_id"], said)]
        elif resource == "repayment":
            bodies = [(body["loan_id"], body) for body in said["repayments"]]
        else:
            bodies = [(body["internal_loan_id"], body) for body in said]
        when = at or self.now()
        taken = [Record(next(self._numbers), resource, loan, body, when) for loan, body in bodies if loan != but]
        self.ledger += taken
        for record in taken if resource == "loan_draft" else ():
            before = max((loan.listed_from for loan in self.loans.values()), default=self.now())
            listed = max(before, self.now() + self.lag * self.dice.random())
            self.add(record.loan_id, "inactive", listed_from=listed, number=record.number)
        return taken

    def add(self, loan_id: str, status: str, *, listed_from: datetime, number: int | None = None) -> None:
        """A loan that Kiva has."""
        kiva_id = str(len(self.loans) + 1)
        self.loans[kiva_id] = Loan(kiva_id, loan_id, status, listed_from, number)

    # ---------------------------------------------------------------- inside

    def _shows(self, loan: Loan) -> bool:
        if loan.status == "inactive":
            return self.drafts_visible and loan.listed_from <= self.now()
        return loan.status != "deleted"

    def _fault(self, resource: str) -> str:
        if self.dice.random() >= self.trouble:
            return ""
        fault = self.dice.choices([*self.faults], [*self.faults.values()])[0]
        return "" if fault.startswith("problem") and resource != "repayment" else fault

    def _later(self, resource: str, said: Any) -> None:
        self._late.append((self.now() + LATEST * self.dice.random(), resource, said))

    def _becomes(self, resource: str, said: Any, fault: str) -> Answer:
        if fault == "dropped before":
            return Answer(None, {}, b"", body_complete=False, read_whole=False, error="ConnectError")
        if fault in ("status 502", "status 503, come back", "status 429", "status 401", "judged"):
            status = {"judged": 400}.get(fault) or int(fault[7:10])
            self.unanswered += fault == "status 502"
            headers = {"retry-after": "20"} if "come back" in fault else {}
            return _answer(status, {"message": fault}, headers)
        if fault == "late":
            self._later(resource, said)
        taken: list[Record] = []
        nothing = fault == "problem of the call" and self.dice.random() < 0.5
        if fault not in ("request lost", "late") and not nothing:
            but = said["repayments"][0]["loan_id"] if fault == "problem" else None
            taken = self.take(resource, said, but=but)
        if fault:
            self.unanswered += not fault.startswith("problem")
        self._pause_unanswered(fault)
        if fault in _NO_ANSWER:
            return Answer(None, {}, b"", body_complete=True, read_whole=False, error="ReadTimeout")
        if fault.startswith("status 500"):
            return _answer(500, {"message": "Internal Server Error"})
        if fault.startswith("strange"):
            return Answer(200, {}, b"<html>", body_complete=True, read_whole=True)
        good: dict[str, dict[str, Any]] = {
            "loan_draft": {"loan_draft_uuid": f"u{len(self.ledger)}"},
            "repayment": {"upload_id": len(self.ledger) + 1},
            "journal": {"archive_id": len(self.ledger), "confirm_url": "https://…"},
        }
        answer = good[resource]
        if fault == "problem":
            loan = said["repayments"][0]["loan_id"]
            answer |= {"problems": [{"loan_id": loan, "severity": "error", "details": "unknown loan"}]}
        if fault == "answer cut":
            return Answer(200, {}, b'{"loan', body_complete=True, read_whole=False, error="ReadError")
        if fault == "problem of the call":
            answer |= {"problems": [{"severity": None, "details": "not all loans could be read"}]}
        assert taken or fault.startswith("problem")
        return _answer(200, answer)

    def _pause_unanswered(self, fault: str) -> None:
        try:
            self.pause("Kiva has taken it" if not fault else f"Kiva: {fault}")
        except BaseException:
            self.unanswered += not fault or fault.startswith("problem")
            raise


def _answer(status: int, said: Any, headers: Mapping[str, str] | None = None) -> Answer:
    content = json.dumps(said).encode()
    return Answer(status, headers or {}, content, body_complete=True, read_whole=True)
