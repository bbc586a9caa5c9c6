"""Capture on a real MariaDB: its clocks, its types, its tables without snapshots."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pymysql.cursors import Cursor
from pymysql.err import ProgrammingError

from kiva_relay import errors
from kiva_relay.source import began, dialect_mariadb, reader
from kiva_relay.source.stream import Relation, Stream
from testbed.database import mariadb_found
from testbed.rig import patience, small_mis
from testbed.rig.small_mis import Poller

TODAY = date(2026, 11, 30)

pytestmark = pytest.mark.skipif(mariadb_found.server() is None, reason="this machine has no MariaDB")

TABLES = """
CREATE TABLE client (id bigint PRIMARY KEY, name varchar(60) CHARACTER SET latin1, changed datetime(6));
CREATE TABLE loan (id bigint PRIMARY KEY, client_id bigint, status int, amount decimal(12, 2), changed datetime(6),
                   created datetime, KEY (changed));
CREATE TABLE instalment (loan_id bigint, number int, principal decimal(12, 2), changed datetime(6), KEY (loan_id));
INSERT INTO client VALUES (1, 'Awa Thiès', UTC_TIMESTAMP(6)), (2, 'Ousmane', UTC_TIMESTAMP(6));
INSERT INTO loan VALUES (1, 1, 200, 100, UTC_TIMESTAMP(6), UTC_TIMESTAMP()), (2, 2, 200, 200, UTC_TIMESTAMP(6), NULL);
INSERT INTO instalment VALUES (1, 1, 50, UTC_TIMESTAMP(6)), (1, 2, 50, UTC_TIMESTAMP(6))
"""
NOW = "UTC_TIMESTAMP(6)"
LOANS = Stream(
    name="loans",
    resource="loan_draft",
    table="loan",
    key=("id",),
    changed_at=("changed",),
    changed_at_zone="utc",
    where="status = 200",
    relations=(
        Relation(name="client", table="client", match={"id": "client_id"}, changed_at=("changed",), optional=True),
        Relation(
            name="schedule",
            table="instalment",
            match={"loan_id": "id"},
            many=True,
            order_by="number",
            changed_at=("changed",),
        ),
    ),
)


@pytest.fixture
def server() -> mariadb_found.Server:
    found = mariadb_found.server()
    assert found is not None
    return found


@pytest.fixture
def database(server: mariadb_found.Server) -> Iterator[str]:
    with server.database() as name, closing(server.connect(name)) as cx, cx.cursor() as cursor:
        for sql in TABLES.split(";"):
            cursor.execute(sql)
        yield name


@pytest.fixture
def teller(server: mariadb_found.Server, database: str) -> Iterator[Cursor]:
    with closing(server.connect(database)) as cx, cx.cursor() as cursor:
        yield cursor


@pytest.fixture
def url(server: mariadb_found.Server, database: str) -> str:
    return server.mis_url(database)


def rows(cursor: Cursor, sql: str) -> list[Any]:
    cursor.execute(sql)
    return [*cursor.fetchall()]


def test_auto_reads_small_tables_as_a_whole_and_large_ones_by_stamp(
    url: str, teller: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(small_mis.open_mis(url)) as mis:
        assert mis.server().startswith(("MariaDB 1", "MySQL 8", "MySQL 9"))
        assert mis.changes([LOANS], {"loans": None}).mode == {"loans": "compare"}
    monkeypatch.setattr(dialect_mariadb, "_SMALL", -1)
    with closing(small_mis.open_mis(url)) as mis:
        assert mis.changes([LOANS], {"loans": None}).mode == {"loans": "horizon"}
        bare = replace(LOANS, changed_at=(), relations=())
        cycle = mis.changes([bare], {"loans": None})
        assert (cycle.mode, "wait for the sweep" in cycle.reasons["loans"]) == ({"loans": "sweep"}, True)


def test_a_late_commit_is_found_where_a_naive_poller_loses_it(
    server: mariadb_found.Server, database: str, url: str, teller: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect_mariadb, "CLOCK_TOLERANCE", timedelta(0))
    with closing(small_mis.open_mis(url, watch="horizon")) as mis, closing(server.connect(database)) as other:
        poller = Poller(mis, LOANS)
        poller.poll()
        late = other.cursor()
        late.execute("BEGIN")
        late.execute(f"UPDATE loan SET amount = 1, changed = {NOW} - INTERVAL 30 SECOND WHERE id = 1")
        session = other.thread_id()  # type: ignore[no-untyped-call] # as the driver has it
        naive = rows(teller, f"SELECT {NOW}")[0][0]
        deadline = patience.Deadline()
        while True:  # until the open transaction is what keeps the horizon back
            cycle = mis.changes([LOANS], poller.watermarks)
            # (Other tests may be at work on this server.)
            if cycle.horizon_age > timedelta(seconds=2) and cycle.pinned_by == f"session {session} of root":
                break
            assert not deadline.over
            teller.execute("SELECT SLEEP(0.2)")
        teller.execute(f"UPDATE loan SET changed = {NOW} WHERE id = 2")
        assert "2" in poller.poll()["loans"]
        late.execute(f"UPDATE loan SET changed = '{naive}' WHERE id = 1")
        late.execute("COMMIT")
        assert poller.poll()["loans"] == ["1"]
        newest = rows(teller, "SELECT changed FROM loan WHERE id = 2")[0][0]
        assert rows(teller, f"SELECT id FROM loan WHERE changed > '{newest}'") == []


@pytest.mark.long
def test_a_row_whose_statement_waited_for_its_table_is_found(
    server: mariadb_found.Server, database: str, url: str, teller: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InnoDB lets its transaction begin behind the wait, and the row has the time of before it."""
    monkeypatch.setattr(dialect_mariadb, "CLOCK_TOLERANCE", timedelta(0))
    monkeypatch.setattr(began, "_WAITED", timedelta(0))
    with (
        closing(small_mis.open_mis(url, watch="horizon")) as mis,
        closing(server.connect(database)) as locker,
        closing(server.connect(database)) as other,
    ):
        poller = Poller(mis, LOANS)
        poller.poll()
        locker.cursor().execute("LOCK TABLES loan READ")

        def work() -> None:
            with other.cursor() as late:
                late.execute("BEGIN")
                late.execute(f"UPDATE loan SET amount = 1, changed = {NOW} WHERE id = 1")

        working = threading.Thread(target=work)
        working.start()
        for _ in range(15):
            teller.execute("SELECT SLEEP(0.3)")
            poller.poll()
        locker.cursor().execute("UNLOCK TABLES")
        working.join()
        for _ in range(10):
            teller.execute("SELECT SLEEP(0.3)")
            poller.poll()
        other.commit()
        stamp = rows(teller, "SELECT changed FROM loan WHERE id = 1")[0][0]
        now = rows(teller, f"SELECT {NOW}")[0][0]
        assert now - stamp > timedelta(seconds=6)
        assert poller.poll() == {"loans": ["1"]}


