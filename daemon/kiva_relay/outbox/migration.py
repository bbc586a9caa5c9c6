"""The outbox's schema: made and brought up to date by Alembic, in one transaction, after a copy of the file."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import __version__, errors
from kiva_relay.config import shipped
from kiva_relay.outbox import database
from kiva_relay.terminal import unloaded

COPIES = "/var/backups/kiva-relay"
"""Where copies go that nobody named a place for."""


_WHERE = sa.text("SELECT current_schema(), current_setting('search_path'), current_user")


def revisions() -> list[str]:
    """All revisions that this version knows, oldest first: the numbers with which the names of their files begin."""
    return sorted(file.name.partition("_")[0] for file in (shipped.folder("migrations") / "versions").glob("*_*.py"))


def present(tx: Connection) -> str | None:
    """The revision of an outbox; None for an empty one.

    Raises:
        UsageError: the schema that it has for itself is not there.
    """
    if tx.dialect.name == "postgresql":
        _look_for_schema(tx)
    if not sa.inspect(tx).has_table("alembic_version"):
        return None
    return tx.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _look_for_schema(tx: Connection) -> None:
    here, path, role = tx.execute(_WHERE).one()
    if here is None:
        raise errors.UsageError(
            f"The outbox's database has no schema {path}, or the role {role} may not use it.",
            hint=f"In this database, as its administrator: CREATE SCHEMA {path} AUTHORIZATION {role};",
        )


def how(outbox: database.Outbox) -> str:
    """What brings an outbox up to date, after a copy."""
    return "kiva-relay migrate" if outbox.is_file else f"kiva-relay migrate --copy {COPIES}"


def check(outbox: database.Outbox) -> None:
    """Raise OutboxRefused unless the schema is the one that this version knows."""
    with outbox.read() as tx:
        found = present(tx)
    if found == revisions()[-1]:
        return
    if found is not None and found not in revisions():
        raise errors.OutboxRefused(
            f"The outbox {outbox.url} was last used by a newer kiva-relay (schema {found}); this is {__version__}"
            f" (schema {revisions()[-1]}). It was not touched.",
            hint="Install the newer version again.",
        )
    raise errors.OutboxRefused(
        f"The outbox {outbox.url} has schema {found or 'none'}; this version needs {revisions()[-1]}.",
        hint=how(outbox),
    )


def pending(outbox: database.Outbox) -> list[str]:
    """The revisions that an outbox lacks, the oldest first.

    Raises:
        OutboxRefused: it was used by a newer version.
    """
    known = revisions()
    with outbox.read() as tx:
        found = present(tx)
    if found is not None and found not in known:
        check(outbox)
    return known if found is None else known[known.index(found) + 1 :]


def upgrade(outbox: database.Outbox) -> list[str]:
    """Bring the schema up to date; the revisions that were applied, none when there was nothing to do.

    A file that already holds something is copied first, beside itself, with SQLite's backup API.
    """
    todo, known = pending(outbox), revisions()
    if todo and todo != known and outbox.is_file:
        _copy(outbox.path, outbox.path.with_name(f"{outbox.path.name}.before-{known[-1]}"))
    if todo:
        with outbox.begin() as tx:
            _to_the_newest(tx)
    return todo


def _to_the_newest(tx: Connection) -> None:
    # Alembic is loaded only for this: every start and every command looks which revision an outbox has.
    with unloaded.without("pygments"):
        import alembic.command  # noqa: PLC0415
        import alembic.config  # noqa: PLC0415

    config = alembic.config.Config()
    config.set_main_option("script_location", str(shipped.folder("migrations")))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = tx
    alembic.command.upgrade(config, "head")


def _copy(source: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
    target.chmod(0o600)
