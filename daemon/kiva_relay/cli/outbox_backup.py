"""`kiva-relay outbox backup FILE`: a copy of a live outbox that can be put back. Copying the file itself is wrong."""

import contextlib
import os
import re
import shlex
import sqlite3
from pathlib import Path
from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import frame
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import migration, own_file, server_copy
from kiva_relay.outbox.database import Outbox

BACKUPS = Path(migration.COPIES)
"""Where kiva-relay-backup.timer keeps its copies."""

NAMED = "outbox-*.db"
_COPY = re.compile(r"outbox-\d{8}T\d{6}Z\.db", re.ASCII)

File = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="Where the copy goes, replacing what is there; or a folder, for one by date."),
]
Keep = Annotated[
    int | None, typer.Option("--keep", min=1, metavar="N", help="In a folder: so many copies, the oldest go.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Copy nothing: look whether FILE can be put back.")]


def command(
    file: File,
    config: frame.Config = None,
    *,
    keep: Keep = None,
    verify: Verify = False,
    as_json: frame.AsJson = False,
) -> int:
    """Copy the outbox while the relay runs. The copy is complete and was verified, or FILE stays as it was.

    Of a folder, as kiva-relay-backup.timer uses it, each copy has the moment in its name.
    """
    settings = frame.load_to_look(config)
    if verify:
        return _tell(file, _verified(file), settings, as_json=as_json)
    if keep is not None and not file.is_dir():
        raise errors.UsageError(
            f"--keep is for a folder, and {file} is none.", hint=f"kiva-relay outbox backup {BACKUPS} --keep {keep}"
        )
    folder = file if file.is_dir() else None
    if folder is not None:
        file = folder / f"outbox-{frame.now():%Y%m%dT%H%M%SZ}.db"
    with frame.outbox(settings) as outbox:
        if not outbox.is_file:
            raise errors.UsageError(
                "This outbox is a PostgreSQL database; PostgreSQL's own tools copy it. Nothing was copied.",
                hint=shlex.join(server_copy.copying(outbox, file)),
            )
        _must_be_another(file, outbox, settings.outbox.witness)
        _copy(outbox, file)
        path = outbox.path
    gone = _rotated(folder, keep) if folder is not None and keep is not None else []
    size = file.stat().st_size
    if as_json:
        frame.print_json({"file": file.absolute(), "bytes": size, "removed": gone})
        return 0
    frame.header(settings)
    frame.say(f"Copied completely: {file} ({size / (1 << 20):,.1f} MB). It holds names and stories: keep it private.")
    if gone:
        frame.say(f"Older copies removed: {', '.join(one.name for one in gone)}")
    frame.say("To put it back, with the relay stopped (sudo systemctl stop kiva-relay):")
    owned = shlex.join(["sudo", "install", "-o", "kiva-relay", "-m", "0600", str(file.absolute()), str(path)])
    frame.say(f"  sudo rm -f {shlex.quote(f'{path}-wal')} {shlex.quote(f'{path}-shm')} && {owned}")
    frame.say(f"Leave the witness as it is ({settings.outbox.witness}): it knows what was sent since. Then:")
    frame.say("  kiva-relay outbox recover")
    return 0


def _rotated(folder: Path, keep: int) -> list[Path]:
    """Remove the oldest of its copies; nothing that is called otherwise."""
    copies = sorted(one for one in folder.glob(NAMED) if _COPY.fullmatch(one.name))
    for one in copies[:-keep]:
        one.unlink()
    return copies[:-keep]


def _verified(file: Path) -> dict[str, object]:
    """What a copy holds, read without changing it.

    Raises:
        UsageError: it is not there, or no copy of an outbox.
        RelayError: it is damaged.
    """
    if not file.is_file():
        raise errors.UsageError(f"There is no file {file}.", hint=f"ls -l {file.parent}")
    try:
        uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as copy:
            found = str(copy.execute("PRAGMA integrity_check").fetchone()[0])
            broken = len(copy.execute("PRAGMA foreign_key_check").fetchall())
            revision = str(copy.execute("SELECT version_num FROM alembic_version").fetchone()[0])
            entries = int(copy.execute("SELECT count(*) FROM entry").fetchone()[0])
            attempts = int(copy.execute("SELECT coalesce(max(id), 0) FROM attempt").fetchone()[0])
    except sqlite3.Error as error:
        raise errors.RelayError(
            f"{file} is no whole copy of an outbox: {error}. Do not put it back.", hint=f"ls -l {file.parent}"
        ) from error
    if found != "ok" or broken:
        raise errors.RelayError(
            f"{file} is damaged ({found if found != 'ok' else f'{broken} rows without what they belong to'})."
            " Do not put it back.",
            hint=f"ls -l {file.parent}",
        )
    if revision not in migration.revisions():
        raise errors.UsageError(
            f"{file} was made by a newer kiva-relay (schema {revision}); this one knows {migration.revisions()[-1]}.",
            hint="Install the newer version again.",
        )
    return {"schema": revision, "entries": entries, "last_attempt": attempts}


def _tell(file: Path, held: dict[str, object], settings: Settings, *, as_json: bool) -> int:
    if as_json:
        frame.print_json({"file": file.absolute(), **held})
        return 0
    frame.header(settings)
    frame.verdict(
        "OK",
        f"{file} is whole: schema {held['schema']}, {errors.counted(int(str(held['entries'])), 'entry')},"
        f" last attempt {held['last_attempt']}.",
    )
    return 0


def _must_be_another(file: Path, outbox: Outbox, witness: Path) -> None:
    """Refuse a place that would destroy what is to be kept."""
    path = outbox.path
    ours = (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"), witness)
    if file.absolute() in [one.absolute() for one in ours] or (file.exists() and file.samefile(path)):
        raise errors.UsageError(f"{file} is in use by the relay itself. Nothing was copied.", hint="Name another file.")


def _copy(outbox: Outbox, file: Path) -> None:
    part = file.with_name(f"{file.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(own_file.opened(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        with contextlib.closing(sqlite3.connect(outbox.path)) as live, contextlib.closing(sqlite3.connect(part)) as new:
            live.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")
        with part.open("rb") as written:
            os.fsync(written.fileno())
        _verified(part)
        part.replace(file)
    except (OSError, sqlite3.Error) as error:
        raise errors.RelayError(
            f"The outbox could not be copied to {file}: {error}. {file} stays as it was.", hint=f"df -h {file.parent}"
        ) from error
    finally:
        part.unlink(missing_ok=True)
