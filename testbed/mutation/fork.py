"""Many short runs of pytest, forked from one process that has imported what none of them changes."""

from __future__ import annotations

import importlib
import os
import pkgutil
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from testbed.mutation.coverage import Coverage, OnSqlite

# Below the rooms that are changed, and so without an import of them.
_ROOMS = ("config", "resource", "source", "mapping")
_LIBRARIES = (
    "alembic.command", "httpx", "hypothesis", "hypothesis.strategies", "jinja2", "orjson", "PIL.Image", "psycopg", "pydantic",
    "pymysql", "rich.console", "ruamel.yaml", "sqlalchemy.dialects.mysql", "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite", "sqlglot", "starlette.applications", "structlog", "typer", "uvicorn",
)  # fmt: skip
_CHANGED = tuple(f"kiva_relay.{room}" for room in ("capture", "outbox", "delivery"))
_MOST_MEMORY = 3 << 30


@dataclass(frozen=True)
class Job:
    """One run of pytest.

    Attributes:
        name: What its result is known by.
        tests: Node ids, or files.
        seconds: After so long it is ended.
        changed: A file's path and the text that takes its place; None: nothing is changed.
        traced: Prefixes of the files whose statements are noted, for each test; then `found` has them.
    """

    name: str
    tests: tuple[str, ...]
    seconds: float
    changed: tuple[str, str] | None = None
    traced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """How a run ended: pytest's exit code, or None when it took too long; what it printed, and what it noted."""

    name: str
    code: int | None
    seconds: float
    printed: str
    found: str


@dataclass
class _Run:
    job: Job
    pid: int
    folder: Path
    began: float = field(default_factory=time.monotonic)


def prepare() -> None:
    """Import what every run needs and no mutant changes."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    for room in _ROOMS:
        package = importlib.import_module(f"kiva_relay.{room}")
        for module in pkgutil.iter_modules(package.__path__, f"kiva_relay.{room}."):
            importlib.import_module(module.name)
    if too_early := sorted(name for name in sys.modules if name.startswith(_CHANGED)):
        raise AssertionError(f"{too_early[0]} was imported before it could be changed")


def run(jobs: Iterable[Job], *, at_once: int) -> Iterator[Result]:
    """Run them all, some at the same time; each result as soon as it is there."""
    waiting = iter(jobs)
    running: dict[int, _Run] = {}
    try:
        while True:
            while len(running) < at_once and (job := next(waiting, None)) is not None:
                started = _start(job)
                running[started.pid] = started
            if not running:
                return
            yield from _ended(running)
    finally:
        for one in running.values():
            _kill(one.pid)
            os.waitpid(one.pid, 0)
            shutil.rmtree(one.folder, ignore_errors=True)


def _ended(running: dict[int, _Run]) -> Iterator[Result]:
    for pid, one in list(running.items()):
        late = time.monotonic() - one.began > one.job.seconds
        if late:
            _kill(pid)
        ended, status = os.waitpid(pid, 0 if late else os.WNOHANG)
        if ended:
            del running[pid]
            code = None if late else os.waitstatus_to_exitcode(status)
            yield _result(one, code)
            return
    time.sleep(0.01)


def _result(one: _Run, code: int | None) -> Result:
    # A server that a test started and did not stop ends with its run.
    _kill(one.pid)
    found = one.folder / "found.json"
    result = Result(
        name=one.job.name,
        code=code,
        seconds=time.monotonic() - one.began,
        printed=(one.folder / "out").read_text(encoding="utf-8", errors="replace"),
        found=found.read_text(encoding="utf-8") if found.exists() else "{}",
    )
    shutil.rmtree(one.folder, ignore_errors=True)
    return result


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _start(job: Job) -> _Run:
    folder = Path(tempfile.mkdtemp(prefix="mutant-"))
    (folder / "out").touch()
    pid = os.fork()
    if pid:
        return _Run(job, pid, folder)
    code = 99
    try:
        code = _child(job, folder)
    except BaseException as error:
        os.write(2, repr(error).encode())
    finally:
        os._exit(code)


def _child(job: Job, folder: Path) -> int:
    os.setsid()
    out = os.open(folder / "out", os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    # A mutant may add to a list for ever; the machine has others to serve.
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    plugins: list[Any] = [OnSqlite()]
    if job.changed is not None:
        path, source = job.changed
        _compile_by(lambda found, _: compile(source, path, "exec", dont_inherit=True) if found == path else None)
    if job.traced:
        plugins.append(coverage := Coverage(job.traced, folder / "found.json"))
        _compile_by(coverage.compiled)
    options = ["-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    if not job.traced:
        options += ["-x", "-rfE"]
    options += ["--hypothesis-seed=0", f"--basetemp={folder / 'tmp'}", "-o", "timeout=600"]
    # What this process imported for all runs cannot be rewritten any more, and holds no assert of ours.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*options, *job.tests], plugins=plugins))


def _compile_by(compiled: Callable[[str, str], CodeType | None]) -> None:
    """Let files be compiled by a function of path and text, unless it returns None. A mutant is never on the disk."""
    unchanged = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
        if not fullname.startswith("kiva_relay."):
            return unchanged(loader, fullname)
        code = compiled(loader.path, Path(loader.path).read_text(encoding="utf-8"))
        return unchanged(loader, fullname) if code is None else code

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment] # for this process only
