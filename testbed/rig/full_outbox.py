"""An outbox in which everything that a person is asked about has happened, for the tests of the commands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import cli
from kiva_relay.outbox import catalogue, heartbeat, mirror, query, sending, settlement, store, table, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry, Owed
from kiva_relay.outbox.heartbeat import Heartbeat, Reachability
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource.refusal import Refusal
from testbed.rig import configuration
from testbed.rig.outboxes import on_file

NAME = "Awa Zainab"
"""Stands in every body, and must never be shown."""


@dataclass
class FullOutbox:
    """An outbox and its configuration, with ways to make things happen in it."""

    outbox: Outbox
    config: Path
    now: datetime

    def owe(self, loan: str, *, resource: str = "loan_draft", amount: str = "250000", **changes: object) -> Entry:
        """Put down what is owed for a loan."""
        body = f'{{"entreps":[{{"amount":{amount},"first_name":"{NAME}","loan_id":"{loan}"}}]}}'
        values: dict[str, object] = {
            "resource": resource,
            "identity": loan,
            "stream": f"{resource}.individual" if resource == "loan_draft" else resource,
            "key": loan.lstrip("0"),
            "loan_id": loan,
            "fingerprint": "1:a41f",
            "origin": "poll",
            "due_at": self.now,
            "amount": amount,
            "currency": "XOF",
            "body": body,
        } | changes
        if values["body"] is not None:
            values["body_sha256"] = hashlib.sha256(str(values["body"]).encode()).hexdigest()
        with self.outbox.begin() as tx:
            entry = store.owe(tx, Owed(**values), now=self.now)  # type: ignore[arg-type]
        assert entry is not None
        return entry

    def refuse(self, loan: str, *reasons: Refusal) -> Entry:
        """The mapping says no."""
        return self.owe(loan, body=None, refusals=reasons or (Refusal("name_empty", "entreps[0].first_name"),))

    def send(self, entry: Entry, verdict: EntryVerdict, *, outcome: str, words: str | None = None) -> Entry:
        """Send just this entry; it as it stands then."""
        status = 200 if outcome == "accepted" else 422 if outcome == "refused" else None
        ending = Ending(outcome, body_complete=True, status=status, detail=words)
        with self.outbox.begin() as tx:
            found = query.find(tx, entry.id)
            assert found is not None
            batch = sending.claim(tx, entry.resource, [found], fence=1, now=self.now, request=lambda b: b[0].encode())
            assert batch is not None
            return sending.end(tx, batch, ending, {entry.id: verdict}, by=Actor.COURIER, now=self.now)[0]

    def accept(self, entry: Entry, **receipt: str) -> Entry:
        """Kiva accepts it."""
        given = dict(receipt) or {"loan_draft_uuid": f"uuid-{entry.id}"}
        return self.send(entry, EntryVerdict(State.DELIVERED, receipt=given), outcome="accepted")

    def lose(self, entry: Entry) -> Entry:
        """The answer is lost."""
        verdict = EntryVerdict(State.IN_DOUBT, reason="answer_lost")
        return self.send(entry, verdict, outcome="in_doubt", words="ReadTimeout")

    def settle(self, entry: Entry, verb: settlement.Verb) -> Entry:
        """A person's word."""
        with self.outbox.begin() as tx:
            return settlement.settle(tx, entry, verb, by="awa", note="looked", now=self.now)

    def change(self, loan: str, **changes: object) -> None:
        """The MIS changes a loan whose draft was sent."""
        body = f'{{"entreps":[{{"amount":300000,"first_name":"{NAME} Other","loan_id":"{loan}"}}]}}'
        with self.outbox.begin() as tx:
            owed = Owed(
                resource="loan_draft",
                identity=loan,
                stream="loan_draft.individual",
                key=loan,
                loan_id=loan,
                fingerprint="1:a41f",
                origin="poll",
                due_at=self.now,
                body=body,
                body_sha256="x",
            )
            store.owe(tx, owed, now=self.now)

    def cancel(self, loan: str) -> None:
        """The MIS cancels a loan."""
        with self.outbox.begin() as tx:
            store.left_scope(tx, "loan_draft", loan, reason="left_scope", now=self.now)

    def kiva_lists(self, *loans: mirror.MirroredLoan) -> None:
        """Kiva's list of loans is read whole, and its other lists are."""
        with self.outbox.begin() as tx:
            refresh = mirror.begin_refresh(tx, now=self.now)
            mirror.keep(tx, refresh, loans)
            mirror.end_refresh(tx, refresh, complete=True, listed=len(loans), detail=None, now=self.now)
            for kind in catalogue.KINDS:
                catalogue.keep(tx, kind, [{"id": 1}], now=self.now)

    def runs(self, *, ago: timedelta = timedelta(seconds=2), **changes: Any) -> Heartbeat:
        """The relay gives a sign of life."""
        at = self.now - ago
        well = {"mis": Reachability(last_good=at), "kiva": Reachability(last_good=at)}
        beat = Heartbeat(self.now - timedelta(days=9), "0.2.0", 4711, at, **{**well, **changes})
        with self.outbox.begin() as tx:
            heartbeat.write(tx, beat)
        return beat

    def acts(self) -> list[tuple[str, str, str]]:
        """What persons did: who, what, with which note."""
        columns = table.act.c
        with self.outbox.read() as tx:
            rows = tx.execute(sa.select(columns.person, columns.verb, columns.note).order_by(columns.id))
            return [(row.person, row.verb, row.note) for row in rows]

    def day(self, days: int) -> date:
        """So many days from today."""
        return (self.now + timedelta(days=days)).date()


def owed(identity: str, *, resource: str, loan_id: str, body: str, now: datetime) -> Owed:
    """What a row owes, in these very words."""
    return Owed(
        resource=resource,
        identity=identity,
        stream=resource,
        key=identity,
        loan_id=loan_id,
        fingerprint="1:a41f",
        origin="poll",
        due_at=now,
        body=body,
        body_sha256=hashlib.sha256(body.encode()).hexdigest(),
    )


def made(folder: Path, *, outbox: Outbox | None = None, url: str = "") -> FullOutbox:
    """An empty outbox of the sandbox (a file, if no other is given), with its configuration."""
    outbox = outbox or on_file(folder)
    url = url or f"sqlite:///{folder / 'outbox.db'}"
    config = configuration.write(folder, f"outbox: {{url: '{url}', witness: '{folder / 'witness.log'}'}}\n")
    with outbox.begin() as tx:
        watermark.begin(tx, "loan_draft.individual")
        watermark.end_scan(tx, watermark.watermarks(tx)["loan_draft.individual"], now=datetime.now(UTC))
    return FullOutbox(outbox, config, datetime.now(UTC))


def configured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    """An outbox that the commands find by themselves; awa is at the keyboard."""
    told = made(folder)
    monkeypatch.setenv("KIVA_RELAY_CONFIG", str(told.config))
    monkeypatch.setenv("KIVA_SECRET", "s")
    monkeypatch.setenv("SUDO_USER", "awa")
    yield told
    told.outbox.close()


@dataclass(frozen=True)
class Printed:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, read."""
        return json.loads(self.out)


Run = Callable[..., Printed]


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command as a person would type it. No command ever shows a name."""

    def run(*arguments: object) -> Printed:
        capsys.readouterr()
        code = cli.main([str(one) for one in arguments])
        printed = capsys.readouterr()
        assert NAME not in printed.out + printed.err, "a name was shown"
        return Printed(code, printed.out, printed.err)

    return run
