"""The limits: what a request costs that nobody looks after, and the relay's courier in the same process beside them.

All of them send the same bodies with the same headers to the same sink, one request at a time, in this process.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from benchmarks import book
from benchmarks.figure import BARE, COURIER, DURABLE, FOUR
from benchmarks.served import Served
from kiva_relay import clock as clocks
from kiva_relay.config import loader
from kiva_relay.delivery.breaker import Destination
from kiva_relay.delivery.client import Client
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.courier import Courier
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.delivery.token import Tokens
from kiva_relay.outbox import binding, store
from kiva_relay.outbox.witness import Witness
from testbed.rig import configuration, outboxes

DRAFT = "/v3/partner/123/loan_draft"
REPAYMENTS = "/v3/partner/123/repayments"
_HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer t"}
_CONNECTIONS = 4
_TOO_OLD = timedelta(hours=1)


def drafts(number: int, size: int) -> list[bytes]:
    """So many bodies of about so many bytes; each has twelve instalments."""
    lines = [
        {"date": f"2027-{month:02}-15", "principal": 100.0, "interest": 10.0}
        for month in range(1, book.INSTALMENTS + 1)
    ]
    found = []
    for each in range(1, number + 1):
        one = {
            "loan_id": book.account(each),
            "client_id": f"C{each:08}",
            "first_name": "Awa",
            "last_name": "Diop",
            "gender": "female",
            "amount": 1200.0,
        }
        body: dict[str, Any] = {"entreps": [one], "currency": "XOF", "location": "Dakar: Senegal", "schedule": lines}
        rest = size - len(json.dumps(body))
        large = rest > 10_000  # noqa: PLR2004 - no story is as long: a photo
        body |= {"image_encoded": "data:image/jpeg;base64," + "A" * rest} if large else {"description": "x" * rest}
        found.append(json.dumps(body).encode())
    return found


def positions(number: int, batch: int) -> list[bytes]:
    """Calls of so many positions each."""
    ids = [book.account(each) for each in range(1, number + 1)]
    parts = [ids[place : place + batch] for place in range(0, number, batch)]
    return [json.dumps({"repayments": [{"loan_id": one, "amount": 300.0} for one in part]}).encode() for part in parts]


def bare(sink: Served, url: str, bodies: Sequence[bytes], *, path: str = DRAFT) -> None:
    """One connection, kept."""
    with httpx.Client(base_url=url, headers=_HEADERS, verify=sink.trusting(), timeout=150) as kiva:
        for body in bodies:
            kiva.post(path, content=body).raise_for_status()


def four(sink: Served, url: str, bodies: Sequence[bytes]) -> None:
    """Four of them, at the same time."""
    parts = [bodies[place::_CONNECTIONS] for place in range(_CONNECTIONS)]
    threads = [threading.Thread(target=bare, args=(sink, url, part)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def durable(folder: Path, sink: Served, url: str, bodies: Sequence[bytes]) -> None:
    """One connection; before each request a FULL commit and a sync of a witness, after it another commit."""
    path = folder / "limit.db"
    outbox = sqlite3.connect(path, isolation_level=None)
    outbox.execute("PRAGMA journal_mode = WAL")
    outbox.execute("PRAGMA synchronous = FULL")
    outbox.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, state TEXT, body BLOB)")
    outbox.execute("CREATE TABLE attempt (id INTEGER PRIMARY KEY, entry INTEGER, began REAL, ended REAL, said TEXT)")
    outbox.executemany("INSERT INTO entry (state, body) VALUES ('ready', ?)", [[body] for body in bodies])
    witness = os.open(folder / "limit.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    with httpx.Client(base_url=url, headers=_HEADERS, verify=sink.trusting(), timeout=150) as kiva:
        for number, body in enumerate(bodies, 1):
            outbox.execute("BEGIN IMMEDIATE")
            outbox.execute("INSERT INTO attempt (id, entry, began) VALUES (?, ?, ?)", [number, number, time.time()])
            outbox.execute("UPDATE entry SET state = 'sending' WHERE id = ? AND state = 'ready'", [number])
            outbox.execute("COMMIT")
            os.write(witness, f"{number} loan_draft {number:09}\n".encode())
            os.fdatasync(witness)
            answer = kiva.post(DRAFT, content=body)
            outbox.execute("BEGIN IMMEDIATE")
            ended = [time.time(), answer.text, number]
            outbox.execute("UPDATE attempt SET ended = ?, said = ? WHERE id = ?", ended)
            outbox.execute("UPDATE entry SET state = 'delivered' WHERE id = ? AND state = 'sending'", [number])
            outbox.execute("COMMIT")
    os.close(witness)
    outbox.close()


class Alone:
    """The courier without the rest of a relay: an outbox in a file with drafts that are due, and a real client."""

    def __init__(self, folder: Path, sink: Served, url: str, bodies: Sequence[bytes]) -> None:
        self.outbox = outboxes.on_file(folder)
        clock = clocks.SystemClock()
        with self.outbox.begin() as tx:
            for number, body in enumerate(bodies, 1):
                owed = outboxes.owed(book.account(number), body.decode(), due_at=clock.now() - _TOO_OLD)
                store.owe(tx, owed, now=clock.now())
        at = f'client_id: abc\n  token_url: "{url}/oauth/token"\n  api_url: "{url}"\n  ca: "{sink.certificate}"'
        text = configuration.WRITTEN.replace("{env: KIVA_SECRET}", "'a secret'").replace("client_id: abc", at)
        own = f'outbox: {{url: "sqlite:///{folder}/outbox.db", witness: "{folder}/witness.log"}}\n'
        settings = loader.load(configuration.write(folder, own, text=text), environ={})
        with self.outbox.begin() as tx:
            binding.bind_destination(tx, settings)
        client, kiva = Client(settings.kiva, clock=clock, environ={}), settings.kiva
        lease: Any = _Lease()
        self.context = DeliveryContext(
            outbox=self.outbox,
            settings=settings,
            clock=clock,
            client=client,
            tokens=Tokens(client, kiva, clock=clock),
            destination=Destination(clock=clock, dice=random.Random(1)),
            lease=lease,
            witness=Witness(settings.outbox.witness, api_url=kiva.api_url, partner_id=kiva.partner_id),
            started=clock.monotonic(),
        )
        assert Refresher(self.context).look(), "the list is read whole"

    def deliver(self) -> None:
        """All that is due."""
        Courier(self.context, stop=threading.Event()).deliver()

    def close(self) -> None:
        """Close all of it."""
        self.context.client.close()
        self.context.witness.close()
        self.outbox.close()


class _Lease:
    fence = 1

    def still_held(self) -> None:
        """It is."""


def contenders(
    folder: Path, sink: Served, url: str, bodies: Sequence[bytes], *, alone: Alone
) -> dict[str, Callable[[], None]]:
    """All of them, by name: each sends all bodies once."""
    return {
        COURIER: alone.deliver,
        BARE: lambda: bare(sink, url, bodies),
        FOUR: lambda: four(sink, url, bodies),
        DURABLE: lambda: durable(folder, sink, url, bodies),
    }


def today() -> str:
    """The day of the run."""
    return f"{datetime.now(UTC):%Y-%m-%d}"
