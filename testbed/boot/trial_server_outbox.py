"""The outbox of version 0.2 in a file, taken over into a database of PostgreSQL as version 0.2 would have made it.

    python trial_server_outbox.py FILE.db postgresql://…

Runs in the booted root, by the program's own Python.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys

import alembic.command
import alembic.config
import sqlalchemy as sa

from kiva_relay.config import shipped

OF_0_2 = "0001"


def take_over(file: str, url: str) -> int:
    """Make its tables, fill them; how many entries there are."""
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    config = alembic.config.Config()
    config.set_main_option("script_location", str(shipped.folder("migrations")))
    config.set_main_option("path_separator", "os")
    with contextlib.ExitStack() as undo:
        undo.callback(engine.dispose)
        before = undo.enter_context(contextlib.closing(sqlite3.connect(file)))
        tx = undo.enter_context(engine.begin())
        config.attributes["connection"] = tx
        alembic.command.upgrade(config, OF_0_2)
        before.row_factory = sqlite3.Row
        tables = sa.MetaData()
        tables.reflect(tx)
        for table in tables.sorted_tables:
            if table.name == "alembic_version":
                continue
            rows = [dict(row) for row in before.execute(f'SELECT * FROM "{table.name}"')]
            truths = [column.name for column in table.columns if isinstance(column.type, sa.Boolean)]
            for row in rows:
                row.update({name: bool(row[name]) for name in truths if row[name] is not None})
            if rows:
                tx.execute(table.delete())
                tx.execute(table.insert(), rows)
            for column in table.columns:
                if column.primary_key and isinstance(column.type, sa.Integer) and column.server_default is not None:
                    counted = sa.text(
                        f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'),"
                        f" (SELECT coalesce(max({column.name}), 0) + 1 FROM {table.name}))"
                    )
                    tx.execute(counted)
        return int(tx.execute(sa.text("SELECT count(*) FROM entry")).scalar_one())


if __name__ == "__main__":
    sys.stdout.write(f"entries before: {take_over(*sys.argv[1:3])}, schema: {OF_0_2}, on PostgreSQL\n")
