"""`check --staging` against a stand-in in twelve variants: each question settled rightly, or said to be open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from kiva_relay import cli
from testbed.kiva import server
from testbed.kiva.config import KivaConfig
from testbed.kiva.control import Sandbox
from testbed.rig import configuration

AUDIENCES = ("https://partner-api-stage.dk1.kiva.org", "https://partner-api-stage.kiva.org")
LOANS = ({"internal_loan_id": "000000233", "internal_client_id": "C233", "status": "payingBack", "age": 9000},)
OPEN = None


@dataclass(frozen=True)
class Variant:
    """A stand-in, and what is right of it, where that is not what is so of the plain one."""

    kiva: KivaConfig
    right: dict[str, str | None] = field(default_factory=dict)
    loans: tuple[dict[str, Any], ...] = LOANS
    fault: dict[str, Any] = field(default_factory=dict)


def made(**changes: Any) -> KivaConfig:
    return KivaConfig(**{"audience": AUDIENCES[0], **changes})


PLAIN: dict[str, str | None] = {
    "audience": AUDIENCES[0],
    "scopes": "all",
    "partner": "123",
    "receipts": "snake_case, object",
    "drafts_visible": OPEN,
    "journals_path": "partner",
    "journals_body": "list",
    "columns": "2",
    "basis": OPEN,
}
NO_TOKEN: dict[str, str | None] = dict.fromkeys(PLAIN)
VARIANTS = {
    "plain": Variant(made()),
    "the other audience": Variant(made(audience=AUDIENCES[1]), {"audience": AUDIENCES[1]}),
    "no audience that we know": Variant(made(audience="https://elsewhere"), NO_TOKEN),
    "a scope is not granted": Variant(
        made(scopes=("read:loans", "create:loan_draft", "create:journal_update")),
        {"scopes": "missing: create:repayment", "columns": OPEN},
    ),
    "drafts are listed": Variant(made(drafts_visible=True), {"drafts_visible": "auto"}),
    "drafts are listed late": Variant(made(drafts_visible=True, listing_lag=timedelta(hours=1))),
    "camel case": Variant(made(spelling="camel"), {"receipts": "camelCase, object"}),
    "lists of one": Variant(made(receipts="list"), {"receipts": "snake_case, list"}),
    "partners, and an object": Variant(
        made(journal_path="partners", journal_body="object"), {"journals_path": "partners", "journals_body": "object"}
    ),
    "an object": Variant(made(journal_body="object"), {"journals_body": "object"}),
    "three columns": Variant(made(client_ids=True), {"columns": "3"}),
    "no loans, and an answer that is lost": Variant(
        made(),
        {"columns": OPEN, "journals_path": OPEN, "journals_body": OPEN, "receipts": OPEN},
        (),
        {"kind": "drop_after", "on": "loan_draft"},
    ),
}


@contextmanager
def stand_in(variant: Variant, folder: Path) -> Iterator[Path]:
    """A stand-in, and a configuration that calls it Kiva's staging."""
    running = server.start(config=variant.kiva)
    try:
        control = Sandbox(running.url)
        if variant.loans:
            control.seed_loans(variant.loans)
        if variant.fault:
            control.fault(**variant.fault)
        control.close()
        text = configuration.WRITTEN
        file = configuration.write(folder, "", text=text)
        written = file.read_text(encoding="utf-8").replace("environment: sandbox", "environment: staging")
        written = written.replace(
            "kiva:\n", f"kiva:\n  token_url: {running.url}/oauth/token\n  api_url: {running.url}\n"
        )
        file.write_text(written, encoding="utf-8")
        yield file
    finally:
        running.close()


