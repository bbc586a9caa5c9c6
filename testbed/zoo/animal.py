"""One table, view or other thing that a mapping may name, and how its rows are changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kiva_relay.source.stream import Stream

NO_KEY = "a table, keyed by bytes, bits, FLOAT, `money`, an array, a range, a record or an object of the catalogue"


@dataclass(frozen=True)
class Animal:
    """Something that holds rows.

    `kind` is the line of the table in docs/engines.md; `name` tells it from its like. `make` are the statements that
    make it with two rows; `insert`, `update` and `delete` those that change it later, the last what `insert` made; `;;`
    stands between several. `stamp` is a column that says when a row changed.
    """

    kind: str
    name: str
    table: str
    key: tuple[str, ...]
    make: tuple[str, ...]
    insert: str
    update: str
    delete: str
    stamp: str = ""

    def stream(self, number: int, *, stamped: bool) -> Stream:
        """What a mapping of it reads."""
        return Stream(
            name=f"z{number}",
            resource="journal",
            table=self.table,
            key=self.key,
            changed_at=(self.stamp,) if stamped and self.stamp else (),
            changed_at_zone="utc",
        )


@dataclass(frozen=True)
class Cage:
    """How an engine writes what all engines have: names, the moment, the columns of a plain table."""

    quoted: Callable[[str], str]
    now: str
    stamp: str
    text: str
    """The type of a short text."""
    casts: bool = True
    """Whether a value is cast to its type; elsewhere its text is enough."""

    def table(
        self,
        kind: str,
        name: str,
        *,
        called: str = "",
        columns: str = "",
        options: str = "",
        after: Sequence[str] = (),
        column: str = "v",
        key: str = "id",
        primary: bool = True,
        mapped: str = "",
    ) -> Animal:
        """A table with a number as its key, a text and a stamp.

        Args:
            kind: the line of the docs.
            name: tells it from its like.
            called: the table's name, `name` where missing.
            columns: more of them, `, born date`; or constraints.
            options: what stands behind the columns.
            after: further statements that make it.
            column: what its text is called.
            key: what its key is called.
            primary: whether the key is declared.
            mapped: the name by which a mapping knows it, `called` where missing.
        """
        here = ".".join(self.quoted(one) for one in called.split(".")) if called else self.quoted(name)
        key_, text = self.quoted(key), self.quoted(column)
        made = f"CREATE TABLE {here} ({key_} int NOT NULL, {text} {self.text}, at_ {self.stamp}{columns}"
        made += f"{f', PRIMARY KEY ({key_})' if primary else ''}){options}"
        write = f"INSERT INTO {here} ({key_}, {text}, at_) VALUES"
        return Animal(
            kind=kind,
            name=name,
            table=mapped or called or name,
            key=(key,),
            make=(made, *after, f"{write} (1, 'a', {self.now}), (2, 'b', {self.now})"),
            insert=f"{write} (3, 'c', {self.now})",
            update=f"UPDATE {here} SET {text} = 'new', at_ = {self.now} WHERE {key_} = 1",
            delete=f"DELETE FROM {here} WHERE {key_} = 3",
            stamp="at_",
        )

    def typed(
        self, name: str, written: str, first: str, second: str, *, plain: bool = False, prefix: str = "", kind: str = ""
    ) -> Animal:
        """A table whose key and value are of a type; of its value only, where it cannot be a key (`plain`).

        Args:
            name: tells it from its like.
            written: the type, as SQL.
            first: a value of it, as SQL.
            second: another one.
            plain: the key is a number.
            prefix: `(10)`, where an index takes so much of the value only.
            kind: the line of the docs, where it is not the usual one.
        """
        table = f"{'value' if plain else 'key'} of {name}"
        keyed = "int" if plain else written
        if self.casts:
            first, second = (f"CAST({one} AS {written})" for one in (first, second))
        one, two = ("1", "2") if plain else (first, second)
        here = self.quoted(table)
        made = f"CREATE TABLE {here} (k {keyed} NOT NULL, v {written}, at_ {self.stamp}, PRIMARY KEY (k{prefix}))"
        write = f"INSERT INTO {here} (k, v, at_) VALUES"
        return Animal(
            kind=kind or f"a table, {'with a column' if plain else 'keyed by a column'} of any type",
            name=table,
            table=table,
            key=("k",),
            make=(made, f"{write} ({one}, {first}, {self.now})"),
            insert=f"{write} ({two}, {first}, {self.now})",
            update=f"UPDATE {here} SET v = {second}, at_ = {self.now}",
            delete=f"DELETE FROM {here} WHERE k = {two}",
            stamp="at_",
        )


NAMES = (
    "Loan", "ALLCAPS", "select", "order", "user", "loan table", "loan-table", 'quo"ted', "apos'trophe", "back`tick",
    "100%", "50%s", "%(name)s", "a:b", "a :b", ":state", "back\\slash", "dollar$", "кредит", "prêt", "قرض", "贷款",
    "self", "root", "kr_root", "r", "x" * 63, "é" * 31, "1loan", "brace{0}", "semi;colon", "--comment", "/*c*/",
    "new\tline", "?", "@at", "#hash", "a,b", "a(b)", "[a]",
)  # fmt: skip
"""Names of tables and columns that somebody has. One with a full stop cannot be written: it is schema and table."""


def odd_names(cage: Cage, *, but: frozenset[str] = frozenset()) -> list[Animal]:
    """A table for each name, and one whose columns are called so."""
    found = []
    for name in NAMES:
        if name not in but:
            found.append(cage.table("a name of any letters", f"table {name}", called=name, column=name))
            found.append(cage.table("a name of any letters", f"key {name}", called=f"k {name}"[:31], key=name))
    return found
