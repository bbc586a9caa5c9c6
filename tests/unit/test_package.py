"""What the Debian package is made of: pages and completions out of --help, a copy without bodies, rules and dashboard."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from ruamel.yaml import YAML

from kiva_relay import cli, meter
from kiva_relay.cli import outbox_backup

ROOT = Path(__file__).parents[2]
MADE = ROOT / "packaging" / "deb"
MONITORING = ROOT / "packaging" / "monitoring"


def _manual() -> ModuleType:
    found = importlib.util.spec_from_file_location("manual", MADE / "manual.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["manual"] = module
    found.loader.exec_module(module)
    return module


manual = _manual()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manual")
    manual.write(folder)
    return folder


def test_every_command_has_a_page_with_each_of_its_options(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        text = (pages / "man1" / f"kiva-relay-{name.replace(' ', '-')}.1").read_text().replace("\\-", "-")
        assert cli.main([*name.split(), "--help"]) == 0
        offered = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out.partition("Options:")[2]))
        assert [option for option in offered if option not in text] == [], name
    assert all(
        name.replace(" ", "-") in (pages / "man1/kiva-relay.1").read_text().replace("\\-", "-") for name in cli.COMMANDS
    )


def test_bash_completes_commands_and_their_options(pages: Path) -> None:
    ask = f"source {pages}/bash/kiva-relay; COMP_WORDS=({{}}); COMP_CWORD={{}}; _kiva_relay; echo ${{{{COMPREPLY[@]}}}}"

    def completed(*typed: str) -> list[str]:
        words = " ".join(f"'{word}'" for word in ("kiva-relay", *typed))
        done = subprocess.run(["bash", "-c", ask.format(words, len(typed))], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    assert completed("stat") == ["status"]
    assert "backup" in completed("outbox", "")
    assert completed("outbox", "backup", "--ver") == ["--verify"]
    assert completed("init", "--ans") == ["--answers"]


@pytest.mark.parametrize("shell", ["zsh/_kiva-relay", "fish/kiva-relay.fish"])
def test_the_other_shells_know_every_command(pages: Path, shell: str) -> None:
    text = (pages / shell).read_text()
    assert all(word in text for name in cli.COMMANDS for word in name.split())


def test_a_purge_keeps_what_was_sent_and_no_word_of_a_borrower(tmp_path: Path) -> None:
    full, kept = tmp_path / "outbox.db", tmp_path / "kept.db"
    with contextlib.closing(sqlite3.connect(full)) as outbox:
        outbox.executescript((ROOT / "tests/data/outbox-0.2.sql").read_text("utf-8"))
        wanted = outbox.execute("SELECT loan_id, receipt FROM entry WHERE state = 'delivered' ORDER BY 1, 2").fetchall()
        bodies = [row[0] for row in outbox.execute("SELECT body FROM entry WHERE body IS NOT NULL")]
        details = [row[0] for row in outbox.execute("SELECT detail FROM attempt WHERE detail IS NOT NULL")]
    assert wanted
    assert bodies
    subprocess.run([sys.executable, MADE / "without_bodies.py", full, kept], check=True)
    assert kept.stat().st_mode & 0o777 == 0o600
    held = kept.read_bytes()
    assert not [one for one in (*bodies, *details) if one.encode() in held]
    with contextlib.closing(sqlite3.connect(kept)) as copy:
        found = copy.execute("SELECT loan_id, receipt FROM entry WHERE state = 'delivered' ORDER BY 1, 2").fetchall()
        assert copy.execute("SELECT count(*) FROM captured").fetchone() == (0,)
    assert found == wanted
    assert outbox_backup._verified(kept)["schema"] == "0001"


_RECORDED = """#!/bin/sh
echo "$(basename "$0") $*" >> {told}
case "$*" in
    *is-active*kiva-relay@south*) exit 1 ;;
    *migrate*west*) echo "The outbox database does not answer." ; exit 3 ;;
