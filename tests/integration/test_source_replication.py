"""The stream of a real PostgreSQL: what it brings, and that nothing is lost wherever it ends."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import streamed
from institution import eventually
from kiva_relay.demo import postgres
from kiva_relay.source import pgoutput
from streamed import Streamed, Turned

SETTINGS = {"wal_level": "logical", "max_wal_senders": "8", "max_replication_slots": "40"}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    with postgres.start(tmp_path_factory.mktemp("logical"), settings=SETTINGS) as server:
        yield server


@pytest.fixture
def mis(server: postgres.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Streamed]:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    made = streamed.create(tmp_path, server, f"streamed_{next(_numbers)}")
    made.set_up()
    yield made
    made.teller.close()


@pytest.fixture
def relay(mis: Streamed) -> Iterator[Turned]:
    with mis.intake() as relay:
        relay.following()
        yield relay


def test_rows_come_without_a_poll(mis: Streamed, relay: Turned) -> None:
    mis.sql("UPDATE loan SET first_name = 'Fatou' WHERE id = 1")
    assert relay.followed() == 1
    assert relay.name("L1") == "Fatou"
    mis.sql("INSERT INTO loan (id, account, client, amount) VALUES (9, 'L9', 'C9', 50)")
    assert relay.followed() == 1
    mis.sql("UPDATE instalment SET interest = 6 WHERE loan_id = 2")
    assert relay.followed() == 1
    assert relay.interest("L2") == [6]
    mis.sql("UPDATE loan SET status = 'rejected' WHERE id = 3")
    assert relay.followed() == 1
    assert relay.state("L3") == "withdrawn"


def test_a_deleted_root_leaves_and_a_deleted_row_leads_to_its_root(mis: Streamed, relay: Turned) -> None:
    mis.sql("INSERT INTO instalment (loan_id, due, principal) VALUES (1, date '2030-02-25', 0)")
    assert relay.followed() == 1
    assert len(relay.interest("L1")) == 2
    mis.sql("DELETE FROM instalment WHERE loan_id = 1 AND due = date '2030-02-25'")
    assert relay.followed() == 1
    assert len(relay.interest("L1")) == 1
    mis.sql("DELETE FROM loan WHERE id = 2")
    assert relay.followed() == 1
    assert relay.state("L2") == "withdrawn"


def test_a_row_that_is_moved_leads_to_its_old_and_its_new_root(mis: Streamed, relay: Turned) -> None:
    mis.sql("INSERT INTO instalment (loan_id, due, principal, interest) VALUES (1, date '2030-02-25', 0, 7)")
    assert relay.followed() == 1
    mis.sql("UPDATE instalment SET loan_id = 2 WHERE interest = 7")
    assert relay.followed() == 2
    assert (relay.interest("L1"), relay.interest("L2")) == ([0], [0, 7])


def test_an_index_that_covers_the_match_columns_tells_the_old_root_too(mis: Streamed, relay: Turned) -> None:
    mis.sql("ALTER TABLE instalment ALTER loan_id SET NOT NULL, ALTER id SET NOT NULL")
    mis.sql("CREATE UNIQUE INDEX by_loan ON instalment (loan_id, id)")
    mis.sql("ALTER TABLE instalment REPLICA IDENTITY USING INDEX by_loan")
    relay.following()
    mis.sql("INSERT INTO instalment (loan_id, due, principal, interest) VALUES (1, date '2030-02-25', 0, 7)")
    assert relay.followed() == 1
    mis.sql("UPDATE instalment SET loan_id = 2 WHERE interest = 7")
    assert relay.followed() == 2
    mis.sql("DELETE FROM instalment WHERE interest = 7")
    assert relay.followed() == 1
    assert relay.interest("L2") == [0]


def test_what_was_rolled_back_never_comes_and_a_savepoint_does(mis: Streamed, relay: Turned) -> None:
    with mis.another() as other:
        with other.transaction(force_rollback=True):
            other.execute("UPDATE loan SET first_name = 'Nobody' WHERE id = 1")
        with other.transaction():
            other.execute("UPDATE loan SET first_name = 'Outer' WHERE id = 1")
            with other.transaction(force_rollback=True):
                other.execute("UPDATE loan SET first_name = 'Undone' WHERE id = 3")
            with other.transaction():
                other.execute("UPDATE loan SET first_name = 'Inner' WHERE id = 2")
            assert relay.quiet(0.1) == 0
        assert relay.followed() == 2
    assert (relay.name("L1"), relay.name("L2"), relay.name("L3")) == ("Outer", "Inner", "Awa")


def test_a_table_that_is_emptied_is_compared_whole(mis: Streamed, relay: Turned) -> None:
    mis.sql("TRUNCATE instalment")
    eventually(lambda: not relay.intake.follow() and relay.intake.cycle() and relay.state("L1") == "refused")


def test_a_large_transaction_comes_whole_in_pages(mis: Streamed, relay: Turned) -> None:
    mis.sql(
        "INSERT INTO loan (id, account, client, amount) SELECT n, 'L' || n, 'C', 1 FROM generate_series(100, 349) n"
    )
    assert relay.followed() == 250


def test_of_too_many_rows_the_table_is_compared_instead(
    mis: Streamed, relay: Turned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgoutput, "MOST_ROWS", 2)
    mis.sql("UPDATE loan SET first_name = 'Coumba'")
    eventually(lambda: not relay.intake.follow() and relay.intake.cycle() and relay.name("L3") == "Coumba")


def test_what_is_committed_and_not_yet_to_be_seen_is_waited_for(mis: Streamed, relay: Turned) -> None:
    """COMMIT waits for a standby that is away: the stream tells it, and every snapshot still shows the old row."""
    with mis.another() as admin, mis.another() as other:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
        admin.execute("SELECT pg_reload_conf()")
        admin.execute("SET synchronous_commit = local")
        try:
            eventually(lambda: admin.execute("SHOW synchronous_standby_names").fetchone() == ("away",))
            update = "UPDATE loan SET first_name = 'Seen late' WHERE id = 1"
            waits = threading.Thread(target=lambda: other.execute(update))
            waits.start()
            eventually(lambda: not relay.intake.follow() and relay.intake.waits)
            assert relay.quiet(0.2) == 0
            before = mis.confirmed()
            # What is committed behind it, and can be seen, does not wait for it.
            admin.execute("UPDATE loan SET first_name = 'At once' WHERE id = 2")
            assert relay.followed() == 1
            relay.follow.settle()
            assert relay.quiet(0.2) == 0
            assert (relay.name("L1"), relay.name("L2")) == ("Awa", "At once")
            assert mis.confirmed() - before < 1000
        finally:
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")
        assert relay.followed() == 1
        waits.join()
    assert relay.name("L1") == "Seen late"


def test_nothing_is_confirmed_before_it_is_in_the_outbox(mis: Streamed) -> None:
    with mis.intake() as relay:
        relay.following()
        relay.follow.settle()
        eventually(lambda: mis.active())
        mis.sql("UPDATE loan SET first_name = 'Fatou' WHERE id = 1")
        eventually(relay.news.is_set)
        eventually(lambda: relay.follow._tail and relay.follow._tail.pending())
        relay.follow.settle()
    # Ended before it was put down: it comes again.
    with mis.intake() as relay:
        for _ in range(3):
            relay.intake.regimes = {"loan_draft": "replication"}
            relay.follow.look(relay.streams, {})
            if eventually(lambda: relay.follow._tail and relay.follow._tail.session):
                break
        assert relay.followed() == 1
        assert relay.name("L1") == "Fatou"


def test_w_moves_only_when_the_stream_has_passed_its_snapshot(mis: Streamed, relay: Turned) -> None:
    mis.sql("UPDATE loan SET first_name = 'Fatou' WHERE id = 1")
    eventually(lambda: relay.follow._tail and relay.follow._tail.pending())
    before = relay.stands()
    take, relay.follow.take = relay.follow.take, lambda streams: None  # type: ignore[method-assign]
    for _ in range(4):
        relay.intake.cycle()
    held = relay.stands()
    relay.follow.take = take  # type: ignore[method-assign]
    assert relay.followed() == 1
    relay.intake.cycle()
    eventually(lambda: not relay.intake.cycle() and relay.stands() != held)
    assert before["loan_draft"] is not None
    # Polling from the W that was held finds what the stream had not passed.
    assert relay.mis.changes(relay.streams, held).keys["loan_draft"] == ["1"]
    assert relay.mis.changes(relay.streams, relay.stands()).keys["loan_draft"] == []
