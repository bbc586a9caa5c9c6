"""The outbox's schema: made and brought up to date by Alembic, in one transaction, after a copy of the file."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import alembic.command
import alembic.config
import alembic.migration
import alembic.script
from sqlalchemy.engine import Connection

from kiva_relay import __version__, errors
from kiva_relay.config import shipped
from kiva_relay.outbox import database


def revisions() -> list[str]:
    """All revisions that this version knows, oldest first."""
    script = alembic.script.ScriptDirectory.from_config(_config())
    return [revision.revision for revision in script.walk_revisions()][::-1]


def present(tx: Connection) -> str | None:
    """The revision of an outbox; None for an empty one."""
    return alembic.migration.MigrationContext.configure(tx).get_current_revision()


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
        hint="kiva-relay migrate",
    )


def upgrade(outbox: database.Outbox) -> list[str]:
    """Bring the schema up to date; the revisions that were applied, none when there was nothing to do.

    A file that already holds something is copied first, beside itself, with SQLite's backup API.
    """
    known = revisions()
    with outbox.read() as tx:
        found = present(tx)
    if found is not None and found not in known:
        check(outbox)
    todo = known if found is None else known[known.index(found) + 1 :]
    if todo and found is not None and outbox.is_file:
        _copy(outbox.path, outbox.path.with_name(f"{outbox.path.name}.before-{known[-1]}"))
    if todo:
        with outbox.begin() as tx:
            config = _config()
            config.attributes["connection"] = tx
            alembic.command.upgrade(config, "head")
    return todo


def _config() -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(shipped.folder("migrations")))
    config.set_main_option("path_separator", "os")
    return config


def _copy(source: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
    target.chmod(0o600)
