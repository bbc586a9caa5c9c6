"""Asks Kiva, harmlessly, what it has: its loans, its lists; and settles what that proves.

The same requests show that Kiva is there at all, so during an outage they are the only ones made.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.delivery import breaker, mirror, reconciler
from kiva_relay.delivery.access import LOOKED_UP, READS, TRY_AGAIN_AFTER, Access, Blame, missing, of_reading
from kiva_relay.delivery.answer import KivaList
from kiva_relay.delivery.breaker import Asked
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.courier import ORDER
from kiva_relay.delivery.outcome import COME_BACK, JUDGES_OUR_TOKEN, SUCCESS
from kiva_relay.delivery.token import Token
from kiva_relay.outbox import adoption, catalogue, hold, table, watermark
from kiva_relay.outbox import mirror as kept
from kiva_relay.outbox.state import State
from kiva_relay.resource import window

_LISTS_EVERY = timedelta(days=1)
_LISTS_AGAIN = timedelta(minutes=5)
_A_JUMP = 2.0  # seconds; a clock that is steered gently differs by less between two looks
_MOST_TRIES = 4
_TRIES_WITHIN = 20.0
"""Seconds within which a page is asked for again. Whatever takes longer is no bad weather."""

_MOST_RENEWALS = 5
_NAMED = 5

_log = log.get("delivery")
_Given = TypeVar("_Given")


class Refresher:
    """The thread that only reads. Holds the moment of its next look. `asked` is called before each request."""

    def __init__(
        self,
        context: DeliveryContext,
        *,
        at: Callable[[str], None] = lambda _name: None,
        asked: Callable[[], None] = lambda: None,
    ) -> None:
        self._context, self._at, self._asked = context, at, asked
        self._access = Access(context)
        self._next: datetime | None = None
        self._lists_next: datetime | None = None
        self._lists_are_missing = False
        self._renewals = 0
        self._proved = 0
        self._used: Token | None = None
        self._clocks_differ_by: float | None = None
        self._settles_from = 0.0

    def ask(self) -> None:
        """Read Kiva's lists at the next look, or as soon as Kiva may be asked."""
        self._next = self._lists_next = None

    def look(self) -> bool:
        """Look if it is time, or if something waits for a look; true when the list of loans was read to its end."""
        self._watch_clock()
        if self._is_due():
            read = self._refresh()
        else:
            read, self._renewals = False, 0
            if self._probe_wanted():
                self._probe()
        self._read_lists()
        self._settle()
        return read

    def _is_due(self) -> bool:
        context = self._context
        if context.destination.pause(Asked.LOANS):
            return False
        return self._next is None or context.clock.now() >= self._next

    def _refresh(self) -> bool:
        context = self._context
        token = self._token()
        if token is None:
            return False
        started, self._renewals = context.clock.now(), 0
        with context.outbox.begin() as tx:
            number = kept.begin_refresh(tx, now=started)
        try:
            listing, why = mirror.loans(self._ask), ""
        except mirror.Incomplete as error:
            listing, why = error.listing, str(error)
        except mirror.NotGiven as error:
            with context.outbox.begin() as tx:
                now = context.clock.now()
                kept.end_refresh(tx, number, complete=False, listed=0, detail=str(error), now=now)
            context.destination.list_is_incomplete(str(error), given=False)
            self._not_given(error, Asked.LOANS)
            return False
        self._at("listed")
        agrees = not why
        if listing.unreadable:
            which = ", ".join(listing.unreadable[:_NAMED])
            why = why or f"the loan id of {len(listing.unreadable)} cannot be read: {which}"
        with context.outbox.begin() as tx:
            now = context.clock.now()
            if kept.is_overtaken(tx, number):
                kept.end_refresh(tx, number, complete=False, listed=0, detail=kept.OVERTAKEN, now=now)
                return False
            kept.keep(tx, number, listing.loans)
            kept.end_refresh(tx, number, complete=not why, listed=len(listing.loans), detail=why or None, now=now)
            self._hold(tx, token, listing, whole=not why, now=now)
            reconciler.adopt(tx, now=now)
            reconciler.wake(tx, now=now)
        return self._was_read(started, why, agrees=agrees)

    def _was_read(self, started: datetime, why: str, *, agrees: bool) -> bool:
        """When to read it next, and what to say of it: a list whose totals do not agree is read ever more slowly."""
        destination = self._context.destination
        if why:
            destination.list_is_incomplete(why, given=True)
        else:
            destination.list_is_whole()
        if not agrees:
            destination.asked_to_wait(None, Asked.LOANS)
            return False
        destination.answered(Asked.LOANS)
        self._next = started + self._context.settings.mirror.refresh_every
        return True

    def _hold(self, tx: Connection, token: Token, listing: mirror.KivaListing, *, whole: bool, now: datetime) -> None:
        """Kiva lets us in: what was held because it did not is released. A loan that cannot be read holds drafts."""
        for reason in ("destination_fault", "another_partner"):
            hold.release(tx, hold.ALL, by=hold.RELAY, note="Kiva answers again", now=now, reason=reason)
        for resource in LOOKED_UP:
            if not missing(resource, token.scopes):
                hold.release(tx, resource, by=hold.RELAY, note="granted", now=now, reason="scope_missing")
        if listing.unreadable:
            params = {"number": len(listing.unreadable), "which": ", ".join(listing.unreadable[:_NAMED])}
            if hold.put(tx, adoption.RESOURCE, "list_unreadable", now=now, params=params):
                _log.error("Kiva lists a loan whose loan id cannot be read. Drafts are held", **params)
        elif whole:
            hold.release(tx, adoption.RESOURCE, by=hold.RELAY, note="readable", now=now, reason="list_unreadable")

    def _ask(self, what: str, path: str, params: mirror.Params | None, read: mirror.Read[_Given]) -> _Given:
        """Something harmless. What fails is asked again alone, a few times and soon: bad weather costs one request.

        Raises:
            NotGiven: it failed for longer, or Kiva refused.
        """
        context, began = self._context, self._context.clock.monotonic()
        for tries in itertools.count(1):
            token = self._access.token()
            if token is None:
                raise mirror.NotGiven(_NO_TOKEN, what)
            self._asked()
            self._used = token
            url = f"/v3/partner/{context.settings.kiva.partner_id}{path}"
            answer = context.client.get(url, token=token.text, params=params)
            try:
                given = mirror.understood(answer, what, read)
            except mirror.NotGiven as error:
                lasted = context.clock.monotonic() - began
                if not self._is_worth_another_try(token, error.answer, tries=tries, lasted=lasted):
                    raise
            else:
                self._proved = token.number
                self._access.accepted(READS, token)
                self._answered()
                return given
        raise AssertionError

    def _is_worth_another_try(self, token: Token, answer: Answer, *, tries: int, lasted: float) -> bool:
        """Wait a little and say so; or renew a token that was good until now, which somebody revoked."""
        if answer.status in JUDGES_OUR_TOKEN:
            if token.number != self._proved or self._renewals >= _MOST_RENEWALS:
                return False
            self._renewals += 1
            self._context.tokens.refuse(token)
            return True
        weather = of_reading(answer.status, new_token_tried=True) is Blame.AWAY or answer.status in SUCCESS
        asks_to_wait = answer.status in COME_BACK or "retry-after" in answer.headers
        if not weather or asks_to_wait or tries >= _MOST_TRIES or lasted > _TRIES_WITHIN:
            return False
        self._context.clock.wait(threading.Event(), 0.25 * 2**tries * random.uniform(0.5, 1))  # noqa: S311 - jitter
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

    def _probe(self) -> None:
        """Is Kiva there? The smallest harmless request, once."""
        destination = self._context.destination
        if destination.pause(Asked.PROBE):
            return
        token = self._token()
        if token is None:
            return
        self._asked()
        self._used = token
        try:
            mirror.total(mirror.once(self._context.client, self._context.settings.kiva, token), kept.EXPECTED[0])
        except mirror.NotGiven as error:
            self._not_given(error, Asked.PROBE)
        else:
            self._access.accepted(READS, token)
            self._answered()

    def _answered(self) -> None:
        if self._context.destination.answered(Asked.PROBE):
            _log.info("Kiva answers again. Nothing was lost")

    def _read_lists(self) -> None:
        """Kiva's lists once a day, each for itself; a change makes whatever was refused be mapped again."""
        context = self._context
        now = context.clock.now()
        destination = context.destination
        away = destination.down_since is not None or bool(destination.pause(Asked.LISTS))
        if away or (self._lists_next is not None and now < self._lists_next):
            return
        with context.outbox.read() as tx:
            refreshed = catalogue.refreshed_at(tx)
        if refreshed is not None and now - refreshed < _LISTS_EVERY:
            self._lists_next = refreshed + _LISTS_EVERY
            return
        if self._access.token() is None:
            return
        given, failed = self._asked_lists()
        with context.outbox.begin() as tx:
            changed = [each.kind for each in given if catalogue.keep(tx, each.kind, [*map(dict, each.items)], now=now)]
            if changed:
                watermark.read_again(tx, table.captured.c.refused)
        for each in given:
            if each.left_out:
                _log.warning("Items of Kiva's list make no sense and are left out", list=each.kind, items=each.left_out)
        if failed is None:
            destination.answered(Asked.LISTS)
            self._lists_are_missing, self._lists_next = False, now + _LISTS_EVERY
        else:
            self._lists_missing(failed)

    def _asked_lists(self) -> tuple[list[KivaList], mirror.NotGiven | None]:
        """The lists that Kiva gave, and why one of the others is missing."""
        given: list[KivaList] = []
        failed: mirror.NotGiven | None = None
        for kind in catalogue.KINDS:
            try:
                given.append(mirror.one_list(self._ask, kind))
            except mirror.NotGiven as error:
                failed = failed or error
                if error.answer.status in JUDGES_OUR_TOKEN and self._used is not None:
                    self._context.tokens.refuse(self._used)
        return given, failed

    def _lists_missing(self, error: mirror.NotGiven) -> None:
        """Only what looks something up there waits for them; loans, positions and journals go on."""
        context = self._context
        context.destination.asked_to_wait(_LISTS_AGAIN, Asked.LISTS)
        if not self._lists_are_missing:
            self._lists_are_missing = True
            _log.error(
                "Kiva did not give its lists. Drafts that look something up there wait; it is asked again",
                said=str(error),
                path=f"/v3/partner/{context.settings.kiva.partner_id}/config",
            )

    def _token(self) -> Token | None:
        """A token that may read; without that right, what needs the list is held, and it is asked for again."""
        context, token = self._context, self._access.token()
        if token is None or READS in token.scopes:
            return token
        now = context.clock.now()
        with context.outbox.begin() as tx:
            fresh = [
                resource
                for resource in LOOKED_UP
                if resource in context.settings.resources
                and hold.put(tx, resource, "scope_missing", now=now, params={"scope": READS})
            ]
        if fresh:
            _log.error("The token does not grant a permission", resource=", ".join(fresh), scope=READS)
        context.tokens.drop(token)
        self._next = now + TRY_AGAIN_AFTER
        return None

    def _not_given(self, error: mirror.NotGiven, asked: Asked) -> None:
        token = self._used
        if token is None or error.answer is _NO_TOKEN:
            return  # whoever asked for the token has said why, and when it is asked for again
        if self._renewals:
            self._context.destination.asked_to_wait(None, asked)
        said, partner = error.answer.words or str(error), self._context.settings.kiva.partner_id
        what = f"{error} at /v3/partner/{partner}/loans"
        self._access.not_given(token, error.answer, said=said, what=what, asked=asked)


_NO_TOKEN = Answer(None, {}, b"", body_complete=False, read_whole=False, error="there is no token now")
