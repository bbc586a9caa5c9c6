"""The animals of PostgreSQL: every type of its catalogue, and every kind of relation."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.zoo.animal import NO_KEY, Animal, Cage, odd_names

CAGE = Cage(quoted=lambda name: '"' + name.replace('"', '""') + '"', now="now()", stamp="timestamptz", text="text")

CATALOGUE = """
SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm', 'e', 'd')
AND NOT (typcategory = 'A' AND typelem <> 0)
"""

_PAIRS: Mapping[str, tuple[str, str]] = {
    "bool": ("false", "true"), "bytea": ("'\\x01'", "'\\x02ff'"), '"char"': ("'a'", "'b'"), "name": ("'a'", "'b'"),
    "int8": ("-1", "9007199254740993"), "int2": ("-1", "7"), "int2vector": ("'1 2'", "'1 3'"), "int4": ("-1", "7"),
    "regproc": ("'boolin'", "'boolout'"), "text": ("'a b'", "'é:x%s'"), "oid": ("1", "4000000000"),
    "tid": ("'(0,1)'", "'(0,2)'"), "xid": ("'1'", "'2'"), "cid": ("'1'", "'2'"), "oidvector": ("'1 2'", "'1 3'"),
    "json": ("'{\"a\": 1}'", "'[1, \"b\"]'"), "xml": ("'<a/>'", "'<b/>'"), "xid8": ("'5'", "'6'"),
    "point": ("'(1,2)'", "'(1,3)'"), "lseg": ("'((1,2),(3,4))'", "'((1,2),(3,5))'"),
    "path": ("'((1,2),(3,4))'", "'((1,2),(3,5))'"), "box": ("'(3,4),(1,2)'", "'(9,9),(1,2)'"),
    "polygon": ("'((1,2),(3,4))'", "'((1,2),(3,5))'"), "line": ("'{1,2,3}'", "'{1,2,4}'"),
    "float4": ("1.1", "'NaN'"), "float8": ("0.1", "1e300"), "circle": ("'<(1,2),3>'", "'<(1,2),4>'"),
    "money": ("'1.50'::money", "'1234.50'::money"), "macaddr": ("'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'"),
    "inet": ("'10.0.0.1'", "'10.0.0.0/8'"), "cidr": ("'10.0.0.0/8'", "'::/0'"),
    "macaddr8": ("'08:00:2b:01:02:03:04:05'", "'08:00:2b:01:02:03:04:06'"),
    "aclitem": ("'=r/postgres'", "'=w/postgres'"), "bpchar": ("'a'", "'b '"), "char(5)": ("'a'", "'b'"),
    "varchar": ("'a'", "'b '"), "varchar(9)": ("'a'", "'b'"), "date": ("'2026-11-30'", "'infinity'"),
    "time": ("'10:00'", "'24:00'"), "timestamp": ("'2026-11-30 10:00:00.123456'", "'infinity'"),
    "timestamptz": ("'2026-11-30 10:00:00.123456+03'", "'-infinity'"), "interval": ("'1 mon'", "'-1 day 02:00'"),
    "timetz": ("'10:00+03'", "'10:00-03'"), "bit": ("B'0'", "B'1'"), "bit(4)": ("B'0101'", "B'1111'"),
    "varbit": ("B'01'", "B'111'"), "numeric": ("1.50", "'NaN'"), "numeric(40, 20)": ("1.5", "12345678901234567890.5"),
    "refcursor": ("'a'", "'b'"), "regprocedure": ("'boolin(cstring)'", "'boolout(bool)'"),
    "regoper": ("'||/'", "'|/'"), "regoperator": ("'+(int4,int4)'", "'-(int4,int4)'"),
    "regclass": ("'pg_class'", "'pg_type'"), "regtype": ("'int4'", "'text'"), "regrole": ("'postgres'", "'pg_monitor'"),
    "regnamespace": ("'pg_catalog'", "'public'"), "regcollation": ("'\"C\"'", "'\"POSIX\"'"),
    "regdatabase": ("'postgres'", "'template1'"), "regconfig": ("'english'", "'french'"),
    "regdictionary": ("'simple'", "'english_stem'"), "uuid": (
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'"),
    "pg_lsn": ("'0/1'", "'1/0'"), "tsvector": ("'a b'", "'a c'"), "tsquery": ("'a & b'", "'a | b'"),
    "jsonb": ("'{\"a\": 1}'", "'[1]'"), "jsonpath": ("'$.a'", "'$.b'"), "txid_snapshot": ("'1:2:'", "'1:3:'"),
    "pg_snapshot": ("'1:2:'", "'1:3:'"), "int4range": ("'[1,2)'", "'empty'"), "numrange": ("'[1,2)'", "'(,2]'"),
    "tsrange": ("'[2026-01-01,2026-02-01)'", "'empty'"), "tstzrange": ("'[2026-01-01,2026-02-01)'", "'empty'"),
    "daterange": ("'[2026-01-01,2026-02-01)'", "'empty'"), "int8range": ("'[1,2)'", "'empty'"),
    "int4multirange": ("'{[1,2)}'", "'{}'"), "nummultirange": ("'{[1,2)}'", "'{}'"),
    "tsmultirange": ("'{[2026-01-01,2026-02-01)}'", "'{}'"),
    "tstzmultirange": ("'{[2026-01-01,2026-02-01)}'", "'{}'"),
    "datemultirange": ("'{[2026-01-01,2026-02-01)}'", "'{}'"), "int8multirange": ("'{[1,2)}'", "'{}'"),
    "int4[]": ("'{1,NULL}'", "'{{1},{2}}'"), "text[]": ("'{a}'", "'{\"b,c\"}'"),
    "zoo_enum": ("'low'", "'high'"), "zoo_domain": ("1", "2"), "zoo_text": ("'a'", "'b'"),
    "zoo_pair": ("'(1,a)'", "'(2,b)'"), "zoo_range": ("'[1,2)'", "'empty'"),
    "citext": ("'a'", "'b'"), "hstore": ("'a=>1'", "'a=>2'"), "ltree": ("'a.b'", "'a.c'"),
}  # fmt: skip
"""Two values of each type, as SQL."""

SLOT = "kiva_relay_zoo"
"""Slot and publication."""

UNKEPT = frozenset({"pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "gtsvector",
                    "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"})  # fmt: skip
"""Types of the server's own, of which nobody can write a value."""

