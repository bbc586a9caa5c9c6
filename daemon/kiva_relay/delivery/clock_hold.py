"""Holds the report while clocks differ on which month it is, or whether it is open, and Kiva does not say the hour."""

from __future__ import annotations

from kiva_relay import log
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.outbox import hold

_RESOURCE, _REASON = "repayment", "clock"
_log = log.get("delivery")


class ClockHold:
    """Knows what was found when it last looked; None before that, for a hold may be there from before a restart."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._is_put: bool | None = None

    def compare(self) -> None:
        """Put the hold, or release it. Once a person has released it, this machine's clock is believed."""
        context = self._context
        reports, kiva_time = context.reports(), context.kiva_time
        differ = len(reports) > 1 and _RESOURCE in context.settings.resources
        if differ == self._is_put and not differ:
            return
        now = context.clock.now()
        with context.outbox.begin() as tx:
            held = any(one.reason == _REASON for one in hold.in_force(tx))
            if not differ:
                hold.release(tx, _RESOURCE, by=hold.RELAY, note="they agree", now=now, reason=_REASON)
            elif self._is_put and not held and kiva_time is not None:
                kiva_time.believe_machine()
                differ = len(context.reports()) > 1
            elif not held:
                said = ", or ".join(f"{one.period}, {'open' if one.is_open else 'not open'}" for one in reports)
                hold.put(tx, _RESOURCE, _REASON, now=now, params={"said": said})
                _log.error("Clocks differ on the report, and Kiva does not say the hour", perhaps=said)
        self._is_put = differ
