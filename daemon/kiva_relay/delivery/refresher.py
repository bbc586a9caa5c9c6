"""Asks Kiva, harmlessly, what it has: its loans, its lists; and settles what that proves.

The same requests show that Kiva is there at all, so during an outage they are the only ones made.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Sequence
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
from kiva_relay.delivery.clock_hold import ClockHold
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.outcome import JUDGES_OUR_TOKEN, SUCCESS, retry_after
from kiva_relay.delivery.token import Token
from kiva_relay.outbox import adoption, catalogue, hold, meta, table, watermark
from kiva_relay.outbox import mirror as kept
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import State

_LISTS_EVERY = timedelta(days=1)
_FIRST_PAUSE = 0.5
_MOST_TRIES = 4
_TRIES_WITHIN = 20.0
"""Seconds within which a page is asked for again. Whatever takes longer is no bad weather."""

_BEFORE_THE_REPORT = timedelta(minutes=15)
"""So long before a report opens, and before its last look, Kiva's list is read: by it is known who is expected."""

_PART = 500
"""Rows of the mirror that one transaction writes: meanwhile nobody else can write to an outbox in a file."""

_MOST_RENEWALS = 5
_NAMED = 5

_IN_DOUBT = sa.select(table.entry.c.id).where(table.entry.c.state == State.IN_DOUBT.value).limit(1)

_log = log.get("delivery")
_Given = TypeVar("_Given")


