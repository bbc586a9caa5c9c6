"""Where two ways of noticing meet, or somebody else's setting decides: what one of them could miss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa

from kiva_relay.outbox import scan
from kiva_relay.source import dialect_postgresql, position, slot
from testbed.database import postgres
from testbed.rig import small_mis
from testbed.rig.patience import eventually
from testbed.rig.small_mis import LOANS, Poller
from testbed.rig.streamed import Streamed


@pytest.fixture
def mis_url(
    logical_server: postgres.PostgresServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setattr(dialect_postgresql, "CLOCK_TOLERANCE", timedelta(0))
    url = logical_server.create_database(f"seams_{abs(hash(request.node.name))}")
    small_mis.create(url, indexed=True)
    return url


@contextmanager
def prepared(url: str, name: str, *statements: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A transaction that is prepared, and open until the end."""
    with small_mis.connect(url) as work:
        for statement in ("BEGIN", *statements, f"PREPARE TRANSACTION '{name}'"):
            work.execute(statement)
        try:
            yield work
        finally:
            work.execute(f"ROLLBACK PREPARED '{name}'")


def test_a_prepared_transaction_holds_the_horizon_and_is_named(mis_url: str) -> None:
    with closing(small_mis.open_mis(mis_url)) as mis, small_mis.connect(mis_url) as work:
        poller = Poller(mis, LOANS)
        work.execute("BEGIN")
        work.execute("UPDATE loan SET amount = 7, changed = now() WHERE id = 1")
        work.execute("SELECT pg_sleep(0.5)")
        poller.poll()
        work.execute("PREPARE TRANSACTION 'atm-batch'")
        for _ in range(3):
            poller.poll()
        with small_mis.connect(mis_url) as innocent:
            innocent.execute("BEGIN")
            innocent.execute("SELECT 1")
            cycle = mis.changes([LOANS], poller.watermarks)
            assert cycle.pinned_by == "prepared transaction atm-batch of postgres"
            assert cycle.horizon_age < timedelta(seconds=30), "nobody is told the hour that is added to be sure"
        work.execute("COMMIT PREPARED 'atm-batch'")
        assert poller.poll() == {"loans": ["1"]}


@contextmanager
def reader(admin: psycopg.Connection[tuple[object, ...]]) -> Iterator[str]:
    """The URL of a role that may read, and see no session of others."""
    admin.execute("DROP ROLE IF EXISTS sees_little")
    admin.execute("CREATE ROLE sees_little LOGIN PASSWORD 'x'")
    admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO sees_little")
    try:
        yield f"postgresql://sees_little@{admin.info.host}:{admin.info.port}/{admin.info.dbname}"
    finally:
        admin.execute("DROP OWNED BY sees_little")
        admin.execute("REVOKE pg_read_all_stats FROM sees_little")
        admin.execute("DROP ROLE sees_little")


def test_who_holds_a_transaction_id_needs_no_grant_to_be_seen(
    mis_url: str, logical_server: postgres.PostgresServer
) -> None:
    with (
        small_mis.connect(mis_url) as admin,
        small_mis.connect(logical_server.url()) as elsewhere,
        reader(admin) as plain,
        closing(small_mis.open_mis(plain, password="x")) as mis,
    ):
        poller = Poller(mis, LOANS)
        elsewhere.execute("BEGIN")
        elsewhere.execute("SELECT pg_current_xact_id()")
        admin.execute("UPDATE loan SET amount = 3 WHERE id = 1")
        poller.poll()
        cycle = mis.changes([LOANS], poller.watermarks)
        assert cycle.mode == {"loans": "xmin"}
        assert cycle.pinned_by == f"session {elsewhere.info.backend_pid} of postgres", "of another database"
        elsewhere.execute("ROLLBACK")
        with prepared(mis_url, "of the night", "UPDATE loan SET amount = 4 WHERE id = 2"):
            poller.poll()
            admin.execute("UPDATE loan SET amount = 5 WHERE id = 1")
            poller.poll()
            pinned_by = mis.changes([LOANS], poller.watermarks).pinned_by
            assert pinned_by == "prepared transaction of the night of postgres"


