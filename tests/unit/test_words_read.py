"""What was found when the three languages were read aloud: plurals, days, codes, words that English left behind."""

from __future__ import annotations

import re
from datetime import date

from kiva_relay.report import line as lines
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.words import catalogue, language, report, report_line
from kiva_relay.words import task as words_task

FR, ES = language.of("fr"), language.of("es")
TODAY = date(2026, 12, 2)
TEXTS = {name: catalogue.every(name) for name in catalogue.NAMES}


def test_how_grave_a_problem_is_has_a_word() -> None:
    found = [{"loan_id": "000000233", "severity": "warning", "details": "no"}]
    assert report.upload("88121", 250, found, FR, moment="x")[1].startswith("  avertissement   000000233")


def test_one_and_several_are_told_apart_where_somebody_reads_a_number() -> None:
    assert FR.say("page.drafts_ready", n=1) == "1 peut être publié."
    assert ES.say("page.drafts_ready", n=3) == "3 están listos para publicar."
    assert FR.say("task.find.do", n=1).startswith("Kiva l'attend ; le SIG n'a pas de prêt avec ce numéro.")

    def ready(sent: int) -> str:
        (first, *_) = report.ready("2026-11", FR, sent=sent, expected=414, decide=0, correct=0, closes="x", at=TODAY)
        return first.partition(" : ")[2]

    assert [ready(sent) for sent in (0, 1, 2)] == [
        "0 prêt envoyé sur 414.",
        "1 prêt envoyé sur 414.",
        "2 prêts envoyés sur 414.",
    ]


def test_spanish_has_one_word_for_the_relay_and_the_branch() -> None:
    said = " ".join(form for forms in TEXTS["es"].values() for form in forms)
    assert not re.search(r"\b(relé|sucursal)\b", said)


def test_no_moment_stands_bare_behind_a_preposition() -> None:
    bare = {"fr": r"(depuis|Envoyé|envoyé|erreur,) \{moment\}", "es": r"(desde|Enviado|enviado|error,) \{moment\}"}
    for name, pattern in bare.items():
        assert [code for code, forms in TEXTS[name].items() if re.search(pattern, " ".join(forms))] == []


def test_what_differs_is_told_in_words_and_days() -> None:
    def told(field: str, was: str, now: str) -> str:
        return words_task.difference({"field": field, "was": was, "is": now}, "XOF", FR)

    assert told("disburse_time", "2026-12-01", "2026-12-04").endswith(
        "envoyé : mar. 1er déc. 2026   à présent dans le SIG : ven. 4 déc. 2026"
    )
    assert told("entreps[0].gender", "female", "male").endswith("envoyé : femme   à présent dans le SIG : homme")
    assert told("schedule[0].principal", "41667", "0").endswith("envoyé : 41 667 XOF   à présent dans le SIG : 0 XOF")
    assert told("client_waiver_signed", "true", "false").endswith("envoyé : oui   à présent dans le SIG : non")


def test_who_left_it_out_without_a_note_is_told_without_a_colon() -> None:
    answered = {"person": "awa", "note": ""}
    left_out = ReportLine("77", "000000412", ReportLineKind.LEFT_OUT, lines.BY_A_PERSON, {"answered": answered})
    (said, *_) = report_line.line(left_out, FR, at=TODAY)
    assert said == "Non rapporté ; décidé par awa."
