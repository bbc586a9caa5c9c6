"""Root never follows a link that stands in a folder of somebody else's: nothing elsewhere is emptied or given away."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from kiva_relay import cli
from kiva_relay.clock import SystemClock
from kiva_relay.errors import RelayError
from kiva_relay.outbox import database, own_file
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.lease import Lease
from kiva_relay.outbox.witness import Witness
from testbed.rig import full_outbox

SERVICE, GROUP = (65534, 65534) if os.geteuid() == 0 else (os.getuid(), os.getgid())
"""Whoever else runs the tests owns the folder, as the service does; only that it is root who looks is then played."""
KEPT = "what root has\n"


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "victim"
    file.write_text(KEPT)
    file.chmod(0o600)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "service"
    made.mkdir(mode=0o700)
    os.chown(made, SERVICE, GROUP)
    return made


def _witness(folder: Path) -> None:
    Witness(folder / "witness.log", api_url="https://x", partner_id="1").testify(
        outbox_id="o", attempt=1, resource="loan_draft", identities=["1"]
    )


def _lock(folder: Path) -> None:
    database.create_file(folder / "outbox.db")
    lease = Lease(Outbox(f"sqlite:///{folder}/outbox.db"), clock=SystemClock())
    lease._lock_file()
    lease._let_go()


def _outbox(folder: Path) -> None:
    database.create_file(folder / "outbox.db")
    with Outbox(f"sqlite:///{folder}/outbox.db").engine.connect() as cx:
        cx.exec_driver_sql("CREATE TABLE x (y)")


WRITES: dict[str, Callable[[Path], None]] = {
    "witness.log": _witness,
    "outbox.db.lock": _lock,
    "outbox.db": _outbox,
    "outbox.db-wal": _outbox,
    "outbox.db-journal": _outbox,
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("planted", [os.symlink, os.link])
def test_a_planted_link_is_not_followed(
    victim: Path, folder: Path, name: str, planted: Callable[[Path, Path], None]
) -> None:
    planted(victim, folder / name)
    with pytest.raises(RelayError, match="link"):
        WRITES[name](folder)
    assert victim.read_text() == KEPT
    assert (victim.stat().st_uid, victim.stat().st_gid) == (os.getuid(), os.getgid())


@pytest.mark.parametrize("name", WRITES)
def test_a_folder_that_is_a_link_of_somebody_elses_is_not_entered(tmp_path: Path, name: str) -> None:
    other = tmp_path / "etc"
    other.mkdir()
    (tmp_path / "service").symlink_to(other)
    os.lchown(tmp_path / "service", SERVICE, GROUP)
    with pytest.raises(RelayError, match="link"):
        WRITES[name](tmp_path / "service")
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("name", WRITES)
def test_what_root_makes_there_belongs_to_the_service(folder: Path, name: str) -> None:
    WRITES[name](folder)
    made = folder / name.removesuffix("-wal").removesuffix("-journal")
    assert (made.stat().st_uid, made.stat().st_gid) == (SERVICE, GROUP)


def test_a_backup_into_the_folder_of_the_service_follows_no_link(
    victim: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = full_outbox.made(tmp_path)
    monkeypatch.setenv("KIVA_SECRET", "s")
    (folder / "copy.db.part").symlink_to(victim)
    assert cli.main(["outbox", "backup", str(folder / "copy.db"), "--config", str(made.config)]) == 0
    made.outbox.close()
    assert victim.read_text() == KEPT
    assert victim.stat().st_uid == os.getuid()
    with sqlite3.connect(folder / "copy.db") as copy:
        assert copy.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def test_a_second_name_of_a_file_is_not_emptied_before_it_is_known(victim: Path, folder: Path) -> None:
    os.link(victim, folder / "a")
    with pytest.raises(OSError, match="link"):
        own_file.opened(folder / "a", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    assert victim.read_text() == KEPT


def test_a_file_of_ones_own_is_emptied_when_it_is_to_be(folder: Path) -> None:
    (folder / "a").write_text("old")
    os.close(own_file.opened(folder / "a", os.O_RDWR | os.O_TRUNC))
    assert (folder / "a").read_text() == ""


def test_what_cannot_be_looked_at_is_named(folder: Path, victim: Path) -> None:
    (folder / "outbox.db-wal").symlink_to(victim)
    database.create_file(folder / "outbox.db")
    with pytest.raises(RelayError, match=r"outbox\.db cannot be opened: .*/outbox\.db-wal: a link stands") as named:
        Outbox(f"sqlite:///{folder}/outbox.db")
    assert named.value.hint == f"ls -l {folder}"


def test_a_link_of_ones_own_is_as_good_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "elsewhere")
    os.close(own_file.opened(tmp_path / "here" / "a", os.O_RDWR | os.O_CREAT))
    assert (tmp_path / "elsewhere" / "a").exists()
