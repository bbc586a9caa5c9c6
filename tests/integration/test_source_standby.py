"""A server that repeats another one's work: its sessions say nothing about who is still at work there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from kiva_relay.source import slot
from kiva_relay.source.position import OVERLAP
from kiva_relay.source.stream import Stream
from testbed.database import mariadb_own, postgres
from testbed.rig import small_mis, streamed
from testbed.rig.patience import eventually
from testbed.rig.small_mis import LOANS, Poller

pytestmark = pytest.mark.long

TODAY = date(2026, 11, 30)


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[postgres.PostgresServer]:
    with postgres.start(tmp_path / "primary", settings={"wal_level": "logical"}) as server:
        yield server


def copied(primary: postgres.PostgresServer, folder: Path, **settings: str) -> postgres.PostgresServer:
    """Another PostgreSQL that begins as a copy of the first one, and follows it once it is started."""
    second = postgres.PostgresServer(folder, settings={"hot_standby": "on", **settings})
    data = second.make_room()
    second.run("pg_basebackup", "-R", "-c", "fast", "-X", "stream", "-D", str(data), "-d", primary.url())
    second.password = primary.password
    return second


@pytest.fixture
def standby(primary: postgres.PostgresServer, tmp_path: Path) -> Iterator[postgres.PostgresServer]:
    """Another PostgreSQL, which follows the first one."""
    second = copied(primary, tmp_path / "standby")
    try:
        second.start()
        yield second
    finally:
        second.close()


def test_a_standby_of_postgresql_is_polled_and_the_primary_is_asked_for(
    primary: postgres.PostgresServer, standby: postgres.PostgresServer
) -> None:
    url = primary.create_database("mis")
    small_mis.create(url, indexed=True)
    there = url.replace(str(primary.port), str(standby.port))

    def has(answer: object, asked: str) -> None:
        def same() -> bool:
            try:
                with small_mis.connect(there) as reader:
                    return reader.execute(asked).fetchall() == [(answer,)]
            except psycopg.Error:  # it has not come that far
                return False

        eventually(same)

    has(3, "SELECT count(*) FROM loan")
    with closing(small_mis.open_mis(there)) as mis, small_mis.connect(url) as teller:
        horizon = mis.horizon()
        assert "is a standby" in horizon.blind
        assert horizon.remedy == "Let mis.url name the primary."
        assert horizon.age == OVERLAP
        assert mis.changes([LOANS], {"loans": None}).mode == {"loans": "xmin"}
        poller = Poller(mis, LOANS)
        # Open on the primary when the standby is asked, and committed after somebody else's: it must not be passed.
        with small_mis.connect(url) as late, late.transaction():
            late.execute("UPDATE loan SET amount = 11 WHERE id = 1")
            teller.execute("UPDATE loan SET amount = 22 WHERE id = 2")
            has(22, "SELECT CAST(amount AS int) FROM loan WHERE id = 2")
            assert poller.poll() == {"loans": ["2"]}
        has(11, "SELECT CAST(amount AS int) FROM loan WHERE id = 1")
        assert poller.poll() == {"loans": ["1"]}
        assert slot.lacks(mis.slot("x", [LOANS])) == "this server is a standby; its primary has the stream"
        teller.execute("TRUNCATE instalment")
        teller.execute("INSERT INTO instalment VALUES (1, 1, date '2026-12-01', 99)")
        has(99, "SELECT CAST(principal AS int) FROM instalment")
        (content,) = mis.read(LOANS, ["1"], cutoff=TODAY)
        assert isinstance(content.related["schedule"], list)
        assert [row["principal"] for row in content.related["schedule"]] == [99]


def test_a_standby_that_took_over_without_the_last_changes_is_compared_with_what_was_read(
    primary: postgres.PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives the transaction ids again that the watermark has passed: no poll shows what has them."""
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    mis = streamed.create(tmp_path, primary, "mis")
    second = copied(primary, tmp_path / "second", primary_conninfo="")
    with mis.capture() as relay:
        for _ in range(3):
            relay.capture.cycle()
        for number in range(20):
            mis.sql("UPDATE loan SET first_name = %s WHERE id = 1", f"Lost {number}")
        relay.capture.cycle()
        assert relay.name("L1") == "Lost 19"
        mis.teller.close()
        primary.stop()
        second.port = primary.port
        try:
            second.start()
            with psycopg.connect(mis.url, autocommit=True) as teller:
                teller.execute("SELECT pg_promote()")
                teller.execute("CHECKPOINT")
                teller.execute("UPDATE loan SET first_name = 'Zoe' WHERE id = 2")
                for _ in range(100):
                    teller.execute("SELECT pg_current_xact_id()")
            eventually(lambda: relay.followed_again() or relay.name("L2") == "Zoe")
            assert (relay.name("L1"), relay.name("L2")) == ("Awa", "Zoe")
        finally:
            second.close()


