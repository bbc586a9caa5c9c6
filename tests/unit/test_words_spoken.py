"""What `status` and `check` tell the administrator: each sentence in French and Spanish, none left over."""

from __future__ import annotations

import ast
import string
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from babel.messages import pofile
from babel.messages.catalog import Message

from kiva_relay.outbox.reason import REASONS
from kiva_relay.words import spoken

PACKAGE = Path(spoken.__file__).parents[1]
OTHERS = ("fr", "es")


def messages(name: str) -> dict[str, Message]:
    with resources.files("kiva_relay.words").joinpath(name, f"{spoken.PART}.po").open("rb") as opened:
        found = pofile.read_po(opened, locale=name, abort_invalid=True)
    assert not found.obsolete
    return {one.id if isinstance(one.id, str) else one.id[0]: one for one in found if one.id}


def said_in_code() -> dict[str, str]:
    """Each sentence that is said, and its form for several; empty where it has one."""
    found: dict[str, str] = {}
    for file in (*PACKAGE.glob("cli/*.py"), PACKAGE / "words" / "spoken.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("tr", "marked"):
                forms = [str(one.value) for one in node.args if isinstance(one, ast.Constant)]
                if forms:
                    found[forms[0]] = forms[1] if len(forms) > 1 else ""
    for reason in REASONS.values():
        for text in (reason.words, *reason.known, *(about for about, _ in reason.look), reason.release):
            found.setdefault(text, "")
    return found


def blanks(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("name", OTHERS)
def test_every_sentence_is_translated_and_no_translation_is_left_over(name: str) -> None:
    said, known = said_in_code(), messages(name)
    assert said.keys() - known.keys() == set(), "untranslated"
    assert known.keys() - said.keys() == set(), "not used"
    assert len(said) > 300


@pytest.mark.parametrize("name", OTHERS)
def test_a_translation_has_the_blanks_and_the_forms_of_its_sentence(name: str) -> None:
    said = said_in_code()
    for english, one in messages(name).items():
        forms = (one.string,) if isinstance(one.string, str) else tuple(one.string or ())
        assert len(forms) == (2 if said[english] else 1), english
        assert not one.fuzzy
        for form in forms:
            assert form.strip(), english
            assert form.isprintable(), english
            assert blanks(form) | {"n"} == blanks(english) | blanks(said[english]) | {"n"}, english


def test_one_and_several_are_chosen_as_each_language_does() -> None:
    def journals(number: int) -> str:
        return spoken.tr("{n} journal", "{n} journals", n=number)

    assert [journals(number) for number in (0, 1, 1200)] == ["0 journals", "1 journal", "1,200 journals"]
    with spoken.speaks("fr"):
        assert [journals(number) for number in (0, 1, 1200)] == ["0 suivi", "1 suivi", "1 200 suivis"]
    with spoken.speaks("es"):
        assert [journals(number) for number in (0, 1, 2)] == ["0 seguimientos", "1 seguimiento", "2 seguimientos"]
        with spoken.speaks("xx"):
            assert journals(2) == "2 journals"
    assert spoken.name() == "en"


def test_english_loads_no_catalogue() -> None:
    code = (
        "import sys; from kiva_relay.words import spoken; spoken.tr('nothing');"
        " print([name for name in sys.modules if name.startswith('babel')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
