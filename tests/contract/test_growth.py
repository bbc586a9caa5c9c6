"""What one step costs does not depend on what was settled before: counted in steps of the database, not in seconds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import entry, listing, query, sending, store
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.resource.kind import RESOURCES
from testbed.rig import outboxes
from testbed.rig.life import DAY, Life

FEW, MANY = 20, 2000
"""Loans with a history; a statement that reads all of it is a hundred times as dear."""


@dataclass
class Steps:
    """How many instructions SQLite's machine needed, by statement."""

    by_statement: Counter[str] = field(default_factory=Counter)
    current: str = "begin"

    @contextmanager
    def counted(self, outbox: Outbox) -> Iterator[None]:
        def step() -> int:
            self.by_statement[self.current] += 1
            return 0

        def connected(connection: Any, _record: Any) -> None:
            connection.set_progress_handler(step, 10)

        def executes(_cx: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            self.current = re.sub(r"\(\?(, \?)*\)", "(?)", statement)

        outbox.engine.dispose()
        sa.event.listen(outbox.engine, "connect", connected)
        sa.event.listen(outbox.engine, "before_cursor_execute", executes)
        try:
            yield
        finally:
            sa.event.remove(outbox.engine, "connect", connected)
            sa.event.remove(outbox.engine, "before_cursor_execute", executes)
            outbox.engine.dispose()


@dataclass
class Read:
    """How many rows of the tables that grow PostgreSQL read, by table, as it counts them in each transaction."""

    rows: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def counted(self, outbox: Outbox) -> Iterator[None]:
        before: dict[str, int] = {}

        def read(connection: sa.Connection) -> dict[str, int]:
            return {str(name): int(number) for name, number in connection.connection.execute(_READ)}

        def begins(connection: sa.Connection) -> None:
            before.clear()
            before.update(read(connection))

        def executed(connection: sa.Connection, _cursor: Any, statement: str, *_more: Any) -> None:
            now = read(connection)
            for name, number in now.items():
                self.rows[f"{name} by {statement}"] += number - before.get(name, 0)
            before.update(now)

        def ends(connection: sa.Connection) -> None:
            connection.connection.execute(_FLUSH)

        listened: dict[str, Callable[..., None]] = {
            "begin": begins,
            "after_cursor_execute": executed,
            "commit": ends,
            "rollback": ends,
        }
        for event, does in listened.items():
            sa.event.listen(outbox.engine, event, does)
        try:
            yield
        finally:
            for event, does in listened.items():
                sa.event.remove(outbox.engine, event, does)


_READ = (
    "SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
    " WHERE relname IN ('entry', 'attempt', 'batch', 'batch_member', 'captured', 'mirror', 'divergence',"
    " 'report_line', 'decision', 'position', 'upload', 'mirror_event')"
)
_FLUSH = "SELECT pg_stat_force_next_flush()"

Cost = dict[int, dict[str, Counter[str]]]
"""By how many loans have a history, what each step of a day costs."""


def day(life: Life) -> dict[str, Counter[str]]:
    """What each step of a day costs."""
    found: dict[str, Counter[str]] = {}
    for what, step in DAY.items():
        if life.outbox.is_file:
            steps = Steps()
            with steps.counted(life.outbox):
                step(life)
            found[what] = steps.by_statement
        else:
            read = Read()
            with read.counted(life.outbox):
                step(life)
            found[what] = read.rows
    return found


def analyse(outbox: Outbox) -> None:
    """Let the database look at what it holds: it plans otherwise then."""
    with outbox.engine.connect() as cx:
        cx.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")


@pytest.fixture(scope="module", params=[tuple(RESOURCES), ("loan_draft",)], ids=["all mappings", "one mapping"])
def on_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Cost]:
    """With a short and with a long history, without statistics and with them.

    A database plans otherwise for one name than for several.
    """
    plain, analysed = Cost(), Cost()
    for loans in (FEW, MANY):
        folder = tmp_path_factory.mktemp(f"of {loans}")
        life = Life(folder, loans, outboxes.on_file(folder), resources=request.param)
        plain[loans] = day(life)
        analyse(life.outbox)
        analysed[loans] = day(life)
        life.outbox.close()
    return [plain, analysed]


@pytest.mark.parametrize("what", DAY)
def test_no_statement_costs_the_history(on_file: list[Cost], what: str) -> None:
    for cost in on_file:
        short, long = cost[FEW][what], cost[MANY][what]
        assert long, "nothing was asked at all"
        assert {one: (short[one], number) for one, number in long.items() if number > 1.3 * short[one] + 20} == {}


