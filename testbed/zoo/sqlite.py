"""The animals of SQLite: its affinities and kinds of tables."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.zoo.animal import NO_KEY, Animal, Cage, odd_names

CAGE = Cage(quoted=lambda name: '"' + name.replace('"', '""') + '"', now="datetime()", stamp="text", text="text", casts=False)  # fmt: skip

_PAIRS: Mapping[str, tuple[str, str]] = {
    "int": ("-1", "9007199254740993"), "integer": ("1", "2"), "text": ("'a b'", "'é:x%s'"), "real": ("0.1", "1e300"),
    "blob": ("x'01'", "x'ff'"), "numeric": ("1.5", "'a'"), "boolean": ("0", "1"), "date": ("'2026-11-30'", "'2027-01-01'"),
    "datetime": ("'2026-11-30 10:00:00'", "'2026-11-30T10:00:00Z'"), "varchar(9)": ("'a'", "'b'"),
    "decimal(12,2)": ("1.5", "2"), "text COLLATE NOCASE": ("'a'", "'b'"), "uuid": ("'a0eebc99'", "'b0eebc99'"),
    "json": ("'{}'", "'[1]'"),
}  # fmt: skip


def animals() -> list[Animal]:
    """All of them."""
    table = CAGE.table
    found = [CAGE.typed(name, name, *pair, kind=NO_KEY if name == "blob" else "") for name, pair in _PAIRS.items()]
    found += [CAGE.typed(name, name, *pair, plain=True) for name, pair in _PAIRS.items()]
    several = table(
        "a table with a key of several columns", "several", columns=", n int DEFAULT 7, t text DEFAULT 'x/y'"
    )
    seen = table("a view", "viewed", after=["CREATE VIEW a_view AS SELECT * FROM viewed"])
    generated = table("a table whose key is generated", "generated key", columns=", g int AS (id * 2) STORED UNIQUE")
    return [
        *found,
        table("a table without a primary key", "no key", primary=False),
        table("a table with generated columns", "virtual", columns=", g text AS (v || '!') VIRTUAL"),
        table("a table with generated columns", "stored", columns=", g text AS (v || '!') STORED"),
        table("a table", "without rowid", options=" WITHOUT ROWID"),
        table("a table", "strict", options=" STRICT"),
        Animal(**{**vars(several), "key": ("id", "n", "t")}),
        Animal(**{**vars(generated), "key": ("g",)}),
        Animal(**{**vars(seen), "table": "a_view"}),
        *odd_names(CAGE),
    ]  # fmt: skip
