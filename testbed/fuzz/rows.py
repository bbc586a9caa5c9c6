"""Odd values in columns of every type, through reader, mapper and digest: `python -m testbed.fuzz.rows --number 10000`.

On SQLite, where any column holds anything, and on PostgreSQL, where each type has oddities of its own. Pages of good rows
with some odd ones among them: nothing may raise, every key has its content, every good row becomes its body, and an odd
one a body or a refusal. What fails is told with its seed, which repeats the page: `--seed 17 --number 40`.
"""

from __future__ import annotations

import argparse
import random
import resource
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg

from kiva_relay.capture import page as pages
from kiva_relay.clock import SystemClock
from kiva_relay.mapping import mapper
from kiva_relay.mapping.plan import Document
from kiva_relay.source.mis import Mis
from testbed.database import postgres
from testbed.fuzz import photo_sample
from testbed.rig import capturing
from testbed.rig.mapping_file import context, load

ROWS = 40
MEMORY = 200 * 1024 * 1024
_SHOWN = 20

MAPPING = """\
resource: loan_draft
identity: account
source: {table: loan, key: id, created_at: stamped | date, where: "status <> 9"}
relations:
  schedule: {table: instalment, match: {loan_id: id}, many: true, order_by: number}
fields:
  entreps:
    - client_id: client_no
      loan_id: account
      first_name: {from: first_name, name: true}
      last_name: {from: last_name, text: true}
      gender: {from: gender, choose: {F: female, M: male, 1: female, 0: male}, else: leave_out}
      amount: {from: amount, money: 2}
  client_waiver_signed: waiver
  currency: {from: currency, lookup: currencies}
  description: {from: "story ~ ' ' ~ (code or '') ~ ' ' ~ (extra or '')", text: true}
  loanuse: {from: purpose, trim: true}
  activity_id: {from: activity, lookup: activities, else: leave_out}
  disburse_time: {from: disbursed, date: true}
  schedule:
    each: schedule
    do: {date: due, principal: principal, interest: interest or 0}
  image_encoded: {from: photo, image: true, else: leave_out}
"""

_TYPES = {
    "account": "varchar(100000)", "client_no": "bigint", "first_name": "text", "last_name": "varchar(100000)", "gender": "text",
    "amount": "numeric", "waiver": "boolean", "currency": "text", "story": "text", "code": "integer", "extra": "jsonb",
    "purpose": "text", "activity": "text", "disbursed": "date", "photo": "bytea", "stamped": "timestamptz", "status": "smallint",
    "unread_float": "float8", "unread_money": "money", "unread_interval": "interval", "unread_array": "text[]", "unread_uuid": "uuid",
    "unread_inet": "inet", "unread_range": "tstzrange", "unread_bits": "bit varying", "unread_time": "timetz", "unread_json": "json",
    "unread_moment": "timestamp", "unread_point": "point", "unread_xml": "text",
}  # fmt: skip
"""The columns of a loan, and what PostgreSQL calls their types."""

_TEXTS: tuple[Any, ...] = (
    "", " ", "\t\n", "\x01", "\u202egnp", "\u200b", "\ufeff", "\U000e0041", "Ã©" * 30_000, "x" * 70_000, "0", "-", "NULL", "None",
    "{{7*7}}", "%s", ":cutoff", "\N{REPLACEMENT CHARACTER}", "é", "e\u0301", "😀", "علی\u200cرضا", "' OR 1=1", "<b>", "0000-00-00",
    "2026-02-30", "31/12/2026", "9" * 400, "0" * 5_000 + "x", "1e999", "NaN", "²", "٣", "data:image/png;base64,AAAA", "../../etc/passwd",
    "https://x/y", "\\", "\r", "\x85", "\u2028", "a" * 299 + "é", "NG'ANG'A", "ʻ", "''", "-" * 500, "İ" * 200, "ß", "\U0001f468\u200d\U0001f33e",
)  # fmt: skip
_NUMBERS = (0, 1, 2, -1, 7, 2**31 - 1, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63))

