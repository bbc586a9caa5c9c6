"""The tables that a publication has or is to have, each partition too: what the stream tells of them, at what risk.

PostgreSQL refuses the MIS's own UPDATE and DELETE on a published table that has no usable replica identity, and it
looks at the partition that holds the row, not at the table that was published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from kiva_relay.frozen import dataclass
from kiva_relay.source import statement

# to_jsonb, for row filters and column lists came with PostgreSQL 15.
_TABLES = """
SELECT t AS asked, CAST(c.oid AS bigint) AS oid, CASE c.relkind WHEN 'p'
            THEN (SELECT sum(CAST(pg_relation_filenode(p.relid) AS bigint)) FROM pg_partition_tree(c.oid) p)
            ELSE CAST(pg_relation_filenode(c.oid) AS bigint) END AS file,
       CAST(hashtextextended(concat_ws('; ', (SELECT string_agg(concat_ws(' ', m.oid, m.xmin), ', ' ORDER BY m.oid)
                        FROM (SELECT c.oid UNION SELECT CAST(relid AS oid) FROM pg_partition_tree(c.oid)) t
                        JOIN pg_class m ON m.oid = t.oid),
                 (SELECT string_agg(concat_ws(' ', r.oid, r.xmin, q.oid, q.xmin), ', ' ORDER BY q.oid, r.oid)
                  FROM pg_publication q LEFT JOIN pg_publication_rel r ON r.prpubid = q.oid
                  AND (r.prrelid = c.oid OR r.prrelid IN (SELECT relid FROM pg_partition_ancestors(c.oid)))
                  WHERE q.pubname = :name)), 0) AS text) AS version,
       c.relkind IN ('r', 'p') AS can_be, format('%I.%I', n.nspname, c.relname) AS name,
       p.tablename IS NOT NULL AND to_jsonb(p) ->> 'rowfilter' IS NULL AS published,
       ARRAY(SELECT jsonb_array_elements_text(coalesce(to_jsonb(p) -> 'attnames', '[]'))) AS columns,
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AS inherited,
       c.relkind = 'p' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary
                                       AND i.indimmediate AND i.indisvalid) AS keyless
FROM   unnest(CAST(:tables AS text[])) AS t JOIN pg_class c ON c.oid = to_regclass(t)
JOIN   pg_namespace n ON n.oid = c.relnamespace
LEFT   JOIN pg_publication_tables p ON p.pubname = :name AND p.schemaname = n.nspname AND p.tablename = c.relname
"""

# The table itself and its partitions at any depth. A key that is checked at the end only (DEFERRABLE), or an index
# that is not valid, identifies nothing. From 18 on an identity must not hold generated columns; FULL holds all.
_MEMBERS = """
WITH RECURSIVE member AS (
  SELECT t AS asked, c.oid, 0 AS depth
  FROM   unnest(CAST(:tables AS text[])) AS t JOIN pg_class c ON c.oid = to_regclass(t) WHERE c.relkind IN ('r', 'p')
  UNION ALL
  SELECT m.asked, i.inhrelid, m.depth + 1
  FROM   member m JOIN pg_class p ON p.oid = m.oid AND p.relkind = 'p' JOIN pg_inherits i ON i.inhparent = m.oid
)
SELECT m.asked, format('%I.%I', n.nspname, c.relname) AS name, CAST(c.relkind AS text) AS kind,
       c.relpersistence = 'p' AS logged, c.relreplident = 'f' AS whole,
       ARRAY(SELECT CAST(a.attname AS text) FROM pg_index i
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
             WHERE i.indrelid = c.oid AND i.indimmediate AND i.indisvalid
             AND ((c.relreplident = 'd' AND i.indisprimary) OR (c.relreplident = 'i' AND i.indisreplident)))
       AS identity,
       ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> '') AS generated,
       lists.theirs IS NOT NULL AS listed, lists.ours IS NOT NULL AS cut,
       CAST(current_setting('server_version_num') AS int) >= 180000 AS strict
FROM   member m JOIN pg_class c ON c.oid = m.oid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS  JOIN LATERAL (
  SELECT min(p.pubname) FILTER (WHERE p.pubname <> :name) AS theirs,
         min(p.pubname) FILTER (WHERE p.pubname = :name) AS ours
  FROM   pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
  WHERE  to_jsonb(r) ->> 'prattrs' IS NOT NULL
  AND    (r.prrelid = c.oid OR r.prrelid IN (SELECT a.relid FROM pg_partition_ancestors(c.oid) a))) lists
