"""The coordinator's words: three languages that say the same, nothing untranslated, nothing left over."""

from __future__ import annotations

import ast
import re
import string
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import pytest
from babel.messages import pofile
from babel.messages.catalog import Message

from kiva_relay.account.copies import Possible
from kiva_relay.account.reconcile import DiscrepancyKind
from kiva_relay.account.task import When
from kiva_relay.cli.init_question import QUESTIONS
from kiva_relay.config.kiva import Kiva
from kiva_relay.config.repayments import Repayments
from kiva_relay.errors import UsageError
from kiva_relay.outbox.reason import REASONS
from kiva_relay.page import act, button, done, why
from kiva_relay.report import line as lines
from kiva_relay.report.comparison import Basis
from kiva_relay.report.line import Price, ReportLine, ReportLineKind
from kiva_relay.resource import refusal as refusals
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.resource.refusal import Refusal
from kiva_relay.words import catalogue, hold, language, refusal, report, report_choice, report_line, rest
from kiva_relay.words import reconcile as words_reconcile
from kiva_relay.words import task as words_task
from kiva_relay.words.language import Language

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "daemon" / "kiva_relay"
AGREED = tomllib.loads((ROOT / "tests/data/agreed-words.toml").read_text(encoding="utf-8"))["said"]
EN, FR, ES = (language.of(name) for name in catalogue.NAMES)
ALL = (EN, FR, ES)
ALMOST_ALL = pytest.mark.parametrize("spoken", ALL, ids=catalogue.NAMES)

TODAY = date(2026, 12, 2)
NOW = datetime(2026, 12, 2, 7, 0, tzinfo=UTC)
CLOSES = datetime(2026, 12, 10, 18, 0, tzinfo=UTC)


TEXTS = {name: catalogue.every(name) for name in catalogue.NAMES}


def messages(name: str, part: str) -> list[Message]:
    file = resources.files("kiva_relay.words").joinpath(name, f"{part}.po")
    with file.open("rb") as opened:
        found = pofile.read_po(opened, locale=name, abort_invalid=True)
    assert not found.obsolete
    assert found.num_plurals == 2
    return [one for one in found if one.id]


