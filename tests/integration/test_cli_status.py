"""`kiva-relay status`: the verdict, what differs from normal, what to type. On both kinds of outbox."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay import cli
from kiva_relay.outbox import heartbeat, hold, meta, mirror, scan, settlement, table, watermark
from kiva_relay.outbox.heartbeat import JobHealth, Reachability, StreamHealth
from kiva_relay.outbox.reason import REASONS
from kiva_relay.outbox.scan import ScanProgress
from kiva_relay.resource.refusal import Refusal
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox
from testbed.rig.outboxes import migrated

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    made = full_outbox.made(tmp_path)
    monkeypatch.setenv("KIVA_RELAY_CONFIG", str(made.config))
    monkeypatch.setenv("KIVA_SECRET", "s")
    yield made
    made.outbox.close()


@pytest.fixture
def status(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main(["status", *arguments])
        printed = capsys.readouterr()
        assert full_outbox.NAME not in printed.out
        assert printed.err == ""
        return code, printed.out

    return command


def verdicts(out: str) -> list[str]:
    """The verdict words, in the order in which they stand."""
    return re.findall(r"^  (OK|NOTE|WAITING|HELD|STOPPED) ", out, flags=re.MULTILINE)


def test_ok_says_until_when(told: FullOutbox, status: Run) -> None:
    told.runs()
    told.kiva_lists()
    told.accept(told.owe("000000871"))
    code, out = status()
    assert (code, verdicts(out)) == (0, ["OK"])
    assert "SANDBOX, partner 123" in out.splitlines()[0]
    assert re.search(r"Everything that the MIS owed Kiva until \S+ is delivered\. Nothing needs you\.", out)
    assert re.search(r"loan_draft +1 +1 +0 +0 +0 +0", out)
    assert "to decide" not in out, "what does not go is shown only where there is some"
    assert re.search(r"this month: 1 loan draft", out)
    assert "running for 9 d" in out


def test_what_may_still_be_corrected_is_on_its_way(told: FullOutbox, status: Run) -> None:
    told.runs()
    told.kiva_lists()
    told.owe("000000871", due_at=told.now + timedelta(minutes=15))
    _, out = status()
    assert verdicts(out) == ["OK"]
    assert "except for 1 loan draft still to go. Nothing needs you." in out
    assert "may still be corrected" in out


def test_a_relay_that_does_not_run_is_stopped(told: FullOutbox, status: Run) -> None:
    code, out = status()
    assert (code, verdicts(out)) == (1, ["STOPPED"])
    assert "Nothing is lost, nothing was sent twice." in out
    assert f"kiva-relay run --config {told.config}" in out


def test_a_relay_without_a_sign_of_life_is_stopped(told: FullOutbox, status: Run) -> None:
    told.runs(ago=timedelta(minutes=3))
    code, out = status()
    assert (code, verdicts(out)) == (1, ["STOPPED"])
    assert "last sign of life 3 min" in out


def test_kiva_away_is_waiting_with_its_own_words(told: FullOutbox, status: Run) -> None:
    told.owe("000000700")
    told.owe("000000701", publish_by=told.day(2))
    told.cancel("000000700")
    away = Reachability(away_since=told.now - timedelta(days=1, hours=19), words='503 "upstream connect error"')
    told.runs(kiva=away)
    told.kiva_lists()
    code, out = status()
    assert (code, verdicts(out)) == (3, ["WAITING"])
    assert "(1 d 19 h). Nothing is lost, nothing was sent twice." in out
    assert '“503 "upstream connect error"”' in out
    assert "cancelled: 1 loan draft (will not be sent)" in out
    assert "1 loan draft not at Kiva yet, to be published in PA2 by" in out
    assert "000000701" in out


def test_the_mis_away_is_waiting(told: FullOutbox, status: Run) -> None:
    told.runs(mis=Reachability(away_since=told.now - timedelta(minutes=5), words="localhost refuses connections"))
    told.kiva_lists()
    code, out = status()
    assert (code, verdicts(out)) == (3, ["WAITING"])
    assert "localhost refuses connections" in out


def test_a_first_start_is_held_with_the_way_out(told: FullOutbox, status: Run) -> None:
    told.runs()
    for number in range(7):
        told.owe(f"00000070{number}")
    told.accept(told.owe("000000800"))
    with told.outbox.begin() as tx:
        hold.put(tx, "all", "first_start", now=told.now)
        hold.put(tx, "repayment", "first_report", now=told.now)
    told.kiva_lists()
    code, out = status()
    assert (code, verdicts(out)) == (1, ["HELD", "HELD"])
    assert "kept back: 7 loan drafts" in out
    assert 'release all --limit 5 --note "a first look"' in out
    assert 'release all --note "…"' in out
    assert "Nothing is lost" in out


def test_the_same_hold_on_three_resources_is_said_once(told: FullOutbox, status: Run) -> None:
    told.runs()
    told.kiva_lists()
    told.owe("000000700")
    with told.outbox.begin() as tx:
        for resource in ("loan_draft", "repayment", "journal"):
            hold.put(tx, resource, "first_start", now=told.now)
    _, out = status()
    assert verdicts(out) == ["HELD"]
    assert "Held for the same reason, with nothing ready: positions and journals." in out


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_to_hold_has_its_sentence_and_its_way_out(told: FullOutbox, status: Run, reason: str) -> None:
    told.runs()
    told.kiva_lists()
    with told.outbox.begin() as tx:
        hold.put(tx, "loan_draft", reason, now=told.now, by="awa", note="why")
    code, out = status()
    assert code == 1
    why = REASONS[reason]
    assert verdicts(out) == ["STOPPED" if why.grave else "HELD"]
    assert f"Loan drafts are held: {why.words}" in out
    assert ("kiva-relay release" in out) is not why.lifts_itself, "what the relay lifts itself is not to be released"
    assert ("the relay" in out) or not why.lifts_itself
    assert all(command in out for _, command in why.look)


def test_what_waits_for_a_person_is_one_note(told: FullOutbox, status: Run) -> None:
    told.runs()
    told.kiva_lists()
    lost = told.lose(told.owe("000000871"))
    told.refuse("000000917")
    code, out = status()
    assert (code, verdicts(out)) == (0, ["NOTE"])
    assert f"1 in doubt (#{lost.id}) and 1 refused" in out
    assert "review" in out


def test_the_gravest_stands_first(told: FullOutbox, status: Run) -> None:
    told.refuse("000000917")
    told.runs(
        kiva=Reachability(away_since=told.now, words="ConnectError"),
        stopped_streams={"journal": "relations.note: m_note has no column note"},
        edited=["loan_draft.individual.yaml"],
    )
    with told.outbox.begin() as tx:
        hold.put(tx, "journal", "asked", now=told.now, by="awa", note="wait")
    code, out = status()
    assert code == 1
    assert verdicts(out) == ["STOPPED", "HELD", "WAITING", "NOTE", "NOTE"]
    assert "m_note has no column note" in out
    assert "awa held it: “wait”" in out
    assert "reload" in out


def test_drafts_wait_for_kivas_list(told: FullOutbox, status: Run) -> None:
    told.runs()
    told.owe("000000871")
    code, out = status()
    assert (code, verdicts(out)) == (3, ["WAITING"])
    assert "Kiva's list of loans is being read first" in out


def test_a_hold_for_programs_says_who_lifts_it(told: FullOutbox, status: Run) -> None:
    told.runs()
    told.kiva_lists()
    with told.outbox.begin() as tx:
        hold.put(tx, "stream:loan_draft.individual", "mapping_examined", now=told.now, params={"mapping": "x"})
        hold.put(tx, "loan_draft", "asked", now=told.now, by="awa", note="wait")
    _, out = status("--json")
    said = json.loads(out)
    assert {one["reason"]: one["lifts_itself"] for one in said["holds"]} == {"mapping_examined": True, "asked": False}
    assert [one["params"]["kept"]["hold"]["reason"] for one in said["findings"]] == ["mapping_examined", "asked"]


@pytest.mark.parametrize("reason", ["mapping_examined", "mapping_changes_much"])
def test_a_base_that_an_upgrade_changed_is_named_with_both_versions(told: FullOutbox, status: Run, reason: str) -> None:
    told.runs()
    params = {"mapping": "journal", "changed": 7, "waiting": 9}
    upgrade = {"base": "fineract/journal", "before": "0.1.0", "now": "0.2.0"}
    with told.outbox.begin() as tx:
        hold.put(tx, "journal", reason, now=told.now, params={**params, **upgrade})
    said = " ".join(status()[1].split())
    assert "the ready-made fineract/journal changed with the upgrade from version 0.1.0 to 0.2.0." in said
    with told.outbox.begin() as tx:
        hold.release(tx, "journal", by="awa", note="seen", now=told.now)
        hold.put(tx, "journal", reason, now=told.now, params=params)
    assert "Not edited here" not in status()[1]


def test_a_job_that_is_late_is_named(told: FullOutbox, status: Run) -> None:
    late = JobHealth("sweep", last_run=told.now - timedelta(hours=26), error="OperationalError", overdue=7200.0)
    told.runs(jobs=(late, JobHealth("purge")))
    told.kiva_lists()
    code, out = status()
    assert (code, verdicts(out)) == (0, ["NOTE"])
    assert "The job “sweep” is 2 h late. Nothing is lost." in out
    assert "ended with OperationalError" in out


def test_for_programs(told: FullOutbox, status: Run) -> None:
    told.runs()
    told.kiva_lists()
    lost = told.lose(told.owe("000000871"))
    code, out = status("--json")
    said = json.loads(out)
    assert code == 0
    assert said["verdict"] == "NOTE"
    assert said["in_doubt"] == [lost.id]
    assert [(one["code"], one["params"]["doubts"]) for one in said["findings"]] == [("for_persons", [lost.id])]
    assert said["resources"]["loan_draft"]["states"]["in_doubt"] == 1
    assert said["resources"]["loan_draft"]["expected"] == 1
    (line,) = said["resources"]["loan_draft"]["lines"]
    assert (line["line"], line["number"], line["cause"], line["ok"]) == ("in_doubt", 1, "answer_lost", False)


def test_programs_are_told_no_sentence(told: FullOutbox, status: Run) -> None:
    told.runs()
    told.kiva_lists()
    late = told.owe("000000917", publish_by=told.now.date() + timedelta(days=2))
    told.lose(told.owe("000000871"))
    said = json.loads(status("--json")[1])
    assert [set(one) for one in said["findings"]] == [{"code", "verdict", "params"}]
    day = f"{told.now.date() + timedelta(days=2)}"
    draft = {"entry": late.id, "loan": "000000917", "publish_by": day}
    assert said["deadlines"] == [{"code": "publish_by", "at": day, "drafts": [draft]}]


def test_the_account_fits_80_columns(told: FullOutbox, status: Run) -> None:
    told.runs()
    told.kiva_lists()
    told.refuse("000000917")
    told.accept(told.owe("000000871"))
    _, out = status()
    tables = [line for line in out.splitlines() if line.startswith(("   ", "  loan", "  repay", "  journal"))]
    assert any("expected" in line for line in tables)
    assert any("to decide" in line for line in tables)
    assert max(len(line.rstrip()) for line in tables if "kiva-relay" not in line) <= 80
    assert re.search(r"loan_draft +2 +1 +0", out)


def test_it_is_not_ok_while_the_first_backfill_runs(told: FullOutbox, status: Run) -> None:
    told.runs(streams={"loan_draft.individual": "loan_draft", "journal": "journal"})
    told.kiva_lists()
    with told.outbox.begin() as tx:
        watermark.begin(tx, "journal")
        scan.keep(tx, "journal", ScanProgress(1, "backfill", told.now, 213, done=200, at=told.now))
    code, out = status()
    assert (code, verdicts(out)) == (0, ["NOTE"])
    assert "journal: the book is being read in; 13 rows left." in out
    (line,) = json.loads(status("--json")[1])["resources"]["journal"]["lines"]
    assert (line["line"], line["number"]) == ("not_looked_at_yet", 13)


def test_a_mapping_in_force_that_was_never_read_is_not_ok(told: FullOutbox, status: Run) -> None:
    told.runs(streams={"loan_draft.individual": "loan_draft", "repayment": "repayment"})
    told.kiva_lists()
    _, out = status()
    assert verdicts(out) == ["NOTE"]
    assert "repayment: the book is being read in" in out


def test_a_list_of_loans_that_never_gets_complete_is_not_ok(told: FullOutbox, status: Run) -> None:
    told.runs()
    with told.outbox.begin() as tx:
        number = mirror.begin_refresh(tx, now=told.now)
        mirror.end_refresh(tx, number, complete=False, listed=0, detail="3 loans are said, 0 came", now=told.now)
    code, out = status()
    assert (code, verdicts(out)) == (3, ["WAITING"])
    assert "Kiva's list of loans has not been read yet." in out
    assert "3 loans are said, 0 came" in out


def test_a_journal_that_waits_for_its_loan_is_ok_for_thirty_days(told: FullOutbox, status: Run) -> None:
    told.runs()
    told.kiva_lists()
    told.owe("000000871", resource="journal", waits="loan_not_at_kiva")
    _, out = status()
    assert verdicts(out) == ["OK"]
    assert "Waiting for what is still to come: 1 journal." in out
    with told.outbox.begin() as tx:
        tx.execute(sa.update(table.entry).values(created_at=told.now - timedelta(days=31)))
    code, out = status()
    assert (code, verdicts(out)) == (0, ["NOTE"])
    assert "Waiting, and perhaps in vain: 1 journal." in out


def test_what_a_person_has_seen_is_left_out_until_it_changes(told: FullOutbox, status: Run) -> None:
    told.runs()
    told.kiva_lists()
    refused = told.refuse("000000917")
    with told.outbox.begin() as tx:
        settlement.done(tx, refused, by="awa", note="typed by hand", now=told.now)
    _, out = status()
    assert verdicts(out) == ["OK"]
    told.refuse("000000917", Refusal("missing", "entreps[0].gender"))
    assert verdicts(status()[1]) == ["NOTE"]


def test_an_outbox_on_postgresql(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = full_outbox.made(tmp_path, outbox=migrated(postgres_database), url=postgres_database)
    monkeypatch.setenv("KIVA_RELAY_CONFIG", str(made.config))
    monkeypatch.setenv("KIVA_SECRET", "s")
    made.runs()
    made.kiva_lists()
    lost = made.lose(made.owe("000000871"))
    for arguments in (["status"], ["review"], ["outbox", "list"], ["outbox", "show", str(lost.id)]):
        assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert verdicts(out) == ["NOTE"]
    assert out.count("000000871") >= 3
    made.outbox.close()


def test_who_keeps_a_transaction_open(told: FullOutbox, status: Run) -> None:
    told.owe("000000871")
    told.runs(horizon_age=7200.0, pinned_by="session 4711 of mifos")
    _, out = status()
    assert "open for 2 h" in out
    assert "session 4711 of mifos" in out


def test_a_loop_that_does_not_get_on_is_stopped(told: FullOutbox, status: Run) -> None:
    told.runs(stuck={"courier": "ZeroDivisionError, see the log"})
    told.kiva_lists()
    code, out = status()
    assert (code, verdicts(out)) == (1, ["STOPPED"])
    assert "The relay has not succeeded in sending to Kiva for ten minutes: ZeroDivisionError, see the log." in out


def test_a_heartbeat_that_another_version_wrote_is_read_as_far_as_it_goes(told: FullOutbox, status: Run) -> None:
    at = told.now.isoformat()
    with told.outbox.begin() as tx:
        meta.text("heartbeat").put(
            tx, json.dumps({"started_at": at, "version": "9", "pid": 1, "beats_at": at, "new": 1})
        )
        beat = heartbeat.read(tx)
        assert beat is not None
        assert (beat.version, beat.jobs, beat.mis) == ("9", (), Reachability())
        meta.text("heartbeat").put(tx, json.dumps({"pid": 1}))
        assert heartbeat.read(tx) is None
    assert status()[0] == 1


def test_what_is_written_of_a_heartbeat_is_read_again(told: FullOutbox) -> None:
    beat = told.runs(
        replication=StreamHealth(live=True, kept=7),
        jobs=(JobHealth("poll", told.now, 1.5),),
        edited=("a.yaml",),
        modes={"journal": "xmin"},
    )
    with told.outbox.read() as tx:
        assert heartbeat.read(tx) == beat


def test_every_command_that_a_trial_prints_acts_on_the_trial(
    told: FullOutbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Collected from what is printed, and pasted: without the variable that the trial was begun with."""
    told.runs()
    told.kiva_lists()
    told.owe("000000871")
    with told.outbox.begin() as tx:
        hold.put(tx, "loan_draft", "many_in_doubt", now=told.now)
        hold.put(tx, "journal", "asked", now=told.now, by="awa", note="why")
    monkeypatch.delenv("KIVA_RELAY_CONFIG")
    named = ["--config", str(told.config)]
    for typed in (["status"], ["review"], ["outbox", "list"], ["outbox", "show", "1"]):
        cli.main([*typed, *named])
    printed = "".join(capsys.readouterr())
    commands = [
        re.split(r"\s{2,}|\)", line[line.index("kiva-relay ") :])[0]
        for line in printed.splitlines()
        if re.search(r"(?<![-/\w] )kiva-relay [a-z]", line) and "systemctl" not in line and "-u kiva" not in line
    ]
    assert len(commands) >= 6
    assert "sudo kiva-relay" not in printed
    for command in commands:
        assert str(told.config) in command
        code = cli.main(shlex.split(command)[1:])
        said = "".join(capsys.readouterr())
        assert code != 2 or "nobody to answer" in said, (command, said)
        assert not said.startswith("kiva-relay 0") or str(told.config) in said.splitlines()[0]