class Refresher:
    """The thread that only reads. Holds the moment of its next look. `asked` is called before each request.

    `is_calm`: at the last look Kiva was there, its lists were read, and nothing was in doubt.
    """

    def __init__(
        self,
        context: DeliveryContext,
        *,
        at: Callable[[str], None] = lambda _name: None,
        asked: Callable[[], None] = lambda: None,
    ) -> None:
        self._context, self._at, self._asked = context, at, asked
        self._access = Access(context)
        self._next: float | None = None  # by the monotonic clock, as all that waits in here
        self._lists_next: float | None = None
        self._lists_are_missing = False
        self._lists_left: tuple[str, ...] = catalogue.KINDS
        self._renewals = 0
        self._proved = self._understood = 0
        self._used: Token | None = None
        self._clocks = ClockHold(context)
        self.is_calm = False
        self._report_soon: str | None = None

    def ask(self) -> None:
        """Read Kiva's lists at the next look, or as soon as Kiva may be asked."""
        self._next = self._lists_next = None

    def look_ahead(self) -> None:
        """Read Kiva's list at the next look when a report opens soon, has its last look, or closes."""
        soon = self._context.report(ahead=_BEFORE_THE_REPORT).stamp
        if self._report_soon not in (None, soon):
            self._next = None
        self._report_soon = soon

    def look(self) -> bool:
        """Look if it is time, or if something waits for a look; true when the list of loans was read to its end."""
        self._clocks.compare()
        read = wanted = False
        if self._is_due():
            read = self._refresh()
        else:
            self._renewals, wanted = 0, self._probe_wanted()
            if wanted:
                self._probe()
        self._read_lists()
        doubts = self._settle()
        destination = self._context.destination
        away = destination.down_since is not None or bool(destination.pause())
        self.is_calm = not (away or wanted or doubts or self._next is None or self._lists_next is None)
        return read

    def _is_due(self) -> bool:
        context = self._context
        if context.destination.pause(Asked.LOANS):
            return False
        return self._next is None or context.clock.monotonic() >= self._next

    def _refresh(self) -> bool:
        context = self._context
        token = self._token()
        if token is None:
            return False
        began, self._renewals, self._understood = context.clock.monotonic(), 0, 0
        with context.outbox.begin() as tx:
            number = kept.begin_refresh(tx, now=context.clock.now())
        try:
            listing, why = mirror.loans(self._ask, others=self._others), ""
        except mirror.Incomplete as error:
            listing, why = error.listing, str(error)
        except mirror.NotGiven as error:
            with context.outbox.begin() as tx:
                now = context.clock.now()
                kept.end_refresh(tx, number, complete=False, listed=None, detail=str(error), now=now)
                if self._understood and not error.is_refusal:
                    _let_in(tx, now=now)
            context.destination.list_is_incomplete(str(error), given=False)
            self._not_given(error, Asked.LOANS)
            return False
        self._at("listed")
        agrees = not why
        if listing.unreadable:
            which = ", ".join(listing.unreadable[:_NAMED])
            why = why or f"the loan id of {len(listing.unreadable)} cannot be read: {which}"
        if not self._keep(number, listing) or (not why and not self._drop(number, listing)):
            return False
        with context.outbox.begin() as tx:
            if not self._counts(tx, number):
                return False
            now = context.clock.now()
            kept.end_refresh(tx, number, complete=not why, listed=len(listing.listed), detail=why or None, now=now)
            self._hold(tx, token, listing, why=why, now=now)
            reconciler.adopt(tx, now=now)
            reconciler.wake(tx, statuses=context.settings.journals.statuses, now=now)
        return self._was_read(began, why, agrees=agrees)

    def _others(self, loans: Sequence[MirroredLoan]) -> list[MirroredLoan]:
        with self._context.outbox.read() as tx:
            return kept.others(tx, loans)

    def _keep(self, number: int, listing: mirror.KivaListing) -> bool:
        """Write what was read, in parts; false when a person said meanwhile that some of it was deleted."""
        outbox = self._context.outbox
        others = listing.others
        while part := list(itertools.islice(others, _PART)):
            with outbox.begin() as tx:
                if not self._counts(tx, number):
                    return False
                kept.keep(tx, number, part)
        return True

    def _drop(self, number: int, listing: mirror.KivaListing) -> bool:
        """Forget, in parts, what a list that is whole does not hold; false as before."""
        after: str | None = ""
        while after is not None:
            with self._context.outbox.read() as tx:
                lacking, after = kept.lacking_in(tx, listing.listed, after=after)
            for start in range(0, len(lacking), _PART):
                with self._context.outbox.begin() as tx:
                    if not self._counts(tx, number):
                        return False
                    kept.drop(tx, number, lacking[start : start + _PART])
        return True

    def _counts(self, tx: Connection, number: int) -> bool:
        """Does a reading still count? Not when a person said meanwhile that some of it was deleted."""
        if not kept.is_overtaken(tx, number):
            return True
        now = self._context.clock.now()
        kept.end_refresh(tx, number, complete=False, listed=0, detail=kept.OVERTAKEN, now=now)
        return False

    def _was_read(self, began: float, why: str, *, agrees: bool) -> bool:
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
        self._next = began + self._context.settings.mirror.refresh_every.total_seconds()
        return True

    def _hold(self, tx: Connection, token: Token, listing: mirror.KivaListing, *, why: str, now: datetime) -> None:
        """Kiva lets us in: what was held because it did not is released. A loan that cannot be read holds drafts.

        `why` the list is not whole; a person may have said that it is to be taken so.
        """
        _let_in(tx, now=now)
        for resource in LOOKED_UP:
            if not missing(resource, token.scopes):
                hold.release(tx, resource, by=hold.RELAY, note="granted", now=now, reason="scope_missing")
        is_taken = bool(why) and meta.LIST_TAKEN.get(tx) == why
        if listing.unreadable and not is_taken:
            params = {"number": len(listing.unreadable), "which": ", ".join(listing.unreadable[:_NAMED])}
            if hold.put(tx, adoption.RESOURCE, "list_unreadable", now=now, params=params):
                _log.error("Kiva lists a loan whose loan id cannot be read. Drafts are held", **params)
        elif is_taken or not why:
            note = "taken as it is" if is_taken else "readable"
            hold.release(tx, adoption.RESOURCE, by=hold.RELAY, note=note, now=now, reason="list_unreadable")

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
                self._understood += 1
                self._access.accepted(READS, token)
                self._answered()
                return given
        raise AssertionError

    def _is_worth_another_try(self, token: Token, answer: Answer, *, tries: int, lasted: float) -> bool:
        """Wait a little, or as long as Kiva asks for, and say so; or renew a token that was good, and was revoked."""
        if answer.status in JUDGES_OUR_TOKEN:
            if token.number != self._proved or self._renewals >= _MOST_RENEWALS:
                return False
            self._renewals += 1
            self._context.tokens.refuse(token)
            return True
        clock = self._context.clock
        weather = of_reading(answer.status, new_token_tried=True) is Blame.AWAY or answer.status in SUCCESS
        asked_for = retry_after(answer.headers.get("retry-after"), now=self._context.at_kiva()) or timedelta(0)
        pause = max(asked_for.total_seconds(), _FIRST_PAUSE * 2 ** (tries - 1) * random.uniform(0.5, 1))  # noqa: S311 - jitter
        if not weather or tries >= _MOST_TRIES or lasted + pause > _TRIES_WITHIN:
            return False
        clock.wait(threading.Event(), pause)
        return True

    def _settle(self) -> bool:
        """Settle what the evidence settles now; is anything in doubt? It asks Kiva nothing, so it need not answer."""
        context = self._context
        with context.outbox.glance() as cx:
            if cx.execute(_IN_DOUBT).first() is None:
                return False
        if context.clock.monotonic() < context.not_settled_before:
            return True
        report = context.report()
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
        return True

    def _probe_wanted(self) -> bool:
        """Was an answer lost, or Kiva away, since the last harmless request succeeded?"""
        destination = self._context.destination
        if destination.down_since is not None:
            return True
        lost, last = breaker.lost_at(self._context.outbox), destination.last_harmless_success
        return any(last is None or last <= moment for moment in lost)

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
        now, passed = context.clock.now(), context.clock.monotonic()
        destination = context.destination
        away = destination.down_since is not None or bool(destination.pause(Asked.LISTS))
        if away or (self._lists_next is not None and passed < self._lists_next):
            return
        with context.outbox.read() as tx:
            refreshed = catalogue.refreshed_at(tx)
        if refreshed is not None and timedelta(0) <= now - refreshed < _LISTS_EVERY:
            self._lists_next = passed + (_LISTS_EVERY - (now - refreshed)).total_seconds()
            return
        if self._access.token() is None:
            return
        given, failed = self._asked_lists()
        known = {each.kind for each in given}
        self._lists_left = tuple(kind for kind in self._lists_left if kind not in known) or catalogue.KINDS
        with context.outbox.begin() as tx:
            changed = [each.kind for each in given if catalogue.keep(tx, each.kind, [*map(dict, each.items)], now=now)]
            if changed:
                watermark.read_again(tx, table.captured.c.refused)
        for each in given:
            if each.left_out:
                _log.warning("Items of Kiva's list make no sense and are left out", list=each.kind, items=each.left_out)
        if failed is None:
            destination.answered(Asked.LISTS)
            self._lists_are_missing, self._lists_next = False, passed + _LISTS_EVERY.total_seconds()
        else:
            self._lists_missing(failed)

    def _asked_lists(self) -> tuple[list[KivaList], mirror.NotGiven | None]:
        """The lists that Kiva gave, of those that are to be asked for, and why one of the others is missing."""
        given: list[KivaList] = []
        failed: mirror.NotGiven | None = None
        for kind in self._lists_left:
            try:
                given.append(mirror.one_list(self._ask, kind))
            except mirror.NotGiven as error:
                failed = failed or error
                if error.answer.status in JUDGES_OUR_TOKEN and self._used is not None:
                    self._context.tokens.refuse(self._used)
        return given, failed

    def _lists_missing(self, error: mirror.NotGiven) -> None:
        """Only what looks something up there waits for them, for longer each time; the others go on."""
        context = self._context
        context.destination.asked_to_wait(None, Asked.LISTS)
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
        self._next = context.clock.monotonic() + TRY_AGAIN_AFTER.total_seconds()
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


def _let_in(tx: Connection, *, now: datetime) -> None:
    """Kiva gave something, with this token, to this partner: what was held because it did not is released."""
    for reason in ("destination_fault", "another_partner"):
        hold.release(tx, hold.ALL, by=hold.RELAY, note="Kiva answers again", now=now, reason=reason)


_NO_TOKEN = Answer(None, {}, b"", body_complete=False, read_whole=False, error="there is no token now")
