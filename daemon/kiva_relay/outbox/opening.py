"""The outbox that a configuration names, opened. For the daemon and for the commands, most of which need only this."""

from __future__ import annotations

from kiva_relay import errors
from kiva_relay.config import settings as config
from kiva_relay.outbox import migration
from kiva_relay.outbox.database import Outbox, create_file


def open_outbox(settings: config.Settings, *, create: bool = True) -> Outbox:
    """Open the outbox of a configuration; the daemon makes it and brings a file up to date, a command only looks.

    Raises:
        OutboxRefused: its schema is another version's.
        UsageError: there is none yet, or it cannot be read by this user.
    """
    outbox = Outbox(settings.outbox.url, password=settings.outbox.password)
    try:
        _prepare(outbox, settings, create=create)
    except BaseException:
        outbox.close()
        raise
    return outbox


def _prepare(outbox: Outbox, settings: config.Settings, *, create: bool) -> None:
    """Make it, or bring it up to date, or look whether it is of this version."""
    if outbox.is_file:
        if create:
            create_file(outbox.path)
        elif not outbox.path.exists():
            raise errors.UsageError(
                f"There is no outbox at {outbox.path} yet: no relay ever ran with {settings.file}.",
                hint="kiva-relay check    and then: kiva-relay run",
            )
    with outbox.read() as tx:
        empty = migration.present(tx) is None
    if create and (outbox.is_file or empty):
        migration.upgrade(outbox)
    else:
        migration.check(outbox)
