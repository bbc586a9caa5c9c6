"""The animals of MariaDB and MySQL: every type, engine and kind of table that one of them has."""

from __future__ import annotations

import os
from collections.abc import Mapping

from testbed.zoo.animal import NO_KEY, Animal, Cage, odd_names

CATALOGUE = "SELECT plugin_name FROM information_schema.plugins WHERE plugin_type = 'DATA TYPE'"
"""Types that MariaDB has as plugins; its others, and MySQL's, no catalogue tells."""

_PAIRS: Mapping[str, tuple[str, str]] = {
    "tinyint": ("-1", "7"), "tinyint(1)": ("0", "2"), "bool": ("false", "true"), "smallint": ("-1", "7"),
    "mediumint": ("-1", "7"), "int": ("-1", "7"), "int unsigned": ("1", "4294967295"),
    "int(5) zerofill": ("1", "42"), "bigint": ("-1", "9007199254740993"),
    "bigint unsigned": ("1", "18446744073709551615"), "decimal(12,2)": ("1.50", "-1234.50"),
    "decimal(40,20)": ("1.5", "12345678901234567890.5"), "float": ("1.1", "16777216"), "double": ("0.1", "1e100"),
    "float(12,2)": ("1.5", "1234567.25"), "bit(1)": ("b'0'", "b'1'"), "bit(8)": ("b'01'", "b'11111111'"),
    "date": ("'2026-11-30'", "'9999-12-31'"), "time": ("'10:00:01'", "'-838:59:59'"), "time(3)": ("'10:00:01.25'", "'26:00'"),
    "datetime": ("'2026-11-30 10:00:00'", "'1000-01-01'"), "datetime(6)": ("'2026-11-30 10:00:00.123456'", "'2026-01-01'"),
    "timestamp": ("'2026-11-30 10:00:00'", "'2026-01-01'"), "timestamp(6)": ("'2026-11-30 10:00:00.123456'", "'2026-01-01'"),
    "year": ("2026", "1999"), "char(5)": ("'a'", "'b'"), "varchar(20)": ("'a b'", "'é:x%s'"),
    "char(5) CHARACTER SET latin1": ("'a'", "'é'"), "varchar(9) CHARACTER SET utf8mb3": ("'a'", "'é'"),
    "varchar(9) CHARACTER SET ucs2": ("'a'", "'é'"), "varchar(9) CHARACTER SET utf16": ("'a'", "'é'"),
    "varchar(9) CHARACTER SET utf32": ("'a'", "'é'"), "varchar(9) CHARACTER SET cp1251": ("'a'", "'ю'"),
    "varchar(9) CHARACTER SET ascii": ("'a'", "'b'"), "varchar(9) CHARACTER SET big5": ("'a'", "'中'"),
    "varchar(9) CHARSET latin1 COLLATE latin1_general_cs": ("'A'", "'a'"),
    "varchar(9) COLLATE utf8mb4_bin": ("'A'", "'a'"),
    "varchar(9) COLLATE utf8mb4_unicode_ci": ("'Straße'", "'Strasze'"),
    "tinytext": ("'a'", "'b'"), "text": ("'a'", "'b'"), "mediumtext": ("'a'", "'b'"), "longtext": ("'a'", "'b'"),
    "binary(4)": ("'ab'", "'cd'"), "varbinary(9)": ("'ab'", "x'ff00'"), "tinyblob": ("'a'", "x'ff'"),
    "blob": ("'a'", "x'ff'"), "mediumblob": ("'a'", "x'ff'"), "longblob": ("'a'", "x'ff'"),
    "enum('low','high')": ("'low'", "'high'"), "set('a','b')": ("'a'", "'a,b'"),
    "json": ("'{\"a\": 1}'", "'[1]'"), "point": ("ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(3 4)')"),
    "geometry": ("ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(3 4)')"),
    "uuid": ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'"),
    "inet4": ("'10.0.0.1'", "'10.0.0.2'"), "inet6": ("'::1'", "'2001:db8::ff00:42:8329'"),
    "vector(2)": ("x'0000803f0000803f'", "x'000080400000803f'"), "xmltype": ("'<a/>'", "'<b/>'"),
}  # fmt: skip
"""Two values of each type, as SQL."""

_LONG = ("tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob")
_NO_INDEX = ("json", "point", "geometry", "vector(2)", "xmltype")
_NO_KEY = ("binary(4)", "varbinary(9)", "tinyblob", "blob", "mediumblob", "longblob", "bit(1)", "bit(8)", "float")

BESIDE = f"odd schema {os.getpid()}"
"""Another database of the same server."""


def known() -> set[str]:
    """Types that have a sample, by the names of the catalogue."""
    return {one.partition("(")[0] for one in _PAIRS} | {"geometrycollection", "linestring", "multilinestring",
            "multipoint", "multipolygon", "polygon"}  # fmt: skip