def blanks(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


# ---------------------------------------------------------------- the catalogues


def test_every_language_says_everything() -> None:
    assert TEXTS["fr"].keys() == TEXTS["en"].keys()
    assert TEXTS["es"].keys() == TEXTS["en"].keys()
    assert len(TEXTS["en"]) > 280


@pytest.mark.parametrize("part", catalogue.PARTS)
@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_catalogue_is_whole(name: str, part: str) -> None:
    codes = []
    for one in messages(name, part):
        forms = (one.string,) if isinstance(one.string, str) else one.string or ()
        assert not one.fuzzy, one.id
        assert forms, one.id
        assert all(form.strip() and form.strip() == form for form in forms), one.id
        assert all(form.isprintable() for form in forms), one.id
        codes.append(one.id if isinstance(one.id, str) else one.id[0])
    assert all(code.startswith(f"{part}.") for code in codes)
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("code", TEXTS["en"])
def test_languages_have_the_same_blanks_and_the_same_forms(code: str) -> None:
    forms = {name: TEXTS[name][code] for name in catalogue.NAMES}
    assert {len(each) for each in forms.values()} in ({1}, {2}), "a form of the plural is missing"
    wanted = set.union(*(blanks(form) for form in forms["en"]))
    for each in forms.values():
        assert set.union(*map(blanks, each)) == wanted
        assert all(wanted - blanks(form) <= {"n"} for form in each), "a form lacks a blank"
    assert all("" not in blanks(form) and not any(map(str.isdigit, blanks(form))) for form in forms["en"])


def test_every_text_is_used_and_every_text_that_is_used_is_there() -> None:
    constants, families = set(), set()
    for file in (*PACKAGE.glob("words/*.py"), *PACKAGE.glob("cli/*.py"), *PACKAGE.glob("page/*.py")):
        found = _codes(file)
        constants |= found[0]
        families |= found[1]
    for file in PACKAGE.glob("page/template/*.html"):
        constants |= set(re.findall(r'say\("([a-z_.]+)"', file.read_text(encoding="utf-8")))
    constants.discard("report.html")  # a template
    assert families == FAMILIES.keys()
    used = constants | {f"{family}{one}" for family, ones in FAMILIES.items() for one in ones}
    assert used - TEXTS["en"].keys() == set(), "untranslated"
    assert TEXTS["en"].keys() - used == set(), "not used"


_CODE = re.compile(rf"({'|'.join(catalogue.PARTS)})\.[a-z_]+(\.[a-z_]+)*")
_FAMILY = re.compile(rf"({'|'.join(catalogue.PARTS)})\.([a-z_]+\.)*")


def _codes(file: Path) -> tuple[set[str], set[str]]:
    """Codes that stand in a file in full, and beginnings that something is put behind."""
    constants, families = set(), set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.JoinedStr(values=[ast.Constant(value=str(first)), *_]) if _FAMILY.fullmatch(first):
                families.add(first)
            case ast.Constant(value=str(written)) if _CODE.fullmatch(written):
                constants.add(written)
    return constants, families


_CAUSES = {
    value for name, value in vars(lines).items() if name.isupper() and isinstance(value, str) and value.islower()
}
_LABELS = {
    refusal._CALLED.get(each.name, each.name)
    for resource in RESOURCES.values()
    for field in resource.fields
    for each in (field, *field.fields)
}
_DOUBTS = ("answer_lost", "strange_answer", "process_ended", "problem_without_loan", "known_from_witness")

FAMILIES: dict[str, Any] = {
    "general.count.": RESOURCES,
    "general.value.": set(words_task._VALUES.values()),
    "screen.audit.": ("opened", "looked", "closed", "undone", "replaced"),
    "screen.basis.": Basis,
    "screen.compared.": ("repaid", "owed", "only_by_hand", "only_here", "without_amount"),
    "screen.next.": ("lists", "exceptions", "compare", "send", "csv", "finalised", "audit"),
    "hold.": REASONS,
    "reconcile.title.": DiscrepancyKind,
    "reconcile.do.": DiscrepancyKind,
    "reconcile.because.": ("amount", "client", "id", "date"),
    "reconcile.side.": words_reconcile._SHOWN,
    "reconcile.status.": words_reconcile.STATUSES,
    "init.ask.": [one.key for one in QUESTIONS],
    "init.choice.": [f"{one.key}.{choice}" for one in QUESTIONS if one.told for choice in one.choices],
    "refusal.": refusals.SENTENCES,
    "refusal.field.": {*_LABELS, "row"},
    "mail.subject.": [f"{what}{more}" for what in ("opened", "closes", "closed") for more in ("", "_nothing")],
    "page.": {*act.VERBS, *button.MEANS},
    "page.copies.": {f"{one.value}.{resource}" for one in Possible for resource in ("loan_draft", "journal")},
    "page.differs.": ("changed", "left_scope"),
    "page.ended.": ("superseded", "withdrawn", "discarded", "adopted", "look_up"),
    "page.seen.": RESOURCES,
    "page.tried.": done.OUTCOMES,
    "page.what.": done.WHAT,
    "page.why.": why.CODES,
    "page.verb.": done.VERBS,
    "report.basis.": get_args(Repayments.model_fields["basis"].annotation),
    "report.heading.": ReportLineKind,
    "report.line.": {*_CAUSES, *ReportLineKind} - {ReportLineKind.DECIDE, ReportLineKind.MISSING, lines.BY_A_PERSON},
    "report.severity.": report.SEVERITIES,
    "report.title.": report.STATES,
    "report.verdict.": report.VERDICTS,
    "report.word.": report.WORDS,
    "task.asked.": refusals.PERSON_DECIDES,
    "task.call.": RESOURCES,
    "task.changed.": ("loan_draft", "journal"),
    "task.delete.": ("loan_draft", "journal"),
    "task.environment.": ("production", "staging", "sandbox"),
    "task.look.": RESOURCES,
    "task.place.": RESOURCES,
    "task.rest.": ("under_way", "under_way_later", "under_way_stopped"),
    "task.sent.": _DOUBTS,
    "task.when.": When,
}
"""Codes that are put together, and all that they can become."""


def test_a_reason_asks_for_nothing_that_is_not_stored() -> None:
    for code, english in refusals.SENTENCES.items():
        given = set.union(*(blanks(text) for text in english)) | {"field"}
        if code == "photo_too_large":
            given |= {"found", "limit"}
        assert blanks(TEXTS["en"][f"refusal.{code}"][0]) <= given, code


def test_every_environment_has_its_word() -> None:
    assert set(get_args(Kiva.model_fields["environment"].annotation)) == set(FAMILIES["task.environment."])


# ---------------------------------------------------------------- word for word


@pytest.mark.parametrize("name", catalogue.NAMES)
@pytest.mark.parametrize("agreed", AGREED, ids=[each["code"] for each in AGREED])
def test_what_was_agreed_stands_word_for_word(agreed: dict[str, Any], name: str) -> None:
    params = agreed.get("with", {}) | agreed.get("in", {}).get(name, {})
    assert language.of(name).say(agreed["code"], **params) == agreed[name]


@pytest.mark.parametrize("name", ["fr", "es"])
def test_what_is_marked_as_agreed_is_what_was_agreed(name: str) -> None:
    assert catalogue.agreed(name) == {each["code"] for each in AGREED}


OURS = re.compile(
    r"\b(outbox|entry|entries|payload|watermark|in doubt|divergence|scope|positions?|journals?)\b", re.IGNORECASE
)
OTHERS = {"en": r"\b(SIG)\b", "fr": r"\b(MIS|journal|journaux|échec)\b", "es": r"\b(MIS|diario|fallo)\b"}
IN_PA2 = {"task.place.journal"}


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_thing_has_one_word_and_none_of_ours(name: str) -> None:
    other = re.compile(OTHERS[name])
    for code, forms in TEXTS[name].items():
        for form in forms if code not in IN_PA2 else ():
            assert not OURS.search(re.sub(r"\{\w+\}", "", form)), code
            assert not other.search(form), code
            assert "…" in form or not form.endswith("..."), code


# ---------------------------------------------------------------- numbers and days


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        ("250000", "XOF", "250 000 XOF"),
        ("250000.00", "XOF", "250 000 XOF"),
        ("2500", "PEN", "2 500.00 PEN"),
        ("416.67", "PEN", "416.67 PEN"),
        ("0", "PEN", "0.00 PEN"),
        ("-30000", "XOF", "-30 000 XOF"),
        ("150.5", "XOF", "150.5 XOF"),
        ("1234567.891", "PEN", "1 234 567.891 PEN"),
        ("1234567.5", None, "1 234 567.5"),
        ("100", "ZZZ", "100 ZZZ"),
        ("1E+3", "TND", "1 000.000 TND"),
    ],
)
@ALMOST_ALL
def test_an_amount_is_written_alike_in_every_language(
    spoken: Language, amount: str, currency: str | None, written: str
) -> None:
    assert spoken.amount(amount, currency) == written
    assert spoken.amount(Decimal(amount), currency) == written


