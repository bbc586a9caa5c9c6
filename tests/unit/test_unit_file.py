from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from kiva_relay.config import sample, settings
from kiva_relay.config.database import OutboxSettings

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "kiva-relay.service"
NO_SYSTEMD = "systemd-analyze is part of systemd, which is not on this machine"


def directives() -> list[tuple[str, str, str]]:
    """Each setting of the unit, with the comment above it."""
    found, comment, continues = [], "", False
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            comment = f"{comment} {line.lstrip('# ')}" if continues else line.lstrip("# ")
        elif "=" in line:
            name, _, value = line.partition("=")
            found.append((name, value, comment))
        else:
            comment = ""
        continues = line.startswith("#")
    return found


def values(name: str) -> list[str]:
    return [value for key, value, _ in directives() if key == name]


def test_it_starts_when_ready_and_is_restarted_unless_a_person_must_mend_it() -> None:
    assert values("Type") == ["notify"]
    assert values("StartLimitIntervalSec") == ["0"]
    assert values("Restart") == ["always"]
    assert values("RestartPreventExitStatus") == ["2"]
    assert values("ExecReload") == ["/bin/kill -HUP $MAINPID"]


def test_it_comes_after_databases_and_network_and_requires_neither() -> None:
    (after,) = values("After")
    assert {"network-online.target", "postgresql.service", "mariadb.service", "mysql.service"} <= set(after.split())
    assert not [name for name, _, _ in directives() if name in {"Requires", "Requisite", "BindsTo", "PartOf"}]


def test_a_stop_has_longer_than_the_answer_it_waits_for() -> None:
    grace = settings.Settings.model_fields["stop_grace"].default
    read = settings.Settings.model_fields["kiva"].annotation.model_fields["timeout"].annotation().read  # type: ignore[union-attr]
    assert timedelta(seconds=int(values("TimeoutStopSec")[0])) > grace
    assert timedelta(seconds=int(values("WatchdogSec")[0])) > read


def test_every_line_that_forbids_something_says_why() -> None:
    hardening = [
        entry for entry in directives() if re.match(r"Protect|Private|Restrict|System|Memory|Lock|NoNew", entry[0])
    ]
    assert len(hardening) > 15
    assert not [name for name, _, comment in hardening if not comment]


def test_state_is_private_and_the_witness_has_a_folder_of_its_own() -> None:
    assert values("StateDirectory") == ["kiva-relay kiva-relay-witness"]
    assert values("StateDirectoryMode") == ["0700"]
    assert values("User") == ["kiva-relay"]
    outbox = OutboxSettings()
    assert outbox.file == Path("/var/lib/kiva-relay/outbox.db")
    assert outbox.witness.is_relative_to("/var/lib/kiva-relay-witness")


def test_every_credential_that_the_sample_names_is_loaded() -> None:
    named = set(re.findall(r"{credential: (?!NAME)([\w-]+)}", sample.render()))
    assert {value.partition(":")[0] for value in values("LoadCredential")} == named
    assert {value.partition(":")[0] for value in values("SetCredential")} == named


def test_the_user_and_the_folders_are_made() -> None:
    assert re.search(r"^u +kiva-relay ", (SYSTEMD / "sysusers.d/kiva-relay.conf").read_text(), re.MULTILINE)
    for line in (SYSTEMD / "tmpfiles.d/kiva-relay.conf").read_text().splitlines():
        assert line.startswith("#") or line.split()[2:] == ["0750", "root", "kiva-relay"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason=NO_SYSTEMD)
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8").replace("/opt/kiva-relay/bin/kiva-relay", "/bin/true")
    unit = tmp_path / "kiva-relay.service"
    unit.write_text(text, encoding="utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason=NO_SYSTEMD)
def test_its_exposure_is_below_one_and_a_half() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=14", "--no-pager", str(UNIT)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-300:]
