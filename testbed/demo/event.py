"""Something that happened in the demo, as a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Event:
    """`loud`: it was made to go wrong, or a doubt was settled."""

    at: datetime
    text: str
    loud: bool = False
