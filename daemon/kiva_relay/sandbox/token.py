"""Access tokens: opaque, counted out by scope, expiring, revocable."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True)
class IssuedToken:
    """What one token may do, and until when."""

    scopes: frozenset[str]
    expires: datetime


class IssuedTokens:
    """The tokens given out since the start; a restart forgets them, so that clients meet a 401."""

    def __init__(self) -> None:
        self._live: dict[str, IssuedToken] = {}
        self._revoked: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._live)

    def issue(self, scopes: frozenset[str], *, expires: datetime) -> str:
        """A new token."""
        name = secrets.token_urlsafe(48)
        self._live[name] = IssuedToken(scopes, expires)
        return name

    def revoke_all(self, status: int) -> None:
        """Every token given out so far is answered with `status` (401 or 403) from now on."""
        self._revoked.update(dict.fromkeys(self._live, status))
        self._live.clear()

    def refusal(self, authorization: str, scope: str, *, now: datetime) -> tuple[int, str] | None:
        """Why a call may not be made, as status and sentence: 401 no good token, 403 expired or no scope."""
        kind, _, name = authorization.partition(" ")
        if kind.lower() != "bearer" or not name:
            return 401, "Full authentication is required to access this resource"
        if name in self._revoked:
            return self._revoked[name], "The access token was revoked"
        token = self._live.get(name)
        if token is None:
            return 401, "Invalid access token"
        if token.expires <= now:
            return 403, "The access token expired"
        if scope and scope not in token.scopes:
            return 403, f"Insufficient scope for this resource: {scope} is missing"
        return None
