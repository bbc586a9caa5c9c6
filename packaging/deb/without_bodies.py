"""A copy of an outbox that knows what was sent, and nothing of any borrower.

    without_bodies.py OUTBOX COPY

By what Python brings along, for it runs when the program is gone already. What was not sent yet is no longer owed in
the copy, and all rows of the MIS count as unread: the next relay reads them, and owes anew what never went out.
"""

# ruff: noqa: INP001, S608 - a script that stands alone; the names are those of the tables themselves

import contextlib
import json
import os
import sqlite3
import sys

KEPT = (
    *("alembic_version", "attempt", "batch", "batch_member", "entry", "hold", "lease", "meta"),
    *("mirror", "mirror_refresh", "tally", "watermark"),
)
SPOKEN = {"attempt": ("detail", "problems"), "mirror_refresh": ("detail",), "hold": ("release_note",)}


def columns(copy: sqlite3.Connection, table: str) -> set[str]:
    """Those of a table, whichever version of it this is."""
    return {row[1] for row in copy.execute(f'PRAGMA table_info("{table}")')}


def strip(copy: sqlite3.Connection) -> None:
    """Take out what is about people, and what counts as read or owed."""
    tables = [name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        if table not in KEPT and not table.startswith("sqlite_"):
            copy.execute(f'DELETE FROM "{table}"')
    for table, spoken in SPOKEN.items():
        for column in columns(copy, table).intersection(spoken) if table in tables else ():
            copy.execute(f'UPDATE "{table}" SET "{column}" = NULL')
    copy.execute("UPDATE hold SET note = ''")
    copy.execute(
        "UPDATE entry SET state = 'withdrawn', reason = NULL, settled_at = coalesce(settled_at, changed_at)"
        " WHERE state IN ('ready', 'waiting', 'refused')"
    )
    copy.execute("UPDATE entry SET state = 'in_doubt', reason = 'process_ended' WHERE state = 'sending'")
    copy.execute("UPDATE entry SET body = NULL")
    reasons = copy.execute("SELECT id, refusals FROM entry WHERE refusals IS NOT NULL").fetchall()
    for number, refusals in reasons:
        plain = [{**one, "params": {}} for one in json.loads(refusals) or []]
        copy.execute("UPDATE entry SET refusals = ? WHERE id = ?", (json.dumps(plain), number))
    copy.execute("DELETE FROM meta WHERE name LIKE 'filled %'")
    # Nothing was read: no row is known, no mapping was looked through.
    copy.execute("UPDATE watermark SET w = NULL, scan = NULL, scan_after = NULL, backfilled_at = NULL")


def main(source: str, target: str) -> None:
    """Copy, strip, and look whether it is whole."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(sqlite3.connect(source)) as live, contextlib.closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        copy.execute("PRAGMA foreign_keys=OFF")
        with copy:
            strip(copy)
        # What was deleted still stands in free pages.
        copy.execute("VACUUM")
        found = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        sys.exit(f"The copy is damaged: {found}")


main(sys.argv[1], sys.argv[2])