CAGE = Cage(
    quoted=lambda name: f"`{name.replace('`', '``')}`",
    now="UTC_TIMESTAMP(6)",
    stamp="datetime(6)",
    text="varchar(60)",
    casts=False,
)


def animals() -> list[Animal]:
    """All of them."""
    found = []
    for name, pair in _PAIRS.items():
        if name not in _NO_INDEX:
            prefix = "(9)" if name in _LONG else ""
            found.append(CAGE.typed(name, name, *pair, prefix=prefix, kind=NO_KEY if name in _NO_KEY else ""))
        # MySQL sends it as a type that the driver takes for the end of the rows.
        kind = "a table with a column of type VECTOR" if name.startswith("vector") else ""
        found.append(CAGE.typed(name, name, *pair, plain=True, kind=kind))
    return [*found, *_tables(), *_views(), *odd_names(CAGE, but=frozenset({"é" * 31}))]


def _tables() -> list[Animal]:
    table = CAGE.table
    part, versions = "a partitioned table", "a system-versioned table"
    found = [
        table("a table without a primary key", "no key", primary=False),
        table("a table with generated columns", "virtual", columns=", g varchar(61) AS (concat(v, '!')) VIRTUAL"),
        table("a table with generated columns", "stored", columns=", g varchar(61) AS (concat(v, '!')) STORED"),
        table("a table with columns that SELECT * leaves out", "invisible", columns=", g int DEFAULT 7 INVISIBLE"),
        table("a table in another schema", "schema", called=f"{BESIDE}.loan"),
        *(table("a table of an engine without snapshots", one, options=f" ENGINE={one}") for one in ("MyISAM", "Aria", "MEMORY")),
        table("a table of an engine without snapshots", "dynamic", options=" ENGINE=MyISAM ROW_FORMAT=DYNAMIC"),
        *(table("a table", f"row format {one}", options=f" ROW_FORMAT={one}") for one in ("COMPRESSED", "REDUNDANT")),
        *(table("a table", f"charset {one}", options=f" CHARACTER SET {one}") for one in ("latin1", "utf8mb3", "ucs2", "binary", "cp850")),
        table(part, "range", options=" PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (2), PARTITION b VALUES LESS THAN MAXVALUE)"),
        table(part, "list", options=" PARTITION BY LIST (id) (PARTITION a VALUES IN (1, 2), PARTITION b VALUES IN (3))"),
        table(part, "hash", options=" PARTITION BY HASH (id) PARTITIONS 4"),
        table(part, "key", options=" PARTITION BY KEY (id) PARTITIONS 4"),
        table(part, "sub", options=" PARTITION BY RANGE (id) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (PARTITION b VALUES LESS THAN MAXVALUE)"),
        table(versions, "versioned", options=" WITH SYSTEM VERSIONING"),
        table(versions, "columns versioned", columns=", s timestamp(6) GENERATED ALWAYS AS ROW START, e timestamp(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)", options=" WITH SYSTEM VERSIONING"),
        table(versions, "invisible versions", columns=", s timestamp(6) GENERATED ALWAYS AS ROW START INVISIBLE, e timestamp(6) GENERATED ALWAYS AS ROW END INVISIBLE, PERIOD FOR SYSTEM_TIME (s, e)", options=" WITH SYSTEM VERSIONING"),
        table(versions, "by transaction", columns=", s bigint unsigned GENERATED ALWAYS AS ROW START, e bigint unsigned GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)", options=" WITH SYSTEM VERSIONING ENGINE=InnoDB"),
        table(versions, "history apart", options=" WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME (PARTITION old HISTORY, PARTITION new CURRENT)"),
        table(versions, "one column", columns=", w int DEFAULT 1 WITHOUT SYSTEM VERSIONING", options=" WITH SYSTEM VERSIONING"),
        table("a table with a period of its own", "period", columns=", s date DEFAULT '2026-01-01' NOT NULL, e date DEFAULT '2027-01-01' NOT NULL, PERIOD FOR valid (s, e)"),
    ]  # fmt: skip
    several = table(
        "a table with a key of several columns", "several", columns=", n int DEFAULT 7, t varchar(9) DEFAULT 'x/y'"
    )
    found.append(Animal(**{**vars(several), "key": ("id", "n", "t")}))
    generated = table("a table whose key is generated", "generated key", columns=", g int AS (id * 2) STORED UNIQUE")
    found.append(Animal(**{**vars(generated), "key": ("g",)}))
    return found


def _views() -> list[Animal]:
    table = CAGE.table
    seen = table("a view", "viewed", after=["CREATE VIEW a_view AS SELECT * FROM viewed"])
    merged = table("a view", "viewed2", after=["CREATE ALGORITHM=TEMPTABLE VIEW grouped AS SELECT id, max(v) AS v, max(at_) AS at_ FROM viewed2 GROUP BY id"])  # fmt: skip
    return [Animal(**{**vars(seen), "table": "a_view"}), Animal(**{**vars(merged), "table": "grouped"})]
