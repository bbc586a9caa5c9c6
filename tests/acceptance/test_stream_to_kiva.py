"""From the MIS by its stream to Kiva, while the relay is killed and all happens to the stream that may."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.torture import mishap, stream

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_800)]


def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    with stream.set_up(tmp_path / "mis", seed=3, clients=100, loans=20) as on:
        figures = stream.torture(on, seed=3)
    assert figures.wrong == []
    assert (figures.lost, figures.duplicated, figures.older_after_newer) == (0, 0, 0)
    assert figures.faults.keys() >= {one.__name__ for one in (*mishap.ALONE, mishap.held_open, mishap.committed_late)}
    assert figures.kills.total() >= len(mishap.ALONE) // 3
    assert figures.accepted.keys() == {"loan_draft", "repayment", "journal"}
