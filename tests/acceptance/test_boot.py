"""The package in a Debian that was booted with a real systemd: everything that an administrator does to it."""

from __future__ import annotations

import pytest

from testbed.boot import __main__ as booted

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_installed_used_upgraded_removed(suite: str) -> None:
    reason = booted.lacking(suite)
    if reason:
        pytest.skip(f"cannot run here: {reason}")
    try:
        well, log = booted.boot(suite)
    except booted.NotBootedError as error:
        pytest.skip(f"cannot run here: {error}")
    assert well, log[-6000:]
    for answer in (
        "ActiveState=active",
        "NRestarts=",
        "StatusText=",
        "enabled",
        "kiva-relay.service",
        "the server took it",
        "differ",
    ):
        assert answer in log
