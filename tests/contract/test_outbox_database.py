"""A transaction of the outbox happens whole or not at all, and what a database says becomes a sentence."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.clock import SystemClock
from kiva_relay.outbox import act, database, meta, query, server, state, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.lease import Lease
from kiva_relay.outbox.queue import WritersQueue
from kiva_relay.outbox.state import MOVES, Actor, State
from testbed.rig import outboxes, patience
from testbed.rig.outboxes import NOW
from testbed.rig.patience import eventually


def test_what_ends_with_an_error_did_not_happen(outbox: Outbox) -> None:
    def writes_half() -> None:
        with outbox.begin() as tx:
            meta.REPORT.put(tx, "x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        writes_half()
    with outbox.read() as tx:
        assert meta.REPORT.get(tx) is None


def test_the_guard_is_asked_before_anything_is_written(outbox: Outbox) -> None:
    asked: list[str] = []

    def guard(tx: Connection) -> None:
        asked.append("asked")
        assert meta.REPORT.get(tx) is None
        if len(asked) == 2:
            raise errors.Stolen("another")

    outbox.guard = guard
    with outbox.begin() as tx:
        tx.execute(sa.select(table.meta))
    with outbox.read() as tx:
        tx.execute(sa.select(table.meta))
    with pytest.raises(errors.Stolen), outbox.begin() as tx:
        meta.REPORT.put(tx, "x")
    assert asked == ["asked", "asked"]


def test_a_reader_sees_one_picture_and_disturbs_no_writer(outbox: Outbox) -> None:
    with outbox.read() as reader:
        before = reader.execute(sa.select(sa.func.count()).select_from(table.meta)).scalar_one()
        with outbox.begin() as tx:
            meta.REPORT.put(tx, "x")
        assert reader.execute(sa.select(sa.func.count()).select_from(table.meta)).scalar_one() == before


def test_a_reader_of_a_server_cannot_write(outbox: Outbox) -> None:
    """A file would let in whoever writes by it; a server refuses it, and the connection writes as before afterwards."""
    if outbox.is_file:
        return
    with pytest.raises(errors.OutboxAway, match="read-only transaction"), outbox.read() as reader:
        meta.REPORT.put(reader, "x")
    with outbox.begin() as tx:  # the same connection
        meta.REPORT.put(tx, "x")
    with outbox.glance() as cx:
        assert meta.REPORT.get(cx) == "x"


def test_a_glance_is_one_statement_and_sees_what_is_committed(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        meta.REPORT.put(tx, "x")
    with outbox.glance() as cx:
        assert meta.REPORT.get(cx) == "x"
        if not outbox.is_file:
            assert cx.connection.dbapi_connection.autocommit  # type: ignore[union-attr] # psycopg's
    with pytest.raises(ZeroDivisionError), outbox.begin() as tx:  # noqa: PT012 - it ends the transaction
        meta.REPORT.put(tx, "y")
        raise ZeroDivisionError
    with outbox.glance() as cx:
        assert meta.REPORT.get(cx) == "x"


def test_a_server_that_said_nothing_is_not_asked_whether_it_is_there(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle relay uses its connection each second or two, and asked before each use."""
    if outbox.is_file:
        return
    monkeypatch.setattr(server, "_STAYS", 0.0)
    with outbox.glance() as cx:
        meta.REPORT.get(cx)
    asked: list[object] = []
    ping = outbox.engine.dialect.do_ping

    def pinged(connection: sa.PoolProxiedConnection) -> bool:
        asked.append(connection)
        return ping(connection)

    monkeypatch.setattr(outbox.engine.dialect, "do_ping", pinged)
    for _ in range(3):
        with outbox.glance() as cx:
            meta.REPORT.get(cx)
    assert asked == []
    monkeypatch.setattr(server, "_SAYS_WHEN_IT_ENDS", 0.0)
    with outbox.glance() as cx:
        meta.REPORT.get(cx)
    assert len(asked) == 1


