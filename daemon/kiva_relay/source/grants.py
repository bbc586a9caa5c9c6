"""What a role needs of the MIS, as SQL for whoever may grant it."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from kiva_relay.frozen import dataclass


@dataclass(frozen=True)
class Grants:
    """`read` lets it read the tables, and suffices; `see` shows it whose transactions are open ("" where none does)."""

    read: tuple[str, ...] = ()
    see: str = ""


def by_url(url: sa.URL, tables: Sequence[str]) -> Grants:
    """The same by what stands in `mis.url`, for a server that was not asked: its user, from any host; schema public."""
    user, engine = url.username or "kiva_relay", url.get_backend_name()
    if engine == "sqlite":
        return Grants()
    dialect = url.get_dialect()()
    quote = dialect.identifier_preparer.quote_identifier

    def quoted(*parts: str) -> str:
        return ".".join(str(quote(part)).replace("%%", "%") for part in parts)

    split = [tuple(table.split(".")) for table in tables]
    if engine == "postgresql":
        named = [one if len(one) > 1 else ("public", *one) for one in split]
        schemas = dict.fromkeys(one[0] for one in named)
        return Grants(
            read=(
                *(f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(user)};" for schema in schemas),
                *(f"GRANT SELECT ON {quoted(*one)} TO {quoted(user)};" for one in named),
            ),
            see=f"GRANT pg_read_all_stats TO {quoted(user)};",
        )
    who = "'{}'@'%'".format(user.replace("'", "''"))
    named = [one if len(one) > 1 else (str(url.database), *one) for one in split]
    return Grants(
        read=tuple(f"GRANT SELECT ON {quoted(*one)} TO {who};" for one in named), see=f"GRANT PROCESS ON *.* TO {who};"
    )
