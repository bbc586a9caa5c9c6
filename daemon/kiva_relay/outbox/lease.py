"""One active relay an outbox. A file is locked with flock; a server's outbox has a lease with an end.

The fencing number grows with each holder; every writing transaction of the daemon checks that it is still the
holder's. Checking and sending are two steps, and a process can be stopped between them: so the holder of a lease
with an end arms a timer of the kernel (setitimer(2), SIGALRM with its default action) that ends the process when
the lease does. A process that slept past its lease dies before its next instruction. A frozen virtual machine is
not covered: its timer is frozen with it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
from datetime import timedelta
from typing import IO

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.clock import Clock
from kiva_relay.outbox import table
from kiva_relay.outbox.database import Outbox

DURATION = timedelta(seconds=30)
MARGIN = timedelta(seconds=5)


class Lease:
    """The right to write an outbox and to send from it, held by this process."""

    def __init__(self, outbox: Outbox, *, clock: Clock) -> None:
        self.fence = 0
        self._outbox = outbox
        self._clock = clock
        self._holder = f"{socket.gethostname()} pid {os.getpid()} {secrets.token_hex(4)}"
        self._lock: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lease.

        Raises:
            Stolen: another relay holds it; the message says which.
        """
        if self._outbox.is_file:
            self._lock_file()
        with self._outbox.begin() as tx:
            held = tx.execute(sa.select(table.lease)).one_or_none()
            now = self._clock.now()
            if held is None:
                tx.execute(sa.insert(table.lease).values(id=1, fence=0))
            elif not self._outbox.is_file and held.holder is not None and held.expires_at + MARGIN > now:
                raise _taken(held.holder)
            self.fence = (held.fence if held else 0) + 1
            expires = now + DURATION
            tx.execute(
                sa.update(table.lease)
                .where(table.lease.c.fence == self.fence - 1)
                .values(fence=self.fence, holder=self._holder, expires_at=expires)
            )
        self._arm()
        self._outbox.guard = self.check

    def renew(self) -> None:
        """Hold it longer. The timer is set before the row is written, so that it never outlives the lease.

        Raises:
            Stolen: another relay took over.
        """
        with self._outbox.begin() as tx:
            expires = self._clock.now() + DURATION
            tx.execute(sa.update(table.lease).where(table.lease.c.fence == self.fence).values(expires_at=expires))
        self._arm()

    def check(self, tx: Connection) -> None:
        """Raise Stolen unless the fence in the outbox is still ours; called in every writing transaction."""
        query = sa.select(table.lease.c.fence, table.lease.c.holder)
        held = tx.execute(query if self._outbox.is_file else query.with_for_update(read=True)).one()
        if held.fence != self.fence:
            raise _taken(held.holder or "somebody else")

    def release(self) -> None:
        """Give it back, so that a standby need not wait for its end."""
        if not self._outbox.is_file:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self._outbox.guard = None
        with self._outbox.begin() as tx:
            values = {"holder": None, "expires_at": None}
            tx.execute(sa.update(table.lease).where(table.lease.c.fence == self.fence).values(**values))
        if self._lock is not None:
            self._lock.close()

    def _lock_file(self) -> None:
        path = self._outbox.path.with_name(self._outbox.path.name + ".lock")
        self._lock = path.open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip()
            self._lock.close()
            raise _taken(holder or "another process") from error
        self._lock.truncate(0)
        self._lock.write(self._holder)
        self._lock.flush()

    def _arm(self) -> None:
        if not self._outbox.is_file:
            signal.setitimer(signal.ITIMER_REAL, DURATION.total_seconds())


def _taken(holder: str) -> errors.Stolen:
    return errors.Stolen(
        f"Another relay is active on this outbox: {holder}. This one sends and writes nothing.",
        hint="One relay an outbox. See it with: kiva-relay status",
    )
