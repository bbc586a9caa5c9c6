"""MariaDB's and MySQL's tables, and what our role may do with them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kiva_relay.source import statement
from kiva_relay.source.grants import Grants

HERE = "table_schema = COALESCE(:schema, DATABASE())"
"""True for what is in a schema, or else in our database."""

FORBIDDEN = {1044, 1142, 1143, 1227, 1370}
"""The errors that say that a right is missing."""

_LOST = {0, 1040, 1045, 1049, 1053, 1152, 1158, 1159, 1160, 1161, 1203, 1205, 1226, 1698, 1927, 2002, 2003, 2006}
_LOST |= {2013, 2014, 2055, 4031}
_WRITES = ("INSERT", "UPDATE", "DELETE", "DROP", "ALTER")


class MariaDBRights:
    """This part of the dialect."""

    def __init__(self) -> None:
        self._quote = mysql.dialect().identifier_preparer.quote_identifier

    def quoted(self, name: str) -> str:
        """Always quoted: what is a word of SQL differs from version to version."""
        # SQLAlchemy doubles a % for a driver to halve it; a person who types it, and `text()`, do not.
        return ".".join(str(self._quote(part)).replace("%%", "%") for part in name.split("."))

    def tables(self, cx: sa.Connection) -> list[str]:
        """Tables and views of the database."""
        asked = f"SELECT table_name FROM information_schema.tables WHERE {HERE}"  # noqa: S608 - a constant
        return list(cx.scalars(statement.bind(asked, {"schema": None})))

    def may_read(self, cx: sa.Connection, table: str, *, whole: bool) -> bool:
        """By trying: information_schema does not show what may not be read."""
        try:
            with cx.begin_nested():
                named = statement.plain(self.quoted(table))
                cx.execute(sa.text(f"SELECT {'*' if whole else 1} FROM {named} WHERE 1 = 0"))  # noqa: S608 - quoted
        except sa.exc.DBAPIError as error:
            if self.lost(error):
                raise
            return not self.forbidden(error)
        return True

    def can_write(self, cx: sa.Connection) -> list[str]:
        """By the privileges of the role and of the role that it has taken on, whatever the session is allowed."""
        user, _, host = str(cx.scalar(sa.text("SELECT CURRENT_USER()"))).rpartition("@")
        role = cx.scalar(sa.text("SELECT CURRENT_ROLE()"))
        who = {"kr_who": [f"'{user}'@'{host}'", f"'{role}'@''", f"'{role}'@'%'"], "kr_writes": _WRITES}
        granted = "grantee IN :kr_who AND privilege_type IN :kr_writes"
        everything = statement.bind(
            f"SELECT 1 FROM information_schema.user_privileges WHERE {granted}"  # noqa: S608 - constants
            " UNION SELECT 1 FROM information_schema.schema_privileges"
            f" WHERE {granted} AND DATABASE() LIKE table_schema",
            {},
            who,
        )
        if cx.scalar(everything):
            return sorted(self.tables(cx))
        some = f"SELECT table_name FROM information_schema.table_privileges WHERE {granted} AND {HERE}"  # noqa: S608 - constants
        some += f" UNION SELECT table_name FROM information_schema.column_privileges WHERE {granted} AND {HERE}"  # noqa: S608 - constants
        return sorted(cx.scalars(statement.bind(some, {"schema": None}, who)))

    def anyones(self, url: sa.URL) -> sa.URL:
        """Every role may enter information_schema."""
        return url.set(database="information_schema")

    def secured(self, cx: sa.Connection, tables: Sequence[str]) -> set[str]:  # noqa: ARG002 - every dialect is asked alike
        """None: it has no such thing."""
        return set()

    def grants(self, cx: sa.Connection, tables: Sequence[str], *, database: str) -> Grants:
        """The tables, one by one."""
        user, _, host = str(cx.scalar(sa.text("SELECT CURRENT_USER()"))).rpartition("@")
        who, schema = f"'{user}'@'{host}'", self.quoted(database)
        named = [self.quoted(table) if "." in table else f"{schema}.{self.quoted(table)}" for table in tables]
        return Grants(
            read=tuple(f"GRANT SELECT ON {table} TO {who};" for table in named),
            see=f"GRANT PROCESS ON *.* TO {who};",
        )

    def lost(self, error: sa.exc.DBAPIError) -> bool:
        """No connection, a server that starts or stops, no room for one more, a lock that was not given."""
        return error.connection_invalidated or number(error) in _LOST

    def forbidden(self, error: sa.exc.DBAPIError) -> bool:
        """The role may not read it."""
        return number(error) in FORBIDDEN


def number(error: sa.exc.DBAPIError) -> int:
    """The number of an error; -1 where it has none."""
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else -1