_BEFORE = (
    "CREATE TYPE zoo_enum AS ENUM ('high', 'low')",
    "CREATE DOMAIN zoo_domain AS int CHECK (VALUE > 0)",
    "CREATE DOMAIN zoo_text AS varchar(9)",
    "CREATE TYPE zoo_pair AS (n int, t text)",
    "CREATE TYPE zoo_range AS RANGE (subtype = float8)",
    'CREATE SCHEMA "odd schema"',
)
PREPARED = (*_BEFORE, *(f"CREATE EXTENSION IF NOT EXISTS {one}" for one in ("citext", "hstore", "ltree")))
"""What the animals need; a server may refuse an extension."""

WITHOUT_ORDER = ("tid", "xid", "cid", "json", "xml", "point", "lseg", "path", "box", "polygon", "line", "circle",
                 "aclitem", "refcursor", "txid_snapshot", "pg_snapshot", "jsonpath", "int2vector",
                 "hstore")  # fmt: skip
"""Types that no key can be of."""


def known() -> set[str]:
    """Types that have a sample, by the names of the catalogue."""
    return {one.strip('"') for one in _PAIRS} | UNKEPT


def animals() -> list[Animal]:
    """All of them."""
    found = [
        CAGE.typed(name, name, *pair, kind=NO_KEY if _is_no_key(name) else "")
        for name, pair in _PAIRS.items()
        if name not in WITHOUT_ORDER
    ]
    found += [CAGE.typed(name, name, *pair, plain=True) for name, pair in _PAIRS.items()]
    return [*found, *_tables(), *_partitions(), *_views(), *odd_names(CAGE)]


def _is_no_key(name: str) -> bool:
    several = (
        name.endswith(("range", "[]")) and name != "zoo_range"
    )  # of which the driver knows nothing, and gives its text
    return several or name.startswith("reg") or name in ("bytea", "money", "zoo_pair")


