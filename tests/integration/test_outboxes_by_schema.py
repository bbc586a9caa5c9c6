"""Several partners' outboxes in one PostgreSQL database, a schema each: none sees or waits for another."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from kiva_relay import errors
from kiva_relay.outbox import migration, server_copy, store
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.lease import Lease
from testbed.database import postgres
from testbed.rig import outboxes, scripted_kiva
from testbed.rig.patience import joined

TOOLS = postgres.binaries()


def of_partner(database: str, partner: str) -> Outbox:
    return Outbox(f"{database}?options=-csearch_path={partner}")


@pytest.fixture
def pair(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Outbox, Outbox]]:
    monkeypatch.setattr("signal.setitimer", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with psycopg.connect(postgres_database, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA north")
        admin.execute("CREATE SCHEMA south")
    north, south = of_partner(postgres_database, "north"), of_partner(postgres_database, "south")
    for one in (north, south):
        migration.upgrade(one)
    yield north, south
    north.close()
    south.close()


def owe(outbox: Outbox, identity: str) -> None:
    with outbox.begin() as tx:
        store.owe(tx, outboxes.owed(identity), now=scripted_kiva.clock().now())


def identities(outbox: Outbox) -> list[str]:
    with outbox.read() as tx:
        return [row[0] for row in tx.exec_driver_sql("SELECT identity FROM entry")]


def test_each_has_its_own_tables_and_nothing_is_made_elsewhere(
    pair: tuple[Outbox, Outbox], postgres_database: str
) -> None:
    north, south = pair
    owe(north, "000000871")
    assert (identities(north), identities(south)) == (["000000871"], [])
    migration.check(south)
    with psycopg.connect(postgres_database) as admin:
        places = admin.execute("SELECT schemaname, count(*) FROM pg_tables WHERE tablename = 'entry' GROUP BY 1")
        assert sorted(places) == [("north", 1), ("south", 1)]


def test_each_has_its_own_lease(pair: tuple[Outbox, Outbox]) -> None:
    clock = scripted_kiva.clock()
    first, second = (Lease(one, clock=clock) for one in pair)
    first.acquire()
    second.acquire()
    first.renew()
    with pytest.raises(errors.Stolen):
        Lease(pair[0], clock=clock).acquire()


def test_nobody_waits_for_who_writes_in_another_schema(pair: tuple[Outbox, Outbox]) -> None:
    north, south = pair
    with north.begin():
        writes = threading.Thread(target=owe, args=(south, "000000871"), daemon=True)
        writes.start()
        joined(writes)
        waits = threading.Thread(target=owe, args=(north, "000000872"), daemon=True)
        waits.start()
        waits.join(0.5)
        assert waits.is_alive(), "one writer at a time in the same"
    joined(waits)
    assert (identities(north), identities(south)) == (["000000872"], ["000000871"])


def test_a_schema_that_is_missing_is_said_with_what_makes_it(postgres_database: str) -> None:
    outbox = of_partner(postgres_database, "norht")
    with pytest.raises(errors.UsageError, match="has no schema norht") as caught:
        migration.upgrade(outbox)
    outbox.close()
    assert "CREATE SCHEMA norht AUTHORIZATION postgres;" in str(caught.value.hint)


def test_a_copy_has_one_partner_alone(
    pair: tuple[Outbox, Outbox],
    postgres_server: postgres.PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join((str(TOOLS), "/usr/bin", "/bin")))
    for one, loan in zip(pair, ("000000871", "000000872"), strict=True):
        owe(one, loan)
    copy = tmp_path / "north.dump"
    server_copy.make(pair[0], None, copy)
    with postgres_server.database("north_alone") as back:
        command = [one.replace("=…", f"={back}") for one in server_copy.restoring(copy)]
        subprocess.run(command, check=True, capture_output=True)
        restored, absent = of_partner(back, "north"), of_partner(back, "south")
        assert identities(restored) == ["000000871"]
        with pytest.raises(errors.UsageError, match="no schema south"):
            migration.check(absent)
        restored.close()
        absent.close()