@pytest.mark.parametrize(
    ("number", "form"), [(0, "0 drafts"), (1, "1 draft"), (2, "2 drafts"), (12500, "12 500 drafts")]
)
def test_a_number_chooses_its_form(number: int, form: str) -> None:
    assert EN.say("general.count.loan_draft", n=number) == form


def test_every_language_counts_by_its_own_rule() -> None:
    assert FR.say("general.count.loan_draft", n=0) == "0 projet de prêt"
    assert FR.say("general.count.loan_draft", n=2) == "2 projets de prêt"
    assert ES.say("general.count.loan_draft", n=0) == "0 borradores"
    assert ES.say("general.count.loan_draft", n=1) == "1 borrador"
    assert FR.say("general.count.loan_draft", n=1_000_000) == "1 000 000 projets de prêt"


def test_days_and_moments_are_of_the_zone() -> None:
    late = datetime(2026, 12, 1, 1, 12, tzinfo=UTC)
    assert [one.moment(late, "Africa/Dakar", at=NOW) for one in ALL] == [
        "1 Dec 01:12",
        "1er déc. à 01:12",
        "1 dic. a la 01:12",
    ]
    assert [one.moment(late, "America/Lima", at=NOW) for one in ALL] == [
        "30 Nov 20:12",
        "30 nov. à 20:12",
        "30 nov. a las 20:12",
    ]
    assert EN.moment(late, "Africa/Dakar", at=NOW + timedelta(days=90)) == "1 Dec 2026 01:12"
    assert [one.deadline(CLOSES, "America/Lima") for one in ALL] == [
        "Thursday 10 December, 13:00",
        "jeudi 10 décembre à 13:00",
        "jueves 10 de diciembre, 13:00",
    ]
    assert [one.day(date(2026, 12, 4), at=TODAY) for one in ALL] == ["Fri 4 Dec", "ven. 4 déc.", "vie. 4 dic."]
    assert [one.day(date(2027, 1, 1), at=TODAY) for one in ALL] == [
        "Fri 1 Jan 2027",
        "ven. 1er janv. 2027",
        "vie. 1 ene. 2027",
    ]
    assert [one.today(date(2026, 12, 1)) for one in ALL] == [
        "Tuesday 1 December 2026",
        "mardi 1er décembre 2026",
        "martes 1 de diciembre de 2026",
    ]
    assert [one.on(date(2026, 11, 28)) for one in ALL] == ["28 November", "28 novembre", "28 de noviembre"]


