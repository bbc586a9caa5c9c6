"""docs/backup.md, rehearsed: its commands are typed as they stand there, on an outbox of a test."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from testbed.kiva import control, server
from testbed.rig.office import Office
from testbed.rig.typed import typed

PAGE = (Path(__file__).parents[2] / "docs" / "backup.md").read_text("utf-8")


def block(heading: str) -> list[str]:
    """The commands below a heading."""
    found = re.search(rf"^## {heading}\n.*?```\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1].splitlines()


def test_a_copy_is_made_verified_and_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    copies = tmp_path / "backups"
    copies.mkdir(mode=0o700)
    with server.start() as pa2, control.Sandbox(pa2.url) as kiva:
        office = Office(tmp_path, pa2.url)
        (office.folder / "mappings" / "journal.yaml").unlink()
        office.grant()
        once(office)
        for line in PAGE.splitlines():
            if line.startswith("sudo kiva-relay outbox backup /var"):
                step(line, office, copies)
        made = list(copies.iterdir())
        assert [one.name for one in made] == ["by-hand.db"]
        office.grant()
        once(office)
        for line in block("Putting it back"):
            step(line, office, copies)
        once(office)
        held = typed("status", KIVA_RELAY_CONFIG=str(office.config)).stdout
        assert "HELD" in held or "STOPPED" in held
        release = re.search(r"^(sudo kiva-relay release all .*)$", PAGE, re.MULTILINE)
        assert release is not None
        step(f"{release[1]} --yes", office, copies)
        office.grant()
        once(office)
        loans = [record["body"]["entreps"][0]["loan_id"] for record in kiva.ledger(resource="loan_draft")]
        assert sorted(loans) == office.drafts, "each once, the one that the copy did not know, too"


def once(office: Office) -> None:
    typed("run", "--once", KIVA_RELAY_CONFIG=str(office.config))


def step(line: str, office: Office, copies: Path) -> None:
    """One command of the page: at the places of this test, and without systemd, which has nothing to stop here."""
    here = line.replace("/var/backups/kiva-relay", str(copies)).replace("/var/lib/kiva-relay", str(office.folder))
    words = shlex.split(here)[1:]
    if words[0] == "systemctl":
        return
    if words[0] == "kiva-relay":
        done = typed(*words[1:], KIVA_RELAY_CONFIG=str(office.config))
        assert done.returncode in (0, 1), done.stderr
        return
    for option, own in (("-o", os.geteuid()), ("-g", os.getegid())):
        if option in words:
            words[words.index(option) + 1] = str(own)
    subprocess.run(words, check=True)
