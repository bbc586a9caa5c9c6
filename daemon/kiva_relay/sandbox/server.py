"""The stand-in on a real socket: in a thread of a test, or as a process."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import uvicorn
from starlette.applications import Starlette

from kiva_relay import clock as clocks
from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.sandbox import app
from kiva_relay.sandbox.state import SandboxState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from kiva_relay.sandbox.config import SandboxConfig

_STARTS_WITHIN = 10.0
_LAST_CALLS_WITHIN = 5


S = TypeVar("S", bound=SandboxState)


@dataclass(frozen=True)
class Build(Generic[S]):
    """What a server is made of. The only seam: a rig that goes wrong on request is another build.

    Attributes:
        state: Opens what the server holds. Raises UsageError when the ledger cannot be opened.
        application: The ASGI application over it.
        protocol: What uvicorn puts below the application.
    """

    state: Callable[[], S]
    application: Callable[[S], Starlette]
    protocol: type[asyncio.Protocol] | Literal["h11"] = "h11"


def plain(config: SandboxConfig, *, clock: clocks.Clock | None = None) -> Build[SandboxState]:
    """The stand-in of the product. `clock` is the hour at Kiva: tokens expire by it, the coordinator works by it."""
    return Build(lambda: SandboxState(config, clock or clocks.SystemClock()), app.create)


class SandboxServer(Generic[S]):
    """A stand-in that runs in a thread of this process. Close it, or use it as a context manager."""

    def __init__(self, listener: socket.socket, state: S, build: Build[S]) -> None:
        self.state = state
        self.url = _url(listener)
        ready = threading.Event()
        self._uvicorn = _Uvicorn(state, build, ready=ready.set)
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


def start(build: Build[S], listen: str = "127.0.0.1:0") -> SandboxServer[S]:
    """Start a stand-in in a thread; it answers when this returns.

    Args:
        build: What it is made of.
        listen: Address and port, as 127.0.0.1:8765; port 0 takes a free one.

    Raises:
        UsageError: The address is not one of this machine, or taken; the ledger cannot be opened.
    """
    listener, state = _open(listen, build)
    return SandboxServer(listener, state, build)


def run(build: Build[S], listen: str, *, ready: Callable[[str], None]) -> None:
    """Run a stand-in in this process until SIGTERM or SIGINT.

    Args:
        build: What it is made of.
        listen: Address and port; port 0 takes a free one.
        ready: Called with the URL as soon as calls are answered.

    Raises:
        UsageError: As `start`.
    """
    listener, state = _open(listen, build)
    url = _url(listener)
    server = _Uvicorn(state, build, ready=lambda: ready(url))

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

    def __init__(self, state: S, build: Build[S], *, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                build.application(state),
                http=build.protocol,
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


def _open(listen: str, build: Build[S]) -> tuple[socket.socket, S]:
    listener = _bind(listen)
    try:
        return listener, build.state()
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