def test_no_step_reads_the_history_on_a_server(postgres_outbox: str, tmp_path: Path) -> None:
    life = Life(tmp_path, MANY, Outbox(postgres_outbox))
    plain = day(life)
    analyse(life.outbox)
    costs = {"without statistics": plain, "with them": day(life)}
    life.outbox.close()
    dear = [
        f"{how}, {what}: {number} rows of {by}"
        for how, cost in costs.items()
        for what, read in cost.items()
        for by, number in read.items()
        if number > 200
    ]
    assert dear == []


def test_a_purge_that_finds_nothing_reads_no_history_on_a_server(postgres_outbox: str, tmp_path: Path) -> None:
    """Without statistics it went through all entries for each part of its work, and kept all others from writing."""
    life, read = Life(tmp_path, MANY, Outbox(postgres_outbox)), Read()
    long_ago = outboxes.NOW - timedelta(days=10_000)
    with read.counted(life.outbox), life.outbox.begin() as tx:
        assert store.purge(tx, before=long_ago, now=outboxes.NOW) == 0
        assert sending.forget_words(tx, before=long_ago) == 0
    life.outbox.close()
    assert {by: number for by, number in read.rows.items() if number > 200} == {}


def test_a_review_looks_at_no_draft_that_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life, looked_at = Life(tmp_path, FEW, outboxes.on_file(tmp_path)), list[object]()

    def looks(row: sa.Row[Any]) -> Entry:
        looked_at.append(row)
        return entry.of(row)

    monkeypatch.setattr(listing, "of", looks)
    life.review()
    life.outbox.close()
    assert len(looked_at) < FEW


@pytest.mark.parametrize("pressing", [True, False], ids=["with a last day", "without"])
def test_a_request_does_not_sort_what_is_ready(tmp_path: Path, pressing: bool) -> None:  # noqa: FBT001 - a case
    outbox, cost = outboxes.on_file(tmp_path), []
    for number in range(2):
        with outbox.begin() as tx:
            for loan in range(400 * number, 20 + 1000 * number):
                day = outboxes.NOW.date() + timedelta(days=loan % 30) if pressing else None
                store.owe(tx, outboxes.owed(f"L{loan}", publish_by=day), now=outboxes.NOW)
        steps = Steps()
        with steps.counted(outbox), outbox.read() as tx:
            assert len(query.due(tx, "loan_draft", limit=1, now=outboxes.later(7200))) == 1
        cost.append(sum(steps.by_statement.values()))
    outbox.close()
    assert cost[1] <= 1.3 * cost[0] + 20


def test_a_server_without_statistics_makes_nothing_of_a_short_statement(postgres_outbox: str) -> None:
    """As after its outbox was read back from a dump: status took 20 ms for a second process, and would for a compiler."""
    outbox = Outbox(postgres_outbox)
    with outbox.glance() as cx:
        found = cx.execute(
            sa.text(
                "SELECT name, setting FROM pg_settings WHERE name IN ('jit', 'max_parallel_workers_per_gather')"
                " ORDER BY name"
            )
        ).all()
    outbox.close()
    assert [tuple(row) for row in found] == [("jit", "off"), ("max_parallel_workers_per_gather", "0")]


def test_the_decisions_of_a_period_are_found_by_it_without_statistics(postgres_outbox: str, tmp_path: Path) -> None:
    """A server went through those of all months, in an index that begins with the loan: 40 ms at each change."""
    life = Life(tmp_path, MANY, Outbox(postgres_outbox))
    asked: list[tuple[str, Any]] = []

    def executes(_cx: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if " decision" in statement and "period" in statement and statement.startswith("SELECT"):
            asked.append((statement, parameters))

    sa.event.listen(life.outbox.engine, "before_cursor_execute", executes)
    life.change()
    life.beat()
    sa.event.remove(life.outbox.engine, "before_cursor_execute", executes)
    with life.outbox.engine.connect() as cx:
        plans = {sql: cx.exec_driver_sql(f"EXPLAIN {sql}", given).scalars().all() for sql, given in asked}
    life.outbox.close()
    ways = [line for plan in plans.values() for line in plan if " on decision" in line]
    assert any("decision_of_period" in way for way in ways)
    assert not [way for way in ways if "decision_in_force" in way or "Seq Scan" in way]
