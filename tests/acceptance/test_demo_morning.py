"""The demo's morning, played with the mouse alone: three decisions, a follow-up confirmed, the month finalised."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.demo.morning import UNKNOWN
from testbed.rig import chromium, patience

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing() or "")]

LINK = re.compile(r"The coordinator's page +(http://\S+) +name: (\S+) +password: (\S+)")


@pytest.mark.timeout(500)
def test_a_morning_by_the_mouse(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "testbed.demo", "--clients", "300", "--for", "6s", "--keep"]
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as demo:
        try:
            assert demo.stdout is not None
            found = next((LINK.search(line) for line in demo.stdout if LINK.search(line)), None)
            assert found is not None
            plays(*found.groups())
        finally:
            if demo.poll() is None:
                demo.send_signal(signal.SIGINT)
            demo.communicate(timeout=patience.seconds(60))
    assert list(tmp_path.iterdir()) == []


def plays(url: str, name: str, password: str) -> None:
    """What she does."""
    with chromium.running() as browser, browser.window(url) as window:
        window.log_in(name, password)
        window.page.get_by_role("link", name="Report", exact=True).click()

        def are_asked() -> bool:
            window.page.reload()
            return all(loan in window.text for loan in UNKNOWN)

        patience.eventually(are_asked, within=60)
        decided = 0
        while decided < 3:
            before = window.page.locator("article").count()
            window.press("Leave out")
            window.page.wait_for_url("**said=did")
            assert window.page.locator("article").count() <= before
            decided += 1
        assert "Done. It is written down with your name." in window.text
        window.page.get_by_role("link", name="Follow-ups", exact=True).click()
        waiting = window.page.locator("article").count()
        assert waiting > 0
        assert window.page.get_by_role("link", name="Open in PA2, read, publish").first.is_visible()
        window.press("Mark as done")
        window.page.wait_for_url("**said=did")
        window.page.get_by_role("link", name="Report", exact=True).click()
        window.press("Finalised in PA2")
        window.page.wait_for_load_state()
        window.page.get_by_role("link", name="What was done", exact=True).click()
        told = window.text
        assert told.count("decided not to report it") == 3
        assert told.count("marked as done") == 1
        assert told.count("finalised the report") == 1
        assert window.left_the_host() == []