_LITERALS: dict[str, tuple[str, ...]] = {
    "bigint": tuple(map(str, _NUMBERS)),
    "integer": ("0", "-1", "2147483647", "-2147483648"),
    "smallint": ("0", "-32768", "32767", "9"),
    "numeric": ("'NaN'", "'Infinity'", "'-Infinity'", "0", "-0.00", "1e400", "1e-400", "-5", "0.005", "99999999999999999999999999999.99", "1e30"),
    "boolean": ("true", "false"),
    "date": ("'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'", "'4713-01-01 BC'", "'0001-01-01'", "'9999-12-31'", "'2570-01-01'"),
    "timestamptz": ("'infinity'", "'-infinity'", "'0044-03-15 BC'", "'294276-12-31'", "'0001-01-01 00:00+14'", "'9999-12-31 23:59-12'"),
    "timestamp": ("'infinity'", "'-infinity'", "'0044-03-15 BC'", "'294276-12-31'", "'9999-12-31 23:59:59.999999'"),
    "jsonb": ("'null'", "'1e400'", "'[[[[]]]]'", "'{\"a\": {\"b\": 1}}'", "'\"\\u202e\"'", "'true'", "'12345678901234567890123'"),
    "json": ("'{\"a\":1,\"a\":2}'", "'\"\\ud800\"'", "'\"\\u0000\"'", "'1e400'", "'null'"),
    "float8": ("'NaN'", "'Infinity'", "'-Infinity'", "1e308", "5e-324", "-0.0"),
    "money": ("'-92233720368547758.08'", "'92233720368547758.07'", "0"),
    "interval": ("'178000000 years'", "'-178000000 years'", "'1 mon -1 day 00:00:00.000001'"),
    "text[]": ("'{}'", "'{NULL}'", "'{{a,b},{c,d}}'", "'[5:6]={a,b}'"),
    "uuid": ("'00000000-0000-0000-0000-000000000000'",),
    "inet": ("'::1/3'", "'10.0.0.0/8'"),
    "tstzrange": ("'empty'", "'(,)'", "'[infinity,infinity]'"),
    "bit varying": ("B''", "B'10101'"),
    "timetz": ("'24:00:00'", "'00:00:00+15:59:59'"),
    "point": ("'(NaN,Infinity)'",),
    "bytea": ("''", "'\\x00'", "'\\xffd8ffe0'", "decode(repeat('ff', 70000), 'hex')", "convert_to('https://x', 'UTF8')"),
}  # fmt: skip
"""Oddities of PostgreSQL's types, as SQL; texts have those of `_TEXTS`."""

_LITE: tuple[Any, ...] = (
    *_TEXTS,
    *_NUMBERS,
    1.5,
    1e308,
    float("inf"),
    -0.0,
    5e-324,
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xff" * 70_000,
)


@dataclass
class FuzzedRows:
    """What became of the rows on one database. `wrong` are the failures, each with its seed."""

    number: int = 0
    odd: int = 0
    found: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def _good(key: int) -> dict[str, Any]:
    """A loan with nothing odd."""
    return {
        "account": f"L{key:06}", "client_no": 1000 + key, "first_name": "FATOU", "last_name": "Ndiaye", "gender": "F", "amount": 100,
        "waiver": True, "currency": "XOF", "story": "She sells rice.", "code": 3, "purpose": "to buy rice", "activity": "Livestock",
        "disbursed": "2026-11-20", "photo": photo_sample.saved(photo_sample.picture(), "PNG"), "stamped": "2026-11-20 08:00:00+00:00", "status": 1,
    }  # fmt: skip


