"""The HTTP client against real sockets: proxies, codings, drips, cookies, certificates, variables."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import certifi
import pytest

from kiva_relay import __version__, errors
from kiva_relay.config import loader
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import client, document, outcome, proxy
from kiva_relay.delivery.client import Answer, Client
from kiva_relay.delivery.document import NotUnderstood
from kiva_relay.delivery.outcome import Outcome
from testbed.rig import configuration, patience, raw_server, scripted_kiva
from testbed.rig.outboxes import NOW
from testbed.rig.raw_server import http

KEY = "k"


@pytest.fixture
def kiva(tmp_path: Path) -> Kiva:
    text = configuration.WRITTEN.replace("{env: KIVA_SECRET}", "'a secret'")
    return loader.load(configuration.write(tmp_path, text=text), environ={}).kiva


def at(kiva: Kiva, url: str, *, read: float = 20.0, **changes: Any) -> Kiva:
    timeout = kiva.timeout.model_copy(update={"read": timedelta(seconds=patience.seconds(read))})
    return kiva.model_copy(update={"api_url": url, "token_url": f"{url}/token", "timeout": timeout} | changes)


def posted(kiva: Kiva, environ: Mapping[str, str] | None = None) -> Answer:
    made = Client(kiva, environ=environ or {})
    try:
        return made.post("/x", b'{"amount":1}', token="t", key=KEY)
    finally:
        made.close()


def becomes(answer: Answer) -> Outcome:
    return outcome.decide(answer, shape=False, now=NOW).outcome


# ---------------------------------------------------------------- what is sent, and what is kept


def test_it_says_who_it_is_and_asks_for_no_coding(kiva: Kiva) -> None:
    with raw_server.serving(lambda connection, _request: connection.sendall(http(b"{}"))) as server:
        assert document.read(posted(at(kiva, server.url))) == {}
    head = server.requests[0].lower()
    assert f"user-agent: kiva-relay/{__version__} (partner 123)".encode() in head
    assert b"accept-encoding: identity" in head
    assert b"authorization: bearer t" in head
    assert b"connection: close" in head
    assert server.requests[0].endswith(b'{"amount":1}')


def test_no_cookie_is_kept_and_no_redirect_followed(kiva: Kiva) -> None:
    def serve(connection: socket.socket, _request: bytes) -> None:
        more = (f"Location: http://127.0.0.1:{server.port}/other", "Set-Cookie: a=b; Path=/")
        connection.sendall(http(b"{}", *more, status="302 Found"))

    with raw_server.serving(serve) as server:
        made = Client(at(kiva, server.url), environ={})
        answers = [made.get("/x", token="t"), made.get("/x", token="t"), made.form(f"{server.url}/token", {"a": "b"})]
        made.close()
    assert [answer.status for answer in answers] == [302, 302, 302]
    assert len(server.requests) == 3
    assert all(b"cookie" not in request.lower() for request in server.requests)


def test_five_kilobytes_stay_five_kilobytes(kiva: Kiva) -> None:
    bomb = gzip.compress(gzip.compress(b" " * 50_000_000))
    reply = http(bomb, "Content-Encoding: gzip, gzip")
    with raw_server.serving(lambda connection, _request: connection.sendall(reply)) as server:
        found = posted(at(kiva, server.url))
    assert (found.status, found.read_whole, found.content) == (200, False, b"")
    assert isinstance(document.read(found), NotUnderstood)
    assert becomes(found) is Outcome.IN_DOUBT


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_a_slow_drip_ends(kiva: Kiva, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    """One byte now and then passes every time-out of a single read; the request as a whole has an end."""

    def serve(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"H" if not start else b" ")
            threading.Event().wait(0.02)

    with raw_server.serving(serve) as server:
        made = Client(at(kiva, server.url), environ={})
        monkeypatch.setattr(made, "_longest", 1.0)
        found = made.post("/x", b"{}", token="t", key=KEY)
        made.close()
    assert found.body_complete
    assert not found.read_whole
    assert "ReadTimeout" in (found.error or "")
    assert becomes(found) is Outcome.IN_DOUBT


def test_a_loop_gone_wild_is_not_kivas_to_find_out(kiva: Kiva, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_AN_HOUR", 3)
    clock = scripted_kiva.clock()
    with raw_server.serving(lambda connection, _request: connection.sendall(http(b"{}"))) as server:
        made = Client(at(kiva, server.url), clock=clock, environ={})
        assert [made.post("/x", b"", token="t", key=KEY).status for _ in range(4)] == [200, 200, 200, None]
        refused = made.post("/x", b"", token="t", key=KEY)
        clock.passes(1_200)
        assert made.post("/x", b"", token="t", key=KEY).status == 200
        made.close()
    assert refused.words == "not asked: more than 3 requests within an hour"
    assert becomes(refused) is Outcome.NOT_PROCESSED


# ---------------------------------------------------------------- proxies


def _close(_connection: socket.socket, _request: bytes) -> None:
    """Without a word."""


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 403 Forbidden\r\n\r\n", http(b"who?", status="407 Proxy Authentication Required"), http(b"", status="502 Bad Gateway"), b"garbage\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n"]
)  # fmt: skip
def test_what_a_proxy_refuses_was_surely_not_processed(kiva: Kiva, reply: bytes) -> None:
    """The trace tells of the CONNECT's own body as well: behind a proxy each of these was in doubt."""
    with raw_server.serving(lambda connection, _request: connection.sendall(reply)) as server:
        found = posted(at(kiva, "https://partner-api.example", proxy=server.url))
    assert server.requests[0].startswith(b"CONNECT partner-api.example:443")
    assert (found.status, found.body_complete) == (None, False)
    assert becomes(found) is Outcome.NOT_PROCESSED


