"""The stand-in with faults on a real socket: in a thread of a test, or as a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Route

from kiva_relay import clock as clocks
from kiva_relay.sandbox import app, server
from kiva_relay.sandbox.view import View
from testbed.kiva.config import KivaConfig
from testbed.kiva.control_api import ControlApi
from testbed.kiva.exchange import FaultyExchange
from testbed.kiva.state import KivaState
from testbed.kiva.wire import Protocol, WithoutDates, dated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from testbed.kiva.fault import Fault


def start(
    listen: str = "127.0.0.1:0", *, config: KivaConfig | None = None, clock: clocks.Clock | None = None
) -> server.SandboxServer[KivaState]:
    """Start a stand-in in a thread; it answers when this returns. Raises as `kiva_relay.sandbox.server.start`.

    Args:
        listen: Address and port, as 127.0.0.1:8765; port 0 takes a free one.
        config: How it behaves.
        clock: The hour at Kiva, which makes tokens expire and the coordinator work.
    """
    return server.start(_build(config or KivaConfig(), clock or clocks.SystemClock()), listen)


def run(listen: str, *, config: KivaConfig, faults: Iterable[Fault] = (), ready: Callable[[str], None]) -> None:
    """Run a stand-in in this process until SIGTERM or SIGINT, with `faults` in force from the first call."""
    server.run(_build(config, clocks.SystemClock(), faults), listen, ready=ready)


def _build(config: KivaConfig, clock: clocks.Clock, faults: Iterable[Fault] = ()) -> server.Build[KivaState]:
    protocols: dict[str, type[Protocol]] = {"machine": Protocol, "clock": dated(clock.now), "none": WithoutDates}
    protocol = protocols[config.dates]
    return server.Build(lambda: KivaState(config, clock, faults), _application, protocol)


def _application(state: KivaState) -> Starlette:
    kiva = [Route(path, FaultyExchange(state, on), methods=[method]) for method, path, on in app.CALLS]
    anything = Route(app.ANYTHING, FaultyExchange(state, "other"))
    return Starlette(routes=[*View(state).routes(), *ControlApi(state).routes(), *kiva, anything])
