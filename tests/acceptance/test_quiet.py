"""A relay that has nothing to do does nothing: counted in seconds of the processor and in how often it wakes up."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import mirror
from kiva_relay.sandbox import server as stand_in
from kiva_relay.sandbox.config import SandboxConfig
from testbed.rig import long_history, outboxes
from testbed.rig.measured import MeasuredRelay, book

_SPAN = 30.0
"""Seconds, by the clock: what is counted in them does not depend on how busy the machine is."""
_AFTER_THE_START = 12.0
_WAKES = 10
"""A second. It was 24 when five threads woke up by themselves to look whether there was something; it is 5, and 8 where
all processors are busy."""
_SHARE = 0.01
"""Of a core. On a machine that does nothing else it is a third of this; where all processors are busy, a half."""
_MEMORY = 105
"""MB. It is 93; a library more that nobody uses is 10 of them."""


@pytest.mark.long
def test_a_relay_with_nothing_to_do_sleeps(
    postgres_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "x")
    book(postgres_database, 300)
    with stand_in.start(stand_in.plain(SandboxConfig(partner="123"))) as kiva:
        relay = MeasuredRelay(tmp_path / "relay", postgres_database, kiva=kiva.url, poll_every="10s", watch="poll")
        outboxes.on_file(tmp_path / "relay").close()
        long_history.write(relay.outbox, 300, before=datetime.now(UTC))
        with relay.outbox.begin() as tx:
            tx.execute(sa.text("UPDATE captured SET stream = 'old ' || stream"))
        relay.start()
        try:
            relay.waits_until(lambda: not relay.scanning() and _listed(relay))
            ready = time.monotonic()  # what a start does is not idleness: a poll and the audit are over by then
            relay.waits_until(lambda: time.monotonic() - ready > _AFTER_THE_START, within=10 * _SPAN)
            used, switches, began = relay.seconds(), relay.switches(), time.monotonic()
            relay.waits_until(lambda: time.monotonic() - began > _SPAN, within=10 * _SPAN)
            span = time.monotonic() - began
            assert (relay.switches() - switches) / span < _WAKES
            assert (relay.seconds() - used) / span < _SHARE
            assert relay.resident() < _MEMORY
            assert not [name for name in ("/PIL/", "/cryptography/") if name in relay.libraries()]
        finally:
            relay.end()
            relay.outbox.close()


def _listed(relay: MeasuredRelay) -> bool:
    """Has it read what Kiva lists? Then all that a start brings with it is over."""
    assert relay.process is not None
    with relay.outbox.read() as tx:
        last = mirror.last_complete(tx)
    return last is not None and b"ready" in relay.log.read_bytes() and last.started_at.timestamp() > _began(relay)


def _began(relay: MeasuredRelay) -> float:
    return relay.config.stat().st_mtime
