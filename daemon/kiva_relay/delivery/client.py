"""HTTP to Kiva: one request, one answer, and the evidence of how far the request came. Never repeats anything.

Nothing of an answer is believed here: no redirect is followed, no cookie kept, at most one coding undone, and bytes and
seconds are bounded before anything is looked at.
"""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

import httpcore

from kiva_relay import __version__
from kiva_relay.clock import Clock, SystemClock
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import proxy, wire
from kiva_relay.delivery.wire import Deadline, Evidence
from kiva_relay.frozen import dataclass

MOST_AN_HOUR = 100_000
"""Requests an hour to Kiva, at most: 28 each second, all day long. A relay that reads Kiva's list every second and
sends twenty changes a second stays below; a loop gone wild does not, and Kiva should not have to find out."""

_ANSWER_LIMIT = 4_000_000
_TEXT_LIMIT = 2_000
_KEPT_OPEN = 5
_HOUR = 3_600.0


@dataclass(frozen=True)
class Answer:
    """What came back, and what is known about what left.

    `status` is None when no status line came. `body_complete` is true once the last byte of the request was
    handed to the network: from then on silence does not mean "not processed". `read_whole` is false when the
    answer was cut in its middle, is too long, or is coded in a way that is not understood. `headers`: by their names in
    small letters.
    """

    status: int | None
    headers: Mapping[str, str]
    content: bytes
    body_complete: bool
    read_whole: bool
    error: str | None = None

    @property
    def words(self) -> str:
        """What Kiva, its gateway or the network said, bounded: for people, never parsed."""
        if self.error is not None:
            return self.error
        said = self.content[:_TEXT_LIMIT].decode("utf-8", "replace")
        return said.replace("\0", "\N{REPLACEMENT CHARACTER}").strip()


def said_of_us(kiva: Kiva) -> dict[str, str]:
    """The headers of every request."""
    return {
        "User-Agent": f"kiva-relay/{__version__} (partner {kiva.partner_id})",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }


def said_of_post(token: str, key: str) -> dict[str, str]:
    """The headers of a POST beside those."""
    return {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json; charset=utf-8",
        "Connection": "close",
        "Idempotency-Key": key,
    }


class Client:
    """Connections to one Kiva environment.

    A POST that cannot be repeated never uses a kept-alive connection: one that went stale looks just like a
    lost answer.

    `heard` is called with the headers of each answer.

    Raises:
        UsageError: a proxy of the environment, or a file of certificates, makes no sense.
    """

    def __init__(
        self,
        kiva: Kiva,
        *,
        clock: Clock | None = None,
        environ: Mapping[str, str] | None = None,
        heard: Callable[[Mapping[str, str]], object] = lambda _headers: None,
    ) -> None:
        environ, clock = os.environ if environ is None else environ, clock or SystemClock()
        self._base, self._heard = kiva.api_url.rstrip("/"), heard
        connect, write, read = (
            length.total_seconds() for length in (kiva.timeout.connect, kiva.timeout.write, kiva.timeout.read)
        )
        self._timeout = {"connect": connect, "write": write, "read": read, "pool": connect}
        self._longest = connect + write + read
        self._deadline, self._allowance = Deadline(clock), _Allowance(clock)
        trusts = proxy.trusted(kiva.ca, environ=environ)

        def pool(url: str, *, keeps: int) -> httpcore.ConnectionPool:
            way = proxy.of(url, setting=kiva.proxy, environ=environ)
            return wire.pool(self._deadline, trusts=trusts, proxy=way, keeps=keeps)

        self._reading = pool(kiva.api_url, keeps=_KEPT_OPEN)
        self._posting = pool(kiva.api_url, keeps=0)
        self._asking = pool(kiva.token_url, keeps=0)
        self._headers = said_of_us(kiva)

    def get(self, path: str, *, token: str, params: Mapping[str, str | int] | None = None) -> Answer:
        """GET under the API base; harmless at any time."""
        url = self._base + path + (f"?{urlencode(params)}" if params else "")
        return self._ask(self._reading, "GET", url, None, {"Authorization": f"Bearer {token}"})

    def post(self, path: str, content: bytes, *, token: str, key: str) -> Answer:
        """POST JSON under the API base, on a connection of its own, once.

        `key` goes along as Idempotency-Key (draft-ietf-httpapi-idempotency-key-header); nothing relies on it.
        """
        return self._ask(self._posting, "POST", self._base + path, content, said_of_post(token, key))

    def form(self, url: str, fields: Mapping[str, str]) -> Answer:
        """POST a form to the token server: asking for a token, harmless at any time."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask(self._asking, "POST", url, urlencode(dict(fields)).encode(), headers)

    def close(self) -> None:
        """Close all connections; a request under way in another thread ends with an error."""
        for each in (self._reading, self._posting, self._asking):
            each.close()

    def _ask(
        self, way: httpcore.ConnectionPool, method: str, url: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        if not self._allowance.take():
            said = f"not asked: more than {MOST_AN_HOUR:,} requests within an hour"
            return Answer(None, {}, b"", body_complete=False, read_whole=False, error=said)
        self._deadline.begin(self._longest)
        sent = {"Host": urlsplit(url).netloc.rpartition("@")[2], **self._headers, **headers}
        if content is not None:
            sent["Content-Length"] = str(len(content))
        request = httpcore.Request(
            method, url, headers=[*sent.items()], content=content, extensions={"timeout": self._timeout}
        )
        answer = _exchange(way, request)
        if answer.status is not None:
            self._heard(answer.headers)
        return answer


class _Allowance:
    """How many requests may still be made: a bucket that fills up within an hour."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._left, self._at = float(MOST_AN_HOUR), clock.monotonic()

    def take(self) -> bool:
        with self._lock:
            now = self._clock.monotonic()
            self._left = min(self._left + (now - self._at) * MOST_AN_HOUR / _HOUR, MOST_AN_HOUR)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


