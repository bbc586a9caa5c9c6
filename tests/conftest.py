"""Real servers for the tests: one PostgreSQL out of a wheel for the whole run, a fresh database for each test."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import sqlite3
import threading
from collections.abc import Generator, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import pytest

from kiva_relay import log
from testbed.database import mariadb_found, postgres, postgres_found, release
from testbed.rig import patience, temporary

if TYPE_CHECKING:
    # Most tests need none of it, and it takes a second to import: the fixtures that do import it themselves.
    from testbed.rig import site, streamed

_numbers = itertools.count(1)

if os.environ.get(postgres_found.VARIABLE):
    postgres.binaries = lambda: Path(os.environ[postgres_found.VARIABLE])


# How long an example may take says nothing about us, only about the machine.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let what the tests are made of stay to the end: Python need not look through it for garbage again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let a test take longer on a machine that is slower or busier."""
    own = item.get_closest_marker("timeout")
    quick = own.args[0] if own is not None else item.config.getoption("timeout") or item.config.getini("timeout")
    item.add_marker(pytest.mark.timeout(patience.seconds(float(quick))), append=False)
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Begin a run that ends in order, whoever ends it, in a folder of our own, whoever was here before us."""
    temporary.be_quick()
    temporary.be_compiled(config)
    temporary.be_ours(config)
    if threading.current_thread() is threading.main_thread():
        # SIGTERM runs no `finally`: what a test has started would stay. Ctrl-C is in order already.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)


def pytest_report_header() -> list[str]:
    """Which MIS databases the run tries, and how patient it is with the machine."""
    return [
        f"patience: {patience.factor():.1f} × (slowness {patience.slowness():.1f}, busyness {patience.busyness():.1f})",
        f"PostgreSQL: {postgres.version()}",
        f"SQLite: {sqlite3.sqlite_version}",
        f"MariaDB: {mariadb_found.told()}",
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which databases were not run, so that nobody takes them for tried."""
    if "not long" not in config.option.markexpr:
        for line in release.told():
            terminalreporter.write_line(f"not run: {line}", yellow=True)


@pytest.fixture(autouse=True, scope="module")
def _log_goes_to_standard_error() -> None:
    """What a test of another file did to the log is over."""
    log.configure()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.PostgresServer]:
    """A PostgreSQL of our own, started out of its wheel."""
    with postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def logical_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.PostgresServer]:
    """Another one, which has streams of its changes to follow."""
    settings = {"wal_level": "logical", "max_replication_slots": "60", "max_prepared_transactions": "5"}
    with postgres.start(tmp_path_factory.mktemp("logical"), settings=settings) as server:
        yield server


@pytest.fixture
def streamed_mis(
    logical_server: postgres.PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[streamed.Streamed]:
    """A small MIS on it, without publication and slot."""
    from testbed.rig import outboxes, streamed

    outboxes.made_at_once(monkeypatch)
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    made = streamed.create(tmp_path, logical_server, f"streamed_{next(_numbers)}")
    yield made
    made.teller.close()


@pytest.fixture
def postgres_database(postgres_server: postgres.PostgresServer) -> Iterator[str]:
    """The URL of a fresh, empty database."""
    with postgres_server.database(f"test_{next(_numbers)}") as url:
        yield url


@pytest.fixture(scope="session")
def outbox_template(postgres_server: postgres.PostgresServer) -> str:
    """A database that was migrated once, to be cloned: its name."""
    from testbed.rig import outboxes

    outboxes.migrated(postgres_server.create_database("outbox")).close()
    return "outbox"


@pytest.fixture
def postgres_outbox(postgres_server: postgres.PostgresServer, outbox_template: str) -> Iterator[str]:
    """The URL of a fresh outbox with its tables."""
    with postgres_server.database(f"outbox_{next(_numbers)}", template=outbox_template) as url:
        yield url


@pytest.fixture(scope="session")
def book_template(
    postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A database with a small book of today, to be cloned, and the folder of its photos."""
    return _book(postgres_server, tmp_path_factory, "book", clients=150)


@pytest.fixture(scope="session")
def few_clients(postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The same with few clients, for tests that read it in anew and are about what comes after that."""
    return _book(postgres_server, tmp_path_factory, "few_clients", clients=30)


def _book(
    server: postgres.PostgresServer, folders: pytest.TempPathFactory, name: str, *, clients: int
) -> tuple[str, Path]:
    from testbed.institution import book, fineract

    photos = folders.mktemp("photos")
    with psycopg.connect(server.create_database(name)) as connection:
        fineract.create(connection)
        book.seed(connection, photos, today=date.today(), clients=clients)
    return name, photos


@pytest.fixture
def mis_of_its_own(
    postgres_server: postgres.PostgresServer, book_template: tuple[str, Path]
) -> Iterator[tuple[str, Path]]:
    """The URL of a book that belongs to one test, and the folder of its photos."""
    name, photos = book_template
    with postgres_server.database(f"book_{next(_numbers)}", template=name) as url:
        yield url, photos


@pytest.fixture
def house(mis_of_its_own: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[site.Site]:
    """A MIS with a book, a stand-in for Kiva, and what is needed to put a relay between them."""
    from kiva_relay.delivery import proxy
    from testbed.kiva import control, server
    from testbed.rig import outboxes, site

    outboxes.made_at_once(monkeypatch)
    # Nothing is encrypted between the two, and the machine's certificates take as long to read as a loan to send.
    monkeypatch.setattr(proxy, "_take_own", lambda _context: None)
    url, photos = mis_of_its_own
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t-of-the-relay")
    with (
        psycopg.connect(url, autocommit=True) as connection,
        server.start() as pa2,
        control.Sandbox(pa2.url) as kiva,
    ):
        yield site.Site(tmp_path, url, photos, connection, pa2, kiva)
