from __future__ import annotations

import importlib
from multiprocessing import forkserver
from pathlib import Path

from testbed.rig import killable
from testbed.rig.patience import joined


def test_lives_are_forked_from_a_server_that_has_the_daemon_imported(tmp_path: Path) -> None:
    """A name that nobody finds is passed over without a word, and each life imports everything: seconds, not a tenth."""
    joined(killable.start(killable.Life(tmp_path / "none.yaml", tmp_path / "log")))
    names: list[str] = forkserver._forkserver._preload_modules  # type: ignore[attr-defined]
    assert [importlib.import_module(name) for name in names] == [killable]