def _exchange(way: httpcore.ConnectionPool, request: httpcore.Request) -> Answer:
    evidence = Evidence()
    request.extensions["trace"] = evidence
    try:
        response = way.handle_request(request)
    except Exception as error:  # noqa: BLE001 - whatever it was: what left decides what it means
        return Answer(None, {}, b"", evidence.body_complete, read_whole=False, error=_network_words(error))
    with contextlib.closing(response):
        headers = _headers(response)
        content, said = _read(response)
        if said is None:
            content, said = _decoded(content, headers)
        return Answer(response.status, headers, content, evidence.body_complete, said is None, said)


def _headers(response: httpcore.Response) -> dict[str, str]:
    """By name in small letters; one that came more than once is a list with commas (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for name, value in response.headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _read(response: httpcore.Response) -> tuple[bytes, str | None]:
    """The bytes as they came, and why they are not all; None when they are."""
    content = bytearray()
    try:
        for piece in response.iter_stream():
            content += piece
            if len(content) > _ANSWER_LIMIT:
                return bytes(content[:_ANSWER_LIMIT]), f"the answer is longer than {_ANSWER_LIMIT:,} bytes"
    except Exception as error:  # noqa: BLE001 - the status line came, so it is an answer that was cut
        return bytes(content), _network_words(error)
    return bytes(content), None


def _decoded(content: bytes, headers: Mapping[str, str]) -> tuple[bytes, str | None]:
    """One layer of gzip or deflate undone, inside the bound, though we asked for none; more is not understood."""
    written = headers.get("content-encoding", "")
    codings = [each for name in written.lower().split(",") if (each := name.strip()) not in ("", "identity")]
    if not codings or not content:
        return content, None
    if len(codings) > 1 or codings[0] not in _WINDOW_BITS:
        return b"", f"the answer is coded in a way that was not asked for: {written[:100]}"
    for bits in _WINDOW_BITS[codings[0]]:
        undoing = zlib.decompressobj(bits)
        try:
            found = undoing.decompress(content, _ANSWER_LIMIT)
        except zlib.error:
            continue
        if undoing.eof and not undoing.unused_data:
            return found, None
        return b"", f"the answer is no {codings[0]} of at most {_ANSWER_LIMIT:,} bytes"
    return b"", f"the answer is no {codings[0]}"


_WINDOW_BITS = {
    "gzip": (16 + zlib.MAX_WBITS,),
    "x-gzip": (16 + zlib.MAX_WBITS,),
    "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS),  # RFC 9110 means zlib; some servers send it bare
}


def _network_words(error: Exception) -> str:
    cause = str(error.__cause__ or error) or type(error).__name__
    return f"{type(error).__name__}: {cause}"[:_TEXT_LIMIT]
