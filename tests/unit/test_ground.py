from __future__ import annotations

import os
import pwd
import stat
import tempfile
from pathlib import Path

import pytest

from kiva_relay.errors import RelayError
from testbed.database import ground

IN_MEMORY = Path("/dev/shm")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_a_copy_is_open_to_be_read_and_run_and_closed_to_be_written(tmp_path: Path) -> None:
    program, words = tmp_path / "tree" / "bin" / "initdb", tmp_path / "tree" / "share" / "words"
    for file, bits in ((program, 0o700), (words, 0o600)):
        file.parent.mkdir(mode=0o700, parents=True)
        file.touch(bits)
    before = os.umask(0)
    try:
        ground.copy(tmp_path / "tree", tmp_path / "site" / "package" / "tree")
    finally:
        os.umask(before)
    copied = tmp_path / "site" / "package" / "tree"
    folders = (copied.parent, copied, copied / "bin", copied / "share")
    assert {mode(path) for path in (*folders, copied / "bin" / "initdb")} == {0o755}
    assert mode(copied / "share" / "words") == 0o644
    assert mode(program) == 0o700, "the original was changed"


@pytest.mark.skipif(not ground._is_reached(Path("/tmp")), reason="cannot run here: /tmp is not everybody's")
def test_the_folder_is_made_beside_the_one_that_it_is_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # of mode 0700: others do not reach it
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        made = ground.folder(Path(name) / "closed" / "pg")
    assert (made.parent, mode(made)) == (Path("/tmp"), 0o711)
    made.rmdir()


@pytest.mark.skipif(not ground._is_reached(IN_MEMORY), reason="cannot run here: there is no /dev/shm for everybody")
def test_what_is_in_memory_stays_there() -> None:
    made = ground.folder(IN_MEMORY / "kiva-relay-torture" / "pg")
    assert made.parent == IN_MEMORY
    made.rmdir()


def test_where_no_program_may_be_run_none_is_put(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ground, "_is_reached", lambda place: True)
    monkeypatch.setattr(ground, "_ANYWHERE", (str(tmp_path),))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "noexec"))
    (tmp_path / "noexec").mkdir()
    monkeypatch.setattr(ground, "_refuses_programs", lambda place: place == tmp_path / "noexec")
    near = Path("/pg")
    assert ground.folder(near, runs=True).parent == tmp_path
    assert ground.folder(near).parent == tmp_path / "noexec"


def test_where_there_is_no_place_at_all_the_places_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ground, "_is_reached", lambda place: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(RelayError, match="/var/tmp") as caught:
        ground.folder(tmp_path / "pg")
    assert str(tmp_path) in str(caught.value)
    assert caught.value.hint == "Run it as an ordinary user."


@pytest.mark.parametrize(
    ("bits", "owner", "reached"),
    [
        (0o1777, 0, True),
        (0o755, 0, True),
        (0o750, 0, False),
        (0o777, 0, False),  # somebody could put a folder of their own in the place of ours
        (0o775, 0, False),
        (0o755, 1000, False),
    ],
)
def test_a_place_is_reached_by_everybody_and_is_roots(bits: int, owner: int, *, reached: bool) -> None:
    found = os.stat_result((stat.S_IFDIR | bits, 0, 0, 1, owner, 0, 0, 0, 0, 0))
    assert ground._is_roots_and_open(found) is reached


def test_an_ordinary_user_becomes_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert ground.user() is None


@pytest.mark.usefixtures("as_root")
def test_a_system_without_the_user_nobody_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(RelayError, match="there is no user 'nobody'"):
        ground.user()


@pytest.mark.usefixtures("as_root")
def test_a_root_by_name_only_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    with pytest.raises(RelayError, match=r"may not become 'nobody': .*not permitted"):
        ground.give(tmp_path, (65534, 65534))