class _Database:
    """A database with one page of loans, each as good as another until `spoil` changes one value."""

    url: str

    def close(self) -> None:
        """End what is open."""

    def page(self) -> None:
        """Empty the tables, and fill them with good rows."""
        raise NotImplementedError

    def spoil(self, dice: random.Random, key: int) -> str:
        """One odd value in a row; what it is, empty where the database does not take it."""
        raise NotImplementedError


class _SQLite(_Database):
    def __init__(self, folder: Path) -> None:
        self._file = folder / "mis.db"
        self.url = f"sqlite:///{self._file}"
        with closing(sqlite3.connect(self._file)) as cx:
            cx.execute(f"CREATE TABLE loan (id INTEGER PRIMARY KEY, {', '.join(_TYPES)})")
            cx.execute("CREATE TABLE instalment (loan_id, number, due, principal, interest)")
            cx.commit()

    def page(self) -> None:
        with closing(sqlite3.connect(self._file)) as cx:
            cx.execute("DELETE FROM loan")
            cx.execute("DELETE FROM instalment")
            for key in range(1, ROWS + 1):
                row = {"id": key} | _good(key)
                cx.execute(f"INSERT INTO loan ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", [*row.values()])
                cx.execute("INSERT INTO instalment VALUES (?, 1, '2026-12-20', 100, 5)", [key])
            cx.commit()

    def spoil(self, dice: random.Random, key: int) -> str:
        value = dice.choice(_LITE)
        with closing(sqlite3.connect(self._file)) as cx:
            if dice.random() < 0.2:
                column = dice.choice(("due", "principal", "interest", "number"))
                cx.execute(f"UPDATE instalment SET {column} = ? WHERE loan_id = ?", [value, key])
            else:
                column = dice.choice([*_TYPES])
                raw = dice.random() < 0.1  # bytes that call themselves a text, as an import leaves them
                sql = "CAST(x'ff41fe' AS TEXT)" if raw else "?"
                cx.execute(f"UPDATE loan SET {column} = {sql} WHERE id = ?", [key] if raw else [value, key])
            cx.commit()
        return f"{column} = {value!r}"[:200]


class _PostgreSQL(_Database):
    def __init__(self, url: str) -> None:
        self.url = url
        self._cx = psycopg.connect(url, autocommit=True)
        self._cx.execute(
            f"CREATE TABLE loan (id int PRIMARY KEY, {', '.join(f'{name} {kind}' for name, kind in _TYPES.items())})"
        )
        self._cx.execute(
            "CREATE TABLE instalment (loan_id int, number int, due timestamptz, principal numeric, interest float8)"
        )

    def close(self) -> None:
        self._cx.close()

    def page(self) -> None:
        self._cx.execute("TRUNCATE loan, instalment")
        for key in range(1, ROWS + 1):
            row = {"id": key} | _good(key)
            self._cx.execute(
                f"INSERT INTO loan ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", [*row.values()]
            )
            self._cx.execute("INSERT INTO instalment VALUES (%s, 1, '2026-12-20', 100, 5)", [key])

    def spoil(self, dice: random.Random, key: int) -> str:
        table, column, kind = "loan", *dice.choice([*_TYPES.items()])
        if dice.random() < 0.2:
            table, column, kind = (
                "instalment",
                *dice.choice((("due", "timestamptz"), ("principal", "numeric"), ("interest", "float8"))),
            )
        named = "id" if table == "loan" else "loan_id"
        literal = dice.choice(_LITERALS[kind]) if kind in _LITERALS else None
        value = None if literal else dice.choice(_TEXTS)
        try:
            given = [] if literal else [value]
            self._cx.execute(f"UPDATE {table} SET {column} = {literal or '%s'} WHERE {named} = {key}", given or None)
        except psycopg.Error:
            return ""
        return f"{table}.{column} = {literal or repr(value)}"[:200]


