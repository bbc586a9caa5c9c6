"""`status` and `check` in French and Spanish: the same findings, the same exit code, the same JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay.outbox import hold
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox, Run
from testbed.rig.morning import Morning


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


ENGLISH = re.compile(
    r"\b(the|nothing|lost|waits?|sent|delivered|expected|held|since|ago|list|loans?|drafts?|read|yet|by itself|cannot)\b"
)
"""Words that neither language has."""


def everything(told: FullOutbox) -> None:
    """A person is asked about much, two things are held, and Kiva's list is old."""
    Morning(told).whole()
    with told.outbox.begin() as tx:
        hold.put(tx, "loan_draft", "asked", now=told.now, by="awa", note="attendre")
        params = {"number": "60", "within": "1 h", "brake": "50"}
        hold.put(tx, "journal", "brake", now=told.now, params=params)


def without_what_is_typed(out: str) -> str:
    """Commands, settings, paths and what others wrote are in no language; the first line is the same for all."""
    text = "\n".join(out.splitlines()[1:])
    text = re.sub(r"(sudo )?kiva-relay .*|[a-z_]+\.[a-z_.]+|/\S+|(reads?|reading)\.\w+", "", text)
    return re.sub(r"\b(loan_draft|repayment|journal|HELD|STOPPED|NOTE|WAITING|OK|outbox)\b", "", text)


@pytest.mark.parametrize(
    ("lang", "says"),
    [
        ("fr", ("envoi retenu, une personne l'a demandé (depuis", "awa l'a retenu : « attendre »", "attendu", "Livré")),
        ("es", ("envío retenido, una persona lo pidió (desde", "awa lo retuvo: «attendre»", "esperado", "Entregado")),
    ],
)
def test_status_speaks_her_language(told: FullOutbox, run: Run, lang: str, says: tuple[str, ...]) -> None:
    everything(told)
    english = run("status")
    found = run("status", "--lang", lang)
    assert found.code == english.code
    for one in says:
        assert one in found.out
    assert not ENGLISH.search(without_what_is_typed(found.out)), ENGLISH.findall(without_what_is_typed(found.out))
    assert found.out.splitlines()[0] == english.out.splitlines()[0]
    assert [line.split()[0] for line in found.out.splitlines() if line.strip().startswith("HELD")] == ["HELD"] * 2


def test_a_configuration_says_which_language_and_json_has_none(told: FullOutbox, run: Run) -> None:
    everything(told)
    before = run("status", "--json").json
    told.config.write_text(f"{told.config.read_text()}\nlanguage: es\n")
    assert "No se perdió nada" in run("status").out
    assert "Nothing is lost" in run("status", "--lang", "en").out
    after = run("status", "--json").json
    assert [one["code"] for one in after["findings"]] == [one["code"] for one in before["findings"]]
    findings = run("check", "--json").json["findings"]
    assert {"no mistakes"} <= {one["text"] for one in findings}


def test_a_relay_that_does_not_run_is_told_in_french(told: FullOutbox, run: Run) -> None:
    assert (
        "Le relais ne tourne pas. Rien n'est perdu, rien n'a été envoyé deux fois." in run("status", "--lang", "fr").out
    )


@pytest.mark.parametrize(("lang", "last"), [("fr", "avertissement"), ("es", "advertencia")])
def test_check_speaks_her_language(told: FullOutbox, run: Run, lang: str, last: str) -> None:
    english, found = run("check"), run("check", "--lang", lang)
    assert found.code == english.code
    assert len(found.out.splitlines()) == len(english.out.splitlines())
    assert last in found.out.splitlines()[-1]
    assert ("aucune erreur" if lang == "fr" else "sin errores") in found.out


def test_an_unknown_language_is_said_so(told: FullOutbox, run: Run) -> None:
    assert run("status", "--lang", "pt").code == 2


@pytest.mark.parametrize(
    ("lang", "says"),
    [("fr", "Pour lire 12 tables, pour 6 correspondances :"), ("es", "Para leer 12 tablas, para 6 correspondencias:")],
)
def test_the_grants_are_explained_in_her_language(told: FullOutbox, run: Run, lang: str, says: str) -> None:
    """Of a server that does not let us in, so that each sentence is said; the SQL is the same."""
    told.config.write_text(told.config.read_text().replace("@localhost/", "@127.0.0.1:1/"))
    english, found = run("check", "--grants"), run("check", "--grants", "--lang", lang)
    assert found.code == english.code == 0
    assert says in found.out
    told_apart = [[one for one in each.out.splitlines() if not one.startswith("--")] for each in (english, found)]
    assert told_apart[0] == told_apart[1]
    assert "GRANT SELECT ON" in found.out
    assert "mis.url" in found.err
    said = "\n".join([*(one for one in found.out.splitlines() if one.startswith("--")), found.err.partition(":")[0]])
    assert not ENGLISH.search(said), said
    assert run("check", "--grants", "--json", "--lang", lang).json == run("check", "--grants", "--json").json
