"""Asks Kiva, harmlessly, what it has: its loans, its lists; and settles what that proves.

The same requests show that Kiva is there at all, so during an outage they are the only ones made.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa

from kiva_relay import log
from kiva_relay.delivery import breaker, mirror, reconciler
from kiva_relay.delivery.access import READS, Access
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.courier import ORDER
from kiva_relay.delivery.token import Token
from kiva_relay.outbox import catalogue, hold, table, watermark
from kiva_relay.outbox import mirror as kept
from kiva_relay.outbox.state import State
from kiva_relay.resource import window

_LISTS_EVERY = timedelta(days=1)
_LISTS_AGAIN = timedelta(minutes=5)
_SOON = timedelta(seconds=1)
_A_JUMP = 2.0  # seconds; a clock that is steered gently differs by less between two looks

_log = log.get("delivery")


class Refresher:
    """The thread that only reads. Holds the moment of its next look."""

    def __init__(self, context: DeliveryContext, *, at: Callable[[str], None] = lambda _name: None) -> None:
        self._context, self._at = context, at
        self._access = Access(context)
        self._next: datetime | None = None
        self._lists_are_missing = False
        self._clocks_differ_by: float | None = None
        self._settles_from = 0.0

    def ask(self) -> None:
        """Read Kiva's lists at the next look, or as soon as Kiva may be asked."""
        self._next = None

    def look(self) -> bool:
        """Look if it is time, or if something waits for a look; true when the list of loans was read whole."""
        context = self._context
        self._watch_clock()
        self._settle()
        if context.destination.pause():
            return False
        if self._next is not None and context.clock.now() < self._next:
            return self._probe() if self._probe_wanted() else False
        return self._refresh()

    def _refresh(self) -> bool:
        context = self._context
        token = self._token()
        if token is None:
            return False
        started = context.clock.now()
        with context.outbox.begin() as tx:
            number = kept.begin_refresh(tx, now=started)
        try:
            loans = mirror.loans(context.client, context.settings.kiva, token)
            self._at("listed")
        except (mirror.Incomplete, mirror.NotGiven) as error:
            with context.outbox.begin() as tx:
                now = context.clock.now()
                kept.end_refresh(tx, number, complete=False, listed=0, detail=str(error), now=now)
            if isinstance(error, mirror.NotGiven):
                self._not_given(error, token)
            else:
                self._next = context.clock.now() + _SOON
            return False
        with context.outbox.begin() as tx:
            now = context.clock.now()
            if kept.is_overtaken(tx, number):
                kept.end_refresh(tx, number, complete=False, listed=0, detail=kept.OVERTAKEN, now=now)
                return False
            kept.keep(tx, number, loans)
            kept.end_refresh(tx, number, complete=True, listed=len(loans), detail=None, now=now)
            hold.release(tx, hold.ALL, by=hold.RELAY, note="Kiva answers again", now=now, reason="destination_fault")
            reconciler.adopt(tx, now=now)
            reconciler.wake(tx, now=now)
        self._answered()
        self._next = started + context.settings.mirror.refresh_every
        self._access.accepted(READS)
        self._read_lists(token)
        self._settle()
        return True

    def _settle(self) -> None:
        """Settle what the evidence settles now. It asks Kiva nothing, so it is done whether Kiva answers or not."""
        context = self._context
        with context.outbox.read() as tx:
            doubts = sa.select(table.entry.c.id).where(table.entry.c.state == State.IN_DOUBT.value)
            if tx.execute(doubts.limit(1)).first() is None:
                return
        if context.clock.monotonic() < self._settles_from:
            return
        report = window.report(context.settings, context.clock.now())
        with context.outbox.begin() as tx:
            moved = reconciler.settle(
                tx,
                settle_after=context.settings.delivery.settle_after,
                drafts_visible=context.settings.kiva.drafts_visible == "auto",
                open_period=report.period if report.is_open else None,
                now=context.clock.now(),
            )
        for entry in moved:
            _log.info("A doubt was settled by evidence", entry=entry.id, loan=entry.loan_id, state=entry.state.value)

    def _watch_clock(self) -> None:
        """After a clock was set, `settle_after` is counted from the start: it measures time that passed."""
        clock = self._context.clock
        differ, before = clock.now().timestamp() - clock.monotonic(), self._clocks_differ_by
        self._clocks_differ_by = differ
        if before is not None and abs(differ - before) > _A_JUMP:
            _log.warning("The clock was set. Doubts are settled later, when it is sure what passed", by=differ - before)
            self._settles_from = clock.monotonic() + self._context.settings.delivery.settle_after.total_seconds()

    def _probe_wanted(self) -> bool:
        """Was an answer lost, or Kiva away, since the last harmless request succeeded?"""
        destination = self._context.destination
        if destination.down_since is not None:
            return True
        with self._context.outbox.read() as tx:
            lost = [breaker.doubts_in_a_row(tx, resource)[1] for resource in ORDER]
        last = destination.last_harmless_success
        return any(moment is not None and (last is None or last <= moment) for moment in lost)

    def _probe(self) -> bool:
        """One harmless request; false: no list was read whole."""
        context = self._context
        token = self._token()
        if token is not None:
            params: dict[str, str | int] = {"status": kept.EXPECTED[0], "limit": 1}
            path = f"/v3/partner/{context.settings.kiva.partner_id}/loans"
            answer = context.client.get(path, token=token.text, params=params)
            if answer.status is not None and answer.json is not None:
                self._answered()
            else:
                self._not_given(mirror.NotGiven(answer, "the list of loans"), token)
        return False

    def _answered(self) -> None:
        if self._context.destination.answered():
            _log.info("Kiva answers again. Nothing was lost")

    def _read_lists(self, token: Token) -> None:
        """Kiva's lists once a day; a change makes whatever was refused be mapped again."""
        context = self._context
        now = context.clock.now()
        with context.outbox.read() as tx:
            refreshed = catalogue.refreshed_at(tx)
        if refreshed is not None and now - refreshed < _LISTS_EVERY:
            return
        try:
            given = mirror.lists(context.client, context.settings.kiva, token)
        except mirror.NotGiven as error:
            self._lists_missing(error)
            return
        self._lists_are_missing = False
        with context.outbox.begin() as tx:
            changed = [kind for kind, items in given.items() if catalogue.keep(tx, kind, items, now=now)]
            if changed:
                watermark.read_again(tx, table.captured.c.refused)

    def _lists_missing(self, error: mirror.NotGiven) -> None:
        """Only what looks something up there waits for them; loans, positions and journals go on."""
        context = self._context
        assert self._next is not None  # noqa: S101 - the list of loans was read a moment ago
        self._next = min(self._next, context.clock.now() + _LISTS_AGAIN)
        if not self._lists_are_missing:
            self._lists_are_missing = True
            _log.error(
                "Kiva did not give its lists. Drafts that look something up there wait; it is asked again",
                said=str(error),
                path=f"/v3/partner/{context.settings.kiva.partner_id}/config",
            )

    def _token(self) -> Token | None:
        context, token = self._context, self._access.token()
        if token is not None and READS not in token.scopes:
            context.destination.answered()
            self._next = context.clock.now() + context.settings.mirror.refresh_every
            return None
        return token

    def _not_given(self, error: mirror.NotGiven, token: Token) -> None:
        answer, partner = error.answer, self._context.settings.kiva.partner_id
        said, what = answer.words or str(error), f"{error} at /v3/partner/{partner}/loans"
        self._access.not_given(token, answer.status, said=said, what=what)
