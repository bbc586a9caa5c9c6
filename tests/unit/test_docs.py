"""The documentation says what the code does: names, rendered parts, YAML blocks, commands, links."""

from __future__ import annotations

import importlib.util
import io
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
import typer
from ruamel.yaml import YAML

from kiva_relay import cli, errors, meter
from kiva_relay.cli import words
from kiva_relay.config import loader, settings
from kiva_relay.delivery import outcome
from kiva_relay.mapping import document
from kiva_relay.mapping.example import FILE
from kiva_relay.mapping.function import FUNCTIONS
from kiva_relay.outbox import reason, state, table
from kiva_relay.resource import refusal
from kiva_relay.source import dialect
from kiva_relay.words import catalogue
from testbed.rig import configuration, yaml_text

ROOT = Path(__file__).parents[2]
TO_RENDER = "run: make docs"
READY_MADE = ROOT / "mappings" / "fineract"
LINKED_HOSTS = {"127.0.0.1:8765", "semver.org"}


def _renderer() -> ModuleType:
    found = importlib.util.spec_from_file_location("render", ROOT / "docs" / "render.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


render = _renderer()
PAGES: dict[str, str] = {
    str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in render.pages() if page.exists()
}
TEXT = "\n".join(PAGES.values())
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


# ---------------------------------------------------------------- nothing is missing, nothing is stale


@pytest.mark.parametrize("page", PAGES)
def test_rendered_parts_are_as_the_code_is(page: str) -> None:
    assert render.rendered(PAGES[page]) == PAGES[page], TO_RENDER


def test_every_part_stands_in_some_page() -> None:
    assert set(re.findall(r"<!-- rendered: (\w+) -->", TEXT)) == set(render.PARTS)


NAMES: dict[str, list[str]] = {
    "docs/configuration.md": [key for key, _ in settings.every()],
    "docs/metrics.md": [
        f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in meter.registry.collect()
    ],
    "docs/operate.md": [
        *(f"kiva-relay {name}" for name in cli.COMMANDS),
        *state.State,
        *reason.REASONS,
        *refusal.SENTENCES,
        *words.REASONS,
    ],
    "docs/delivery.md": [*state.State, *state.EVIDENCE, *outcome.Outcome, *reason.REASONS],
    "docs/architecture.md": list(table.metadata.tables),
}


@pytest.mark.parametrize("page", NAMES)
def test_every_name_is_explained(page: str) -> None:
    assert [name for name in NAMES[page] if f"`{name}`" not in PAGES[page]] == []


def test_every_mapping_function_is_explained() -> None:
    assert [name for name in FUNCTIONS if not re.search(rf"`{name}[`(]", PAGES["docs/mapping.md"])] == []


@pytest.mark.parametrize("one", state.State)
def test_every_state_says_what_a_person_does(one: state.State) -> None:
    section = PAGES["docs/operate.md"].partition("## What a person does with each state")[2].partition("\n## ")[0]
    assert re.search(rf"^\| .*`{one}`", section, re.MULTILINE)


def test_every_constraint_that_is_named_exists() -> None:
    named = set(re.findall(r"[Cc]heck `(\w+)`", PAGES["docs/delivery.md"]))
    named |= set(re.findall(r"`(entry_\w+)`", PAGES["docs/delivery.md"]))
    indexes = {str(index.name) for one in table.metadata.tables.values() for index in one.indexes}
    checks = {
        str(check.name).removeprefix(f"{one.name}_")
        for one in table.metadata.tables.values()
        for check in one.constraints
        if isinstance(check, sa.CheckConstraint)
    }
    assert named
    assert named <= indexes | checks


@pytest.mark.parametrize("scheme", ["postgresql", "sqlite", "mariadb", "mysql"])
def test_engines_are_those_that_can_be_read(scheme: str) -> None:
    rows = [line for line in PAGES["docs/engines.md"].splitlines() if f"`{scheme}://`" in line]
    assert rows
    try:
        dialect.of(sa.make_url(f"{scheme}://"))
        can_be_read = True
    except errors.UsageError:
        can_be_read = False
    assert all(("no dialect" in row) != can_be_read for row in rows)


def test_every_dialect_is_a_known_engine() -> None:
    files = {file.stem.removeprefix("dialect_") for file in (ROOT / "daemon/kiva_relay/source").glob("dialect_*.py")}
    assert files
    assert all(f"`{name}://`" in PAGES["docs/engines.md"] for name in files)


# ---------------------------------------------------------------- what stands there can be used


def _blocks(language: str) -> Iterator[tuple[str, str]]:
    for page, text in PAGES.items():
        for margin, written, block in _BLOCK.findall(text):
            if written == language:
                yield page, re.sub(rf"^{margin}", "", block, flags=re.MULTILINE)


YAML_BLOCKS = [
    pytest.param(page, block, id=f"{page}: {block.splitlines()[0]}")
    for page, block in _blocks("yaml")
    if not block.startswith(FILE)
]


@pytest.mark.parametrize(("page", "block"), YAML_BLOCKS)
def test_every_yaml_block_loads(page: str, block: str, tmp_path: Path) -> None:
    read: dict[str, Any] = YAML(typ="safe", pure=True).load(block)
    if read.keys() & {"resource", "extends"}:
        file = tmp_path / "mapping.yaml"
        file.write_text(block, encoding="utf-8")
        mapping, mistakes = document.read(file, folders=[READY_MADE, tmp_path], parameters={"kiva_fund": 2})
        assert mapping is not None
        assert [mistake for mistake in mistakes if mistake.severity == "error"] == []
        return
    (tmp_path / "mappings").mkdir()
    for name in re.findall(r"\{file: /etc/kiva-relay/secret/([\w-]+)\}", block):
        (tmp_path / name).touch(mode=0o600)
    text = block.replace("/etc/kiva-relay/secret", str(tmp_path))
    if "kiva" not in read:  # some settings only: they stand in an otherwise right configuration
        base = YAML(typ="safe", pure=True).load(io.StringIO(configuration.WRITTEN))
        text = yaml_text.of({**base, **read})
    loader.load(configuration.write(tmp_path, text=text), environ={})


def _code(pages: Iterable[str] = PAGES) -> Iterator[str]:
    """Every line of code on the pages: in a block, indented, or between backquotes."""
    for page in pages:
        yield from (line for _, _, block in _BLOCK.findall(PAGES[page]) for line in block.splitlines())
        rest = _BLOCK.sub("", PAGES[page])
        yield from re.findall(r"^ {4,}(\S.*)$", rest, re.MULTILINE)
        yield from re.findall(r"`([^`\n]+)`", rest)


def _typed() -> Iterator[tuple[str, str]]:
    """Every command of ours that a page shows."""
    for page in PAGES:
        for line in _code([page]):
            for part in re.split(r"\||&&|>|   +| # ", line):
                typed = re.sub(r"^\s*(\$ )?(sudo )?(-u \S+ )?", "", part).strip()
                if typed.startswith("kiva-relay "):
                    yield page, typed


TYPED = sorted(set(_typed()))


@pytest.mark.parametrize(("page", "typed"), TYPED, ids=[f"{page}: {typed}" for page, typed in TYPED])
def test_every_command_exists_with_its_options(page: str, typed: str) -> None:
    given = shlex.split(typed)[1:]
    family = [name for name in cli.COMMANDS if name.split()[0] == given[0]]
    assert family, "no such command"
    if given[0] in family and cli._is_for_itself(given[0], given[1:]):
        family = [given[0]]
    command: Any = typer.main.get_command(cli._build(given[0], family))  # type: ignore[arg-type]  # it is a Typer
    rest = given[1:]
    inner = getattr(command, "commands", {})
    if inner and rest and not rest[0].startswith("-"):
        assert rest[0] in inner, "no such command"
        command, rest = inner[rest[0]], rest[1:]
    if not rest:
        return  # named, as in a sentence; its arguments are not shown
    command.make_context(given[0], [*rest])


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", "\n".join(_code()), re.MULTILINE))
    assert "demo" in named
    assert named <= targets


def test_commands_were_found() -> None:
    assert len(TYPED) > 30


# ---------------------------------------------------------------- other languages


TRANSLATED = ("fr", "es")


@pytest.mark.parametrize("name", TRANSLATED)
def test_the_page_is_told_in_the_words_of_its_buttons(name: str) -> None:
    said = {form for forms in catalogue.every(name).values() for form in forms}
    quoted = re.findall(r"\*\*(.+?)\*\*", PAGES[f"docs/{name}/page.md"])
    assert len(quoted) > 15
    assert [one for one in quoted if one not in said] == []


@pytest.mark.parametrize("page", ["quick-start.md", "page.md"])
def test_translated_pages_say_the_same_and_are_listed_until_somebody_has_read_them(page: str) -> None:
    french, spanish = (PAGES[f"docs/{name}/{page}"] for name in TRANSLATED)
    levels = [[len(title) for title in re.findall(r"^#+(?= )", text, re.MULTILINE)] for text in (french, spanish)]
    typed = [
        [block.replace("--lang es", "--lang fr") for _, _, block in _BLOCK.findall(text)] for text in (french, spanish)
    ]
    assert levels[0] == levels[1]
    assert [one.replace("Cusco", "Dakar") for one in typed[1]] == typed[0]
    assert all(f"({name}/{page})" in PAGES["docs/translations.md"] for name in TRANSLATED)


# ---------------------------------------------------------------- where it points


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]*)(?:#[\w-]+)?\)", PAGES[page]):
        if target and not target.startswith("https://"):
            assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_every_heading_that_is_linked_exists(page: str) -> None:
    for target, heading in re.findall(r"\]\(([^)#]*)#([\w-]+)\)", PAGES[page]):
        other = (ROOT / page).parent.joinpath(target).read_text(encoding="utf-8") if target else PAGES[page]
        titles = [re.sub(r"[^\w\- ]", "", title).replace(" ", "-").lower() for title in _titles(other)]
        assert heading in titles


def _titles(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_registry_or_a_machine(page: str) -> None:
    text = PAGES[page]
    assert not re.search(r"pypi|pythonhosted|index-url|npmjs|crates\.io|docker\.io", text, re.IGNORECASE)
    assert not re.search(r"(?<![\w.])/(work|root|home|tmp|Users)/", text)
    assert set(re.findall(r"https?://([\w.:-]+\w)", text)) <= LINKED_HOSTS
