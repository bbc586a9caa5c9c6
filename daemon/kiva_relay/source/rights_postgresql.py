"""PostgreSQL's tables, and what our role may do with them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from kiva_relay.source import statement
from kiva_relay.source.grants import Grants

# One alone of the columns counts, too.
_WRITABLE = """
SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname ELSE n.nspname || '.' || c.relname END
FROM   pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE  c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_'
AND    (has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
        OR has_any_column_privilege(c.oid, 'INSERT, UPDATE'))
ORDER  BY 1
"""

# The search path leaves out what the role may not use yet.
_SCHEMA_OF = """
SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE  c.relname = :name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
AND    n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_'
ORDER  BY pg_table_is_visible(c.oid) DESC, n.nspname <> 'public', n.nspname LIMIT 1
"""

_MAY_READ = """
SELECT bool_or(has_schema_privilege(n.oid, 'USAGE') AND CASE WHEN CAST(:whole AS boolean)
               THEN has_table_privilege(c.oid, 'SELECT') ELSE has_any_column_privilege(c.oid, 'SELECT') END)
FROM   pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE  c.relname = :name AND n.nspname = coalesce(nullif(:schema, ''), n.nspname)
AND    c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_'
"""


class PostgreSQLRights:
    """This part of the dialect."""

    def __init__(self) -> None:
        self._quote = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]

    def quoted(self, name: str) -> str:
        """Quoted where it has to be."""
        # SQLAlchemy doubles a % for a driver to halve it; a person who types it, and `text()`, do not.
        return ".".join(str(self._quote(part)).replace("%%", "%") for part in name.split("."))

    def tables(self, cx: sa.Connection) -> list[str]:
        """Tables and views on the search path."""
        return list(
            cx.scalars(
                sa.text(
                    "SELECT relname FROM pg_class WHERE relkind IN ('r','p','v','m','f') AND pg_table_is_visible(oid)"
                )
            )
        )

    def may_read(self, cx: sa.Connection, table: str, *, whole: bool) -> bool:
        """By the privileges on the table, or on one of its name in some schema."""
        schema, _, name = table.rpartition(".")
        asked = statement.bind(_MAY_READ, {"name": name, "schema": schema, "whole": whole})
        return cx.scalar(asked) is not False

    def can_write(self, cx: sa.Connection) -> list[str]:
        """By the privileges of the role, whatever the session's read-only setting says."""
        return list(cx.scalars(sa.text(_WRITABLE)))

    def anyones(self, url: sa.URL) -> sa.URL:
        """The database itself: who may connect sees its catalogue."""
        return url

    def secured(self, cx: sa.Connection, tables: Sequence[str]) -> set[str]:
        """By what the server says of this role; its owner and BYPASSRLS are not concerned."""
        quoted = {self.quoted(table): table for table in tables}
        asked = "SELECT t FROM unnest(CAST(:names AS text[])) AS t JOIN pg_class c ON c.oid = to_regclass(t)"
        asked += " WHERE c.relkind IN ('r', 'p') AND row_security_active(c.oid)"
        return {quoted[name] for name in cx.scalars(statement.bind(asked, {"names": [*quoted]}))}

    def grants(self, cx: sa.Connection, tables: Sequence[str], *, database: str) -> Grants:  # noqa: ARG002 - every dialect is asked alike
        """The tables with their schemas, also those of a schema that the role may not look into yet."""
        role = self.quoted(str(cx.scalar(sa.text("SELECT current_user"))))
        schemas: dict[str, None] = {}
        named = []
        for table in tables:
            schema, _, name = table.rpartition(".")
            schema = schema or str(cx.scalar(statement.bind(_SCHEMA_OF, {"name": name})) or "public")
            schemas[self.quoted(schema)] = None
            named.append(f"{self.quoted(schema)}.{self.quoted(name)}")
        return Grants(
            read=(
                *(f"GRANT USAGE ON SCHEMA {schema} TO {role};" for schema in schemas),
                *(f"GRANT SELECT ON {table} TO {role};" for table in named),
            ),
            see=f"GRANT pg_read_all_stats TO {role};",
        )
