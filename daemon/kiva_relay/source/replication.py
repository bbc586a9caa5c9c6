"""The MIS's own stream of what is committed, followed: a thread of its own that answers the server and keeps order.

It only hands over transactions. What was handed over is confirmed to the server when somebody says that it is durable
with us; until then the server keeps it, and gives it again after any end of the connection.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import psycopg
import sqlalchemy as sa
from psycopg import conninfo, pq
from psycopg._encodings import pg2pyenc

from kiva_relay import log
from kiva_relay.frozen import dataclass
from kiva_relay.source.pgoutput import Columns, Decoder, Transaction

_STATUS_EVERY = 10.0
"""Seconds. The server ends a connection that was silent for its wal_sender_timeout, 60 s."""
_LET_BE = 0.05
_ENDS_WITHIN = 2.0
_PATIENCE = 3.0
"""Seconds for which a server that waits for us before it ends is let wait."""
_LIVED = 15.0
"""Seconds after which a connection that breaks was no failed try."""
_PAUSES = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
_MADE_WITHIN = "5s"
_MOST_HELD = 200_000
"""Rows that wait to be read; above, the server is left to keep the rest."""

_POKES = 4096

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_SESSION = "-c DateStyle=ISO -c TimeZone=UTC -c IntervalStyle=postgres"

_log = log.get("replication")


@dataclass(frozen=True)
class Session:
    """One connection: its number in this process, and the place from which the server began."""

    number: int
    began: int


class Tail:
    """Follows one slot from `start()` until `close()`.

    `news` is called in its thread when there is something: once, until `pending()` was asked.
    """

    def __init__(self, url: sa.URL, *, password: str | None, name: str, news: Callable[[], None]) -> None:
        self._name, self._news = name, news
        self._conninfo = connection(url, password, replication="database")
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._poked, self._poke = socket.socketpair()
        for end in (self._poked, self._poke):
            end.settimeout(0)
        self._thread = threading.Thread(target=self._run, name="replication", daemon=True)
        self._wanted: Columns = {}
        self._pending: list[Transaction] = []
        self._held = self._received = self._durable = 0
        self._sessions = 0
        self._asked = (0, 0.0)
        self._told = False
        self.session: Session | None = None
        self.error = ""

    def start(self) -> None:
        """Connect, and go on connecting."""
        self._thread.start()

    def close(self) -> None:
        """End the connection; the slot stays."""
        self._stop.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(_ENDS_WITHIN)
        self._poke.close()

    def want(self, columns: Columns) -> None:
        """Keep these columns of transactions that begin from now on."""
        self._wanted = columns

    @property
    def has_news(self) -> bool:
        """Whether `pending()` gives something that nobody has been given yet, or the server asks since."""
        return self._told

    def pending(self) -> list[Transaction]:
        """What was handed over and is not `done`, in the order of the commits."""
        with self._lock:
            self._told = False
            return list(self._pending)

    def done(self, transactions: Sequence[Transaction]) -> None:
        """These need no more work."""
        gone = {id(one) for one in transactions}
        with self._lock:
            self._pending = [one for one in self._pending if id(one) not in gone]
            self._held = sum(one.size for one in self._pending)

    def reached(self, session: Session | None) -> int:
        """The place up to which everything of this session is done; 0 when it has ended."""
        with self._lock:
            if session is None or session != self.session:
                return 0
            return self._pending[0].before if self._pending else self._received

    @property
    def asks(self) -> bool:
        """Whether the server waits for more to be confirmed than was, as it does before it ends."""
        return self._asked[0] > self._durable

    def confirm(self, place: int) -> None:
        """The server need not keep what lies before: it is durable with us."""
        if place > self._durable:
            self._durable = place
            self._wake()

    def _wake(self) -> None:
        # What waits there already wakes it as well; or the thread has ended at that moment.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            self._poke.send(b".")

    # ---------------------------------------------------------------- the thread

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._follow()
            except (psycopg.Error, OSError) as error:
                failures = 0 if time.monotonic() - began > _LIVED else failures
                self._lost(error)
            self._stop.wait(_PAUSES[min(failures, len(_PAUSES) - 1)])
            failures += 1
        self._poked.close()

    def _lost(self, error: Exception) -> None:
        words = str(error).strip().splitlines()
        said = words[0] if words else type(error).__name__
        if said != self.error:
            _log.warning("The stream of the MIS broke off; the MIS is polled meanwhile, nothing is lost", cause=said)
        self.error = said
        self._news()

    def _follow(self) -> None:
        server = _connected(self._conninfo)
        try:
            place = _begin(server, self._name)
            self._sessions += 1
            self._asked = (0, 0.0)
            with self._lock:
                self._received = self._durable = place
                self.session = Session(self._sessions, place)
            self.error = ""
            _log.info("The stream of the MIS is followed", slot=self._name)
            self._news()
            self._listen(server)
        finally:
            with self._lock:
                self.session = None
                self._pending, self._held = [], 0  # what is not confirmed comes again
            server.finish()

    def _listen(self, server: pq.abc.PGconn) -> None:
        # The bytes as they are: a server that cannot convert one would end its stream at it, again and again.
        decoder = Decoder(letters=pg2pyenc(server.parameter_status(b"server_encoding") or b"UTF8"))
        ready = select.poll()
        ready.register(server.socket, select.POLLIN)
        ready.register(self._poked, select.POLLIN)
        said, said_at = -1, 0.0
        while not self._stop.is_set():
            now = time.monotonic()
            if said != self._durable or now - said_at >= _STATUS_EVERY:
                said, said_at = self._durable, now
                self._report(server, said)
            if self.asks and now - self._asked[1] >= _PATIENCE:
                # A server that ends waits for this, for ever. What was not confirmed comes again.
                raise psycopg.OperationalError("the server waits for what cannot be confirmed yet")
            if self._held > _MOST_HELD:
                self._stop.wait(_LET_BE)
                continue
            length, message = server.get_copy_data(1)
            if length > 0:
                if self._heard(decoder, bytes(message)):
                    said = -1
            elif length == 0:
                until = min(said_at + _STATUS_EVERY, self._asked[1] + _PATIENCE if self.asks else math.inf)
                ready.poll(max(until - now, 0) * 1000)
                with contextlib.suppress(BlockingIOError):
                    self._poked.recv(_POKES)
                server.consume_input()
            else:
                raise psycopg.OperationalError(_ended(server))
        with contextlib.suppress(psycopg.Error):
            self._report(server, self._durable)

    def _heard(self, decoder: Decoder, message: bytes) -> bool:
        """Take in one message; true when the server wants an answer."""
        if message[:1] == b"k":
            end, _, asks = struct.unpack(">QQB", message[1:18])
            if not decoder.within:
                with self._lock:
                    self._received = max(self._received, end)
            if asks and end > self._durable and not self.asks:
                self._asked, self._told = (end, time.monotonic()), True
                self._news()
            return bool(asks)
        ended = decoder.read(message[25:], at=self._received, wanted=self._wanted)
        if ended is not None:
            with self._lock:
                self._received = max(self._received, ended.end)
                if ended.touches:
                    self._pending.append(ended)
                    self._held += ended.size
                tells = ended.touches and not self._told
                self._told = self._told or tells
            if tells:
                self._news()
        return False

    def _report(self, server: pq.abc.PGconn, durable: int) -> None:
        moment = int((datetime.now(UTC) - _EPOCH).total_seconds() * 1_000_000)
        server.put_copy_data(b"r" + struct.pack(">QQQQB", self._received, durable, durable, moment, 0))
        server.flush()


def connection(url: sa.URL, password: str | None, **more: str) -> str:
    """The connection string for libpq out of `mis.url`; `more` are further parameters of it."""
    given = {**{name: str(value) for name, value in url.query.items()}, **url.translate_connect_args()}
    names = {"username": "user", "database": "dbname"}
    parts = {names.get(name, name): value for name, value in given.items()}
    parts["options"] = " ".join(filter(None, (parts.get("options"), _SESSION)))
    parts |= {"application_name": "kiva-relay stream", "client_encoding": "SQL_ASCII", **more}
    parts |= {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
    if password is not None:
        parts["password"] = password
    return conninfo.make_conninfo("", **parts)


def made(url: sa.URL, password: str | None, statement: str) -> str:
    """Make a slot, by this statement; why it could not be made, "" when it is there. It waits a few seconds at most."""
    try:
        with psycopg.connect(connection(url, password), autocommit=True) as server:
            server.execute("SELECT set_config('statement_timeout', %s, false)", [_MADE_WITHIN])
            server.execute(statement.encode())
    except psycopg.Error as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ""


def _connected(text: str) -> pq.abc.PGconn:
    server = pq.PGconn.connect(text.encode())
    if server.status != pq.ConnStatus.OK:
        said = server.error_message.decode(errors="replace").strip()
        server.finish()
        raise psycopg.OperationalError(said)
    return server


def _begin(server: pq.abc.PGconn, name: str) -> int:
    """Start the stream where the server has it; the place."""
    asked = f"SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = '{name}'"  # noqa: S608 - letters, digits and _ of our own
    answer = server.exec_(asked.encode())
    if answer.status != pq.ExecStatus.TUPLES_OK:
        raise psycopg.OperationalError(_said(answer))
    if not answer.ntuples or (place := answer.get_value(0, 0)) is None:
        raise psycopg.OperationalError(f"there is no slot {name} that can be followed")
    options = f"(proto_version '1', publication_names '\"{name}\"')"
    answer = server.exec_(f'START_REPLICATION SLOT "{name}" LOGICAL 0/0 {options}'.encode())
    if answer.status != pq.ExecStatus.COPY_BOTH:
        raise psycopg.OperationalError(_said(answer))
    return int(place)


def _ended(server: pq.abc.PGconn) -> str:
    answer = server.get_result()
    return (_said(answer) if answer else "") or "the server ended the stream"


def _said(answer: pq.abc.PGresult) -> str:
    return answer.error_message.decode(errors="replace").strip().removeprefix("ERROR:").strip()
