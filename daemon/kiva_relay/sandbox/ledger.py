"""Everything the stand-in accepted, in order: what a test counts to see that nothing was lost or doubled."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kiva_relay.sandbox.event_file import EventFile


@dataclass(slots=True)
class Record:
    """One accepted call.

    Attributes:
        number: Counts from 1 without gaps, also across restarts.
        request: The number of the request in the request log.
        time: When it was applied, UTC.
        resource: loan_draft, repayment or journal.
        body: The body as it came, on one line.
        loan_ids: Every loan id that the body names, in its order.
        receipt: What was, or would have been, answered.
        answer: pending, then answered (its bytes were handed to the network) or answer_lost.
        note: What happened to it later: deleted, confirmed.
    """

    number: int
    request: int
    time: datetime
    resource: str
    body: bytes
    loan_ids: tuple[str, ...]
    receipt: Mapping[str, Any]
    answer: str = "pending"
    note: str = ""

    def document(self, *, bodies: bool = True) -> dict[str, Any]:
        """As JSON, the body with its digits as they were sent; without it when `bodies` is false."""
        document: dict[str, Any] = {
            "number": self.number,
            "request": self.request,
            "time": self.time.isoformat(),
            "resource": self.resource,
            "loan_ids": self.loan_ids,
            "receipt": self.receipt,
            "answer": self.answer,
            "note": self.note,
        }
        if bodies:
            document["body"] = orjson.Fragment(self.body)
        return document


class Ledger:
    """The records, in memory and in a file when there is one."""

    def __init__(self, file: EventFile | None) -> None:
        self._file = file
        self._by_loan: dict[str, list[Record]] = {}
        self.records: list[Record] = []
        self.counts: Counter[str] = Counter()

    def next_number(self) -> int:
        """The number that the next record gets; receipts are made from it before it is accepted."""
        return len(self.records) + 1

    def accept(self, record: Record) -> None:
        """Add a record. It is in the file when this returns, and so before any answer."""
        self._add(record)
        self._append({"event": "accepted", **record.document()})

    def answered(self, record: Record, answer: str) -> None:
        """Say whether the answer to a record went out."""
        record.answer = answer
        self._append({"event": "answer", "number": record.number, "answer": answer})

    def remark(self, record: Record, note: str) -> None:
        """Say what became of a record: a draft deleted, a journal confirmed."""
        record.note = note
        self._append({"event": "note", "number": record.number, "note": note})

    def replay(self, event: Mapping[str, Any]) -> None:
        """Take one event of the file again."""
        if event["event"] == "accepted":
            # Nobody can have the answer of a process that ended before it could say that it answered.
            self._add(_record(event, answer="answer_lost"))
        elif event["event"] == "answer":
            self.records[event["number"] - 1].answer = event["answer"]
        elif event["event"] == "note":
            self.records[event["number"] - 1].note = event["note"]

    def after(self, number: int, *, resource: str = "", loan_id: str = "") -> Iterable[Record]:
        """The records after `number`, of one resource or about one loan when asked, oldest first."""
        if loan_id:
            records: Iterable[Record] = (one for one in self._by_loan.get(loan_id, ()) if one.number > number)
        else:
            records = (self.records[index] for index in range(max(0, number), len(self.records)))
        return (one for one in records if not resource or one.resource == resource)

    def _add(self, record: Record) -> None:
        self.records.append(record)
        self.counts[record.resource] += 1
        for loan_id in dict.fromkeys(record.loan_ids):
            self._by_loan.setdefault(loan_id, []).append(record)

    def _append(self, event: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.append(event)


def one_line(body: bytes) -> bytes:
    """A JSON text without line ends: outside its strings they are only space, inside they cannot stand."""
    return body.replace(b"\n", b" ").replace(b"\r", b" ").strip()


def _record(event: Mapping[str, Any], *, answer: str) -> Record:
    return Record(
        number=event["number"],
        request=event["request"],
        time=datetime.fromisoformat(event["time"]),
        resource=event["resource"],
        body=orjson.dumps(event["body"]),
        loan_ids=tuple(event["loan_ids"]),
        receipt=event["receipt"],
        answer=answer,
    )
