"""The MIS's time that is taken stays `mis.max_load`, by a clock on which a MIS is fifty times slower and waits are free."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal

import pytest

from kiva_relay.clock import SystemClock
from kiva_relay.mapping import configuration
from kiva_relay.outbox import opening, scan, watermark
from kiva_relay.service.capture_loop import CaptureLoop
from kiva_relay.service.reload import InForce
from testbed.rig.configuration import documents
from testbed.rig.streamed import Streamed

SLOWER = 50
SHARE = Decimal(2)
SAVED = float(SHARE) / 100 * 20
"""Seconds of it that may have been saved up for a look that costs more than usual."""


class Slow(SystemClock):
    """Each second of work counts as many; a wait passes at once."""

    def __init__(self) -> None:
        self.waited = 0.0
        self.began = super().monotonic()

    def monotonic(self) -> float:
        return (super().monotonic() - self.began) * SLOWER + self.waited

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waited += 0 if event.is_set() else seconds
        return event.is_set()


@contextmanager
def reading(mis: Streamed, clock: Slow) -> Iterator[CaptureLoop]:
    changed = mis.settings.mis.model_copy(update={"max_load": SHARE, "watch": "poll"})
    settings = mis.settings.model_copy(update={"mis": changed})
    with closing(opening.open_outbox(settings)) as outbox:
        in_force = InForce(configuration.of(settings, documents(settings)))
        made = CaptureLoop(in_force, outbox=outbox, clock=clock, stop=threading.Event(), at=lambda _name: None)
        try:
            yield made
        finally:
            made.close()


def taken(made: CaptureLoop) -> float:
    """Seconds for which the MIS was kept busy."""
    assert made._mis is not None
    return made._mis.busy_seconds


def test_a_backfill_leaves_the_mis_its_time_and_says_how_far_it_is(streamed_mis: Streamed) -> None:
    streamed_mis.sql(
        "INSERT INTO loan (id, account, client, amount) SELECT n, 'L' || n, 'C' || n, 100 FROM generate_series(4, 1500) n"
    )
    clock, told = Slow(), list[scan.ScanProgress]()
    with reading(streamed_mis, clock) as made:
        for _ in made.scan():
            with made._outbox.read() as tx:
                progress = scan.of(tx, "loan_draft")
                marks = watermark.watermarks(tx)
            if progress is not None and marks["loan_draft"].scan is not None:
                told.append(progress)
        busy, passed = taken(made), clock.monotonic() + made.rest()
        assert busy > 10 * SAVED, "it would be within what was saved up"
        assert busy <= passed * float(SHARE) / 100 + SAVED
    assert [one.total for one in told] == [1500] * len(told)
    assert len(told) > 2
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert told[0].done < 1500


@pytest.mark.long
def test_polls_behind_an_old_transaction_after_every_loan_was_stamped_leave_the_mis_its_time(
    streamed_mis: Streamed,
) -> None:
    streamed_mis.sql(
        "INSERT INTO loan (id, account, client, amount) SELECT n, 'L' || n, 'C' || n, 100 FROM generate_series(4, 1500) n"
    )
    clock = Slow()
    with reading(streamed_mis, clock) as made, streamed_mis.another() as old:
        for _ in made.scan():
            pass
        old.execute("BEGIN")
        old.execute("SELECT pg_current_xact_id()")
        streamed_mis.sql("UPDATE loan SET changed = now(), first_name = 'Zoe'")
        before, since = taken(made), clock.monotonic()
        for _ in range(40):
            made.poll.knock()
            clock.wait(threading.Event(), made.turn())
        busy, passed = taken(made) - before, clock.monotonic() + made.rest() - since
        assert busy > 10 * SAVED
        assert busy <= passed * float(SHARE) / 100 + SAVED
        assert made.capture().pinned_by == f"session {old.info.backend_pid} of postgres"
        old.execute("ROLLBACK")
