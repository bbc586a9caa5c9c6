"""The tests of capture on MySQL and on other MariaDBs than the machine's, as far as `make servers` could make them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.database import mariadb_found, mariadb_own, release
from testbed.database.release import Release

TESTS = Path(__file__).parents[1]
CAPTURE = (
    "contract/test_source_reading.py",
    "contract/test_source_columns.py",
    "integration/test_source_mariadb.py",
    "integration/test_source_session.py",
)
SHIPPED = ("integration/test_shipped_mappings_book.py", "integration/test_shipped_mappings_versions.py")

# As a server is set up in French, for names and texts in which capitals matter in other ways than usual.
ODD = (
    "--lc-messages=fr_FR",
    "--lower-case-table-names=1",
    "--character-set-server=latin1",
    "--collation-server=latin1_general_cs",
    "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH,STRICT_ALL_TABLES",
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


SERVERS = [
    # MariaDB is tried each time, by the one that is found.
    pytest.param(one, id=one.name, marks=pytest.mark.night if one.product.startswith("MariaDB") else ())
    for one in release.ALL
]


@pytest.mark.parametrize("one", SERVERS)
def test_capture_and_shipped_mappings_hold_on_another_server(one: Release, tmp_path: Path) -> None:
    _run(one, tmp_path, CAPTURE + SHIPPED)


@pytest.mark.parametrize("one", SERVERS)
def test_capture_holds_on_a_server_with_odd_settings(one: Release, tmp_path: Path) -> None:
    _run(one, tmp_path, CAPTURE, *ODD)


def _run(one: Release, folder: Path, files: tuple[str, ...], *options: str) -> None:
    if one.lacking():
        pytest.skip(f"cannot run here: {one.product}: {one.lacking()}")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", "-k", "mariadb"]
    with mariadb_own.start(folder / "server", *options, release=one) as server:
        done = subprocess.run(
            [*command, *(str(TESTS / name) for name in files), "-p", "no:cacheprovider", "-p", "no:xdist"],
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
            | {mariadb_found.VARIABLE: server.url()},
            cwd=TESTS.parent,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout.splitlines()[-1]
