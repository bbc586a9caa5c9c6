"""A MIS of a few loans and notes that remembers every version, in place of `source/mis.Mis`; and who works in it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from kiva_relay.source.gap import Gap
from kiva_relay.source.position import Cycle
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import Stream

CREATED = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)

DRAFT = """\
resource: loan_draft
identity: account
source: {table: loan, key: id, changed_at: changed, created_at: created, where: status = 'approved'}
relations:
  schedule: {table: instalment, match: {loan_id: id}, many: true, order_by: due}
fields:
  entreps:
    - {loan_id: account, client_id: client, first_name: {from: first_name, required: true}, last_name: last_name,
       gender: {text: female}, amount: amount}
  currency: {text: XOF}
  location: {text: "Dakar: Senegal"}
  activity_id: activity
  disburse_time: disbursed
  schedule: {each: schedule, do: {date: due, principal: principal, interest: interest}}
left_to_the_coordinator: [description, loanuse, image_encoded, client_waiver_signed]
"""

POSITION = """\
resource: repayment
identity: account
source: {table: loan, key: id, changed_at: changed, created_at: created}
fields: {loan_id: account, amount: repaid}
"""

JOURNAL = """\
resource: journal
identity: id
source: {table: note, key: id, changed_at: changed, created_at: created}
fields: {internal_loan_id: account, subject: {text: News}, body: body}
"""


def write_mappings(folder: Path) -> Path:
    """The three mappings of this MIS, in a folder of their own."""
    folder.mkdir(exist_ok=True)
    for name, text in (("loan_draft", DRAFT), ("repayment", POSITION), ("journal", JOURNAL)):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


_STAMPS = {"created": "datetime", "changed": "datetime"}
COLUMNS = {
    "loan": _STAMPS
    | dict.fromkeys(("account", "client", "first_name", "last_name", "status"), "text")
    | {"id": "integer", "activity": "integer", "amount": "number", "repaid": "number", "disbursed": "date"},
    "instalment": {"loan_id": "integer", "due": "date", "principal": "number", "interest": "number"},
    "note": _STAMPS | {"id": "integer", "account": "text", "body": "text"},
}


@dataclass
class SimulatedMis:
    """Rows by table and key, all their versions, and at which commit each was last written."""

    dice: random.Random
    resources: tuple[str, ...]
    loans: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    positions: dict[str, list[Decimal]] = field(default_factory=dict)
    commit: int = 0
    reaches: int | None = None
    busy_seconds: float = 0.0
    written: dict[tuple[str, str], int] = field(default_factory=dict)

    # ---------------------------------------------------------------- what the relay's Mis can do

    def identity(self) -> str:
        """Always the same one."""
        return "simulated"

    def together(self) -> contextlib.AbstractContextManager[None]:
        """It has no sessions."""
        return contextlib.nullcontext()

    def changes(
        self,
        streams: Sequence[Stream],
        watermarks: Mapping[str, str | None],
        *,
        followed: object = None,
        secured: object = None,
    ) -> Cycle:
        """Keys that were written after W."""
        keys, following = {}, {}
        for stream in streams:
            w = watermarks.get(stream.name)
            table = self._table(stream)
            since = self.commit if w is None else int(w)
            keys[stream.name] = [key for key in table if self.written[stream.table or "", key] > since]
            following[stream.name] = str(self.commit)
        return Cycle(keys, following, dict.fromkeys(following, "compare"), timedelta(0))

    def processed(self, cycle: Cycle, *, but: Collection[str] = ()) -> None:
        """Nothing is remembered."""

    def read(self, stream: Stream, keys: Sequence[str], *, cutoff: date) -> list[Content]:
        """Rows as they are now."""
        return [self._content(stream, key) for key in keys]

    def shape(self, stream: Stream) -> dict[str, dict[str, str]]:
        """It never changes."""
        return {}

    def columns(self, source: str) -> dict[str, str]:
        """What the columns hold."""
        return COLUMNS[source.removeprefix("SELECT * FROM ").split()[0]]

    def scan(self, stream: Stream, *, after: str | None, limit: int) -> list[str]:
        """Keys in scope, in order."""
        keys = [key for key in sorted(self._table(stream)) if self._content(stream, key).in_scope]
        return [key for key in keys if after is None or key > after][:limit]

    def count(self, stream: Stream) -> int:
        return len(self._table(stream))

    def gaps(self, stream: Stream) -> tuple[Gap, ...]:
        """Every row has a key."""
        return ()

    def highest(self, stream: Stream) -> int | None:
        """Nothing is ever deleted here."""
        return self.reaches

    def went_back(self, watermark: str) -> bool:
        """Nor restored."""
        return False

    # ---------------------------------------------------------------- what people do in it

    def open_loan(self) -> str:
        """A new loan is approved."""
        number = str(len(self.loans) + 1)
        amount = Decimal(self.dice.randrange(2, 20) * 100)
        self.loans[number] = {
            "id": int(number), "account": f"L{number}", "client": f"C{number}", "first_name": "Awa",
            "last_name": "Diop", "activity": 1, "amount": amount, "repaid": Decimal(0), "status": "approved",
            "disbursed": date(2026, 11, 25), "created": CREATED, "changed": CREATED,
        }  # fmt: skip
        self.positions[number] = [Decimal(0)]
        self._wrote("loan", number)
        return number

    def work(self) -> str:
        """Somebody does something; a sentence about it."""
        drafts = "loan_draft" in self.resources
        if drafts and len(self.loans) < 4 and self.dice.random() < 0.3:
            return f"loan L{self.open_loan()} is approved"
        key = self.dice.choice([*self.loans])
        loan = self.loans[key]
        pay, write = "repayment" in self.resources, "journal" in self.resources
        weights = [3 * drafts, 1 * drafts, 2 * drafts, 6 * pay, 3 * write]
        what = self.dice.choices(["correct", "spoil", "cancel", "repay", "note"], weights)[0]
        if what == "correct":
            loan["amount"] += 100
            loan["first_name"] = "Awa"
        elif what == "spoil":
            loan["first_name"] = ""
        elif what == "cancel":
            loan["status"] = "approved" if loan["status"] == "rejected" else "rejected"
        elif what == "repay":
            step = self.dice.choice([10, 10, 20, -10])
            loan["repaid"] = min(max(loan["repaid"] + step, Decimal(0)), Decimal(200))
            self.positions[key].append(loan["repaid"])
        else:
            number = str(len(self.notes) + 1)
            self.notes[number] = {
                "id": int(number), "account": loan["account"], "body": f"news {number}", "created": CREATED,
                "changed": CREATED,
            }  # fmt: skip
            self._wrote("note", number)
            return f"note {number} is written about {loan['account']}"
        self._wrote("loan", key)
        return f"loan {loan['account']}: {what}"

    def mend(self) -> None:
        """What was spoiled is put right, so that nothing has to be refused in the end."""
        for key, loan in self.loans.items():
            if not loan["first_name"]:
                loan["first_name"] = "Awa"
                self._wrote("loan", key)

    def _wrote(self, table: str, key: str) -> None:
        self.commit += 1
        self.written[table, key] = self.commit

    def _table(self, stream: Stream) -> dict[str, dict[str, Any]]:
        return self.loans if stream.table == "loan" else self.notes

    def _content(self, stream: Stream, key: str) -> Content:
        row = self._table(stream).get(key)
        if row is None:
            return Content(key, in_scope=False, root=None)
        in_scope = stream.resource != "loan_draft" or row["status"] == "approved"
        instalment = {"due": date(2027, 1, 25), "principal": row.get("amount"), "interest": Decimal(0)}
        related: dict[str, Any] = {"schedule": [instalment]} if stream.resource == "loan_draft" else {}
        return Content(key, in_scope, dict(row), related)