def _judged(mapping: Document, mis: Mis, spoilt: dict[int, str], result: FuzzedRows, seed: int) -> None:
    look = capturing.look(document=mapping)
    keys = [str(key) for key in range(1, ROWS + 1)]
    contents = mis.read(mapping.stream, keys, cutoff=date(2026, 10, 31))
    if [content.key for content in contents] != keys:
        result.wrong.append(f"seed {seed}: {len(contents)} of {ROWS} rows came")
    for content in contents:
        odd = spoilt.get(int(content.key), "")
        pages._digest(content, look)
        mapped = mapper.apply(mapping, content, context=context(photos="bytes"))
        result.number += 1
        result.odd += bool(odd)
        kind = "body" if mapped.body is not None else "refused" if mapped.refusals else "nothing"
        result.found[f"{'odd' if odd else 'good'} {kind}"] += 1
        orjson.dumps([each.to_json() for each in mapped.refusals])
        if not odd and mapped.body is None:
            result.wrong.append(f"seed {seed}: good row {content.key} is refused: {mapped.refusals}")
        if odd and kind == "nothing" and content.in_scope and mapped.waiting is None:
            result.wrong.append(f"seed {seed}: row {content.key} ({odd}) came to nothing")
        if any(len(value) > 600 for each in mapped.refusals for value in each.params.values()):
            result.wrong.append(f"seed {seed}: row {content.key} ({odd}) has a refusal without bound")


def run(database: _Database, mapping: Document, *, seed: int, number: int) -> FuzzedRows:
    """Read and map pages of rows until so many odd ones were met."""
    result = FuzzedRows()
    mis = Mis(
        database.url,
        password=None,
        timezone="UTC",
        statement_timeout=timedelta(seconds=30),
        watch="auto",
        clock=SystemClock(),
    )
    with closing(mis), closing(database):
        while result.odd < number:
            dice = random.Random(f"rows {seed}")
            database.page()
            spoilt = {
                key: what for key in dice.sample(range(1, ROWS + 1), ROWS // 2) if (what := database.spoil(dice, key))
            }
            began = time.monotonic()
            try:
                _judged(mapping, mis, spoilt, result, seed)
            except Exception:
                result.wrong.append(f"seed {seed}: {traceback.format_exc(limit=-6)} with {spoilt}"[:4000])
                result.odd += len(spoilt)
            if time.monotonic() - began > 20:
                result.wrong.append(f"seed {seed}: the page took {time.monotonic() - began:.0f} s")
            seed += 1
    return result


def mapping(folder: Path) -> Document:
    """The mapping that reads all the columns."""
    return load(folder, MAPPING)


@contextmanager
def _databases(folder: Path, only: str | None) -> Iterator[dict[str, Callable[[], _Database]]]:
    made: dict[str, Callable[[], _Database]] = {"SQLite": lambda: _SQLite(folder)}
    if only == "sqlite":
        yield made
        return
    with postgres.start(folder / "postgres") as server, server.database("rows") as url:
        yield made | {"PostgreSQL": lambda: _PostgreSQL(url)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=10_000, help="how many odd rows on each database")
    parser.add_argument("--seed", type=int, default=0, help="the page that is the first")
    parser.add_argument("--only", choices=["sqlite"], help="only on this database")
    chosen = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as name, _databases(Path(name), chosen.only) as databases:
        document = mapping(Path(name))
        for called, make in databases.items():
            began = time.monotonic()
            result = run(make(), document, seed=chosen.seed, number=chosen.number)
            counts = ", ".join(f"{count:,} {what}" for what, count in sorted(result.found.items()))
            took = time.monotonic() - began
            sys.stdout.write(
                f"{called:<11} {result.odd:>7,} odd rows  {len(result.wrong)} wrong  {took:.0f} s  ({counts})\n"
            )
            sys.stdout.writelines(f"  {line}\n" for line in result.wrong[:_SHOWN])
            failed += len(result.wrong)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(f"at most {peak // 1024 // 1024} MB of memory\n")
    return 1 if failed or peak > MEMORY else 0


if __name__ == "__main__":
    raise SystemExit(main())
