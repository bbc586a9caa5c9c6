"""Real servers for the tests: one PostgreSQL out of a wheel for the whole run, a fresh database for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from kiva_relay.demo import postgres

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    """A PostgreSQL of our own, started out of its wheel."""
    with postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: postgres.Server) -> str:
    """The URL of a fresh, empty database."""
    return postgres_server.create_database(f"test_{next(_numbers)}")
