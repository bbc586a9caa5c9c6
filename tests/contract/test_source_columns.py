"""Of each row the columns are read that a mapping names: a photo that nobody names is never asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.mapping import difference
from kiva_relay.source.mis import Mis
from kiva_relay.source.stream import ROOT, Relation, Stream
from testbed.database import mariadb_found
from testbed.rig import mapping_file, small_mis
from testbed.rig.small_mis import Poller

CUTOFF = date(2026, 11, 30)

TABLES = """
CREATE TABLE client (id int PRIMARY KEY, name varchar(20), Mobile_no varchar(20), mobile_photo {bytes}, photo {bytes});
CREATE TABLE loan (id int PRIMARY KEY, client_id int, branch varchar(9), state int, amount int, scan {bytes}, email int);
CREATE TABLE payment (loan_id int, n int, amount int, slip {bytes});
INSERT INTO client VALUES (1, 'Awa', '771234567', {a}, {b});
INSERT INTO loan VALUES (1, 1, '007', 300, 100, {a}, 5), (2, NULL, '007', 300, 200, {b}, NULL);
INSERT INTO payment VALUES (1, 1, 10, {a}), (1, 2, 20, {b})
"""

CLIENT = Relation(name="client", table="client", match={"id": "client_id"}, optional=True)
PAYMENTS = Relation(name="payments", table="payment", match={"loan_id": "id"}, many=True, order_by="n")
PAID = Relation(
    name="paid",
    sql="SELECT loan_id, sum(amount) AS total, max(slip) AS slip FROM payment GROUP BY loan_id",
    match={"loan_id": "id"},
    optional=True,
)
NAMED = frozenset({(ROOT, "amount"), ("client", "name"), ("payments", "amount"), ("paid", "total")})
LOANS = Stream(
    name="loans",
    resource="loan_draft",
    table="loan",
    key=("id",),
    where="state = 300",
    relations=(CLIENT, PAYMENTS, PAID),
    named=NAMED,
)


@dataclass
class World:
    """One MIS with the tables above, and a way to change it."""

    mis: Mis
    execute: Callable[[str], object]


@pytest.fixture(params=["postgresql", "sqlite", *(["mariadb"] if mariadb_found.server() else [])])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_database")
        with small_mis.connect(url) as teller, closing(small_mis.open_mis(url)) as mis:
            teller.execute(TABLES.format(bytes="bytea", a=r"'\x00ff'", b=r"'\xff00'").encode())
            yield World(mis, lambda text: teller.execute(text.encode()))
    elif request.param == "sqlite":
        file = tmp_path / "mis.db"
        with closing(sqlite3.connect(file, isolation_level=None)) as writer:
            writer.executescript(TABLES.format(bytes="BLOB", a="x'00ff'", b="x'ff00'"))
            with closing(small_mis.open_mis(f"sqlite:///{file}")) as mis:
                yield World(mis, writer.execute)
    else:
        server = mariadb_found.server()
        assert server is not None
        with server.database() as name, closing(server.connect(name)) as admin, admin.cursor() as cursor:
            for sql in TABLES.format(bytes="LONGBLOB", a="x'00ff'", b="x'ff00'").split(";"):
                cursor.execute(sql)
            with closing(small_mis.open_mis(server.mis_url(name))) as mis:
                yield World(mis, cursor.execute)


def names(row: object) -> list[str]:
    assert isinstance(row, dict)
    return list(row)


def test_what_is_read_is_what_finds_the_rows_what_is_named_and_how_the_borrower_is_reached(world: World) -> None:
    first, second = world.mis.read(LOANS, ["1", "2"], cutoff=CUTOFF)
    # SQLite cannot tell that a number is no telephone number: any column holds anything.
    may_be = ["email"] if world.mis.dialect.name == "sqlite" else []
    assert names(first.root) == ["id", "client_id", "amount", *may_be]
    photo = ["mobile_photo"] if may_be else []
    number = "mobile_no" if world.mis.dialect.name == "postgresql" else "Mobile_no"
    assert names(first.related["client"]) == ["id", "name", number, *photo]
    assert first.related["payments"] == [{"loan_id": 1, "amount": 10}, {"loan_id": 1, "amount": 20}]
    assert names(first.related["paid"]) == ["loan_id", "total"]
    assert (second.related["client"], second.related["payments"], second.related["paid"]) == (None, [], None)
    assert world.mis.shape(LOANS).keys() == {ROOT, "client", "payments", "paid"}
    (whole,) = world.mis.read(replace(LOANS, named=None), ["1"], cutoff=CUTOFF)
    assert names(whole.root) == ["id", "client_id", "branch", "state", "amount", "scan", "email"]


def test_a_column_that_comes_or_goes_while_the_list_is_believed(world: World) -> None:
    assert world.mis.read(LOANS, ["1"], cutoff=CUTOFF)
    world.execute("ALTER TABLE loan DROP COLUMN scan")
    world.execute("ALTER TABLE loan DROP COLUMN branch")
    assert world.mis.read(LOANS, ["1"], cutoff=CUTOFF)[0].root is not None
    world.execute("ALTER TABLE loan DROP COLUMN amount")
    (content,) = world.mis.read(LOANS, ["1"], cutoff=CUTOFF)
    assert "amount" not in names(content.root)
    assert "amount" not in world.mis.shape(LOANS)[ROOT]
    world.execute("ALTER TABLE loan ADD COLUMN amount int")
    (content,) = world.mis.read(LOANS, ["1"], cutoff=CUTOFF)
    assert "amount" in names(content.root)
    world.execute("ALTER TABLE payment DROP COLUMN loan_id")
    with pytest.raises(errors.RelayError, match="loan_id"):
        world.mis.read(LOANS, ["1"], cutoff=CUTOFF)


def test_only_what_somebody_reads_makes_another_version_of_a_row(world: World) -> None:
    poller = Poller(world.mis, LOANS)
    poller.poll()
    assert poller.poll() == {"loans": []}
    compared = world.mis.dialect.name != "postgresql"
    world.execute("UPDATE loan SET scan = x'0a0b'" if compared else r"UPDATE loan SET scan = '\x0a0b'")
    if compared:  # a transaction id cannot tell
        assert poller.poll() == {"loans": []}
    for change in ("loan SET state = 200", "loan SET branch = '8'", "payment SET amount = 11"):
        world.execute(f"UPDATE {change}")
        assert "1" in poller.poll()["loans"], change


def test_all_of_a_table_counts_that_only_touches_the_loan(world: World) -> None:
    touching = Relation(table="payment", match={"loan_id": "id"})
    poller = Poller(world.mis, replace(LOANS, relations=(CLIENT,), touched_by=(touching,)))
    poller.poll()
    assert poller.poll() == {"loans": []}
    slip = r"'\x0a0b0c'" if world.mis.dialect.name == "postgresql" else "x'0a0b0c'"
    world.execute(f"UPDATE payment SET slip = {slip} WHERE n = 1")
    assert poller.poll() == {"loans": ["1"]}


def test_an_edit_that_names_another_column_reads_each_row_once() -> None:
    before, after = LOANS, replace(LOANS, named=NAMED | {(ROOT, "branch")})
    both = difference.both(before, after)
    assert both is not None
    assert both.named == after.named
    assert difference.both(before, replace(after, where="state = 200")) is None
    assert difference.both(before, replace(before, named=None)) == replace(before, named=None)


def test_a_mapping_names_what_it_reads(tmp_path: Path) -> None:
    stream = mapping_file.load(tmp_path, mapping_file.DRAFT).stream
    assert stream.named is not None
    assert {name for owner, name in stream.named if owner == ROOT} == {
        *("id", "client_id", "account_no", "approved_principal", "currency_code"),
        *("disbursedon_date", "expected_disbursedon_date"),
    }
    assert {name for owner, name in stream.named if owner == "schedule"} == {
        *("loan_id", "installment", "duedate", "principal_amount", "interest_amount"),
    }
    assert stream.mentions("Loan_Status_Id")
    assert not stream.mentions("image_id")
