"""A value that the server or the driver cannot give costs its row, and says in which column it stands."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import date
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source import reader, session_mariadb
from kiva_relay.source.mis import Mis
from kiva_relay.source.stream import Relation, Stream
from kiva_relay.source.value import NOT_READ
from testbed.database import mariadb_found
from testbed.rig import small_mis
from testbed.rig.patience import eventually
from testbed.rig.streamed import Streamed

TODAY = date(2026, 11, 30)
CLIENT = Relation(name="client", table="client", match={"id": "client_id"})
NOTES = Relation(name="notes", table="note", match={"loan_id": "id"}, many=True, order_by="n")
LOANS = Stream(
    name="loans", resource="loan_draft", table="loan", key=("id",), where="id < 100", relations=(CLIENT, NOTES)
)

ROWS = """
CREATE TABLE client (id int PRIMARY KEY, name text);
CREATE TABLE loan (id int PRIMARY KEY, client_id int, use text);
CREATE TABLE note (loan_id int, n int, said text);
INSERT INTO client SELECT n, 'Awa ' || n FROM generate_series(1, 30) n;
INSERT INTO loan SELECT n, n, 'cloth' FROM generate_series(1, 30) n;
INSERT INTO note SELECT n, 1, 'came' FROM generate_series(1, 30) n;
"""


@pytest.fixture
def western(postgres_server: Any) -> str:
    """A database of an encoding with five bytes that are no letter, and that hold one all the same."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS western")
        admin.execute("CREATE DATABASE western ENCODING 'WIN1252' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    url = str(postgres_server.url("western"))
    with psycopg.connect(url, autocommit=True) as teller:
        teller.execute(ROWS)
        teller.execute(r"UPDATE loan SET use = E'\x81 cloth' WHERE id = 7")
        teller.execute(r"UPDATE client SET name = E'Jos\x81' WHERE id = 19")
        teller.execute(r"UPDATE note SET said = E'\x8d' WHERE loan_id = 25")
    return url


def read(mis: Mis, stream: Stream = LOANS, keys: range = range(1, 31)) -> dict[str, Any]:
    return {one.key: one for one in mis.read(stream, [str(key) for key in keys], cutoff=TODAY)}


def test_what_the_server_cannot_convert_costs_its_column_of_its_row(western: str) -> None:
    with closing(small_mis.open_mis(western)) as mis:
        found = read(mis)
        assert found["7"].root == {"id": 7, "client_id": 7, "use": NOT_READ}
        assert found["7"].related["client"] == {"id": 7, "name": "Awa 7"}
        assert found["19"].related["client"] == {"id": 19, "name": NOT_READ}
        assert found["25"].related["notes"] == [{"loan_id": 25, "n": 1, "said": NOT_READ}]
        assert [key for key, one in found.items() if NOT_READ in str(one)] == ["7", "19", "25"]
        assert all(one.in_scope and not one.unread for one in found.values())
        with psycopg.connect(western, autocommit=True) as teller:
            teller.execute("UPDATE loan SET use = 'cloth' WHERE id = 7")
        assert read(mis)["7"].root == {"id": 7, "client_id": 7, "use": "cloth"}


def test_where_no_column_is_to_blame_the_relation_is_named(postgres_database: str) -> None:
    share = Relation(
        name="share", sql="SELECT sum(100 / (id - 7)) AS share, id FROM loan GROUP BY id", match={"id": "id"}
    )
    stream = Stream(name="loans", resource="loan_draft", table="loan", key=("id",), where="id <> 8", relations=(share,))
    with psycopg.connect(postgres_database, autocommit=True) as teller:
        teller.execute(ROWS)
    with closing(small_mis.open_mis(postgres_database)) as mis:
        found = read(mis, stream, range(5, 10))
        assert found["7"].related["share"] == {"share": NOT_READ, "id": 7}
        assert [found[key].in_scope for key in ("5", "7", "8", "9")] == [True, True, False, True]
        always = Relation(name="share", sql="SELECT id FROM loan WHERE 1 / (id - id) = 1", match={"id": "id"})
        odd = Stream(name="odd", resource="loan_draft", table="loan", key=("id",), where="id <> 8", relations=(always,))
        found = read(mis, odd, range(7, 9))
        assert [(one.key, one.in_scope, one.unread) for one in found.values()] == [
            ("7", True, "share"),
            ("8", False, ""),
        ]
        with pytest.raises(errors.RelayError, match="division by zero"):
            read(mis, odd)


def test_whatever_the_driver_raises_costs_its_row_and_its_rest_is_no_answer_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = mariadb_found.server()
    if server is None:
        pytest.skip("this machine has no MariaDB")

    def day(written: str) -> object:
        if written == "2026-02-03":
            raise UnicodeError(written)
        return written

    monkeypatch.setattr(session_mariadb, "_day", day)
    with server.database() as name, closing(small_mis.open_mis(server.mis_url(name))) as mis:
        with server.connect(database=name) as teller, teller.cursor() as cursor:
            cursor.execute("CREATE TABLE loan (id int PRIMARY KEY, paid date)")
            cursor.execute("INSERT INTO loan VALUES (1, '2026-02-01'), (2, '2026-02-03'), (3, '2026-02-05')")
        stream = Stream(name="loans", resource="loan_draft", table="loan", key=("id",))
        found = read(mis, stream, range(1, 4))
        assert [found[key].root for key in "123"] == [
            {"id": 1, "paid": "2026-02-01"},
            {"id": 2, "paid": NOT_READ},
            {"id": 3, "paid": "2026-02-05"},
        ]
        assert mis.scan(stream, after=None, limit=5) == ["1", "2", "3"]


@pytest.mark.parametrize("way", ["stream", "polling"])
def test_an_odd_row_is_refused_beside_its_neighbours_and_goes_once_it_is_mended(
    streamed_mis: Streamed, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    rows = reader.RowPage._rows

    def raising(page: reader.RowPage, *given: Any, **more: Any) -> Any:
        for key, row in rows(page, *given, **more):
            if row.get("first_name") == "odd":
                raise OverflowError("what a driver raises")
            yield key, row

    monkeypatch.setattr(reader.RowPage, "_rows", raising)

    def refused(relay: Any) -> list[Any]:
        with relay.outbox.read() as tx:
            asked = "SELECT refusals FROM entry WHERE state = 'refused' AND identity = 'L1'"
            return [one for text in tx.execute(sa.text(asked)).scalars() for one in json.loads(text)]

    if way == "stream":
        streamed_mis.set_up()
    with streamed_mis.capture() as relay:
        for _ in range(3):
            relay.capture.cycle()
        if way == "stream":
            relay.following()
        look = relay.capture.follow if way == "stream" else relay.capture.cycle

        def says(identity: str, name: str) -> bool:
            look()
            return relay.name(identity) == name

        streamed_mis.sql("UPDATE loan SET first_name = 'odd' WHERE id = 1")
        streamed_mis.sql("UPDATE loan SET first_name = 'Zoe' WHERE id = 2")
        eventually(lambda: says("L2", "Zoe"))
        assert [one["code"] for one in refused(relay)] == ["text_unreadable"]
        assert relay.capture.stopped == {}
        streamed_mis.sql("UPDATE loan SET first_name = 'Awa' WHERE id = 1")
        eventually(lambda: says("L1", "Awa"))