def _tables() -> list[Animal]:
    table = CAGE.table
    found = [
        table("a table without a primary key", "no key", primary=False),
        table("a table without a primary key", "identity nothing", primary=False,
              after=['ALTER TABLE "identity nothing" REPLICA IDENTITY NOTHING']),
        table("a table with generated columns", "stored", columns=", g text GENERATED ALWAYS AS (v || '!') STORED"),
        table("a table with generated columns", "virtual", columns=", g text GENERATED ALWAYS AS (v || '!') VIRTUAL"),
        table("a table in another schema", "schema", called="odd schema.loan"),
        table("an unlogged table", "unlogged", after=["ALTER TABLE unlogged SET UNLOGGED"]),
        table("a table", "toast", column="v",
              after=["ALTER TABLE toast ADD long text DEFAULT repeat(md5(random()::text), 9000)",
                     "ALTER TABLE toast ALTER long SET STORAGE EXTERNAL"]),
        table("a table", "trigger", after=[
            "CREATE FUNCTION zoo() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.v := NEW.v || ''!''; RETURN NEW; END'",
            'CREATE TRIGGER zoo BEFORE INSERT OR UPDATE ON "trigger" FOR EACH ROW EXECUTE FUNCTION zoo()']),
        table("a table with row security", "row security", after=[
            'ALTER TABLE "row security" ENABLE ROW LEVEL SECURITY',
            'CREATE POLICY zoo ON "row security" USING (true)']),
        table("a table", "fillfactor", options=" WITH (fillfactor = 10)"),
    ]  # fmt: skip
    for number, collation in enumerate(("C", "POSIX", "C.utf8", "fr-x-icu", "und-x-icu", "unicode", "nd")):
        columns = f', c text COLLATE "{collation}" NOT NULL DEFAULT gen_random_uuid()::text, UNIQUE (c)'
        before = []
        if collation == "nd":
            before = ["CREATE COLLATION nd (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"]
        made = table("a table with a collation of its own", f"collation {number}", columns=columns)
        found.append(Animal(**{**vars(made), "name": f"collation {collation}", "key": ("c",),
                               "make": (*before, *made.make)}))  # fmt: skip
    several = table(
        "a table with a key of several columns", "several", columns=", n int DEFAULT 7, t text DEFAULT 'x/y'"
    )
    found.append(Animal(**{**vars(several), "key": ("id", "n", "t")}))
    generated = table(
        "a table whose key is generated", "generated key", columns=", g int GENERATED ALWAYS AS (id * 2) STORED UNIQUE"
    )
    found.append(Animal(**{**vars(generated), "key": ("g",)}))
    return found


