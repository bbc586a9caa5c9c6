"""The outbox of an institution that used version 0.2: the full one that is kept, and in it what is known of this MIS.

    python3 trial_outbox.py KEPT.sql PRESENT.db MADE.db

Runs in the booted root, by what Python brings along. Of PRESENT go over what version 0.2 had too: columns by their
names, entries behind those that are kept.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path

BEHIND = 1000
"""Added to the numbers of the entries."""
TAKEN = ("entry", "captured", "catalogue", "meta", "watermark")


def columns(outbox: sqlite3.Connection, schema: str, table: str) -> list[str]:
    """Those of a table."""
    return [row[1] for row in outbox.execute(f'PRAGMA {schema}.table_info("{table}")')]


def make(kept: Path, present: Path, made: Path) -> None:
    """Write the outbox, and say what is in it."""
    with contextlib.closing(sqlite3.connect(made)) as outbox:
        outbox.executescript(kept.read_text(encoding="utf-8"))
        outbox.execute("ATTACH ? AS present", (str(present),))
        with outbox:
            for table in TAKEN:
                there = set(columns(outbox, "present", table))
                both = [name for name in columns(outbox, "main", table) if name in there]
                shown = [f"{name} + {BEHIND}" if name in ("id", "waits_for") else f'"{name}"' for name in both]
                named = ", ".join(f'"{name}"' for name in both)
                outbox.execute(
                    f"INSERT OR REPLACE INTO main.{table} ({named}) SELECT {', '.join(shown)} FROM present.{table}"
                )
        entries, schema = (
            outbox.execute(asked).fetchone()[0]
            for asked in ("SELECT count(*) FROM entry", "SELECT version_num FROM alembic_version")
        )
        sys.stdout.write(f"entries before: {entries}, schema: {schema}\n")


if __name__ == "__main__":
    make(*map(Path, sys.argv[1:4]))
