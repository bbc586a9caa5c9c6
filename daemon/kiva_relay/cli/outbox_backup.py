"""`kiva-relay outbox backup FILE`: a copy of a live outbox that can be put back. Copying the file itself is wrong."""

import contextlib
import os
import shlex
import sqlite3
from pathlib import Path
from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import frame
from kiva_relay.outbox import own_file
from kiva_relay.outbox.database import Outbox

File = Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes; a file that is there is replaced.")]


def command(file: File, config: frame.Config = None, *, as_json: frame.AsJson = False) -> int:
    """Copy the outbox while the relay runs. The copy is complete, or FILE stays as it was."""
    settings = frame.load(config)
    with frame.outbox(settings) as outbox:
        if not outbox.is_file:
            url = outbox.url.set(drivername="postgresql", password=None).render_as_string()
            raise errors.UsageError(
                "This outbox is a PostgreSQL database; PostgreSQL's own tools copy it. Nothing was copied.",
                hint=shlex.join(["pg_dump", "--format=custom", f"--file={file}", f"--dbname={url}"]),
            )
        _must_be_another(file, outbox, settings.outbox.witness)
        _copy(outbox, file)
        path = outbox.path
    size = file.stat().st_size
    if as_json:
        frame.print_json({"file": file.absolute(), "bytes": size})
        return 0
    frame.header(settings)
    frame.say(f"Copied completely: {file} ({size / (1 << 20):,.1f} MB). It holds names and stories: keep it private.")
    frame.say("To put it back, with the relay stopped (sudo systemctl stop kiva-relay):")
    owned = shlex.join(["sudo", "install", "-o", "kiva-relay", "-m", "0600", str(file.absolute()), str(path)])
    frame.say(f"  sudo rm -f {shlex.quote(f'{path}-wal')} {shlex.quote(f'{path}-shm')} && {owned}")
    frame.say(f"Leave the witness as it is ({settings.outbox.witness}): it knows what was sent since. Then:")
    frame.say("  kiva-relay outbox recover")
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
            found = str(new.execute("PRAGMA integrity_check").fetchone()[0])
            if found != "ok":
                raise errors.RelayError(f"The copy is damaged ({found}). {file} stays as it was.")
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(file)
    except (OSError, sqlite3.Error) as error:
        raise errors.RelayError(
            f"The outbox could not be copied to {file}: {error}. {file} stays as it was.", hint=f"df -h {file.parent}"
        ) from error
    finally:
        part.unlink(missing_ok=True)
