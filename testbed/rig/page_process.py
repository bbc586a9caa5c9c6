"""The coordinator's page as a process, and a browser without a window that asks it."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from kiva_relay.clock import Clock
from kiva_relay.config import loader
from kiva_relay.outbox.database import Outbox
from kiva_relay.page import server
from testbed.rig import patience

_AT = re.compile(r"The page is at (\S+)")
_FORM = re.compile(r'name="form" value="([^"]+)"')
_BUTTON = re.compile(r'<button name="do" value="([^"]+)">([^<]+)</button>')


@contextlib.contextmanager
def running(config: Path, folder: Path) -> Iterator[str]:
    """`kiva-relay page` with this configuration; the address at which it answers."""
    log = folder / "page.log"
    with log.open("w") as written:
        command = [sys.executable, "-m", "kiva_relay", "page", "--config", str(config)]
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT)
    try:
        found: list[str] = []

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            found[:] = _AT.findall(log.read_text())
            return bool(found)

        patience.eventually(answers)
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        code = patience.ended(process)
    assert code == 0, log.read_text()


@contextlib.contextmanager
def served(config: Path, folder: Path, *, clock: Clock) -> Iterator[str]:
    """The page in a thread of this process, beside the outbox in a folder; its address."""
    with contextlib.closing(Outbox(f"sqlite:///{folder / 'outbox.db'}")) as outbox:
        settings = loader.load(config, environ={"KIVA_SECRET": "s"})
        with server.in_a_thread(settings, outbox, clock=clock) as at:
            yield at


@dataclass
class Browser:
    """Somebody at the page. Follows what it is told to, keeps its cookie."""

    client: httpx.Client

    def log_in(self, name: str, password: str) -> httpx.Response:
        """Name and password."""
        return self.client.post("/login", data={"name": name, "password": password})

    def open(self, path: str = "/") -> httpx.Response:
        """A page."""
        return self.client.get(path)

    def buttons(self, path: str = "/") -> dict[str, str]:
        """Label → what the button carries, of a page."""
        return {label.strip(): value for value, label in _BUTTON.findall(self.open(path).text)}

    def form(self) -> str:
        """What a form of this session brings back."""
        (found, *_) = _FORM.findall(self.open().text)
        return str(found)

    def press(self, value: str, *, note: str = "", form: str | None = None) -> httpx.Response:
        """Press a button."""
        fields = {"form": self.form() if form is None else form, "do": value, "note": note}
        return self.client.post("/act", data=fields)


@contextlib.contextmanager
def browser(url: str, *, follow: bool = True, **headers: str) -> Iterator[Browser]:
    """A browser with an empty cookie jar."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client(base_url=url, headers=named, follow_redirects=follow, trust_env=False, timeout=60) as client:
        yield Browser(client)
