"""The log of what the branch committed: what shows each change, and what only the sweep can find."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

Seen = Literal["stamp", "row", "nothing"]
"""What shows a change: a new stamp; a new row version, but no stamp; nothing but that a row is missing."""


@dataclass(frozen=True)
class Change:
    """One committed change of one root key; `token` tells the content, where the loan's own row was written."""

    key: int
    seen: Seen
    at: float
    token: int | None = None
    certain: bool = True
    """False: the database was restarted while it was being committed."""


@dataclass
class Log:
    """What was committed, in the order of the locks on the loans, and how many transactions of which kind."""

    changes: list[Change] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hidden(self, seen: Collection[Seen]) -> set[int]:
        """Keys whose last change is not seen by these means: only the sweep can find it."""
        found: dict[int, bool] = {}
        for change in self.changes:
            if change.seen not in seen:
                found[change.key] = True
            elif change.certain:
                found[change.key] = False
        return {key for key, is_hidden in found.items() if is_hidden}
