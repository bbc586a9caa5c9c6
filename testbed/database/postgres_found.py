"""Other PostgreSQLs than the one of the wheel, as far as this machine has their binaries."""

from __future__ import annotations

from pathlib import Path

VARIABLE = "KIVA_RELAY_TEST_POSTGRESQL"
"""Names the folder of the binaries (`initdb`, `postgres`) that the tests start instead of the wheel's."""

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")


def others() -> list[Path]:
    """Where Debian's and PostgreSQL's own packages put them."""
    return sorted(found.parent for place in _PLACES for found in Path("/").glob(f"{place[1:]}/initdb"))
