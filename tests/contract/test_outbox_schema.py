"""The migrations make exactly the tables that the code works with, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kiva_relay import errors
from kiva_relay.outbox import migration, table
from kiva_relay.outbox.database import Outbox
from testbed.database.postgres import PostgresServer


def test_alembic_finds_no_difference(outbox: Outbox) -> None:
    # Of a file Alembic takes an empty default for none; the comparison below looks at them all.
    options = {"compare_type": True, "compare_server_default": not outbox.is_file}
    with outbox.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx, opts=options), table.metadata) == []


def test_nothing_that_alembic_does_not_compare_differs(outbox: Outbox, made_of_the_tables: Outbox) -> None:
    migrated, made = picture(outbox), picture(made_of_the_tables)
    assert len(migrated) > len(table.metadata.tables)
    assert migrated == made


def test_the_database_says_what_the_tables_say(outbox: Outbox) -> None:
    """The comparison above would also be green if it looked at nothing: what a person relies on is there."""
    found = {name: str(said) for name, said in picture(outbox).items()}
    assert "'in_doubt'" in found["check entry entry_state"]
    assert "WHERE" in found["index entry entry_one_in_flight"].upper()
    assert "UNIQUE" in found["index entry entry_once_in_its_life"].upper()
    if not outbox.is_file:
        assert found["comment entry evidence"] == "how we know that it is at Kiva"


def test_a_difference_is_found(outbox: Outbox, made_of_the_tables: Outbox) -> None:
    with outbox.begin() as tx:
        tx.execute(sa.text("DROP INDEX entry_one_ready"))
        tx.execute(sa.text("CREATE UNIQUE INDEX entry_one_ready ON entry (resource, identity) WHERE state = 'sending'"))
    differ = picture(outbox).items() ^ picture(made_of_the_tables).items()
    assert {name for name, _said in differ} == {"index entry entry_one_ready"}


def test_the_present_revision_passes_and_another_is_refused(outbox: Outbox) -> None:
    migration.check(outbox)
    assert migration.upgrade(outbox) == []
    with outbox.begin() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(errors.OutboxRefused, match="newer"):
        migration.check(outbox)
    with pytest.raises(errors.OutboxRefused, match="newer"):
        migration.upgrade(outbox)
    with outbox.begin() as tx:
        tx.execute(sa.text("DELETE FROM alembic_version"))
    with pytest.raises(errors.OutboxRefused, match="schema none"):
        migration.check(outbox)


@pytest.fixture
def made_of_the_tables(outbox: Outbox, tmp_path: Path, request: pytest.FixtureRequest) -> Outbox:
    """Another outbox on the same kind of database, made of `table.metadata` without Alembic."""
    if outbox.is_file:
        made = Outbox(f"sqlite:///{tmp_path / 'made.db'}")
    else:
        name = f"made_{outbox.url.database}"
        server: PostgresServer = request.getfixturevalue("postgres_server")
        made = Outbox(server.create_database(name))
    with made.begin() as tx:
        table.metadata.create_all(tx)
    made.close()
    return made


def picture(outbox: Outbox) -> dict[str, Any]:
    """Everything that the database knows of the tables, by what it is about; but for Alembic's own."""
    with outbox.read() as tx:
        looks = _FILE if outbox.is_file else _SERVER
        found = {f"{row.kind} {row.of} {row.name}": row.said for sql in looks for row in tx.execute(sa.text(sql))}
        found |= _columns(tx)
    outbox.close()
    return {name: said for name, said in found.items() if " alembic_version " not in f"{name} "}


def _columns(tx: sa.Connection) -> dict[str, Any]:
    look = sa.inspect(tx)
    found: dict[str, Any] = {}
    for name in look.get_table_names():
        found[f"key {name}"] = str(sorted(look.get_pk_constraint(name).items(), key=str))
        for column in look.get_columns(name):
            said = {key: str(value) for key, value in column.items() if key != "name"}
            found[f"column {name} {column['name']}"] = str(sorted(said.items()))
        for check in look.get_check_constraints(name):
            found[f"check {name} {check['name']}"] = " ".join(check["sqltext"].split())
        for foreign in look.get_foreign_keys(name):
            found[f"foreign {name} {foreign['name']}"] = str(sorted(foreign.items(), key=str))
        for unique in look.get_unique_constraints(name):
            found[f"unique {name} {unique['name']}"] = str(unique["column_names"])
    return found


_FILE = ("SELECT type AS kind, tbl_name AS of, name, sql AS said FROM sqlite_master WHERE type <> 'table'",)
_SERVER = (
    (
        "SELECT 'index' AS kind, tablename AS of, indexname AS name, indexdef AS said FROM pg_indexes"
        " WHERE schemaname = 'public'"
    ),
    (
        "SELECT 'constraint' AS kind, conrelid::regclass::text AS of, conname AS name, pg_get_constraintdef(oid) AS said"
        " FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
    ),
    (
        "SELECT 'comment' AS kind, c.relname AS of, a.attname AS name, col_description(c.oid, a.attnum) AS said"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0"
    ),
)
