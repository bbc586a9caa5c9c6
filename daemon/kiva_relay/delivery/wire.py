"""Connections to Kiva whose requests end in time, and the evidence of what left on them.

httpcore bounds each read and each write. A server that sends one byte a minute passes every one of these bounds, so the
connections here also know the moment at which their whole request has to be over.
"""

from __future__ import annotations

import ssl
import threading
import typing
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import httpcore

from kiva_relay.clock import Clock

_PIECE = 64 * 1024


class Deadline:
    """When the request of the present thread has to be over, by the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._mine = clock, threading.local()

    def begin(self, seconds: float) -> None:
        """A request of this thread begins."""
        self._mine.at = self._clock.monotonic() + seconds

    def left(self, timeout: float | None, late: type[Exception]) -> float:
        """The seconds that one step may take: its own time-out, or what is left of the request's.

        Raises:
            late: nothing is left.
        """
        left: float = self._mine.at - self._clock.monotonic()
        if left <= 0:
            raise late("the whole request took too long")
        return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            piece = buffer[start : start + _PIECE]
            self._inner.write(piece, self._deadline.left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Network(httpcore.NetworkBackend):
    def __init__(self, deadline: Deadline) -> None:
        self._inner, self._deadline = httpcore.SyncBackend(), deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left, local_address, socket_options), self._deadline)


def pool(deadline: Deadline, *, trusts: ssl.SSLContext, proxy: str | None, keeps: int) -> httpcore.ConnectionPool:
    """The way to a server, on connections that know a deadline. `keeps` is how many stay open between requests."""
    shared: dict[str, Any] = {
        "ssl_context": trusts,
        "max_connections": 10,
        "max_keepalive_connections": keeps,
        "keepalive_expiry": 5.0,
        "network_backend": _Network(deadline),
    }
    if proxy is None:
        return httpcore.ConnectionPool(**shared)
    there = urlsplit(proxy)
    named = (unquote(there.username or ""), unquote(there.password or ""))
    return httpcore.HTTPProxy(
        proxy_url=f"{there.scheme}://{there.netloc.rpartition('@')[2]}",
        proxy_auth=(named[0].encode(), named[1].encode()) if any(named) else None,
        proxy_ssl_context=trusts if there.scheme == "https" else None,
        **shared,
    )


class Evidence:
    """Sees, through httpcore's trace extension, whether the whole request left.

    Only this tells a request that was cut in its middle from an answer that was lost: httpcore raises the same
    class for both. What leaves for a proxy's CONNECT is not ours: Kiva has not seen a byte then.
    """

    def __init__(self) -> None:
        self.body_complete = False
        self._ours = False

    def __call__(self, name: str, info: Mapping[str, Any]) -> None:
        """An event of httpcore's: a step of a request began, or ended well."""
        if name.endswith("send_request_headers.started"):
            self._ours = typing.cast("httpcore.Request", info["request"]).method != b"CONNECT"
            self.body_complete = False
        elif name.endswith("send_request_body.complete"):
            self.body_complete = self._ours