def test_rows_that_come_by_a_subscription_are_not_watched_by_their_stamps(mis_url: str) -> None:
    with closing(small_mis.open_mis(mis_url)) as mis, small_mis.connect(mis_url) as admin:
        assert mis.changes([LOANS], {"loans": None}).mode == {"loans": "horizon"}
        admin.execute("CREATE SUBSCRIPTION of_head_office CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)")
        try:
            cycle = mis.changes([LOANS], {"loans": None})
            assert cycle.mode == {"loans": "xmin"}
            assert "by a subscription" in cycle.reasons["loans"]
        finally:
            admin.execute("ALTER SUBSCRIPTION of_head_office SET (slot_name = NONE)")
            admin.execute("DROP SUBSCRIPTION of_head_office")


def test_an_overlap_that_was_asked_for_overlaps_also_where_the_horizon_can_be_seen(mis_url: str) -> None:
    with closing(small_mis.open_mis(mis_url, watch="overlap")) as mis, small_mis.connect(mis_url) as teller:
        poller = Poller(mis, LOANS)
        teller.execute("CREATE TABLE unrelated (id int)")  # else the second look would be left out
        poller.poll()
        teller.execute("UPDATE loan SET amount = 8, changed = now() - interval '9 minutes' WHERE id = 2")
        assert poller.poll() == {"loans": ["2"]}
        assert poller.poll() == {"loans": []}
        stands = position.parse(str(poller.watermarks["loans"])).moment
        assert datetime.now(UTC) - stands >= position.OVERLAP
        assert mis.changes([LOANS], poller.watermarks).horizon_age < timedelta(seconds=5), "nothing is open for so long"


def test_the_grant_that_makes_the_horizon_seen_begins_before_what_was_open(
    mis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect_postgresql, "OVERLAP", timedelta(seconds=0.2))
    with (
        small_mis.connect(mis_url) as admin,
        small_mis.connect(mis_url) as late,
        reader(admin) as plain,
        closing(small_mis.open_mis(plain, password="x")) as mis,
    ):
        poller = Poller(mis, LOANS)
        late.execute("BEGIN")
        late.execute("UPDATE loan SET amount = 1, changed = now() WHERE id = 1")
        for _ in range(4):
            admin.execute("SELECT pg_sleep(0.2)")
            poller.poll()
        late.execute("COMMIT")
        admin.execute("GRANT pg_read_all_stats TO sees_little")
        assert mis.changes([LOANS], poller.watermarks).mode == {"loans": "horizon"}
        assert "1" in poller.poll()["loans"]


def test_a_publication_that_leaves_out_updates_is_not_relied_on(streamed_mis: Streamed) -> None:
    streamed_mis.set_up()
    streamed_mis.sql(f"ALTER PUBLICATION {streamed_mis.name} SET (publish = 'insert')")
    with streamed_mis.capture() as relay:
        for _ in range(3):
            relay.capture.cycle()
        assert "leaves out inserts, updates, deletes or truncates" in relay.follow.standing.why
        streamed_mis.sql("UPDATE loan SET first_name = 'Zoe' WHERE id = 1")
        relay.capture.cycle()
        assert relay.name("L1") == "Zoe"
        streams = [document.stream for document in relay.capture._documents.values()]
        found = relay.mis.slot(streamed_mis.name, streams)
        (statement,) = [one for one in slot.setup(found, streams, relay.mis.dialect) if "PUBLICATION" in one]
        streamed_mis.sql(statement)
        relay.following()