@pytest.mark.skipif(not mariadb_own.found(), reason="this machine has no binaries of MariaDB")
def test_a_replica_of_mariadb_overlaps_and_the_primary_is_asked_for(tmp_path: Path) -> None:
    with (
        mariadb_own.start(tmp_path / "first", "--log-bin", "--server-id=1", "--performance-schema=ON") as first,
        mariadb_own.start(tmp_path / "second", "--server-id=2") as second,
        closing(first.connect(autocommit=True)) as teller,
        closing(second.connect(autocommit=True)) as repeater,
    ):
        with teller.cursor() as told, repeater.cursor() as repeats:
            repeats.execute(
                "CHANGE MASTER TO master_host = '127.0.0.1', master_port = %s, master_user = 'root',"
                " master_use_gtid = slave_pos",
                [first.port],
            )
            repeats.execute("START SLAVE")
            told.execute("CREATE DATABASE mis")
            told.execute("USE mis")
            told.execute("CREATE TABLE loan (id int PRIMARY KEY, changed timestamp(6), KEY (changed))")
            told.execute("INSERT INTO loan SELECT seq, now(6) FROM seq_1_to_6000")
            eventually(
                lambda: repeats.execute("SHOW DATABASES LIKE 'mis'") and repeats.execute("SELECT 1 FROM mis.loan")
            )
            repeats.execute("USE mis")
            repeats.execute("ANALYZE TABLE loan")
        loans = Stream(name="loans", resource="loan_draft", table="loan", key=("id",), changed_at=("changed",))
        with closing(small_mis.open_mis(second.url("mis"))) as mis:
            horizon = mis.horizon()
            assert horizon.blind == "this is a replica, whose rows were stamped elsewhere"
            assert horizon.remedy == "Let mis.url lead to the primary."
            cycle = mis.changes([loans], {"loans": None})
            assert cycle.mode == {"loans": "overlap"}
            assert "replica" in cycle.reasons["loans"]
        with closing(small_mis.open_mis(first.url("mis"))) as mis:
            assert mis.horizon().blind == ""
            asked = "SELECT attr_value, attr_name FROM performance_schema.session_connect_attrs"
            assert ("kiva-relay", "program_name") in mis.choices(asked)


@pytest.mark.skipif(not mariadb_own.found(), reason="this machine has no binaries of MariaDB")
def test_the_abbreviation_of_a_machines_zone_is_no_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tunis calls its time CET and never changes its clocks; the zone of that name does."""
    monkeypatch.setenv("TZ", "Africa/Tunis")
    with mariadb_own.start(tmp_path / "tunis") as server:
        with closing(server.connect(autocommit=True)) as teller, teller.cursor() as told:
            told.execute("CREATE DATABASE mis")
        with closing(small_mis.open_mis(server.url("mis"))) as mis:
            zone = mis._snapshots.once(mis.dialect.zone)
        summer = datetime(2027, 7, 1, 12, tzinfo=UTC)
        assert summer.astimezone(zone).utcoffset() == timedelta(hours=1)
