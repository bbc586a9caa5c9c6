"""A small MIS for the tests of capture: loans, their clients, gender names, instalments and notes."""

from __future__ import annotations

from datetime import timedelta

import psycopg

from kiva_relay.clock import SystemClock
from kiva_relay.source.mis import Mis
from kiva_relay.source.stream import Relation, Stream
from testbed.rig import patience

TABLES = """
CREATE TABLE gender (id int PRIMARY KEY, name text);
CREATE TABLE client (id bigint PRIMARY KEY, name text, gender_id int, changed timestamptz NOT NULL DEFAULT now());
CREATE TABLE loan (id bigint PRIMARY KEY, account text, client_id bigint, status int NOT NULL DEFAULT 200,
                   amount numeric(12, 2), changed timestamptz NOT NULL DEFAULT now());
CREATE TABLE instalment (loan_id bigint, number int, due date, principal numeric(12, 2),
                         changed timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON instalment (loan_id);
INSERT INTO gender VALUES (1, 'Female'), (2, 'Male');
"""
INDEXES = """
CREATE INDEX ON client (changed);
CREATE INDEX ON loan (changed);
CREATE INDEX ON instalment (changed);
"""

CLIENT = Relation(name="client", table="client", match={"id": "client_id"}, changed_at=("changed",), optional=True)
GENDER = Relation(name="gender", table="gender", match={"id": "client.gender_id"}, optional=True)
SCHEDULE = Relation(
    name="schedule",
    table="instalment",
    match={"loan_id": "id"},
    many=True,
    order_by="number",
    changed_at=("changed",),
)
LOANS = Stream(
    name="loans",
    resource="loan_draft",
    table="loan",
    key=("id",),
    changed_at=("changed",),
    where="status IN (200, 300)",
    relations=(CLIENT, GENDER, SCHEDULE),
)


def connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    """A teller's connection: every statement is a transaction of its own, unless it opens one."""
    return psycopg.connect(url, autocommit=True)


def create(url: str, *, indexed: bool = False, loans: int = 3) -> None:
    """The tables, and loans 1, 2, … of clients 1, 2, …."""
    with connect(url) as teller:
        teller.execute(TABLES + (INDEXES if indexed else ""))
        teller.execute("INSERT INTO client SELECT n, 'Client ' || n, 1 + n %% 2 FROM generate_series(1, %s) n", [loans])
        teller.execute(
            "INSERT INTO loan SELECT n, lpad(n::text, 9, '0'), n, 200, 100 * n FROM generate_series(1, %s) n", [loans]
        )
        teller.execute(
            "INSERT INTO instalment SELECT n, i, date '2026-12-01' + i, 50"
            " FROM generate_series(1, %s) n, generate_series(1, 2) i",
            [loans],
        )


def open_mis(
    url: str,
    *,
    watch: str = "auto",
    password: str | None = None,
    timezone: str = "Africa/Dakar",
    seconds: float | None = None,
) -> Mis:
    """The MIS as the relay opens it; close it."""
    return Mis(
        url,
        password=password,
        timezone=timezone,
        statement_timeout=timedelta(seconds=seconds or patience.seconds(30)),
        watch=watch,
        clock=SystemClock(),
    )


class Poller:
    """What capture does, without an outbox: keeps the watermarks, and calls a cycle processed."""

    def __init__(self, mis: Mis, *streams: Stream) -> None:
        self.mis = mis
        self.streams = streams
        self.watermarks: dict[str, str | None] = {stream.name: None for stream in streams}
        self.poll()

    def poll(self) -> dict[str, list[str]]:
        """One cycle; its keys by stream."""
        cycle = self.mis.changes(self.streams, self.watermarks)
        self.watermarks.update(cycle.next)
        self.mis.processed(cycle)
        return {name: sorted(keys) for name, keys in cycle.keys.items()}
