"""A process that is killed while its report opens, is looked at last, or closes: nothing is lost, nothing goes twice.

Each is a process of its own, forked with the MIS that it reads, and ends itself by SIGKILL, also in mid-transaction.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from kiva_relay.outbox import closing, report, store, watermark
from kiva_relay.outbox.database import Outbox
from testbed.rig import month as months
from testbed.rig.month import CLOSING, OPENING, Month, listed

LOANS = [f"L{number}" for number in range(8)]
LAST_LOOK = CLOSING - timedelta(hours=5)


def kill(*_args: object, **_more: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(function: Callable[..., Any], times: int) -> Callable[..., Any]:
    """The same, and the end of the process after so many calls."""
    calls = []

    def counted(*args: Any, **more: Any) -> Any:
        done = function(*args, **more)
        calls.append(1)
        if len(calls) >= times:
            kill()
        return done

    return counted


STEPS: dict[str, tuple[object, str, int]] = {
    "its row is written": (report, "open_", 1),
    "its row is changed": (report, "change", 1),
    "its lines are kept": (report, "freeze", 1),
    "some positions are marked": (watermark, "read_identities_again", 1),
    "a position is put down": (store, "owe", 1),
    "its positions are closed": (closing, "close_all", 1),
}


def killed(month: Month, moment: datetime, step: str) -> bool:
    """A process looks at this moment and is killed at this step; false: it did not come to it."""
    child = os.fork()
    if child == 0:
        try:
            month.rig.outbox = Outbox(str(month.rig.outbox.url))
            where, name, times = STEPS[step]
            with mock.patch.object(where, name, after(getattr(where, name), times)):
                month.at(moment)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


MOMENTS: dict[datetime, tuple[str, ...]] = {
    OPENING: ("its row is written", "some positions are marked", "a position is put down"),
    LAST_LOOK: ("its row is changed", "some positions are marked", "a position is put down"),
    CLOSING: ("its lines are kept", "its row is changed", "its positions are closed"),
}


@pytest.fixture
def month(tmp_path: Path) -> Month:
    made = months.begin(tmp_path)
    for number, loan_id in enumerate(LOANS):
        made.lend(loan_id, repaid=100 + number)
    made.lists(*map(listed, LOANS), listed("unknown"))
    made.look()
    return made


def test_killed_at_opening_at_the_last_look_and_at_closing(month: Month) -> None:
    for moment, steps in MOMENTS.items():
        month.rig.outbox.close()
        for step in steps:
            assert killed(month, moment, step), step
        month.at(moment)
        if moment == OPENING:
            assert len(month.deliver()) == len(LOANS)
            month.types("L0", repaid=130)
        if moment == LAST_LOOK:
            assert month.deliver() == ["L0"]
            month.types("L1", repaid=140)
            month.look()
    assert Counter(loan for loan, _ in month.sent) == Counter(LOANS) + Counter(["L0"])
    assert month.sent[-1] == ("L0", "130")
    expected = {f"K{loan}": ("accepted", "") for loan in LOANS} | {
        "KL1": ("closed_wrong", "window_closed"),
        "Kunknown": ("closed_without", "not_in_mis"),
    }
    assert month.kinds() == expected
    with month.rig.outbox.read() as tx:
        row = report.of(tx, "2026-11")
    assert row is not None
    assert (row.opened_at, row.looked_at, row.closed_at) == (OPENING, LAST_LOOK, CLOSING)
