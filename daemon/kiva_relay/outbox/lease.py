"""One active relay an outbox. A file is locked with flock; a server's outbox has a lease with an end.

The fencing number grows with each holder; every writing transaction of the daemon checks that it is still the
holder's. Checking and sending are two steps, and a process can be stopped between them: so the holder of a lease
with an end arms a timer of the kernel (setitimer(2), SIGALRM with its default action) that ends the process when
the lease does. A process that slept past its lease dies before its next instruction. A frozen virtual machine is
not covered: its timer is frozen with it.

No clock of a wall decides anything. The holder counts from before it asked, by its own monotonic clock; a standby
takes over when it has seen the same row, not renewed, for longer than a lease lasts, by its own. So neither two
machines whose clocks differ nor a clock that is set can make two holders.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shlex
import signal
import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors, log
from kiva_relay.clock import Clock
from kiva_relay.outbox import meta, own_file, table, whereabouts
from kiva_relay.outbox.database import Outbox

DURATION = timedelta(seconds=30)
MARGIN = timedelta(seconds=5)
_SOON = 0.001
_LOCKS = Path("/proc/locks")

_HELD = sa.select(table.lease.c.fence, table.lease.c.holder)
_HELD_TO_THE_END = _HELD.with_for_update(read=True, key_share=True)
_RENEW = sa.update(table.lease).where(
    table.lease.c.fence == sa.bindparam("its_fence"), table.lease.c.holder == sa.bindparam("its_holder")
)

_log = log.get("outbox")


def renew_every() -> timedelta:
    """How often a holder renews: two renewals may fail before the lease ends."""
    return DURATION / 3


def this_machine() -> str:
    """What this machine is called where the holder of a lease is."""
    return socket.gethostname()


def machine_of(holder: str) -> str:
    """The machine of a holder, as the table `lease` names it."""
    return holder.partition(" pid ")[0]


def held_on(tx: Connection) -> str:
    """The machine of whoever holds the lease, or ended without giving it back; "" where nobody does."""
    return machine_of(tx.execute(sa.select(table.lease.c.holder)).scalar() or "")


def holds_file(path: Path, pid: int) -> bool:
    """Does this process hold the lease of a file? By the kernel's list: looking takes no lock."""
    try:
        inode = path.with_name(f"{path.name}.lock").stat().st_ino
        locks = _LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    words = (line.split() for line in locks)
    return any(
        "FLOCK" in word and str(pid) in word and any(each.endswith(f":{inode}") for each in word) for word in words
    )


