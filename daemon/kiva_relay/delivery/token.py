"""The OAuth2 token (client credentials): kept, renewed early, asked for by one thread at a time.

Kiva's SDK, "authentication": the answer carries `expires_in` in seconds, the granted `scope`, which may silently
be less than asked, and `partnerId`, which tells a mis-set partner id.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from kiva_relay import errors
from kiva_relay.clock import Clock
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import answer as answers
from kiva_relay.delivery.client import Answer, Client
from kiva_relay.delivery.document import NotUnderstood
from kiva_relay.frozen import dataclass

SCOPES = ("read:loans", "create:loan_draft", "create:repayment", "create:journal_update")
_EARLY_SHARE = 0.1
_EARLY_SECONDS = 300
_NO_EXPIRY_SECONDS = 600
_SHORTEST_SECONDS = 30.0
_LONG_ENOUGH = 600.0
"""A token that was good for so many seconds was revoked: the next one is asked for at once."""

_AT_ONCE = 2
_SLOWEST = 300.0
_DOUBLINGS = 12


class CredentialsRefused(errors.RelayError):
    """Kiva does not accept the client id, the secret or the audience."""


class AnotherPartner(errors.RelayError):
    """The token is another partner's than the configuration's: what is sent with it would be that one's.

    `token` is good for looking closer (`kiva-relay check`), and for nothing else.
    """

    def __init__(self, token: Token, kiva: Kiva) -> None:
        super().__init__(
            f"The credentials belong to partner {token.partner_id}; kiva.partner_id is {kiva.partner_id}.",
            hint=f"If that is your institution, write partner_id: '{token.partner_id}'. Else look at kiva.client_id,"
            " kiva.api_url and kiva.environment. PA2 → Account → Profile shows the number.",
        )
        self.token = token


@dataclass(frozen=True)
class Token:
    """A token in force. `renew_at` is on the monotonic clock; `number` counts the tokens of this process."""

    text: str
    scopes: frozenset[str]
    partner_id: str | None
    renew_at: float
    number: int
    asked_at: float = 0.0

    def __repr__(self) -> str:
        """Never the token itself."""
        return f"Token(number={self.number})"


class Tokens:
    """Hands out the token in force, and gets a new one when it is time or when Kiva refused the old one.

    A token that is refused is renewed at growing intervals, up to five minutes, for as long as it takes: Kiva may
    revoke one long before it expires, and a token server must not be asked at each request.
    """

    def __init__(self, client: Client, kiva: Kiva, *, clock: Clock) -> None:
        self._client, self._kiva, self._clock = client, kiva, clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._asked = self._refusals = self._refused = 0

    @property
    def good(self) -> bool:
        """Is there one in force, so that `current` asks nobody?"""
        with self._lock:
            return self._token is not None and self._clock.monotonic() < self._token.renew_at

    def current(self) -> Token:
        """A token that is good for a while yet.

        Raises:
            Unreachable: the token server did not answer, or answered with a fault of its own.
            CredentialsRefused: it said no.
            AnotherPartner: the token is not for `kiva.partner_id`.
        """
        with self._lock:
            if self._token is None or self._clock.monotonic() >= self._token.renew_at:
                self._token = self._ask()
            return self._token

    def refuse(self, token: Token) -> None:
        """Kiva did not accept this token: a new one is asked for, the sooner the fewer were refused in a row."""
        with self._lock:
            if self._token is None or token.number != self._token.number or token.number == self._refused:
                return
            self._refused = token.number
            now = self._clock.monotonic()
            self._refusals = 1 if now - token.asked_at >= _LONG_ENOUGH else self._refusals + 1
            doublings = min(self._refusals - _AT_ONCE, _DOUBLINGS)
            wait = 0.0 if doublings <= 0 else min(2.0**doublings, _SLOWEST)
            self._token = replace(self._token, renew_at=min(self._token.renew_at, max(token.asked_at + wait, now)))

    def proved(self, token: Token) -> None:
        """Kiva accepted this token: the next refusal is the first of its row."""
        with self._lock:
            if self._token is not None and self._token.number == token.number:
                self._refusals = 0

    def drop(self, token: Token) -> None:
        """What this token grants may have changed: the next call gets a new one."""
        with self._lock:
            if self._token is not None and self._token.number == token.number:
                self._token = None

    def _ask(self) -> Token:
        fields = {
            "grant_type": "client_credentials",
            "scope": " ".join(SCOPES),
            "audience": self._kiva.audience,
            "client_id": self._kiva.client_id,
            "client_secret": self._kiva.client_secret.reveal(),
        }
        asked_at = self._clock.monotonic()
        answer = self._client.form(self._kiva.token_url, fields)
        given = answers.token(answer)
        if isinstance(given, NotUnderstood):
            raise _explained(answer, given, self._kiva)
        self._asked += 1
        lasts = max(given.lasts if given.lasts is not None else _NO_EXPIRY_SECONDS, _SHORTEST_SECONDS)
        token = Token(
            text=given.text,
            scopes=frozenset(SCOPES) if given.scopes is None else given.scopes,
            partner_id=given.partner_id,
            renew_at=asked_at + lasts - min(lasts * _EARLY_SHARE, _EARLY_SECONDS),
            number=self._asked,
            asked_at=asked_at,
        )
        if given.partner_id is not None and not _is_same(given.partner_id, self._kiva.partner_id):
            raise AnotherPartner(token, self._kiva)
        return token


def _is_same(said: str, ours: str) -> bool:
    if said.isascii() and said.isdecimal() and ours.isdecimal():
        return int(said) == int(ours)
    return said == ours


def _explained(answer: Answer, why: NotUnderstood, kiva: Kiva) -> errors.RelayError:
    if answer.status in (400, 401, 403):
        return CredentialsRefused(
            f"The token server {kiva.token_url} refuses the credentials ({answer.status}). Nothing is lost.",
            hint="Look at kiva.client_id, kiva.client_secret and kiva.audience, and whether they belong to"
            f" {kiva.environment}.",
        )
    said = answer.words if answer.status is None else f"it answered {answer.status}"
    if answer.status == 200:  # noqa: PLR2004 - HTTP's OK
        said = f"it answered 200, which is not understood: {why.why}"
    return errors.Unreachable(
        f"No token from {kiva.token_url}: {said}. Nothing is lost; it is asked again.",
        hint="Look at kiva.token_url, kiva.proxy and the way out to the internet.",
    )