def test_since_when_is_a_weekday_only_while_that_is_clear() -> None:
    tuesday = datetime(2026, 12, 1, 14, 2, tzinfo=UTC)
    assert [one.since(tuesday, "UTC", at=NOW) for one in ALL] == ["Tuesday 14:02", "mardi 14:02", "el martes 14:02"]
    week = NOW + timedelta(days=7)
    assert [one.since(tuesday, "UTC", at=week) for one in ALL] == [
        "1 Dec 14:02",
        "le 1er déc. à 14:02",
        "el 1 dic. a las 14:02",
    ]


def test_a_month_names_its_year_when_that_is_not_clear() -> None:
    assert [one.of_month("2026-11", at=TODAY) for one in ALL] == ["November's", "de novembre", "de noviembre"]
    assert [FR.of_month(f"2026-{month:02}", at=TODAY) for month in (4, 8, 10)] == ["d'avril", "d'août", "d'octobre"]
    assert [one.month("2025-11", at=TODAY) for one in ALL] == ["November 2025", "novembre 2025", "noviembre de 2025"]
    assert EN.month("2026-12", at=date(2027, 1, 4)) == "December"
    assert EN.month("2027-01", at=TODAY) == "January 2027"


def test_what_is_foreign_is_shown_and_not_obeyed() -> None:
    said = EN.say("report.choice.is", loan="KV-1\x1b[2J\u202e93")
    assert said == r"It is KV-1\x1b[2J\u202e93"
    assert FR.quoted("one\ntwo \x07") == r"« one two \x07 »"
    assert EN.say("report.choice.is", loan="{n} {loan.__class__}") == "It is {n} {loan.__class__}"


def test_an_unknown_language_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="expected en, fr, es"):
        language.of("de")
    assert language.of(" FR ") is not None


def test_what_is_not_given_is_a_question_mark() -> None:
    assert EN.say("report.choice.is") == "It is ?"


# ---------------------------------------------------------------- reasons


@ALMOST_ALL
@pytest.mark.parametrize("code", refusals.SENTENCES)
def test_every_reason_is_said_in_full(spoken: Language, code: str) -> None:
    params = dict.fromkeys(set.union(*map(blanks, refusals.SENTENCES[code])) - {"field"}, "250000")
    said = refusal.sentence(Refusal(code, "schedule", params), spoken)
    assert "?" not in said.replace(" ?", "")
    assert "schedule" not in said or spoken is EN


def test_a_reason_names_the_field_in_words_and_hides_names() -> None:
    empty = Refusal("name_empty", "entreps[2].first_name")
    assert refusal.sentence(empty, EN) == "The first name (borrower 3) is empty in the MIS."
    assert refusal.sentence(empty, FR) == "Le prénom (emprunteur 3) est vide dans le SIG."
    hidden = Refusal("code_unknown", "entreps[0].last_name", {"value": "Awa", "known": ""})
    assert "Awa" not in refusal.sentence(hidden, ES)
    assert refusal.sentence(Refusal("of_a_later_version"), FR) == "of_a_later_version"


