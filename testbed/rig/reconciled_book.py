"""A book of loans on all three sides, for tests of the comparison: all alike, and then differences planted by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from kiva_relay.outbox import mirror, table, tally, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.resource import loan_id as spelled
from testbed.rig.outboxes import NOW

DRAFTS, POSITIONS = "loan_draft.individual", "repayment"
CLOSED = NOW - timedelta(days=40)


@dataclass
class BookLoan:
    """One loan: as Kiva lists it, our draft of it, and the MIS's row. None: that side does not have it."""

    kiva: MirroredLoan | None
    draft: dict[str, Any] | None
    row: dict[str, Any] | None
    told: bool = False

    def at_kiva(self, **changes: Any) -> None:
        """Kiva says otherwise."""
        assert self.kiva is not None
        self.kiva = dataclasses.replace(self.kiva, **changes)

    def in_mis(self, **changes: Any) -> None:
        """The MIS says otherwise."""
        assert self.row is not None
        self.row |= changes

    def of_ours(self, **changes: Any) -> None:
        """We sent otherwise."""
        assert self.draft is not None
        self.draft |= changes


def loans(number: int) -> Iterator[BookLoan]:
    """So many loans that are the same on all sides: two in three sent by us, the others typed by hand long before."""
    for place in range(1, number + 1):
        loan_id, client = f"{place:09}", f"C{place:06}"
        amount = str(100_000 + 10_000 * (place % 37))
        day = (NOW - timedelta(days=100 + place % 200)).date().isoformat()
        status = ("payingBack", "payingBack", "fundRaising", "ended", "defaulted", "raised")[place % 6]
        repaid = amount if status == "ended" else "0" if status in ("fundRaising", "raised") else "40000"
        kiva = MirroredLoan(f"k{place:07}", loan_id, client, status, amount, "XOF", created_on=day)
        draft = {"loan_id": loan_id, "client_id": client, "amount": amount, "currency": "XOF", "publish_by": None}
        row = {"lent": amount, "client_id": client, "repaid": repaid, "written_off": "0", "created_at": day}
        yield BookLoan(kiva, draft if place % 3 else None, row)


def write(outbox: Outbox, book: list[BookLoan]) -> None:
    """Put all of it into an outbox, as capture, delivery and the reading of Kiva's list leave it."""
    with outbox.begin() as tx:
        for stream in (DRAFTS, POSITIONS):
            watermark.begin(tx, stream)
        tx.execute(sa.update(table.watermark).values(scan=None, backfilled_at=NOW, swept_at=NOW))
        tx.execute(_REPORT)
        tx.execute(sa.insert(table.captured), [row for one in book for row in _captured(one)])
        drafts = [_entry(one) for one in book if one.draft is not None]
        tx.execute(sa.insert(table.entry), drafts)
        for one in book:
            if one.told:
                _tell(tx, one)
        tally.put_right(tx)
    list_loans(outbox, book)


def list_loans(outbox: Outbox, book: list[BookLoan], *, at: datetime = NOW) -> None:
    """Kiva lists its side of the book."""
    loans = [one.kiva for one in book if one.kiva is not None]
    with outbox.begin() as tx:
        number = mirror.begin_refresh(tx, now=at)
        mirror.keep(tx, number, mirror.others(tx, loans))
        mirror.drop(tx, number, mirror.lacking_in(tx, {loan.kiva_id for loan in loans})[0])
        mirror.end_refresh(tx, number, complete=True, listed=len(loans), detail=None, now=at)


def _captured(one: BookLoan) -> Iterator[dict[str, Any]]:
    if one.row is None:
        return
    loan_id = one.row.get("loan_id") or (one.draft or {}).get("loan_id") or (one.kiva.loan_id if one.kiva else "")
    given = {
        "key": loan_id.lstrip("0"),
        "identity": spelled.key(loan_id),
        "hash": "h",
        "in_scope": one.row.get("in_scope", True),
        "gone": one.row.get("gone"),
        "baselined": False,
        "refused": False,
        "again": False,
        "unseen": False,
        "scan_number": 1,
        "captured_at": one.row.get("captured_at", CLOSED - timedelta(days=20)),
        "created_at": one.row["created_at"],
        "lent": None,
        "repaid": None,
        "written_off": None,
        "client_id": None,
    }
    of_position = {name: one.row[name] for name in ("lent", "repaid", "written_off", "client_id")}
    yield given | {"stream": POSITIONS, "resource": "repayment", **of_position}
    if one.draft is not None:
        # Long since disbursed: out of the drafts' scope, as it should be.
        yield given | {"stream": DRAFTS, "resource": "loan_draft", "in_scope": False, "gone": bool(one.row.get("gone"))}


def _entry(one: BookLoan) -> dict[str, Any]:
    draft = one.draft or {}
    loan_id = draft["loan_id"]
    sent = draft.get("sent_at", NOW - timedelta(days=90))
    return {
        "resource": "loan_draft",
        "identity": spelled.key(loan_id),
        "version": 1,
        "state": "delivered",
        "evidence": draft.get("evidence", "receipt"),
        "stream": DRAFTS,
        "key": loan_id.lstrip("0"),
        "loan_id": loan_id,
        "loan_fold": spelled.fold(loan_id),
        "client_id": draft["client_id"],
        "amount": draft["amount"],
        "currency": draft["currency"],
        "origin": "poll",
        "publish_by": draft["publish_by"],
        "due_at": sent,
        "created_at": sent,
        "changed_at": sent,
        "settled_at": sent,
        "done_at": draft.get("done_at"),
    }


def _tell(tx: Any, one: BookLoan) -> None:
    """Kiva took, in a report that has closed, that all of it is repaid."""
    assert one.kiva is not None
    assert one.row is not None
    given = _entry(dataclasses.replace(one, draft={**(one.draft or _as_draft(one))}))
    given |= {"resource": "repayment", "stream": POSITIONS, "period": "2026-10", "amount": one.row["lent"]}
    number = tx.execute(sa.insert(table.entry).values(**given)).inserted_primary_key[0]
    position = table.metadata.tables["position"]
    lent = one.row["lent"]
    tx.execute(sa.insert(position).values(entry_id=number, basis="cumulative_principal", lent=lent))


def _as_draft(one: BookLoan) -> dict[str, Any]:
    assert one.kiva is not None
    loan = one.kiva
    return {
        "loan_id": loan.loan_id,
        "client_id": loan.client_id,
        "amount": loan.amount,
        "currency": loan.currency,
        "publish_by": None,
    }


_REPORT = sa.insert(table.metadata.tables["report"]).values(
    period="2026-10",
    cutoff=date(2026, 9, 30),
    basis="cumulative_principal",
    opened_at=CLOSED - timedelta(days=9),
    closed_at=CLOSED,
)