def test_a_server_that_ended_a_connection_while_it_rested_costs_nothing(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    if outbox.is_file:
        return
    monkeypatch.setattr(server, "_STAYS", 0.0)
    other = Outbox(outbox.url.render_as_string(hide_password=False))
    ours = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with outbox.begin() as tx:
        meta.REPORT.put(tx, "x")
    with other.glance() as cx:
        assert cx.execute(sa.text(f"SELECT pg_terminate_backend(pid) {ours}")).scalars().all() == [True]
        eventually(lambda: not cx.execute(sa.text(f"SELECT 1 {ours}")).all())
    with outbox.begin() as tx:
        assert meta.REPORT.get(tx) == "x"
    other.close()


def test_writers_come_in_the_order_in_which_they_asked(outbox: Outbox) -> None:
    """A book that is read page after page kept an administrator's reload waiting for half a minute."""
    stop, asks, written = threading.Event(), threading.Event(), [0]

    def read_the_book() -> None:
        while not stop.is_set():
            with outbox.begin() as tx:
                tx.execute(sa.select(table.meta))
                written[0] += 1
                asks.set()
                threading.Event().wait(0.01)  # a page takes its time

    book = threading.Thread(target=read_the_book)
    book.start()
    try:
        for _ in range(10):
            asks.clear()
            assert asks.wait(patience.seconds(30))
            before = written[0]
            with outbox.begin():
                assert written[0] - before <= 2
    finally:
        stop.set()
        book.join()


def test_who_waits_in_vain_goes_away_and_stands_in_nobodys_way() -> None:
    queue = WritersQueue()
    assert queue.enter(within=0)
    assert not queue.enter(within=0.01)
    came: list[bool] = []
    next_one = threading.Thread(target=lambda: came.append(queue.enter(within=patience.seconds(30))))
    next_one.start()
    eventually(lambda: queue._waiting)
    queue.leave()
    next_one.join()
    assert came == [True]
    queue.leave()
    assert queue.enter(within=0)


def test_room_is_known_of_a_file_only(outbox: Outbox, tmp_path: Path) -> None:
    if not outbox.is_file:
        assert (outbox.size(), outbox.free_bytes()) == (None, None)
        return
    with outbox.begin() as tx:
        meta.REPORT.put(tx, "x")
    log = tmp_path / "outbox.db-wal"
    assert log.stat().st_size > 0
    assert outbox.size() == outbox.path.stat().st_size + log.stat().st_size
    free = outbox.free_bytes()
    assert free is not None
    assert free > 0


def test_a_broken_rule_of_the_tables_is_no_outage(outbox: Outbox) -> None:
    with pytest.raises(sa.exc.IntegrityError), outbox.begin() as tx:
        tx.execute(sa.insert(table.lease).values(id=2, fence=1))


def test_a_nul_in_an_id_costs_nothing_else(outbox: Outbox) -> None:
    """MariaDB and SQLite keep one in a text. PostgreSQL has no such character."""
    outboxes.put(outbox, "KV\x00/1", loan_id="KV\x00/1", client_id="\0")
    outboxes.put(outbox, "KV/0002")
    with outbox.read() as tx:
        found = query.due(tx, "loan_draft", limit=9, now=outboxes.later(1))
    assert len(found) == 2
    assert found[0].loan_id in ("KV\x00/1", "KV\N{REPLACEMENT CHARACTER}/1")


def test_what_a_file_says_is_told_apart(tmp_path: Path) -> None:
    outbox = Outbox(f"sqlite:///{tmp_path / 'no' / 'outbox.db'}")
    with pytest.raises(errors.UsageError, match="belongs to the service") as refused, outbox.read():
        pass
    assert (refused.value.hint or "").startswith("sudo kiva-relay")
    outbox.guard = lambda _tx: None
    with pytest.raises(errors.OutboxAway, match="cannot be written now"), outbox.begin():
        pass
    outbox.close()


@pytest.mark.parametrize("content", [b"garbage" * 1_000, None], ids=["garbage", "a folder"])
def test_a_file_that_no_waiting_mends_is_not_away(tmp_path: Path, content: bytes | None) -> None:
    """It ended with the code that systemd starts again, for ever, and said that nothing is lost."""
    path = tmp_path / "outbox.db"
    path.mkdir() if content is None else path.write_bytes(content)
    outbox = Outbox(f"sqlite:///{path}")
    with pytest.raises(errors.UsageError) as told, outbox.read() as tx:
        tx.execute(sa.select(table.meta))
    outbox.close()
    said = f"{told.value} {told.value.hint}"
    assert ("recover" if content else "folder") in said
    assert "sudo" not in said


def test_a_server_that_is_away(tmp_path: Path) -> None:
    assert tmp_path.is_dir()
    outbox = Outbox("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(errors.OutboxAway, match="does not answer"), outbox.read():
        pass
    outbox.close()


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(errors.UsageError, match=r"outbox\.url: expected .* found mysql"):
        Outbox("mysql://x/y")


def test_a_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    old = os.umask(0)
    try:
        database.create_file(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"kept")
    database.create_file(path)
    assert path.read_bytes() == b"kept"
    with pytest.raises(errors.UsageError, match="cannot be made") as refused:
        database.create_file(tmp_path / "no" / "outbox.db")
    assert refused.value.hint == f"sudo install -d -o kiva-relay -m 0700 {tmp_path / 'no'}"


def test_acts_are_written_down(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with outbox.begin() as tx:
        act.record(tx, by="awa", verb="hold", about={"what": "all"}, note="looked", now=NOW)
    with outbox.read() as tx:
        found = tx.execute(sa.select(table.act)).one()
    assert (found.person, found.verb, found.about, found.note, found.at) == (
        "awa",
        "hold",
        {"what": "all"},
        "looked",
        NOW,
    )
    assert act.person({"SUDO_USER": "awa", "USER": "root"}) == "awa"
    monkeypatch.setattr("getpass.getuser", lambda: "moussa")
    assert act.person({}) == "moussa"


# ---------------------------------------------------------------- the states


def test_every_move_is_the_one_of_the_table() -> None:
    allowed = {(move.source, move.target, move.by) for move in MOVES}
    assert len(allowed) == 66
    for source in (None, *State):
        for target in State:
            for by in Actor:
                if (source, target, by) in allowed:
                    state.check(source, target, by)
                else:
                    with pytest.raises(errors.IllegalMove, match=f"{by} cannot move an entry"):
                        state.check(source, target, by)


def test_no_road_leads_out_of_what_is_over_but_a_persons() -> None:
    assert {move.by for move in MOVES if move.source in state.FINAL} == {Actor.PERSON}
    assert not [move for move in MOVES if move.source in (State.SUPERSEDED, State.WITHDRAWN)]
    assert {move.by for move in MOVES if move.source is State.SENDING} == {Actor.COURIER, Actor.START}
    assert set(State) == state.UNSENT | state.IN_FLIGHT | state.FINAL
    assert outboxes.entry(1).state in state.UNSENT


def test_news_is_what_anybody_writes_but_not_what_is_quiet(outbox: Outbox, tmp_path: Path) -> None:
    other = Outbox(outbox.url.render_as_string(hide_password=False))
    with outbox.begin() as tx:
        meta.REPORT.put(tx, "1")
    before = outbox.news()
    with other.begin() as tx:
        meta.REPORT.put(tx, "2")
    other.close()
    seen = outbox.news()
    assert seen != before
    assert outbox.news() == seen
    with outbox.begin() as tx:
        assert meta.REPORT.get(tx) == "2"
    assert outbox.news() == seen, "nothing was written"
    with outbox.begin(quiet=True) as tx:
        meta.REPORT.put(tx, "3")
    assert outbox.news() == seen
    with outbox.read() as tx:
        assert meta.REPORT.get(tx) == "3"
    assert outbox.news() == seen


def test_of_a_relay_alone_it_is_news_what_it_writes_not_that_it_lives(outbox: Outbox) -> None:
    lease = Lease(outbox, clock=SystemClock())
    lease.acquire()
    seen = outbox.news()
    lease.renew()
    with outbox.begin(quiet=True) as tx:
        meta.REPORT.put(tx, "quietly")
    assert outbox.news() == seen
    with outbox.begin() as tx:
        meta.REPORT.put(tx, "aloud")
    assert outbox.news() != seen
    lease.release()


def test_a_database_that_does_not_tell_how_far_its_log_is_has_always_news(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = SimpleNamespace(get=lambda tx: tx.execute(sa.text("SELECT nobody_may_ask()")), put=meta.WORD_LEFT.put)
    monkeypatch.setattr(meta, "WORD_LEFT", broken)
    if outbox.is_file:
        monkeypatch.setattr(Outbox, "path", property(lambda _self: Path("/nowhere/outbox.db")))
    assert outbox.news() != outbox.news()
    with outbox.begin(quiet=True) as tx:
        meta.REPORT.put(tx, "quietly")
    assert outbox.news() != outbox.news()
    with outbox.read() as tx:
        assert meta.REPORT.get(tx) == "quietly"
