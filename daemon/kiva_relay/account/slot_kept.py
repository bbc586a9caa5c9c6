"""From when on the MIS keeps much for its stream of changes. Loads no driver, for `status` is typed often."""

from __future__ import annotations

MUCH = 1 << 30
"""Bytes that the server keeps for the slot from which on a person should know."""


def is_much(kept: int | None, wal_status: str) -> bool:
    """Does what the server keeps for the slot endanger its disk, or the slot?"""
    return wal_status == "unreserved" or (kept or 0) > MUCH
