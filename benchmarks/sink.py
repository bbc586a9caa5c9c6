"""The sink of every comparison: a small HTTP server that answers as Kiva's endpoints do, and keeps a ledger.

    .venv/bin/python -m benchmarks.sink FOLDER

It is a process of its own, so that it costs every sender the same. What it took is counted before it answers; so an
answer that is then lost, or a sender that is killed while its request is in flight, leaves a thing that was accepted.
It listens in plain and, with the certificate in FOLDER, by TLS behind a wire with a delay of 50 ms each way. The
addresses stand in FOLDER/addresses.json as soon as it answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import slow_wire
from kiva_relay.sandbox import catalogue

PARTNER = "123"
ONE_WAY = 0.05
"""Seconds that a byte is on its way, where the wire is slow: 100 ms for there and back."""

_LOAN_ID = re.compile(rb'"loan_id"\s*:\s*"([^"]*)"')
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:\s*close", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:\s*100-continue", re.IGNORECASE)
_TOKEN = {
    "access_token": "t" * 64,
    "token_type": "bearer",
    "expires_in": 43_199,
    "scope": "read:loans create:loan_draft create:journal_update create:repayment",
    "iss": "http://127.0.0.1/",
    "partnerId": PARTNER,
    "jti": "1",
}


@dataclass
class Plan:
    """What is to happen. `lose` and `kill` are numbers of calls, from 1: their answers are lost; `pid` is killed."""

    delay: float = 0.0
    lose: set[int] = field(default_factory=set)
    kill: set[int] = field(default_factory=set)
    pid: int = 0
    expected: int = 0
    """So many loans are listed as payingBack, with the ids of the book."""


@dataclass
class Ledger:
    """What was accepted: how often each loan, and when it came first; moments are of the monotonic clock."""

    calls: int = 0
    times: Counter[str] = field(default_factory=Counter)
    first_of: dict[str, float] = field(default_factory=dict)
    first: float = 0.0
    last: float = 0.0
    connections: int = 0

    def accept(self, loans: list[str]) -> None:
        """One call with these."""
        now = time.monotonic()
        self.first = self.first or now
        self.last = now
        self.calls += 1
        self.times.update(loans)
        for loan in loans:
            self.first_of.setdefault(loan, now)

    def document(self, *, arrivals: bool) -> dict[str, Any]:
        """As JSON."""
        distinct, came = len(self.times), sum(self.times.values())
        told = {
            "calls": self.calls,
            "distinct": distinct,
            "duplicates": came - distinct,
            "first": self.first,
            "last": self.last,
            "connections": self.connections,
        }
        return told | ({"arrivals": self.first_of} if arrivals else {})


class Sink:
    """What all connections share."""

    def __init__(self) -> None:
        self.plan, self.ledger = Plan(), Ledger()
        self.lists = {name: list(items) for name, items in catalogue.lists().items()}

    def answer(self, method: str, path: str, body: bytes) -> tuple[dict[str, Any] | None, float]:
        """What is answered, and after how long; None is an answer that is lost."""
        path, _, query = path.partition("?")
        if path.startswith("/sink/"):
            return self._controlled(path, query, body), 0.0
        if path == "/oauth/token":
            return _TOKEN, 0.0
        what = path.rsplit("/", 1)[1]
        if method == "GET":
            return (self._loans(query) if what == "loans" else self._list(what)), 0.0
        self.ledger.accept([one.decode() for one in _LOAN_ID.findall(body)])
        number = self.ledger.calls
        if number in self.plan.kill and self.plan.pid:
            os.kill(self.plan.pid, signal.SIGKILL)
            return None, 0.0
        if number in self.plan.lose:
            return None, self.plan.delay
        if what == "repayments":
            said: dict[str, Any] = {"upload_id": 70_000 + number, "problems": []}
        else:
            said = {"loan_draft_uuid": f"00000000-0000-4000-8000-{number:012}"}
        return {"code": "api.success", "message": "Received", **said}, self.plan.delay

    def _controlled(self, path: str, query: str, body: bytes) -> dict[str, Any]:
        if path == "/sink/plan":
            document = json.loads(body)
            for name, value in document.items():
                setattr(self.plan, name, set(value) if isinstance(value, list) else value)
        elif path == "/sink/reset":
            self.plan, self.ledger = Plan(), Ledger()
        return self.ledger.document(arrivals="arrivals" in query)

    def _list(self, name: str) -> dict[str, Any]:
        items = self.lists.get(name, [])
        return {"as_of_date_time": "2026-01-09T15:48:12Z", name: items, "code": "api.success", "message": "Found"}

    def _loans(self, query: str) -> dict[str, Any]:
        asked = dict(part.split("=", 1) for part in query.split("&") if "=" in part)
        total = self.plan.expected if asked.get("status") == "payingBack" else 0
        offset, limit = int(asked.get("offset", 0)), int(asked.get("limit", 20))
        rows = [_loan(number) for number in range(offset + 1, min(offset + limit, total) + 1)]
        return {"total_records": total, "data": rows}


def _loan(number: int) -> dict[str, Any]:
    return {
        "kiva_id": f"{1_000_000 + number}",
        "uuid": f"00000000-0000-4000-9000-{number:012}",
        "internal_loan_id": f"{number:09}",
        "internal_client_id": "",
        "status": "payingBack",
        "loan_local_price": "1200.00",
        "loan_price": "1200.00",
        "loan_currency": "XOF",
    }


class Connection(asyncio.Protocol):
    """One connection: requests one after the other."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._came = sink, bytearray()
        self._transport: asyncio.Transport | None = None
        self._counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Some of a request."""
        self._came += data
        head_ends = self._came.find(b"\r\n\r\n")
        if head_ends < 0:
            return
        head = bytes(self._came[:head_ends])
        length = _LENGTH.search(head)
        whole = head_ends + 4 + (int(length[1]) if length else 0)
        if len(self._came) < whole:
            if _EXPECT.search(head) and len(self._came) == head_ends + 4 and self._transport:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        body = bytes(self._came[head_ends + 4 : whole])
        del self._came[:whole]
        method, path, _ = head.split(b" ", 2)
        if method == b"POST" and not path.startswith((b"/sink/", b"/oauth/")) and not self._counted:
            self._counted = True
            self._sink.ledger.connections += 1
        said, delay = self._sink.answer(method.decode(), path.decode(), body)
        close = _CLOSE.search(head) is not None
        if delay:
            asyncio.get_running_loop().call_later(delay, self._say, said, close)
        else:
            self._say(said, close)

    def _say(self, said: Mapping[str, Any] | None, close: object) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if said is None:
            transport.abort()
            return
        body = json.dumps(said).encode()
        last = "Connection: close\r\n" if close else ""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{last}Content-Length: {len(body)}\r\n\r\n"
        transport.write(head.encode() + body)
        if close:
            transport.close()


def _port(server: asyncio.Server) -> int:
    number: int = server.sockets[0].getsockname()[1]
    return number


async def _serve(folder: Path) -> None:
    loop, sink, over = asyncio.get_running_loop(), Sink(), asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, over.set)
    trusts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusts.load_cert_chain(folder / "sink.pem")
    plain = await loop.create_server(lambda: Connection(sink), "127.0.0.1", 0)
    tls = await loop.create_server(lambda: Connection(sink), "127.0.0.1", 0, ssl=trusts)
    slow = await slow_wire.between(_port(tls), one_way=ONE_WAY)
    addresses = {"plain": f"http://127.0.0.1:{_port(plain)}", "tls": f"https://localhost:{_port(slow)}"}
    unfinished = folder / "addresses.part"
    unfinished.write_text(json.dumps(addresses), encoding="utf-8")
    unfinished.rename(folder / "addresses.json")
    await over.wait()
    os._exit(0)  # what is still on its way is nobody's any more


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
