"""Where the page listens, under which names it is reached, and whether it is encrypted."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from urllib.parse import urlsplit

from kiva_relay import errors
from kiva_relay.config import value
from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class PagePlace:
    """A socket that listens. `hosts` are the names that are answered; `url` is what a person opens."""

    listener: socket.socket
    url: str
    hosts: tuple[str, ...]
    encrypted: bool


def take(settings: Settings) -> PagePlace:
    """Listen where the settings say.

    Raises:
        UsageError: nothing can listen there; it is not this machine alone and nothing would be encrypted; the
            certificate and its key do not fit.
    """
    page = settings.page
    host, port = value.address(page.listen)
    if (page.certificate is None) != (page.key is None):
        raise errors.UsageError(
            "A certificate and its key go together.", hint="name both, page.certificate and page.key, or neither"
        )
    if page.certificate is None and not _is_loopback(host):
        raise errors.UsageError(
            f"page.listen is {page.listen}: passwords would cross the network in the open.",
            hint="page.listen: 127.0.0.1:8770 with a proxy before it, or page.certificate and page.key.",
        )
    if page.certificate is not None and page.key is not None:
        _fits(page.certificate, page.key)
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64
        )
    except OSError as error:
        raise errors.UsageError(
            f"page.listen: nothing can listen on {page.listen}: {error.strerror or error}.",
            hint=f"sudo ss -ltnp 'sport = :{port}'",
        ) from None
    taken = listener.getsockname()[1]
    own = f"{'https' if page.certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{taken}"
    return PagePlace(
        listener=listener,
        url=page.url or own,
        hosts=_hosts(own, page.url, taken),
        encrypted=(page.url or own).startswith("https:"),
    )


def _hosts(own: str, url: str | None, port: int) -> tuple[str, ...]:
    """The names as a Host header has them: the port of a proxy is that of its scheme, and not said."""
    found = [urlsplit(own).netloc, *(f"{name}:{port}" for name in _LOOPBACK)]
    if url is not None:
        found.append(urlsplit(url).netloc)
    return tuple(dict.fromkeys(name.lower() for name in found))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _fits(certificate: object, key: object) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(str(certificate), str(key))
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror or error
        raise errors.UsageError(
            f"page.certificate and page.key cannot be used: {why}.",
            hint=f"openssl x509 -noout -subject -enddate -in {certificate}",
        ) from None
