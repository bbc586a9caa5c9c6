"""The named mistakes in YAML files: what is said to be written is written, and the file means what was meant.

Each is made in a mapping, whose row then has to become the intended body, and in settings.
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from kiva_relay.config import loader, shipped
from kiva_relay.errors import ConfigurationError, Mistake
from kiva_relay.mapping import document, example
from testbed.rig import configuration

FOLDER = shipped.folder("mappings") / "generic"
JOURNAL = (FOLDER / "journal.yaml").read_text("utf-8")
EXAMPLES = FOLDER / "journal.test.yaml"
NBSP = "\u00a0"

TABLE, KEY = "  table: notes\n", "  key: id\n"
ASK = '{ask: "donors.id of Kiva: loans with another donor are never sent", sql:'
WHERE = "where: note LIKE 'KIVA:%' AND"
LOAN, CLIENT = "  loan:   {table: loans, match: {id: loan_id}}", "  internal_client_id: client.client_no\n"
SUBJECT = "  subject:            \"'News from ' ~ (client.first_name | name)\"\n"
BODY = '{from: note, after: "KIVA:", text: true, trim: true, required: true}'

# What stands there, as it is meant, as it was written, and what is said of it.
MAPPING = {
    "a tab indents": (KEY, KEY, "\tkey: id\n", "a tab"),
    "two tabs indent": (CLIENT, CLIENT, "\t\tinternal_client_id: client.client_no\n", "a tab"),
    "a tab behind a colon": (CLIENT, CLIENT, "  internal_client_id:\tclient.client_no\n", "a tab"),
    "tabs everywhere": (CLIENT, CLIENT, "  internal_client_id: \t\tclient.client_no\t # of\tthem\n", "a tab"),
    "a tab behind a hyphen": (KEY, KEY, "  key:\n    -\tid\n", "a tab"),
    "a tab behind a text": (SUBJECT, SUBJECT, SUBJECT.replace(":  ", ":\t").replace('"\n', '"\t\n'), "a tab"),
    "a foreign blank indents": (KEY, KEY, f"{NBSP}{NBSP}key: id\n", "U+00A0"),
    "a foreign blank behind a colon": (KEY, KEY, f"  key:{NBSP}id\n", "U+00A0"),
    "a foreign blank and a space": (KEY, KEY, f"  key: {NBSP}id\n", "U+00A0"),
    "a foreign blank at the end": (TABLE, TABLE, "  table: notes\u202f\n", "U+202F"),
    "a letter that nobody sees": (TABLE, TABLE, "  table: \u200bnotes\n", "U+200B"),
    "a dash for a hyphen": (KEY, KEY, "  key:\n    – id\n", "U+2013"),
    "no blank behind the colon": ("identity: id", "identity: id", "identity:id", "a blank is missing"),
    "no blank in the first line": (TABLE, TABLE, "  table:notes\n", "a blank is missing"),
    "no blank in brackets": (LOAN, LOAN, LOAN.replace("id: loan_id", "id:loan_id"), "a blank is missing"),
    "a second colon in a field": (SUBJECT, '  subject: {text: "Kiva: news"}\n', "  subject: Kiva: news\n", "second"),
    "a second colon elsewhere": (WHERE, WHERE, "where: note LIKE 'KIVA:%' AND 'a: b' <> note AND", "second"),
    "a second colon in brackets": (ASK, ASK, ASK.replace('"', ""), "second"),
    "a second colon, and a comment": (
        SUBJECT,
        '  subject: {text: "Kiva: news"}\n',
        "  subject: Kiva: news   # ours\n",
        "second",
    ),
    "a second colon below text": (
        SUBJECT,
        '  subject: {text: "Kiva: news"}\n',
        "  subject:\n    text: Kiva: news\n",
        "second",
    ),
    "a hash in brackets": (SUBJECT, '  subject: {text: "News #1"}\n', "  subject: {text: News #1}\n", '" #"'),
    "a hash": (SUBJECT, '  subject: {text: "News #1"}\n', "  subject:\n    text: News #1\n", '" #"'),
    "typographic quotes": (SUBJECT, '  subject: {text: "News!"}\n', "  subject: “News!”\n", "is none"),
    "typographic quotes of a text": (SUBJECT, '  subject: {text: "News"}\n', "  subject:\n    text: “News”\n", "letters"),
    "a bracket not closed": (BODY, BODY, BODY[:-1], "not closed"),
    "two brackets not closed": (LOAN, LOAN, LOAN[:-2] + "   # the loan", "not closed"),
    "a bracket too many": (BODY, BODY, BODY + "}", "closes nothing"),
    "quotes not closed": ("identity: id", "identity: id", 'identity: "id', "not closed"),
    "a second document": ("fields:", "fields:", "---\nfields:", "a second document"),
    "a key twice": (KEY, KEY, KEY * 2, "is written twice"),
    "not aligned": (KEY, KEY, " " + KEY, "begins 3 blanks in"),
}  # fmt: skip

SETTINGS = {
    "a tab indents": ("  client_id: abc", "\tclient_id: abc", "a tab"),
    "a tab behind a colon": ("partner_id: 123", "partner_id:\t123", "a tab"),
    "a foreign blank": ("partner_id: 123", f"partner_id:{NBSP}123", "U+00A0"),
    "a foreign blank at the end": ("environment: sandbox", f"environment: sandbox{NBSP}", "U+00A0"),
    "a dash": ("mappings: fineract", "mappings:\n  – fineract", "U+2013"),
    "no blank behind the colon": ("client_id: abc", "client_id:abc", "a blank is missing"),
    "no blank in brackets": ("{since: first_start}", "{since:first_start}", "a blank is missing"),
    "no blank in the first line of a section": ("url: postgresql", "url:postgresql", "a blank is missing"),
    "no colon in the first line of a section": ("environment: sandbox", "environment sandbox", '":" is missing'),
    "no colon": ("partner_id: 123", "partner_id 123", '":" is missing'),
    "a second colon in a secret": ("{env: KIVA_SECRET}", "a: b", "second"),
    "a bracket of a group not closed": ("{since: first_start}", "{since: first_start   # all", "not closed"),
    "typographic quotes": ("client_id: abc", "client_id: “abc”", "letters"),
    "a bracket not closed": ("{env: KIVA_SECRET}", "{env: KIVA_SECRET", "not closed"),
    "quotes not closed": ("client_id: abc", "client_id: 'abc", "not closed"),
    "a second document": ("mis:", "---\nmis:", "a second document"),
    "a key twice": ("  client_id: abc", "  client_id: abc\n  client_id: abc", "is written twice"),
    "not aligned": ("  client_id: abc", "   client_id: abc", "begins 3 blanks in"),
    "a word for true": ("client_id: abc", "client_id: abc\n  send: yes", "true or false"),
}


def obeyed(file: Path, mistake: Mistake) -> None:
    """Do what the remedy says."""
    lines = file.read_text("utf-8").split("\n")
    line = lines[mistake.line - 1]
    indent = re.match(r"\s*", line)[0]  # type: ignore[index]  # it matches nothing, too
    hyphen = re.match(r"\s*((?:-\s+)*)", line)[1].replace("\t", " ")  # type: ignore[index]  # as above
    remedy = mistake.remedy.removeprefix("if it belongs to the text:   ").removeprefix(
        "if you mean these very words:   "
    )
    blanks = re.fullmatch(r"begin the line with (\d+) blanks", remedy)
    written = re.fullmatch(r"write (true|false)", remedy)
    if blanks:
        lines[mistake.line - 1] = " " * int(blanks[1]) + line.strip()
    elif written:
        lines[mistake.line - 1] = f"{line.partition(':')[0]}: {written[1]}"
    elif remedy == "delete this line" or remedy.endswith("delete one of them"):
        del lines[mistake.line - 1]
    elif remedy.endswith('"…"   (its value between quotes)'):
        key, _, value = line.partition(":")
        lines[mistake.line - 1] = f'{key}: "{value.strip()}"'
    else:
        key = remedy.partition(":")[0]
        at = line.find(f"{key}:")
        nested = at > len(indent + hyphen) and line[:at].rstrip().endswith(("{", ","))
        start = line[:at] if nested else indent + ("" if remedy.startswith("- ") else hyphen)
        rest = line[at + len(remedy) - 1 :] if nested else ""
        lines[mistake.line - 1] = start + remedy + rest
    file.write_text("\n".join(lines), "utf-8")


def body(file: Path) -> Any:
    mapping, mistakes = document.read(file, folders=[FOLDER], parameters={"kiva_donor": 2})
    assert mistakes == []
    assert mapping is not None
    examples = example.tree_of(EXAMPLES).get("examples")
    assert examples is not None
    shared = {"rows": _rows(), "columns": 3}
    return mapping.identity.source, example.mapped(mapping, shared, examples.items[0]).body


def _rows() -> dict[str, Any]:
    return {
        "root": {"id": 7, "loan_id": 12, "note": "KIVA: She bought a third goat."},
        "loan": {"id": 12, "loan_no": "KV/0012", "client_id": 3},
        "client": {"id": 3, "client_no": "C-0003", "first_name": "achieng"},
    }


@pytest.mark.parametrize("name", MAPPING)
def test_a_remedy_of_a_mapping_gives_the_intended_body(tmp_path: Path, name: str) -> None:
    stood, meant, written, said = MAPPING[name]
    file = tmp_path / "journal.yaml"
    file.write_text(JOURNAL.replace(stood, meant, 1), "utf-8")
    intended = body(file)
    assert intended[1]
    file.write_text(JOURNAL.replace(stood, written, 1), "utf-8")
    _, mistakes = document.read(file, folders=[FOLDER], parameters={"kiva_donor": 2})
    (mistake,) = mistakes
    assert said in mistake.message
    assert mistake.quote == file.read_text("utf-8").split("\n")[mistake.line - 1]
    obeyed(file, mistake)
    assert body(file) == intended, file.read_text("utf-8")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_remedy_of_settings_gives_the_intended_settings(tmp_path: Path, name: str) -> None:
    right, wrong, said = SETTINGS[name]
    meant = configuration.WRITTEN.replace(right, '"a: b"', 1) if wrong == "a: b" else configuration.WRITTEN
    intended = loader.load(configuration.write(tmp_path, text=meant), environ={})
    file = configuration.write(tmp_path, text=configuration.WRITTEN.replace(right, wrong, 1))
    mistake = only(file)
    assert said in mistake.message
    obeyed(file, mistake)
    assert loader.load(file, environ={}) == intended, file.read_text("utf-8")


@pytest.mark.parametrize(("encoding", "of"), [("latin-1", "windows-1252"), ("utf-16", "utf-16")])
def test_a_file_of_another_encoding_is_converted_by_the_command_that_is_said(
    tmp_path: Path, encoding: str, of: str
) -> None:
    file = tmp_path / "journal.yaml"
    text = JOURNAL.replace(SUBJECT, '  subject: {text: "Nouvelles de Thiès"}\n')
    file.write_text(text, "utf-8")
    intended = body(file)
    file.write_bytes(text.encode(encoding))
    _, (mistake,) = document.read(file, folders=[FOLDER], parameters={"kiva_donor": 2})
    assert f"iconv -f {of} " in mistake.remedy
    subprocess.run(mistake.remedy, shell=True, check=True)
    assert body(file) == intended
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def only(file: Path) -> Mistake:
    with pytest.raises(ConfigurationError) as wrong:
        loader.load(file, environ={})
    (mistake,) = wrong.value.mistakes
    return mistake


SECRETS = [
    "client_secret: geheim: x",
    "client_secret: 'geheim",
    "client_secret:geheim",
    "client_secret:\tgeheim",
    f"client_secret:{NBSP}geheim",
    "client_secret: @geheim",
    "client_secret: *geheim",
    "client_secret: “geheim”",
    "client_secret: {geheim",
    "clientsecret: geheim: x",
    "client_secret: !geheim",
    "client_secret: 'x' geheim",
    'client_secret: "\\geheim"',
    "geheim",
]


@pytest.mark.parametrize("line", SECRETS)
def test_no_message_repeats_what_may_be_a_secret(tmp_path: Path, line: str) -> None:
    text = configuration.WRITTEN.replace("client_secret: {env: KIVA_SECRET}", line)
    with pytest.raises(ConfigurationError) as wrong:
        loader.load(configuration.write(tmp_path, text=text), environ={})
    assert "geheim" not in str(wrong.value)
    assert {mistake.line for mistake in wrong.value.mistakes} <= {2, 5}


def test_a_line_that_became_a_text_is_not_repeated(tmp_path: Path) -> None:
    text = configuration.WRITTEN.replace("  url: postgresql://kiva_relay", "  url:postgresql://me:geheim")
    assert "geheim" not in str(only(configuration.write(tmp_path, text=text)))
    text = text.replace("  timezone: Africa/Dakar\n", "")
    assert "geheim" not in str(only(configuration.write(tmp_path, text=text)))


def test_many_mistakes_of_yaml_are_said_at_once(tmp_path: Path) -> None:
    text = configuration.WRITTEN.replace("client_id: abc", "client_id:\tabc").replace("Africa/Dakar", "“Africa/Dakar”")
    text = text.replace("environment: sandbox", "environment: a: b").replace("fineract\n", "finerakt\n")
    with pytest.raises(ConfigurationError) as wrong:
        loader.load(configuration.write(tmp_path, text=text), environ={})
    assert [(each.line, each.path) for each in wrong.value.mistakes] == [
        (2, "kiva.environment"),
        (4, "kiva.client_id"),
        (8, "mis.timezone"),
        (9, "mappings"),
    ]


def test_a_text_of_several_lines_may_hold_what_it_likes(tmp_path: Path) -> None:
    file = tmp_path / "journal.yaml"
    text = JOURNAL.replace(
        LOAN,
        "  loan:\n    sql: |\n      SELECT id, loan_no, client_id -- all\n      \tFROM loans\n      – x\n    match: {id: loan_id}",
    )
    file.write_text(text, "utf-8")
    _, mistakes = document.read(file, folders=[FOLDER], parameters={"kiva_donor": 2})
    assert [each for each in mistakes if each.severity == "error"] == []


@pytest.mark.parametrize("indent", ["at: 06:00", "at: '06:00'", 'at: "06:00"'])
def test_a_time_of_day_needs_no_quotes(tmp_path: Path, indent: str) -> None:
    read = loader.load(configuration.write(tmp_path, f"repayments: {{opens_on: {{day: 2, {indent}}}}}\n"), environ={})
    assert f"{read.repayments.opens_on.at:%H:%M}" == "06:00"


def test_everything_else_gets_the_parsers_words_and_the_line(tmp_path: Path) -> None:
    text = configuration.WRITTEN.replace("client_id: abc", "client_id: a\x07bc")
    mistake = only(configuration.write(tmp_path, text=text))
    assert (mistake.line, mistake.message) == (4, "is no YAML: special characters are not allowed")
    mistake = only(configuration.write(tmp_path, "parameters: {a: %x}\n"))
    assert (mistake.line, mistake.column) == (12, 17)
    assert "found character '%' that cannot start any token" in mistake.message


PIECES = st.sampled_from(
    [
        "",
        ":",
        ": ",
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
        "---",
        "- ",
        NBSP,
        "– ",
        "“",
        "\0",
    ]
)


@hypothesis.settings(
    max_examples=150, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 40), PIECES), min_size=1, max_size=3))
def test_any_settings_are_read_or_their_mistakes_are_shown(tmp_path: Path, edits: list[tuple[int, int, str]]) -> None:
    lines = configuration.WRITTEN.splitlines()
    for number, at, piece in edits:
        lines[number] = lines[number][:at] + piece + lines[number][at:]
    mistakes = None
    try:
        loader.load(configuration.write(tmp_path, text="\n".join(lines)), environ={})
    except ConfigurationError as wrong:
        mistakes = wrong.mistakes
    assert mistakes != []
    assert all(each.message and each.line <= len(lines) + 1 for each in mistakes or ())


def test_curly_quotes_with_nothing_between_them_are_a_mistake(tmp_path: Path) -> None:
    text = configuration.WRITTEN.replace("partner_id: 123", "partner_id: ““")
    with pytest.raises(ConfigurationError, match="these quotes are letters to YAML"):
        loader.load(configuration.write(tmp_path, text=text), environ={})


BOMBS = {
    "laughs": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
    "loop": "a: &a [*a]\n",
    "merge": "a: &a {x: 1}\nb: {<<: *a}\n",
    "brackets": "[" * 100_000,
    "brackets, a line each": "a: " + "[\n" * 50_000,
    "braces": "{a: " * 20_000,
    "hyphens": "- " * 20_000,
    "questions": "? " * 20_000,
    "maps": "".join(f"{' ' * number}a:\n" for number in range(600)),
    "wide": f"a: [{'x,' * 60_000}]",
    "keys": "".join(f"k{number}: v\n" for number in range(18_000)),
    "tabs": "\ta: b\n" * 30_000,
    "foreign blanks": f"a:{NBSP}b\n" * 30_000,
    "a line of foreign blanks": f"a: {NBSP * 80_000}b",
    "a line of blanks": f"a:{' ' * 200_000}\tb",
    "a line of quotes": "a: " + '"\\' * 100_000,
    "dashes": "a:\n" + "– b\n" * 30_000,
    "colons": "a: b: c\n" * 20_000,
    "huge": "a: " + "x" * 1_000_000,
    "number": "partner_id: " + "9" * 10_000,
    "object": "!!python/object/apply:os.system [id]",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once_in_settings_as_in_mappings(tmp_path: Path, name: str) -> None:
    for read in (_settings, _mapping):
        began = time.process_time()
        assert read(tmp_path, BOMBS[name]) > 0
        assert time.process_time() - began < 5


def _settings(folder: Path, text: str) -> int:
    with pytest.raises(ConfigurationError) as wrong:
        loader.load(configuration.write(folder, text=text), environ={})
    return len(wrong.value.mistakes)


def _mapping(folder: Path, text: str) -> int:
    file = folder / "bomb.yaml"
    file.write_text(text, "utf-8")
    return len(document.read(file, folders=[folder], parameters={})[1])


def test_nothing_in_the_settings_can_be_changed(tmp_path: Path) -> None:
    file = configuration.write(tmp_path, "parameters: {kiva_fund: 3}\n")
    read = loader.load(file, environ={})
    with pytest.raises(TypeError):
        read.parameters["kiva_fund"] = 4  # type: ignore[index]  # this is what is tried
    for value in _values(read):
        assert not isinstance(value, list | dict | set | bytearray), value


def _values(model: BaseModel) -> list[Any]:
    found: list[Any] = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        found.append(value)
        if isinstance(value, BaseModel):
            assert value.model_config["frozen"]
            found += _values(value)
    return found
