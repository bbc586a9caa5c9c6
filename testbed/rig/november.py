"""The report of November on its second day, with whatever a test puts into it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa

from kiva_relay.outbox import decision, report, report_table, watermark
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.report import Report
from testbed.rig.full_outbox import FullOutbox

NOW = datetime(2026, 12, 2, 9, 0, tzinfo=UTC)
OPENS, CLOSES = datetime(2026, 12, 1, 6, 0, tzinfo=UTC), datetime(2026, 12, 10, 18, 0, tzinfo=UTC)
PERIOD = "2026-11"


class November:
    """The report of November on its second day, with what is put into it."""

    def __init__(self, told: FullOutbox) -> None:
        self.told = told
        told.now = NOW
        with told.outbox.begin() as tx:
            report.open_(tx, Report(PERIOD, date(2026, 11, 30), "cumulative_principal", OPENS, CLOSES, opened_at=OPENS))
            watermark.begin(tx, "repayment")
            watermark.end_scan(tx, watermark.watermarks(tx)["repayment"], now=NOW)

    def kiva_expects(self, *loan_ids: str, amount: str = "500000", **more: Any) -> None:
        """Kiva's list, read whole."""
        loans = [
            MirroredLoan(f"{number:05d}", loan_id, f"C{loan_id}", "payingBack", amount, "XOF", **more)
            for number, loan_id in enumerate(loan_ids, start=1)
        ]
        self.told.kiva_lists(*loans)

    def position(self, loan_id: str, amount: str, *, scheduled: str | None = None, **more: Any) -> Entry:
        """What the MIS gives."""
        body = f'{{"loan_id":"{loan_id}","amount":{amount}}}'
        entry = self.told.owe(
            loan_id, resource="repayment", amount=amount, currency=None, period=PERIOD, body=body, **more
        )
        values = {"entry_id": entry.id, "basis": "cumulative_principal", "lent": "500000", "scheduled": scheduled}
        with self.told.outbox.begin() as tx:
            tx.execute(sa.insert(report_table.position).values(**values))
        return entry

    def accepted(self, loan_id: str, amount: str) -> Entry:
        """A position that Kiva took."""
        return self.told.accept(self.position(loan_id, amount), upload_id="88121")

    def uploaded(self, upload_id: str, loans: int, *problems: dict[str, str]) -> None:
        """A call that Kiva took, as a row."""
        with self.told.outbox.begin() as tx:
            attempt = tx.execute(sa.text("SELECT max(id) FROM attempt")).scalar()
            row = {"attempt_id": attempt, "period": PERIOD, "upload_id": upload_id, "at": NOW, "loans": loans}
            tx.execute(sa.insert(report_table.upload).values(problems=list(problems), **row))

    def decided(self, kiva_id: str, loan_id: str, verb: str, value: str | None = None, **seen: str | None) -> int:
        """What a person said."""
        with self.told.outbox.begin() as tx:
            return decision.put(
                tx,
                period="" if verb == "is" else PERIOD,
                kiva_id=kiva_id,
                loan_id=loan_id,
                verb=verb,
                value=value,
                seen=seen,
                by="awa",
                note="asked the branch",
                late=False,
                now=NOW,
            )
