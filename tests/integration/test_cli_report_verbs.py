"""What a person says of a report: send, decide, finalised, reopen, aliases. On a real outbox; the relay does it later."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import decision, hold, meta, query, report, report_table, watermark
from kiva_relay.outbox.report import Report
from kiva_relay.outbox.state import State
from kiva_relay.report import current
from testbed.rig import capturing, full_outbox
from testbed.rig.full_outbox import FullOutbox, Run
from testbed.rig.month import listed


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    for told in full_outbox.configured(tmp_path, monkeypatch):
        told.kiva_lists(listed("000000412", lent=500000), listed("KV/93", lent=750))
        with told.outbox.begin() as tx:
            opened = told.now - timedelta(days=1)
            report.open_(
                tx, Report("2026-11", date(2026, 11, 30), "cumulative_principal", None, None, opened_at=opened)
            )
            watermark.keep(tx, capturing.seen("repayment", key="412", identity="000000412"), new=True)
            watermark.keep(tx, capturing.seen("repayment", key="93", identity="000000093", lent="750"), new=True)
        position = {"resource": "repayment", "amount": "150000"}
        told.accept(told.owe("000000412", period="2026-10", **position), upload_id="1")
        told.owe("000000412", period="2026-11", waits="position_fell", **position)
        yield told


@pytest.fixture
def run(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


def decided(told: FullOutbox) -> list[tuple[str, str, str | None, str]]:
    with told.outbox.read() as tx:
        rows = [*decision.all_of(tx, "2026-11"), *decision.for_life(tx)]
    return [(one.loan_id, one.verb, one.value, one.note) for one in rows]


def test_a_decision_is_recorded_and_no_entry_moves(told: FullOutbox, run: Run) -> None:
    with told.outbox.read() as tx:
        entry = query.versions(tx, "repayment", "000000412")[0]
    printed = run("report", "decide", str(entry.id), "--send", "--note", "the reversal is right", "--yes")
    assert printed.code == 0
    assert "000000412" in printed.out
    assert "150 000 XOF" in printed.out
    assert decided(told) == [("000000412", "send", None, "the reversal is right")]
    with told.outbox.read() as tx:
        assert query.versions(tx, "repayment", "000000412")[0].state is State.WAITING, "the relay moves it"
    run("report", "decide", "--loan", "000000412", "--value", "140000", "--note", "receipt", "--yes")
    assert decided(told)[-1] == ("000000412", "value", "140000", "receipt")


def test_a_loan_that_the_mis_does_not_have_is_one_of_its_loans(told: FullOutbox, run: Run) -> None:
    assert run("report", "decide", "kKKV/93", "--is", "000000093", "--note", "typed by hand", "--yes").code == 0
    (known,) = run("report", "aliases", "--json").json
    assert (known["at_kiva"], known["in_the_mis"]) == ("KV/93", "000000093")
    assert "000000093" in run("report", "aliases").out
    assert "None" in run("report", "aliases", "--undo", "KV/93", "--note", "another one").out
    assert decided(told) == []
    assert run("report", "aliases", "--undo", "KV/93", "--note", "again").code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--send", "--keep", "--loan", "000000412"], "Say one of --send, --keep"),
        (["--loan", "000000412"], "found none of them"),
        (["--send"], "Name the lines"),
        (["--send", "--loan", "000000413"], "Did you mean: 000000412"),
        (["--send", "99"], "has no line 99"),
        (["--send", "--loan", "KV/93"], "gives no amount"),
        (["--send", "--loan", "000000412", "--late"], "Leave out --late"),
        (["--send", "--loan", "000000412", "--period", "2026-13"], "named by its month"),
        (["--send", "--loan", "000000412", "--period", "2026-09"], "There are: 2026-11"),
    ],
)
def test_what_is_said_wrongly_is_told_with_what_to_type(
    told: FullOutbox, run: Run, arguments: list[str], words: str
) -> None:
    printed = run("report", "decide", *arguments, "--note", "why", "--yes")
    assert printed.code == 2
    assert words in printed.err
    assert decided(told) == []


@pytest.mark.parametrize("amount", ["-5", "1 250,50", "1e400", "NaN", "99999999"])
def test_nobody_is_asked_whether_she_means_what_cannot_be(told: FullOutbox, run: Run, amount: str) -> None:
    """Whoever had typed yes was told then that it was no amount."""
    printed = run("report", "decide", "--loan", "000000412", f"--value={amount}", "--note", "why")
    assert (printed.code, decided(told)) == (2, [])
    assert "--yes" not in printed.out + printed.err


@pytest.mark.parametrize("amount", ["140.000", "140,000"])
def test_an_amount_that_may_be_another_one_is_refused(told: FullOutbox, run: Run, amount: str) -> None:
    """140.000 was taken for 140, while the page took it for 140000."""
    printed = run("report", "decide", "--loan", "000000412", f"--value={amount}", "--note", "why", "--yes")
    assert (printed.code, decided(told)) == (2, [])
    assert f"{amount} may be 140000 or 140. Nothing was decided." in printed.err
    assert "--value 140000    or: --value 140" in printed.err


def test_the_question_names_the_amount(told: FullOutbox, run: Run) -> None:
    printed = run("report", "decide", "--loan", "000000412", "--value=140000", "--note", "x")
    assert "--value 140000 for 1 loan?" in printed.err
    assert decided(told) == []


def test_who_finalises_an_open_report_is_told_until_when_it_is_open(told: FullOutbox, run: Run) -> None:
    with told.outbox.begin() as tx:
        tx.execute(sa.update(report_table.report).values(closes_at=told.now + timedelta(days=5)))
    assert "what changes in the MIS until then is not sent" in run("report", "finalised", "--note", "x").out


def test_finalised_and_reopened(told: FullOutbox, run: Run) -> None:
    assert run("report", "reopen").code == 2
    printed = run("report", "finalised", "--yes", "--note", "done in PA2")
    assert printed.code == 0
    assert "1 loan" in printed.out
    assert "kiva-relay report reopen 2026-11" in printed.out
    refused = run("report", "decide", "--loan", "000000412", "--leave-out", "--note", "late", "--yes")
    assert (refused.code, "nothing more is decided" in refused.err.replace("\n", " ")) == (2, True)
    assert run("report", "reopen", "2026-11", "--note", "too early").code == 0
    assert run("report", "decide", "--loan", "000000412", "--leave-out", "--note", "late", "--yes").code == 0
    assert [verb for _, verb, _ in told.acts()] == ["report finalised", "report reopen", "report decide --leave-out"]


def test_who_finalises_an_open_report_reads_sentences_and_no_line_of_the_log(told: FullOutbox, run: Run) -> None:
    printed = run("report", "finalised", "--yes", "--note", "done in PA2")
    assert (printed.code, printed.err) == (0, "")


def test_a_report_that_waits_is_sent_by_one_release(told: FullOutbox, run: Run) -> None:
    printed = run("report", "send", "--note", "nothing waits", "--yes")
    assert (printed.code, "No report waits" in printed.err) == (2, True)
    with told.outbox.begin() as tx:
        hold.put(tx, hold.ALL, "first_start", now=told.now)
        hold.put(tx, "repayment", "first_report", now=told.now)
        hold.put(tx, "repayment", "asked", now=told.now, by="awa", note="wait")
        meta.FIRST_START.put(tx, told.now)
    printed = run("report", "send", "--note", "compared", "--yes")
    assert printed.code == 0
    assert "still held" in printed.out
    with told.outbox.read() as tx:
        left = {(one.what, one.reason) for one in hold.in_force(tx)}
    assert left == {("repayment", "asked"), ("loan_draft", "first_start"), ("journal", "first_start")}


def test_a_decision_does_not_read_the_whole_report(told: FullOutbox, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred thousand loans each was read, to decide about one."""

    def read(*_given: object, **_named: object) -> None:
        raise AssertionError("the report was read")

    monkeypatch.setattr(current, "lines_of", read)
    monkeypatch.setattr(current, "each_line", read)
    with told.outbox.read() as tx:
        entry = query.versions(tx, "repayment", "000000412")[0]
    for named in ([f"#{entry.id}"], ["--loan", " 000000412"], ["--loan", "KV/93"], ["kKKV/93"]):
        assert run("report", "decide", *named, "--leave-out", "--note", "x", "--yes").code == 0, named
    assert [loan for loan, *_ in decided(told)] == ["000000412", "000000412", "KV/93", "KV/93"]
    for named in (["9" * 30], ["kK000000412"], ["#0"], ["--loan", "000000413"]):
        printed = run("report", "decide", *named, "--leave-out", "--note", "x", "--yes")
        assert printed.code == 2, named
    assert "Did you mean: 000000412" in printed.err
