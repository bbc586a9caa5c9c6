"""The publication and the slot that a stream needs in the MIS: whether they are there, and the SQL that makes them.

Both carry one name. The relay itself only looks; what changes the MIS is printed, or run by `watch setup --apply`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace

import sqlalchemy as sa

from kiva_relay.frozen import dataclass
from kiva_relay.source import published, statement, watch
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.pgoutput import Columns
from kiva_relay.source.published import PublishedTable
from kiva_relay.source.stream import Stream

KEEP = "10GB"
"""What `watch setup` advises for max_slot_wal_keep_size: less than this the server keeps for a relay that is away."""

SETUP = "kiva-relay watch setup"

PLUGIN = "pgoutput"

_LONGEST = 63
_FAILOVER_SLOTS = 170_000
_EVERYTHING = "publish = 'insert, update, delete, truncate'"

# A snapshot's xmax follows the last id that has ended, and is no measure; age() counts from the next that is given.
_SERVER = """
SELECT CAST(CAST(pg_snapshot_xmax(t) AS text) AS bigint) + age(CAST(pg_snapshot_xmax(t) AS xid)) AS next_xid,
       current_setting('wal_level') AS wal_level,
       current_setting('synchronous_standby_names') AS standbys, current_setting('max_slot_wal_keep_size') AS keep,
       pg_is_in_recovery() AS standby, CAST(current_user AS text) AS role,
       (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may_follow,
       EXISTS (SELECT FROM pg_publication WHERE pubname = :name) AS published,
       EXISTS (SELECT FROM pg_publication WHERE pubname = :name
               AND NOT (pubinsert AND pubupdate AND pubdelete AND pubtruncate)) AS partial,
       s.slot_name IS NOT NULL AS there, CAST(s.database AS text) = current_database() AS here,
       CAST(s.plugin AS text) AS plugin, s.active_pid AS reader, s.wal_status AS wal_status,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn) END AS kept,
       CASE WHEN NOT pg_is_in_recovery()
            THEN ltrim(substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), '0') END AS timeline,
       CAST(current_setting('server_version_num') AS int) AS version,
       coalesce(CAST(to_jsonb(s) ->> 'failover' AS bool), false) AS survives
