"""Some months of the played year: what Kiva holds and what the report says are what the transactions say."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.database import mariadb_own
from testbed.year import run

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_months_equal_the_transactions(engine: str, tmp_path: Path) -> None:
    """A month without trouble; on PostgreSQL another one, with lost calls, kills, and a MIS that is away."""
    if engine == "mariadb" and not mariadb_own.found():
        pytest.skip("cannot run here: there is no MariaDB")
    number = 2 if engine == "postgresql" else 1
    tried = 0
    for month, year in run.play(engine, tmp_path, loans=120, number=number, seed=7):
        assert month.wrongs == []
        assert month.counts["undisputed"] > 0
        assert month.counts["expected"] > month.counts["undisputed"], "nothing went astray"
        assert month.counts["line: accepted"] >= month.counts["undisputed"]
        assert year.kills or not year.troubled
        year.troubled = True
        tried += 1
    assert tried == number


def test_a_daemon_runs_through_the_ends_of_two_months(tmp_path: Path) -> None:
    months = list(run.by_daemon("postgresql", tmp_path, loans=60, number=2, seed=5))
    assert [month.wrongs for month in months] == [[], []]
    assert all(month.counts["line: accepted"] == month.counts["undisputed"] > 0 for month in months)
