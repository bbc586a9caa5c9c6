"""`make zoo`: every type and kind of table of each engine that this machine has, by every way of watching."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from testbed.database import mariadb_found, mariadb_own, postgres, release
from testbed.zoo import keeper, page
from testbed.zoo.keeper import Keeper


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _look(opened: AbstractContextManager[Keeper], engine: str, way: str, product: str) -> bool:
    began = time.monotonic()
    with opened as mine:
        seen = keeper.watched(mine, way)
    wrong = page.differences(seen, engine, way)
    _say(f"{product}, {way}: {len(seen.outcomes)} tables in {time.monotonic() - began:.0f} s, {len(wrong)} otherwise")
    for line in wrong:
        _say(f"  {line}")
    for name, why in seen.missing.items():
        _say(f"  not there: {name}: {why}")
    return not wrong


def _all(folder: Path) -> Iterator[bool]:
    (folder / "sqlite").mkdir()
    for way in keeper.SQLITE:
        yield _look(keeper.of_sqlite(folder / "sqlite"), "sqlite", way, "SQLite")
    with postgres.start(folder / "postgresql", settings={"wal_level": "logical"}) as server:
        for way in keeper.POSTGRESQL:
            yield _look(keeper.of_postgresql(server), "postgresql", way, f"PostgreSQL {postgres.version()}")
    here = mariadb_found.server()
    for way in keeper.MARIADB if here else ():
        assert here is not None
        yield _look(keeper.of_mariadb(here), "mariadb", way, here.version)
    for one in release.made():
        with mariadb_own.start(folder / one.name, release=one) as own:
            for way in keeper.MARIADB:
                yield _look(keeper.of_mariadb(mariadb_found.at(own.url())), own.scheme, way, one.product)


def main() -> int:
    """0 when every change was seen as the page says."""
    with tempfile.TemporaryDirectory() as folder:
        good = all([*_all(Path(folder))])
    for line in release.told():
        _say(f"not run: {line}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
