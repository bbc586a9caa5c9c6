"""Whether Kiva lets us in: the token, what it grants, and who is to blame when Kiva refuses the relay itself.

Kiva refuses us in four ways: the token server does not accept the credentials, its token is another partner's or lacks
a permission, or an answer judges us and not what was sent. A 401 or 403 is worth a new token and another try, once;
after that, and for every other such answer, `destination_fault` holds until a later try succeeds. The token is renewed
all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from enum import StrEnum

from kiva_relay import errors, log
from kiva_relay.delivery.breaker import Asked
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.outcome import JUDGES_OUR_TOKEN, SUCCESS, retry_after
from kiva_relay.delivery.token import AnotherPartner, CredentialsRefused, Token
from kiva_relay.outbox import hold
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.reason import Lifter
from kiva_relay.resource.kind import RESOURCES

READS = "read:loans"
LOOKED_UP = ("journal", "loan_draft")
"""What is not sent without the list of loans: is it at Kiva already, or at all? A position goes by the last list that
came."""

TRY_AGAIN_AFTER = timedelta(minutes=5)
"""How long a resource that Kiva refused is left alone before it is tried once more."""

_SERVER_FAULT = 500
_NOT_NOW = frozenset({408, 425, 429})

_log = log.get("delivery")


class Blame(StrEnum):
    """What an answer other than the wanted one means for the relay itself."""

    AWAY = "away"
    """Kiva is not there, or asks for patience: nobody is to blame."""

    TOKEN = "token"  # noqa: S105 - a word, no secret
    """Perhaps only the token is too old: a new one is tried, once."""

    US = "us"
    """Kiva refuses us: hold, and say which setting to look at."""


def of_reading(status: int | None, *, new_token_tried: bool) -> Blame:
    """What it means that a harmless request was not answered as it should be. `status` None: no answer."""
    if status is None or status >= _SERVER_FAULT or status in _NOT_NOW:
        return Blame.AWAY
    return of_refusal(status, new_token_tried=new_token_tried)


def of_refusal(status: int | None, *, new_token_tried: bool) -> Blame:
    """What it means that an answer judged us (`outcome.Meaning.blame`)."""
    return Blame.TOKEN if status in JUDGES_OUR_TOKEN and not new_token_tried else Blame.US


def missing(resource: str, granted: Collection[str]) -> list[str]:
    """The permissions that sending a resource needs and the token does not grant; sorted."""
    return sorted({RESOURCES[resource].scope, *([READS] if resource in LOOKED_UP else [])}.difference(granted))


def may_try(holds: Sequence[Hold], resource: str, *, now: float, not_before: float) -> bool:
    """Is a resource held by nothing but a fault that may be over, and is it time to try again? Seconds of one clock."""
    mine = [held for held in holds if held.what in (hold.ALL, resource)]
    own = all(held.what == resource and held.why.lifter is Lifter.KIVA for held in mine)
    return own and now >= not_before


class Access:
    """The way in of one thread. Remembers which refusals a new token was tried for, and when to try again.

    `who` in its methods is a resource, or READS for the harmless requests.
    """

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._new_token_tried: set[str] = set()
        self._not_before: dict[str, float] = {}

    def token(self) -> Token | None:
        """The token in force; None when there is none now: then it is asked for later, or held."""
        tokens, destination = self._context.tokens, self._context.destination
        if tokens.good:
            return tokens.current()
        if destination.pause(Asked.TOKEN):
            return None
        try:
            token = tokens.current()
        except CredentialsRefused as error:
            self.hold_all(str(error), error.hint or "", asked=Asked.TOKEN)
        except AnotherPartner as error:
            self.hold_all(str(error), error.hint or "", asked=Asked.TOKEN, reason="another_partner")
        except errors.Unreachable as error:
            destination.unreachable(str(error), Asked.TOKEN)
        else:
            destination.answered(Asked.TOKEN)
            return token
        return None

    def may_send(self, resource: str, token: Token, *, is_held: bool) -> bool:
        """Does the token grant what sending a resource needs? If not, the resource is held until one does.

        `is_held`: something holds it now, perhaps a fault that is over with this token.
        """
        context, now = self._context, self._context.clock.now()
        lacks = missing(resource, token.scopes)
        if not lacks and not is_held:
            return True
        with context.outbox.begin() as tx:
            if lacks:
                if hold.put(tx, resource, "scope_missing", now=now, params={"scope": " ".join(lacks)}):
                    _log.error("The token does not grant a permission", resource=resource, scope=" ".join(lacks))
                context.tokens.drop(token)
                self._try_again_later(resource)
                return False
            hold.release(tx, resource, by=hold.RELAY, note="granted", now=now, reason="scope_missing")
            if self.may_try(hold.in_force(tx), resource):
                hold.release(tx, resource, by=hold.RELAY, note="tried again", now=now, reason="destination_fault")
        return True

    def may_try(self, holds: Sequence[Hold], resource: str) -> bool:
        """`may_try` with the holds in force and this thread's memory."""
        now = self._context.clock.monotonic()
        return may_try(holds, resource, now=now, not_before=self._not_before.get(resource, now))

    def _try_again_later(self, who: str) -> None:
        """By the clock that nobody sets: one that was days ahead, and was set back, kept it closed for those days."""
        self._not_before[who] = self._context.clock.monotonic() + TRY_AGAIN_AFTER.total_seconds()

    def refused(self, who: str, token: Token, status: int | None) -> Blame:
        """Remember that an answer judged us; what follows: TOKEN (a new one is asked for now) or US."""
        blame = of_refusal(status, new_token_tried=who in self._new_token_tried)
        if status in JUDGES_OUR_TOKEN:
            self._context.tokens.refuse(token)  # whoever is to blame: it is renewed, at growing intervals, for ever
        if blame is Blame.TOKEN:
            self._new_token_tried.add(who)
        else:
            self._try_again_later(who)
        return blame

    def not_given(self, token: Token, answer: Answer, *, said: str, what: str, asked: Asked) -> None:
        """A harmless request was not answered as it should be: wait, ask for a new token, or hold everything.

        `said` is what came back; `what` names the request, for the person who has to look. A success that makes no
        sense is nobody's refusal: it is asked again.
        """
        status, destination = answer.status, self._context.destination
        blame = of_reading(status, new_token_tried=READS in self._new_token_tried)
        if blame is Blame.AWAY or status in SUCCESS:
            pause = retry_after(answer.headers.get("retry-after"), now=self._context.at_kiva())
            destination.unreachable(said, asked, pause=pause)
        elif self.refused(READS, token, status) is Blame.US:
            self.hold_all(what, "Look at kiva.partner_id, kiva.api_url and kiva.environment.", asked=asked)

    def accepted(self, who: str, token: Token | None = None) -> None:
        """An answer did not judge us: the next refusal is worth a new token again. `token` was accepted with it."""
        self._new_token_tried.discard(who)
        if token is not None:
            self._context.tokens.proved(token)

    def hold_all(self, said: str, hint: str, *, asked: Asked, reason: str = "destination_fault") -> None:
        """Kiva refuses us: hold everything until it does not, and say which setting to look at."""
        context = self._context
        context.destination.asked_to_wait(None, asked)
        params = {"said": said, "hint": hint}
        with context.outbox.begin() as tx:
            fresh = hold.put(tx, hold.ALL, reason, now=context.clock.now(), params=params)
        if fresh:
            _log.error("Kiva refuses the relay itself. Nothing is lost; it is asked again", said=said, hint=hint)