def test_a_proxy_that_hangs_has_not_processed_it_either(kiva: Kiva) -> None:
    def hang(connection: socket.socket, _request: bytes) -> None:
        connection.recv(1)

    with raw_server.serving(hang) as server:
        found = posted(at(kiva, "https://partner-api.example", read=0.2, proxy=server.url))
    assert "ReadTimeout" in found.words
    assert becomes(found) is Outcome.NOT_PROCESSED


def test_what_left_through_a_proxy_and_was_lost_is_in_doubt(kiva: Kiva) -> None:
    with raw_server.serving(_close) as server:
        found = posted(at(kiva, "http://partner-api.example", proxy=server.url))
    assert found.body_complete
    assert becomes(found) is Outcome.IN_DOUBT


KIVA = "https://partner-api.k1.kiva.org"
PROXY = "http://p.example:3128"


@pytest.mark.parametrize(
    ("environ", "way"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": "p.example:3128"}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "socks5h://p:1"}, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "[::1], fe80::/10 ,10.0.0.0/8"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "[::1],.kiva.org"}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*.k1.kiva.org"}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "kiva.org:443"}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "kiva.org:8443,notkiva.org,[,],fe80::/999,::,:²,http://"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "*"}, None),
        ({"ALL_PROXY": "socks5h://p:1", "NO_PROXY": "kiva.org"}, None),
    ],
)
def test_variables_that_are_understood(environ: dict[str, str], way: str | None) -> None:
    assert proxy.of(KIVA, setting=None, environ=environ) == way
    assert proxy.of(KIVA, setting="http://mine:1", environ=environ) == "http://mine:1"


@pytest.mark.parametrize(
    ("url", "no_proxy", "exempt"),
    [
        ("http://[::1]:8765", "[::1]", True),
        ("http://[::1]:8765", "::1", True),
        ("http://[::1]:8765", "[::1]:8765", True),
        ("http://[::1]:8765", "[::1]:1", False),
        ("http://[fe80::7]", "fe80::/10", True),
        ("http://10.1.2.3", "10.0.0.0/8", True),
        ("http://10.1.2.3", "10.1.2.3/33", False),
        ("http://127.0.0.1", "localhost", False),
        ("http://localhost", "localhost", True),
    ],
)
def test_who_needs_no_proxy(url: str, no_proxy: str, *, exempt: bool) -> None:
    way = proxy.of(url, setting=None, environ={"HTTP_PROXY": PROXY, "NO_PROXY": no_proxy})
    assert way == (None if exempt else PROXY)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5h://user:s3cret@p.example:1080"),
        ("HTTPS_PROXY", "ftp://p.example"),
        ("https_proxy", "http://"),
        ("HTTPS_PROXY", "http://user:s3cret@p.example:x"),
        ("HTTPS_PROXY", "http://[::1"),
        ("HTTPS_PROXY", "http://p.example :3128"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named_and_nothing_starts(kiva: Kiva, variable: str, value: str) -> None:
    with pytest.raises(errors.UsageError, match=variable) as named:
        Client(at(kiva, KIVA), environ={variable: value})
    assert named.value.exit_code == 2
    assert "s3cret" not in f"{named.value} {named.value.hint}"


# ---------------------------------------------------------------- certificates


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_store_that_is_gone_is_named(kiva: Kiva, tmp_path: Path, variable: str) -> None:
    with pytest.raises(errors.UsageError, match=variable):
        Client(at(kiva, KIVA), environ={variable: str(tmp_path / "gone.pem")})


@pytest.mark.parametrize(
    "content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"]
)
def test_an_authority_that_is_no_pem_is_a_mistake_of_the_configuration(
    kiva: Kiva, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(content)
    with pytest.raises(errors.UsageError, match=r"kiva.ca is .*ca.pem, which holds no certificate in PEM"):
        Client(at(kiva, KIVA, ca=file), environ={})


def test_further_authorities_are_added_to_the_systems_own(tmp_path: Path) -> None:
    """They replaced all others."""
    every = ssl.create_default_context(cafile=certifi.where())
    one, two = (ssl.DER_cert_to_PEM_cert(each) for each in every.get_ca_certs(binary_form=True)[:2])
    (tmp_path / "system.pem").write_text(one)
    (tmp_path / "ca.pem").write_text(two)
    found = proxy.trusted(tmp_path / "ca.pem", environ={"SSL_CERT_FILE": str(tmp_path / "system.pem")})
    assert sorted(map(ssl.DER_cert_to_PEM_cert, found.get_ca_certs(binary_form=True))) == sorted([one, two])
    assert found.verify_mode is ssl.CERT_REQUIRED
    assert found.check_hostname


def test_without_variables_the_systems_store_is_trusted() -> None:
    found = proxy.trusted(None, environ={})
    assert found.get_ca_certs() or ssl.get_default_verify_paths().capath