def test_a_role_without_any_right_is_told_its_grants(
    server: mariadb_found.Server, database: str, teller: Cursor
) -> None:
    role = f"kn_{database[-12:]}"
    who = f"'{role}'@'{server.url.host}'"
    teller.execute(f"CREATE USER {who} IDENTIFIED BY 's@cret'")
    plain = server.url.set(drivername="mariadb", username=role, password=None, database=database)
    try:
        with closing(small_mis.open_mis(str(plain), password="s@cret")) as mis:
            with pytest.raises(errors.RelayError, match=role) as caught:
                mis.server()
            assert caught.value.hint == "kiva-relay check --grants"
            granted = mis.grants(["client", "loan"])
            assert granted.read == (
                f"GRANT SELECT ON `{database}`.`client` TO {who};",
                f"GRANT SELECT ON `{database}`.`loan` TO {who};",
            )
            assert granted.see == f"GRANT PROCESS ON *.* TO {who};"
            teller.execute(granted.read[0])
            assert mis.unreadable({"client": True, "loan": False}) == ["loan"]
            teller.execute(granted.read[1])
            assert mis.unreadable({"client": True, "loan": True}) == []
            assert mis.can_write() == []
    finally:
        teller.execute(f"DROP USER {who}")


def test_without_the_grant_it_overlaps_and_says_which_grant(
    server: mariadb_found.Server, database: str, url: str, teller: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect_mariadb, "_SMALL", -1)
    role = f"kr_{database[-12:]}"
    teller.execute(f"CREATE USER {role}@'{server.url.host}' IDENTIFIED BY 's@cret'")
    try:
        teller.execute(f"GRANT SELECT ON {database}.* TO {role}@'{server.url.host}'")
        plain = server.url.set(drivername="mariadb", username=role, password=None, database=database)
        with closing(small_mis.open_mis(str(plain), password="s@cret")) as mis:
            cycle = mis.changes([LOANS], {"loans": None})
            assert cycle.mode == {"loans": "overlap"}
            assert role in cycle.reasons["loans"]
            assert mis.horizon().remedy == f"GRANT PROCESS ON *.* TO '{role}'@'{server.url.host}';"
            assert mis.can_write() == []
            teller.execute(f"GRANT UPDATE ON {database}.loan TO {role}@'{server.url.host}'")
            assert mis.can_write() == ["loan"]
            teller.execute(f"GRANT INSERT (id) ON {database}.client TO {role}@'{server.url.host}'")
            assert mis.can_write() == ["client", "loan"]
            teller.execute(f"GRANT DELETE ON {database}.* TO {role}@'{server.url.host}'")
            assert len(mis.can_write()) > 2
        teller.execute(f"GRANT PROCESS ON *.* TO {role}@'{server.url.host}'")
        with closing(small_mis.open_mis(str(plain), password="s@cret")) as mis:
            assert mis.changes([LOANS], {"loans": None}).mode == {"loans": "horizon"}
        with (
            closing(small_mis.open_mis(str(plain), password="wrong")) as mis,
            pytest.raises(errors.Unreachable, match=role) as caught,
        ):
            mis.server()
        assert "s@cret" not in str(caught.value)
    finally:
        teller.execute(f"DROP USER {role}@'{server.url.host}'")


