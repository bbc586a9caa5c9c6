"""A row costs itself: odd values in every type of column, and the columns that a database has for its own reasons."""

from __future__ import annotations

from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest

from kiva_relay.clock import SystemClock
from kiva_relay.mapping import mapper
from kiva_relay.source.mis import Mis
from kiva_relay.source.session_mariadb import Filled
from kiva_relay.source.stream import Relation, Stream
from testbed.database import mariadb_found
from testbed.fuzz import rows
from testbed.rig.mapping_file import changed, context, load


def test_some_odd_rows_of_sqlite(tmp_path: Path) -> None:
    result = rows.run(rows._SQLite(tmp_path), rows.mapping(tmp_path), seed=1_000_000, number=120)
    assert result.wrong == []
    assert {"good body", "odd body", "odd refused"} <= result.found.keys()


def test_some_odd_rows_of_postgresql(tmp_path: Path, postgres_database: str) -> None:
    result = rows.run(rows._PostgreSQL(postgres_database), rows.mapping(tmp_path), seed=1_000_000, number=120)
    assert result.wrong == []
    assert {"good body", "odd body", "odd refused"} <= result.found.keys()


def opened(url: str) -> Mis:
    return Mis(
        url, password=None, timezone="UTC", statement_timeout=timedelta(seconds=30), watch="auto", clock=SystemClock()
    )


def test_money_of_postgresql_is_a_number(postgres_database: str) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as cx:
        cx.execute("CREATE TABLE loan (id int PRIMARY KEY, lent money)")
        cx.execute("INSERT INTO loan VALUES (1, '1234567.89'), (2, '-0.5'), (3, NULL)")
    mis, stream = opened(postgres_database), Stream(name="l", resource="journal", table="loan", key=("id",))
    found = [str((content.root or {})["lent"]) for content in mis.read(stream, ["1", "2", "3"], cutoff=date.max)]
    assert found == ["1234567.89", "-0.50", "None"]
    assert mis.columns("loan")["lent"] == "number"
    mis.close()


@pytest.mark.skipif(mariadb_found.server() is None, reason="this machine has no MariaDB")
def test_a_zerofill_is_written_as_the_mis_shows_it(tmp_path: Path) -> None:
    server = mariadb_found.server()
    assert server is not None
    with server.database() as name, closing(server.connect(name)) as cx, cx.cursor() as cursor:
        cursor.execute("CREATE TABLE client (id INT(6) ZEROFILL PRIMARY KEY, name TEXT)")
        cursor.execute(
            "CREATE TABLE loan (id INT(8) ZEROFILL PRIMARY KEY, client_id INT(6) ZEROFILL, state TINYINT(1))"
        )
        cursor.execute("INSERT INTO client VALUES (7, 'Awa')")
        cursor.execute("INSERT INTO loan VALUES (42, 7, 2), (43, 7, 1)")
        client = Relation(name="client", table="client", match={"id": "client_id"})
        mis = opened(server.mis_url(name))
        stream = Stream(name="l", resource="journal", table="loan", key=("id",), relations=(client,))
        assert mis.scan(stream, after=None, limit=10) == ["42", "43"]
        first, second = mis.read(stream, ["42", "43"], cutoff=date.max)
        mis.close()
    assert first.root is not None
    assert second.root is not None
    assert isinstance(first.root["id"], Filled)
    assert (str(first.root["id"]), first.root["id"] + 1, first.root["state"], second.root["state"]) == (
        "00000042",
        43,
        2,
        True,
    )
    assert isinstance(first.related["client"], dict)
    text = changed("identity: account_no", "identity: id").replace("loan_id: account_no", "loan_id: id")
    codes = "gender: {from: state, choose: {0: unknown, 1: female, 2: male}}"
    text = text.replace("gender: {from: gender.code_value, choose: {Femme: female, Homme: male}, else: refuse}", codes)
    mapping = load(tmp_path, text)
    for content, expected in ((first, ("00000042", "male")), (second, ("00000043", "female"))):
        mapped = mapper.apply(mapping, content, context=context())
        assert mapped.partial is not None
        assert (mapped.partial["entreps"][0]["loan_id"], mapped.partial["entreps"][0]["gender"]) == expected
        assert mapped.identity == expected[0]
