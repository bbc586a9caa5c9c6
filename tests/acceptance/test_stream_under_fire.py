"""Tellers who overlap, roll back and commit late, while the stream breaks in every way: what the MIS says is captured."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import psycopg
import pytest
import sqlalchemy as sa

from kiva_relay.outbox import table
from kiva_relay.service import relay
from testbed.rig.patience import eventually
from testbed.rig.streamed import Streamed

LOANS = 30
SECONDS = 25.0
Books = dict[str, tuple[str, list[Decimal]]]


class Teller:
    """Works until told to stop, each act a transaction of its own kind."""

    def __init__(self, url: str, seed: int) -> None:
        self._url, self._dice = url, random.Random(seed)
        self.done = 0

    def work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True) as connection:
                    while not stop.wait(self._dice.random() * 0.06):
                        self._act(connection, stop)
            except psycopg.Error:  # the server went away in the middle: nothing of that act was committed, or all
                stop.wait(0.2)

    def _act(self, connection: psycopg.Connection[Any], stop: threading.Event) -> None:
        late = self._dice.random() < 0.05
        with connection.transaction(force_rollback=self._dice.random() < 0.05):
            for _ in range(self._dice.choice([1, 1, 2])):
                with connection.transaction(force_rollback=self._dice.random() < 0.05):
                    self._change(connection)
            if late:
                stop.wait(self._dice.random() * 2)
        self.done += 1

    def _change(self, connection: psycopg.Connection[Any]) -> None:
        dice, loan = self._dice, self._dice.randint(1, LOANS)
        kind = dice.choice(["name", "name", "add", "drop", "move", "regenerate", "delete"])
        if kind == "name":
            connection.execute("UPDATE loan SET first_name = %s WHERE id = %s", [f"Awa {dice.random()}", loan])
        elif kind == "add":
            _instalment(connection, loan, dice.randint(1, 500))
        elif kind == "drop":
            extra = "SELECT id FROM instalment WHERE loan_id = %s AND principal = 0 ORDER BY id LIMIT 1"
            connection.execute(f"DELETE FROM instalment WHERE id IN ({extra})", [loan])
        elif kind == "move":
            extra = "SELECT id FROM instalment WHERE loan_id = %s AND principal = 0 ORDER BY id LIMIT 1"
            connection.execute(
                f"UPDATE instalment SET loan_id = %s WHERE id IN ({extra})", [dice.randint(1, LOANS), loan]
            )
        elif kind == "regenerate":
            connection.execute("DELETE FROM instalment WHERE loan_id = %s", [loan])
            connection.execute(
                "INSERT INTO instalment (loan_id, due, principal) VALUES (%s, date '2030-01-25', 100)", [loan]
            )
            _instalment(connection, loan, dice.randint(1, 500))
        elif dice.random() < 0.1:
            connection.execute("DELETE FROM loan WHERE id = %s", [min(loan, LOANS - 5)])


def _instalment(connection: psycopg.Connection[Any], loan: int, number: int) -> None:
    connection.execute(
        "INSERT INTO instalment (loan_id, due, principal, interest) VALUES (%s, date '2031-01-01' + %s, 0, %s)",
        [loan, number, number],
    )


def in_the_mis(mis: Streamed) -> Books:
    """What each loan says."""
    rows = mis.sql(
        "SELECT account, first_name, array(SELECT interest FROM instalment i WHERE i.loan_id = l.id) FROM loan l"
    )
    return {account: (name, sorted(interest)) for account, name, interest in rows}


def in_the_outbox(daemon: relay.Relay) -> Books:
    """What the newest version of each draft says."""
    columns = table.entry.c
    query = sa.select(columns.identity, columns.state, columns.body).where(columns.resource == "loan_draft")
    found: Books = {}
    with daemon.outbox.read() as tx:
        for identity, state, text in tx.execute(query.order_by(columns.id)):
            body = orjson.loads(text) if text else {"entreps": [{"first_name": "?"}], "schedule": []}
            interest = sorted(Decimal(one["interest"]) for one in body["schedule"])
            found[identity] = (body["entreps"][0]["first_name"], interest)
            if state == "withdrawn":
                del found[identity]
    return found


def broken_connection(mis: Streamed) -> None:
    mis.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")


def broken_sessions(mis: Streamed) -> None:
    mis.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'kiva-relay%%'")


def killed_server(mis: Streamed) -> None:
    mis.server.kill()
    mis.server.start()
    mis.reconnect()


def lost_slot(mis: Streamed) -> None:
    def dropped() -> bool:
        try:
            mis.drop_slot()
        except psycopg.Error:
            return False
        return True

    eventually(dropped)
    time.sleep(1.5)
    mis.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", mis.name)


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.night)])
def test_nothing_is_missed_however_the_stream_ends(streamed_mis: Streamed, seed: int) -> None:
    mis = streamed_mis
    mis.sql("INSERT INTO loan (id, account, client, amount) SELECT n, 'L' || n, 'C' || n, 100"
            f" FROM generate_series(4, {LOANS}) n")  # fmt: skip
    mis.sql("INSERT INTO instalment (loan_id, due, principal) SELECT n, date '2030-01-25', 100"
            f" FROM generate_series(4, {LOANS}) n")  # fmt: skip
    mis.set_up()
    mishaps: list[Callable[[Streamed], None]] = [broken_connection, killed_server, lost_slot, broken_sessions]
    random.Random(seed).shuffle(mishaps)
    stop = threading.Event()
    tellers = [Teller(mis.url, seed * 10 + number) for number in range(4)]
    threads = [threading.Thread(target=one.work, args=(stop,)) for one in tellers]
    with mis.daemon() as daemon:
        eventually(lambda: set(daemon.capture_loop.health.modes.values()) == {"replication"})
        for thread in threads:
            thread.start()
        for mishap in mishaps:
            time.sleep(SECONDS / (len(mishaps) + 1))
            mishap(mis)
            eventually(lambda: set(daemon.capture_loop.health.modes.values()) == {"replication"}, within=60)
        time.sleep(SECONDS / (len(mishaps) + 1))
        stop.set()
        for thread in threads:
            thread.join()
        assert sum(one.done for one in tellers) > 200
        eventually(lambda: in_the_outbox(daemon) == in_the_mis(mis), within=60)
