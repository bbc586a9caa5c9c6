"""The mutants themselves: a tool that finds nothing would praise every test."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from testbed.mutation import coverage, mutant
from testbed.mutation.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = '''"""What it is about."""
import os

LIMIT = 3


def due(items, now):
    """What is due."""
    if not items:
        return None
    _log.info("looks", number=1)
    found = [one for one in items if one.at <= now]
    for one in found:
        one.seen = True
    return found[:LIMIT] if found and now else ()
'''


def changes(text: str = TEXT) -> list[tuple[str, str, str]]:
    return [(one.kind, one.before, one.after) for one in mutant.all_of("outbox/due.py", text)]


def test_every_kind_of_change_is_found_once() -> None:
    assert changes() == [
        ("number", "LIMIT = 3", "LIMIT = 4"),
        ("not left out", "if not items:", "if items:"),
        (
            "condition left out",
            "found = [one for one in items if one.at <= now]",
            "found = [one for one in items if True]",
        ),
        (
            "comparison",
            "found = [one for one in items if one.at <= now]",
            "found = [one for one in items if one.at < now]",
        ),
        ("nothing to go through", "for one in found:", "for one in ():"),
        ("statement left out", "one.seen = True", "pass"),
        ("truth", "one.seen = True", "one.seen = False"),
        ("nothing returned", "return found[:LIMIT] if found and now else ()", "return None"),
        (
            "condition turned round",
            "return found[:LIMIT] if found and now else ()",
            "return found[:LIMIT] if (not (found and now)) else ()",
        ),
        (
            "and, or",
            "return found[:LIMIT] if found and now else ()",
            "return found[:LIMIT] if found or now else ()",
        ),
    ]


def test_a_truth_that_is_returned_is_turned_round_and_that_is_all() -> None:
    """None for False means the same to whoever asks; no test should have to tell them apart."""
    assert changes("def f():\n    return False\n") == [("truth", "return False", "return True")]
    assert changes("def f():\n    return None\n") == []


def test_who_waits_in_front_of_a_file_is_told_the_first_and_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing at all was said for minutes."""
    progress = Progress()
    for number in range(1, 1001):
        progress.say(f"{number} of 1000 files", last=number == 1000)
    progress.note("it survived")
    first, *_, last, note = capsys.readouterr().out.splitlines()
    assert first.startswith("1 of 1000 files (")
    assert last.startswith("1000 of 1000 files (")
    assert note == "it survived"


def test_each_knows_its_statement_its_scope_and_whether_only_an_import_runs_it() -> None:
    limit, _, comparison, *_ = mutant.all_of("outbox/due.py", TEXT)
    assert (limit.scope, limit.statement, limit.at_import) == ("", 4, True)
    assert (comparison.scope, comparison.statement, comparison.at_import) == ("due", 12, False)


def test_a_key_stays_while_the_line_moves_and_no_two_are_the_same() -> None:
    moved = TEXT.replace("import os\n", "import os\n\nMORE = os.sep\n")
    keys = [one.key for one in mutant.all_of("outbox/due.py", TEXT)]
    assert [one.key for one in mutant.all_of("outbox/due.py", moved)] == keys
    twice = mutant.all_of("outbox/due.py", TEXT + "\n\ndef more():\n    a = 1\n    a = 1\n")
    assert len({one.key for one in twice}) == len(twice)


def test_letters_that_take_several_bytes_move_nothing() -> None:
    line = 'text = "Thiès é" if 1 == one else 2'
    assert ("comparison", line, line.replace("==", "!=")) in changes(f"{line}\n")


@pytest.fixture
def looked_at(tmp_path: Path) -> Iterator[coverage.Coverage]:
    yield coverage.Coverage((str(tmp_path),), tmp_path / "found.json")
    delattr(builtins, coverage._CALL)


def test_each_statement_that_is_run_is_noted(looked_at: coverage.Coverage, tmp_path: Path) -> None:
    text = '''def way(number):
    """It has words."""
    try:
        if number > 1:
            return "many"
        elif number:
            return "one"
    finally:
        number = 0
    match number:
        case 0:
            return "none"
'''
    code = looked_at.compiled(str(tmp_path / "way.py"), text)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["way"].__doc__ == "It has words."
    for number, said, lines in (
        (2, "many", [3, 4, 5, 9]),
        (1, "one", [3, 4, 6, 7, 9]),
        (0, "none", [3, 4, 6, 9, 10, 12]),
    ):
        looked_at._hits.clear()
        assert names["way"](number) == said
        assert sorted(looked_at._numbers[hit][1] for hit in looked_at._hits) == lines
    assert looked_at.compiled("/elsewhere/way.py", text) is None


def test_what_a_test_imports_it_may_look_at(looked_at: coverage.Coverage, tmp_path: Path) -> None:
    """A value is a line that no function runs; the test that looks at all of them imports them first."""

    class Item:
        nodeid = "test_values.py::test_all"

    path = str(tmp_path / "value.py")
    around = looked_at.pytest_runtest_protocol(Item())  # type: ignore[arg-type]
    next(around)
    looked_at.compiled(path, "FROZEN = True\n")
    with pytest.raises(StopIteration):
        next(around)
    assert looked_at.tests[Item.nodeid]["lines"] == {path: []}
