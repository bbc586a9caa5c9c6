"""What `watch setup` makes does the MIS no harm, whatever its tables are; and what it cannot tell is polled."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import psycopg
import pytest

from kiva_relay.source import slot
from kiva_relay.source.mis import Mis
from kiva_relay.source.stream import Relation, Stream
from testbed.database import postgres
from testbed.rig import small_mis

_numbers = itertools.count(1)
_RANGE = "PARTITION BY RANGE (day)"

# What the table is, whether its stream tells everything; `part` is what the MIS adds later.
KINDS = {
    "plain": ("CREATE TABLE part (id int PRIMARY KEY, loan int, day date)", True, ""),
    "no_key": ("CREATE TABLE part (id int, loan int, day date)", True, ""),
    "deferrable": ("CREATE TABLE part (id int PRIMARY KEY DEFERRABLE, loan int, day date)", True, ""),
    "nothing": (
        "CREATE TABLE part (id int PRIMARY KEY, loan int, day date); ALTER TABLE part REPLICA IDENTITY NOTHING",
        True,
        "",
    ),
    "unlogged": ("CREATE UNLOGGED TABLE part (id int PRIMARY KEY, loan int, day date)", False, ""),
    "generated": (
        "CREATE TABLE part (id int PRIMARY KEY, code int, loan int GENERATED ALWAYS AS (code) STORED, day date)",
        False,
        "",
    ),
    "generated_beside": (
        "CREATE TABLE part (id int PRIMARY KEY, loan int, day date, twice int GENERATED ALWAYS AS (id * 2) STORED)",
        False,
        "",
    ),
    "inherited": (
        "CREATE TABLE part (id int PRIMARY KEY, loan int, day date); CREATE TABLE child () INHERITS (part)",
        False,
        "CREATE TABLE child_2 () INHERITS (part)",
    ),
    "partitioned": (
        (
            f"CREATE TABLE part (id int, loan int, day date, PRIMARY KEY (id, day)) {_RANGE};"
            "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (id);"
            "CREATE TABLE part_1_rest PARTITION OF part_1 DEFAULT"
        ),
        True,
        "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')",
    ),
    "partitioned_no_key": (
        (
            f"CREATE TABLE part (id int, loan int, day date) {_RANGE};"
            "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
        ),
        False,
        "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')",
    ),
    "partition_unlogged": (
        (
            f"CREATE TABLE part (id int, loan int, day date, PRIMARY KEY (id, day)) {_RANGE};"
            "CREATE UNLOGGED TABLE part_1 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
        ),
        False,
        "",
    ),
}

LOANS = Stream(
    name="loans",
    resource="loan_draft",
    table="loan",
    key=("id",),
    relations=(Relation(name="parts", table="part", match={"loan": "id"}, many=True, order_by="id"),),
)


@dataclass
class Published:
    """A MIS of one loan and its parts, and what of it is published."""

    mis: Mis
    teller: psycopg.Connection[tuple[object, ...]]
    name: str

    def facts(self) -> slot.SlotFacts:
        return self.mis.slot(self.name, [LOANS])

    def set_up(self) -> None:
        for sql in self.missing():
            self.teller.execute(sql.encode())

    def missing(self) -> list[str]:
        return slot.setup(self.facts(), [LOANS], self.mis.dialect)

    def works(self, day: str) -> None:
        """What the MIS does all day: it must go on working."""
        column = "code" if self.teller.execute("SELECT FROM pg_attribute WHERE attname = 'code'").rowcount else "loan"
        insert, update = f"INSERT INTO part (id, {column}, day) VALUES (7, 1, %s)", f"UPDATE part SET {column} = 2"
        self.teller.execute(insert.encode(), [day])
        self.teller.execute(update.encode())
        self.teller.execute("UPDATE loan SET name = 'Awa'")
        self.teller.execute("DELETE FROM part")


@pytest.fixture
def published(logical_server: postgres.PostgresServer) -> Iterator[Published]:
    number = next(_numbers)
    with logical_server.database(f"published_{number}") as url, closing(small_mis.open_mis(url)) as mis:
        with psycopg.connect(url, autocommit=True) as teller:
            teller.execute("CREATE TABLE loan (id int PRIMARY KEY, name text); INSERT INTO loan VALUES (1, 'A')")
            one = Published(mis, teller, f"ours_{number}")
            yield one
            teller.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")


@pytest.mark.parametrize("kind", KINDS)
def test_the_mis_goes_on_writing_whatever_its_tables_are(published: Published, kind: str) -> None:
    made, told, later = KINDS[kind]
    published.teller.execute(made.encode())
    published.set_up()
    facts = published.facts()
    published.works("2026-11-28")
    assert slot.covered(facts, [LOANS])["loans"] == ({"loan", "part"} if told else {"loan"})
    assert set(slot.untold(facts, [LOANS])) == (set() if told else {"public.part"})
    assert published.missing() == []
    if later:
        published.teller.execute(later.encode())
        published.works("2027-11-28" if "PARTITION" in later else "2026-11-28")
        assert slot.refusing(published.facts()) == []
    published.teller.execute("; ".join(slot.drop(published.facts(), published.mis.dialect)).encode())
    published.works("2026-11-28")


def test_a_later_partition_is_polled_until_setup_gave_it_an_identity(published: Published) -> None:
    made, _, later = KINDS["partitioned"]
    published.teller.execute(made.encode())
    published.set_up()
    published.teller.execute(later.encode())
    assert slot.covered(published.facts(), [LOANS]) == {"loans": frozenset({"loan"})}
    assert published.missing() == ["ALTER TABLE public.part_2 REPLICA IDENTITY FULL;"]
    published.set_up()
    assert slot.covered(published.facts(), [LOANS]) == {"loans": frozenset({"loan", "part"})}


def test_what_came_to_do_harm_is_said_and_goes_out_first(published: Published) -> None:
    """A key that an upgrade of the MIS drops takes the identity of a published table with it."""
    published.teller.execute("CREATE TABLE part (id int PRIMARY KEY, loan int, day date)")
    published.set_up()
    published.teller.execute("ALTER TABLE loan DROP CONSTRAINT loan_pkey")
    with pytest.raises(psycopg.Error, match="replica identity"):
        published.teller.execute("UPDATE loan SET name = 'B'")
    assert slot.refusing(published.facts()) == ["public.loan"]
    assert published.missing() == [
        f"ALTER PUBLICATION {published.name} DROP TABLE public.loan;",
        "ALTER TABLE public.loan REPLICA IDENTITY FULL;",
        f"ALTER PUBLICATION {published.name} SET TABLE public.loan, public.part;",
    ]
    published.set_up()
    published.teller.execute("UPDATE loan SET name = 'B'")
    assert slot.refusing(published.facts()) == []


def test_a_table_of_no_mapping_that_does_harm_is_said_too(published: Published) -> None:
    published.teller.execute("CREATE TABLE part (id int PRIMARY KEY, loan int, day date)")
    published.set_up()
    published.teller.execute("CREATE TABLE other (id int)")
    published.teller.execute(f"ALTER PUBLICATION {published.name} ADD TABLE other".encode())
    assert slot.refusing(published.facts()) == ["public.other"]
    assert published.missing() == [f"ALTER PUBLICATION {published.name} DROP TABLE public.other;"]


def test_the_identity_stays_that_another_publication_needs(published: Published) -> None:
    published.teller.execute("CREATE TABLE part (id int, loan int, day date)")
    published.set_up()
    published.teller.execute("CREATE PUBLICATION theirs FOR TABLE part")
    for sql in slot.drop(published.facts(), published.mis.dialect):
        published.teller.execute(sql.encode())
    published.works("2026-11-28")


def test_columns_that_another_publication_names_forbid_a_full_identity(published: Published) -> None:
    published.teller.execute("CREATE TABLE part (id int PRIMARY KEY, loan int, day date)")
    if published.teller.info.server_version < 150000:
        pytest.skip("cannot run here: column lists came with PostgreSQL 15")
    published.teller.execute("CREATE PUBLICATION theirs FOR TABLE part (id, day)")
    published.set_up()
    published.works("2026-11-28")
    assert "another publication" in slot.untold(published.facts(), [LOANS])["public.part"]
