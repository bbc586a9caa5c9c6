"""`extends:`: each rule of the merge, which file a mistake is in, what is printed as a whole, the examples of the base."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiva_relay.config import loader, shipped, yaml_reader
from kiva_relay.config.mistake_report import MistakeReport
from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.errors import ConfigurationError, Mistake, listed
from kiva_relay.mapping import configuration as mapping_configuration
from kiva_relay.mapping import document, example, extends, whole
from kiva_relay.mapping.origin import SourceFile, Sources
from kiva_relay.mapping.plan import Document, Items, Leaf, Parts
from kiva_relay.service import reload
from testbed.rig import configuration
from testbed.rig.mapping_file import DRAFT

FINERACT = shipped.folder("mappings") / "fineract"
OLDER = shipped.folder("mappings") / "fineract-1.6"
GOLDEN = Path(__file__).parents[1] / "bodies" / "fineract-1.6"
INDIVIDUAL = "extends: fineract/loan_draft.individual\n"


def read(folder: Path, text: str, *, base: str = DRAFT, name: str = "own") -> tuple[Document | None, list[Mistake]]:
    (folder / "base.yaml").write_text(base, "utf-8")
    file = folder / f"{name}.yaml"
    file.write_text(text, "utf-8")
    return document.read(file, folders=[folder], parameters={"kiva_fund": 2})


def good(folder: Path, text: str, *, base: str = DRAFT) -> Document:
    mapping, mistakes = read(folder, text, base=base)
    assert [each for each in mistakes if each.severity == "error"] == [], "\n".join(listed(mistakes))
    assert mapping is not None
    return mapping


def only(folder: Path, text: str, *, base: str = DRAFT) -> Mistake:
    _, mistakes = read(folder, text, base=base)
    assert len(mistakes) == 1, "\n".join(listed(mistakes))
    return mistakes[0]


def leaf(mapping: Document, name: str) -> Leaf:
    plan = mapping.fields[name]
    assert isinstance(plan, Leaf)
    return plan


def person(mapping: Document) -> dict[str, Any]:
    plan = mapping.fields["entreps"]
    assert isinstance(plan, Items)
    (item,) = plan.items
    assert isinstance(item, Parts)
    return dict(item.parts)


# ---------------------------------------------------------------- the rules of the merge


def test_what_is_not_written_stays_and_means_the_same(tmp_path: Path) -> None:
    mapping = good(tmp_path, "extends: base\n")
    (tmp_path / "copy.yaml").write_text(DRAFT, "utf-8")
    copy, _ = document.read(tmp_path / "copy.yaml", folders=[tmp_path], parameters={})
    assert copy is not None
    assert mapping.fingerprint == copy.fingerprint
    assert mapping.extends == "base"
    assert [each.file for each in mapping.bases] == [tmp_path / "base.yaml"]
    assert copy.extends == ""


def test_a_value_replaces_the_value_of_the_base_and_nothing_else(tmp_path: Path) -> None:
    mapping = good(tmp_path, "extends: base\nfields: {currency: other_code}\nsource: {where: kiva = 1}\n")
    assert leaf(mapping, "currency").origin == "m_loan.other_code"
    assert mapping.stream.where == "kiva = 1"
    whole_copy = DRAFT.replace("currency: currency_code", "currency: other_code")
    assert mapping.fingerprint == good(tmp_path, whole_copy.replace("loan_status_id = 300", "kiva = 1")).fingerprint


def test_null_takes_out_at_every_depth(tmp_path: Path) -> None:
    text = "extends: base\nrelations: {gender: null}\nfields: {entreps: [{gender: null, last_name: {trim: null}}]}\n"
    mapping = good(tmp_path, text)
    assert [each.name for each in mapping.stream.relations] == ["client", "schedule"]
    assert "gender" not in person(mapping)
    assert person(mapping)["last_name"].functions == ()
    assert person(mapping)["first_name"].origin == "m_client.firstname"


def test_a_list_of_one_merges_into_a_list_of_one_and_every_other_list_is_replaced(tmp_path: Path) -> None:
    two = "[{client_id: a, loan_id: b, amount: c}, {client_id: d, loan_id: e, amount: f}]"
    assert len(good(tmp_path, f"extends: base\nfields: {{entreps: {two}}}\n").fields["entreps"].items) == 2  # type: ignore[union-attr]
    base = DRAFT.replace("  schedule:\n    each", "  internal_loan_id: account_no\n  schedule:\n    each")
    base = base[: base.index("  entreps:")] + f"  entreps: {two}\n" + base[base.index("  currency:") :]
    mapping = good(tmp_path, "extends: base\nfields: {entreps: [{client_id: x, loan_id: k, amount: z}]}\n", base=base)
    assert set(person(mapping)) == {"client_id", "loan_id", "amount"}
    scalars = good(tmp_path, "extends: base\nsource: {key: [a]}\n", base=DRAFT.replace("key: id", "key: [b]"))
    assert scalars.stream.key == ("a",)


@pytest.mark.parametrize("own", ["extends: base\n", "# two\n# lines\nextends: base\n"])
def test_a_text_of_the_base_is_looked_up_in_the_base(tmp_path: Path, own: str) -> None:
    base = DRAFT.replace("fields:\n", 'fields:\n  loanuse: {text: "Seeds."}\n  description: {text: Rice # and beans}\n')
    _, mistakes = read(tmp_path, own, base=base)
    (comment,) = [each for each in mistakes if "for a comment" in each.message]
    number = next(number for number, line in enumerate(base.splitlines(), 1) if "beans" in line)
    assert (comment.file.name, comment.line) == ("base.yaml", number)
    assert "Rice # and beans" in comment.remedy


def test_codes_are_added_and_taken_out(tmp_path: Path) -> None:
    text = "extends: base\nfields: {entreps: [{gender: {choose: {Weiblich: female, Homme: null}}}]}\n"
    (step,) = person(good(tmp_path, text))["gender"].steps
    assert step.arguments == ({"Femme": "female", "Weiblich": "female"},)


def test_a_new_relation_stands_where_it_is_written(tmp_path: Path) -> None:
    text = (
        "extends: base\nrelations:\n"
        "  link: {table: m_link, match: {loan: id}}\n"
        "  client: {match: {id: null, client: link.client}}\n"
        "  branch: {table: m_office, match: {id: client.office_id}}\n"
    )
    mapping = good(tmp_path, text)
    assert [each.name for each in mapping.stream.relations] == ["link", "client", "gender", "schedule", "branch"]
    assert mapping.stream.relations[1].match == {"client": "link.client"}


def test_a_comment_and_another_order_change_nothing(tmp_path: Path) -> None:
    first = good(tmp_path, "extends: base\nfields: {currency: a, internal_loan_id: b}\n").fingerprint
    text = "# said\nfields:\n  internal_loan_id: b\n  currency:   a  # said\nextends: base\n"
    assert good(tmp_path, text).fingerprint == first


KEYS = st.sampled_from(["table", "key", "where", "match", "a", "b", "sql of it", "Œ", "choose"])
TEXTS = st.one_of(
    st.sampled_from(
        ["a", "true", "yes", "null", "12", "010", "1.50", "2026-11-23", "a: b", "a # b", "", " ", "{x}", "-"]
    ),
    st.text(max_size=20),
    st.text(alphabet="SELECT a,b\n FROM:#'\"", min_size=90, max_size=200),
)


@st.composite
def scalars(draw: st.DrawFn) -> YamlTree:
    kind = draw(st.sampled_from(["str", "str", "str", "int", "bool", "float", "timestamp"]))
    text = {"int": "12", "bool": "true", "float": "1.50", "timestamp": "2026-11-23"}.get(kind) or draw(TEXTS)
    return YamlTree("scalar", draw(st.integers(1, 30)), 1, type=kind, text=text, quoted=draw(st.booleans()))


def entries(values: st.SearchStrategy[YamlTree]) -> st.SearchStrategy[YamlTree]:
    def built(found: tuple[dict[str, YamlTree], bool, int]) -> YamlTree:
        parts, flow, line = found
        names = [(YamlTree("scalar", value.line, 1, text=name), value) for name, value in parts.items()]
        return YamlTree("map", line, 1, flow=flow, entries=tuple(names))

    return st.tuples(st.dictionaries(KEYS, values, max_size=4), st.booleans(), st.integers(1, 30)).map(built)


def items(values: st.SearchStrategy[YamlTree]) -> st.SearchStrategy[YamlTree]:
    return st.tuples(st.lists(values, max_size=3), st.booleans()).map(
        lambda found: YamlTree("list", 1, 1, flow=found[1], items=tuple(found[0]))
    )


def inside_flow(found: YamlTree, *, flow: bool = False) -> YamlTree:
    """What stands inside of brackets stands in brackets itself."""
    flow = flow or found.flow
    return YamlTree(
        found.kind,
        found.line,
        1,
        type=found.type,
        text=found.text,
        quoted=found.quoted,
        flow=flow,
        entries=tuple((name, inside_flow(value, flow=flow)) for name, value in found.entries),
        items=tuple(inside_flow(item, flow=flow) for item in found.items),
    )


def trees(leaves: st.SearchStrategy[YamlTree]) -> st.SearchStrategy[YamlTree]:
    inner = st.recursive(leaves, lambda inner: st.one_of(entries(inner), items(inner)), max_leaves=12)
    return entries(inner).map(inside_flow)


TREES = trees(scalars())
# In a merge a null takes out; where a tree is printed, it is a value like others.
NULLS = st.sampled_from(["null", "~", ""]).map(lambda text: YamlTree("scalar", 1, 1, type="null", text=text))
PRINTED = trees(st.one_of(scalars(), NULLS))


def meant(found: YamlTree) -> Any:
    return document._meant(found)


def laid(own: Any, base: Any) -> Any:
    """The rules once more, over plain values: `meant` gives a scalar as a list of two texts."""
    if isinstance(own, dict) and isinstance(base, dict):
        return {**base, **{name: laid(value, base[name]) if name in base else value for name, value in own.items()}}
    if isinstance(own, list) and isinstance(base, list) and len(own) == len(base) == 1:
        (mine,), (theirs,) = own, base
        if isinstance(mine, dict) and isinstance(theirs, dict):
            return [laid(mine, theirs)]
    return own


@given(TREES, TREES)
def test_a_merge_is_what_the_rules_say(own: YamlTree, base: YamlTree) -> None:
    merged = extends._Layer(MistakeReport(Path("own"))).over(own, base, "")
    assert meant(merged) == laid(meant(own), meant(base))


@given(TREES)
def test_nothing_over_a_base_and_a_base_over_itself_are_the_base(base: YamlTree) -> None:
    layer = extends._Layer(MistakeReport(Path("own")))
    assert meant(layer.over(YamlTree("map", 1, 1), base, "")) == meant(base)
    assert meant(layer.over(base, base, "")) == meant(base)
    assert layer.report.mistakes == []


# ---------------------------------------------------------------- the whole, printed


@given(PRINTED)
def test_what_is_printed_loads_as_what_it_was(tmp_path_factory: pytest.TempPathFactory, found: YamlTree) -> None:
    files = (SourceFile(Path("own"), "\n" * 10), SourceFile(Path("base"), "\n" * 20, 10))
    text = whole.text(extends.Resolved(found, Sources(files), "base", (("x", 3),)))
    file = tmp_path_factory.getbasetemp() / "printed.yaml"
    file.write_bytes(text.encode())
    report = MistakeReport(file)
    again = yaml_reader.read(file, report)
    if found.entries:
        assert again is not None, text
        assert meant(again) == meant(found), text
        assert [each for each in report.mistakes if each.severity == "error"] == [], text


def test_the_whole_says_where_each_part_that_differs_is_from(tmp_path: Path) -> None:
    text = "extends: fineract-1.6/loan_draft.individual\nrelations: {photo: null}\nfields:\n  image_encoded: null\n  currency: iso\n"
    file = tmp_path / "loan_draft.individual.yaml"
    file.write_text(text, "utf-8")
    mapping, mistakes = document.read(file, folders=[tmp_path], parameters={"kiva_fund": 2})
    assert mistakes == []
    assert mapping is not None
    lines = mapping.text.splitlines()
    assert lines[lines.index("  currency: iso") - 1] == f"  # {file}:5"
    assert lines[lines.index("  changed_at_zone: server") - 1] == "  # fineract-1.6/loan_draft.individual:5"
    assert f"# Taken out: fields.image_encoded ({file}:4)" in lines
    assert "# Taken out: source.changed_at (fineract-1.6/loan_draft.individual:4)" in lines
    assert not any("photo" in line for line in lines if not line.startswith("#"))
    assert "extends:" not in mapping.text
    file.write_text(mapping.text, "utf-8")
    again, mistakes = document.read(file, folders=[FINERACT, tmp_path], parameters={"kiva_fund": 2})
    assert again is not None
    assert (mistakes, again.fingerprint) == ([], mapping.fingerprint)


def test_a_file_that_extends_nothing_is_printed_as_it_was_written(tmp_path: Path) -> None:
    text = f"# a comment\n{DRAFT}"
    assert good(tmp_path, text).text == good(tmp_path, text).written == text


# ---------------------------------------------------------------- the ready-made sets


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_older_fineract_says_what_it_said_as_a_copy(file: Path) -> None:
    """Meant to change? Then the file in tests/bodies has to say so, too: `kiva-relay mapping show` prints it."""
    written, mistakes = document.read(file, folders=[OLDER], parameters={"kiva_fund": 2})
    mapping, _ = document.read(OLDER / file.name, folders=[OLDER], parameters={"kiva_fund": 2})
    assert mapping is not None
    assert written is not None
    assert mistakes == []
    assert mapping.extends == f"fineract/{mapping.name}"
    assert mapping.fingerprint == written.fingerprint
    assert example.run(mapping)
    assert [result.name for result in example.run(written, file=mapping.examples) if not result.passed] == []


def test_the_older_fineract_has_the_code_tables_of_the_newer_one() -> None:
    """It has its own copies for a whole mapping beside it, as `mapping show` prints it: that one has no base."""
    tables = {file.name: file.read_text("utf-8") for file in (FINERACT / "lookup").iterdir()}
    assert {file.name: file.read_text("utf-8") for file in (OLDER / "lookup").iterdir()} == tables


def test_a_ready_made_mapping_extends_at_most_one_that_stands_by_itself() -> None:
    for kind in shipped.mappings():
        for mapping in document.load([shipped.folder("mappings") / kind], parameters={"kiva_fund": 2, "kiva_donor": 2}):
            assert len(mapping.bases) <= 1
            assert {each.file for each in mapping.sources.files} == {each.file for each in mapping.sources.ready_made}


@pytest.mark.parametrize("base", ["fineract/loan_draft.individual", "fineract-1.6/loan_draft.individual"])
def test_what_an_institution_extends_gets_our_corrections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    package = tmp_path / "package"
    shutil.copytree(shipped.folder("mappings"), package)
    monkeypatch.setattr(shipped, "folder", lambda _: package)
    own = f"extends: {base}\nfields: {{loanuse: story}}\nleft_to_the_coordinator: [description]\n"
    before = good(tmp_path, own)
    file = package / "fineract" / "loan_draft.individual.yaml"
    file.write_text(file.read_text("utf-8").replace("currency:      currency_code", "currency: corrected"), "utf-8")
    after = good(tmp_path, own)
    assert leaf(after, "currency").origin == "m_loan.corrected"
    assert after.fingerprint != before.fingerprint
    assert after.sources.ready_made_digest != before.sources.ready_made_digest


def test_the_code_tables_of_the_base_come_with_it(tmp_path: Path) -> None:
    file = tmp_path / "loan_draft.individual.yaml"
    file.write_text(INDIVIDUAL, "utf-8")
    (tmp_path / "lookup").mkdir()
    (tmp_path / "lookup" / "activities.csv").write_text("mis,kiva\nElevage,Pigs\n", "utf-8")
    (mapping,) = document.load([tmp_path], parameters={"kiva_fund": 2})
    table = mapping.tables["activities.csv"]
    assert (table.find("Elevage"), table.find("Couture")) == ("Pigs", "Sewing")


# ---------------------------------------------------------------- mistakes, each in the file that holds it


def test_a_mistake_is_told_of_the_file_that_holds_it(tmp_path: Path) -> None:
    base = DRAFT.replace("client.firstname", "klient.firstname")
    _, mistakes = read(tmp_path, "extends: base\nfields:\n  currency: klient.code\n", base=base)
    assert [(each.file.name, each.line, each.column, each.path) for each in sorted(mistakes)] == [
        ("base.yaml", 15, 19, "fields.entreps[0].first_name"),
        ("own.yaml", 3, 13, "fields.currency"),
    ]
    assert [each.quote.strip() for each in sorted(mistakes)] == [
        "first_name: klient.firstname",
        "currency: klient.code",
    ]


def test_what_yaml_cannot_read_in_the_base_is_told_of_the_base(tmp_path: Path) -> None:
    found = only(tmp_path, "extends: base\nfields: {currency: a}\n", base=DRAFT.replace("where: loan", "where: 'loan"))
    assert (found.file.name, found.line) == ("base.yaml", 6)


def test_a_mistake_that_both_files_make_together_is_told_of_the_one_that_differs(tmp_path: Path) -> None:
    found = only(tmp_path, "extends: base\nrelations: {gender: null}\n")
    assert (found.file.name, found.line) == ("base.yaml", 17)
    assert '"gender"' in found.message
    assert f"{tmp_path / 'own.yaml'}:2 takes it out" in found.remedy
    found = only(tmp_path, "extends: base\nfields:\n  currency: null\n")
    assert (found.file.name, found.line, found.path) == ("own.yaml", 3, "fields.currency")


class NoSuchColumns:
    def columns(self, _relation: str, /) -> dict[str, str]:
        return {"id": "integer"}

    def choices(self, _sql: str, /) -> list[tuple[str, str]]:
        return []


def test_what_the_database_lacks_is_told_of_the_file_that_names_it(tmp_path: Path) -> None:
    mapping = good(tmp_path, "extends: base\nfields:\n  currency: no_such\n")
    mistakes = {each.path: each for each in document.verify(mapping, NoSuchColumns())}
    assert (mistakes["fields.currency"].file.name, mistakes["fields.currency"].line) == ("own.yaml", 3)
    assert (mistakes["identity"].file.name, mistakes["identity"].line) == ("base.yaml", 2)
    assert mistakes["identity"].quote == "identity: account_no"


def test_a_parameter_that_is_missing_is_told_of_the_file_that_asks_for_it(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(INDIVIDUAL, "utf-8")
    _, mistakes = document.read(file, folders=[tmp_path], parameters={})
    assert {each.file for each in mistakes} == {FINERACT / "loan_draft.individual.yaml"}
    file.write_text(f"{INDIVIDUAL}parameters: {{kiva_fund: null}}\nsource: {{where: fund_id = 3}}\n", "utf-8")
    assert document.read(file, folders=[tmp_path], parameters={})[1] == []
    file.write_text(f'{INDIVIDUAL}parameters: {{kiva_fund: {{ask: "which fund?"}}}}\n', "utf-8")
    mapping, mistakes = document.read(file, folders=[tmp_path], parameters={"kiva_fund": "3"})
    assert mapping is not None
    assert mistakes == []
    assert (mapping.parameters[0].ask, mapping.parameters[0].type) == ("which fund?", "integer")


@pytest.mark.parametrize(
    ("written", "says", "remedy"),
    [
        ("fineract/loan_draft.individul", "there is no mapping", "extends: fineract/loan_draft.individual"),
        ("finract/journal", "there is no mapping", "extends: fineract/journal"),
        ("bas", "there is no mapping", "extends: base"),
        ("journal", "there is no mapping", "extends: fineract/journal"),
        ("/usr/share/fineract/journal.yaml", "not by its path", "extends: fineract/journal"),
        ("../mappings/fineract/journal.yaml", "not by its path", "extends: fineract/journal"),
        ("fineract/journal.yaml", "not by its path", "extends: fineract/journal"),
        ("./base", "not by its path", "extends: base"),
        ("fineract/../generic/journal", "not by its path", "extends: generic/journal"),
        ("zzz/qqq", "there is no mapping", "there are: fineract/journal"),
        ("", "found nothing", "there are: "),
        ("null", "found nothing", "there are: "),
        ("[base]", "found a list", "there are: "),
        ("{a: b}", "found a map", "there are: "),
        ("own", "cannot extend itself", "there are: fineract/journal"),
        ("second", "itself extends fineract/journal", "extends: fineract/journal"),
        ("around", "itself extends own", ""),
    ],
)
def test_a_base_that_cannot_be_is_told_with_the_one_that_was_meant(
    tmp_path: Path, written: str, says: str, remedy: str
) -> None:
    (tmp_path / "second.yaml").write_text("extends: fineract/journal\n", "utf-8")
    (tmp_path / "around.yaml").write_text("extends: own\n", "utf-8")
    found = only(tmp_path, f"# own\nextends: {written}\n")
    assert says in found.message
    assert remedy in found.remedy
    assert (found.file.name, found.line, found.path) == ("own.yaml", 2, "extends")


@pytest.mark.parametrize(
    ("text", "path", "says", "severity"),
    [
        ("fields: {curency: null}", "fields.curency", "nothing to take out", "error"),
        ("fields: {loanuse: null}", "fields.loanuse", "nothing to take out", "warning"),
        ("relations: {photo: null}", "relations.photo", "nothing to take out", "error"),
        ("source: {changed_at: null}", "source.changed_at", "nothing to take out", "warning"),
        ("when: null", "when", "nothing to take out", "warning"),
        ("fields:\n  currency:\n", "fields.currency", "nothing stands here", "error"),
        ("relations:\n", "relations", "nothing stands here", "error"),
        ("resource: journal", "resource", "another resource, loan_draft", "error"),
        ("fields: {currency: {text: XOF}}", None, "", ""),
        ("fields: {currency: {from: null, text: XOF}}", "fields.currency.from", "nothing to take out", "warning"),
        ("relations: {more: {table: t, match: {id: id}, optionl: null}}", "relations.more.optionl", "nothing", "error"),
        ("fields: {entreps: [{last_name: {text: X}}]}", "fields.entreps[0].last_name.text", "only one", "error"),
        ("fields: {entreps: [{last_name: {text: true}}]}", None, "", ""),
        ("fields: {entreps: [{last_name: {from: null, text: X}}]}", None, "", ""),
        ("relations: {client: {sql: SELECT 1 AS id}}", "relations.client.sql", "only one of the two", "error"),
        ("fields: {entreps: [null]}", "fields.entreps[0]", "expected an object", "error"),
        ("fields: null", "fields", "is missing", "error"),
        ("source: null", "source", "is missing", "error"),
        ("resource: null", "resource", "it is missing", "error"),
        ("identity: null", "identity", "is missing", "error"),
        ("relations: {client: null, gender: null, schedule: null}", ..., "no relation", "error"),
        ("extend: base", "extend", "no such key", "error"),
        ("fields: {entreps: [{gender: {choose: null}}]}", None, "", ""),
        ("fields: {entreps: null}", "fields.entreps", "is missing", "error"),
        ("source: {extends: base}", "source.extends", "no such key", "error"),
        ("parameters: {x: null}", "parameters", "", ""),
    ],
)
def test_odd_nulls_and_what_excludes_itself(tmp_path: Path, text: str, path: object, says: str, severity: str) -> None:
    _, mistakes = read(tmp_path, f"extends: base\n{text}\n")
    if path is None or not says:
        assert [each for each in mistakes if path is None] == [], "\n".join(listed(mistakes))
        return
    assert any(says in each.message and each.severity == severity and path in (each.path, ...) for each in mistakes), (
        "\n".join(listed(mistakes))
    )


def test_two_mappings_of_the_same_rows_are_a_mistake_and_both_are_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"{INDIVIDUAL}fields: {{currency: iso}}\n", "utf-8")
    with pytest.raises(ConfigurationError) as wrong:
        document.load([FINERACT, tmp_path], parameters={"kiva_fund": 2})
    (mistake,) = wrong.value.mistakes
    assert str(FINERACT / "loan_draft.individual.yaml") in f"{mistake.file} {mistake.message}"
    assert str(tmp_path / "mine.yaml") in f"{mistake.file} {mistake.message}"
    assert "loan_draft.individual.yaml" in mistake.remedy
    (tmp_path / "mine.yaml").rename(tmp_path / "loan_draft.individual.yaml")
    loaded = {each.name: each for each in document.load([FINERACT, tmp_path], parameters={"kiva_fund": 2})}
    assert leaf(loaded["loan_draft.individual"], "currency").origin == "m_loan.iso"
    (tmp_path / "second.yaml").write_text(f"{INDIVIDUAL}source: {{where: fund_id = 7}}\n", "utf-8")
    assert len(document.load([FINERACT, tmp_path], parameters={"kiva_fund": 2})) == len(loaded) + 1


# ---------------------------------------------------------------- examples, files, settings


def test_examples_of_the_base_run_too_and_those_of_the_same_name_are_replaced(tmp_path: Path) -> None:
    file = tmp_path / "loan_draft.individual.yaml"
    file.write_text(f"{INDIVIDUAL}fields: {{image_encoded: null, currency: {{from: null, text: XAF}}}}\n", "utf-8")
    file.write_text(f"{INDIVIDUAL}fields: {{image_encoded: null, currency: {{text: XAF}}}}\n", "utf-8")
    (mapping,) = document.load([tmp_path], parameters={"kiva_fund": 2})
    assert example.run(mapping) == []
    results = example.run_of_base(mapping)
    assert {result.base for result in results} == {"fineract/loan_draft.individual"}
    assert len(results) == 17
    differ = {result.name: result for result in results if not result.passed}
    assert set(differ) == {"one person's loan, approved", "a photo that cannot be read does not hold the loan up"}
    assert '+    "currency": "XAF"' in differ["one person's loan, approved"].diff
    mapping.examples.write_text(
        'examples:\n  - {name: "one person\'s loan, approved", refused: [missing currency]}\n', "utf-8"
    )
    assert "one person's loan, approved" not in {result.name for result in example.run_of_base(mapping)}
    assert len(example.run(mapping)) == 1


def test_the_older_set_has_examples_of_its_own_for_all_that_differs() -> None:
    for mapping in document.load([OLDER], parameters={"kiva_fund": 2}):
        assert [result for result in example.run_of_base(mapping) if not result.passed] == []


def config(folder: Path, mappings: str) -> Callable[[], tuple[Path, ...]]:
    text = configuration.WRITTEN.replace("mappings: fineract", f"mappings: {mappings}")
    file = configuration.write(folder, text=text)
    return lambda: loader.load(file, environ={}).mapping_folders


def test_a_ready_made_set_alone_is_followed_by_ones_own_folder_where_there_is_one(tmp_path: Path) -> None:
    alone = config(tmp_path, "fineract")
    assert alone() == (FINERACT,)
    (tmp_path / "mappings").mkdir()
    assert alone() == (FINERACT, tmp_path / "mappings")
    assert config(tmp_path, "[fineract-1.6]")() == (OLDER, tmp_path / "mappings")
    (tmp_path / "other").mkdir()
    assert config(tmp_path, "other")() == (tmp_path / "other",)
    assert config(tmp_path, "[fineract, other]")() == (FINERACT, tmp_path / "other")
    assert config(tmp_path, "[fineract, mappings]")() == (FINERACT, tmp_path / "mappings")


def test_a_base_that_changes_is_an_edit_of_what_extends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    shutil.copytree(shipped.folder("mappings"), package)
    monkeypatch.setattr(shipped, "folder", lambda _: package)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.yaml").write_text("extends: fineract-1.6/journal  # ours\n", "utf-8")
    text = configuration.WRITTEN.replace("mappings: fineract", "mappings: own\nparameters: {kiva_fund: 2}")
    settings = loader.load(configuration.write(tmp_path, text=text), environ={})
    read = mapping_configuration.read(lambda: settings)
    assert reload.edited(read) == ()
    base = package / "fineract" / "journal.yaml"
    base.write_text(base.read_text("utf-8") + "# corrected\n", "utf-8")
    assert reload.edited(read) == ("journal.yaml",)
    table = package / "fineract" / "lookup" / "activities.csv"
    table.write_text(table.read_text("utf-8") + "Poterie,Crafts\n", "utf-8")
    assert reload.edited(read) == ("activities.csv", "journal.yaml")