def _partitions() -> list[Animal]:
    table, kind = CAGE.table, "a partitioned table"
    by = {
        "range": ("RANGE (id)", ["FOR VALUES FROM (0) TO (3)", "DEFAULT"]),
        "list": ("LIST (id)", ["FOR VALUES IN (1)", "DEFAULT"]),
        "hash": ("HASH (id)", ["FOR VALUES WITH (modulus 2, remainder 0)", "FOR VALUES WITH (modulus 2, remainder 1)"]),
    }
    found = []
    for primary in (True, False):
        for how, (what, leaves) in by.items():
            name = f"{how}{'' if primary else ' without key'}"
            after = [f'CREATE TABLE "{name} {n}" PARTITION OF "{name}" {leaf}' for n, leaf in enumerate(leaves)]
            kind_ = kind if primary else "a partitioned table without a primary key"
            found.append(table(kind_, name, options=f" PARTITION BY {what}", after=after, primary=primary))
    deep = ['CREATE TABLE "deep 1" PARTITION OF deep DEFAULT PARTITION BY LIST (id)',
            'CREATE TABLE "deep 2" PARTITION OF "deep 1" DEFAULT']  # fmt: skip
    found.append(table(kind, "deep", options=" PARTITION BY RANGE (id)", after=deep))
    late = table(kind, "late", options=" PARTITION BY RANGE (id)",
                 after=["CREATE TABLE late1 PARTITION OF late FOR VALUES FROM (0) TO (3)"])  # fmt: skip
    attach = "CREATE TABLE late2 PARTITION OF late FOR VALUES FROM (3) TO (9)"
    found.append(Animal(**{**vars(late), "insert": f"{attach};;{late.insert}"}))
    leaf = table("a partition", "leafed", options=" PARTITION BY RANGE (id)",
                 after=["CREATE TABLE leaf PARTITION OF leafed DEFAULT"])  # fmt: skip
    found.append(Animal(**{**vars(leaf), "table": "leaf"}))
    moved = table("a partitioned table, of which a row moves", "moved", columns=", p int DEFAULT 0", primary=False,
                  options=" PARTITION BY LIST (p)",
                  after=["CREATE TABLE moved0 PARTITION OF moved FOR VALUES IN (0)",
                         "CREATE TABLE moved1 PARTITION OF moved DEFAULT"])  # fmt: skip
    found.append(Animal(**{**vars(moved), "update": "UPDATE moved SET p = 1, at_ = now() WHERE id = 1"}))
    parent = table("a parent of INHERITS", "parent")
    child = ["CREATE TABLE child () INHERITS (parent)"]
    insides = {"insert": parent.insert.replace('"parent"', "child"),
               "make": (parent.make[0], *child, parent.make[1].replace('"parent"', "child"))}  # fmt: skip
    found.append(Animal(**{**vars(parent), **insides}))
    found.append(Animal(**{**vars(table("a child of INHERITS", "parent2")), "table": "child2", "make": (
        "CREATE TABLE parent2 (id int, v text, at_ timestamptz)",
        "CREATE TABLE child2 (PRIMARY KEY (id)) INHERITS (parent2)",
        "INSERT INTO child2 VALUES (1, 'a', now()), (2, 'b', now())"), "insert": "INSERT INTO child2 VALUES (3, 'c', now())"}))  # fmt: skip
    return found


def _views() -> list[Animal]:
    table = CAGE.table
    seen = table("a view", "viewed", after=["CREATE VIEW a_view AS SELECT * FROM viewed"])
    joined = table(
        "a view",
        "viewed2",
        after=["CREATE VIEW grouped AS SELECT id, max(v) AS v, max(at_) AS at_ FROM viewed2 GROUP BY id"],
    )
    kept = table("a materialised view", "kept")
    refresh = ";;REFRESH MATERIALIZED VIEW kept_view"
    return [
        Animal(**{**vars(seen), "table": "a_view"}),
        Animal(**{**vars(joined), "table": "grouped"}),
        Animal(**{**vars(kept), "table": "kept_view", "make": (*kept.make, "CREATE MATERIALIZED VIEW kept_view AS SELECT * FROM kept"),
                  "insert": kept.insert + refresh, "update": kept.update + refresh, "delete": kept.delete + refresh}),
        Animal(kind="a foreign table", name="foreign", table="foreigner", key=("id",), stamp="at_", make=(
            "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
            "CREATE TABLE abroad (id int PRIMARY KEY, v text, at_ timestamptz)",
            "DO $$ BEGIN EXECUTE format('CREATE SERVER zoo FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname %L, port %L, host ''127.0.0.1'')', current_database(), current_setting('port')); END $$",
            "CREATE USER MAPPING FOR PUBLIC SERVER zoo OPTIONS (user 'zoo_abroad', password 'x')",
            "DO $$ BEGIN CREATE ROLE zoo_abroad LOGIN PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
            "GRANT SELECT ON abroad TO zoo_abroad",
            "CREATE FOREIGN TABLE foreigner (id int, v text, at_ timestamptz) SERVER zoo OPTIONS (table_name 'abroad')",
            "INSERT INTO abroad VALUES (1, 'a', now()), (2, 'b', now())"),
            insert="INSERT INTO abroad VALUES (3, 'c', now())",
            update="UPDATE abroad SET v = 'new', at_ = now() WHERE id = 1",
            delete="DELETE FROM abroad WHERE id = 3"),
    ]  # fmt: skip
