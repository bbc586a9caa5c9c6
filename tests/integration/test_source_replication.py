"""The stream of a real PostgreSQL: what it brings, and that nothing is lost wherever it ends."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
import sqlalchemy as sa

from kiva_relay.capture import follow
from kiva_relay.outbox import table
from kiva_relay.service import relay as relay_
from kiva_relay.source import pgoutput, replication, slot
from testbed.rig import killable, patience
from testbed.rig.patience import eventually
from testbed.rig.streamed import Streamed, Turned


@pytest.fixture
def mis(streamed_mis: Streamed) -> Streamed:
    streamed_mis.set_up()
    return streamed_mis


@pytest.fixture
def relay(mis: Streamed) -> Iterator[Turned]:
    with mis.capture() as relay:
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
    mis.sql("INSERT INTO instalment (loan_id, due, principal) VALUES (77, date '2030-02-25', 0)")  # of no loan
    mis.sql("UPDATE loan SET status = 'rejected' WHERE id = 3")
    assert relay.followed() == 1
    assert relay.state("L3") == "withdrawn"


def test_of_many_commits_somebody_is_told_once(mis: Streamed) -> None:
    told: list[int] = []
    tail = replication.Tail(sa.make_url(mis.url), password=None, name=mis.name, news=lambda: told.append(1))
    tail.want({int(mis.sql("SELECT CAST('loan'::regclass AS oid)")[0][0]): ("id",)})
    tail.start()
    try:
        eventually(lambda: told)  # that it is connected
        for number in (1, 2, 3):
            mis.sql("UPDATE loan SET first_name = 'Fatou' WHERE id = %s", number)
        eventually(lambda: len(tail._pending) == 3)
        assert (len(told), tail.has_news) == (2, True)
        assert len(tail.pending()) == 3
        assert not tail.has_news
        mis.sql("UPDATE loan SET first_name = 'Awa' WHERE id = 3")
        eventually(lambda: len(told) == 3)
        assert tail.has_news
    finally:
        tail.close()


def test_what_is_confirmed_is_told_to_the_server_at_once(mis: Streamed) -> None:
    tail = replication.Tail(sa.make_url(mis.url), password=None, name=mis.name, news=lambda: None)
    tail.start()
    try:
        eventually(lambda: tail.session)
        mis.sql("UPDATE loan SET first_name = 'Fatou' WHERE id = 1")
        eventually(lambda: tail.reached(tail.session) > mis.confirmed())
        place = tail.reached(tail.session)
        tail.confirm(place)
        eventually(lambda: mis.confirmed() == place, within=replication._STATUS_EVERY / 4)
    finally:
        tail.close()


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
    assert (relay.interest("L1"), relay.interest("L2")) == ([Decimal(0)], [Decimal(0), Decimal(7)])


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
    eventually(lambda: not relay.capture.follow() and relay.capture.cycle() and relay.state("L1") == "refused")


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
    eventually(lambda: not relay.capture.follow() and relay.capture.cycle() and relay.name("L3") == "Coumba")


def test_what_is_committed_and_not_yet_to_be_seen_is_waited_for(mis: Streamed, relay: Turned) -> None:
    """COMMIT waits for a standby that is away: the stream tells it, and every snapshot still shows the old row."""
    with mis.another() as admin, mis.another() as other:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
        admin.execute("SELECT pg_reload_conf()")
        admin.execute("SET synchronous_commit = local")
        try:
            eventually(lambda: admin.execute("SHOW synchronous_standby_names").fetchone() == ("away",))
            update = "UPDATE loan SET first_name = 'Seen late' WHERE id = 1"
            # What concerns nobody is told the server seldom: of what others wrote before, much may be told at once.
            (before,) = admin.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone() or (0,)
            waits = threading.Thread(target=lambda: other.execute(update))
            waits.start()
            eventually(lambda: not relay.capture.follow() and relay.capture.waits)
            assert relay.quiet(0.2) == 0
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


def test_what_other_databases_write_is_not_kept_for_us(mis: Streamed, relay: Turned) -> None:
    """Of what concerns nobody the place is told each minute, or after 16 MB: they write more than that."""
    with psycopg.connect(mis.server.url(), autocommit=True) as other:

        def writes() -> int:
            """20 MB, and where its log is then."""
            other.execute("CREATE TABLE elsewhere AS SELECT n, repeat('x', 100) FROM generate_series(1, 160000) n")
            other.execute("DROP TABLE elsewhere")
            row = other.execute("SELECT pg_current_wal_flush_lsn() - '0/0'").fetchone()
            assert row is not None
            return int(row[0])

        place = writes()
        writes()  # what was told in the middle of the first is told again in this one
    eventually(lambda: relay.capture.cycle() == 0 and mis.confirmed() >= place)


def test_nothing_is_confirmed_before_it_is_in_the_outbox(mis: Streamed) -> None:
    with mis.capture() as relay:
        relay.following()
        relay.follow.settle()
        eventually(lambda: mis.active())
        mis.sql("UPDATE loan SET first_name = 'Fatou' WHERE id = 1")
        eventually(relay.news.is_set)
        eventually(lambda: relay.follow._tail and relay.follow._tail.pending())
        relay.follow.settle()
    # Ended before it was put down: it comes again.
    with mis.capture() as relay:
        for _ in range(3):
            relay.capture.modes = {"loan_draft": "replication"}
            relay.follow.look(relay.streams, {})
            if eventually(lambda: relay.follow._tail and relay.follow._tail.session):
                break
        assert relay.followed() == 1
        assert relay.name("L1") == "Fatou"


def test_w_moves_only_when_the_stream_has_passed_its_snapshot(mis: Streamed, relay: Turned) -> None:
    mis.sql("UPDATE loan SET first_name = 'Fatou' WHERE id = 1")
    eventually(lambda: relay.follow._tail and relay.follow._tail.pending())
    before = relay.stands()
    take, relay.follow.take = relay.follow.take, lambda *_, **__: None  # type: ignore[method-assign]
    for _ in range(4):
        relay.capture.cycle()
    held = relay.stands()
    relay.follow.take = take  # type: ignore[method-assign]
    assert relay.followed() == 1
    relay.capture.cycle()
    eventually(lambda: not relay.capture.cycle() and relay.stands() != held)
    assert before["loan_draft"] is not None
    # Polling from the W that was held finds what the stream had not passed.
    assert relay.mis.changes(relay.streams, held).keys["loan_draft"] == ["1"]
    assert relay.mis.changes(relay.streams, relay.stands()).keys["loan_draft"] == []


def test_polling_goes_on_until_every_transaction_from_before_the_stream_has_ended(mis: Streamed) -> None:
    with mis.another() as old, mis.capture() as relay:
        with old.transaction():
            old.execute("UPDATE loan SET first_name = 'Old' WHERE id = 1")
            for _ in range(5):
                relay.capture.cycle()
                relay.news.wait(0.1)
            assert relay.follow.standing.live
            assert set(relay.modes()) == {"xmin"}
        assert relay.followed() == 1
        relay.following()
        assert relay.name("L1") == "Old"


def test_nothing_falls_between_the_stream_and_polling(mis: Streamed) -> None:
    with mis.another() as late, mis.capture() as relay:
        relay.following()
        with late.transaction():
            late.execute("UPDATE loan SET first_name = 'Late' WHERE id = 1")
            for name in ("Awa 2", "Awa 3"):
                mis.sql("UPDATE loan SET first_name = %s WHERE id = 2", name)
                assert relay.followed() == 1
                relay.capture.cycle()
            mis.drop_slot()
            mis.sql("UPDATE loan SET first_name = 'Polled' WHERE id = 3")
            eventually(lambda: relay.capture.cycle() and set(relay.modes()) == {"xmin"})
        eventually(lambda: relay.capture.cycle() and relay.name("L1") == "Late")
        assert (relay.name("L2"), relay.name("L3")) == ("Awa 3", "Polled")
        assert relay.follow.standing.why == f"there is no slot {mis.name}"
        assert relay.follow.standing.made


def test_what_was_deleted_while_there_was_no_slot_is_found_when_there_is_one_again(mis: Streamed) -> None:
    with mis.capture() as relay:
        relay.following()
        mis.drop_slot()
        mis.set_up()
        mis.sql("SELECT pg_drop_replication_slot(%s)", mis.name)
        mis.sql("DELETE FROM loan WHERE id = 2")
        mis.set_up()
        eventually(lambda: relay.capture.cycle() is not None and relay.state("L2") == "withdrawn")
        relay.following()
        assert not relay.scans()


def test_a_slot_that_the_server_gave_up_is_said_and_made_good_by_a_sweep(mis: Streamed) -> None:
    with mis.capture() as relay:
        relay.following()
        relay.follow.settle()
    mis.sql("UPDATE loan SET first_name = 'Fatou' WHERE id = 1")
    mis.sql("DELETE FROM loan WHERE id = 2")
    mis.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
    try:
        mis.sql("SELECT pg_reload_conf()")
        for number in range(4):
            mis.sql("UPDATE note SET body = 'x' WHERE id = %s", number)
            mis.sql("SELECT pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")
        mis.sql("CHECKPOINT")
        status = mis.sql("SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", mis.name)
        assert status == [("lost",)]
    finally:
        mis.sql("ALTER SYSTEM RESET max_slot_wal_keep_size")
        mis.sql("SELECT pg_reload_conf()")
    with mis.capture() as relay:
        eventually(lambda: relay.capture.cycle() is not None and relay.state("L2") == "withdrawn")
        assert relay.name("L1") == "Fatou"
        assert set(relay.modes()) == {"xmin"}
        assert "lost" in relay.follow.standing.why
        # Made anew, it is followed again.
        mis.set_up()
        relay.following()


@pytest.mark.parametrize("how", ["connection", "restart", "kill -9"])
def test_an_end_of_the_connection_loses_nothing(mis: Streamed, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "_PATIENCE", 0.2)  # the server that stops waits for us: nobody confirms here
    with mis.capture() as relay:
        relay.following()
        mis.sql("UPDATE loan SET first_name = 'Before' WHERE id = 1")
        if how == "connection":
            mis.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", mis.name)
        else:
            {"restart": mis.server.stop, "kill -9": mis.server.kill}[how]()
            mis.server.start()
            mis.reconnect()
        mis.sql("DELETE FROM loan WHERE id = 2")
        eventually(lambda: relay.followed_again())
        assert eventually(lambda: relay.capture.follow() is not None and relay.name("L1") == "Before")
        assert eventually(lambda: relay.capture.follow() or relay.state("L2") == "withdrawn")
        relay.following()
        mis.sql("UPDATE loan SET first_name = 'After' WHERE id = 3")
        assert relay.followed() == 1


def test_the_daemon_is_woken_by_the_stream(mis: Streamed) -> None:
    with mis.daemon() as daemon:
        eventually(lambda: daemon.capture_loop.health.modes == {"journal": "replication", "loan_draft": "replication"})
        seldom = daemon.settings.mis.model_copy(update={"poll_every": timedelta(minutes=10)})
        settings = daemon.settings.model_copy(update={"mis": seldom})
        daemon.in_force.configuration = replace(daemon.in_force.configuration, settings=settings)
        moved = daemon.capture_loop.health.mis.last_good
        assert daemon._threads is not None
        daemon._threads.schedule.plan(settings)
        eventually(lambda: daemon.capture_loop.health.mis.last_good != moved)  # the last cycle for ten minutes
        eventually(lambda: not daemon.capture_loop.poll.asked and not daemon.capture_loop.poll.under_way)
        mis.sql("INSERT INTO loan (id, account, client, amount) VALUES (9, 'L9', 'C9', 50)")
        eventually(lambda: _entries(daemon, "L9"))
        mis.sql(
            "INSERT INTO loan (id, account, client, amount) VALUES (10, 'L10', 'C10', 50)"
        )  # before the rest is over
        eventually(lambda: _entries(daemon, "L10"))
        assert daemon.capture_loop.health.replication is not None
        assert daemon.capture_loop.health.replication.live


def test_without_a_slot_auto_polls_in_silence_and_replication_is_refused(mis: Streamed) -> None:
    mis.sql("SELECT pg_drop_replication_slot(%s)", mis.name)
    mis.sql(f"DROP PUBLICATION {mis.name}")
    with mis.capture() as relay:
        relay.capture.cycle()
        assert set(relay.modes()) == {"xmin"}
        assert not relay.follow.standing.made
    required = mis.settings.model_copy(update={"mis": mis.settings.mis.model_copy(update={"watch": "replication"})})
    with replace(mis, settings=required).capture() as relay:
        with pytest.raises(follow.NoStream, match="there is no publication") as refused:
            relay.capture.cycle()
    assert refused.value.hint == "kiva-relay watch setup"
    assert not mis.sql("SELECT FROM pg_replication_slots WHERE slot_name = %s", mis.name)


def test_a_role_needs_select_and_replication_and_nothing_else(mis: Streamed) -> None:
    plain = mis.as_role("plain_reader")
    try:
        with plain.capture() as relay:
            relay.capture.cycle()
            assert set(relay.modes()) == {"xmin"}
            assert relay.follow.standing.why == "the role plain_reader lacks REPLICATION"
            plain.set_up()  # as an owner: it grants what is missing
            relay.following()
            mis.sql("UPDATE loan SET first_name = 'Fatou' WHERE id = 1")
            assert relay.followed() == 1
            assert relay.mis.can_write() == []
    finally:
        mis.sql("DROP OWNED BY plain_reader")
        mis.sql("DROP ROLE plain_reader")


def test_a_catalogue_that_may_not_be_read_does_not_stop_the_polling(
    mis: Streamed, relay: Turned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "_SERVER", "SELECT secret FROM pg_replication_slots")
    mis.sql("UPDATE loan SET first_name = 'Fatou' WHERE id = 1")
    eventually(lambda: relay.capture.cycle() and set(relay.modes()) == {"xmin"})
    assert relay.name("L1") == "Fatou"
    assert "secret" in relay.follow.standing.why


def test_a_table_that_is_not_published_is_polled_beside_the_stream(mis: Streamed, relay: Turned) -> None:
    mis.sql(f"ALTER PUBLICATION {mis.name} DROP TABLE instalment")
    mis.sql("UPDATE instalment SET interest = 8 WHERE loan_id = 1")
    eventually(lambda: relay.capture.cycle() and relay.interest("L1") == [8])
    relay.following()
    mis.sql("UPDATE loan SET first_name = 'By stream' WHERE id = 2")
    assert relay.followed() == 1
    mis.sql("UPDATE instalment SET interest = 9 WHERE loan_id = 1")
    assert relay.quiet(0.2) == 0
    assert eventually(relay.capture.cycle) == 1
    assert relay.interest("L1") == [9]


@pytest.mark.parametrize("step", ["read", pytest.param("captured", marks=pytest.mark.long)])
def test_kill_9_of_the_relay_loses_nothing(mis: Streamed, step: str) -> None:
    stop = threading.Event()
    last: dict[int, str] = {}

    def work() -> None:
        with mis.another() as teller:
            for number in itertools.count(1):
                if stop.wait(0.01):
                    return
                loan = number % 3 + 1
                teller.execute("UPDATE loan SET first_name = %s WHERE id = %s", [f"Awa {number}", loan])
                last[loan] = f"Awa {number}"

    life = killable.Life(mis.folder / "config.yaml", mis.folder / "relay.log", environ={"KIVA_SECRET": "s3cr3t"})
    writer = threading.Thread(target=work)
    writer.start()
    try:
        for nth in (3, 20):
            process = killable.start(replace(life, death=killable.Death(step, nth)))
            patience.joined(process, within=60)
            assert process.exitcode == -signal.SIGKILL, (mis.folder / "relay.log").read_text()[-2000:]
    finally:
        stop.set()
        writer.join()
    with mis.capture() as relay:
        relay.following()
        assert {loan: relay.name(f"L{loan}") for loan in last} == last


def _entries(daemon: relay_.Relay, identity: str) -> list[int]:
    with daemon.outbox.read() as tx:
        return list(tx.execute(sa.select(table.entry.c.id).where(table.entry.c.identity == identity)).scalars())
