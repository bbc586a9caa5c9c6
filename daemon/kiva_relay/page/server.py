"""The page on its socket, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from kiva_relay import clock as clocks
from kiva_relay import errors
from kiva_relay.config.settings import Settings
from kiva_relay.outbox.database import Outbox
from kiva_relay.page import app, place
from kiva_relay.page.impatient import ImpatientProtocol
from kiva_relay.page.names import MisNames
from kiva_relay.page.place import PagePlace

_LAST_ANSWERS_WITHIN = 5
_STARTS_WITHIN = 30.0
_MOST_AT_ONCE = 200
"""Connections. Beyond, a few slow ones could take all descriptors, which the outbox needs, too."""


class _PageServer(uvicorn.Server):
    """Its signals are ours: it ends what is under way, and returns."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None of uvicorn's own."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer from now on."""
        await super().startup(sockets)
        self._ready()

    def stop(self) -> None:
        """End soon."""
        self.should_exit = True


def run(settings: Settings, outbox: Outbox, *, ready: Callable[[str], None], names: MisNames | None = None) -> None:
    """Serve the page in this process until SIGTERM or SIGINT.

    Args:
        settings: those of the relay; of secrets only the outbox's password is needed.
        outbox: open, of this version's schema.
        ready: called with the address as soon as the page answers.
        names: who tells the borrowers' names; None: they are not shown.

    Raises:
        UsageError: as `place.take`.
    """
    where = place.take(settings)
    server = _server(settings, outbox, where, clocks.SystemClock(), names, ready=lambda: ready(where.url))

    async def serve() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.stop)
        await server.serve(sockets=[where.listener])

    asyncio.run(serve())


@contextlib.contextmanager
def in_a_thread(
    settings: Settings, outbox: Outbox, *, clock: clocks.Clock, names: MisNames | None = None
) -> Iterator[str]:
    """The same beside other work; its address."""
    where, answers = place.take(settings), threading.Event()
    server = _server(settings, outbox, where, clock, names, ready=answers.set)
    serve = server.serve(sockets=[where.listener])
    thread = threading.Thread(target=lambda: asyncio.run(serve), name="page", daemon=True)
    thread.start()
    try:
        if not answers.wait(_STARTS_WITHIN):
            raise errors.Unreachable("The page did not start.")
        yield where.url
    finally:
        server.stop()
        thread.join()


def _server(
    settings: Settings,
    outbox: Outbox,
    where: PagePlace,
    clock: clocks.Clock,
    names: MisNames | None,
    *,
    ready: Callable[[], None],
) -> _PageServer:
    page = settings.page
    config = uvicorn.Config(
        app.create(settings, outbox, where=where, clock=clock, names=names),
        http=ImpatientProtocol,
        limit_concurrency=_MOST_AT_ONCE,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_LAST_ANSWERS_WITHIN,
        ssl_certfile=page.certificate,
        ssl_keyfile=page.key,
    )
    return _PageServer(config, ready)
