"""The OAuth2 token (client credentials): kept, renewed early, asked for by one thread at a time.

Kiva's SDK, "authentication": the answer carries `expires_in` in seconds, the granted `scope`, which may silently
be less than asked, and `partnerId`, which tells a mis-set partner id.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from kiva_relay import errors
from kiva_relay.clock import Clock
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery.client import Answer, Client

SCOPES = ("read:loans", "create:loan_draft", "create:repayment", "create:journal_update")
_EARLY_SHARE = 0.1
_EARLY_SECONDS = 300
_NO_EXPIRY_SECONDS = 600


class CredentialsRefused(errors.RelayError):
    """Kiva does not accept the client id, the secret or the audience."""


@dataclass(frozen=True)
class Token:
    """A token in force. `renew_at` is on the monotonic clock; `number` counts the tokens of this process."""

    text: str
    scopes: frozenset[str]
    partner_id: str | None
    renew_at: float
    number: int

    def __repr__(self) -> str:
        """Never the token itself."""
        return f"Token(number={self.number})"


class Tokens:
    """Hands out the token in force, and gets a new one when it is time or when Kiva refused the old one."""

    def __init__(self, client: Client, kiva: Kiva, *, clock: Clock) -> None:
        self._client, self._kiva, self._clock = client, kiva, clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._asked = 0

    def current(self) -> Token:
        """A token that is good for a while yet.

        Raises:
            Unreachable: the token server did not answer, or answered with a fault of its own.
            CredentialsRefused: it said no.
        """
        with self._lock:
            if self._token is None or self._clock.monotonic() >= self._token.renew_at:
                self._token = self._ask()
            return self._token

    def refuse(self, token: Token) -> None:
        """Kiva did not accept this token: the next call gets a new one."""
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
        said = answer.json
        if answer.status != 200 or not isinstance(said, dict) or not said.get("access_token"):  # noqa: PLR2004 - HTTP's OK
            raise _explained(answer, self._kiva)
        self._asked += 1
        lasts = _seconds(said)
        return Token(
            text=str(said["access_token"]),
            scopes=frozenset(str(said.get("scope") or " ".join(SCOPES)).split()),
            partner_id=str(said["partnerId"]) if said.get("partnerId") is not None else None,
            renew_at=asked_at + lasts - min(lasts * _EARLY_SHARE, _EARLY_SECONDS),
            number=self._asked,
        )


def _seconds(said: Mapping[str, object]) -> float:
    try:
        return max(float(str(said.get("expires_in"))), 1.0)
    except ValueError:
        return _NO_EXPIRY_SECONDS


def _explained(answer: Answer, kiva: Kiva) -> errors.RelayError:
    if answer.status in (400, 401, 403):
        return CredentialsRefused(
            f"The token server {kiva.token_url} refuses the credentials ({answer.status}). Nothing is lost.",
            hint="Look at kiva.client_id, kiva.client_secret and kiva.audience, and whether they belong to"
            f" {kiva.environment}.",
        )
    said = answer.words if answer.status is None else f"it answered {answer.status}"
    return errors.Unreachable(
        f"No token from {kiva.token_url}: {said}. Nothing is lost; it is asked again.",
        hint="Look at kiva.token_url, kiva.proxy and the way out to the internet.",
    )
