"""A copy of the repository that stands still while people edit the original."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from testbed.mutation.fork import Job, Result

REPOSITORY = Path(__file__).parents[2]
ROOMS = ("capture", "outbox", "delivery")
_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "dist", "*.egg-info")


class Tree:
    """The copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sources(self) -> dict[str, str]:
        """The text of each file that is changed, by its name from the package's folder."""
        package = self.folder / "daemon" / "kiva_relay"
        return {
            str(file.relative_to(package)): file.read_text(encoding="utf-8")
            for room in ROOMS
            for file in sorted((package / room).rglob("*.py"))
        }

    def path(self, file: str) -> str:
        """Where a file of the package is in the copy."""
        return str(self.folder / "daemon" / "kiva_relay" / file)

    def tests(self) -> list[str]:
        """The files with tests that may notice, from the copy's folder."""
        found = [file for kind in ("unit", "contract") for file in (self.folder / "tests" / kind).rglob("test_*.py")]
        return sorted(str(file.relative_to(self.folder)) for file in found)

    def digest(self, *names: str) -> str:
        """Changes when one of these files or folders does."""
        digest = hashlib.sha256()
        for name in names:
            place = self.folder / name
            for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                digest.update(str(file.relative_to(self.folder)).encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()[:16]

    def run(self, jobs: Sequence[Job], *, at_once: int) -> Iterator[Result]:
        """Run jobs in the copy; each result as soon as it is there."""
        plan = self.folder / "plan.json"
        plan.write_text(json.dumps([dataclasses.asdict(job) for job in jobs]), encoding="utf-8")
        environ = os.environ | {"PYTHONPATH": os.pathsep.join((str(self.folder / "daemon"), str(self.folder)))}
        command = [sys.executable, "-m", "testbed.mutation.serve", str(plan), str(at_once)]
        with subprocess.Popen(command, cwd=self.folder, env=environ, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            for line in server.stdout:
                yield Result(**json.loads(line))
        if server.returncode:
            raise RuntimeError(f"the runs ended with {server.returncode}")


@contextlib.contextmanager
def copied() -> Iterator[Tree]:
    """The repository as it is now, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        shutil.copytree(REPOSITORY, folder, ignore=_NOT_COPIED, dirs_exist_ok=True)
        yield Tree(Path(folder))
