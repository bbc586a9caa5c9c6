"""An office in which every button of the page has something to answer, once a language; laid while nothing runs.

What the relay itself makes is made by the relay: drafts and positions that Kiva took, what the MIS changed or cancelled
since, what waits for a decision. Laid by hand is what only time or bad luck brings, an answer that was lost, a last day
that passed, a report that closed, and the witness is told of each attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.clock import SystemClock
from kiva_relay.config import loader
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import closing, hold, meta, mirror_table, person, query, report, sending, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.person import Person
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.outbox.witness import Witness
from kiva_relay.page import password
from kiva_relay.report import calendar
from testbed.kiva.control import Sandbox
from testbed.rig import patience, yaml_text
from testbed.rig.killed_page import PageProcess, free_port
from testbed.rig.office import Office
from testbed.rig.relay_process import RelayProcess

SECRET = "a long password"
ROLES = ("coordinator", "administrator")
AT_KIVA = (
    "published", "deleted", "again", "corrected", "changed_again", "cancelled", "too_old", "twin_another", "twin_same",
)  # fmt: skip
"""Drafts that Kiva takes before anything else happens."""
LATER = ("there", "not_there", "typed", "discard", "warned_there", "warned_again", "another", "same", "CASE", "OTHER")
"""Drafts that are owed after that, and were not sent when the page is opened."""
FELL = ("fell_send", "fell_keep", "fell_out", "late_send", "late_keep", "late_out", "undecided")
"""Positions that Kiva took last month, and that went down since."""
PLAIN = ("held", "after", "unknown")
NEWS = ("news", "pair_a", "pair_b", "not_news")
_CLIENT_OF = {"another": "twin_another", "same": "twin_same"}


def called(kind: str, suit: str) -> str:
    """The loan of a kind that one suit of cases is about."""
    return f"{kind}-{suit}"


@dataclass
class Branch:
    """The office, its outbox and its processes. A suit is a language, or a language and a manner."""

    folder: Path
    kiva: Sandbox
    url: str
    suits: Sequence[str]
    languages: Sequence[str]
    outbox_url: str = ""
    office: Office = field(init=False)
    outbox: Outbox = field(init=False)

    def __post_init__(self) -> None:
        changes: dict[str, Any] = {
            "page.listen": f"127.0.0.1:{free_port()}",
            "journals.batch": 1,
            "kiva.send": True,
        }
        self.office = Office(self.folder, self.url, changes=changes | self._place())
        self.office.mis.execute("ALTER TABLE loan ADD COLUMN client text")
        self.office.mis.execute("ALTER TABLE loan ADD COLUMN amount integer NOT NULL DEFAULT 500")
        self.office.mis.execute("ALTER TABLE loan ADD COLUMN status text NOT NULL DEFAULT 'approved'")
        mapping = self.folder / "mappings" / "loan_draft.yaml"
        text = mapping.read_text(encoding="utf-8").replace("\"'C' ~ account\"", "client")
        text = text.replace("table: loan, key: id}", "table: loan, key: id, where: \"status = 'approved'\"}")
        mapping.write_text(text.replace("amount: 500", "amount: amount"), encoding="utf-8")
        self.relay = RelayProcess(self.office.config)
        self.page = PageProcess(self.office.config)

    def _place(self) -> dict[str, Any]:
        return {"outbox.url": self.outbox_url} if self.outbox_url else {}

    # ---------------------------------------------------------------- what is there

    def rows(self, *where: sa.ColumnElement[bool]) -> list[Entry]:
        """Entries, oldest first."""
        with self.outbox.read() as tx:
            found = tx.execute(sa.select(table.entry.c.id).where(*where).order_by(table.entry.c.id)).scalars()
            return [one for one in (query.find(tx, number) for number in found.all()) if one is not None]

    def newest(self, loan: str, resource: str = "loan_draft") -> Entry | None:
        """The newest version of what is owed for a loan."""
        found = self.rows(table.entry.c.loan_id == loan, table.entry.c.resource == resource)
        return found[-1] if found else None

    def sent(self, resource: str) -> dict[str, list[dict[str, Any]]]:
        """Loan id → each record that Kiva has of it."""
        found: dict[str, list[dict[str, Any]]] = {}
        for record in self.kiva.ledger(resource=resource):
            for loan in record["loan_ids"]:
                found.setdefault(loan, []).append(record)
        return found

    def acts(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What persons did on the page: verb, who, about what."""
        columns = table.act.c
        with self.outbox.read() as tx:
            rows = tx.execute(sa.select(columns.verb, columns.person, columns.about).order_by(columns.id)).all()
        return [(verb, who, about) for verb, who, about in rows if "(page)" in who]

    def every(self, *kinds: str) -> list[str]:
        """The loans of these kinds, one a suit."""
        return [called(kind, suit) for kind in kinds for suit in self.suits]

    # ---------------------------------------------------------------- what happens

    def is_laid(self) -> None:
        """Everything waits for a person, and nothing runs."""
        self._kiva_expects()
        for kind in AT_KIVA:
            for suit in self.suits:
                self._grant(kind, suit)
        for loan in self.every(*FELL):
            self._repaid(loan, 180)
        for loan in self.every(*PLAIN):
            self._repaid(loan, 10)
        for loan in self.every(*NEWS[:3]):
            self.office.tell(loan)
        self._runs(
            lambda: (
                self._have(State.DELIVERED, "loan_draft", AT_KIVA)
                and self._have(State.DELIVERED, "repayment", (*FELL, *PLAIN))
                and self._have(State.DELIVERED, "journal", NEWS[:3])
            )
        )
        self._last_month()
        self._sends(wanted=False)
        self._in_the_mis()
        self._runs(
            lambda: (
                self._have(State.READY, "loan_draft", LATER[:6])
                and self._have(State.WAITING, "loan_draft", LATER[6:])
                and self._have(State.WAITING, "repayment", (*FELL, "exceeds"))
                and self._have(State.READY, "repayment", ("unknown",))
                and self._have(State.REFUSED, "repayment", ("broken",))
                and self._have(State.READY, "journal", NEWS[3:])
                and self._differ(("corrected", "changed_again", "cancelled"))
            )
        )
        self._by_hand()
        self._sends(wanted=True)
        with self.outbox.begin() as tx:
            made = password.made(SECRET)
            for language in self.languages:
                for role in ROLES:
                    who = Person(f"{role}-{language}", role, language)
                    person.put(tx, who, password=made, by="test", now=SystemClock().now())

    def _kiva_expects(self) -> None:
        seeded = [{"internal_loan_id": loan, "price": "500.00"} for loan in self.every(*FELL, *PLAIN, *NEWS, "broken")]
        seeded += [{"internal_loan_id": loan, "price": "100.00"} for loan in self.every("exceeds")]
        seeded += [{"internal_loan_id": loan} for loan in self.every("at_kiva_only", "unknown_here")]
        seeded += [{"internal_loan_id": loan, "status": "ended"} for loan in self.every("case", "other")]
        self.kiva.seed_loans(seeded)

    def _grant(self, kind: str, suit: str) -> None:
        # One that is typed by hand is so old that it can only be published for some days.
        given = (date.today() - timedelta(days=25 if kind == "typed" else 0)).isoformat()
        client = called(_CLIENT_OF.get(kind, kind), suit)
        mis = self.office.mis
        mis.execute("BEGIN IMMEDIATE")
        values = (called(kind, suit), given, f"C-{client}")
        number = mis.execute("INSERT INTO loan (account, given, client) VALUES (?, ?, ?)", values).lastrowid
        mis.execute("INSERT INTO instalment (loan, due, principal) VALUES (?, ?, 500)", (number, given))
        mis.execute("COMMIT")

    def _repaid(self, loan: str, amount: object) -> None:
        self.office.mis.execute("INSERT INTO repaid (account, amount) VALUES (?, ?)", (loan, amount))

    def repays(self, loan: str, amount: int) -> None:
        """The MIS has another amount."""
        self.office.mis.execute("UPDATE repaid SET amount = ? WHERE account = ?", (amount, loan))

    def _in_the_mis(self) -> None:
        """What happens there once Kiva has the first of it."""
        mis = self.office.mis
        for kind in LATER:
            for suit in self.suits:
                self._grant(kind, suit)
        for loan in self.every("corrected", "changed_again"):
            mis.execute("UPDATE loan SET amount = 600 WHERE account = ?", (loan,))
            mis.execute(
                "UPDATE instalment SET principal = 600 WHERE loan = (SELECT id FROM loan WHERE account = ?)", (loan,)
            )
        for loan in self.every("cancelled"):
            mis.execute("UPDATE loan SET status = 'rejected' WHERE account = ?", (loan,))
        for loan in self.every(*FELL):
            self.repays(loan, 150)
        for loan in self.every("exceeds"):
            self._repaid(loan, 150)
        for loan in self.every("broken"):
            self._repaid(loan, "much")
        for loan in self.every("in_the_mis"):
            self._repaid(loan, 70)
        for loan in self.every(*NEWS[3:]):
            self.office.tell(loan)

    # ---------------------------------------------------------------- while nothing runs

    def _last_month(self) -> None:
        """What Kiva took so far was of the report before this one."""
        with self.outbox.begin() as tx:
            (period,) = tx.execute(sa.text("SELECT period FROM report")).scalars()
            before = (date.fromisoformat(f"{period}-01") - timedelta(days=1)).strftime("%Y-%m")
            mine = table.entry.c.resource == "repayment"
            tx.execute(sa.update(table.entry).where(mine).values(period=before))

    def _by_hand(self) -> None:
        settings = self.settings
        witness = Witness(
            settings.outbox.witness, api_url=settings.kiva.api_url, partner_id=str(settings.kiva.partner_id)
        )
        problem = Ending(
            "accepted", body_complete=True, status=200, detail=None, problems=[{"details": "not all read"}]
        )
        lost = Ending("in_doubt", body_complete=None, status=None, detail="ReadTimeout")
        warned = EntryVerdict(
            State.DELIVERED, {"loan_draft_uuid": "w"}, reason="problem_without_loan", evidence="warned"
        )
        doubt = EntryVerdict(State.IN_DOUBT, reason="answer_lost")
        for suit in self.suits:
            # An answer between two lost ones: three lost in a row hold everything.
            for kind in ("warned_there", "there", "warned_again", "not_there"):
                ending, verdict = (problem, warned) if kind.startswith("warned") else (lost, doubt)
                self._tried(witness, self.newest(called(kind, suit)), ending, verdict)
            self._tried(witness, self.newest(called("not_news", suit), "journal"), lost, doubt)
        now = SystemClock().now()
        with self.outbox.begin() as tx:
            old = table.entry.c.loan_id.in_(self.every("too_old"))
            tx.execute(sa.update(table.entry).where(old).values(publish_by=date.today() - timedelta(days=1)))
            for suit in self.suits:
                self._same_page(tx, called("pair_a", suit), called("pair_b", suit))
            hold.put(tx, "loan_draft", "asked", now=now, by="somebody", note="before all")
            for loan in self.every("undecided"):
                closing.close(tx, self._of(tx, loan, "repayment"), reason="position_fell", now=now)
        for loan in self.every("unknown"):
            self._closed_in_doubt(witness, loan, lost, doubt)
        for loan in self.every("undecided", "unknown"):
            self.kiva.set_status(loan, "ended")  # no later report asks for it
        with self.outbox.begin() as tx:  # nor before the list is read again
            over = mirror_table.mirror.c.loan_id.in_(self.every("undecided", "unknown"))
            tx.execute(sa.update(mirror_table.mirror).where(over).values(status="ended"))

    def _closed_in_doubt(self, witness: Witness, loan: str, lost: Ending, doubt: EntryVerdict) -> None:
        self._tried(witness, self.newest(loan, "repayment"), lost, doubt)
        with self.outbox.begin() as tx:
            closing.close(tx, self._of(tx, loan, "repayment"), reason="window_closed", now=SystemClock().now())

    def _of(self, tx: Connection, loan: str, resource: str) -> Entry:
        mine = (table.entry.c.loan_id == loan, table.entry.c.resource == resource)
        number = tx.execute(sa.select(sa.func.max(table.entry.c.id)).where(*mine)).scalar_one()
        found = query.find(tx, number)
        assert found is not None
        return found

    @staticmethod
    def _same_page(tx: Connection, *loans: str) -> None:
        """Follow-ups that were sent in one call are confirmed on one page."""
        mine = (table.entry.c.loan_id.in_(loans), table.entry.c.resource == "journal")
        receipt = tx.execute(sa.select(table.entry.c.receipt).where(*mine).limit(1)).scalar_one()
        tx.execute(sa.update(table.entry).where(*mine).values(receipt=receipt))

    def _tried(self, witness: Witness, entry: Entry | None, ending: Ending, verdict: EntryVerdict) -> None:
        """One attempt at one entry, with what became of it; the witness hears of it first."""
        assert entry is not None
        now = SystemClock().now()
        with self.outbox.begin() as tx:
            batch = sending.claim(tx, entry.resource, [entry], fence=1, now=now, request=lambda b: b[0].encode())
            assert batch is not None
            outbox_id = str(meta.OUTBOX_ID.get(tx))
            witness.testify(
                outbox_id=outbox_id,
                attempt=batch.attempt_id,
                resource=entry.resource,
                identities=[entry.identity],
                loans=[entry.loan_id],
            )
            sending.end(tx, batch, ending, {entry.id: verdict}, by=Actor.COURIER, now=now)
            if verdict.receipt is not None:
                told = {entry.identity: verdict.receipt}
                witness.ended(outbox_id=outbox_id, attempt=batch.attempt_id, ended=told)

    def holds(self, what: str, reason: str) -> None:
        """The relay holds something."""
        with self.outbox.begin() as tx:
            hold.put(tx, what, reason, now=SystemClock().now())

    def closes(self) -> None:
        """The report closes, as the calendar closes it."""
        with self.outbox.begin() as tx:
            (open_,) = report.not_closed(tx)
            calendar.close(tx, self.settings, open_, now=SystemClock().now())

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return loader.load(self.office.config, environ={"KIVA_SECRET": "s3cr3t"})

    # ---------------------------------------------------------------- running until something is so

    def _sends(self, *, wanted: bool) -> None:
        document = {**self.office._settings()}
        document["kiva"] = document["kiva"] | {"send": wanted}
        self.office.config.write_text(yaml_text.of(document), encoding="utf-8")

    def _runs(self, until: Any) -> None:
        lives = self.relay.log.count(" ready ")
        self.relay.begin()
        try:
            patience.eventually(lambda: self.relay.log.count(" ready ") > lives or self.relay.ended is not None)
            assert self.relay.ended is None, self.relay.log
            if not hasattr(self, "outbox"):
                self.outbox = Outbox(self.outbox_url or self.office.outbox)
            patience.eventually(until, within=60)
        finally:
            self.relay.end()

    def _have(self, state: State, resource: str, kinds: Iterable[str]) -> bool:
        rows = self.rows(table.entry.c.resource == resource, table.entry.c.state == state.value)
        return {entry.loan_id for entry in rows} >= set(self.every(*kinds))

    def _differ(self, kinds: Iterable[str]) -> bool:
        with self.outbox.read() as tx:
            open_ = sa.text("SELECT loan_id FROM entry JOIN divergence ON entry.id = divergence.entry_id")
            return set(tx.execute(open_).scalars()) >= set(self.every(*kinds))