def test_a_table_that_is_rewritten_is_polled_once_although_the_stream_is_followed(streamed_mis: Streamed) -> None:
    streamed_mis.set_up()
    with streamed_mis.capture() as relay:
        relay.following()
        streamed_mis.sql("ALTER TABLE loan ALTER first_name TYPE varchar(30) USING 'Zoe'")

        def seen() -> bool:
            relay.capture.cycle()
            relay.quiet(0.1)
            return relay.name("L1") == "Zoe"

        eventually(seen)
        relay.following()


def test_rows_that_an_edited_mapping_takes_in_are_found_and_are_no_miss(streamed_mis: Streamed) -> None:
    streamed_mis.sql("UPDATE loan SET status = 'asked' WHERE id = 2")
    with streamed_mis.capture() as relay:
        for _ in range(4):
            relay.capture.cycle()
        with relay.outbox.read() as tx:
            assert scan.of(tx, "loan_draft").total == 2  # type: ignore[union-attr]
    file = streamed_mis.folder / "mappings" / "loan_draft.yaml"
    file.write_text(file.read_text().replace("status = 'approved'", "\"status IN ('approved', 'asked')\""))
    with streamed_mis.capture() as relay:
        for _ in range(6):
            relay.capture.cycle()
        assert relay.state("L2") == "ready"
        assert not relay.capture.scanning()
        with relay.outbox.read() as tx:
            progress = scan.of(tx, "loan_draft")
        assert progress is not None
        assert (progress.kind, progress.missed, progress.total) == ("edit", 0, 3)


def test_a_view_that_is_refreshed_does_not_keep_the_stream_from_being_followed(streamed_mis: Streamed) -> None:
    streamed_mis.sql(
        "CREATE MATERIALIZED VIEW totals AS SELECT loan_id, sum(principal) AS total FROM instalment GROUP BY 1"
    )
    file = streamed_mis.folder / "mappings" / "loan_draft.yaml"
    file.write_text(
        file.read_text().replace(
            "relations:\n", "relations:\n  totals: {table: totals, match: {loan_id: id}, optional: true}\n"
        )
    )
    streamed_mis.set_up()
    with streamed_mis.capture() as relay:
        eventually(lambda: relay.capture.cycle() == 0 and not relay.scans() and "replication" in relay.modes())
        for _ in range(3):
            streamed_mis.sql("REFRESH MATERIALIZED VIEW totals")
            relay.capture.cycle()
        assert set(relay.modes()) == {"replication"}


def test_a_partitioned_table_that_is_rewritten_is_polled_once(streamed_mis: Streamed) -> None:
    streamed_mis.sql("ALTER TABLE loan RENAME TO plain")
    streamed_mis.sql("CREATE TABLE loan (LIKE plain INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY RANGE (id)")
    streamed_mis.sql("CREATE TABLE loan_1 PARTITION OF loan FOR VALUES FROM (0) TO (1000)")
    streamed_mis.sql("INSERT INTO loan SELECT * FROM plain")
    streamed_mis.set_up()
    with streamed_mis.capture() as relay:
        relay.following()
        streamed_mis.sql("ALTER TABLE loan ALTER first_name TYPE varchar(30) USING 'Zoe'")
        eventually(lambda: relay.capture.cycle() is not None and relay.name("L1") == "Zoe")


def test_what_was_believed_of_a_server_ends_with_its_connection(mis_url: str) -> None:
    """Behind the same address another server may answer: its identity and its tables are looked at anew."""
    with closing(small_mis.open_mis(mis_url)) as mis, small_mis.connect(mis_url) as admin:
        poller = Poller(mis, LOANS)
        poller.poll()
        assert mis._plans._made
        asked = []
        sa.event.listen(mis._engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
        poller.poll()
        assert not any("pg_control_system" in statement for statement in asked)
        ours = "application_name = 'kiva-relay' AND datname = current_database()"
        admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
        mis.horizon()
        assert not mis._plans._made
        poller.poll()
        assert any("pg_control_system" in statement for statement in asked)
