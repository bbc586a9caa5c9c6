"""The machine fails under the real process: its disk, its mount, its descriptors.

In each: something is delivered before; the branch goes on while the machine fails; afterwards the relay goes on by
itself, and the stand-in's ledger says that nothing is lost or there twice. Meanwhile the first word of `status` is
not OK.
"""

from __future__ import annotations

import contextlib
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.outbox.database import Outbox
from testbed.database import postgres
from testbed.rig import patience, relay_process
from testbed.rig.patience import eventually
from testbed.rig.relay_process import BrokenDisk, RelayProcess
from testbed.torture import judge, run

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def template(
    postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    photos = tmp_path_factory.mktemp("photos-of-the-machine")
    with run.book_of(postgres_server, photos, clients=60) as name:
        yield name, photos


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, postgres_server: postgres.PostgresServer, template: tuple[str, Path], tmp_path: Path
) -> Iterator[run.Stage]:
    book, photos = template
    name = "machine_" + re.sub(r"\W", "_", request.node.name[-30:])
    folder = tmp_path / "stage"
    with run.set_up(folder, postgres_server, on="sqlite", name=name, template=book, photos=photos, loans=10) as stage:
        yield stage


@pytest.fixture
def relay(stage: run.Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[RelayProcess]:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    process = RelayProcess(stage.config)
    yield process
    process.end()


@pytest.fixture
def disk(tmp_path: Path, relay: RelayProcess) -> Iterator[BrokenDisk]:
    """Of the relay and of the commands: in front of both the same calls fail."""
    made = relay_process.broken_disk(tmp_path / "broken")
    relay.environ.update(made.environ)
    yield made
    made.fails()


def branch_works(stage: run.Stage, *, loans: int) -> None:
    """New loans, corrections and repayments, each committed."""
    for _ in range(loans):
        stage.branch.grant()
        stage.branch.repay()


def drafts(stage: run.Stage) -> int:
    return len(stage.kiva.ledger(resource="loan_draft"))


def delivers(stage: run.Stage, relay: RelayProcess) -> None:
    """Begin it, and let something go."""
    branch_works(stage, loans=3)
    relay.begin()
    eventually(lambda: drafts(stage) >= 3, within=60)


def rests(stage: run.Stage) -> None:
    """Wait until all that the branch did is delivered: who is killed now leaves no doubt behind."""
    eventually(lambda: not judge.judge(stage.case()).wrong and not run.under_way(stage), within=60, every=0.5)


def first_word(relay: RelayProcess) -> str:
    done = relay.command("status")
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    found = [word for line in lines[:3] if (word := line.split()[0] if line.split() else "") in WORDS]
    return found[0] if found else f"exit {done.returncode}: {done.stdout[:200]}{done.stderr[:400]}"


WORDS = ("OK", "NOTE", "WAITING", "HELD", "STOPPED")


def comes_to_rest(stage: run.Stage, relay: RelayProcess, *, lives: bool = True) -> judge.Figures:
    """Wait until nothing is wrong; with `lives` it must be the process that was there all the time."""
    branch_works(stage, loans=2)

    def good() -> bool:
        assert not lives or relay.ended is None, relay.log[-2000:]
        return not judge.judge(stage.case()).wrong

    with contextlib.suppress(AssertionError):
        eventually(good, within=60, every=0.5)
    found = judge.judge(stage.case())
    assert not found.wrong, "\n".join([*found.wrong, relay.log[-3000:]])
    assert (found.lost, found.duplicated, found.in_doubt) == (0, 0, 0)
    eventually(lambda: first_word(relay) in ("OK", "NOTE"), within=60, every=0.5)
    return found


@pytest.mark.parametrize(
    "kind",
    ["write", pytest.param("sync", marks=pytest.mark.night), "read", pytest.param("readonly", marks=pytest.mark.night)],
)
def test_a_disk_that_fails_under_it(stage: run.Stage, relay: RelayProcess, disk: BrokenDisk, kind: str) -> None:
    """EIO of each kind of call, and EROFS under open files: the same process goes on when the disk does."""
    delivers(stage, relay)
    disk.fails(kind)
    branch_works(stage, loans=4)
    # The last sign of life is believed for half a minute.
    eventually(lambda: first_word(relay) == "STOPPED" or not_readable(relay), within=60, every=0.5)
    before = drafts(stage)
    shown = relay.command("status")
    assert str(relay.pid) in shown.stdout or "Nothing is lost" in shown.stderr, shown.stdout + shown.stderr
    assert "unexpected" not in shown.stderr
    assert drafts(stage) == before
    lines = len(relay.log.splitlines())
    assert lines < 60, relay.log
    disk.fails()
    comes_to_rest(stage, relay)


def not_readable(relay: RelayProcess) -> bool:
    """The outbox cannot even be looked at: an exit code that says so, and no word that could be taken for good."""
    done = relay.command("status")
    return done.returncode == errors.OutboxAway.exit_code and first_word(relay) not in WORDS


# ---------------------------------------------------------------- a disk that is mounted again


@pytest.fixture
def mounted(stage: run.Stage) -> Iterator[Path]:
    """The folder of the stage's outbox, as a disk of its own."""
    folder = stage.folder
    config = stage.config.read_text(encoding="utf-8")
    mount = folder / "disk"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mount)], check=False, capture_output=True).returncode:
        pytest.skip("cannot run here: mounting a disk needs root")
    for name in ("outbox.db", "witness.log"):
        config = config.replace(f"{folder}/{name}", f"{mount}/{name}")
    stage.config.write_text(config, encoding="utf-8")
    stage.outbox.close()
    stage.outbox = Outbox(f"sqlite:///{mount}/outbox.db")
    yield mount
    stage.outbox.close()
    subprocess.run(["umount", "-l", str(mount)], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def test_a_disk_that_comes_back_read_only(stage: run.Stage, mounted: Path, relay: RelayProcess) -> None:
    """As after a crash of the machine: the process ends with an exit code that systemd starts again, until it can."""
    delivers(stage, relay)
    rests(stage)
    assert relay.process is not None
    relay.process.send_signal(signal.SIGKILL)
    patience.ended(relay.process)
    stage.outbox.close()
    remount(mounted, "ro")
    branch_works(stage, loans=3)
    for _ in range(2):
        relay.begin()
        assert patience.ended(relay.process) == errors.OutboxAway.exit_code, relay.log[-2000:]
    assert "Read-only file system" in relay.log
    shown = relay.command("status")
    assert "belongs to the service" not in shown.stderr
    assert "unexpected" not in shown.stderr
    eventually(lambda: first_word(relay) == "STOPPED" or not_readable(relay), within=60, every=0.5)
    remount(mounted, "rw")
    relay.begin()
    comes_to_rest(stage, relay)


# ---------------------------------------------------------------- descriptors


def test_64_descriptors_are_enough(stage: run.Stage, relay: RelayProcess) -> None:
    relay.under = ("prlimit", "--nofile=64:64")
    delivers(stage, relay)
    branch_works(stage, loans=8)
    comes_to_rest(stage, relay)
    assert "Too many open files" not in relay.log


def test_no_descriptor_is_left_for_a_while(stage: run.Stage, relay: RelayProcess) -> None:
    """Somebody else's leak, or a limit that is set too low: what is open goes on, nothing new can be opened."""
    delivers(stage, relay)
    usual = resource.prlimit(relay.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (8, usual[1]))
    branch_works(stage, loans=4)
    eventually(lambda: first_word(relay) != "OK", within=60, every=0.5)
    resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, usual)
    comes_to_rest(stage, relay)
