"""Each command that the documentation shows is typed by a test, or stands here with the reason why not.

That it exists, with its options, tests/unit/test_docs.py looks with the real parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay import cli
from kiva_relay.cli import frame
from testbed.rig import full_outbox, shown
from testbed.rig.full_outbox import Run
from testbed.rig.november import NOW, November
from testbed.rig.shown import Shown
from testbed.rig.site import Site

ROOT = Path(__file__).parents[2]
READS = {
    *("config sample", "check", "mapping list", "mapping check", "mapping show", "mapping test", "mapping preview"),
    *("mapping diff", "mapping schema", "lists", "rehearse", "status", "report", "review", "acts", "outbox list"),
    *("outbox show", "watermark show", "reconcile"),
}
"""Commands that change nothing, but for these:"""
WRITES = {"--staging": "sends to Kiva's staging", "--record": "writes an example"}
NAMED = {"mapping show", "mapping preview", "outbox show"}
"""Without what they are asked about they are only named, as in a sentence."""
FIRST = "kiva-relay run --once"

NOT_RUN: dict[str, str] = {
    r"sudo apt (install|remove|purge) ": "needs a Debian of its own: testbed/boot does it",
    r"sudo systemctl |sudo systemd-": "needs systemd: testbed/boot does it",
    r"sudo kiva-relay fleet status": "looks below /etc: tests/integration/test_cli_fleet.py",
    r"sudo kiva-relay check --config north": "names a partner below /etc: tests/unit/test_partner.py does it",
    r"sudo kiva-relay init": "asks, and writes below /etc: tests/integration/test_cli_init.py, testbed/boot",
    r"max by \(instance\)": "is a question to Prometheus, not to a shell",
    r"make demo$": "is the demo: tests/acceptance/test_demo.py runs it",
    r"make test$": "is this run",
    r"make wheel$|sudo python3 -m venv|sudo /opt/kiva-relay/bin/pip": "installs: tests/acceptance/test_wheel.py",
    r"python3 -m venv|\.venv/bin/pip|\. \.venv/bin/activate": "installs: tests/acceptance/test_wheel.py",
    r"export ": "sets variables of a shell",
    r"sudo ln -s|sudo install (-D )?-m 644 ": "needs root, and is for who has no package: what it copies is looked for below",
    r"sudo install -m 640|sudoedit": "needs root and the service's group: testbed/boot has its secrets so",
    r"sudo kiva-relay outbox (backup|recover)|sudo rm -f /var/lib": "tests/integration/test_backup_rehearsed.py types it",
    r"sudo install -o kiva-relay -g kiva-relay -m 0600 /var/backups/": "tests/integration/test_backup_rehearsed.py, testbed/boot",
    r"kiva-relay sandbox ": "serves until Ctrl-C: tests/integration/test_sandbox_process.py",
    r"sudo kiva-relay migrate --copy": "changes the outbox: tests/integration/test_server_outbox_upgraded.py, testbed/boot",
    r"sudo kiva-relay (release|hold) ": "decides what is sent: tests/integration/test_cli_outbox.py, testbed/boot",
    r"sudo kiva-relay report (decide|finalised) ": "decides: tests/integration/test_cli_report_verbs.py",
    r"sudo kiva-relay outbox adopt ": "decides: tests/integration/test_cli_outbox.py",
    r"sudo kiva-relay outbox settle ": "decides: tests/integration/test_cli_outbox.py",
    r"sudo kiva-relay page user add ": "lets somebody in: tests/integration/test_page.py, testbed/boot",
    r"sudo kiva-relay mail test": "sends mail: tests/integration/test_cli_mail.py, testbed/boot",
    r"sudo kiva-relay reload": "changes what is in force: tests/integration/test_mapping_reload.py, testbed/boot",
}
"""By what such lines begin with, why they are not typed here, and where they are."""


def only_reads(one: Shown) -> bool:
    named = one.command in NAMED and one.words == one.command.split()
    return one.command in READS and not named and not {*WRITES, "--config"} & {*one.words}


BLOCKS = list(dict.fromkeys(shown.of_blocks()))
READING = sorted({" ".join(one.words): one for one in (*BLOCKS, *shown.of_sentences()) if only_reads(one)}.items())


def test_every_line_is_typed_or_says_why_not() -> None:
    unclear = []
    for one in BLOCKS:
        reasons = [begins for begins in NOT_RUN if re.match(begins, one.line)]
        typed = only_reads(one) or one.line == FIRST
        if typed == bool(reasons):
            unclear.append((one.page, one.line, reasons))
    assert unclear == []


def test_every_reason_is_still_needed_and_names_what_is_there() -> None:
    for begins, reason in NOT_RUN.items():
        assert any(re.match(begins, one.line) for one in BLOCKS), begins
        for named in re.findall(r"(?:tests|testbed)/[\w/.]+\w", reason):
            assert (ROOT / named).exists(), named


def test_what_is_copied_and_started_is_there() -> None:
    for one in BLOCKS:
        for file in re.findall(r"(?<=[ ])(?:systemd|requirements)/\S+", one.line):
            assert (ROOT / file).is_file(), one
        for unit in re.findall(r"kiva-relay[\w-]*(?:@[\w.-]*)?\.(?:service|timer)", one.line):
            plain = re.sub(r"@.*\.", "@.", unit)
            assert (ROOT / "systemd" / plain).is_file(), one


@pytest.fixture
def november(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[November]:
    monkeypatch.setattr(frame, "now", lambda: NOW)
    for told in full_outbox.configured(tmp_path, monkeypatch):
        yield November(told)


def judged(one: Shown, code: int, printed: str) -> None:
    """Done, or something was found that needs a person; nothing was wrong with what was typed."""
    assert code in (0, 1), (one, printed)
    assert printed.strip(), one
    assert "Something unexpected" not in printed, (one, printed)


def test_those_that_only_read_a_report(november: November, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    november.kiva_expects("000000412", "000000377", "000000093")
    november.accepted("000000412", "150000")
    run: Run = full_outbox.runner(capsys)
    by_hand = tmp_path / "by-hand.csv"
    by_hand.write_text(run("report", "--csv").out)
    typed = [one for _, one in READING if one.command == "report"]
    assert len(typed) > 6
    for one in typed:
        done = run(*(str(by_hand) if word.endswith(".csv") else word for word in one.words))
        judged(one, done.code, done.out + done.err)


def test_those_that_only_read_a_site(house: Site) -> None:
    done = house.command(*FIRST.split()[1:])
    assert done.returncode in (0, 1), done.stderr
    drafts = house.entries(resource="loan_draft", stream="loan_draft.individual")
    loan = next(row.loan_id for row in drafts if row.state == "delivered")
    here = {"NAME": "loan_draft.individual", "ID": loan, "000000871": loan, "33": str(drafts[0].id)}
    typed = [one for _, one in READING if one.command != "report"]
    assert {one.command for one in typed} >= READS - {"report"}
    for one in typed:
        words = [here.get(word, word) for word in one.words]
        assert not [word for word in words if word.isupper() or word == "FILE"], one
        done = house.command(*words)
        judged(one, done.returncode, done.stdout + done.stderr)


def test_what_is_called_reading_is_known() -> None:
    assert set(cli.COMMANDS) >= READS
