"""Rows that a policy of the database hides from one look to the next."""

from __future__ import annotations

from kiva_relay import errors
from kiva_relay.source import failure
from kiva_relay.source.position import Secured


def stop_where_rows_were_hidden(before: Secured, now: Secured) -> None:
    """Not seen is not gone: rows that a policy hides from now on would look deleted, and be withdrawn."""
    for name, tables in now.items():
        was = before.get(name, {})
        if changed := sorted(table for table, is_secured in tables.items() if was.get(table, is_secured) != is_secured):
            way = "on" if tables[changed[0]] else "off"
            with failure.blamed({name}):
                raise errors.RelayError(
                    f"{name}: row level security of {', '.join(changed)} was switched {way}"
                    " for this role: rows that it hides would look deleted.",
                    hint="Switch it back, or ALTER ROLE … BYPASSRLS. If it is meant so: kiva-relay reload",
                )
