"""A morning of the coordinator's on 2 December: of every kind of task one, for the page and for who looks at it."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from kiva_relay.outbox import person, report_table, table, watermark
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.person import Person
from kiva_relay.outbox.watermark import Captured
from kiva_relay.page import password
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource.refusal import Refusal
from testbed.rig.full_outbox import NAME, FullOutbox
from testbed.rig.november import November

SECRET = "a long password"
PEOPLE = (
    ("awa", "coordinator", "fr"),
    ("luz", "coordinator", "es"),
    ("ann", "coordinator", "en"),
    ("root", "administrator", "en"),
)
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
"""What somebody typed into the MIS, or Kiva said."""


def people(told: FullOutbox) -> None:
    """One coordinator a language, and an administrator; all with the same password."""
    made = password.made(SECRET)
    with told.outbox.begin() as tx:
        for name, role, language in PEOPLE:
            person.put(tx, Person(name, role, language), password=made, by="test", now=told.now)


class Morning:
    """What waits on the second day of November's report. Each draft has a client of its own but for the twins."""

    def __init__(self, told: FullOutbox) -> None:
        self.told = told
        self.november = November(told)
        people(told)
        told.runs()

    def whole(self) -> None:
        """One task of each kind."""
        self.doubt("000000871")
        self.cancelled("000000640")
        self.draft("000000702", days=2, complete=False)
        self.draft("000000713", days=3)
        self.draft("000000699", days=-1)
        for loan in ("000000715", "000000718", "000000720"):
            self.draft(loan, days=20, complete=loan != "000000718")
        self.changed("000000650")
        self.twins("000000902", "000000903")
        self.journals()
        self.told.refuse("000000917")
        self.told.refuse(
            "000001204", Refusal("activity_unknown", "activity_id", {"value": EVIL, "nearest": "Livestock"})
        )
        self.decisions()

    def draft(self, loan: str, *, days: int, complete: bool = True, **changes: Any) -> Entry:
        """A draft in PA2 that can be published for so many days."""
        return self.told.accept(self.owe(loan, days=days, complete=complete, **changes))

    def owe(self, loan: str, *, days: int | None = 20, complete: bool = True, **changes: Any) -> Entry:
        """A draft that is owed."""
        body: dict[str, object] = {
            "entreps": [
                {"amount": 250000, "client_id": f"C{loan}", "first_name": NAME, "gender": "female", "loan_id": loan}
            ],
        }
        if complete:
            body |= dict.fromkeys(_TO_PUBLISH, "x") | {"client_waiver_signed": True}
        last: dict[str, Any] = {} if days is None else {"publish_by": self.told.day(days)}
        given: dict[str, Any] = {"client_id": f"C{loan}", "body": json.dumps(body), **last} | changes
        return self.told.owe(loan, **given)

    def doubt(self, loan: str) -> Entry:
        """Its answer was lost."""
        return self.told.lose(self.owe(loan))

    def cancelled(self, loan: str) -> Entry:
        """The MIS cancelled it after it was sent."""
        entry = self.draft(loan, days=20)
        self.told.cancel(loan)
        return entry

    def changed(self, loan: str) -> Entry:
        """The MIS changed it after it was sent."""
        entry = self.told.accept(self.told.owe(loan))
        self.told.change(loan)
        return entry

    def twins(self, first: str, second: str) -> Entry:
        """Two drafts of one client and amount; the second waits."""
        client: dict[str, Any] = {"client_id": "000000311"}
        self.draft(first, days=20, **client)
        entry = self.owe(second, days=22, waits="probable_duplicate", **client)
        with self.told.outbox.begin() as tx:
            watermark.keep(tx, captured(entry), new=True)
        return entry

    def journals(self) -> None:
        """Two pages on which follow-ups are confirmed: one of two loans, one of another."""
        for number, (loan, archive) in enumerate((("000000233", "a1"), ("000000234", "a1"), ("000000235", "a2"))):
            given: dict[str, Any] = {"loan_id": loan, "amount": None, "currency": None}
            owed = self.told.owe(f"note {number}", resource="journal", **given)
            self.told.accept(owed, archive_id=archive, confirm_url=f"https://pa2.example/confirm/{archive}?x=1&y=2")

    def decisions(self) -> None:
        """Three loans of the report that need a decision: one fell, one is unknown, one exceeds what was lent."""
        fell, unknown, exceeds, good = "000000412", "KV/93", "000000377", "000000413"
        self.november.kiva_expects(fell, good, unknown, exceeds)
        self.november.accepted(good, "100000")
        self.reported_before(fell, "180000")
        self.november.position(fell, "150000", waits="position_fell", scheduled="41667")
        self.november.position(exceeds, "520000", waits="position_exceeds_kiva")

    def reported_before(self, loan: str, amount: str) -> None:
        """What Kiva took in the report of October."""
        body = f'{{"loan_id":"{loan}","amount":{amount}}}'
        entry = self.told.owe(loan, resource="repayment", amount=amount, currency=None, period="2026-10", body=body)
        values = {"entry_id": entry.id, "basis": "cumulative_principal", "lent": "500000"}
        with self.told.outbox.begin() as tx:
            tx.execute(sa.insert(report_table.position).values(**values))
        self.told.accept(entry, upload_id="88000")

    def many(self, number: int) -> None:
        """A report of so many lines that all need a decision."""
        loans = [f"{10_000_000 + each:09}" for each in range(number)]
        self.november.kiva_expects(*loans)
        first = self.november.position(loans[0], "150000", waits="position_fell", scheduled="41667")
        with self.told.outbox.begin() as tx:
            row = tx.execute(sa.select(table.entry).where(table.entry.c.id == first.id)).one()._asdict()
            copies = [
                row
                | {
                    "id": first.id + place,
                    "identity": loan,
                    "loan_id": loan,
                    "loan_fold": spelled.fold(loan),
                    "key": loan,
                }
                for place, loan in enumerate(loans)
                if place
            ]
            tx.execute(sa.insert(table.entry), copies)
            given = {"basis": "cumulative_principal", "lent": "500000", "scheduled": "41667"}
            tx.execute(sa.insert(report_table.position), [{"entry_id": one["id"], **given} for one in copies])


_TO_PUBLISH = ("description", "loanuse", "image_encoded", "location", "activity_id", "disburse_time", "currency")


def captured(entry: Entry) -> Captured:
    """What is known of the row of an entry that waits."""
    return Captured(
        stream=entry.stream,
        key=entry.key,
        resource=entry.resource,
        identity=entry.identity,
        hash="2:x",
        in_scope=True,
        baselined=False,
        refused=True,
        again=False,
        created_at=None,
        scan_number=1,
        captured_at=entry.created_at,
    )
