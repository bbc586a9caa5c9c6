"""Access tokens: opaque, counted out by scope, expiring."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from kiva_relay.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True)
class IssuedToken:
    """What one token may do, and until when."""

    scopes: frozenset[str]
    expires: datetime


class IssuedTokens:
    """The tokens given out since the start; a restart forgets them, so that clients meet a 401.

    `scopes` is what is granted at most, whatever is asked.
    """

    def __init__(self, scopes: Sequence[str]) -> None:
        self._scopes = tuple(scopes)
        self._live: dict[str, IssuedToken] = {}

    def __len__(self) -> int:
        return len(self._live)

    def granted(self, asked: Sequence[str]) -> list[str]:
        """Which of the scopes that a caller asks for it gets; all that there are when it asks for none."""
        return [scope for scope in asked or self._scopes if scope in self._scopes]

    def issue(self, scopes: frozenset[str], *, expires: datetime) -> str:
        """A new token."""
        name = secrets.token_urlsafe(48)
        self._live[name] = IssuedToken(scopes, expires)
        return name

    def refusal(self, authorization: str, scope: str, *, now: datetime) -> tuple[int, str] | None:
        """Why a call may not be made, as status and sentence: 401 no good token, 403 expired or no scope."""
        kind, _, name = authorization.partition(" ")
        if kind.lower() != "bearer" or not name:
            return 401, "Full authentication is required to access this resource"
        token = self._live.get(name)
        if token is None:
            return 401, "Invalid access token"
        if token.expires <= now:
            return 403, "The access token expired"
        if scope and scope not in token.scopes:
            return 403, f"Insufficient scope for this resource: {scope} is missing"
        return None
