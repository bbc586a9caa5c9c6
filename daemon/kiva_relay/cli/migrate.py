"""`kiva-relay migrate`: makes the outbox, or brings it up to date. `run` does it by itself for a file."""

import contextlib
import shlex
from pathlib import Path
from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import as_service, frame
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import migration, server_copy
from kiva_relay.outbox.database import Outbox, create_file
from kiva_relay.outbox.lease import Lease

Copy = Annotated[
    Path | None,
    typer.Option(
        "--copy",
        metavar="FOLDER",
        help="As an upgrade does: what is there is copied into FOLDER first; where there is none, none is made.",
    ),
]


def command(config: frame.Config = None, *, copy: Copy = None) -> None:
    """Bring the outbox up to date, or make it. A file is copied first, beside itself.

    One on PostgreSQL is copied by pg_dump, with --copy FOLDER; without a whole copy it stays as it is. Stop the
    relay before: sudo systemctl stop kiva-relay
    """
    settings = frame.load_to_look(config)
    frame.header(settings)
    seen = as_service.with_credentials(settings, groups=("outbox",))
    with as_service.eyes(settings), contextlib.closing(_named(seen)) as outbox:
        if copy is not None and outbox.is_file and not outbox.path.exists():
            frame.say(f"There is no outbox at {outbox.path} yet: nothing to bring up to date.")
            return
        _bring(outbox, seen, copy)


def _named(settings: Settings) -> Outbox:
    return Outbox(settings.outbox.url, password=settings.outbox.password)


def _bring(outbox: Outbox, settings: Settings, folder: Path | None) -> None:
    if outbox.is_file:
        create_file(outbox.path)
    with outbox.read() as tx:
        before = migration.present(tx)
    if before is None:
        if folder is not None:
            frame.say("There is no outbox in this database yet: nothing to bring up to date.")
            return
        frame.say(f"The outbox is made: schema {migration.upgrade(outbox)[-1]}.")
        return
    if not migration.pending(outbox):
        frame.say(f"The outbox is up to date: schema {before}.")
        return
    lease = Lease(outbox, clock=SystemClock())
    lease.acquire(timed=False)
    try:
        if folder is not None and not outbox.is_file:
            _copied(outbox, settings, folder)
        done = migration.upgrade(outbox)
    finally:
        lease.release()
    kept = f" A copy of the one before is beside it: {outbox.path.name}.before-{done[-1]}" if outbox.is_file else ""
    frame.say(f"The outbox was brought from schema {before} to {done[-1]}, {errors.counted(len(done), 'step')}.{kept}")


def _copied(outbox: Outbox, settings: Settings, folder: Path) -> None:
    """A copy of a server's outbox, read back; or nothing is changed, and it is said what to type.

    Raises:
        RelayError: there is none.
    """
    file = folder / f"outbox-before-{migration.revisions()[-1]}.dump"
    try:
        server_copy.make(outbox, settings.outbox.password, file)
    except errors.RelayError as error:
        by_hand = shlex.join(server_copy.copying(outbox, Path("outbox.dump")))
        raise errors.RelayError(
            f"{error}\nThe outbox was not brought up to date. It is as it was, and the relay does not start with it."
            f"\nCopy it where pg_dump is, as new as the server:\n  {by_hand}",
            hint="kiva-relay migrate    and then: sudo systemctl start kiva-relay",
        ) from error
    frame.say(f"The outbox was copied and is whole: {file}")
    frame.say(f"To put it back, into an empty database: {shlex.join(server_copy.restoring(file))}")
