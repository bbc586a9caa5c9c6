"""Every type and kind of table, by each way of watching: what waits for the sweep is what docs/engines.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.database import mariadb_found, mariadb_own, release
from testbed.database.postgres import PostgresServer
from testbed.database.release import Release
from testbed.zoo import keeper, mariadb, page, postgresql

HERE = mariadb_found.server()


@pytest.mark.parametrize("way", keeper.SQLITE)
def test_sqlite(tmp_path: Path, way: str) -> None:
    with keeper.of_sqlite(tmp_path) as mine:
        seen = keeper.watched(mine, way)
    assert page.differences(seen, "sqlite", way) == []
    assert not seen.missing


WAYS = [pytest.param(way, marks=() if way == "xmin" else pytest.mark.night) for way in keeper.POSTGRESQL]


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("way", WAYS)
def test_postgresql(logical_server: PostgresServer, way: str) -> None:
    with keeper.of_postgresql(logical_server) as mine:
        # A type of a newer PostgreSQL needs a sample.
        assert {row[0] for row in mine.rows(postgresql.CATALOGUE)} <= postgresql.known()
        seen = keeper.watched(mine, way)
    assert page.differences(seen, "postgresql", way) == []
    assert len(seen.outcomes) > 200


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.skipif(HERE is None, reason="this machine has no MariaDB")
@pytest.mark.parametrize("way", keeper.MARIADB)
def test_mariadb(way: str) -> None:
    assert HERE is not None
    with keeper.of_mariadb(HERE) as mine:
        assert {row[0].lower() for row in mine.rows(mariadb.CATALOGUE)} <= mariadb.known()
        seen = keeper.watched(mine, way)
    assert page.differences(seen, "mariadb", way) == []
    assert len(seen.outcomes) > 150


SERVERS = [
    # Each time PostgreSQL, MariaDB and SQLite are tried.
    pytest.param(one, id=one.name, marks=pytest.mark.night)
    for one in release.ALL
]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("one", SERVERS)
def test_another_server(tmp_path: Path, one: Release) -> None:
    if one.lacking():
        pytest.skip(f"cannot run here: {one.product}: {one.lacking()}")
    wrong: list[str] = []
    with mariadb_own.start(tmp_path / "server", release=one) as server:
        for way in keeper.MARIADB:
            with keeper.of_mariadb(mariadb_found.at(server.url())) as mine:
                wrong += page.differences(keeper.watched(mine, way), server.scheme, way)
    assert wrong == []