def test_values_of_the_types_that_only_mariadb_has(url: str, teller: Cursor) -> None:
    teller.execute("SET sql_mode = ''")
    teller.execute(
        "CREATE TABLE odd (id bigint PRIMARY KEY, single float, fixed float(12, 2), wide double, yes tinyint(1),"
        " level tinyint(1), bit_ bit(1), bits bit(4), day date, at datetime, stamp timestamp NULL, raw varbinary(4),"
        " latin varchar(20) CHARACTER SET latin1, span time, year_ year, doc json, part date)"
    )
    teller.execute(
        "INSERT INTO odd VALUES (-7, 1234567.89, 1234567.89, 0.1, 1, 3, 1, 5, '0000-00-00', '0000-00-00',"
        " '2026-11-24 00:06:13', 'ab', 'Thiès', '26:00:01', 2026, '{\"a\": 1}', '2026-02-00')"
    )
    odd = Stream(name="odd", resource="journal", table="odd", key=("id",))
    with closing(small_mis.open_mis(url, timezone="Asia/Kolkata")) as mis:
        (content,) = mis.read(odd, ["-7"], cutoff=TODAY)
        kinds = mis.columns("odd")
    assert kinds["doc"] == "text"
    # 1234567.9 is the shortest text of what a float keeps of 1234567.89; the server would write 1234570.
    assert content.root == {
        "id": -7,
        "single": Decimal("1234567.9"),
        "fixed": Decimal("1234567.88"),
        "wide": Decimal("0.1"),
        "yes": True,
        "level": 3,
        "bit_": True,
        "bits": 5,
        "day": None,
        "at": None,
        "stamp": datetime(2026, 11, 24, 0, 6, 13, tzinfo=UTC),
        "raw": b"ab",
        "latin": "Thiès",
        "span": "26:00:01",
        "year_": 2026,
        "doc": '{"a": 1}',
        "part": "2026-02-00",
    }
    assert content.root["yes"] is True
    assert (kinds["yes"], kinds["latin"], kinds["raw"], kinds["single"]) == ("boolean", "text", "bytes", "number")


