"""The kernel tells of files that were written."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kiva_relay.service import file_watch
from kiva_relay.service.file_watch import FileWatch
from testbed.rig.patience import eventually


def test_it_tells_of_files_whose_names_begin_alike_and_of_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_watch, "_AT_MOST_EVERY", 0.01)
    told = threading.Event()
    watch = FileWatch(tmp_path / "outbox.db", told.set)
    (tmp_path / "elsewhere").write_text("x", encoding="utf-8")
    (tmp_path / "outbox.db-wal").write_text("x", encoding="utf-8")
    eventually(told.is_set)
    told.clear()
    with (tmp_path / "outbox.db-wal").open("a", encoding="utf-8") as log:
        log.write("y")
    eventually(told.is_set)
    watch.close()
    told.clear()
    (tmp_path / "outbox.db-wal").write_text("z", encoding="utf-8")
    assert not told.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "file watch"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="inotify_add_watch"):
        FileWatch(tmp_path / "nowhere" / "outbox.db", lambda: None)