ORDER  BY m.asked, m.depth, 2
"""


@dataclass(frozen=True)
class Member:
    """A table, or a partition of one: which columns the stream gives of a row as it was.

    `whole` means that `identity` is every column; `listed` that another publication names its columns
    one by one, and `cut` that ours does; `strict` that the server refuses identities with `generated` columns.
    """

    name: str
    kind: str
    logged: bool
    whole: bool
    identity: frozenset[str]
    generated: frozenset[str] = frozenset()
    listed: bool = False
    cut: bool = False
    strict: bool = True

    def identifies(self, columns: Iterable[str]) -> bool:
        """Whether the stream gives these columns of a row that was changed or deleted."""
        return self.whole or self.identity.issuperset(columns)

    @property
    def refuses(self) -> bool:
        """Whether the server refuses the MIS's own UPDATE and DELETE on it while it is published."""
        if self.kind != "r":
            return False
        if self.whole:
            return self.listed or self.cut or (self.strict and bool(self.generated))
        return not self.identity or (self.strict and bool(self.identity & self.generated))

    def forbids(self, columns: Iterable[str]) -> str:
        """Why the identity that the stream needs for these columns would make the MIS's UPDATE fail; "" else.

        What a newer server would refuse counts on an older one, too: publications outlive upgrades.
        """
        fails = "the MIS's UPDATE would fail"
        if not self.whole and self.identifies(columns):
            generated = self.identity & self.generated
            return f"the replica identity of {self.name} has a generated column: {fails}" if generated else ""
        if self.generated:
            return f"with REPLICA IDENTITY FULL and a generated column ({self.name}) {fails}"
        return f"another publication lists columns of {self.name}: with FULL {fails}" if self.listed else ""


@dataclass(frozen=True)
class PublishedTable:
    """A watched table: whether the publication has it, and what the stream tells of it.

    `columns` are those that are published, all of them when empty. `file` is another one when it was rewritten, which
    no stream shows. `version` is another one after somebody altered it, a partition of it, or how it is published:
    meanwhile something may have gone untold, though all is as it was. `members` are the table itself and all of its
    partitions. `inherited` means that other tables inherit from it, `keyless` that it is partitioned and has no primary
    key.
    """

    oid: int
    file: int | None
    name: str
    can_be: bool
    published: bool
    columns: frozenset[str]
    members: tuple[Member, ...]
    inherited: bool = False
    keyless: bool = False
    version: str = ""

    def identifies(self, columns: Iterable[str]) -> bool:
        """Whether the stream gives these columns of every row that was changed or deleted, in whatever partition."""
        wanted = tuple(columns)
        return all(one.identifies(wanted) for one in self.members if one.kind == "r" or one is self.members[0])

    def unidentified(self, columns: Iterable[str]) -> list[str]:
        """Its members that would need another identity for that: itself, as it announces, and those with rows."""
        wanted = tuple(columns)
        mine = [one for one in self.members if one.kind == "r" or one is self.members[0]]
        return [one.name for one in mine if not one.identifies(wanted)]

    @property
    def refusing(self) -> list[str]:
        """Members on which the server refuses the MIS's own UPDATE and DELETE while this is published."""
        return [one.name for one in self.members if one.refuses]

    def untold(self, columns: Sequence[str]) -> str:
        """Why it must not be published, or the stream could not tell all of it; "" when it can be.

        Args:
            columns: those that lead from its rows to a root.
        """
        if not self.can_be:
            return "no table with rows of its own"
        if self.inherited:
            return "other tables inherit from it, and their rows are not in its stream"
        if self.keyless:
            return "partitioned without a primary key: the MIS's UPDATE on a later partition would fail"
        unlogged = [one.name for one in self.members if not one.logged or one.kind not in "rp"]
        if unlogged:
            return f"{unlogged[0]} is unlogged, temporary or on another server"
        generated = sorted({name for one in self.members for name in one.generated}.intersection(columns))
        if generated:
            return f"the stream leaves out its generated column {', '.join(generated)}"
        return next(filter(None, (one.forbids(columns) for one in self.members)), "")


def tables(cx: sa.Connection, publication: str, names: Sequence[str]) -> Mapping[str, PublishedTable]:
    """Those of these tables that are there, by their quoted name as it was given."""
    if not names:
        return {}
    members: dict[str, list[Member]] = {}
    for row in cx.execute(statement.bind(_MEMBERS, {"name": publication, "tables": [*names]})):
        one = Member(
            name=row.name,
            kind=row.kind,
            logged=row.logged,
            whole=row.whole,
            identity=frozenset(row.identity),
            generated=frozenset(row.generated),
            listed=row.listed,
            cut=row.cut,
            strict=row.strict,
        )
        members.setdefault(row.asked, []).append(one)
    return {
        row.asked: PublishedTable(
            oid=row.oid,
            file=row.file,
            name=row.name,
            can_be=row.can_be,
            published=row.published,
            columns=frozenset(row.columns),
            members=tuple(members.get(row.asked, ())),
            inherited=row.inherited,
            keyless=row.keyless,
            version=row.version,
        )
        for row in cx.execute(statement.bind(_TABLES, {"name": publication, "tables": [*names]}))
    }
