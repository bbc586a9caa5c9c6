"""The loans that Kiva has: what `GET /loans` lists, and the drafts that it does not list yet."""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kiva_relay.sandbox.event_file import EventFile

# Not a status of Kiva's: a draft waits for the coordinator, and `GET /loans` does not know the word.
DRAFT = "draft"
DRAFT_LISTED_AS = "inactive"

_FIRST_KIVA_ID = 2_900_001
# Rough, for `loan_price` only: Kiva shows every loan in dollars as well.
_UNITS_PER_DOLLAR: Mapping[str, int | str] = {
    "XOF": 600,
    "KES": 130,
    "VND": 25_000,
    "PEN": "3.7",
    "PHP": 57,
    "LBP": 89_500,
}


@dataclass(slots=True)
class SandboxLoan:
    """One loan at Kiva, or a draft of one.

    Attributes:
        kiva_id: Kiva's own number.
        uuid: The `loan_draft_uuid` that its draft was answered with.
        internal_loan_id: The MIS's id. Kiva does not mind two loans with the same.
        price: In the loan's own currency, plain digits.
        status: One of Kiva's, or `draft`.
        since: When it came into this status, UTC.
        created: When Kiva got it, UTC.
        record: The draft's number in the ledger; 0: it was there before.
        refused: Why PA2 does not let the coordinator publish it.
    """

    kiva_id: int
    uuid: str
    internal_loan_id: str
    internal_client_id: str
    name: str
    location: str
    price: str
    currency: str
    borrower_count: int
    status: str
    since: datetime
    created: datetime
    record: int = 0
    delinquent: bool = False
    refused: tuple[str, ...] = ()

    def row(self, partner: str) -> dict[str, Any]:
        """As `GET /loans` shows it: prices are strings, times are epoch numbers or absent."""
        status = DRAFT_LISTED_AS if self.status == DRAFT else self.status
        row: dict[str, Any] = {
            "kiva_id": self.kiva_id,
            "uuid": self.uuid,
            "internal_loan_id": self.internal_loan_id,
            "internal_client_id": self.internal_client_id,
            "partner_id": int(partner) if partner.isdecimal() else partner,
            "partner": f"Partner {partner}",
            "name": self.name,
            "location": self.location,
            "status": status,
            "status_detail": status,
            "loan_price": _dollars(self.price, self.currency),
            "loan_local_price": self.price,
            "loan_currency": self.currency,
            "borrower_count": self.borrower_count,
            "delinquent": self.delinquent,
            "create_time": int(self.created.timestamp()),
        }
        if status == "fundRaising":
            row["fundedAmount"] = "0.00"
        return row

    def document(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return dataclasses.asdict(self) | {
            "since": self.since.isoformat(),
            "created": self.created.isoformat(),
        }


class SandboxLoans:
    """All loans, found by status, by the MIS's id, by draft."""

    def __init__(self, file: EventFile | None) -> None:
        self._file = file
        self._next_kiva_id = _FIRST_KIVA_ID
        self._all: dict[int, SandboxLoan] = {}
        self._by_status: dict[str, dict[int, SandboxLoan]] = {}
        self._by_loan_id: dict[str, list[SandboxLoan]] = {}
        self._by_uuid: dict[str, SandboxLoan] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[SandboxLoan]:
        return iter(list(self._all.values()))

    def counts(self) -> dict[str, int]:
        """How many are in each status."""
        return {status: len(loans) for status, loans in sorted(self._by_status.items()) if loans}

    def next_kiva_id(self) -> int:
        """A number that no loan had, deleted ones included."""
        return self._next_kiva_id

    def put(self, loan: SandboxLoan) -> None:
        """Add a loan, or keep what changed of it."""
        self._place(loan)
        if self._file is not None:
            self._file.append({"event": "loan", **loan.document()})

    def remove(self, loan: SandboxLoan) -> None:
        """Delete it without trace, as PA2 does with a draft."""
        self._take_out(loan)
        if self._file is not None:
            self._file.append({"event": "loan_removed", "kiva_id": loan.kiva_id})

    def replay(self, event: Mapping[str, Any]) -> None:
        """Take one event of the file again."""
        if event["event"] == "loan":
            fields = {name: value for name, value in event.items() if name != "event"}
            fields["since"] = datetime.fromisoformat(fields["since"])
            fields["created"] = datetime.fromisoformat(fields["created"])
            fields["refused"] = tuple(fields["refused"])
            self._place(SandboxLoan(**fields))
        elif event["event"] == "loan_removed":
            self._take_out(self._all[event["kiva_id"]])

    def named(self, internal_loan_id: str) -> list[SandboxLoan]:
        """Every loan and draft with the MIS's id, the oldest first."""
        return list(self._by_loan_id.get(internal_loan_id, ()))

    def draft(self, draft_uuid: str) -> SandboxLoan | None:
        """The loan that a draft became, or the draft."""
        return self._by_uuid.get(draft_uuid)

    def numbered(self, kiva_id: int) -> SandboxLoan | None:
        """The loan with Kiva's own number."""
        return self._all.get(kiva_id)

    def listed(self, status: str, query: str, *, drafts: bool) -> list[SandboxLoan]:
        """What `GET /loans` finds, the newest first.

        The newest come first as in PA2, so a loan that appears while somebody pages moves the others on.
        """
        found = dict(self._by_status.get(status, {})) if status != DRAFT else {}
        if drafts and status == DRAFT_LISTED_AS:
            found |= self._by_status.get(DRAFT, {})
        return [found[kiva_id] for kiva_id in sorted(found, reverse=True) if _matches(found[kiva_id], query.casefold())]

    def _place(self, loan: SandboxLoan) -> None:
        known = self._all.get(loan.kiva_id)
        if known is not None:
            self._take_out(known)
        self._next_kiva_id = max(self._next_kiva_id, loan.kiva_id + 1)
        self._all[loan.kiva_id] = loan
        self._by_status.setdefault(loan.status, {})[loan.kiva_id] = loan
        self._by_loan_id.setdefault(loan.internal_loan_id, []).append(loan)
        self._by_uuid[loan.uuid] = loan

    def _take_out(self, loan: SandboxLoan) -> None:
        del self._all[loan.kiva_id]
        for loans in self._by_status.values():
            loans.pop(loan.kiva_id, None)
        self._by_loan_id[loan.internal_loan_id].remove(loan)
        self._by_uuid.pop(loan.uuid, None)


def from_draft(body: Mapping[str, Any], *, kiva_id: int, at: datetime, record: int) -> SandboxLoan:
    """The loan that a draft's body describes; it is known by `internal_loan_id`, else by its borrower's."""
    entreps = body.get("entreps") or []
    first: Mapping[str, Any] = entreps[0] if entreps else {}
    amounts = [Decimal(str(entrep["amount"])) for entrep in entreps if entrep.get("amount") is not None]
    person = f"{first.get('first_name') or ''} {first.get('last_name') or ''}".strip()
    return SandboxLoan(
        kiva_id=kiva_id,
        uuid=str(uuid.uuid4()),
        internal_loan_id=body.get("internal_loan_id") or first.get("loan_id") or "",
        internal_client_id=body.get("internal_client_id") or first.get("client_id") or "",
        name=body.get("group_name") or person,
        location=body.get("location") or "",
        price=f"{sum(amounts, Decimal()):.2f}",
        currency=body.get("currency") or "",
        borrower_count=len(entreps),
        status=DRAFT,
        since=at,
        created=at,
        record=record,
    )


def _matches(loan: SandboxLoan, query: str) -> bool:
    if not query:
        return True
    texts = (loan.internal_loan_id, loan.internal_client_id, loan.name)
    return query == str(loan.kiva_id) or any(query in text.casefold() for text in texts)


def _dollars(price: str, currency: str) -> str:
    dollars = Decimal(price) / Decimal(_UNITS_PER_DOLLAR.get(currency, 1))
    return f"{dollars:.2f}"
