"""A wire on loopback that is as slow as one to another continent: each piece arrives so much later, in its order.

The kernel makes the connection on loopback at once; so its first piece waits for two ways more, as long as a
connection over such a wire takes to be made.
"""

from __future__ import annotations

import asyncio
import contextlib

_PIECE = 256 * 1024
_OPEN: set[asyncio.Task[None]] = set()


async def between(port: int, *, one_way: float) -> int:
    """Listen on a free port, and carry all that comes there to `port` and back; the port."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        there = _piped(reader, there_writer, one_way=one_way, at_first=2 * one_way)
        back = _piped(there_reader, writer, one_way=one_way, at_first=0.0)
        await asyncio.gather(there, back, return_exceptions=True)

    server = await asyncio.start_server(carry, "127.0.0.1", 0, limit=4 * _PIECE)
    number: int = server.sockets[0].getsockname()[1]
    return number


async def _piped(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, one_way: float, at_first: float
) -> None:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    not_before = loop.time() + at_first

    async def out() -> None:
        while True:
            at, piece = await queue.get()
            await asyncio.sleep(max(at - loop.time(), 0.0))
            if not piece:
                break
            writer.write(piece)
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()

    writing = asyncio.create_task(out())
    _OPEN.add(writing)
    writing.add_done_callback(_OPEN.discard)
    piece = b"."
    while piece:
        try:
            piece = await reader.read(_PIECE)
        except OSError:
            piece = b""
        queue.put_nowait((max(loop.time(), not_before) + one_way, piece))
    await writing