def test_amounts_and_days_of_a_reason_are_written_as_elsewhere() -> None:
    sums = Refusal("schedule_sum", "schedule", {"found": "2480", "expected": "2500"})
    assert refusal.sentence(sums, ES, currency="PEN") == "Las cuotas suman 2 480.00; el préstamo es de 2 500.00."
    late = Refusal("too_late_to_publish", "disburse_time", {"publish_by": "2026-12-04"})
    assert refusal.sentence(late, EN) == "It had to be published by Fri 4 Dec 2026; that day is over."
    unknown = Refusal("activity_unknown", "activity_id", {"value": "Elevage", "nearest": ""})
    assert "La plus proche : aucune." in refusal.sentence(unknown, FR)


def test_of_a_reason_whose_values_were_deleted_the_rest_is_said() -> None:
    deleted = Refusal("kiva_said_no", "", {"hash": "a41f"})
    assert refusal.sentence(deleted, FR) == "Kiva l'a refusé : « … » (texte de Kiva)."


def test_a_hold_of_a_newer_version_is_named_by_its_code() -> None:
    assert hold.words("of_a_later_version", FR) == "of_a_later_version"
    assert hold.words("asked", FR) == "une personne l'a demandé"


# ---------------------------------------------------------------- the report


def line(kind: ReportLineKind, cause: str = "", params: dict[str, Any] | None = None, **changes: Any) -> ReportLine:
    values = {"currency": "XOF", "position": Decimal(150_000), "before": Decimal(180_000), "lent": Decimal(520_000)}
    return ReportLine("77", "000000412", kind, cause, params or {}, **{**values, **changes})


EVERY = [
    *(line(kind) for kind in ReportLineKind if kind not in (ReportLineKind.DECIDE, ReportLineKind.MISSING)),
    *(
        line(ReportLineKind.DECIDE, cause)
        for cause in (
            *(lines.FELL, lines.EXCEEDS_LENT, lines.EXCEEDS_KIVA, lines.OTHER_CURRENCY, lines.ID_TWICE),
            *(lines.IN_OTHER_CASE, lines.BASIS_CHANGED, lines.HELD, lines.ANSWERED_BEFORE),
        )
    ),
    *(
        line(ReportLineKind.MISSING, cause)
        for cause in (lines.NOT_IN_MIS, lines.OUT_OF_SCOPE, lines.GONE, lines.REFUSED_BY_US, lines.NOT_READ_YET)
    ),
]


@ALMOST_ALL
@pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.kind}-{one.cause}")
def test_every_line_is_said_also_when_little_is_known(spoken: Language, one: ReportLine) -> None:
    said = report_line.line(one, spoken, at=TODAY)
    assert said
    assert all(each.strip() and "report." not in each for each in said)
    asked = report_choice.choices(one, spoken)
    assert [each.verb for each in asked[-1:]] in ([], ["leave_out"])
    assert report.heading(one.kind, spoken)


