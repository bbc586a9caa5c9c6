"""Every MIS database gives the same content for the same tables, and finds the same changes."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source import rest
from kiva_relay.source.dialect_postgresql import PostgreSQL
from kiva_relay.source.mis import Mis
from kiva_relay.source.stream import Relation, Stream
from testbed.database import mariadb_found
from testbed.rig import small_mis
from testbed.rig.set_clock import SetClock
from testbed.rig.small_mis import Poller

CUTOFF = date(2026, 11, 30)

TABLES = """
CREATE TABLE client (id int PRIMARY KEY, name text);
CREATE TABLE loan (branch varchar(10), number varchar(20), client_id int, state int, note text,
                   PRIMARY KEY (branch, number));
CREATE TABLE payment (branch varchar(10), loan_number varchar(20), paid_on date, amount int);
INSERT INTO client VALUES (1, 'Awa'), (2, 'Ousmane 100%');
INSERT INTO loan VALUES ('007', 'A/1', 1, 200, 'KIVA: a new loom'), ('007', '0001', 2, 200, 'phone: 77'),
                        ('7', '0001', NULL, 500, NULL);
INSERT INTO payment VALUES ('007', 'A/1', '2026-11-29', 10), ('007', 'A/1', '2026-11-30', 20),
                           ('007', 'A/1', '2026-12-01', 40), ('7', '0001', '2026-11-01', 5)
