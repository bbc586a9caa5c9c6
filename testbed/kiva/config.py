"""How the stand-in is to behave where Kiva's texts disagree, or where its lists lag."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from kiva_relay.frozen import dataclass
from kiva_relay.sandbox.config import SandboxConfig


@dataclass(frozen=True)
class KivaConfig(SandboxConfig):
    """One stand-in.

    Attributes:
        listing_lag: How long a new loan is missing from `GET /loans`.
        spelling: Of the keys in answers; Kiva's samples and its .NET models disagree.
        receipts: Whether repayments and journals are answered with one object or a list of one.
        journal_path: Under which of the two paths that Kiva's texts name journals are taken.
        journal_body: In which of the two shapes that Kiva's texts name they are taken.
        client_ids: Whether a position without its client's id is refused, as on PA2's three-column format.
        dates: Whose hour `Date` says in its answers: the machine's, that of the stand-in's clock, or nobody's.
    """

    listing_lag: timedelta = timedelta(0)
    spelling: Literal["snake", "camel"] = "snake"
    receipts: Literal["object", "list"] = "object"
    dates: Literal["machine", "clock", "none"] = "machine"
    journal_path: Literal["both", "partner", "partners"] = "both"
    journal_body: Literal["both", "list", "object"] = "both"
    client_ids: bool = False
