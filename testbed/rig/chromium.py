"""Debian's Chromium, driven as a person would: found, never downloaded. What leaves the host is noted."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from testbed.rig import patience

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTHS = (360, 768, 1280)
"""Of a telephone, a tablet and an office PC, in pixels."""
_HEIGHT = 900


def missing() -> str | None:
    """Why no browser can be driven here; None where one can."""
    if _program() is None:
        return "cannot run here: no chromium; apt install chromium"
    return None


def _program() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass
class Window:
    """A window of the browser at the relay's page. `asked` are all addresses that it asked for, `said` its errors."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def open(self, path: str = "/") -> None:
        """Go there."""
        self.page.goto(f"{self.url}{path}")

    def log_in(self, name: str, password: str) -> None:
        """As a person does: two fields and Enter."""
        self.open("/login")
        self.page.fill("#name", name)
        self.page.fill("#password", password)
        self.page.press("#password", "Enter")
        self.page.wait_for_url(f"{self.url}/")

    def press(self, label: str, *, within: str = "main") -> None:
        """Click the first button that is called so, by the mouse."""
        button = self.page.locator(within).get_by_role("button", name=label, exact=True).first
        button.scroll_into_view_if_needed()
        button.click()

    @property
    def text(self) -> str:
        """What a person reads."""
        return self.page.inner_text("body")

    def left_the_host(self) -> list[str]:
        """Requests to anybody else."""
        own = urlsplit(self.url).netloc
        return [one for one in self.asked if urlsplit(one).scheme != "data" and urlsplit(one).netloc != own]

    def violations(self) -> list[str]:
        """What axe-core finds: the rule, and where."""
        from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - for these tests alone

        options: dict[str, Any] = {
            "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
        }
        found = Axe().run(self.page, options=options).response["violations"]
        return [f"{one['id']}: {json.dumps([node['target'] for node in one['nodes']])}" for one in found]

    def overflows(self) -> bool:
        """Does the page have to be moved sideways to be read?"""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def too_small(self) -> list[str]:
        """Buttons and fields that are smaller than 24 pixels, which WCAG 2.2 asks for."""
        script = """() => [...document.querySelectorAll('button, input:not([type=hidden]), summary, a.button')]
            .filter(one => { const box = one.getBoundingClientRect();
                             return box.width && (box.width < 24 || box.height < 24); })
            .map(one => one.outerHTML.slice(0, 80))"""
        return [str(one) for one in self.page.evaluate(script)]

    def photograph(self, file: Path) -> Path:
        """The whole page, as it is seen."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=file, full_page=True)
        return file


@dataclass
class Chromium:
    """A browser that runs."""

    browser: Any

    @contextlib.contextmanager
    def window(self, url: str, *, width: int = 1280, scripts: bool = False) -> Iterator[Window]:
        """A window with an empty cookie jar, in which no script runs: as she would have it who has switched them off.

        axe-core is a script: `scripts` for it. The page's own policy lets none of ours run, so it is switched off, too.
        """
        context = self.browser.new_context(
            viewport={"width": width, "height": _HEIGHT}, java_script_enabled=scripts, bypass_csp=scripts
        )
        context.set_default_timeout(patience.seconds(patience.USUAL) * 1000)
        try:
            page = context.new_page()
            window = Window(page, url)
            page.on("request", lambda asked: window.asked.append(asked.url))
            page.on("pageerror", lambda error: window.said.append(str(error)))
            page.on("console", lambda said: window.said.append(said.text) if said.type == "error" else None)
            yield window
        finally:
            context.close()


@contextlib.contextmanager
def running() -> Iterator[Chromium]:
    """Debian's browser without a window."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - for these tests alone

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=_program(),
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
            timeout=patience.seconds(patience.USUAL) * 1000,
        )
        try:
            yield Chromium(browser)
        finally:
            browser.close()
