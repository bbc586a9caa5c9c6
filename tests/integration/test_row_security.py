"""Row level security of the MIS across a restart of the relay: not seen is not gone."""

from __future__ import annotations

import threading

from kiva_relay.clock import SystemClock
from kiva_relay.mapping import configuration
from kiva_relay.service.reload import InForce, Reloader, Request
from testbed.rig.streamed import Streamed


def test_what_is_hidden_while_the_relay_is_stopped_stops_the_mapping_until_a_person_reloads(
    streamed_mis: Streamed,
) -> None:
    guest = streamed_mis.as_role("row_security_guest")
    try:
        with guest.capture() as relay:
            for _ in range(3):
                relay.capture.cycle()
            assert relay.state("L1") == "ready"
        streamed_mis.sql("ALTER TABLE loan ENABLE ROW LEVEL SECURITY")
        for _ in range(2):  # a second restart is no way around it
            with guest.capture() as relay:
                relay.capture.cycle()
                said = relay.capture.stopped["loan_draft"]
                assert "row level security of loan was switched on" in said
                assert relay.state("L1") == "ready"
        with guest.capture() as relay:
            _reload(guest, relay.outbox)
            for _ in range(2):
                relay.capture.cycle()
            assert relay.capture.stopped == {}
    finally:
        streamed_mis.sql("DROP OWNED BY row_security_guest")
        streamed_mis.sql("DROP ROLE row_security_guest")


def _reload(guest: Streamed, outbox: object) -> None:
    read = configuration.read(lambda: guest.settings)
    reloader = Reloader(
        InForce(read),
        outbox,  # type: ignore[arg-type]
        clock=SystemClock(),
        signalled=threading.Event(),
        read_settings=lambda: guest.settings,
    )
    assert reloader.reload(Request("", by_person=True)).ok
