"""Which tests run which statements of a few files, and how long each test takes.

The files are compiled with a call before each statement of a function. To trace every call of a test instead took
minutes for the tests that have nothing to do with them.
"""

from __future__ import annotations

import ast
import builtins
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

# The servers of other databases: a mutant is tried on SQLite only.
_SERVERS = {"postgres_server", "logical_server", "streamed_mis", "postgres_database", "mis_of_its_own", "house"}
_DATABASES = ("postgresql", "mariadb")
_CALL = "__statement_is_run__"


class Coverage:
    """A pytest plugin. `folder` is a prefix of the files' names; the result goes to a file of JSON."""

    def __init__(self, folders: tuple[str, ...], out: Path) -> None:
        self._folders, self._out = folders, out
        self._numbers: list[tuple[str, int]] = []
        self._hits: set[int] = set()
        self._imported: set[str] = set()
        self.tests: dict[str, dict[str, Any]] = {}
        setattr(builtins, _CALL, self._hits.add)

    def compiled(self, path: str, source: str) -> CodeType | None:
        """A file with its calls; None when it is none of those that are looked at."""
        if not path.startswith(self._folders):
            return None
        self._imported.add(path)
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                node.body = self._noted(path, node.body, first=True)
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)

    def _noted(self, path: str, body: list[ast.stmt], *, first: bool = False) -> list[ast.stmt]:
        noted: list[ast.stmt] = []
        for number, statement in enumerate(body):
            if not (first and number == 0 and _is_docstring(statement)):
                self._numbers.append((path, statement.lineno))
                call = ast.Call(ast.Name(_CALL, ast.Load()), [ast.Constant(len(self._numbers) - 1)], [])
                noted.append(ast.copy_location(ast.Expr(call), statement))
            noted.append(statement)
            if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):  # these come by themselves
                self._inside(path, statement)
        return noted

    def _inside(self, path: str, node: ast.AST) -> None:
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(node, name, None)
            if isinstance(inner, list) and inner:
                setattr(node, name, self._noted(path, inner))
        for each in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            self._inside(path, each)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._hits.clear()
        self._imported.clear()
        began = time.perf_counter()
        result = yield
        # What a test itself imports it may look at, though it runs none of its functions.
        lines: dict[str, list[int]] = {path: [] for path in sorted(self._imported)}
        for path, line in sorted(self._numbers[number] for number in self._hits):
            lines.setdefault(path, []).append(line)
        self.tests.setdefault(item.nodeid, {}).update(seconds=time.perf_counter() - began, lines=lines)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests.setdefault(report.nodeid, {})["failed"] = True

    def pytest_sessionfinish(self) -> None:
        self._out.write_text(json.dumps(self.tests), encoding="utf-8")


class OnSqlite:
    """A pytest plugin: leaves out the tests that need a server of another database."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not _needs_server(item)]


def _needs_server(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
    return bool(fixtures & _SERVERS) or any(value in _DATABASES for value in parameters if isinstance(value, str))


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
