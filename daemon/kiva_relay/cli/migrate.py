"""`kiva-relay migrate`: makes the outbox, or brings it up to date. `run` does it by itself for a file."""

from kiva_relay import errors
from kiva_relay.cli import frame
from kiva_relay.clock import SystemClock
from kiva_relay.outbox import migration
from kiva_relay.outbox.database import Outbox, create_file
from kiva_relay.outbox.lease import Lease


def command(config: frame.Config = None) -> None:
    """Bring the outbox up to date, or make it. A file is copied first, beside itself.

    Stop the relay before: sudo systemctl stop kiva-relay
    """
    settings = frame.load(config)
    frame.header(settings)
    outbox = Outbox(settings.outbox.url, password=settings.outbox.password)
    try:
        if outbox.is_file:
            create_file(outbox.path)
        with outbox.read() as tx:
            before = migration.present(tx)
        if before is not None and migration.pending(outbox):
            lease = Lease(outbox, clock=SystemClock())
            lease.acquire(timed=False)
            try:
                done = migration.upgrade(outbox)
            finally:
                lease.release()
        else:
            done = migration.upgrade(outbox)
    finally:
        outbox.close()
    if not done:
        frame.say(f"The outbox is up to date: schema {before}.")
    elif before is None:
        frame.say(f"The outbox is made: schema {done[-1]}.")
    else:
        copy = f" A copy of the one before is beside it: {outbox.path.name}.before-{done[-1]}" if outbox.is_file else ""
        frame.say(
            f"The outbox was brought from schema {before} to {done[-1]}, {errors.counted(len(done), 'step')}.{copy}"
        )