@pytest.mark.parametrize("name", VARIANTS)
def test_each_question_is_settled_rightly_or_open(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variant = VARIANTS[name]
    monkeypatch.setenv("KIVA_SECRET", "a-very-secret-word")
    kept = tmp_path / "answers.json"
    with stand_in(variant, tmp_path) as file:
        given = ["check", "--staging", "--yes", "--json", "--file", str(kept), "--config", str(file)]
        code = cli.main(given)
        found = {one["question"]: one for one in orjson.loads(capsys.readouterr().out)}
    assert {one: said["found"] for one, said in found.items()} == PLAIN | variant.right
    assert code == 1, "the basis is always for a person"
    assert found["journals_path"]["setting"] == "kiva.journals.path"
    for one in found.values():
        wanted = "open" if one["found"] is None else "ok" if one["found"] == PLAIN[one["question"]] else "change"
        assert one["verdict"] == wanted or one["setting"] is None or one["question"] == "drafts_visible"
    text = kept.read_text(encoding="utf-8")
    assert '"/oauth/token"' in text
    assert "a-very-secret-word" not in text
    assert kept.stat().st_mode & 0o777 == 0o600


def test_an_hour_later_the_same_file_settles_that_drafts_are_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s")
    kept = tmp_path / "answers.json"
    with stand_in(VARIANTS["plain"], tmp_path) as file:
        given = ["check", "--staging", "--yes", "--json", "--file", str(kept), "--config", str(file)]
        cli.main(given)
        before = orjson.loads(kept.read_bytes())
        before["drafts"][0]["at"] = "2026-01-01T00:00:00+00:00"
        kept.write_bytes(orjson.dumps(before))
        capsys.readouterr()
        cli.main(given)
        found = {one["question"]: one["found"] for one in orjson.loads(capsys.readouterr().out)}
        assert found["drafts_visible"] == "never"
        assert cli.main([*given[:3], "--file", str(kept), "--config", str(file)]) == 1
    shown = capsys.readouterr().out
    assert "drafts_visible: never   (now auto)" in shown
    assert "Delete the draft in PA2 (staging)" in shown


@pytest.mark.parametrize(
    "written",
    [
        b'{"drafts": 5}',
        b'{"drafts": [{"loan_id": "relay-test-1", "at": "2026-01-01T00:00:00"}]}',
        b'{"drafts": [{"at": "2026-01-01T00:00:00+00:00"}]}',
        b"[]",
        b"\xff",
        b"",
    ],
)
def test_nothing_is_sent_where_the_file_is_not_ours(
    written: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s")
    kept = tmp_path / "answers.json"
    kept.write_bytes(written)
    with stand_in(VARIANTS["plain"], tmp_path) as file:
        code = cli.main(["check", "--staging", "--yes", "--file", str(kept), "--config", str(file)])
    assert code == 2
    said = capsys.readouterr().err
    assert f"{kept} is not what this command wrote. Nothing was sent." in said
    assert "kiva-relay check --staging --file another.json" in said
    assert kept.read_bytes() == written


def test_production_is_never_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = configuration.write(tmp_path, "")
    text = file.read_text(encoding="utf-8").replace("environment: sandbox", "environment: production")
    file.write_text(text, encoding="utf-8")
    assert cli.main(["check", "--staging", "--yes", "--config", str(file)]) == 2
    assert "never to Kiva's production" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a scope is not granted", "an object", "no audience that we know"])
@pytest.mark.parametrize(
    ("lang", "says"), [("fr", "Sous quel chemin les suivis sont-ils pris ?"), ("es", "¿En qué ruta se aceptan")]
)
def test_it_is_told_in_her_language(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    name: str,
    lang: str,
    says: str,
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s")
    with stand_in(VARIANTS[name], tmp_path) as file:
        given = ["check", "--staging", "--yes", "--file", str(tmp_path / "answers.json"), "--config", str(file)]
        code = cli.main([*given, "--lang", lang])
        said = capsys.readouterr().out
        assert cli.main([*given, "--lang", "en"]) == code
        english = capsys.readouterr().out
    assert says in said
    assert len(said.splitlines()) == len(english.splitlines())
    same = {one.strip() for one in said.splitlines()[1:]} & {one.strip() for one in english.splitlines()[1:]}
    assert same <= {""}, "nothing stays English"
