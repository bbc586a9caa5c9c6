from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kiva_relay import errors
from testbed.kiva import server
from testbed.kiva.config import KivaConfig
from testbed.kiva.control import Sandbox
from testbed.rig import patience
from testbed.rig.partner_caller import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "testbed.kiva", "--listen", "127.0.0.1:0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        try:
            yield running, line.split()[-1]
        finally:
            running.kill()


def test_it_runs_as_a_process_and_ends_when_told(tmp_path: Path) -> None:
    fault = '{"kind": "status", "status": 429, "on": "loan_draft"}'
    with (
        process("--partner", "77", "--coordinator", "publish_after=0s", "--fault", fault) as (running, url),
        Caller(url, partner="77") as caller,
    ):
        assert caller.token()["partnerId"] == "77"
        assert [caller.draft("A-1").status_code for _ in "ab"] == [429, 200]
        assert caller.loans("fundRaising")["total_records"] == 1
        running.send_signal(signal.SIGTERM)
        assert patience.ended(running) == 0


def test_what_was_accepted_survives_a_killed_process(tmp_path: Path) -> None:
    ledger = ("--ledger", str(tmp_path / "ledger.jsonl"))
    with process(*ledger) as (running, url), Caller(url) as caller, Sandbox(url) as sandbox:
        sandbox.seed_loans([{"internal_loan_id": "S-1"}])
        caller.draft("A-1", description="«Thiès»")
        deleted = caller.draft("A-2").json()["loan_draft_uuid"]
        sandbox.delete_draft(deleted)
        caller.report({"loan_id": "S-1", "amount": 12.5})
        sandbox.publish_all()
        sandbox.set_status("S-1", "ended")
        before = sandbox.ledger(), sandbox.loans()
        running.kill()
        running.wait()
    with process(*ledger) as (_, url), Caller(url) as caller, Sandbox(url) as sandbox:
        assert (sandbox.ledger(), sandbox.loans()) == before
        caller.draft("A-3")
        assert [record["number"] for record in sandbox.ledger(since=3)] == [4]
        assert sandbox.ledger(since=3)[0]["request"] > before[0][-1]["request"]
        assert caller.loans("ended")["data"][0]["internal_loan_id"] == "S-1"


def test_wrong_use_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="expected ADDRESS:PORT"):
        server.start("nowhere")
    with server.start(config=KivaConfig(ledger=tmp_path / "ledger.jsonl")) as running:
        with pytest.raises(errors.UsageError, match="cannot listen"):
            server.start(running.url.removeprefix("http://"))
        with pytest.raises(errors.UsageError, match="in use by another sandbox"):
            server.start(config=KivaConfig(ledger=tmp_path / "ledger.jsonl"))
    run = subprocess.run(
        [sys.executable, "-m", "testbed.kiva", "--coordinator", "publish_after=5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "expected a duration with its unit" in run.stderr
