"""HTTP to Kiva: one request, one answer, and the evidence of how far the request came. Never repeats anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from kiva_relay import __version__
from kiva_relay.config.kiva import Kiva

_ANSWER_LIMIT = 4_000_000
_TEXT_LIMIT = 2_000


@dataclass(frozen=True)
class Answer:
    """What came back, and what is known about what left.

    `status` is None when no status line came. `body_complete` is true once the last byte of the request was
    handed to the network: from then on silence does not mean "not processed". `read_whole` is false when the
    answer was cut in its middle.
    """

    status: int | None
    headers: Mapping[str, str]
    content: bytes
    body_complete: bool
    read_whole: bool
    error: str | None = None

    @property
    def json(self) -> Any:
        """The answer as JSON, or None when it is none, or was cut."""
        if not self.read_whole:
            return None
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError:
            return None

    @property
    def words(self) -> str:
        """What Kiva, its gateway or the network said, bounded: for people, never parsed."""
        if self.error is not None:
            return self.error
        return self.content[:_TEXT_LIMIT].decode("utf-8", "replace").strip()


class _Trace:
    """Sees, through httpcore's trace extension, whether the whole request left.

    Only this tells a request that was cut in its middle from an answer that was lost: httpx raises the same
    class for both. A proxy's CONNECT is a request of its own; each new one starts the count again.
    """

    def __init__(self) -> None:
        self.body_complete = False

    def __call__(self, name: str, _info: Mapping[str, Any]) -> None:
        if name.endswith("send_request_headers.started"):
            self.body_complete = False
        elif name.endswith("send_request_body.complete"):
            self.body_complete = True


class Client:
    """Connections to one Kiva environment.

    A POST that cannot be repeated never uses a kept-alive connection: one that went stale looks just like a
    lost answer.
    """

    def __init__(self, kiva: Kiva, *, heard: Callable[[httpx.Headers], object] = lambda _headers: None) -> None:
        self._base = kiva.api_url.rstrip("/")
        timeout = httpx.Timeout(
            connect=kiva.timeout.connect.total_seconds(),
            write=kiva.timeout.write.total_seconds(),
            read=kiva.timeout.read.total_seconds(),
            pool=kiva.timeout.connect.total_seconds(),
        )
        shared: dict[str, Any] = {
            "timeout": timeout,
            "follow_redirects": False,
            "trust_env": True,
            "proxy": kiva.proxy,
            "event_hooks": {"response": [lambda response: heard(response.headers)]},
            "headers": {"User-Agent": f"kiva-relay/{__version__}"},
        }
        if kiva.ca is not None:
            import ssl  # noqa: PLC0415 - only a private authority needs it

            shared["verify"] = ssl.create_default_context(cafile=str(kiva.ca))
        self._reading = httpx.Client(**shared)
        self._posting = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), **shared)

    def get(self, path: str, *, token: str, params: Mapping[str, str | int] | None = None) -> Answer:
        """GET under the API base; harmless at any time."""
        request = self._reading.build_request(
            "GET", self._base + path, params=params, headers={"Authorization": f"Bearer {token}"}
        )
        return _exchange(self._reading, request)

    def post(self, path: str, content: bytes, *, token: str, key: str) -> Answer:
        """POST JSON under the API base, on a connection of its own, once.

        `key` goes along as Idempotency-Key (draft-ietf-httpapi-idempotency-key-header); nothing relies on it.
        """
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json; charset=utf-8",
            "Connection": "close",
            "Idempotency-Key": key,
        }
        return _exchange(
            self._posting,
            self._posting.build_request("POST", self._base + path, content=content, headers=headers),
        )

    def form(self, url: str, fields: Mapping[str, str]) -> Answer:
        """POST a form to an absolute URL: asking for a token, harmless at any time."""
        return _exchange(self._reading, self._reading.build_request("POST", url, data=dict(fields)))

    def close(self) -> None:
        """Close all connections; a request under way in another thread ends with an error."""
        self._reading.close()
        self._posting.close()


def _exchange(client: httpx.Client, request: httpx.Request) -> Answer:
    trace = _Trace()
    request.extensions["trace"] = trace
    try:
        response = client.send(request, stream=True)
    except (httpx.HTTPError, OSError) as error:
        return Answer(None, {}, b"", trace.body_complete, read_whole=False, error=_network_words(error))
    with contextlib.closing(response):
        content = bytearray()
        whole, error_text = True, None
        try:
            for piece in response.iter_bytes():
                content += piece
                if len(content) > _ANSWER_LIMIT:
                    whole = False
                    break
        except (httpx.HTTPError, OSError) as error:
            whole, error_text = False, _network_words(error)
        return Answer(response.status_code, response.headers, bytes(content), trace.body_complete, whole, error_text)


def _network_words(error: Exception) -> str:
    cause = str(error.__cause__ or error) or type(error).__name__
    return f"{type(error).__name__}: {cause}"