FROM   pg_current_snapshot() t LEFT JOIN pg_replication_slots s ON s.slot_name = :name
"""

_PUBLISHED = "SELECT format('%I.%I', schemaname, tablename) FROM pg_publication_tables WHERE pubname = :name"
_ELSEWHERE = "SELECT format('%I.%I', schemaname, tablename) FROM pg_publication_tables WHERE pubname <> :name"


@dataclass(frozen=True)
class SlotFacts:
    """What the server says. `kept`: bytes of WAL that it keeps for the slot; `next_xid`: of the next transaction."""

    name: str
    role: str
    next_xid: int
    wal_level: str
    keep: str
    standbys: str
    standby: bool
    may_follow: bool
    published: bool
    partial: bool
    there: bool
    here: bool
    plugin: str
    reader: int | None
    wal_status: str
    kept: int | None
    tables: Mapping[str, PublishedTable] = field(default_factory=dict)
    others: Mapping[str, PublishedTable] = field(default_factory=dict)
    """Tables of the publication that no mapping names."""
    elsewhere: frozenset[str] = frozenset()
    """What other publications have: what these need is not taken back."""
    timeline: str = ""
    """On which the server writes; another one after a standby was promoted."""
    version: int = 0
    survives: bool = False
    """Is it a failover slot, which a standby may have too?"""

    @property
    def made(self) -> bool:
        """Whether somebody made a slot or a publication: then a relay that cannot use it says so."""
        return self.there or self.published

    @property
    def lost(self) -> bool:
        """Whether what the stream would have brought next is gone."""
        return self.wal_status == "lost"


def name(database: str, environment: str) -> str:
    """What slot and publication are called: slots of all databases of a server share one set of names."""
    plain = re.sub(r"[^a-z0-9_]", "_", f"kiva_relay_{environment}_{database}".lower())
    return plain[:_LONGEST]


def facts(cx: sa.Connection, dialect: Dialect, called: str, tables: Sequence[str], *, all_of_it: bool) -> SlotFacts:
    """Look at the server, and at these tables; at them only where there is a slot, or when `all_of_it` is wanted."""
    row = cx.execute(statement.bind(_SERVER, {"name": called})).one()
    if not (row.there or row.published or all_of_it):
        tables = ()
    quoted = {dialect.quoted(table): table for table in tables}
    found = {quoted[asked]: one for asked, one in published.tables(cx, called, [*quoted]).items()}
    known = {one.name for one in found.values()}
    listed = cx.execute(statement.bind(_PUBLISHED, {"name": called})).scalars().all() if row.published else ()
    others = published.tables(cx, called, [one for one in listed if one not in known])
    elsewhere = cx.execute(statement.bind(_ELSEWHERE, {"name": called})).scalars() if all_of_it else ()
    return SlotFacts(
        name=called,
        role=row.role,
        next_xid=int(row.next_xid),
        wal_level=row.wal_level,
        keep=row.keep,
        standbys=row.standbys,
        standby=row.standby,
        may_follow=bool(row.may_follow),
        published=row.published,
        partial=row.partial,
        there=row.there,
        here=bool(row.here),
        plugin=row.plugin or "",
        reader=row.reader,
        wal_status=row.wal_status or "",
        kept=None if row.kept is None else int(row.kept),
        timeline=row.timeline or "",
        version=int(row.version),
        survives=bool(row.survives),
        tables=found,
        others=others,
        elsewhere=frozenset(elsewhere),
    )


def lacks(found: SlotFacts) -> str:
    """Why there is no stream to follow, "" when there is one."""
    if found.standby:
        return "this server is a standby; its primary has the stream"
    if found.wal_level != "logical":
        return f"wal_level of the server is {found.wal_level}; a stream needs logical"
    if not found.published:
        return f"there is no publication {found.name}"
    if found.partial:
        return f"the publication {found.name} leaves out inserts, updates, deletes or truncates"
    if not found.there:
        return f"there is no slot {found.name}"
    if not found.here or found.plugin != "pgoutput":
        return f"the slot {found.name} is of another database, or of another plugin than pgoutput"
    if found.lost:
        return f"the server dropped what the slot {found.name} was to keep (wal_status lost)"
    if not found.may_follow:
        return f"the role {found.role} lacks REPLICATION"
    if any(one.strip(' ()"') in {"*", "kiva-relay stream"} for one in re.split(r"[,(]", found.standbys)):
        return f"synchronous_standby_names is {found.standbys}: commits of the MIS would wait for the relay"
    return ""


def covered(found: SlotFacts, streams: Sequence[Stream]) -> dict[str, frozenset[str]]:
    """By stream, those of its tables of which the stream brings every change; the others are polled."""
    tables: dict[str, set[str]] = {}
    for one in watch.watched(streams):
        known = found.tables.get(one.table or "")
        if known is None or not known.published or known.untold(one.columns) or not known.identifies(one.columns):
            continue
        for route in one.routes:
            if not known.columns or known.columns.issuperset(route.columns):
                tables.setdefault(route.stream.name, set()).add(one.table or "")
    return {stream: frozenset(names) for stream, names in tables.items() if names}


def wanted(found: SlotFacts, streams: Sequence[Stream]) -> Columns:
    """The columns that lead from a changed row to a root, by the oid of the table."""
    return {
        found.tables[one.table].oid: one.columns
        for one in watch.watched(streams)
        if one.table is not None and one.table in found.tables and found.tables[one.table].published
    }


def silent(found: SlotFacts, streams: Sequence[Stream]) -> dict[str, tuple[str, ...]]:
    """Tables and partitions whose deleted and moved rows the stream does not identify, and the columns it needs."""
    lacking: dict[str, tuple[str, ...]] = {}
    for one in watch.watched(streams):
        known = found.tables.get(one.table or "")
        if known is not None and not known.untold(one.columns):
            lacking |= dict.fromkeys(known.unidentified(one.columns), one.columns)
    return lacking


def untold(found: SlotFacts, streams: Sequence[Stream]) -> dict[str, str]:
    """Tables that stay polled because the stream cannot tell all of them, or publishing them would do harm."""
    known = ((found.tables.get(one.table or ""), one.columns) for one in watch.watched(streams))
    return {one.name: why for one, columns in known if one and one.can_be and (why := one.untold(columns))}


def refusing(found: SlotFacts) -> list[str]:
    """Tables and partitions on which the MIS's own UPDATE and DELETE fail because of the publication."""
    every = [*found.tables.values(), *found.others.values()]
    return sorted({name for one in every if one.published for name in one.refusing})


