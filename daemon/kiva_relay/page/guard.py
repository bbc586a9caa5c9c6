"""What no request gets past: the name it is for, its size, where it came from; and what each answer demands."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST_BODY = 64_000

_SAFE = ("GET", "HEAD")
_HEADERS = {
    # Nothing but our own stylesheet is loaded, nothing is run, nothing frames us, no form goes elsewhere.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_FOR_A_YEAR = "max-age=31536000"


class Guard:
    """Lets in what is for one of `hosts` (with their ports, as the Host header has them), and is not too big."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], encrypted: bool) -> None:
        self._app, self._hosts, self._encrypted = app, frozenset(hosts), encrypted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if self._encrypted:
                    headers["Strict-Transport-Security"] = _FOR_A_YEAR
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await PlainTextResponse(refused, status_code=400)(scope, receive, answer)
            return
        await self._app(scope, _bounded(receive), answer)

    def _refused(self, scope: Scope) -> str | None:
        """Why a request is not answered. A name that is not ours is how another site comes in by DNS."""
        given: dict[str, list[str]] = {}
        for name, content in scope["headers"]:
            given.setdefault(name.decode("latin-1").lower(), []).append(content.decode("latin-1"))
        host = given.get("host", [])
        if len(host) != 1 or host[0].lower() not in self._hosts:
            return "There is no page under this name here."
        if "transfer-encoding" in given:
            # Beside a length, a proxy before us may go by the other of the two, and see another end of the request.
            return "The request is too long, or does not say how long it is."
        if scope["method"] not in _SAFE:
            length = given.get("content-length", [""])[0]
            if not length.isdigit() or int(length) > LONGEST_BODY:
                return "The request is too long, or does not say how long it is."
            for origin in given.get("origin", []):
                if urlsplit(origin).netloc.lower() != host[0].lower():
                    return "The form came from another site."
            if any(site not in ("same-origin", "none") for site in given.get("sec-fetch-site", [])):
                return "The form came from another site."
        return None


def _bounded(receive: Receive) -> Receive:
    """A body that says it is short may be long all the same."""
    left = LONGEST_BODY

    async def read() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return read