"""

PAID = Relation(
    name="paid",
    sql="""
        SELECT branch, loan_number, SUM(amount) AS total, 'until:now 50%' AS note  -- 100% of what was paid: all
        FROM payment WHERE paid_on <= :cutoff AND 1 = :one GROUP BY branch, loan_number;
    """,
    match={"branch": "branch", "loan_number": "number"},
    optional=True,
)
PAYMENTS = Relation(
    name="payments",
    table="payment",
    match={"branch": "branch", "loan_number": "number"},
    many=True,
    order_by="paid_on DESC",
)
CLIENT = Relation(name="client", table="client", match={"id": "client_id"}, optional=True)
LOANS = Stream(
    name="loans",
    resource="loan_draft",
    table="loan",
    key=("branch", "number"),
    where="loan.state = :state AND (note LIKE 'KIVA:%' OR note LIKE '%:state%' OR note LIKE 'phone: %')",
    parameters={"state": 200, "one": 1},
    relations=(CLIENT, PAID, PAYMENTS),
)

A1, N1, S1 = '["007","A/1"]', '["007","0001"]', '["7","0001"]'


@dataclass
class World:
    """One MIS with the tables above, and a way to change it."""

    mis: Mis
    execute: Callable[[str], object]


@pytest.fixture(params=["postgresql", "sqlite", *(["mariadb"] if mariadb_found.server() else [])])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "mariadb":
        server = mariadb_found.server()
        assert server is not None
        with server.database() as name, closing(server.connect(name)) as teller, teller.cursor() as cursor:
            for sql in TABLES.split(";"):
                cursor.execute(sql)
            with closing(small_mis.open_mis(server.mis_url(name))) as mis:
                yield World(mis, cursor.execute)
        return
    if request.param == "sqlite":
        file = tmp_path / "mis 100%.db"
        with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as writer:
            writer.executescript(TABLES)
            with closing(small_mis.open_mis(f"sqlite:///{file}")) as mis:
                yield World(mis, writer.execute)
        return
    url = request.getfixturevalue("postgres_database")
    with small_mis.connect(url) as connection:
        connection.execute(TABLES)
        with closing(small_mis.open_mis(url)) as mis:
            yield World(mis, connection.execute)


def test_content_of_a_page(world: World) -> None:
    first, second, third, gone = world.mis.read(LOANS, [A1, N1, S1, '["7","A/1"]'], cutoff=CUTOFF)
    assert (first.key, second.key, third.key, gone.key) == (A1, N1, S1, '["7","A/1"]')
    assert [content.in_scope for content in (first, second, third, gone)] == [True, True, False, False]
    assert first.root == {"branch": "007", "number": "A/1", "client_id": 1, "state": 200, "note": "KIVA: a new loom"}
    assert first.related["client"] == {"id": 1, "name": "Awa"}
    paid = first.related["paid"]
    assert isinstance(paid, dict)
    assert (int(str(paid["total"])), paid["note"]) == (30, "until:now 50%")
    payments = first.related["payments"]
    assert isinstance(payments, list)
    assert [row["amount"] for row in payments] == [40, 20, 10]
    assert (second.related["paid"], second.related["payments"]) == (None, [])
    assert third.related["client"] is None
    assert (gone.root, gone.related) == (None, {})


def test_the_cutoff_decides_what_is_paid(world: World) -> None:
    (early,) = world.mis.read(LOANS, [A1], cutoff=date(2026, 11, 29))
    (none,) = world.mis.read(LOANS, [A1], cutoff=date(2026, 1, 1))
    assert isinstance(early.related["paid"], dict)
    assert int(str(early.related["paid"]["total"])) == 10
    assert none.related["paid"] is None


def test_a_deleted_row_is_gone(world: World) -> None:
    world.execute("DELETE FROM loan WHERE number = 'A/1'")
    (content,) = world.mis.read(LOANS, [A1], cutoff=CUTOFF)
    assert (content.root, content.in_scope) == (None, False)


def test_what_is_no_key_is_gone(world: World) -> None:
    assert [content.root for content in world.mis.read(LOANS, ["871", "[1]", ""], cutoff=CUTOFF)] == [None] * 3


def test_several_rows_where_one_belongs_are_given_as_they_are(world: World) -> None:
    single = replace(LOANS, relations=(replace(PAYMENTS, many=False),))
    (content,) = world.mis.read(single, [A1], cutoff=CUTOFF)
    assert isinstance(content.related["payments"], list)


def test_rows_that_the_order_leaves_equal_come_in_the_same_order(world: World) -> None:
    world.execute("INSERT INTO payment VALUES ('007', 'A/1', '2026-11-30', 19)")
    tied = replace(LOANS, relations=(replace(PAYMENTS, order_by=None),))
    (before,) = world.mis.read(tied, [A1], cutoff=CUTOFF)
    world.execute("UPDATE payment SET amount = amount WHERE amount = 10")
    (after,) = world.mis.read(tied, [A1], cutoff=CUTOFF)
    assert before == after


def test_scan_find_and_count(world: World) -> None:
    assert world.mis.count(LOANS) == 2
    first = world.mis.scan(LOANS, after=None, limit=1)
    assert first == [N1]
    assert world.mis.scan(LOANS, after=N1, limit=10) == [A1]
    assert world.mis.scan(LOANS, after=A1, limit=10) == []
    assert sorted(world.mis.find(LOANS, "number", ["0001", "1", "x' OR 1=1"])) == sorted([N1, S1])
    assert world.mis.find(LOANS, "client_id", ["1", "x", "²"]) == [A1]


def test_changes_lead_to_composite_keys_and_are_given_once(world: World) -> None:
    poller = Poller(world.mis, LOANS)
    poller.poll()
    assert poller.poll() == {"loans": []}
    world.execute("UPDATE client SET name = 'Awa Ndiaye' WHERE id = 1")
    assert poller.poll() == {"loans": [A1]}
    world.execute("INSERT INTO payment VALUES ('7', '0001', '2026-11-02', 6)")
    assert poller.poll() == {"loans": [S1]}
    world.execute("UPDATE loan SET state = 500 WHERE branch = '007' AND number = '0001'")
    assert poller.poll() == {"loans": [N1]}
    assert poller.poll() == {"loans": []}


def test_a_parameter_that_does_not_exist_is_named_with_the_nearest(world: World) -> None:
    with pytest.raises(errors.UsageError, match=r":stat,.*did you mean :state"):
        world.mis.read(replace(LOANS, where="state = :stat"), [A1], cutoff=CUTOFF)


def test_columns_and_choices(world: World) -> None:
    assert list(world.mis.columns("client")) == ["id", "name"]
    assert list(world.mis.columns("SELECT id AS a, 'x:y' AS b FROM client WHERE id = :who")) == ["a", "b"]
    assert world.mis.choices("SELECT id, name FROM client WHERE name LIKE '%100%%' ORDER BY id") == [
        ("2", "Ousmane 100%")
    ]
    with pytest.raises(errors.RelayError, match="no table clients; did you mean client"):
        world.mis.columns("clients")


def test_a_table_that_is_gone_stops_its_own_stream_only_until_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = Stream(name="clients", resource="journal", table="client", key=("id",))
    poller = Poller(world.mis, LOANS, clients)
    poller.poll()
    world.execute("ALTER TABLE payment RENAME TO payment_old")
    world.execute("UPDATE client SET name = 'Awa Ndiaye' WHERE id = 1")
    monkeypatch.setattr(rest, "REST", 3600.0)
    for _ in range(2):
        cycle = world.mis.changes([LOANS, clients], poller.watermarks)
        assert (cycle.keys, set(cycle.next)) == ({"clients": ["1"]}, {"clients"})
        assert "payment" in str(cycle.failed["loans"])
    world.execute("ALTER TABLE payment_old RENAME TO payment")
    world.mis._rests.end()
    assert poller.poll() == {"loans": [A1], "clients": ["1"]}


def test_a_column_that_is_gone_stops_its_own_stream_only(world: World) -> None:
    clients = Stream(name="clients", resource="journal", table="client", key=("id",))
    poller = Poller(world.mis, LOANS, clients)
    poller.poll()
    world.execute("ALTER TABLE payment RENAME COLUMN loan_number TO number_of_loan")
    world.mis._plans.clear()
    world.execute("UPDATE client SET name = 'Awa Ndiaye' WHERE id = 1")
    cycle = world.mis.changes([LOANS, clients], poller.watermarks)
    assert cycle.keys == {"clients": ["1"]}
    assert "payment has no column loan_number" in str(cycle.failed["loans"])
    assert world.mis.shape(LOANS) == {}
    world.mis.read(clients, ["1"], cutoff=CUTOFF)
    assert list(world.mis.shape(clients)["root"]) == ["id", "name"]


KEYS = [
    pytest.param("bigint", ["-7", "0", "1", "10", "9007199254740993"], "-8", id="integers"),
    pytest.param("varchar(40)", ["00012", "012", "12", "A/1", "A/1/b c", "l'an", "100%"], "A", id="text"),
    pytest.param(
        "uuid",
        ["0b5e7a3c-2f8e-4f0a-9a55-3f6f0a1f2b3c", "f47ac10b-58cc-4372-a567-0e02b2c3d479"],
        "00000000-0000-4000-8000-000000000000",
        id="uuids",
    ),
]


@pytest.mark.parametrize(("kind", "keys", "gone"), KEYS)
def test_keys_of_every_kind_are_found_scanned_and_read(world: World, kind: str, keys: list[str], gone: str) -> None:
    """Roots without any stamp, and a change that leads to them over two hops."""
    if kind == "uuid" and not isinstance(world.mis.dialect, PostgreSQL):
        kind = "varchar(36)"
    world.execute(f"CREATE TABLE office (code {kind} PRIMARY KEY, town varchar(20))")
    world.execute(f"CREATE TABLE post (id int PRIMARY KEY, office {kind})")
    world.execute(f"CREATE TABLE glim (id {kind} PRIMARY KEY, post_id int)")
    for number, key in enumerate(keys):
        value = key.replace("'", "''")
        world.execute(f"INSERT INTO office VALUES ('{value}', 'Thies')")
        world.execute(f"INSERT INTO post VALUES ({number}, '{value}')")
        world.execute(f"INSERT INTO glim VALUES ('{value}', {number})")
    glim = Stream(
        name="glim",
        resource="loan_draft",
        table="glim",
        key=("id",),
        relations=(
            Relation(name="post", table="post", match={"id": "post_id"}, optional=True),
            Relation(name="office", table="office", match={"code": "post.office"}, optional=True),
        ),
    )
    poller = Poller(world.mis, glim)
    poller.poll()
    assert poller.poll() == {"glim": []}
    for key in keys:
        changed = key.replace("'", "''")
        world.execute(f"UPDATE office SET town = 'Dakar' WHERE code = '{changed}'")
        assert poller.poll() == {"glim": [key]}
    scanned: list[str] = []
    while page := world.mis.scan(glim, after=scanned[-1] if scanned else None, limit=2):
        scanned += page
    assert sorted(scanned) == sorted(keys)
    *read, absent = world.mis.read(glim, [*keys, gone], cutoff=CUTOFF)
    assert [content.key for content in read] == keys
    towns = [content.related["office"] for content in read]
    assert [town["town"] for town in towns if isinstance(town, dict)] == ["Dakar"] * len(keys)
    assert absent.root is None


def test_a_schedule_that_is_written_anew_is_never_half_seen(world: World) -> None:
    """Its instalments are deleted and inserted again while pages are read: each page has all of them or all the old."""
    over = threading.Event()

    def regenerate() -> None:
        for amount in itertools.count(1):
            if over.wait(0.005):  # a file that is always locked would be read seldom
                return
            world.execute("BEGIN")
            world.execute("DELETE FROM payment WHERE branch = '007'")
            for day in range(1, 6):
                world.execute(f"INSERT INTO payment VALUES ('007', 'A/1', '2026-11-0{day}', {amount})")
            world.execute("COMMIT")

    def seen() -> list[object]:
        (content,) = world.mis.read(LOANS, [A1], cutoff=CUTOFF)
        payments = content.related["payments"]
        assert isinstance(payments, list)
        return [row["amount"] for row in payments]

    writer = threading.Thread(target=regenerate)
    writer.start()
    try:
        while len(seen()) != 5:
            pass
        found = [seen() for _ in range(200)]
    finally:
        over.set()
        writer.join()
    assert {(len(amounts), len(set(amounts))) for amounts in found} == {(5, 1)}
    assert len({amounts[0] for amounts in found}) > 1


def test_a_key_that_two_rows_have_is_named(world: World) -> None:
    joined = replace(LOANS, name="joined", table="joined", key=("number",), where="1 = 1", relations=(), parameters={})
    world.execute(
        "CREATE VIEW joined AS SELECT l.number, p.amount FROM loan l JOIN payment p ON p.loan_number = l.number"
    )
    with pytest.raises(errors.RelayError, match=r"joined: several rows of joined have the key number = A/1") as told:
        world.mis.read(joined, ["A/1", "0001"], cutoff=CUTOFF)
    assert "as key:" in str(told.value.hint)
    world.execute("DELETE FROM payment WHERE loan_number <> '0001'")
    world.execute("DELETE FROM loan WHERE branch = '7'")
    assert [one.in_scope for one in world.mis.read(joined, ["0001"], cutoff=CUTOFF)] == [True]


def test_two_columns_of_one_name_are_refused(world: World) -> None:
    """`SELECT l.*, c.*` took the last of them: the loan officer's name went out as the borrower's."""
    sql = "SELECT c.id AS mine, c.name, o.name FROM client c, client o"
    twice = Relation(name="both", sql=sql, match={"mine": "client_id"}, optional=True)
    with pytest.raises(errors.RelayError, match=r"called name|refused a query.*'name'|Duplicate column name 'name'"):
        world.mis.read(replace(LOANS, relations=(twice,)), [A1], cutoff=CUTOFF)
    with pytest.raises(errors.RelayError, match=r"called name|refused a query.*'name'|Duplicate column name 'name'"):
        world.mis.columns(sql)
    (content,) = world.mis.read(LOANS, [A1], cutoff=CUTOFF)
    assert content.root is not None, "the others go on"


def test_a_column_with_a_colon_in_its_name(world: World) -> None:
    quote = "`{}`" if world.mis.dialect.name == "mariadb" else '"{}"'
    world.execute(
        f"CREATE TABLE sheet ({quote.format('a :b')} int PRIMARY KEY, {quote.format('Name: first')} varchar(20))"
    )
    world.execute("INSERT INTO sheet VALUES (1, 'Awa')")
    stream = Stream(name="sheet", resource="journal", table="sheet", key=("a :b",))
    assert world.mis.scan(stream, after=None, limit=10) == ["1"]
    (content,) = world.mis.read(stream, ["1"], cutoff=CUTOFF)
    assert content.root == {"a :b": 1, "Name: first": "Awa"}
    began = world.mis.changes([stream], {"sheet": None}).next["sheet"]
    world.execute("INSERT INTO sheet VALUES (2, 'Ousmane')")
    assert "2" in world.mis.changes([stream], {"sheet": began}).keys["sheet"]


def test_names_may_hold_colons_and_percent_signs(world: World) -> None:
    mark = "`" if world.mis.dialect.name == "mariadb" else '"'
    table, key, column = (f"{mark}{name}{mark}" for name in ("100% a:b", "a :b", ":state"))
    world.execute(f"CREATE TABLE {table} ({key} int PRIMARY KEY, {column} varchar(9))")
    world.execute(f"INSERT INTO {table} VALUES (1, 'x')")
    odd = Stream(name="odd", resource="journal", table="100% a:b", key=("a :b",), parameters={"b": 7, "state": 7})
    poller = Poller(world.mis, odd)
    world.execute(f"UPDATE {table} SET {column} = 'y'")
    assert poller.poll() == {"odd": ["1"]}
    assert world.mis.scan(odd, after=None, limit=5) == ["1"]
    (content,) = world.mis.read(odd, ["1"], cutoff=CUTOFF)
    assert content.root == {"a :b": 1, ":state": "y"}


def test_a_key_of_bytes_stops_its_stream_alone_and_says_so(world: World) -> None:
    kind = {"mariadb": "varbinary(4)", "postgresql": "bytea", "sqlite": "blob"}[world.mis.dialect.name]
    world.execute(f"CREATE TABLE raw (k {kind} PRIMARY KEY)")
    world.execute("INSERT INTO raw VALUES ('ab')" if kind != "blob" else "INSERT INTO raw VALUES (x'6162')")
    raw = Stream(name="raw", resource="journal", table="raw", key=("k",))
    marks: dict[str, str | None] = dict(world.mis.changes([LOANS, raw], {"loans": None, "raw": None}).next)
    world.execute("INSERT INTO raw VALUES ('cd')" if kind != "blob" else "INSERT INTO raw VALUES (x'6364')")
    world.execute("UPDATE loan SET note = 'KIVA: another' WHERE number = 'A/1'")
    cycle = world.mis.changes([LOANS, raw], marks)
    assert "holds bytes" in str(cycle.failed["raw"])
    assert A1 in cycle.keys["loans"]
    with pytest.raises(errors.RelayError, match="holds bytes"):
        world.mis.scan(raw, after=None, limit=5)


def test_our_own_time_is_not_charged_to_the_mis(world: World) -> None:
    clock = SetClock()
    world.mis._server_time._clock = clock
    before = world.mis.busy_seconds
    with world.mis._snapshots.taken("asking") as cx:
        for _ in range(3):
            rows = cx.execute(sa.text("SELECT * FROM payment").execution_options(stream_results=True))
            for _ in rows:
                clock.passes(5)  # we work on a row, or rest
    assert world.mis.busy_seconds == before
