"""A wire on loopback that is as slow as one to another continent: each piece arrives so much later, in its order.

The kernel makes the connection on loopback at once; so its first piece waits for two ways more, as long as a
connection over such a wire takes to be made.
"""

from __future__ import annotations

import asyncio
import contextlib

_PIECE = 256 * 1024
OPEN: set[asyncio.Task[None]] = set()
"""What is on its way."""


async def between(port: int, *, one_way: float) -> asyncio.Server:
    """Listen on a free port, and carry all that comes there to `port` and back."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        there = asyncio.create_task(_piped(reader, there_writer, one_way=one_way, at_first=2 * one_way))
        back = asyncio.create_task(_piped(there_reader, writer, one_way=one_way, at_first=0.0))
        for task in (there, back):
            OPEN.add(task)
            task.add_done_callback(OPEN.discard)
        await asyncio.wait([back])
        there.cancel()
        for each in (writer, there_writer):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()

    return await asyncio.start_server(carry, "127.0.0.1", 0, limit=4 * _PIECE)


async def _piped(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, one_way: float, at_first: float
) -> None:
    """Carry one direction until its end; the end arrives as late as all before it."""
    loop = asyncio.get_running_loop()
    not_before = loop.time() + at_first
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def take() -> None:
        piece = b"."
        while piece:
            try:
                piece = await reader.read(_PIECE)
            except OSError:
                piece = b""
            queue.put_nowait((max(loop.time(), not_before) + one_way, piece))

    taking = asyncio.create_task(take())
    try:
        while True:
            at, piece = await queue.get()
            await asyncio.sleep(max(at - loop.time(), 0.0))
            if not piece:
                break
            writer.write(piece)
        with contextlib.suppress(OSError):
            writer.write_eof() if writer.can_write_eof() else writer.close()
    finally:
        taking.cancel()
