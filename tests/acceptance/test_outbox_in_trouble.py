"""The outbox's disk is full, its file locked, its server restarted, its migration cut: nothing is sent unrecorded."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.outbox import migration, table
from kiva_relay.outbox.database import Outbox, create_file
from testbed.database import postgres
from testbed.kiva.fault import Fault
from testbed.rig import killable, outboxes, patience
from testbed.rig.patience import eventually
from testbed.rig.site import Site

KEPT_FREE = 512 * 1024


@contextlib.contextmanager
def running(house: Site, **changes: object) -> Iterator[ForkServerProcess]:
    """The daemon as a process, stopped in order at the end."""
    life = killable.Life(house.config, house.folder / "daemon.log", environ=dict(os.environ))
    process = killable.start(dataclasses.replace(life, **changes))  # type: ignore[arg-type]
    try:
        yield process
        assert process.exitcode is None, log(house)[-2000:]
    finally:
        process.terminate()
        patience.joined(process)


def log(house: Site) -> str:
    path = house.folder / "daemon.log"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def asked(house: Site, fault: str) -> bool:
    """Has a request come that this fault happens to?"""
    return any(request["fault"] == fault for request in house.kiva.requests())


def posts(house: Site) -> int:
    return sum(1 for request in house.kiva.requests() if request["on"] in ("loan_draft", "repayments", "journals"))


def rests(house: Site) -> None:
    """Everything went out once, and nothing is in doubt."""
    eventually(lambda: house.entries(state="delivered"), within=60)
    eventually(lambda: not house.entries(state="ready") and not house.entries(state="sending"), within=60)
    assert not house.entries(state="in_doubt")
    drafts = [body.get("internal_loan_id") or body["entreps"][0]["loan_id"] for body in house.sent("loan_draft")]
    assert drafts
    assert len(drafts) == len(set(drafts))


# ---------------------------------------------------------------- a disk that is full


@pytest.fixture
def small_disk(tmp_path: Path, house: Site) -> Iterator[Path]:
    """A disk of 32 MB that the outbox lies on."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], check=False)
    if done.returncode:
        pytest.skip("cannot run here: mounting a small disk needs root")
    house.changes["outbox"] = {"url": f"sqlite:///{folder}/outbox.db", "witness": str(house.folder / "witness.log")}
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def entries_on(disk: Path, house: Site) -> None:
    """`house.entries` reads the outbox at its usual place."""
    (house.folder / "outbox.db").symlink_to(disk / "outbox.db")
    for ending in ("-wal", "-shm"):
        (house.folder / f"outbox.db{ending}").symlink_to(disk / f"outbox.db{ending}")


def fill(disk: Path, *, leave: int = 0) -> Path:
    stuff = disk / "stuff"
    with contextlib.suppress(OSError), stuff.open("wb", buffering=0) as file:
        file.write(b"x" * max(shutil.disk_usage(disk).free - leave, 0))
    return stuff


@pytest.mark.long
def test_with_little_room_nothing_is_claimed_and_status_says_so(house: Site, small_disk: Path) -> None:
    with running(house):  # 64 MB are to be kept free, and the disk has 32
        eventually(lambda: "The disk is almost full. Nothing is sent until there is room" in log(house))
        entries_on(small_disk, house)
        eventually(lambda: house.entries(state="ready"))
        shown = eventually(lambda: (text := house.command("status").stdout) and "disk is almost full" in text and text)
        assert "STOPPED" in shown
        assert posts(house) == 0


@pytest.mark.long
def test_a_disk_that_fills_before_an_answer_keeps_the_answer_until_there_is_room(house: Site, small_disk: Path) -> None:
    house.server.state.faults.add(Fault(kind="slow", on=("loan_draft",), seconds=1.5, times=1))
    with running(house, free_bytes=KEPT_FREE):
        eventually(lambda: asked(house, "slow"))
        stuff = fill(small_disk)
        said = eventually(lambda: any(one in log(house) for one in ("cannot be stored", "disk is almost full")))
        before = posts(house)
        eventually(lambda: "The outbox" in log(house) or "disk is almost full" in log(house))
        assert said
        assert posts(house) == before
        stuff.unlink()
        entries_on(small_disk, house)
        rests(house)


