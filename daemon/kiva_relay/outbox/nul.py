"""Texts for PostgreSQL, which takes every character but one."""

from __future__ import annotations

from psycopg.types.string import StrDumperUnknown


class WithoutNul(StrDumperUnknown):
    """Shows a NUL (U+0000) as the replacement character, so that one odd text of a MIS or of Kiva stops nothing.

    psycopg refuses it, for PostgreSQL has no such character (its manual, 8.3). SQLite keeps it.
    """

    def dump(self, obj: str) -> bytes | bytearray | memoryview | None:
        """The text as it is sent."""
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))
