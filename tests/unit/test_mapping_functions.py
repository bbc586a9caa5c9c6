"""The functions of a mapping: their examples are their tests, NULL goes through all of them, oddities of real MIS."""

from __future__ import annotations

import base64
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kiva_relay.mapping import expression, function, operation
from kiva_relay.mapping.function import FUNCTIONS, WORLD, Refused, Run
from kiva_relay.mapping.lookup import LookupTable
from testbed.rig import mapping_file

RUN = Run(
    lists=mapping_file.LISTS,
    tables={"activities.csv": LookupTable("activities.csv", Path(), {"elevage": "Livestock"})},
    timezone="Africa/Dakar",
)
EXAMPLES = [(source, given) for each in FUNCTIONS.values() for source, given in each.examples]


def value(source: str, names: dict[str, Any] = WORLD, run: Run = RUN) -> Any:
    return expression.parse(source).value(names, run)


@pytest.mark.parametrize(("source", "given"), [one for one in EXAMPLES if "image(" not in one[0]])
def test_its_example_is_true(source: str, given: str) -> None:
    found = value(source)
    assert ("NULL" if found is None else str(found)) == given


@pytest.mark.parametrize("called", sorted(FUNCTIONS))
def test_null_goes_through_as_null(called: str) -> None:
    each = FUNCTIONS[called]
    assert each.compute.__doc__
    assert function.call(called, RUN, None, *["x"] * each.least) is None
    for source, _ in each.examples:
        subject, _, rest = source.partition(" | ")
        assert subject
        assert value(f"nothing | {rest}", WORLD | {"nothing": None}) is None


@pytest.mark.parametrize(
    ("given", "forms", "expected"),
    [
        (date(2026, 11, 23), (), date(2026, 11, 23)),
        (datetime(2026, 11, 23, 23, 59, tzinfo=UTC), (), date(2026, 11, 23)),
        ("2026-11-23", (), date(2026, 11, 23)),
        (20261123, (), date(2026, 11, 23)),
        ("23.11.26", ("%d/%m/%Y", "%d.%m.%y"), date(2026, 11, 23)),
        ("", (), None),
        ("0000-00-00 00:00:00", (), None),
        ("00/00/0000", ("%d/%m/%Y",), None),
        (0, (), None),
        ("2026-11-23 22:30", ("%Y-%m-%d %H:%M", "America/Lima"), date(2026, 11, 24)),
    ],
)
def test_a_day_out_of_what_an_mis_has(given: object, forms: tuple[str, ...], expected: date | None) -> None:
    assert function.call("date", RUN, given, *forms) == expected


@pytest.mark.parametrize("given", ["31/02/2026", "tomorrow", True, Decimal(1), ["a"]])
def test_what_is_no_day(given: object) -> None:
    with pytest.raises(Refused):
        function.call("date", RUN, given, "%d/%m/%Y")


@pytest.mark.parametrize("source", ["'x' | date('%Q')", "'x' | date('Mars/Base')", "'x' | date(1)", "x | image(1)"])
def test_wrong_values_of_a_function_are_found_when_it_is_loaded(source: str) -> None:
    with pytest.raises(expression.Wrong):
        expression.parse(source)


def test_operators_with_null() -> None:
    assert operation.joined(["Mme ", None]) is None
    assert operation.compared(None, "lt", 1) is None


def photo(size: tuple[int, int] = (8, 4)) -> bytes:
    into = io.BytesIO()
    Image.new("RGB", size, "red").save(into, "JPEG")
    return into.getvalue()


@pytest.mark.parametrize("written", [photo(), "data:image/png;base64," + base64.b64encode(photo()).decode()])
def test_a_photo_in_the_row_itself(written: bytes | str) -> None:
    assert function.call("image", RUN, written).startswith("sha256:")
    sent = function.call("image", Run(photos="bytes"), written)
    assert sent.startswith("data:image/jpeg;base64,")  # its true type, whatever the row says


def test_a_photo_is_read_from_allowed_folders_only(tmp_path: Path) -> None:
    inside, outside = tmp_path / "photos", tmp_path / "secret"
    inside.mkdir()
    outside.mkdir()
    for folder in (inside, outside):
        (folder / "1.jpg").write_bytes(photo())
    (inside / "way-out.jpg").symlink_to(outside / "1.jpg")
    run = Run(photo_folders=(inside,))
    assert function.call("image", run, str(inside / "1.jpg")).startswith("sha256:")
    assert function.call("image", run, "1.jpg").startswith("sha256:")
    assert function.call("image", Run(), "1.jpg", str(outside)).startswith("sha256:")
    wrong: list[tuple[Run, object, tuple[str, ...]]] = [
        (run, str(outside / "1.jpg"), ()),
        (run, "../secret/1.jpg", ()),
        (run, "way-out.jpg", ()),
        (run, "/dev/zero", ()),
        (run, str(inside), ()),
        (run, "a\0b", ()),
        (Run(), str(inside / "1.jpg"), ()),
        (run, "../photos/1.jpg", (str(outside),)),
        (run, "x" * 5000, ()),
        (run, b"GIF89a", ()),
    ]
    for each, path, folders in wrong:
        with pytest.raises(Refused) as refused:
            function.call("image", each, path, *folders)
        assert refused.value.refusal.code == "photo_unreadable"


def test_texts_in_several_languages(tmp_path: Path) -> None:
    text = mapping_file.DRAFT.replace(
        "  currency: currency_code\n",
        "  currency: currency_code\n"
        '  loanuse: {texts: {fr: "acheter {purpose.code_value | trim} pour {approved_principal} {{F}}",'
        ' en: "buy {purpose.code_value}"}, language: client.language}\n',
    ).replace("relations:\n", "relations:\n  purpose: {table: m_code_value, match: {id: purpose_id}, optional: true}\n")
    mapping = mapping_file.load(tmp_path, text)
    loanuse: Any = mapping.fields["loanuse"]
    names = {"approved_principal": Decimal("250000.00"), "purpose": {"code_value": "du riz "}, "client": {}}

    def told(language: str | None, **changes: Any) -> str | None:
        found: str | None = loanuse.start.value(names | changes | {"client": {"language": language}}, RUN)
        return found

    assert told("fr") == "acheter du riz pour 250000 {F}"
    assert told("en") == "buy du riz "
    assert told(None) is None
    assert told("en", purpose=None) is None
    with pytest.raises(Refused):
        told("es")
    assert ("purpose", "code_value") in {(column.owner, column.name) for column in mapping.columns}
