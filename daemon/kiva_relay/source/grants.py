"""What a role needs of the MIS, as SQL for whoever may grant it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grants:
    """`read` lets it read the tables, and suffices; `see` shows it whose transactions are open ("" where none does)."""

    read: tuple[str, ...] = ()
    see: str = ""