def test_the_month_end_with_three_questions() -> None:
    fell = line(
        ReportLineKind.DECIDE,
        lines.FELL,
        {"before_period": "2026-10", "reversed_amount": "30000", "reversed_on": "2026-11-28"},
        likely=Decimal(150_000),
        price=Price(Decimal(41_667), None, "posted"),
    )
    typed = line(
        ReportLineKind.MISSING,
        lines.NOT_IN_MIS,
        {"likely_id": "000000093", "likely_by": "date"},
        likely=Decimal(75_000),
        price=Price(Decimal(25_000), None, "mis"),
    )
    raised = line(
        ReportLineKind.DECIDE,
        lines.EXCEEDS_KIVA,
        position=Decimal(520_000),
        lent_at_kiva=Decimal(500_000),
        identity="377",
        likely=Decimal(500_000),
        price=Price(Decimal(0), None, "posted"),
    )
    assert report_line.line(fell, FR, at=TODAY) == [
        "Le montant remboursé a baissé : 180 000 en octobre, 150 000 maintenant.",
        "Un remboursement de 30 000 XOF a été annulé dans le SIG le 28 novembre.",
        "Probablement juste : 150 000.",
    ]
    assert [each.text for each in report_choice.choices(fell, FR)] == [
        "Envoyer 150 000",
        "Garder 180 000",
        "Ne pas rapporter",
    ]
    assert report_choice.ask_kiva_first(fell, EN) == "ask Kiva first"
    assert report_choice.ask_kiva_first(raised, EN) is None
    assert [(each.verb, each.value, each.text) for each in report_choice.choices(typed, EN)] == [
        ("is", "000000093", "It is 000000093: send 75 000"),
        ("is", None, "It is another one …"),
        ("leave_out", None, "Leave out"),
    ]
    assert report_line.line(raised, EN, at=TODAY) == [
        "Repaid 520 000, but the loan at Kiva is 500 000.",
        "Perhaps the loan was raised in the MIS after it was posted.",
    ]
    assert [(each.verb, each.value, each.text) for each in report_choice.choices(raised, EN)] == [
        ("value", "500000", "Send 500 000"),
        ("send", None, "Send 520 000"),
        ("leave_out", None, "Leave out"),
    ]
    assert report.prices([("A", fell), ("B", typed), ("C", raised)], "2026-11", EN, at=TODAY) == [
        "If you leave one out, Kiva bills it as if repaid on schedule: A 41 667 · B 25 000 · C 0 XOF for November.",
        "Estimated by the schedules of the MIS: B.",
    ]
    assert report.finalise("2026-11", EN, at=TODAY).startswith("When PA2 shows the report as you want it")


def test_a_price_says_by_which_schedule_or_that_it_is_unknown() -> None:
    def said(amount: str | None, at_most: str | None, by: str) -> str:
        known, most = (None if each is None else Decimal(each) for each in (amount, at_most))
        price = Price(known, most, by)
        return report.price(price, "XOF", "2026-11", EN, at=TODAY)

    assert said("41667", None, "posted").endswith("An estimate, by the schedule posted to Kiva.")
    assert said("41667", None, "mis").endswith("An estimate, by the schedule of the MIS.")
    assert "unknown, at most what is still open: 90 000 XOF" in said(None, "90000", "unknown")
    assert "how much is unknown" in said(None, None, "unknown")
    unpriced = line(ReportLineKind.DECIDE, lines.FELL, price=Price(None, Decimal(1), "unknown"))
    other = line(ReportLineKind.DECIDE, lines.FELL, currency="USD", price=Price(Decimal(5), None, "posted"))
    (listed,) = report.prices([("A", other), ("B", unpriced)], "2026-11", EN, at=TODAY)
    assert "A 5.00 USD · B unknown for November" in listed
    assert report.prices([("A", line(ReportLineKind.ACCEPTED))], "2026-11", EN, at=TODAY) == []


@ALMOST_ALL
def test_the_head_of_a_report(spoken: Language) -> None:
    for state in report.STATES:
        head = report.title("2026-11", state, spoken, opens=NOW, closes=CLOSES, zone="Africa/Dakar", now=NOW)
        assert "?" not in head
    for word, verdict in zip([*report.WORDS, "ok", "ok"], report.VERDICTS, strict=True):
        first, sentence = report.verdict(
            word, verdict, spoken, n=2, expected=3, closes="x", reason="asked", person="Awa", day="x", month="x"
        )
        assert first.isupper()
        assert "?" not in sentence
    assert report.expected(414, spoken) != report.expected(1, spoken)
    old, fresh, never = (
        report.listed(spoken, read=read, max_age=timedelta(hours=26), zone="UTC", now=NOW)
        for read in (NOW - timedelta(days=3), NOW, None)
    )
    assert len({old, fresh, never}) == 3
    assert len(rest.silence(spoken, next_at="7:00", missing_at="7:30")) == 2


def test_how_far_the_report_is() -> None:
    closes = FR.deadline(CLOSES, "UTC")
    told = report.ready("2026-11", FR, sent=409, expected=414, decide=3, correct=2, closes=closes, at=TODAY)
    assert told == [
        "Le rapport de remboursements de novembre est prêt : 409 prêts envoyés sur 414.",
        "3 attendent votre décision, 2 sont à corriger dans le SIG.",
        "Clôture : jeudi 10 décembre à 18:00.",
    ]
    assert len(report.ready("2026-11", FR, sent=1, expected=1, decide=0, correct=0, closes=closes, at=TODAY)) == 2


