"""A relay that has nothing to do does nothing: counted in seconds of the processor and in how often it wakes up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import mirror
from kiva_relay.sandbox import server as stand_in
from kiva_relay.sandbox.config import SandboxConfig
from testbed.database import postgres
from testbed.rig import long_history, outboxes
from testbed.rig.measured import MeasuredRelay, book

_SPAN = 30.0
"""Seconds, by the clock: what is counted in them does not depend on how busy the machine is."""
_AFTER_THE_START = 12.0
_MEMORY = 105
"""MB. It is 93; a library more that nobody uses is 10 of them."""


@dataclass(frozen=True)
class Kind:
    """How it watches, and whether its outbox is `beside` the MIS, on one server.

    `wakes`, a second: with half of what it is added, for where all processors are busy Python's threads wake each other.
    `share`, of a core: twice what it is.
    """

    watch: str
    beside: bool
    wakes: float
    share: float


_KINDS = (
    Kind("poll", beside=False, wakes=5, share=0.0055),
    Kind("poll", beside=True, wakes=12, share=0.01),
    Kind("replication", beside=True, wakes=12, share=0.01),
)
"""With an outbox in a file it was 24 wakes when five threads woke up by themselves to look whether there was something,
and 3.4 when each question about the MIS had a session of its own; on one server it was 13.7 then, and is 7.4 by polls
and 9.6 by the stream, with 0.25 and 0.30 % of a core.
"""


@pytest.mark.long
@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: f"{kind.watch}{', one server' if kind.beside else ''}")
def test_a_relay_with_nothing_to_do_sleeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    monkeypatch.setenv("KIVA_SECRET", "x")
    with (
        postgres.start(tmp_path / "server", settings={"wal_level": "logical"}) as server,
        stand_in.start(stand_in.plain(SandboxConfig(partner="123"))) as kiva,
    ):
        url, outbox = server.create_database("book"), server.create_database("outbox") if kind.beside else ""
        book(url, 300)
        folder = tmp_path / "relay"
        relay = MeasuredRelay(folder, url, kiva=kiva.url, outbox=outbox, poll_every="10s", watch=kind.watch)
        (outboxes.migrated(outbox) if kind.beside else outboxes.on_file(folder)).close()
        long_history.write(relay.outbox, 300, before=datetime.now(UTC))
        with relay.outbox.begin() as tx:
            tx.execute(sa.text("UPDATE captured SET stream = 'old ' || stream"))
        if kind.watch == "replication":
            relay.watch_setup()
        relay.start()
        try:
            relay.waits_until(lambda: not relay.scanning() and _listed(relay))
            relay.outbox.close()
            ready = time.monotonic()  # what a start does is not idleness: a poll and the audit are over by then
            relay.waits_until(lambda: time.monotonic() - ready > _AFTER_THE_START, within=10 * _SPAN)
            used, switches, began = relay.seconds(), relay.switches(), time.monotonic()
            relay.waits_until(lambda: time.monotonic() - began > _SPAN, within=10 * _SPAN)
            span = time.monotonic() - began
            assert (relay.switches() - switches) / span < kind.wakes
            assert (relay.seconds() - used) / span < kind.share
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
