"""Before anything is sent: what the last process left open, what only the witness knows, and what a person must see."""

from __future__ import annotations

from kiva_relay import log
from kiva_relay.delivery import reconciler
from kiva_relay.delivery.courier import Bench
from kiva_relay.outbox import binding, hold, store
from kiva_relay.outbox.state import State

_log = log.get("delivery")


def recover(bench: Bench) -> None:
    """What was being sent when the last process ended is in doubt, and what only the witness knows as well."""
    testimonies = list(bench.witness.testimonies())
    with bench.outbox.begin() as tx:
        now = bench.clock.now()
        outbox_id = binding.get(tx, "outbox_id")
        known = {told.attempt for told in testimonies if told.outbox_id == outbox_id}
        moved = reconciler.recover(tx, witnessed=known.__contains__, now=now)
        lost = store.known_to_the_witness_only(tx, testimonies, now=now)
        if lost:
            hold.put(tx, hold.ALL, "restored_outbox", now=now, params={"entries": len(lost)})
    for entry in moved:
        if entry.state is State.IN_DOUBT:
            _log.warning(
                "It was being sent when the relay ended. It is not sent again until that is settled",
                entry=entry.id,
                resource=entry.resource,
                loan=entry.loan_id,
            )
    if lost:
        _log.error("The outbox is older than what this machine has sent; nothing is sent", entries=len(lost))


def hold_what_must_wait(bench: Bench) -> None:
    """A new outbox towards Kiva's own hosts sends nothing until a person has looked."""
    with bench.outbox.begin() as tx:
        if not bench.settings.first_start_holds or binding.get(tx, "first_start_seen") is not None:
            return
        binding.put(tx, "first_start_seen", "yes")
        hold.put(tx, hold.ALL, "first_start", now=bench.clock.now())
        hold.put(tx, "repayment", "first_report", now=bench.clock.now())
