"""Tokens that are revoked, and scopes that are withdrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kiva_relay.sandbox.token import IssuedTokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from testbed.kiva.fault import Faults


class RevocableTokens(IssuedTokens):
    """The tokens of a stand-in with faults."""

    def __init__(self, scopes: Sequence[str], faults: Faults) -> None:
        super().__init__(scopes)
        self._faults = faults
        self._revoked: dict[str, int] = {}

    def granted(self, asked: Sequence[str]) -> list[str]:
        withdrawn = self._faults.withdrawn()
        return [scope for scope in super().granted(asked) if scope not in withdrawn]

    def revoke_all(self, status: int) -> None:
        """Every token given out so far is answered with `status` (401 or 403) from now on."""
        self._revoked.update(dict.fromkeys(self._live, status))
        self._live.clear()

    def refusal(self, authorization: str, scope: str, *, now: datetime) -> tuple[int, str] | None:
        name = authorization.partition(" ")[2]
        if name in self._revoked:
            return self._revoked[name], "The access token was revoked"
        refused = super().refusal(authorization, scope, now=now)
        if refused is None and scope and self._faults.forbids(scope):
            return 403, f"Insufficient scope for this resource: {scope} is missing"
        return refused
