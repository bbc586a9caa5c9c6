"""The commands that decide about what the outbox holds: list, show, settle, hold, release. On a real outbox."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import hold, mirror, mirror_table, query
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.reason import REASONS
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import State
from kiva_relay.resource.refusal import Refusal
from kiva_relay.words import personal
from testbed.rig import full_outbox, outboxes
from testbed.rig.full_outbox import NAME, FullOutbox, Run


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


@pytest.fixture
def run(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


def state(told: FullOutbox, entry: Entry) -> State:
    with told.outbox.read() as tx:
        found = query.find(tx, entry.id)
    assert found is not None
    return found.state


# ---------------------------------------------------------------- outbox list


def test_every_line_begins_with_the_loan_and_says_why(told: FullOutbox, run: Run) -> None:
    told.lose(told.owe("000000871"))
    told.refuse("000000917")
    told.accept(told.owe("000000702"))
    printed = run("outbox", "list")
    assert printed.code == 0
    assert "SANDBOX, partner 123" in printed.out.splitlines()[0]
    lines = [line.split() for line in printed.out.splitlines() if line.startswith("  0")]
    assert [line[0] for line in lines] == ["000000871", "000000917"]
    assert "the answer was lost" in printed.out
    assert "The name is empty in the MIS" in printed.out
    assert "250 000 XOF" in printed.out


def test_the_list_in_json_holds_codes_and_no_bodies(told: FullOutbox, run: Run) -> None:
    told.refuse("000000917", Refusal("wrong_type", "entreps[0].first_name", {"expected": "text", "found": NAME}))
    (line,) = run("outbox", "list", "--json").json
    assert (line["number"], line["loan_id"], line["state"]) == (1, "000000917", "refused")
    assert "body" not in line
    (refusal,) = line["refusals"]
    assert refusal["params"] == {"expected": "text", "found": personal.HIDDEN}
    assert refusal.keys() == {"code", "field", "params"}
    assert "has to be text; found …" in run("outbox", "list").out


def test_resources_and_states_may_be_written_as_one_likes(told: FullOutbox, run: Run) -> None:
    told.lose(told.owe("000000871"))
    told.owe("note", resource="journal", loan_id="000000233")
    assert "000000871" in run("outbox", "list", "--state", "in-doubt", "--resource", "loan-drafts").out
    assert "000000871" not in run("outbox", "list", "--resource", "journal").out
    wrong = run("outbox", "list", "--state", "in_dout")
    assert wrong.code == 2
    assert "Did you mean in_doubt?" in wrong.err


def test_a_list_for_the_coordinator_in_csv(told: FullOutbox, run: Run) -> None:
    told.owe("000000871", publish_by=told.day(9))
    told.lose(told.owe("000000872"))
    with told.outbox.begin() as tx:
        hold.put(tx, "loan_draft", "asked", now=told.now)
    head, *lines = run("outbox", "list", "--held", "--csv").out.splitlines()
    assert head.startswith("loan_id,client_id,number")
    assert [line.split(",")[0] for line in lines] == ["000000871"]


def test_an_id_without_its_zeros_names_the_right_one(told: FullOutbox, run: Run) -> None:
    told.owe("000000871")
    assert "kiva-relay outbox list --loan 000000871" in run("outbox", "list", "--loan", "871").out
    shown = run("outbox", "show", "--loan", "871")
    assert shown.code == 2
    assert "Did you mean: --loan 000000871" in shown.err


@pytest.mark.parametrize(("since", "there"), [("1h", True), ("2020-01-01", True), ("2099-01-01", False)])
def test_what_changed_since(told: FullOutbox, run: Run, since: str, *, there: bool) -> None:
    told.owe("000000871")
    assert ("000000871" in run("outbox", "list", "--since", since).out) is there


def test_a_since_that_is_no_moment(told: FullOutbox, run: Run) -> None:
    assert "expected a day, like 2026-11-30" in run("outbox", "list", "--since", "yesterday").err


# ---------------------------------------------------------------- outbox show


def test_a_doubt_says_what_to_look_for_and_the_three_ways_out(told: FullOutbox, run: Run) -> None:
    entry = told.lose(told.owe("000000871", publish_by=told.day(29)))
    told.kiva_lists()
    out = run("outbox", "show", entry.id).out
    assert "Loan 000000871 · #1 · loan draft · 250 000 XOF · IN DOUBT since" in out
    assert "attempt 1: the answer was lost: “ReadTimeout”" in out
    assert "Nothing is lost, nothing was sent twice" in out or "nothing is lost, nothing was sent twice" in out
    assert "“Loans” → “Drafts”" in out
    for verb in ("delivered", "resend", "discard"):
        assert f"outbox settle 1 --{verb} --note" in out
    assert "settles it alone" in out
    assert "Publish by" in out


def test_a_position_in_doubt_needs_nobody(told: FullOutbox, run: Run) -> None:
    entry = told.lose(told.owe("000000412", resource="repayment", period="2026-11"))
    assert "Nothing needs you" in run("outbox", "show", entry.id).out


def test_a_refusal_says_what_to_do(told: FullOutbox, run: Run) -> None:
    entry = told.refuse("000000917")
    out = run("outbox", "show", entry.id).out
    assert "→ Write the name in the MIS." in out
    assert "tried again when its row in the MIS or the mapping changes" in out
    assert "--resend" not in out  # there is no body to send again


def test_kivas_own_words_are_quoted_and_its_refusal_can_be_sent_again(told: FullOutbox, run: Run) -> None:
    said = EntryVerdict(State.REFUSED, refusals=(Refusal("kiva_said_no", "", {"text": "location is retired"}),))
    entry = told.send(told.owe("000000917"), said, outcome="refused", words="location is retired")
    out = run("outbox", "show", entry.id).out
    assert "“location is retired”" in out
    assert f"outbox settle {entry.id} --resend" in out


def test_a_fallen_position_stands_beside_the_one_before(told: FullOutbox, run: Run) -> None:
    told.accept(told.owe("000000412", resource="repayment", amount="180000", period="2026-10"), upload_id="9")
    fallen = told.owe("000000412", resource="repayment", amount="150000", period="2026-11", waits="position_fell")
    out = run("outbox", "show", fallen.id).out
    assert "180 000 XOF (#1, report of 2026-10)" in out
    assert "Kiva bills the loan as if it were repaid on schedule" in out


def test_a_change_shows_amounts_and_hides_names(told: FullOutbox, run: Run) -> None:
    entry = told.accept(told.owe("000000871"))
    told.change("000000871")
    out = run("outbox", "show", entry.id).out
    assert "entreps[0].amount   sent: 250 000 XOF   now in the MIS: 300 000 XOF" in out
    assert "entreps[0].first_name is different in the MIS now" in out
    (shown,) = run("outbox", "show", entry.id, "--json").json["divergences"]
    assert {"field": "entreps[0].first_name"} in shown["fields"]


def test_the_life_of_one_loan_says_when_there_may_be_two_drafts(told: FullOutbox, run: Run) -> None:
    told.accept(told.settle(told.lose(told.owe("000000871")), "resend"))
    out = run("outbox", "show", "--loan", "000000871").out
    assert "awa: settle --resend “looked”" in out
    assert "More than one loan draft is possible" in out


def test_the_life_of_one_loan_says_when_the_relay_made_one_only(told: FullOutbox, run: Run) -> None:
    told.accept(told.owe("000000871"))
    assert "sent once by the relay" in run("outbox", "show", "--loan", "000000871").out


def test_show_wants_a_number_or_a_loan(told: FullOutbox, run: Run) -> None:
    assert run("outbox", "show").code == 2
    missing = run("outbox", "show", 99)
    assert (missing.code, missing.err.splitlines()[0]) == (2, "There is no entry 99 in this outbox.")


# ---------------------------------------------------------------- outbox settle


def test_a_doubt_is_settled_with_a_note_and_a_name(told: FullOutbox, run: Run) -> None:
    entry = told.lose(told.owe("000000871"))
    printed = run("outbox", "settle", entry.id, "--delivered", "--note", "seen in Drafts", "--yes")
    assert printed.code == 0
    assert state(told, entry) is State.DELIVERED
    assert told.acts() == [("awa", "settle --delivered", "seen in Drafts")]


@pytest.mark.parametrize("missing", ["--note", "verb", "number"])
def test_settle_wants_a_verb_a_note_and_an_entry(told: FullOutbox, run: Run, missing: str) -> None:
    entry = told.lose(told.owe("000000871"))
    arguments: list[object] = ["outbox", "settle", "--yes"]
    arguments += [entry.id] if missing != "number" else []
    arguments += ["--delivered"] if missing != "verb" else []
    arguments += ["--note", "x"] if missing != "--note" else []
    printed = run(*arguments)
    assert printed.code == 2
    assert "Nothing was changed." in printed.err
    assert state(told, entry) is State.IN_DOUBT


def test_many_are_settled_by_a_filter_and_the_others_stay(told: FullOutbox, run: Run) -> None:
    mine = [told.refuse("a"), told.refuse("b")]
    other = told.refuse("c", Refusal("missing", "currency"))
    out = run("outbox", "settle", "--reason", "name_empty", "--discard", "--note", "old loans", "--yes").out
    assert [state(told, entry) for entry in [*mine, other]] == [State.DISCARDED, State.DISCARDED, State.REFUSED]
    assert out.index("  a ") < out.index("does not go out")


def test_when_one_cannot_be_settled_none_is(told: FullOutbox, run: Run) -> None:
    lost, sent = told.lose(told.owe("a")), told.accept(told.owe("b"))
    printed = run("outbox", "settle", lost.id, sent.id, "--discard", "--note", "x", "--yes")
    assert printed.code == 2
    assert f"Entry {sent.id} is delivered: --discard does not apply to it. Nothing was changed" in printed.err
    assert state(told, lost) is State.IN_DOUBT
    assert told.acts() == []


def test_without_yes_and_without_a_person_nothing_is_done(told: FullOutbox, run: Run) -> None:
    entry = told.lose(told.owe("000000871"))
    printed = run("outbox", "settle", entry.id, "--resend", "--note", "x")
    assert printed.code == 2
    assert "--yes" in printed.err
    assert state(told, entry) is State.IN_DOUBT


def test_what_a_person_settled_wrongly_is_settled_again(told: FullOutbox, run: Run) -> None:
    entry = told.lose(told.owe("000000871"))
    run("outbox", "settle", entry.id, "--discard", "--note", "a mistake", "--yes")
    printed = run("outbox", "settle", entry.id, "--resend", "--note", "not in Drafts", "--yes")
    assert "what the MIS says now is sent in its place" in printed.out
    assert state(told, entry) is State.WITHDRAWN
    assert [verb for _, verb, _ in told.acts()] == ["settle --discard", "settle --resend"]


# ---------------------------------------------------------------- hold and release


def in_force(told: FullOutbox) -> list[tuple[str, str, int]]:
    with told.outbox.read() as tx:
        return [(one.what, one.reason, one.allowance) for one in hold.in_force(tx)]


def test_a_person_presses_the_brake_and_lets_go(told: FullOutbox, run: Run) -> None:
    told.owe("000000871")
    printed = run("hold", "loan-drafts", "--note", "wrong amounts")
    assert in_force(told) == [("loan_draft", "asked", 0)]
    assert "Nothing is lost" in printed.out
    assert "release loan_draft --note" in printed.out
    assert "already held" in run("hold", "loan_draft", "--note", "again").out
    out = run("release", "loan_draft", "--note", "corrected", "--yes").out
    assert "000000871   #1   loan draft   250 000 XOF" in out
    assert "kiva-relay run --config" in out  # it does not run in this test
    assert in_force(told) == []
    assert told.acts() == [("awa", "hold", "wrong amounts"), ("awa", "release", "corrected")]


def test_kivas_list_is_taken_as_it_is_once_it_lacks_the_same_for_hours(told: FullOutbox, run: Run) -> None:
    now = datetime.now(UTC)
    assert "read whole" in run("release", "mirror", "--note", "seen in PA2", "--yes").err

    def read(ago: timedelta) -> None:
        with told.outbox.begin() as tx:
            number = mirror.begin_refresh(tx, now=now - ago)
            why = "the counts of issue changed while they were read, 5 times (issue by +1)"
            mirror.end_refresh(tx, number, complete=False, listed=2, detail=why, now=now - ago)

    read(timedelta(hours=1))
    assert "Nothing was released" in run("release", "mirror", "--note", "seen in PA2", "--yes").err
    with told.outbox.begin() as tx:
        tx.execute(sa.update(mirror_table.mirror_refresh).values(started_at=now - timedelta(hours=4)))
    read(timedelta(hours=1))
    out = run("release", "mirror", "--note", "seen in PA2", "--yes").out
    assert "issue by +1" in out
    assert ("awa", "release", "seen in PA2") in told.acts()
    with told.outbox.read() as tx:
        assert mirror.is_taken(tx, since=now - timedelta(hours=9))


def test_a_few_may_go_first(told: FullOutbox, run: Run) -> None:
    told.runs()
    with told.outbox.begin() as tx:
        hold.put(tx, "loan_draft", "brake", now=told.now)
    out = run("release", "loan_draft", "--limit", "5", "--note", "a look", "--yes").out
    assert "At most 5 may go, each once, within seconds" in out
    assert in_force(told) == [("loan_draft", "brake", 5)]


def test_one_resource_is_released_from_a_hold_on_everything(told: FullOutbox, run: Run) -> None:
    told.owe("000000871")
    with told.outbox.begin() as tx:
        hold.put(tx, "all", "first_start", now=told.now)
        hold.put(tx, "repayment", "first_report", now=told.now)
    run("release", "loan_draft", "--limit", "1", "--note", "a first look", "--yes")
    assert sorted(in_force(told)) == [
        ("journal", "first_start", 0),
        ("loan_draft", "first_start", 1),
        ("repayment", "first_report", 0),
        ("repayment", "first_start", 0),
    ]
    run("release", "loan_draft", "--note", "good", "--yes")
    assert "loan_draft" not in [what for what, _, _ in in_force(told)]


def test_release_names_what_is_held_when_something_else_was_meant(told: FullOutbox, run: Run) -> None:
    with told.outbox.begin() as tx:
        hold.put(tx, "journal", "asked", now=told.now)
    printed = run("release", "loan_draft", "--note", "x", "--yes")
    assert printed.code == 2
    assert 'release journal --note "…"' in printed.err


def test_a_mapping_is_held_by_its_name(told: FullOutbox, run: Run) -> None:
    run("hold", "loan_draft.individual", "--note", "x")
    assert in_force(told) == [("stream:loan_draft.individual", "asked", 0)]
    told.owe("000000871")
    told.owe("G-12", stream="loan_draft.group")
    limited = run("release", "stream:loan_draft.individual", "--limit", "2", "--note", "x", "--yes")
    assert "--limit counts entries of a resource" in limited.err
    released = run("release", "stream:loan_draft.individual", "--note", "x", "--yes").out
    assert "000000871" in released
    assert "G-12" not in released
    wrong = run("hold", "loan_draft.indivdual", "--note", "x")
    assert "Did you mean: " in wrong.err


@pytest.mark.parametrize("reason", [code for code, why in REASONS.items() if why.lifts_itself])
def test_what_the_relay_lifts_itself_is_not_released_by_the_way(told: FullOutbox, run: Run, reason: str) -> None:
    """Whoever releases `mapping_examined` skips the check before a mass change."""
    what = "stream:loan_draft.individual"
    entry = told.owe("000000871")
    with told.outbox.begin() as tx:
        hold.put(tx, what, reason, now=told.now)
    shown = run("outbox", "show", entry.id).out
    assert REASONS[reason].words in shown
    assert "kiva-relay release" not in shown
    printed = run("release", what, "--note", "x", "--yes")
    assert printed.code == 2
    assert "Nobody has to release it" in printed.err
    assert "Nothing was released." in printed.err
    assert in_force(told) == [(what, reason, 0)]
    assert told.acts() == []
    assert run("release", what, "--anyway", "--note", "its mapping is gone", "--yes").code == 0
    assert in_force(told) == []
    assert told.acts() == [("awa", "release", "its mapping is gone")]


def test_a_release_goes_past_what_the_relay_lifts_itself(told: FullOutbox, run: Run) -> None:
    with told.outbox.begin() as tx:
        hold.put(tx, "loan_draft", "brake", now=told.now)
        hold.put(tx, "all", "destination_fault", now=told.now)
    printed = run("release", "loan_draft", "--note", "an import", "--yes")
    assert printed.code == 0
    assert "This one stays: the relay asks Kiva again by itself" in printed.out
    assert in_force(told) == [("all", "destination_fault", 0)]


@pytest.mark.parametrize("command", ["hold", "release"])
def test_a_note_is_wanted(told: FullOutbox, run: Run, command: str) -> None:
    printed = run(command, "all")
    assert printed.code == 2
    assert "--note is missing" in printed.err


# ---------------------------------------------------------------- a problem of a whole call


def test_a_word_about_one_of_a_call_is_said_of_all_of_it(told: FullOutbox, run: Run) -> None:
    for loan in ("000000871", "000000872"):
        told.owe(loan, resource="repayment", period="2026-10")
    batch = outboxes.claim(told.outbox, "repayment", limit=9, seconds=9e9)
    assert batch is not None
    ending = dataclasses.replace(outboxes.ACCEPTED, problems=[{"severity": None, "details": "not all could be read"}])
    first, second = outboxes.end(
        told.outbox, batch, ending, EntryVerdict(State.DELIVERED, {"upload_id": 88121}, evidence="warned"), seconds=9e9
    )
    status = run("status")
    assert "1 call of which Kiva named a problem" in status.out
    asked = run("review").out
    assert "Kiva says of upload 88121: “not all could be read”. Are its 2 amounts repaid there?" in asked
    assert f"outbox settle {first.id} --delivered" in run("outbox", "show", first.id).out
    settled = run("outbox", "settle", second.id, "--delivered", "--note", "both are there", "--yes")
    assert settled.code == 0
    assert all(f"#{entry.id}" in settled.out for entry in (first, second))
    assert "of which Kiva named a problem" not in run("status").out
    assert "not all could be read" not in run("review").out


# ---------------------------------------------------------------- for Kiva's support


def test_the_last_request_as_curl_says_all_but_token_and_persons(told: FullOutbox, run: Run) -> None:
    entry = told.lose(told.owe("it's/1"))
    found = run("outbox", "show", str(entry.id), "--curl")
    assert full_outbox.NAME not in found.out + found.err
    typed = shlex.split(found.out.replace("\\\n", " "))
    assert typed[:3] == ["curl", "--request", "POST"]
    assert typed[3].endswith("/v3/partner/123/loan_draft")
    assert "Authorization: Bearer ***" in typed
    sent = json.loads(typed[typed.index("--data-raw") + 1])
    assert sent == {"entreps": [{"amount": 250000, "first_name": "***", "loan_id": "it's/1"}]}
    assert "no answer came" in found.err


def test_what_was_never_sent_has_no_request(told: FullOutbox, run: Run) -> None:
    entry = told.owe("000000871")
    assert run("outbox", "show", str(entry.id), "--curl").code == 2
    assert run("outbox", "show", "--loan", "000000871", "--curl").code == 2
