"""How the stand-in is to behave where Kiva's texts disagree, or where its lists lag."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from kiva_relay.sandbox.config import SandboxConfig


@dataclass(frozen=True)
class KivaConfig(SandboxConfig):
    """One stand-in.

    Attributes:
        listing_lag: How long a new loan is missing from `GET /loans`.
        spelling: Of the keys in answers; Kiva's samples and its .NET models disagree.
        receipts: Whether repayments and journals are answered with one object or a list of one.
    """

    listing_lag: timedelta = timedelta(0)
    spelling: Literal["snake", "camel"] = "snake"
    receipts: Literal["object", "list"] = "object"