def setup(found: SlotFacts, streams: Sequence[Stream], dialect: Dialect) -> list[str]:
    """The SQL that makes publication and slot, or brings them up to date; for an owner of the tables.

    A table without an identity must get one before it is published, and each partition its own: else the MIS's own
    UPDATEs would fail. A table of which the stream cannot tell everything is left out, and polled.
    """
    kept_out = untold(found, streams)
    told = {one.name: one for one in found.tables.values() if one.can_be and one.name not in kept_out}
    if not told:
        return drop(found, dialect) if found.published else []
    statements = []
    if found.wal_level != "logical":
        statements.append("ALTER SYSTEM SET wal_level = 'logical';")
    if found.keep == "-1":
        statements += [f"ALTER SYSTEM SET max_slot_wal_keep_size = '{KEEP}';", "SELECT pg_reload_conf();"]
    statements += _publication(found, dialect.quoted(found.name), told, kept_out, silent(found, streams))
    if not found.may_follow:
        statements.append(f"ALTER ROLE {dialect.quoted(found.role)} REPLICATION;")
    # A slot from before its publication looks for it in the past, and never finds it.
    useless = found.there and (found.lost or not found.published)
    if useless:
        statements.append(f"SELECT pg_drop_replication_slot('{found.name}');")
    if found.wal_level == "logical" and (useless or not found.there):
        statements.append(creation(found))
    return statements


def creation(found: SlotFacts) -> str:
    """The SQL that makes the slot; from PostgreSQL 17 on one that standbys can keep in step, and have when promoted."""
    survives = ", failover => true" if found.version >= _FAILOVER_SLOTS else ""
    return f"SELECT pg_create_logical_replication_slot('{found.name}', 'pgoutput'{survives});"


def was_left_behind(found: SlotFacts, followed_on: str | None) -> bool:
    """Did a standby take over that has the publication and not the slot, and may our role make it anew?

    `followed_on`: the timeline on which it was last followed. A slot that somebody dropped is not made anew.
    """
    moved = followed_on not in (None, "", found.timeline) and bool(found.timeline)
    return (
        moved
        and not found.there
        and found.may_follow
        and not lacks(replace(found, there=True, here=True, plugin=PLUGIN))
    )


def _publication(
    found: SlotFacts,
    called: str,
    told: Mapping[str, PublishedTable],
    kept_out: Mapping[str, str],
    silents: Mapping[str, object],
) -> Iterator[str]:
    """The publication of what can be told: first out of it what does harm, then the identities, then the tables."""
    first = sorted(_out_first(found, kept_out, silents))
    if first:
        yield f"ALTER PUBLICATION {called} DROP TABLE {', '.join(first)};"
    yield from (f"ALTER TABLE {table} REPLICA IDENTITY FULL;" for table in sorted(silents))
    names = ", ".join(sorted(told))
    if not found.published:
        yield f"CREATE PUBLICATION {called} FOR TABLE {names} WITH ({_EVERYTHING}, publish_via_partition_root = true);"
    elif any(not one.published or name in first for name, one in told.items()) or found.others.keys() - {*first}:
        yield f"ALTER PUBLICATION {called} SET TABLE {names};"
    if found.partial:
        yield f"ALTER PUBLICATION {called} SET ({_EVERYTHING});"


def _out_first(found: SlotFacts, kept_out: Mapping[str, str], silents: Mapping[str, object]) -> Iterator[str]:
    """Published tables that do harm now, or would with the identity they get next: FULL beside a column list."""
    for one in (*found.tables.values(), *found.others.values()):
        cut = any(member.cut and member.name in silents for member in one.members)
        if one.published and (one.refusing or one.name in kept_out or cut):
            yield one.name


def drop(found: SlotFacts, dialect: Dialect) -> list[str]:
    """The SQL that takes both away again, and the identity of the tables back to their primary key.

    Not of a table that another publication has: without FULL its UPDATEs might fail.
    """
    statements = []
    if found.published:
        statements.append(f"DROP PUBLICATION {dialect.quoted(found.name)};")
        ours = sorted(found.tables.values(), key=lambda one: one.name)
        statements += [
            f"ALTER TABLE {member.name} REPLICA IDENTITY DEFAULT;"
            for one in ours
            if one.published and not found.elsewhere.intersection(each.name for each in one.members)
            for member in one.members
            if member.whole
        ]
    if found.there:  # last: without the publication a relay that runs lets go of it
        statements.append(f"SELECT pg_drop_replication_slot('{found.name}');")
    return statements


def needs(statements: Iterable[str]) -> str:
    """Who may run them."""
    said = " ".join(statements)
    if "ALTER SYSTEM" in said or "ALTER ROLE" in said:
        return "a superuser"
    return "an owner of its tables" + (" who has REPLICATION" if "replication_slot" in said else "")