def test_a_table_that_is_truncated_under_the_snapshot_is_read_again(
    url: str, teller: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = reader.read
    cut: list[object] = []

    def interrupted(page: reader.RowPage, keys: list[str]) -> list[reader.Content]:
        if not cut:
            cut.append(True)
            teller.execute("TRUNCATE instalment")
            teller.execute(f"INSERT INTO instalment VALUES (1, 1, 99, {NOW})")
        return read(page, keys)

    monkeypatch.setattr(reader, "read", interrupted)
    with closing(small_mis.open_mis(url)) as mis:
        (content,) = mis.read(LOANS, ["1"], cutoff=TODAY)
    assert isinstance(content.related["schedule"], list)
    assert [row["principal"] for row in content.related["schedule"]] == [99]


def test_a_table_without_snapshots_is_said_and_read_twice(
    url: str, teller: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    teller.execute("ALTER TABLE instalment ENGINE = MyISAM")
    read, readings = reader.read, []

    def interrupted(page: reader.RowPage, keys: list[str]) -> list[reader.Content]:
        contents = read(page, keys)
        readings.append(contents)
        if len(readings) == 1:  # schedules are regenerated: deleted, inserted again
            teller.execute("UPDATE instalment SET principal = 70 WHERE number = 2")
        return contents

    monkeypatch.setattr(reader, "read", interrupted)
    with closing(small_mis.open_mis(url)) as mis:
        assert "instalment: an engine without snapshots" in mis.changes([LOANS], {"loans": None}).reasons["loans"]
        (content,) = mis.read(LOANS, ["1"], cutoff=TODAY)
    assert isinstance(content.related["schedule"], list)
    assert [row["principal"] for row in content.related["schedule"]] == [50, 70]
    assert len(readings) == 3


def test_stamps_in_the_columns_own_zone_and_zero_dates(
    url: str, teller: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect_mariadb, "CLOCK_TOLERANCE", timedelta(0))
    teller.execute("SET sql_mode = ''")
    local = f"CONVERT_TZ({NOW}, '+00:00', '+05:30')"
    kolkata = replace(
        LOANS, changed_at=("changed", "created"), changed_at_zone="Asia/Kolkata", relations=(), where="status > 0"
    )
    teller.execute("UPDATE loan SET changed = '2020-01-01'")
    with closing(small_mis.open_mis(url, watch="horizon")) as mis:
        poller = Poller(mis, kolkata)
        poller.poll()
        teller.execute(f"UPDATE loan SET changed = {local} WHERE id = 1")
        assert poller.poll() == {"loans": ["1"]}
        teller.execute(f"UPDATE loan SET changed = '0000-00-00', created = {local} WHERE id = 2")
        assert "2" in poller.poll()["loans"]
        (content,) = mis.read(kolkata, ["1"], cutoff=TODAY)
        assert content.root is not None
        changed = content.root["changed"]
        assert isinstance(changed, datetime)
        assert abs(datetime.now(UTC) - changed) < timedelta(minutes=1)
        # In the wrong zone the horizon lies hours ahead of every stamp, and nothing would ever be seen.
        wrong = replace(kolkata, changed_at_zone="Pacific/Kiritimati")
        poller = Poller(mis, wrong)
        teller.execute(f"UPDATE loan SET changed = {local} WHERE id = 1")
        assert poller.poll() == {"loans": []}


def test_many_keys_are_read_with_one_query_a_relation(url: str, teller: Cursor) -> None:
    numbers = "WITH RECURSIVE s AS (SELECT 1 AS seq UNION ALL SELECT seq + 1 FROM s WHERE seq < 999)"
    numbers += " SELECT a.seq * 4 + b.seq AS seq FROM s a, s b WHERE b.seq < 5"
    teller.execute(
        "INSERT INTO loan (id, client_id, status, amount, changed)"
        f" SELECT seq + 10, 1, 200, 1, {NOW} FROM ({numbers}) numbers"
    )
    teller.execute("CREATE TABLE pair (a varchar(10), b bigint, PRIMARY KEY (a, b))")
    teller.execute(f"INSERT INTO pair SELECT CONCAT('x/', seq % 3), seq FROM ({numbers}) numbers WHERE seq <= 3004")
    pairs = Stream(name="pairs", resource="journal", table="pair", key=("a", "b"))
    with closing(small_mis.open_mis(url)) as mis:
        keys: list[str] = []
        while page := mis.scan(pairs, after=keys[-1] if keys else None, limit=700):
            keys += page
        assert len(set(keys)) == len(keys) == 3000
        assert [content.key for content in mis.read(pairs, keys, cutoff=TODAY)] == keys
        keys = mis.scan(LOANS, after=None, limit=5000)
        assert all(content.related["client"] for content in mis.read(LOANS, keys, cutoff=TODAY))


def test_the_session_is_bounded_read_only_in_utc_and_leaves_nothing_open(
    url: str, server: mariadb_found.Server, teller: Cursor
) -> None:
    with closing(small_mis.open_mis(url, seconds=0.3)) as mis:
        # MariaDB called it tx_isolation until 11.1, MySQL until 8.0.
        names = {row[0] for row in rows(teller, "SHOW VARIABLES LIKE 't%_isolation'")}
        isolation = "transaction_isolation" if "transaction_isolation" in names else "tx_isolation"
        assert mis.choices(f"SELECT @@time_zone, @@session.{isolation}") == [("+00:00", "REPEATABLE-READ")]
        with pytest.raises(errors.RelayError, match=r"took longer than 0\.3 s"):
            mis.choices("SELECT SLEEP(3), 1 FROM loan")
        with pytest.raises(errors.RelayError, match=r"READ ONLY|begin with SELECT"):
            mis.choices("INSERT INTO client VALUES (9, 'x', NULL)")
        mis.read(LOANS, ["1"], cutoff=TODAY)
        Poller(mis, LOANS).poll()
        teller.execute("SELECT SLEEP(0.2)")  # the server shows a copy, which may be a tenth of a second old
        ids = [row[0] for row in rows(teller, "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx")]
        assert not {int(one) for one, _ in mis.choices("SELECT CONNECTION_ID(), 1")} & {*ids}


def test_through_a_socket(server: mariadb_found.Server, database: str, teller: Cursor) -> None:
    socket = rows(teller, "SELECT @@socket")[0][0]
    if not Path(socket).exists():
        pytest.skip("cannot run here: the server sees other folders than we do")
    nobody = f"mysql://nobody@localhost/{database}?unix_socket={socket}"
    with closing(small_mis.open_mis(nobody)) as mis, pytest.raises(errors.Unreachable, match="'nobody'@'localhost'"):
        mis.server()  # whoever it lets in, it is the server that says no, through the socket


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [("tinyint(1)", "0", "1"), ("datetime(6)", "'2026-11-30 10:00'", "'2026-12-01'"), ("double", "0.1", "1e100"),
     ("timestamp", "'2026-11-30 10:00'", "'2026-12-01'")],
)  # fmt: skip
def test_a_key_is_found_as_the_driver_gives_it(url: str, teller: Cursor, kind: str, first: str, second: str) -> None:
    teller.execute(f"CREATE TABLE keyed (k {kind} NOT NULL PRIMARY KEY, v int)")
    teller.execute(f"INSERT INTO keyed VALUES ({first}, 1), ({second}, 2)")
    keyed = Stream(name="keyed", resource="journal", table="keyed", key=("k",))
    with closing(small_mis.open_mis(url)) as mis:
        keys = mis.scan(keyed, after=None, limit=1)
        keys += mis.scan(keyed, after=keys[0], limit=1)
        assert [content.root and content.root["v"] for content in mis.read(keyed, keys, cutoff=TODAY)] == [1, 2]


def test_a_float_leads_to_no_key_and_says_so(url: str, teller: Cursor) -> None:
    teller.execute("CREATE TABLE keyed (k float NOT NULL PRIMARY KEY)")
    keyed = Stream(name="keyed", resource="journal", table="keyed", key=("k",))
    with closing(small_mis.open_mis(url)) as mis:
        assert "FLOAT" in str(mis.changes([keyed], {"keyed": None}).failed["keyed"])


def test_a_system_versioned_table_is_seen_at_once(url: str, teller: Cursor) -> None:
    try:
        teller.execute("CREATE TABLE kept (id int PRIMARY KEY, v int) WITH SYSTEM VERSIONING")
    except ProgrammingError:
        pytest.skip("cannot run here: MySQL has no system-versioned tables")
    teller.execute("INSERT INTO kept VALUES (1, 1)")
    kept = Stream(name="kept", resource="journal", table="kept", key=("id",))
    with closing(small_mis.open_mis(url)) as mis:
        poller = Poller(mis, kept)
        poller.poll()
        teller.execute("UPDATE kept SET v = 2")
        assert poller.poll() == {"kept": ["1"]}


def test_a_table_without_snapshots_is_known_under_any_name(url: str, teller: Cursor) -> None:
    teller.execute("CREATE TABLE `Loan book-2` (id int PRIMARY KEY) ENGINE=MyISAM")
    odd = Stream(name="odd", resource="journal", table="Loan book-2", key=("id",))
    with closing(small_mis.open_mis(url)) as mis:
        assert "engine without snapshots" in mis.changes([odd], {"odd": None}).reasons["odd"]


def test_a_role_of_mysql_logs_in_by_caching_sha2_without_tls(server: mariadb_found.Server, database: str) -> None:
    if "MariaDB" in server.version:
        pytest.skip("cannot run here: this server is a MariaDB, which has no caching_sha2_password")
    with closing(server.connect(database)) as admin, admin.cursor() as cursor:
        cursor.execute("DROP USER IF EXISTS sha2_reader@localhost")
        cursor.execute("CREATE USER sha2_reader@localhost IDENTIFIED WITH caching_sha2_password BY 's@cret'")
        cursor.execute(f"GRANT SELECT ON {database}.* TO sha2_reader@localhost")
        try:
            url = server.url.set(username="sha2_reader", password=None, database=database)
            for _ in range(2):  # the first login is by the server's key, a later one by what the server remembers
                with closing(small_mis.open_mis(str(url), password="s@cret")) as mis:
                    assert mis.scan(LOANS, after=None, limit=5) == ["1", "2"]
            with closing(small_mis.open_mis(str(url), password="wrong")) as mis:
                with pytest.raises(errors.Unreachable, match="sha2_reader"):
                    mis.server()
        finally:
            cursor.execute("DROP USER sha2_reader@localhost")
