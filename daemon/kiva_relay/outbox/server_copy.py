"""A copy of an outbox on PostgreSQL, by PostgreSQL's own tools: pg_dump writes it, pg_restore reads all of it again."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kiva_relay import errors
from kiva_relay.config import secret
from kiva_relay.outbox import own_file
from kiva_relay.outbox.database import Outbox

_NO_LONGER = 600.0
"""Seconds. A server that stands still in the middle must hold nobody up."""


def make(outbox: Outbox, password: secret.Secret | None, file: Path) -> None:
    """Write it, and read it through before it gets its name; what was there by this name stays until then.

    Raises:
        RelayError: it could not be made, or is not whole.
    """
    part = file.with_name(f"{file.name}.part")
    known = password.reveal() if password is not None else outbox.url.password
    try:
        part.unlink(missing_ok=True)
        os.close(own_file.opened(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        _run([*copying(outbox, part), "--no-password"], known)
        _run(["pg_restore", f"--file={os.devnull}", str(part)], None)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(file)
    except OSError as error:
        raise errors.RelayError(f"The copy {file} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)


def copying(outbox: Outbox, file: Path) -> list[str]:
    """What copies it: all of its database, or its own schema there. No password: arguments are seen by everybody."""
    url = outbox.url.set(drivername="postgresql")._replace(password=None).render_as_string()
    own = [f"--schema={outbox.schema}"] if outbox.schema else []
    return ["pg_dump", "--format=custom", *own, f"--file={file}", f"--dbname={url}"]


def restoring(file: Path) -> list[str]:
    """What puts it back."""
    return ["pg_restore", "--exit-on-error", "--no-owner", "--dbname=…", str(file)]


def _run(command: Sequence[str], password: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    # Its own settings, not root's: libpq gives up at a folder that it may not look into.
    environment["HOME"] = pwd.getpwuid(os.geteuid()).pw_dir
    if password is not None:
        environment["PGPASSWORD"] = str(password)
    environment["PGCONNECT_TIMEOUT"] = "5"
    # Wholly the user as whom we look: Debian's pg_dump is a Perl script, which trusts nothing when it is two.
    user, group = os.geteuid(), os.getegid()
    is_two = (os.getuid(), os.getgid()) != (user, group)
    try:
        done = subprocess.run(  # noqa: S603 - two programs, by their names, and what the configuration says
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_NO_LONGER,
            check=False,
            user=user if is_two else None,
            group=group if is_two else None,
        )
    except FileNotFoundError as error:
        raise errors.RelayError(
            f"{command[0]}, which copies an outbox on PostgreSQL, is not on this machine."
            " (On Debian: sudo apt install postgresql-client)"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise errors.RelayError(f"{command[0]} did not end within {_NO_LONGER / 60:g} minutes.") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise errors.RelayError(f"{command[0]} failed: {said}")