@pytest.mark.long
def test_a_full_disk_ends_nothing_and_sends_nothing(house: Site, small_disk: Path) -> None:
    house.server.state.faults.add(Fault(kind="status", on=("loans",), status=503, retry_after="1", times=4))
    with running(house, free_bytes=0) as process:
        eventually(lambda: " ready " in log(house))
        stuff = fill(small_disk)
        eventually(lambda: "The outbox does not answer" in log(house) or "cannot be written" in log(house))
        recorded = posts(house)
        assert process.exitcode is None
        assert posts(house) == recorded
        stuff.unlink()
        entries_on(small_disk, house)
        rests(house)


def test_a_full_disk_of_the_witness_sends_nothing(house: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with house.relay() as relay:

        def full(**_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(relay.context.witness, "testify", full)
        relay.once()
        assert posts(house) == 0
        assert not house.entries(state="in_doubt")
        assert not house.entries(state="sending")
        assert house.entries(state="ready")


# ---------------------------------------------------------------- read-only, locked, restarted


def test_a_file_that_cannot_be_written_any_more_does_not_end_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon waits for a disk that became read-only; a command of another user says sudo."""
    outbox = outboxes.on_file(tmp_path)

    def read_only(_tx: sa.Connection) -> None:
        cause = sqlite3.OperationalError("attempt to write a readonly database")
        raise sa.exc.OperationalError("INSERT", {}, cause)

    outbox.guard = read_only
    with pytest.raises(errors.OutboxAway), outbox.begin():
        pass
    outbox.guard = None
    with pytest.raises(errors.UsageError, match="belongs to the service"), outbox.begin() as tx:
        read_only(tx)
    outbox.close()


@pytest.mark.long
def test_a_locked_file_is_waited_for_and_the_answer_is_not_lost(house: Site) -> None:
    house.server.state.faults.add(Fault(kind="slow", on=("loan_draft",), seconds=1.0, times=1))
    with running(house, busy_seconds=0.2):
        eventually(lambda: asked(house, "slow"))
        with contextlib.closing(sqlite3.connect(house.folder / "outbox.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            eventually(lambda: "An answer cannot be stored; nothing else is sent until it is" in log(house))
            assert posts(house) == 1
            other.execute("ROLLBACK")
        rests(house)


@pytest.mark.long
def test_a_restarted_server_of_the_outbox_loses_no_answer(house: Site, tmp_path: Path) -> None:
    with postgres.start(tmp_path / "its-own") as server:
        url = server.create_database("outbox")
        house.changes["outbox"] = {"url": url, "witness": str(house.folder / "witness.log")}
        house.server.state.faults.add(Fault(kind="slow", on=("loan_draft",), seconds=1.5, times=1))
        outbox = Outbox(url)

        def states() -> set[str]:
            with outbox.read() as tx:
                return set(tx.execute(sa.select(table.entry.c.state)).scalars())

        with running(house):
            eventually(lambda: asked(house, "slow"))
            server.stop()
            eventually(lambda: "An answer cannot be stored" in log(house))
            assert posts(house) == 1
            server.start()
            eventually(lambda: "delivered" in states() and not {"ready", "sending"} & states(), within=60)
        assert "in_doubt" not in states()
        assert len(house.sent("loan_draft")) > 1
        outbox.close()


# ---------------------------------------------------------------- a migration that is cut


def _migrate_and_die(url: str, tables: int) -> None:
    outbox, made = Outbox(url), 0

    def count(_c: object, _cur: object, statement: str, _p: object, _x: object, _many: object) -> None:
        nonlocal made
        made += statement.strip().upper().startswith("CREATE TABLE")
        if made == tables:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(outbox.engine, "before_cursor_execute", count)
    migration.upgrade(outbox)


@pytest.mark.parametrize("tables", [2, 5, 9])
@pytest.mark.parametrize("on", ["sqlite", "postgresql"])
def test_a_migration_that_is_killed_in_its_middle_is_made_again(
    on: str, tables: int, tmp_path: Path, postgres_database: str
) -> None:
    url = postgres_database if on == "postgresql" else f"sqlite:///{tmp_path}/outbox.db"
    if on == "sqlite":
        create_file(tmp_path / "outbox.db")
    process = multiprocessing.get_context("fork").Process(target=_migrate_and_die, args=(url, tables))
    process.start()
    patience.joined(process)
    assert process.exitcode == -signal.SIGKILL
    outbox = outboxes.migrated(url)
    migration.check(outbox)
    outbox.close()
