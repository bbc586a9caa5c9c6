"""The connection below HTTP: to end it at a chosen moment, as networks do."""

from __future__ import annotations

import copy
import socket
import struct
from email.utils import formatdate
from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from datetime import datetime

    from starlette.types import Receive, Scope, Send

    from testbed.kiva.reply import Answer

# Small, so that less of a body has arrived when drop_in_body ends its connection.
_RECEIVE_BUFFER = 64 * 1024
# Closing with it makes the kernel send RST and forget what was not delivered.
_RESET = struct.pack("ii", 1, 0)


class Protocol(H11Protocol):
    """uvicorn's protocol, which lets the application reach the connection of its call."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Put the connection where `Wire` finds it."""
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class WithoutDates(Protocol):
    """The same, without a `Date` in any answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Uvicorn puts the date into the headers that all of its connections share."""
        super().connection_made(transport)
        shared, self.server_state = self.server_state, copy.copy(self.server_state)
        assert shared.connections is self.server_state.connections
        self.server_state.default_headers = []


def dated(hour: Callable[[], datetime]) -> type[Protocol]:
    """The protocol whose answers have this hour as their `Date`."""

    class Dated(Protocol):
        def handle_events(self) -> None:
            date = formatdate(hour().timestamp(), usegmt=True).encode("ascii")
            self.server_state.default_headers = [(b"date", date)]
            super().handle_events()

    return Dated


class Wire:
    """One call's connection."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._transport = cast("asyncio.Transport", scope["state"]["transport"])
        self._receive = receive
        self._send = send

    async def answer(self, answer: Answer) -> bool:
        """Send an answer; false when the caller has hung up and nobody reads it."""
        if self._transport.is_closing():
            return False
        await self._begin(answer)
        await self._send({"type": "http.response.body", "body": answer.body})
        return True

    async def cut(self, answer: Answer) -> None:
        """Send the headers and half of the body, then end the connection."""
        await self._begin(answer)
        half = answer.body[: len(answer.body) // 2]
        await self._send({"type": "http.response.body", "body": half, "more_body": True})
        self._transport.close()
        await self._gone()

    async def abort(self, *, reset: bool) -> None:
        """End the connection at once, without a byte; what the caller still sends is answered by RST."""
        if reset:
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()
        await self._gone()

    async def _begin(self, answer: Answer) -> None:
        length = str(len(answer.body))
        headers = (("content-type", answer.content_type), ("content-length", length), *answer.headers)
        await self._send({
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        })  # fmt: skip

    async def _gone(self) -> None:
        # uvicorn answers 500 for an application that returns before it knows that the connection ended.
        while (await self._receive())["type"] != "http.disconnect":
            pass
