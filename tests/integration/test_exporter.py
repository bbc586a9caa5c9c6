from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kiva_relay import __version__, log, meter
from kiva_relay.errors import RelayError
from kiva_relay.service import http
from testbed.rig.note_site import NoteSite


@pytest.fixture
def missing() -> list[str]:
    return []


@pytest.fixture
def server(missing: list[str]) -> Iterator[http.HttpServer]:
    server = http.start("127.0.0.1:0", missing=lambda: missing)
    yield server
    server.close()


def test_prometheus_reads_our_numbers(server: http.HttpServer) -> None:
    meter.last_success.labels("repayment").set(1_796_000_000)
    meter.attempts_open.set(0)
    answer = httpx.get(f"{server.url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {sample.name for family in text_string_to_metric_families(answer.text) for sample in family.samples}
    assert "kiva_relay_last_success_timestamp_seconds" in samples
    assert "kiva_relay_attempts_open" in samples


def test_a_relay_says_whose_it_is(server: http.HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s")
    with NoteSite(tmp_path).relay():
        answer = httpx.get(f"{server.url}/metrics")
    told = [
        sample.labels
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "kiva_relay_info" and sample.value == 1
    ]
    assert {"version": __version__, "environment": "sandbox", "partner": "123"} in told


def test_openmetrics_is_spoken_too(server: http.HttpServer) -> None:
    answer = httpx.get(f"{server.url}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_ready_says_what_is_missing(server: http.HttpServer, missing: list[str]) -> None:
    assert (httpx.get(f"{server.url}/readyz").status_code, httpx.get(f"{server.url}/readyz").text) == (200, "ready\n")
    missing.append("the MIS is not reachable")
    answer = httpx.get(f"{server.url}/readyz")
    assert (answer.status_code, answer.text) == (503, "the MIS is not reachable\n")
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_head_has_no_body_and_other_pages_are_not_there(server: http.HttpServer) -> None:
    for path in ("healthz", "metrics"):
        answer = httpx.head(f"{server.url}/{path}")
        assert (answer.status_code, answer.text) == (200, "")
    assert httpx.get(f"{server.url}/").status_code == 404
    assert httpx.post(f"{server.url}/metrics").status_code == 405


def test_a_page_that_cannot_be_made_is_one_line_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> list[str]:
        raise LookupError("Awa Ndiaye")

    log.configure()  # another test may have sent the log elsewhere
    server = http.start("127.0.0.1:0", missing=broken)
    answer = httpx.get(f"{server.url}/readyz")
    server.close()
    assert answer.status_code == 500
    assert "Awa" not in answer.text
    (line,) = capsys.readouterr().err.splitlines()
    assert "a page could not be made error=LookupError" in line
    assert "Awa" not in line


def test_a_port_that_is_taken_is_told(server: http.HttpServer) -> None:
    listen = server.url.removeprefix("http://")
    with pytest.raises(RelayError, match=rf"nothing can listen on {listen}: Address already in use") as wrong:
        http.start(listen, missing=list)
    assert wrong.value.hint is not None
    assert "metrics.listen: off" in wrong.value.hint


def test_the_port_is_given_back() -> None:
    server = http.start("127.0.0.1:0", missing=list)
    server.close()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(server.url.rpartition(":")[2])))


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python knows no IPv6")
def test_ipv6() -> None:
    server = http.start("[::1]:0", missing=list)
    assert server.url.startswith("http://[::1]:")
    assert httpx.get(f"{server.url}/healthz").text == "running\n"
    server.close()