esac
"""


def _upgraded(root: Path) -> tuple[list[str], str]:
    """Run postinst as an upgrade where everything that it calls writes down how; its calls, and what it says."""
    told, script = root / "told", (MADE / "postinst").read_text("utf-8")
    for place in ("/etc/", "/var/", "/run/", "/usr/lib/"):
        script = script.replace(f" {place}", f" {root}{place}").replace(f"={place}", f"={root}{place}")
        script = script.replace(f'"{place}', f'"{root}{place}')
    (root / "run/systemd/system").mkdir(parents=True)
    (root / "usr/lib/kiva-relay/bin").mkdir(parents=True)
    stubs = [root / "usr/lib/kiva-relay/bin/kiva-relay"]
    called = ("systemctl", "runuser", "deb-systemd-helper", "systemd-sysusers", "systemd-tmpfiles", "chgrp", "install")
    stubs += [root / "bin" / name for name in called]
    (root / "bin").mkdir()
    for stub in stubs:
        stub.write_text(_RECORDED.format(told=told))
        stub.chmod(0o755)
    environ = {**os.environ, "PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-s", "configure", "0.1"], input=script, env=environ, check=True, capture_output=True, text=True
    )
    return told.read_text().replace(str(root), "").splitlines(), done.stdout + done.stderr


def _in_order(calls: list[str], *steps: str) -> None:
    places = [next(at for at, call in enumerate(calls) if step in call) for step in steps]
    assert places == sorted(places), calls


def test_an_upgrade_compares_the_book_between_the_migration_and_the_start(tmp_path: Path) -> None:
    (tmp_path / "etc/kiva-relay").mkdir(parents=True)
    (tmp_path / "etc/kiva-relay/config.yaml").touch()
    (tmp_path / "var/lib/kiva-relay").mkdir(parents=True)
    (tmp_path / "var/lib/kiva-relay/outbox.db").touch()
    (tmp_path / "var/backups/kiva-relay").mkdir(parents=True)
    (tmp_path / "var/backups/kiva-relay/before-@VERSION@.db").touch()
    calls, _ = _upgraded(tmp_path)
    _in_order(
        calls,
        "outbox backup --verify",
        "systemctl stop kiva-relay.service",
        "kiva-relay migrate --copy",
        "kiva-relay mapping diff",
        "systemctl restart kiva-relay.service",
    )
    assert not [call for call in calls if "--config" in call]


def test_an_upgrade_brings_each_partner_up_to_date_and_starts_again_those_that_ran(tmp_path: Path) -> None:
    for name in ("north", "south", "west"):
        (tmp_path / "etc/kiva-relay" / name).mkdir(parents=True)
        (tmp_path / "etc/kiva-relay" / name / "config.yaml").touch()
    calls, said = _upgraded(tmp_path)
    _in_order(
        calls,
        "systemctl stop kiva-relay@north.service",
        "kiva-relay migrate --copy /var/backups/kiva-relay/north --config north",
        "kiva-relay mapping diff --config north",
        "systemctl start kiva-relay@north.service",
        "kiva-relay migrate --copy /var/backups/kiva-relay/south --config south",
        "systemctl stop kiva-relay@west.service",
    )
    assert "install -d -o kiva-relay -g kiva-relay -m 0700 /var/backups/kiva-relay/north" in calls
    assert not [call for call in calls if "start kiva-relay@south" in call or "stop kiva-relay@south" in call]
    assert "mapping diff --config west" not in " ".join(calls), "what was not brought up to date is not compared"
    assert "systemctl start kiva-relay@west.service" in calls, "its unit says what keeps it"
    assert "migrate --copy " in said
    assert "--config west && sudo systemctl restart kiva-relay@west" in said
    assert "kiva-relay init" not in said


@pytest.mark.parametrize("script", ["preinst", "postinst", "prerm", "postrm"])
def test_every_script_is_one_of_the_shell(script: str) -> None:
    text = (MADE / script).read_text("utf-8")
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


def test_it_is_built_whatever_folder_for_temporary_files_is_in_use(tmp_path: Path) -> None:
    """dpkg-deb wrote into TMPDIR, which is not there in the root of the release."""
    root = tmp_path / "roots" / "bookworm-build"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "chroot").write_text(
        f"#!/bin/sh\necho ${{TMPDIR-none}} > {tmp_path}/told; mkdir -p $1/build/out; touch $1/build/out/a.deb\n"
    )
    for stub in ("debootstrap", "apt-get"):
        (tmp_path / stub).write_text("#!/bin/sh\n")
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")  # nothing here needs root but what it asks for
    for stub in ("chroot", "debootstrap", "apt-get", "id"):
        (tmp_path / stub).chmod(0o755)
    tree = tmp_path / "tree"
    shutil.copytree(MADE, tree / "packaging" / "deb")
    shutil.copy(ROOT / "pyproject.toml", tree)
    subprocess.run(["git", "init", "--quiet", tree], check=True)
    environ = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "KIVA_RELAY_ROOTS": str(tmp_path / "roots"),
    }
    subprocess.run([tree / "packaging/deb/make.sh", "bookworm"], env=environ, check=True, capture_output=True)
    assert (tmp_path / "told").read_text().strip() == "none"


@pytest.mark.parametrize("lacks", ["debootstrap", "mirror", "packages"])
def test_what_a_machine_lacks_is_another_exit_than_a_package_that_does_not_build(tmp_path: Path, lacks: str) -> None:
    """.ci/run goes on after a 3, and after nothing else."""
    tree = tmp_path / "tree"
    shutil.copytree(MADE, tree / "packaging" / "deb")
    shutil.copy(ROOT / "pyproject.toml", tree)
    stubs = {
        "id": "echo 0",  # nothing here needs root but what it asks for
        "apt-get": "" if lacks == "mirror" else "echo Debian Debian http://127.0.0.1:9/debian",
        "debootstrap": "echo W: Failure trying to run; exit 1" if lacks == "packages" else "exit 0",
    }
    if lacks == "debootstrap":
        del stubs["debootstrap"]
    for name, does in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("sh", "mktemp", "mkdir", "rm", "awk", "timeout", "tail", "sed", "dirname", "mv"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    environ = {"PATH": str(tmp_path), "KIVA_RELAY_ROOTS": str(tmp_path / "roots"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [tree / "packaging/deb/make.sh", "bookworm"], env=environ, check=False, capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    said = {"debootstrap": "debootstrap is missing", "mirror": "names no mirror", "packages": "debootstrap failed: W:"}
    assert said[lacks] in done.stderr
    assert [one.name for one in (tmp_path / "roots").glob("*")] == []


# ---------------------------------------------------------------- rules and dashboard

RULES = YAML(typ="safe", pure=True).load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
PANELS = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))["panels"]
KNOWN = {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in meter.registry.collect()}


@pytest.mark.parametrize(
    "expression", [*(rule["expr"] for rule in RULES), *(one["targets"][0]["expr"] for one in PANELS)]
)
def test_every_metric_that_is_asked_for_exists(expression: str) -> None:
    named = set(re.findall(r"kiva_relay_\w+", expression))
    assert named <= KNOWN
    assert named or expression.startswith("up{")


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_every_alert_leads_to_a_runbook(rule: dict[str, dict[str, str]]) -> None:
    page, _, heading = rule["annotations"]["runbook"].partition("#")
    titles = re.findall(r"^#+ (.+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert heading in [re.sub(r"[^\w\- ]", "", title).replace(" ", "-").lower() for title in titles]


def test_what_is_worth_an_alert_is_the_same_on_the_page() -> None:
    page = (ROOT / "docs/metrics.md").read_text("utf-8").partition("What is worth an alert:")[2]
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(RULES)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="cannot run here: promtool is part of Prometheus")
def test_the_rules_fire_when_they_should() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", str(MONITORING / "alerts.test.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
