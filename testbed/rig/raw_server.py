"""A server of bytes: each connection is answered by a function of the test. For answers that no HTTP library would give."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_WAKES = 0.05


@dataclass
class RawServer:
    """`requests` is what came, one text a connection, head and body. `connections` counts them."""

    port: int
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket, bytes], None]) -> Iterator[RawServer]:
    """`serve` gets each connection with the head of its request, and what came of the body; then it is closed."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(_WAKES)
    server, over = RawServer(listening.getsockname()[1]), threading.Event()
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            came = b""
            while b"\r\n\r\n" not in came and (piece := connection.recv(65_536)):
                came += piece
            head, _, body = came.partition(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                ),
                0,
            )
            while len(body) < length and (piece := connection.recv(65_536)):
                body += piece
            server.requests.append(head + b"\r\n\r\n" + body)
            serve(connection, server.requests[-1])

    def accept() -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _address = listening.accept()
                threads.append(threading.Thread(target=one, args=(connection,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        over.set()
        accepting.join()
        listening.close()
        for thread in threads:
            thread.join()


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """An answer as it goes over the wire. It says that it is the last: else a client may ask again just as we close."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