class Lease:
    """The right to write an outbox and to send from it, held by this process.

    `held_by`: the machine of who held it when this one asked in vain; "" where nobody knows.
    """

    def __init__(self, outbox: Outbox, *, clock: Clock) -> None:
        self.fence = 0
        self._outbox = outbox
        self._clock = clock
        self.held_by = ""
        self._holder = f"{this_machine()} pid {os.getpid()} {secrets.token_hex(4)}"
        self._lock: IO[str] | None = None
        self._ends: float | None = None
        self._seen: tuple[int, datetime | None] | None = None
        self._seen_at = 0.0
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    def acquire(self, *, timed: bool = True) -> None:
        """Take the lease, if nobody holds it. The timer runs before the row is written, so it never outlives it.

        A holder that ended without a word is found out by looking again: see `stand_by` and `outlast`.
        `timed=False` is for one long transaction: it locks the row until it ends, and needs no timer.

        Raises:
            Stolen: another relay holds it; the message says which.
        """
        if self._outbox.is_file:
            self._lock_file()
        self._outbox.stopped_after = DURATION
        began = self._clock.monotonic()
        if timed:
            self._arm(began)
        try:
            with self._outbox.begin(alone=False) as tx:
                self._take(tx)
        except sa.exc.IntegrityError as error:
            self._let_go()
            raise _taken("one that was started at the same moment") from error
        except BaseException:
            self._let_go()
            raise
        self._outbox.guard = self.check
        self._outbox.stay()

    def stand_by(self, stop: threading.Event, *, waits: Callable[[str], None]) -> bool:
        """Wait until the lease is ours; false when `stop` was set first. `waits` is given what it waits for.

        A file is not waited for: its holder is on this machine, and a second relay there is a mistake.

        Raises:
            Stolen: another relay holds the file.
        """
        while not stop.is_set():
            self.held_by = ""
            try:
                self.acquire()
            except errors.Stolen as error:
                if self._outbox.is_file:
                    raise
                waits(str(error))
            except errors.Unreachable as error:
                waits(str(error))
            else:
                return True
            self._clock.wait(stop, (renew_every() / 4).total_seconds())
        return False

    def outlast(self, stop: threading.Event) -> None:
        """Take the lease as soon as it is sure that its holder has ended.

        Raises:
            Stolen: its holder lives, or `stop` was set.
        """
        first: tuple[int, datetime | None] | None = None
        while True:
            try:
                return self.acquire()
            except errors.Stolen:
                first = first or self._seen
                if self._outbox.is_file or first != self._seen or stop.is_set():
                    raise
            self._clock.wait(stop, (renew_every() / 4).total_seconds())

    def keep(self, *, lost: Callable[[errors.RelayError], None]) -> None:
        """Renew it from a thread of its own until `keep_no_more`; `lost` is called when another relay took over."""
        if self._outbox.is_file:
            return

        def renew() -> None:
            while not self._over.wait(renew_every().total_seconds()):
                try:
                    self.renew()
                except errors.Unreachable as error:
                    _log.error("The outbox does not answer. The relay ends when its lease does", cause=str(error))
                except (errors.Stolen, errors.OutboxPutBack) as error:
                    lost(error)
                    return

        self._keeper = threading.Thread(target=renew, name="lease", daemon=True)
        self._keeper.start()

    def keep_no_more(self) -> None:
        """From now on the caller renews, every `renew_every`."""
        self._over.set()
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join()

    def renew(self) -> None:
        """Hold it longer. The timer is set again only when the row is written, counted from before it was asked.

        A lock on a file has no end.

        Raises:
            Stolen: another relay took over.
            Unreachable: the outbox does not answer; the lease ends when it would have.
        """
        if self._outbox.is_file:
            return
        began = self._clock.monotonic()
        with self._outbox.glance() as cx:  # one statement, which is guarded by what it asks for: nobody is waited for
            renewed = {"its_fence": self.fence, "its_holder": self._holder, "expires_at": self._clock.now() + DURATION}
            if cx.execute(_RENEW, renewed).rowcount != 1:
                raise self._overtaken(cx)
        self._arm(began)

    def check(self, tx: Connection) -> None:
        """Raise Stolen unless the fence in the outbox is still ours; called in every writing transaction.

        On a server the row's key stays shared until the transaction ends, so that nobody takes over in its middle; a
        renewal meanwhile changes no key, and need not wait. A process that is stopped there loses its transaction.
        """
        held = tx.execute(_HELD if self._outbox.is_file else _HELD_TO_THE_END).one()
        if (held.fence, held.holder) != (self.fence, self._holder):
            raise self._overtaken(tx)

    def _overtaken(self, tx: Connection) -> errors.Stolen:
        return _taken(tx.execute(_HELD).one().holder or "somebody else")

    def still_held(self) -> None:
        """Raise Stolen when the lease has ended by our own clock; asked right before the first byte leaves."""
        if self._ends is not None and self._clock.monotonic() >= self._ends:
            raise _taken("perhaps another, for the lease of this one has ended")

    def release(self) -> None:
        """Give it back, so that a standby need not wait for its end."""
        self.keep_no_more()
        self._disarm()
        self._outbox.guard = None
        self._outbox.stay(at_this_server=False)
        try:
            with self._outbox.begin(alone=False) as tx:
                values = {"holder": None, "expires_at": None}
                ours = (table.lease.c.fence == self.fence, table.lease.c.holder == self._holder)
                if tx.execute(sa.update(table.lease).where(*ours).values(**values)).rowcount and self._outbox.server:
                    whereabouts.GIVEN_BACK_AT.put(tx, self._outbox.server)
        finally:
            self._let_go()

    def _take(self, tx: Connection) -> None:
        held = tx.execute(sa.select(table.lease)).one_or_none()
        if held is None:
            tx.execute(sa.insert(table.lease).values(id=1, fence=0))
        elif not self._outbox.is_file and self._may_be_held(tx, held) and not self._quiet(held.fence, held.expires_at):
            self.held_by = machine_of(held.holder or "")
            raise _taken(held.holder or "perhaps one that took it just before another server answered")
        before = held.fence if held is not None else 0
        row = sa.select(table.lease.c.fence).where(table.lease.c.fence == before)
        if not self._outbox.is_file and tx.execute(row.with_for_update(skip_locked=True)).first() is None:
            raise _taken("one that is writing at this moment")
        self.fence = before + 1
        values = {"fence": self.fence, "holder": self._holder, "expires_at": self._clock.now() + DURATION}
        if tx.execute(sa.update(table.lease).where(table.lease.c.fence == before).values(**values)).rowcount != 1:
            raise _taken("one that was started at the same moment")

    def _may_be_held(self, tx: Connection, held: sa.Row[Any]) -> bool:
        """Has it a holder; or may this server, which is another one, lack that somebody took it?"""
        if held.holder is not None:
            return True
        known = meta.known(tx, whereabouts.SERVER, whereabouts.GIVEN_BACK_AT)
        here = (None, self._outbox.server)
        return known.of(whereabouts.SERVER) not in here and known.of(whereabouts.GIVEN_BACK_AT) not in here

    def _quiet(self, fence: int, expires_at: datetime | None) -> bool:
        """Was the row not renewed for longer than a lease lasts? By our own clock; the first look begins to count."""
        now = self._clock.monotonic()
        if self._seen != (fence, expires_at):
            self._seen, self._seen_at = (fence, expires_at), now
        return now - self._seen_at > (DURATION + MARGIN).total_seconds()

    def _lock_file(self) -> None:
        path = self._outbox.path.with_name(self._outbox.path.name + ".lock")
        try:
            self._lock = os.fdopen(own_file.opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode=0o644), "a+")
        except OSError as error:
            if own_file.passes(error):
                words = f"{path} cannot be opened: {error.strerror}. Nothing is lost."
                raise errors.OutboxAway(words, hint=f"df -h {shlex.quote(str(path.parent))}") from error
            raise errors.UsageError(
                f"{path} cannot be opened: {error.strerror}.", hint=f"ls -l {shlex.quote(str(path.parent))}"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip()
            self._lock.close()
            raise _taken(holder or "another process") from error
        # The name is for people only; a full disk must not keep a relay from starting.
        with contextlib.suppress(OSError):
            self._lock.truncate(0)
            self._lock.write(self._holder)
            self._lock.flush()

    def _let_go(self) -> None:
        self._disarm()
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._lock.close()
            self._lock = None

    def _arm(self, began: float) -> None:
        """Let the kernel end this process when a lease that was asked for at `began` ends."""
        if self._outbox.is_file:
            return
        if threading.current_thread() is threading.main_thread():
            # An ignored signal is inherited from whoever started us, and would leave us without an end.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self._ends = began + DURATION.total_seconds()
        signal.setitimer(signal.ITIMER_REAL, max(self._ends - self._clock.monotonic(), _SOON))

    def _disarm(self) -> None:
        if self._ends is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._ends = None


def _taken(holder: str) -> errors.Stolen:
    return errors.Stolen(
        f"Another relay is active on this outbox: {holder}. This one sends and writes nothing.",
        hint="One relay an outbox. See it with: kiva-relay status",
    )
