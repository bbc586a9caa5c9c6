"""What a mapping can do to the machine: nothing. Known escapes and bombs of Jinja's sandbox, and anything hypothesis finds."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kiva_relay import errors
from kiva_relay.config import shipped, yaml_reader
from kiva_relay.config.mistake_report import MistakeReport
from kiva_relay.errors import ConfigurationError
from kiva_relay.mapping import document, engine, expression, function, lookup
from kiva_relay.mapping.expression import Wrong
from kiva_relay.mapping.function import Refused, Run
from testbed.rig import mapping_file

ESCAPES = [
    "''.__class__.__mro__[1].__subclasses__()",
    "a.__init__.__globals__",
    "a['__class__']['__mro__']",
    "a|attr('__class__')",
    "a|attr('\\x5f\\x5fclass\\x5f\\x5f')",
    "self._TemplateReference__context",
    "cycler.__init__.__globals__.os.popen('id').read()",
    "lipsum.__globals__['os']",
    "joiner.__init__.__globals__",
    "namespace.__init__.__globals__",
    "config.items()",
    "request.application.__globals__",
    "url_for.__globals__",
    "''.format.__globals__",
    "'{0.__class__}'.format(a)",
    "'%s' % a",
    "'{0.__class__.__init__.__globals__}' | format(a)",
    "a | map(attribute='__class__')",
    "a | xmlattr",
    "a | tojson",
    "a | groupby('__class__')",
    "a | selectattr('__class__')",
    "a.strip",
    "a.__class__",
    "root.__class__",
    "root['__class__']",
    "row.keys",
    "environment.globals",
    "context",
    "caller()",
    "varargs",
    "super()",
    "range(1000000000)",
    "dict(a=1)",
    "loop.index",
]
BOMBS = [
    "'a' * 1000000000",
    "1000000000 * 'a'",
    "[0] * 1000000000",
    "10 ** 10 ** 10",
    "a | center(1000000000)",
    "'%1000000000d' | format(1)",
    "a | indent(1000000000)",
    "a | replace('', 'aaaa') | replace('', 'aaaa')",
    "(" * 400 + "a" + ")" * 400,
    "not " * 249 + "a",
    "a ~ " * 249 + "a",
    "-" * 990 + "1",
    "[" * 400 + "]" * 400,
    "9" * 999 + " + 1",
    "1e999999999",
    "amount | money(1000000000)",
    "amount | money(-1000000000)",
    "amount | share(1, rows, 999999999)",
    "'" + "x" * 990 + "'",
    "a" + ".b" * 400,
]
NAMES: dict[str, Any] = {
    "a": "a text",
    "amount": 250000,
    "rows": [{"x": 1}] * 3,
    "root": {"a": "a text"},
    "row": {"a": "a text"},
}


@pytest.mark.parametrize("source", ESCAPES + BOMBS)
def test_known_escapes_and_bombs(source: str) -> None:
    began = time.thread_time()
    try:
        found = expression.parse(source).value(NAMES, Run())
    except (Wrong, Refused):
        found = None
    assert time.thread_time() - began < 2
    assert found is None or isinstance(found, str | int | bool) or source in BOMBS
    assert len(str(found)) < 100_000
    if isinstance(found, str):
        assert "class" not in found
        assert "<" not in found


def test_the_environment_knows_nothing_of_jinjas_own() -> None:
    assert dict(engine.ENVIRONMENT.globals) == {}
    assert dict(engine.ENVIRONMENT.tests) == {}
    assert set(engine.ENVIRONMENT.filters) == set(function.FUNCTIONS)


def test_a_text_doubled_again_and_again_is_bounded() -> None:
    text = "x" * 1000
    doubled = expression.parse("a ~ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a ~ a")
    lengths = []
    with contextlib.suppress(Refused):
        while True:
            text = doubled.value({"a": text}, Run())
            lengths.append(len(text))
    assert len(lengths) == 1


WORDS = st.sampled_from(
    [
        *"()[]{}|~+-*/%.,:'\" ",
        "a",
        "b",
        "or",
        "and",
        "not",
        "if",
        "else",
        "in",
        "none",
        "1",
        "1.5",
        "'x'",
        "row",
        "root",
    ]
    + [f"| {name}" for name in function.FUNCTIONS]
    + ["__class__", "is", "for", "{{", "}}", "{%", "#", "\\", "\n", "é", "\0"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=25).map(" ".join))
@example("")
def test_any_expression_is_read_or_refused(source: str) -> None:
    with contextlib.suppress(Wrong, Refused, lookup.ListsUnknown):
        expression.parse(source).value(NAMES, Run())


READY_MADE = shipped.folder("mappings") / "generic" / "loan_draft.yaml"
FILES = [mapping_file.DRAFT.splitlines(), READY_MADE.read_text("utf-8").splitlines()]
WRITTEN = [
    "",
    ":",
    "{",
    "[",
    "}",
    "]",
    "'",
    '"',
    "&a",
    "*a",
    " #",
    "\t",
    "!!x",
    "null",
    ", ",
    " | d(0)",
    "yes",
    "\u00a0",
]


@pytest.mark.long
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_file_is_read_or_its_mistakes_are_told(tmp_path: Path, data: st.DataObject) -> None:
    lines = list(data.draw(st.sampled_from(FILES)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.integers(0, 5)):
            case 0:
                lines[at] = data.draw(st.text(max_size=40))
            case 1:
                del lines[at]
                lines = lines or ["x"]
            case 2:
                cut = data.draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:cut] + data.draw(st.sampled_from(WRITTEN))
            case 3:
                lines[at], lines[0] = lines[0], lines[at]
            case 4:
                cut = data.draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:cut] + data.draw(st.sampled_from(WRITTEN)) + lines[at][cut:]
            case 5:
                lines[at] = data.draw(st.sampled_from(["", " ", "  ", "\t", "    "])) + lines[at].lstrip()
    file = tmp_path / "loan_draft.yaml"
    file.write_text("\n".join(lines), "utf-8", errors="replace")
    try:
        mapping, mistakes = document.read(file, folders=[tmp_path], parameters={})
    except ConfigurationError as error:
        mapping, mistakes = None, error.mistakes
    assert mapping is not None or any(mistake.severity == "error" for mistake in mistakes)
    for mistake in mistakes:
        assert mistake.line <= len(lines) + 1
        assert mistake.message
    assert len(list(errors.listed(mistakes))) >= len(mistakes)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_file_or_a_mistake(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(data)
    report = MistakeReport(file)
    assert yaml_reader.read(file, report) is not None or report.mistakes
    document.read(file, folders=[tmp_path], parameters={})
