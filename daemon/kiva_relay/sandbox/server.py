"""The stand-in on a real socket: in a thread of a test, or as a process."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import threading
from typing import TYPE_CHECKING

import uvicorn

from kiva_relay import clock as clocks
from kiva_relay import errors
from kiva_relay.sandbox import app
from kiva_relay.sandbox.config import SandboxConfig
from kiva_relay.sandbox.state import SandboxState
from kiva_relay.sandbox.wire import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from kiva_relay.sandbox.fault import Fault

# Small, so that less of a body has arrived when drop_in_body ends its connection.
_RECEIVE_BUFFER = 64 * 1024
_STARTS_WITHIN = 10.0
_LAST_CALLS_WITHIN = 5


class SandboxServer:
    """A stand-in that runs in a thread of this process. Close it, or use it as a context manager."""

    def __init__(self, listener: socket.socket, state: SandboxState) -> None:
        self.state = state
        self.url = _url(listener)
        ready = threading.Event()
        self._uvicorn = _Uvicorn(state, ready=ready.set)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._uvicorn.serve(sockets=[listener])), name="sandbox", daemon=True
        )
        self._thread.start()
        if not ready.wait(_STARTS_WITHIN):
            raise errors.Unreachable("The sandbox did not start.")

    def close(self) -> None:
        """Stop it: calls under way end, the socket and the ledger's file are given back."""
        self._uvicorn.stop()
        self._thread.join()
        self.state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start(
    listen: str = "127.0.0.1:0", *, config: SandboxConfig | None = None, clock: clocks.Clock | None = None
) -> SandboxServer:
    """Start a stand-in in a thread; it answers when this returns.

    Args:
        listen: Address and port, as 127.0.0.1:8765; port 0 takes a free one.
        config: How it behaves.
        clock: The hour at Kiva, which makes tokens expire and the coordinator work.

    Raises:
        UsageError: The address is not one of this machine, or taken; the ledger cannot be opened.
    """
    return SandboxServer(*_open(listen, config, clock))


def run(listen: str, *, config: SandboxConfig, faults: tuple[Fault, ...] = (), ready: Callable[[str], None]) -> None:
    """Run a stand-in in this process until SIGTERM or SIGINT.

    Args:
        listen: Address and port; port 0 takes a free one.
        config: How it behaves.
        faults: In force from the first call.
        ready: Told the URL as soon as calls are answered.

    Raises:
        UsageError: As `start`.
    """
    listener, state = _open(listen, config, None)
    for fault in faults:
        state.faults.add(fault)
    url = _url(listener)
    server = _Uvicorn(state, ready=lambda: ready(url))

    async def serve() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.stop)
        await server.serve(sockets=[listener])

    try:
        asyncio.run(serve())
    finally:
        state.close()


class _Uvicorn(uvicorn.Server):
    """uvicorn, stopped by a call in place of a signal, and at once."""

    def __init__(self, state: SandboxState, *, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app.create(state),
                http=Protocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_LAST_CALLS_WITHIN,
            )
        )
        self._ready = ready
        self._state = state
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """End it, from any thread."""
        if self._loop is not None:
            # A loop that has ended by itself has nothing left to stop.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._state.stopping.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._ready()

    async def main_loop(self) -> None:
        # uvicorn looks ten times a second whether it should end; waiting lets each of many tests start one.
        while not self._state.stopping.is_set():
            await self.on_tick(0)
            await self._state.pause(1)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `run`: uvicorn's way ends the process by the signal, and not with exit code 0."""
        yield


def _open(listen: str, config: SandboxConfig | None, clock: clocks.Clock | None) -> tuple[socket.socket, SandboxState]:
    listener = _bind(listen)
    try:
        return listener, SandboxState(config or SandboxConfig(), clock or clocks.SystemClock())
    except BaseException:
        listener.close()
        raise


def _bind(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
        address = (host, int(port))
    except ValueError:
        raise errors.UsageError(f"--listen: expected ADDRESS:PORT as 127.0.0.1:8765, found {listen!r}.") from None
    # asyncio turns Nagle's delay off only on sockets that say they are TCP's; else an answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        listener.bind(address)
        listener.listen()
    except (OSError, OverflowError) as why:
        listener.close()
        raise errors.UsageError(
            f"The sandbox cannot listen on {listen}: {why}.", hint="Choose another port, or 0 for a free one."
        ) from why
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
