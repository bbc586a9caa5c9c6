"""The package as an administrator installs it: built from the checkout, into an environment that has nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from testbed.rig import patience

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
# As pip says it when it reaches no index; anything else that goes wrong is a failure.
NO_INDEX = ("NewConnectionError", "NameResolutionError", "Temporary failure in name resolution")


def run(*command: str | Path, folder: Path) -> str:
    """What a command prints. It sees no checkout: neither by its folder nor by its environment."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, cwd=folder, env=environment()
    )
    if done.returncode and any(sign in done.stderr for sign in NO_INDEX):
        pytest.skip("cannot run here: no package index can be reached")
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "KIVA_"))
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(REPOSITORY / "requirements" / "wheel.sh", folder, folder=folder)
    (built,) = folder.glob("kiva_relay-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment with the lock file and the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder / "venv", folder=folder)
    pip = (folder / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--require-hashes", "-r", REPOSITORY / "requirements" / "relay.lock", folder=folder)
    run(*pip, "--no-deps", wheel, folder=folder)
    return folder / "venv" / "bin"


def test_it_holds_the_product_and_nothing_that_plays_its_world(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"kiva_relay"}
    for foreign in ("testbed", "demo", "tests", "fault", "institution"):
        assert not [name for name in names if foreign in name], foreign
    for needed in (
        "shipped/mappings/fineract/loan_draft.individual.yaml",
        "shipped/migrations/env.py",
        "py.typed",
        "words/fr/report.po",
    ):
        assert f"kiva_relay/{needed}" in names


def test_what_only_builds_is_not_there(installed: Path, tmp_path: Path) -> None:
    found = run(installed / "python", "-m", "pip", "--disable-pip-version-check", "list", folder=tmp_path).lower()
    assert "kiva-relay" in found
    assert not [name for name in ("hatchling", "editables", "pytest", "pgserver") if name in found]


def test_it_brings_its_sample_and_its_mappings(installed: Path, tmp_path: Path) -> None:
    sample = run(installed / "kiva-relay", "config", "sample", folder=tmp_path)
    assert sample == (REPOSITORY / "config.yaml").read_text(encoding="utf-8")
    answered = sample.replace("#parameters: {kiva_fund: 3}", "parameters: {kiva_fund: 3}")
    (tmp_path / "config.yaml").write_text(answered, encoding="utf-8")
    said = run(installed / "kiva-relay", "mapping", "test", "--config", tmp_path / "config.yaml", folder=tmp_path)
    assert "loan_draft.individual" in said


def test_its_stand_in_for_kiva_starts_answers_and_stops(installed: Path, tmp_path: Path) -> None:
    command = [str(installed / "kiva-relay"), "sandbox", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment()) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        fields = {
            "grant_type": "client_credentials",
            "audience": "kiva-sandbox",
            "client_id": "a",
            "client_secret": "b",
        }
        answer = httpx.post(f"{url}/oauth/token", data=fields, timeout=patience.seconds(10), trust_env=False)
        process.send_signal(signal.SIGINT)
        assert patience.ended(process) == 0
    assert answer.status_code == 200
