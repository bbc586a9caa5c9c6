"""Each command that a text of the product tells a person to type names the configuration in use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay import cli
from kiva_relay.config import loader
from kiva_relay.terminal import to_type

PACKAGE = Path(cli.__file__).parents[1]
OPTION = "--config '/tmp/my trial/config.yaml'"
WITHOUT = {"config sample", "mapping schema"}
"""The commands that read no configuration."""
_ENDS = re.compile(r"\s\s|\n|[`()]|$")


def texts() -> Iterator[tuple[str, str]]:
    """Where a text stands that names a command, and the text; what is put into it by then is X."""
    for file in sorted(PACKAGE.rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        if "kiva-relay " not in source or file.name == "to_type.py":  # that one makes them
            continue
        tree = ast.parse(source)
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        inside |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant | ast.JoinedStr)
                and id(node) not in inside
                and "kiva-relay " in _text(node)
            ):
                yield f"{file.relative_to(PACKAGE)}:{node.lineno}", _text(node)


def _text(node: ast.expr) -> str:
    if not isinstance(node, ast.JoinedStr):
        return str(node.value) if isinstance(node, ast.Constant) else "X"
    text = ""
    for part in node.values:  # what follows a word at once is more of the command, or nothing
        text += "" if not isinstance(part, ast.Constant) and text[-1:].isalpha() else _text(part)
    return text


def commands(text: str) -> Iterator[str]:
    """The commands in a text that act on a configuration, each with its arguments."""
    for piece in text.split("kiva-relay ")[1:]:
        words = re.findall(r"[a-z]+", piece)
        name = next((name for name in (" ".join(words[:2]), *words[:1]) if name in cli.COMMANDS), "")
        typed = piece[: _ENDS.search(piece).start()]  # type: ignore[union-attr]  # it finds the end
        if piece.startswith(name) and name and name not in WITHOUT and "--help" not in typed:
            yield typed


@pytest.fixture
def _from_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_type, "_in_use", to_type.InUse())
    to_type.use(Path("/tmp/my trial/config.yaml"), usual=loader.USUAL_PLACE)


@pytest.mark.usefixtures("_from_a_trial")
def test_every_text_that_names_a_command_names_the_configuration_with_it() -> None:
    found = {where: list(commands(to_type.lines(text))) for where, text in texts()}
    assert len([where for where, named in found.items() if named]) > 120, "the texts are looked for in the wrong place"
    # A text that is about another configuration (of a partner, in a folder) names that one.
    lacking = {
        where: [one for one in named if OPTION not in one and "--config X" not in one] for where, named in found.items()
    }
    assert {where: named for where, named in lacking.items() if named} == {}


def test_only_the_frame_and_the_entry_write_what_a_person_reads() -> None:
    """They put the configuration into each command; what writes past them is a file, or JSON."""
    writers = {
        file.name
        for file in (PACKAGE / "cli").glob("*.py")
        if re.search(r"sys\.std(out|err)\.write|typer\.echo|\bprint\(", file.read_text(encoding="utf-8"))
    }
    files = {"config_sample.py", "mapping_schema.py", "report_file.py"}
    questions = {"init.py", "mapping_edit.py"}
    assert writers - files - questions == {"__init__.py", "frame.py"}
    asked = re.findall(r"msg(?:id|str) .*", (PACKAGE / "words" / "en" / "init.po").read_text(encoding="utf-8"))
    assert not [text for text in asked if "kiva-relay" in text]
    question = re.search(r"sys\.stdout\.write\(.*", (PACKAGE / "cli" / "mapping_edit.py").read_text(encoding="utf-8"))
    assert question is not None
    assert "kiva-relay" not in question[0]
