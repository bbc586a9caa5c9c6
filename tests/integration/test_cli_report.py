"""`kiva-relay report`: an account of every loan that Kiva expects, on each of its screens."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.cli import frame
from kiva_relay.config import loader
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import hold, report, report_table, table
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import State
from kiva_relay.report import current, frozen, month, price
from kiva_relay.report.line import ReportLineKind
from testbed.rig import full_outbox
from testbed.rig.full_outbox import Run
from testbed.rig.november import CLOSES, NOW, PERIOD, November


@pytest.fixture
def november(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[November]:
    monkeypatch.setattr(frame, "now", lambda: NOW)
    for told in full_outbox.configured(tmp_path, monkeypatch):
        yield November(told)


@pytest.fixture
def run(november: November, capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


# ---------------------------------------------------------------- the verdict and the numbers


def test_an_empty_outbox_and_eleven_expected_loans_give_eleven_lines(november: November, run: Run) -> None:
    november.kiva_expects(*(f"L{number}" for number in range(11)))
    printed = run("report")
    assert "Kiva expects 11 loans. Is that the blue number on PA2's Repayments page?" in printed.out
    assert "  11   Kiva expects it, and the MIS does not give it" in printed.out
    assert "  11   together" in printed.out
    assert "NOTE    11 loans need your decision, by Thursday 10 December, 18:00." in printed.out
    assert printed.code == 1
    assert len(run("report", "--json").json["exceptions"]) == 11


def test_the_first_line_is_the_verdict_then_the_window(november: November, run: Run) -> None:
    november.kiva_expects("A")
    november.accepted("A", "150000")
    lines = [line for line in run("report").out.splitlines() if line]
    assert lines[1].startswith("  OK      Each of the loans that Kiva expects is reported.")
    assert lines[2] == "November's repayment report · window open until Thursday 10 December, 18:00 (8 days)"
    assert lines[3] == (
        "cut-off Mon 30 Nov 2026, 24:00 Africa/Dakar · an amount is the principal repaid so far"
        " · window 1 Dec 06:00 – 10 Dec 18:00"
    )
    assert run("report").code == 0


def test_the_numbers_add_up_to_what_kiva_expects(november: November, run: Run) -> None:
    november.kiva_expects("A", "B", "C", "D", "E")
    november.accepted("A", "150000")
    november.accepted("B", "50.5")
    november.position("C", "75000")
    november.position("D", "1", waits="position_fell")
    out = run("report").out
    assert "  2   Accepted by Kiva                                150 050.50 XOF" in out.replace(
        "150 050.5 ", "150 050.50 "
    )
    assert "  1   On its way                                      75 000 XOF" in out
    assert "  5   together" in out
    found = run("report", "--json").json
    assert found["numbers"] == {"accepted": 2, "on_its_way": 1, "decide": 1, "missing": 1}
    assert found["accounted_for"] == found["expected"] == 5


def test_a_loan_without_a_line_is_urgent(november: November, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    november.kiva_expects("A", "B")
    november.position("A", "1")
    november.position("B", "1")
    whole = current.lines_of
    monkeypatch.setattr(current, "lines_of", lambda *given, **how: whole(*given, **how)[:1])
    printed = run("report")
    assert "URGENT" in printed.out
    assert "Kiva expects 2 loans, and only 1 is accounted for here." in printed.out
    assert printed.code == 1


def test_a_glance_counts_what_a_whole_reading_counts(november: November) -> None:
    november.kiva_expects("A", "B", "C", "C ", "D", "E", "F", "G")
    for loan_id in ("A", "B", "C", "D", "E", "F"):
        november.accepted(loan_id, "150000")
    november.accepted("B", "160000")
    november.position("D", "170000")
    warned = november.position("G", "5")
    november.told.send(
        warned, EntryVerdict(State.DELIVERED, receipt={"upload_id": 1}, evidence="warned"), outcome="accepted"
    )
    november.decided("00006", "E", "leave_out", position="150000", lent_at_kiva="500000", currency="XOF")
    with november.told.outbox.read() as tx:
        settings = month_settings(november)
        glance, whole = (month.read(tx, settings, PERIOD, now=NOW, whole=whole) for whole in (False, True))
    assert glance.numbers == whole.numbers
    assert glance.accepted.number == 2
    assert {one.kiva_id for one in glance.lines} < {one.kiva_id for one in whole.lines}
    assert glance.sums(ReportLineKind.ACCEPTED) == whole.sums(ReportLineKind.ACCEPTED)
    assert glance.exceptions == whole.exceptions
    assert glance.verdict == whole.verdict


def test_an_undecided_loan_is_urgent_two_days_before_closing(
    november: November, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    november.kiva_expects("A")
    november.position("A", "1", waits="position_fell")
    assert "  NOTE    1 loan needs your decision" in run("report").out
    monkeypatch.setattr(frame, "now", lambda: CLOSES - timedelta(days=1))
    assert "  URGENT  1 loan needs your decision" in run("report").out


def test_while_the_book_is_read_for_the_first_time_nobody_is_asked_about_what_was_not_read(
    november: November, run: Run
) -> None:
    november.kiva_expects("A", "B", "C")
    november.accepted("A", "150000")
    with november.told.outbox.begin() as tx:
        tx.execute(sa.update(table.watermark).values(backfilled_at=None, scan="backfill"))
    printed = run("report")
    assert "  WAITING The MIS is still being read: 2 loans have not been looked at yet." in printed.out
    assert "waiting for you 0" in printed.out
    assert printed.code == 0
    assert "--exceptions" not in printed.out
    found = run("report", "--json").json
    assert (found["verdict"], found["why"], found["loans"]) == ("waiting", "book_unread", 2)
    assert (found["exceptions"], found["numbers"]) == ([], {"accepted": 1, "missing": 2})
    with november.told.outbox.begin() as tx:
        tx.execute(sa.update(table.watermark).values(backfilled_at=NOW, scan=None))
    assert "  NOTE    2 loans need your decision" in run("report").out


def test_what_fell_is_asked_two_days_before_closing_although_the_book_is_being_read(
    november: November, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    november.kiva_expects("A", "B")
    november.position("A", "1", waits="position_fell")
    with november.told.outbox.begin() as tx:
        tx.execute(sa.update(table.watermark).values(backfilled_at=None, scan="backfill"))
    assert "  WAITING " in run("report").out
    monkeypatch.setattr(frame, "now", lambda: CLOSES - timedelta(days=1))
    assert "  URGENT  1 loan needs your decision" in run("report").out


def test_a_report_that_is_kept_back_says_what_releases_it(november: November, run: Run) -> None:
    november.kiva_expects("A", "B")
    november.position("A", "1")
    november.position("B", "2")
    with november.told.outbox.begin() as tx:
        hold.put(tx, "repayment", "first_report", now=NOW)
    printed = run("report")
    assert "HELD    The report is kept back, and 2 loans with it: the first report is looked at" in printed.out
    assert 'kiva-relay report send --note "…"' in printed.out
    assert "kiva-relay report --compare october.csv" in printed.out
    assert printed.code == 1
    shown = run("report", "--exceptions").out
    assert shown.count("the first report is looked at before it goes to Kiva") == 2  # the verdict, and once for both
    assert "They are released together, not one by one." in shown


def test_a_shadow_month_says_that_nothing_is_sent(november: November, run: Run) -> None:
    text = november.told.config.read_text("utf-8").replace("kiva:\n", "kiva:\n  send: false\n")
    november.told.config.write_text(text, "utf-8")
    november.kiva_expects("A")
    november.position("A", "1")
    printed = run("report")
    assert "NOTE    kiva.send is false: nothing is sent. 1 loan would be." in printed.out
    assert "kiva-relay report --compare october.csv" in printed.out
    assert printed.code == 0
    assert read(run("report", "--csv").out)[1:] == [["A", "1"]]


def test_kivas_list_is_dated_unless_it_is_of_today(
    november: November, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    november.kiva_expects("A")
    assert "list of loans" not in run("report").out
    monkeypatch.setattr(frame, "now", lambda: NOW + timedelta(days=3))
    out = run("report").out
    assert out.index("Kiva's list of loans was last read completely on 2 Dec 09:00") < out.index("Kiva expects 1 loan")


def test_without_kivas_list_nobody_knows(november: November, run: Run) -> None:
    printed = run("report")
    assert "WAITING Kiva's list of loans has not been read completely yet." in printed.out
    assert printed.code == 0
    assert run("report", "--csv").code == 2


# ---------------------------------------------------------------- which report


def test_before_the_first_report_it_says_when_it_opens(
    november: November, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with november.told.outbox.begin() as tx:
        tx.execute(sa.delete(report_table.report))
    november.kiva_expects("A")
    monkeypatch.setattr(frame, "now", lambda: datetime(2026, 11, 20, 9, 0, tzinfo=UTC))
    for period in ([], ["2026-11"]):
        out = run("report", *period).out
        assert "OK      Nothing to do yet: it opens on Tuesday 1 December, 06:00." in out
        assert "November's repayment report · not open yet, opens on Tuesday 1 December, 06:00" in out
    assert "opened             not yet" in run("report", "--for-audit").out
    assert run("report", "--json").json["opened_at"] is None


def test_the_report_that_opens_next_may_be_asked_for(november: November, run: Run) -> None:
    printed = run("report", "2026-12")
    assert "December's repayment report · not open yet, opens on Friday 1 January, 06:00" in printed.out
    assert printed.code == 0
    assert run("report", "2027-01").code == 2
    assert run("report", "2026-12", "--csv").code == 2


def test_an_open_window_that_the_relay_has_not_opened_yet_is_shown_as_it_will_be(november: November, run: Run) -> None:
    with november.told.outbox.begin() as tx:
        tx.execute(sa.delete(report_table.report))
    november.kiva_expects("A")
    assert "window open until Thursday 10 December" in run("report").out
    assert run("report", "--json").json["opened_at"] is None


def test_an_unknown_period_names_the_nearest(november: November, run: Run) -> None:
    printed = run("report", "2026-10")
    assert printed.code == 2
    assert "There is no report of 2026-10. The nearest are 2026-11." in printed.err
    assert run("report", "2026-13").code == 2
    assert "There is no command kiva-relay report sned.\n  Did you mean: send" in run("report", "sned").err
    assert "“abc” is no period" in run("report", "--json", "abc").err


@pytest.mark.parametrize("options", [["--csv", "--exceptions"], ["--csv", "--json"], ["--for-audit", "--exceptions"]])
def test_one_screen_at_a_time(november: November, run: Run, options: list[str]) -> None:
    assert run("report", *options).code == 2


def test_an_option_may_stand_before_the_period(november: November, run: Run) -> None:
    november.kiva_expects("A")
    assert run("report", "--json", PERIOD).json["period"] == PERIOD


# ---------------------------------------------------------------- what a person has to look at


def test_an_exception_has_its_cause_the_likely_answer_the_price_and_the_commands(november: November, run: Run) -> None:
    november.kiva_expects("000000377", "KV/93")
    november.position("000000377", "520000", waits="position_exceeds_kiva", scheduled="41667")
    with november.told.outbox.begin() as tx:
        tx.execute(sa.update(table.captured).values(lent="500000"))
    printed = run("report", "--exceptions")
    assert printed.code == 1
    for text in (
        "000000377   #1",
        "Repaid 520 000, but the loan at Kiva is 500 000.",
        '[Send 500 000]   kiva-relay report decide 1 --value 500000 --note "…"',
        '[Send 520 000]   kiva-relay report decide 1 --send --note "…"',
        '[Leave out]      kiva-relay report decide 1 --leave-out --note "…"',
        "KV/93   #k00002",
        "Kiva expects it; the MIS has no loan with this number.",
        "unknown, at most what is still open: 500 000 XOF.",
        'kiva-relay report decide k00002 --is LOAN_ID --note "…"',
    ):
        assert text in printed.out


@pytest.mark.parametrize(
    ("amount", "scheduled", "posted", "said"),
    [
        ("150000", "41667", None, "Kiva bills 41 667 XOF for November, as if repaid on schedule. An estimate, by the schedule of the MIS"),
        ("150000", "41667", "2026-11-15", "Kiva bills 25 000 XOF for November, as if repaid on schedule. An estimate, by the schedule posted"),
        ("150000", None, "2027-01-15", "Kiva bills 0 XOF for November"),
        ("490000", "41667", None, "Kiva bills 10 000 XOF for November"),
        ("150000", None, None, "unknown, at most what is still open: 350 000 XOF"),
    ],
)  # fmt: skip
def test_the_price_says_by_which_schedule(  # noqa: PLR0917 - both schedules, and what is left
    november: November, run: Run, amount: str, scheduled: str | None, posted: str | None, said: str
) -> None:
    november.kiva_expects("A")
    if posted is not None:
        body = f'{{"entreps":[{{"loan_id":"A","amount":500000}}],"schedule":[{{"date":"{posted}","principal":25000}}]}}'
        november.told.accept(november.told.owe("A", body=body))
    november.position("A", amount, waits="position_fell", scheduled=scheduled)
    assert said in run("report", "--exceptions").out


def test_where_kiva_has_an_amount_of_this_report_no_schedule_is_billed(november: November, run: Run) -> None:
    november.kiva_expects("A")
    november.accepted("A", "180000")
    november.position("A", "150000", waits="position_fell")
    out = run("report", "--exceptions").out
    assert "If it is left out, the 180 000 XOF that Kiva has of this report stays." in out
    assert "bills" not in out


def test_many_alike_are_one_line_with_a_count(november: November, run: Run) -> None:
    november.kiva_expects(*(f"L{number:03d}" for number in range(130)))
    out = run("report", "--exceptions").out
    assert "and 80 more:   kiva-relay report --json" in out


@pytest.mark.parametrize(
    ("language", "said"), [("en", "Needs your decision"), ("fr", "À décider"), ("es", "Por decidir")]
)
def test_each_screen_speaks_three_languages(
    november: November, run: Run, tmp_path: Path, language: str, said: str
) -> None:
    november.kiva_expects("A")
    november.position("A", "1", waits="position_fell")
    (tmp_path / "october.csv").write_text("A;1\nX;2\n")
    screens = [
        run("report", *options, "--lang", language).out
        for options in ([], ["--exceptions"], ["--for-audit"], ["--compare", tmp_path / "october.csv"])
    ]
    assert said in screens[0]
    assert all("screen." not in one and "report.line" not in one for one in screens)
    assert run("report", "--lang", "de").code == 2


def test_json_carries_codes_and_no_sentence(november: November, run: Run) -> None:
    november.kiva_expects("A")
    november.position("A", "1", waits="position_fell")
    found = run("report", "--json").json
    assert (found["verdict"], found["why"], found["loans"]) == ("note", "decide", 1)
    (one,) = found["exceptions"]
    assert (one["kind"], one["cause"], one["position"], one["number"]) == ("decide", "position_fell", "1", "1")
    assert run("report", "--json", "--lang", "fr").json == found


def test_what_leaving_out_costs_stands_together_while_it_is_little(november: November, run: Run) -> None:
    november.kiva_expects("A", "B", "C")
    november.position("A", "150000", waits="position_fell", scheduled="41667")
    november.position("B", "150000", waits="position_fell", scheduled="25000")
    november.accepted("C", "75000")
    screen, exceptions = (run("report", *options, "--lang", "fr").out for options in ([], ["--exceptions"]))
    assert "Envoyés 1 · acceptés 1 · à décider 2" in screen
    assert "Ensuite : [Finalisé] – plus rien n'est envoyé pour novembre." in screen
    assert "kiva-relay report finalised 2026-11" in screen
    assert "selon l'échéancier : n° 1: 41 667 · n° 2: 25 000 XOF pour novembre." in exceptions


def test_the_coordinators_list_says_how_far_the_report_is(november: November, run: Run) -> None:
    november.kiva_expects("A", "B", "C")
    november.position("A", "150000", waits="position_fell")
    november.accepted("C", "75000")
    out = run("review", "--lang", "es").out
    assert (
        "El reporte de reembolsos de noviembre está listo: 1 de 3 préstamos enviados. 1 espera su decisión,"
        " 1 debe corregirse en el SIG. Cierre: jueves 10 de diciembre, 18:00."
    ) in out


# ---------------------------------------------------------------- the file for PA2


@pytest.mark.parametrize("columns", [2, 3])
def test_the_file_has_the_columns_of_pa2_and_nothing_else(november: November, run: Run, columns: int) -> None:
    text = november.told.config.read_text("utf-8").replace("kiva:\n", f"kiva:\n  columns: {columns}\n")
    november.told.config.write_text(text, "utf-8")
    november.kiva_expects("000000412", "A,1", "B")
    november.accepted("000000412", "150000")
    november.position("A,1", "50.5")
    printed = run("report", "--csv")
    rows = [["000000412", "C000000412", "150000"], ["A,1", "CA,1", "50.5"]]
    assert read(printed.out)[1:] == (rows if columns == 3 else [[row[0], row[2]] for row in rows])
    assert "2 loans of the 3 that Kiva expects for 2026-11." in printed.err
    assert "Not in it: 1 loan that the MIS gives no amount of: B" in printed.err
    assert "Do not save it in a spreadsheet, which would change ids: 000000412" in printed.err


def test_what_a_person_decided_is_in_the_file(november: November, run: Run) -> None:
    november.kiva_expects("A", "B", "C", "D")
    seen = {"lent_at_kiva": "500000", "currency": "XOF"}
    for number, (loan_id, verb, value) in enumerate(
        (("A", "send", None), ("B", "value", "90"), ("C", "leave_out", None), ("D", "value", "90")), start=1
    ):
        november.position(loan_id, "120", waits="position_fell")
        was = "120" if loan_id != "D" else "110"  # D has changed since
        november.decided(f"{number:05d}", loan_id, verb, value, position=was, **seen)
    assert read(run("report", "--csv").out)[1:] == [["A", "120"], ["B", "90"]]


# ---------------------------------------------------------------- against the file made by hand


def test_a_file_of_last_month_proves_the_basis(november: November, run: Run, tmp_path: Path) -> None:
    november.kiva_expects("000000411", "000000412", "000000413")
    for loan_id, amount in (("000000411", "100000"), ("000000412", "150000"), ("000000413", "80000")):
        november.position(loan_id, amount)
    file = tmp_path / "october.csv"
    file.write_text("Loan;Amount\r\n000000411;90 000,00\r\n000000412;160 000,00\r\n000000413;80 000,00\r\n", "latin-1")
    printed = run("report", "--compare", file)
    assert "Compared with october.csv, as uploaded by hand: 3 loans" in printed.out
    assert "equal or higher 2 · LOWER 1" in printed.out
    assert "→ The basis fits." in printed.out
    assert "  000000412   160 000 → 150 000 XOF" in printed.out
    assert printed.code == 1
    file.write_text("000000411,90000\n", "utf-8")
    assert run("report", "--compare", file).code == 0


def test_a_swapped_basis_is_said_before_kiva_says_it(november: November, run: Run, tmp_path: Path) -> None:
    november.kiva_expects("A", "B", "C")
    for loan_id, amount in (("A", "100000"), ("B", "150000"), ("C", "80000")):
        november.position(loan_id, amount)
    (tmp_path / "october.csv").write_text("A;440000\nB;390000\nC;450000\n")
    printed = run("report", "--compare", tmp_path / "october.csv")
    assert (
        "This looks like principal outstanding in october.csv against principal repaid here, or the reverse."
        in printed.out
    )
    assert "Ask the coordinator, or Kiva, which one is agreed; then repayments.basis." in printed.out
    assert printed.code == 1
    assert (
        run("report", "--json", "--compare", tmp_path / "october.csv").json["compared"]["basis"] == "probably_swapped"
    )


def test_before_anything_is_known_there_is_nothing_to_compare(november: November, run: Run, tmp_path: Path) -> None:
    (tmp_path / "october.csv").write_text("A;1\n")
    printed = run("report", "--compare", tmp_path / "october.csv")
    assert printed.code == 2
    assert "There is nothing to compare with yet" in printed.err


def test_a_file_that_does_not_read_names_line_and_column(november: November, run: Run, tmp_path: Path) -> None:
    (tmp_path / "october.csv").write_text("A;1\nB;12O\n")
    printed = run("report", "--compare", tmp_path / "october.csv")
    assert printed.code == 2
    assert "2:2     error  column 2: loan B: expected an amount, found “12O”" in printed.err


# ---------------------------------------------------------------- for the auditor


def test_the_auditor_sees_who_decided_what(november: November, run: Run) -> None:
    november.kiva_expects("A", "B")
    november.accepted("A", "150000")
    november.uploaded("88121", 1, {"loan_id": "A", "severity": "warning", "code": "w", "details": "more than the loan"})
    november.position("B", "75", waits="position_fell")
    november.decided("00002", "B", "leave_out", position="75", lent_at_kiva="500000", currency="XOF")
    november.decided("00002", "B", "send", position="75", lent_at_kiva="500000", currency="XOF")
    out = run("report", "--for-audit").out
    for text in (
        "opened             1 Dec 06:00",
        "finalised in PA2   not yet",
        "2 Dec 09:00   awa   Leave out   “asked the branch”",
        "replaced 2 Dec 09:00 by a newer decision",
        "2 Dec 09:00   awa   Send 75   “asked the branch”",
        "seen: position 75 · lent_at_kiva 500000 · currency XOF",
        "Upload 88121, 2 Dec 09:00: 1 loan",
        "warning   A   “more than the loan” (Kiva's own words)",
        "A   accepted   MIS 150 000 XOF · Kiva 150 000 XOF",
    ):
        assert text in out
    found = run("report", "--for-audit", "--json").json
    assert [one["verb"] for one in found["decisions"]] == ["leave_out", "send"]
    assert (len(found["lines"]), found["finalising"]) == (2, [])


def test_the_auditor_sees_that_a_report_was_finalised_and_reopened(
    november: November, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    november.kiva_expects("A")
    november.accepted("A", "150000")
    for hour, typed in ((9, ["finalised", "--yes"]), (10, ["reopen", "--note", "PA2 reopened it"])):
        monkeypatch.setattr(frame, "now", lambda at=hour: datetime(2026, 12, 2, at, 0, tzinfo=UTC))
        assert run("report", typed[0], "2026-11", *typed[1:]).code == 0
    lines = [" ".join(line.split()) for line in run("report", "--for-audit").out.splitlines()]
    assert "finalised in PA2 2 Dec 09:00, said by awa" in lines
    assert "reopened 2 Dec 10:00, said by awa · PA2 reopened it" in lines
    assert "finalised in PA2 not yet" in lines
    monkeypatch.setattr(frame, "now", lambda: datetime(2026, 12, 2, 11, 0, tzinfo=UTC))
    assert run("report", "finalised", "--yes", "--note", "now it is").code == 0
    out = run("report", "--for-audit").out
    assert [out.count(f"2 Dec {hour}:00, said by awa") for hour in ("09", "10", "11")] == [1, 1, 1]
    assert [(one["verb"], one["note"]) for one in run("report", "--for-audit", "--json").json["finalising"]] == [
        ("report finalised", ""),
        ("report reopen", "PA2 reopened it"),
        ("report finalised", "now it is"),
    ]


def test_a_closed_report_keeps_its_lines_until_it_is_finalised(
    november: November, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    november.kiva_expects("A", "B")
    november.accepted("A", "150000")
    with november.told.outbox.begin() as tx:
        opened = report.of(tx, PERIOD)
        assert opened is not None
        lines = current.live(tx, month_settings(november), PERIOD, basis=opened.basis)
        priced = price.priced(tx, lines, period=PERIOD, basis=opened.basis)
        report.freeze(tx, PERIOD, [frozen.kept(frozen.closed(one)) for one in priced])
        closed = report.change(tx, opened, closed_at=CLOSES)
    monkeypatch.setattr(frame, "now", lambda: CLOSES + timedelta(days=5))
    printed = run("report")
    assert "URGENT  The window is closed, and 1 loan is not reported as it should be." in printed.out
    assert "November's repayment report · closed since 10 Dec 18:00, not finalised yet" in printed.out
    assert "kiva-relay report finalised 2026-11" in printed.out
    assert printed.code == 1
    assert "--leave-out" not in printed.out
    assert "Nothing was reported before the report closed" in run("report", PERIOD, "--exceptions").out
    with november.told.outbox.begin() as tx:
        report.change(tx, closed, finalised_at=CLOSES + timedelta(days=5), finalised_by="awa")
    printed = run("report", PERIOD)
    assert "Finalised by awa on" in printed.out
    assert printed.code == 0


def month_settings(november: November) -> Settings:
    return loader.load(november.told.config, environ={"KIVA_SECRET": "s"})


# ---------------------------------------------------------------- in the coordinator's list


def test_review_takes_cause_likely_answer_and_price_from_the_report(november: November, run: Run) -> None:
    november.kiva_expects("000000377", "KV/93", "A")
    november.position("000000377", "520000", waits="position_exceeds_kiva", scheduled="41667")
    november.accepted("A", "5")
    out = run("review").out
    for text in (
        "1 amount repaid needs your decision, for the report",
        "Repaid 520 000, but the loan at Kiva is 500 000.",
        "[Send 500 000]  [Send 520 000]  [Leave out]",
        "If it is left out, Kiva bills 0 XOF for November",
        "1 loan to report, which the MIS does not have",
        "Kiva expects it; the MIS has no loan with this number.",
        "unknown, at most what is still open: 500 000 XOF.",
        "The report closes on Thursday 10 December, 18:00.",
    ):
        assert text in out
    assert "Repaid: 520 000" not in out
    asked = {one["kind"]: one for one in run("review", "--json").json}
    assert [one["cause"] for one in asked["decide"]["params"]["lines"]] == ["position_exceeds_kiva"]
    assert [one["loan_id"] for one in asked["missing"]["params"]["lines"]] == ["KV/93"]


# ---------------------------------------------------------------- the page of the month


def typed_on_the_page() -> list[str]:
    page = (Path(__file__).parents[2] / "docs" / "month.md").read_text("utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [line.partition(" > ")[0] for block in blocks for line in block.splitlines()]
    return [line.removeprefix("sudo ") for line in lines if "kiva-relay report" in line]


@pytest.mark.parametrize("typed", sorted(set(typed_on_the_page())))
def test_what_the_page_of_the_month_says_can_be_typed(
    november: November, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "october.csv").write_text("A;1\n")
    november.kiva_expects("A", "B")
    november.position("A", "5")
    printed = run(*shlex.split(typed)[1:])
    assert printed.code in (0, 1, 2)
    assert "Something unexpected" not in printed.err
    if printed.code == 2:  # the page's numbers are another report's
        assert any(word in printed.err for word in ("decided", "changed", "nothing was done"))
