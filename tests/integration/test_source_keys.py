"""Rows whose key cannot be told cost themselves: the others are read, and a person is told how many there are, and where."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from kiva_relay import errors
from kiva_relay.source.gap import Gap
from kiva_relay.source.mis import Mis
from kiva_relay.source.stream import ROOT, Relation, Stream
from testbed.database import mariadb_found
from testbed.rig import small_mis
from testbed.rig.small_mis import Poller

LOANS = Stream(name="loans", resource="loan_draft", table="loan", key=("ref",), where="state = 300")


def scanned(mis: Mis, stream: Stream = LOANS, *, limit: int = 3) -> list[str]:
    """All keys, page by page."""
    found, after = list[str](), None
    while keys := mis.scan(stream, after=after, limit=limit):
        found += keys
        after = keys[-1]
    return found


@pytest.fixture
def western(postgres_server: Any) -> str:
    """A database of an encoding that has no letter for some bytes, and holds such a byte in a key and in a client's."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS western_keys")
        admin.execute("CREATE DATABASE western_keys ENCODING 'WIN1252' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    url = str(postgres_server.url("western_keys"))
    with psycopg.connect(url, autocommit=True) as teller:
        teller.execute(
            "CREATE TABLE loan (ref text PRIMARY KEY, state int, client text, changed timestamptz DEFAULT now());"
            "CREATE TABLE client (code text PRIMARY KEY, name text);"
            "INSERT INTO loan SELECT 'B' || n, 300, 'c' FROM generate_series(1, 8) n;"
            "INSERT INTO client VALUES ('c', 'Awa')"
        )
        teller.execute(r"UPDATE loan SET ref = E'B3\x81' WHERE ref = 'B3'")
    return url


def test_a_key_that_the_server_cannot_convert_costs_its_row(western: str) -> None:
    with closing(small_mis.open_mis(western)) as mis:
        for limit in (1, 2, 3, 100):
            assert scanned(mis, limit=limit) == ["B1", "B2", "B4", "B5", "B6", "B7", "B8"]
            assert mis.gaps(LOANS) == (Gap(1, after="B2", before="B4"),)
        assert mis.gaps(LOANS)[0].query("loan", ("ref",)) == "SELECT * FROM loan WHERE ref > 'B2' AND ref < 'B4';"


@pytest.mark.parametrize("by", ["itself", "its client"])
def test_a_look_at_it_finds_what_else_changed(western: str, by: str) -> None:
    client = Relation(name="client", table="client", match={"code": "client"})
    stream = LOANS if by == "itself" else Stream(**{**vars(LOANS), "relations": (client,)})
    with closing(small_mis.open_mis(western)) as mis, psycopg.connect(western, autocommit=True) as teller:
        poller = Poller(mis, stream)
        poller.poll()
        teller.execute("UPDATE loan SET client = 'c'" if by == "itself" else "UPDATE client SET name = 'Binta'")
        assert poller.poll() == {"loans": ["B1", "B2", "B4", "B5", "B6", "B7", "B8"]}
        teller.execute("UPDATE loan SET ref = 'B3' WHERE ref NOT IN ('B1', 'B2', 'B4', 'B5', 'B6', 'B7', 'B8')")
        assert "B3" in poller.poll()["loans"]
        assert scanned(mis) == [f"B{n}" for n in range(1, 9)]
        assert mis.gaps(LOANS) == ()


def test_where_no_key_can_be_read_the_mapping_stands_still(western: str) -> None:
    with psycopg.connect(western, autocommit=True) as teller:
        teller.execute(r"INSERT INTO loan SELECT E'\x81' || n, 300, '' FROM generate_series(1, 30) n")
        teller.execute("DELETE FROM loan WHERE left(ref, 1) = 'B'")
    with closing(small_mis.open_mis(western)) as mis, pytest.raises(errors.RelayError, match="scanning loans"):
        mis.scan(LOANS, after=None, limit=200)


def test_a_byte_that_is_no_letter_costs_its_row(postgres_server: Any) -> None:
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS ascii_keys")
        admin.execute("CREATE DATABASE ascii_keys ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    url = postgres_server.url("ascii_keys")
    with psycopg.connect(url, autocommit=True) as teller, closing(small_mis.open_mis(url)) as mis:
        teller.execute("CREATE TABLE loan (ref text PRIMARY KEY, state int DEFAULT 300)")
        teller.execute(r"INSERT INTO loan VALUES ('A'), (E'Jos\xe9'), (E'Jos\xea'), ('K')")
        assert scanned(mis, limit=2) == ["A", "K"]
        assert mis.gaps(LOANS) == (Gap(2, after="A", before="K"),)
        poller = Poller(mis, LOANS)
        teller.execute("UPDATE loan SET state = 300")
        assert poller.poll() == {"loans": ["A", "K"]}
        teller.execute("DELETE FROM loan WHERE ref = 'K'")
        assert scanned(mis, limit=2) == ["A"]
        assert mis.gaps(LOANS) == (Gap(2, after="A"),)


VIEW = """
CREATE TABLE held (ref varchar(9), state int, n int);
INSERT INTO held VALUES ('A', 300, 1), (NULL, 300, 2), ('B', 300, 3), (NULL, 300, 4), (NULL, 200, 5);
CREATE VIEW loan AS SELECT * FROM held
"""


@pytest.mark.parametrize("engine", ["postgresql", "sqlite", "mariadb"])
def test_a_row_of_a_view_without_a_key_is_counted(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if engine == "postgresql":
        url = request.getfixturevalue("postgres_database")
        with small_mis.connect(url) as teller:
            teller.execute(VIEW)
        nameless(url)
    elif engine == "sqlite":
        with closing(sqlite3.connect(tmp_path / "mis.db")) as file:
            file.executescript(VIEW)
        nameless(f"sqlite:///{tmp_path}/mis.db")
    else:
        server = mariadb_found.server()
        if server is None:
            pytest.skip("cannot run here: this machine has no MariaDB")
        with server.database() as name:
            with closing(server.connect(name)) as admin, admin.cursor() as cursor:
                for sql in VIEW.split(";"):
                    cursor.execute(sql)
            nameless(server.mis_url(name))


def nameless(url: str) -> None:
    with closing(small_mis.open_mis(url)) as mis:
        assert scanned(mis, limit=1) == ["A", "B"]
        assert mis.gaps(LOANS) == (Gap(2, is_null=True),)
        assert mis.find(LOANS, "state", ["300"]) == ["A", "B"]
        assert "None" not in Poller(mis, LOANS).poll()["loans"]
        both = Stream(**{**vars(LOANS), "name": "both", "key": ("ref", "n")})
        assert scanned(mis, both) == ['["A","1"]', '["B","3"]']
        (found,) = mis.gaps(both)
        assert found.query("loan", both.key) == "SELECT * FROM loan WHERE ref IS NULL OR n IS NULL;"


def test_rows_of_one_key_are_one_where_nothing_that_is_read_tells_them_apart(postgres_database: str) -> None:
    with small_mis.connect(postgres_database) as teller, closing(small_mis.open_mis(postgres_database)) as mis:
        teller.execute("CREATE TABLE held (ref text, state int, paid int)")
        teller.execute("INSERT INTO held VALUES ('A', 300, 1), ('B', 300, 1), ('B', 300, 2), ('C', 300, 1)")
        teller.execute("CREATE VIEW loan AS SELECT * FROM held")
        read = replace(LOANS, named=frozenset({(ROOT, "state")}))
        for limit in (1, 2, 3, 9):
            assert scanned(mis, read, limit=limit) == ["A", "B", "C"]
        assert [one.key for one in mis.read(read, ["A", "B", "C"], cutoff=date.max)] == ["A", "B", "C"]
        with pytest.raises(errors.RelayError, match="several rows of loan have the key ref = B"):
            mis.read(replace(read, named=frozenset({(ROOT, "paid")})), ["A", "B", "C"], cutoff=date.max)


UNIQUE = """
CREATE TABLE loan (id int PRIMARY KEY, ref varchar(9), branch int, n int);
CREATE UNIQUE INDEX both_ways ON loan (branch, n);
CREATE INDEX plain ON loan (ref);
CREATE VIEW shown AS SELECT * FROM loan
"""
KEYS = {("id",): True, ("ref",): False, ("branch",): False, ("branch", "n"): True, ("id", "ref"): True}


@pytest.mark.parametrize("engine", ["postgresql", "sqlite", "mariadb"])
def test_the_database_says_whether_a_key_names_one_row(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    more = "CREATE UNIQUE INDEX few ON loan (ref) WHERE n > 5"
    if engine == "postgresql":
        url = request.getfixturevalue("postgres_database")
        with small_mis.connect(url) as teller:
            teller.execute(f"{UNIQUE};{more}")
        unique(url)
    elif engine == "sqlite":
        with closing(sqlite3.connect(tmp_path / "mis.db")) as file:
            file.executescript(f"{UNIQUE};{more}")
        unique(f"sqlite:///{tmp_path}/mis.db")
    else:
        server = mariadb_found.server()
        if server is None:
            pytest.skip("cannot run here: this machine has no MariaDB")
        with server.database() as name:
            with closing(server.connect(name)) as admin, admin.cursor() as cursor:
                for sql in (*UNIQUE.split(";"), "CREATE UNIQUE INDEX beginning ON loan (ref(3))"):
                    cursor.execute(sql)
            unique(server.mis_url(name))


def unique(url: str) -> None:
    with closing(small_mis.open_mis(url)) as mis:
        for table, is_table in (("loan", True), ("shown", False)):
            found = {
                key: mis.is_unique(Stream(name="loans", resource="loan_draft", table=table, key=key)) for key in KEYS
            }
            assert found == {key: one and is_table for key, one in KEYS.items()}
