from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from kiva_relay.cli.outbox_backup import BACKUPS
from kiva_relay.config import sample, settings
from kiva_relay.config.database import OutboxSettings

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "kiva-relay.service"
FAILED = SYSTEMD / "kiva-relay-failed@.service"
NO_SYSTEMD = "systemd-analyze is part of systemd, which is not on this machine"


def directives(unit: Path = UNIT) -> list[tuple[str, str, str]]:
    """Each setting of a unit, with the comment above it."""
    found, comment, continues = [], "", False
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            comment = f"{comment} {line.lstrip('# ')}" if continues else line.lstrip("# ")
        elif "=" in line:
            name, _, value = line.partition("=")
            found.append((name, value, comment))
        else:
            comment = ""
        continues = line.startswith("#")
    return found


def values(name: str, unit: Path = UNIT) -> list[str]:
    return [value for key, value, _ in directives(unit) if key == name]


def test_it_starts_when_ready_and_is_restarted_unless_a_person_must_mend_it() -> None:
    assert values("Type") == ["notify"]
    assert values("StartLimitIntervalSec") == ["0"]
    assert values("Restart") == ["always"]
    assert values("RestartPreventExitStatus") == ["2"]
    (reload,) = values("ExecReload")
    assert reload.endswith("/kiva-relay reload"), "a signal tells nobody that a file is broken"


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
        own = line.split()[1:2] and line.split()[1].startswith("/var/")
        wanted = ["0700", "kiva-relay", "kiva-relay"] if own else ["0750", "root", "kiva-relay"]
        assert line.startswith("#") or line.split()[2:] == wanted


def test_memory_and_threads_are_bounded() -> None:
    assert values("MemoryMax") == ["1G"]
    assert int(values("TasksMax")[0]) <= 128
    assert values("UMask") == ["0077"]


def test_the_backup_is_made_every_night_by_the_service_s_user() -> None:
    unit = (SYSTEMD / "kiva-relay-backup.service").read_text()
    assert f"outbox backup {BACKUPS} --keep 14" in unit
    assert f"ReadWritePaths={BACKUPS}" in unit
    assert "kiva-relay-witness" not in unit
    assert re.search(rf"^d +{BACKUPS} ", (SYSTEMD / "tmpfiles.d/kiva-relay.conf").read_text(), re.MULTILINE)
    assert "OnCalendar=*-*-* 01:30" in (SYSTEMD / "kiva-relay-backup.timer").read_text()


def test_a_relay_that_failed_is_told_by_a_unit_that_needs_nothing_of_it() -> None:
    assert values("OnFailure") == ["kiva-relay-failed@%n.service"]
    assert values("ExecStart", FAILED) == ["/opt/kiva-relay/bin/kiva-relay mail failed %i"]
    assert values("Type", FAILED) == ["oneshot"]
    assert values("StateDirectory", FAILED) == []
    assert values("User", FAILED) == values("User")
    loaded = {value.partition(":")[0] for value in values("LoadCredential", FAILED)}
    assert loaded == {"mail-password"} == {value.partition(":")[0] for value in values("SetCredential", FAILED)}


def test_what_tells_of_it_may_do_no_more_than_the_relay() -> None:
    hardening = re.compile(
        r"Protect|Private|Restrict|System|Memory|Lock|NoNew|Capab|Ambient|Keyring|Limit|Remove|Device"
    )
    ours = {(name, value) for name, value, _ in directives() if hardening.match(name)}
    assert ours == {(name, value) for name, value, _ in directives(FAILED) if hardening.match(name)}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason=NO_SYSTEMD)
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8").replace("/opt/kiva-relay/bin/kiva-relay", "/bin/true")
    unit, failed = tmp_path / "kiva-relay.service", tmp_path / FAILED.name
    unit.write_text(text, encoding="utf-8")
    failed.write_text(FAILED.read_text().replace("/opt/kiva-relay/bin/kiva-relay", "/bin/true"), encoding="utf-8")
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit), str(failed)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason=NO_SYSTEMD)
def test_its_exposure_is_below_one_and_a_half() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=14", "--no-pager", str(UNIT)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-300:]
