"""How the stand-in is to behave: which partner it knows, what it grants, how fast its coordinator works."""

from __future__ import annotations

from dataclasses import field
from datetime import timedelta
from typing import TYPE_CHECKING

from kiva_relay.frozen import dataclass

if TYPE_CHECKING:
    from pathlib import Path

SCOPES = ("read:loans", "create:loan_draft", "create:journal_update", "create:repayment")
AUDIENCE = "kiva-sandbox"
PARTNER = "123"


@dataclass(frozen=True)
class Delays:
    """How fast the coordinator works.

    Attributes:
        publish_after: From a draft's arrival until it raises funds. None: never.
        fund_after: From publishing until the loan is being paid back. None: it goes on raising funds.
    """

    publish_after: timedelta | None = None
    fund_after: timedelta | None = None


@dataclass(frozen=True)
class SandboxConfig:
    """One stand-in.

    Attributes:
        partner: The one partner id that exists; every other is answered with 404.
        client_id: The one that gets tokens. None: any does.
        client_secret: Its secret. None: any will do.
        audience: The one that tokens are given for. None: any.
        scopes: What is granted at most, whatever is asked.
        token_life: After it a token is answered with 403.
        ledger: JSON lines, read at the start and added to. None: forgotten at the end.
        coordinator: How fast drafts become loans.
        drafts_visible: Whether `GET /loans` lists unpublished drafts, as `inactive`.
    """

    partner: str = PARTNER
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    audience: str | None = AUDIENCE
    scopes: tuple[str, ...] = SCOPES
    token_life: timedelta = timedelta(seconds=43_199)
    ledger: Path | None = None
    coordinator: Delays = Delays()
    drafts_visible: bool = False