def test_the_time_that_is_left() -> None:
    left = (timedelta(days=8, hours=11), timedelta(hours=47), timedelta(minutes=40), timedelta(days=-1))
    assert [report.time_left(span, EN) for span in left] == ["8 days", "47 hours", "0 hours", "0 hours"]


def test_an_old_answer_is_shown_when_it_no_longer_binds() -> None:
    seen = {"position": "140000", "before": "170000"}
    answered = {"verb": "keep", "value": None, "person": "Awa", "at": "2026-12-01T09:00:00+00:00", "seen": seen}
    said = report_line.line(line(ReportLineKind.DECIDE, lines.FELL, {"answered": answered}), FR, at=TODAY)
    assert said[-1] == "Déjà décidé : Garder 170 000 (Awa, 1er décembre). Depuis, cela a changé."
    decided = report_line.line(line(ReportLineKind.ON_ITS_WAY, lines.DECIDED, answered), EN, at=TODAY)
    assert decided[1] == "Decided by Awa: Keep 170 000. The relay does it by itself."
    left = report_line.line(line(ReportLineKind.LEFT_OUT, lines.BY_A_PERSON, {"answered": answered}), EN, at=TODAY)
    assert left[0].startswith("Left out of this report by Awa")


def test_only_what_can_be_done_is_offered() -> None:
    def offered(one: ReportLine, *, late: bool = False) -> list[str]:
        return [each.verb for each in report_choice.choices(one, EN, late=late)]

    assert offered(line(ReportLineKind.DECIDE, lines.FELL, before=None)) == ["send", "leave_out"]
    assert offered(line(ReportLineKind.MISSING, lines.GONE)) == ["leave_out"]
    assert offered(line(ReportLineKind.MISSING, lines.REFUSED_BY_US, identity="412")) == ["value", "leave_out"]
    assert offered(line(ReportLineKind.DECIDE, lines.HELD)) == []
    assert offered(line(ReportLineKind.REFUSED_BY_KIVA, identity="412")) == ["value", "leave_out"]
    closed = line(ReportLineKind.CLOSED_WITHOUT, lines.FELL)
    assert offered(closed) == []
    assert offered(closed, late=True) == ["send", "keep", "leave_out"]


def test_what_was_refused_and_what_kiva_said_is_quoted() -> None:
    reasons = [Refusal("name_empty", "entreps[0].first_name").to_json()]
    (ours,) = report_line.line(line(ReportLineKind.MISSING, lines.REFUSED_BY_US, {"reasons": reasons}), ES, at=TODAY)
    assert ours == "No enviado, por corregir: El nombre está vacío en el SIG."
    (theirs,) = report_line.line(
        line(
            ReportLineKind.REFUSED_BY_KIVA,
            params={"reasons": [Refusal("kiva_said_no", "", {"text": "too high"}).to_json()]},
        ),
        EN,
        at=TODAY,
    )
    assert theirs.startswith("Kiva refused it: “too high” (Kiva's own words).")
    warned = line(ReportLineKind.WARNED, params={"upload_id": 88121, "problems": [{"code": "E1", "details": "look"}]})
    assert report_line.line(warned, EN, at=TODAY)[0].startswith("Kiva says of upload 88121: “look” (Kiva's own words).")
    closed = report_line.line(line(ReportLineKind.CLOSED_WITHOUT, lines.GONE), EN, at=TODAY)
    assert closed[1] == "Kiva expects it; it was deleted in the MIS."
    uploaded = report.upload(
        "88121", 250, [{"loan_id": "000000233", "severity": "error", "details": "no"}], EN, moment="2 Dec 07:00"
    )
    assert uploaded == ["Upload 88121, 2 Dec 07:00: 250 loans", "  error   000000233   “no” (Kiva's own words)"]


# ---------------------------------------------------------------- what it costs


def test_who_does_not_speak_to_the_coordinator_does_not_load_her_words() -> None:
    commands = ("status", "check", "run", "outbox_list", "hold", "release")
    source = f"import sys; from kiva_relay.cli import {', '.join(commands)}; print('babel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
