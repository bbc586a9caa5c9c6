"""docs/architecture.md is what the code is: its rooms, the files it names, its threads and jobs, who decides what."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from kiva_relay.service import schedule

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "daemon" / "kiva_relay"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

NAMED = re.compile(r"`([a-z_]+(?:/[a-zA-Z_]+)*\.(?:py|md|yaml|toml))`")
NOT_FILES = {"source/dialect_NAME.py"}
"""Where a new thing goes: its name is still to be chosen."""


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no section {title}"
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The first table of a section, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_room_stands_there_and_no_other() -> None:
    rooms = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    named = {row[0].strip("`/") for row in rows("Rooms")}
    assert named - {"top"} == rooms - {"sandbox"}
    assert "`sandbox/` is a stand-in for Kiva" in section("Rooms")


def test_at_the_top_stays_only_what_the_page_names() -> None:
    top = next(row for row in rows("Rooms") if row[0] == "top")
    assert {file.name for file in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"} == set(NAMED.findall(top[2]))


def test_the_rooms_stand_in_the_order_of_the_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    place = {name.strip(): number for number, layer in enumerate(layers) for name in layer.split("|")}
    order = [place[row[0].strip("`/")] for row in rows("Rooms") if row[0] != "top"]
    assert order == sorted(order)
    assert place["sandbox"] == place["service"]


def test_every_file_that_is_named_exists() -> None:
    named = set(NAMED.findall(PAGE)) - NOT_FILES
    assert len(named) > 40
    there = [*PACKAGE.rglob("*"), *ROOT.glob("*"), *(ROOT / "docs").glob("*.md"), *(ROOT / "tests").rglob("*.py")]
    ends = {str(file).removeprefix(f"{PACKAGE}/").removeprefix(f"{ROOT}/") for file in there}
    assert named <= ends, named - ends


def test_every_room_names_files_of_its_own() -> None:
    for room, _decides, files in rows("Rooms"):
        if room != "top":
            assert NAMED.findall(files), room
            assert all(name.startswith(room.strip("`")) for name in NAMED.findall(files)), room


def test_a_strangers_questions_are_answered_by_a_file_and_a_name_in_it() -> None:
    answers = [row[2] for row in rows("Where is decided …")]
    assert len(answers) == 16
    for answer in answers:
        file, name = re.findall(r"`([^`]+)`", answer)
        tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
        assert name in set(_names(tree)), f"{file} has no {name}"


def _names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name


def test_every_thread_stands_there_and_no_other() -> None:
    assert {row[0] for row in rows("Threads")} == {"main", "APScheduler", *_threads()}


def _threads() -> set[str]:
    """Names of the threads that the package starts, but for the sandbox, which is another process."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        if file.is_relative_to(PACKAGE / "sandbox"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found |= set(_named_thread(node))
            if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict) and _is(node.target, "workers"):
                found |= {_text(key) for key in node.value.keys if key is not None}
    return found - {""}


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _named_thread(call: ast.Call) -> Iterator[str]:
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if called == "Thread":
        yield from (_text(each.value) for each in call.keywords if each.arg == "name" and _text(each.value))
    elif called == "_loop" and call.args:
        yield _text(call.args[0])


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_every_job_stands_there_and_no_other() -> None:
    assert {row[0].strip("`") for row in rows("Jobs")} == set(schedule.PLAN)


def test_every_job_is_done_by_a_thread_that_stands_there() -> None:
    assert {row[2] for row in rows("Jobs")} <= {row[0] for row in rows("Threads")}
