"""Debian's Prometheus, scraping one relay: found, never downloaded. It ends with whoever started it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from testbed.database import leash
from testbed.rig import patience, yaml_text


def missing() -> str | None:
    """Why none can be run here; None where one can."""
    return None if shutil.which("prometheus") else "cannot run here: no prometheus; apt install prometheus"


def free_port() -> int:
    """One that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def asked(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        if answer["status"] != "success":
            raise AssertionError(f"{expression}: {answer['error']}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Every alert rule that was read, with its health and its state."""
        groups = httpx.get(f"{self.url}/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextlib.contextmanager
def scraping(target: str, folder: Path, *, rules: Path) -> Iterator[Prometheus]:
    """One that asks `target` (host and port) each second, under the job that the rules expect."""
    config, address = folder / "prometheus.yml", f"127.0.0.1:{free_port()}"
    scrape = {"job_name": "kiva-relay", "static_configs": [{"targets": [target]}]}
    timing = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config.write_text(yaml_text.of({"global": timing, "rule_files": [str(rules)], "scrape_configs": [scrape]}))
    program = shutil.which("prometheus")
    assert program is not None
    told = {"config.file": config, "storage.tsdb.path": folder / "series", "web.listen-address": address}
    command = [program, *(f"--{name}={value}" for name, value in told.items())]
    with (folder / "prometheus.log").open("wb") as log:
        held = leash.Leash(command, log=log, how=signal.SIGTERM)
        try:
            patience.eventually(lambda: held.process.poll() is not None or _is_ready(address))
            assert held.process.poll() is None, (folder / "prometheus.log").read_text(errors="replace")
            yield Prometheus(f"http://{address}")
        finally:
            held.process.terminate()
            patience.ended(held.process)
            held.let_go()


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/-/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
