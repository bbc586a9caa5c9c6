from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from kiva_relay.cli.outbox_backup import BACKUPS
from kiva_relay.config import partner, sample, settings
from kiva_relay.config.database import OutboxSettings

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "kiva-relay.service"
FAILED = SYSTEMD / "kiva-relay-failed@.service"
PARTNERS = {
    SYSTEMD / "kiva-relay@.service": UNIT,
    SYSTEMD / "kiva-relay-page@.service": SYSTEMD / "kiva-relay-page.service",
    SYSTEMD / "kiva-relay-failed-partner@.service": FAILED,
}
"""The units of one of several partners, each with the one that it is like."""
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


def of_a_partner(name: str, value: str) -> str:
    """What a line of a unit is in the unit of a partner."""
    if name == "Description":
        return ""  # its own
    value = re.sub(r"(/etc/kiva-relay|/var/lib/kiva-relay)(?=/(?:secret|config)|$)", r"\1/%i", value)
    if name == "StateDirectory":
        return " ".join(f"{folder}/%i" for folder in value.split())
    value = value.replace("kiva-relay-failed@%n.service", "kiva-relay-failed-partner@%i.service")
    value = value.replace("postgresql.service kiva-relay.service", "postgresql.service kiva-relay@%i.service")
    value = re.sub(r"(/bin/kiva-relay (?:run|reload|page))$", r"\1 --config %i", value)
    return value.replace("mail failed %i", "mail failed kiva-relay@%i.service")


@pytest.mark.parametrize("unit", PARTNERS, ids=lambda unit: unit.name)
def test_the_unit_of_a_partner_is_the_same_with_folders_of_its_own(unit: Path) -> None:
    theirs = [(name, "" if name == "Description" else value) for name, value, _ in directives(unit)]
    assert theirs == [(name, of_a_partner(name, value)) for name, value, _ in directives(PARTNERS[unit])]
    assert any("%i" in value for _, value in theirs)
    shared = re.compile(r"(?:/etc|/var/lib)/kiva-relay(?:-witness)?(?!/%i|-)")
    assert not [value for _, value in theirs if shared.search(value)], "nothing of another partner"


def test_a_partner_has_the_folders_that_its_configuration_means() -> None:
    (unit, *_) = PARTNERS
    (folders,) = values("StateDirectory", unit)
    config = partner.file("north")
    assert folders.replace("%i", "north").split() == ["kiva-relay/north", "kiva-relay-witness/north"]
    assert config.parent.joinpath("secret") == partner.secrets(config.parent)
    made = {
        value.partition(":")[2].replace("%i", "north").rpartition("/")[0] for value in values("LoadCredential", unit)
    }
    assert made == {str(partner.secrets(config.parent))}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason=NO_SYSTEMD)
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    for unit in (*PARTNERS, *PARTNERS.values()):
        if unit.name.startswith("kiva-relay-page"):
            continue  # RestartSteps= is for systemd from 254 on; the ones before say that they do not know it
        text = unit.read_text(encoding="utf-8").replace("/opt/kiva-relay/bin/kiva-relay", "/bin/true")
        (tmp_path / unit.name.replace("@.", "@north.")).write_text(text, encoding="utf-8")
    units = sorted(map(str, tmp_path.iterdir()))
    assert len(units) == 4
    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason=NO_SYSTEMD)
@pytest.mark.parametrize("unit", [UNIT, *PARTNERS], ids=lambda unit: unit.name)
def test_its_exposure_is_below_one_and_a_half(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=14", "--no-pager", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-300:]
