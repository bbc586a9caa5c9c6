"""What the account counts, on both databases: Kiva's list outward, counters that move with the moves, and plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay.account import line
from kiva_relay.account.line import AccountLine, LineKind, Situation
from kiva_relay.outbox import (
    census,
    closing,
    hold,
    listing,
    meta,
    mirror,
    query,
    scan,
    settlement,
    store,
    table,
    tally,
    unread,
    unreported,
    watermark,
)
from kiva_relay.outbox.census import Bounds, Census
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.scan import ScanProgress
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import State
from kiva_relay.outbox.tally import Counted
from kiva_relay.outbox.unread import Unread
from kiva_relay.outbox.unreported import Unreported
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource.refusal import Refusal
from kiva_relay.service import audit
from testbed.rig import outboxes
from testbed.rig.outboxes import NOW, deliver, later, lose, put

PERIOD = "2026-10"
BOUNDS = Bounds(NOW - timedelta(hours=1), NOW - timedelta(days=30), NOW - timedelta(days=30), NOW.date())
POSITION: dict[str, Any] = {"resource": "repayment", "stream": "repayment", "period": PERIOD}


def counted(outbox: Outbox, *, period: str = PERIOD, expects: bool = True) -> Census:
    streams = {"loan_draft.individual": "loan_draft", "repayment": "repayment"}
    with outbox.read() as tx:
        return census.take(tx, BOUNDS, period=period, expects=expects, streams=streams)


def lines(outbox: Outbox, resource: str = "loan_draft", *, is_open: bool = True) -> tuple[AccountLine, ...]:
    with outbox.read() as tx:
        holds = hold.in_force(tx)
    situation = Situation(holds=holds, sends=True, period=PERIOD, report_is_open=is_open)
    return line.lines(resource, counted(outbox, expects=is_open), situation)


def kinds(outbox: Outbox, resource: str = "loan_draft", *, is_open: bool = True) -> dict[str, int]:
    return {one.kind.value: one.number for one in lines(outbox, resource, is_open=is_open)}


def read_whole(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        for stream in ("loan_draft.individual", "repayment"):
            watermark.begin(tx, stream)
            watermark.end_scan(tx, watermark.watermarks(tx)[stream], now=NOW)


def lists(outbox: Outbox, *ids: str, status: str = "payingBack") -> None:
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=NOW)
        mirror.keep(tx, refresh, [MirroredLoan(f"k{n}", loan, "", status) for n, loan in enumerate(ids)])
        mirror.end_refresh(tx, refresh, complete=True, listed=len(ids), detail=None, now=NOW)


def seen(outbox: Outbox, identity: str, *, resource: str = "repayment", again: bool = False) -> None:
    stream = resource if resource == "repayment" else "loan_draft.individual"
    values = {"baselined": False, "refused": False, "created_at": None, "scan_number": 1, "captured_at": NOW}
    row = Captured(stream, identity, resource, identity, "h", in_scope=True, again=again, **values)  # type: ignore[arg-type]
    with outbox.begin() as tx:
        watermark.keep(tx, row)


# ---------------------------------------------------------------- Kiva's list outward


def test_an_empty_outbox_and_eleven_expected_loans_give_eleven_lines(outbox: Outbox) -> None:
    read_whole(outbox)
    lists(outbox, *(f"{n:03}" for n in range(11)))
    assert lines(outbox, "repayment") == (AccountLine(LineKind.MISSING, 11),)
    assert lines(outbox, "repayment", is_open=False) == ()


def test_what_the_mis_gives_is_not_missing_but_not_looked_at_yet(outbox: Outbox) -> None:
    read_whole(outbox)
    lists(outbox, "001", "L-2", "003")
    seen(outbox, "001")
    seen(outbox, "002")
    with outbox.begin() as tx:
        meta.ALIASES.put(tx, {"L-2": "002"})
    assert kinds(outbox, "repayment") == {"missing": 1, "not_looked_at_yet": 2}
    assert counted(outbox).unreported.unknown == ("003",)


def test_nothing_is_missing_before_the_book_was_read_whole(outbox: Outbox) -> None:
    lists(outbox, "001")
    assert kinds(outbox, "repayment") == {"not_looked_at_yet": 1}


def not_read(outbox: Outbox, streams: dict[str, str] | None) -> tuple[Mapping[str, int], tuple[Unread, ...]]:
    with outbox.read() as tx:
        found = census.take(tx, BOUNDS, period=PERIOD, expects=False, streams=streams)
    return found.to_read, found.unread


def test_without_a_relay_every_stream_that_is_known_counts(outbox: Outbox) -> None:
    """`status` of an outbox whose relay does not run, or whose configuration is not there, leaves none of it out."""
    seen(outbox, "001")
    seen(outbox, "002", resource="loan_draft", again=True)
    with outbox.begin() as tx:
        watermark.begin(tx, "repayment")
        watermark.begin(tx, "journal")
    repayment = Unread("repayment", "repayment", None)
    assert not_read(outbox, None) == ({"loan_draft": 1}, (Unread("journal", None, None), repayment))
    assert not_read(outbox, {"loan_draft.individual": "loan_draft"})[0] == {"loan_draft": 1}
    assert not_read(outbox, {"repayment": "repayment"}) == ({}, (repayment,)), (
        "a mapping that is not in force gives none"
    )


def test_what_is_still_to_be_read_of_a_backfill_is_what_its_own_scan_has_left(outbox: Outbox) -> None:
    streams = {"repayment": "repayment"}
    with outbox.begin() as tx:
        watermark.begin(tx, "repayment")
        scan.keep(tx, "repayment", ScanProgress(1, "backfill", NOW, total=100, done=30, at=NOW))
    assert not_read(outbox, streams)[1] == (Unread("repayment", "repayment", 70),)
    with outbox.begin() as tx:
        scan.keep(tx, "repayment", ScanProgress(1, "backfill", NOW, total=100, done=130, at=NOW))
    assert not_read(outbox, streams)[1] == (Unread("repayment", "repayment", 0),), "rows came while it was read"
    with outbox.begin() as tx:
        watermark.start_scan(tx, "repayment", "backfill", now=NOW)
    assert not_read(outbox, streams)[1] == (Unread("repayment", "repayment", None),), "that was another scan"


def test_two_loans_of_kivas_under_one_id_are_two_lines(outbox: Outbox) -> None:
    read_whole(outbox)
    lists(outbox, "001", "001")
    seen(outbox, "001")
    put(outbox, "001", **POSITION)
    deliver(outbox, "repayment")
    found = lines(outbox, "repayment")
    assert [(one.kind, one.number, one.is_ok) for one in found] == [
        (LineKind.DELIVERED, 1, True),
        (LineKind.DECIDE, 1, False),
    ]


def test_what_was_not_sent_at_closing_is_left_out_by_nobody(outbox: Outbox) -> None:
    read_whole(outbox)
    put(outbox, "001", **POSITION)
    with outbox.begin() as tx:
        store.left_scope(tx, "repayment", "001", reason="window_closed", now=NOW)
    (one,) = lines(outbox, "repayment", is_open=False)
    assert (one.kind, one.cause, one.is_ok) == (LineKind.LEFT_OUT, "window_closed", False)


def test_what_nobody_decided_before_closing_keeps_what_was_asked(outbox: Outbox) -> None:
    read_whole(outbox)
    put(outbox, "001", waits="position_fell", **POSITION)
    with outbox.begin() as tx:
        (waiting,) = query.versions(tx, "repayment", "001")
        closing.close(tx, waiting, reason="position_fell", now=NOW)
    (one,) = lines(outbox, "repayment", is_open=False)
    assert (one.kind, one.cause, one.number, one.is_ok) == (LineKind.LEFT_OUT, "position_fell", 1, False)
    with outbox.read() as tx:
        (undecided,) = listing.closed_undecided(tx)
    with outbox.begin() as tx:
        assert settlement.done(tx, undecided, by="Ana", note="seen", now=NOW)
        assert listing.closed_undecided(tx) == []
    (one,) = lines(outbox, "repayment", is_open=False)
    assert (one.cause, one.is_ok) == ("acknowledged", True)


def test_what_is_unknown_at_closing_stands_in_a_line_until_somebody_has_seen_it(outbox: Outbox) -> None:
    read_whole(outbox)
    put(outbox, "001", **POSITION)
    doubt = lose(outbox, "repayment")
    with outbox.begin() as tx:
        closed = closing.close(tx, doubt, reason="window_closed", now=later(9))
    (one,) = lines(outbox, "repayment", is_open=False)
    assert (one.kind, one.cause, one.number, one.is_ok) == (LineKind.LEFT_OUT, "closed_unknown", 1, False)
    with outbox.begin() as tx:
        settlement.done(tx, closed, by="Ana", note="seen", now=later(10))
    (one,) = lines(outbox, "repayment", is_open=False)
    assert (one.cause, one.is_ok) == ("acknowledged", True)


def test_a_position_that_is_delivered_later_answers_what_nobody_decided(outbox: Outbox) -> None:
    put(outbox, "001", waits="position_fell", **POSITION)
    with outbox.begin() as tx:
        (waiting,) = query.versions(tx, "repayment", "001")
        closing.close(tx, waiting, reason="position_fell", now=NOW)
    put(outbox, "001", '{"amount":4}', **{**POSITION, "period": "2026-11"})
    deliver(outbox, "repayment")
    with outbox.read() as tx:
        assert listing.closed_undecided(tx) == []


def test_a_correction_that_missed_the_closing_is_not_hidden_by_what_was_delivered(outbox: Outbox) -> None:
    read_whole(outbox)
    put(outbox, "001", **POSITION)
    deliver(outbox, "repayment")
    put(outbox, "001", '{"amount":2}', **POSITION)
    assert kinds(outbox, "repayment") == {"on_its_way": 1}
    with outbox.begin() as tx:
        store.left_scope(tx, "repayment", "001", reason="window_closed", now=NOW)
    assert kinds(outbox, "repayment", is_open=False) == {"left_out": 1}


def test_a_position_counts_once_a_loan_and_period(outbox: Outbox) -> None:
    for amount in ("1", "2", "3"):
        put(outbox, "001", f'{{"amount":{amount}}}', **POSITION)
        deliver(outbox, "repayment")
    put(outbox, "001", '{"amount":4}', **{**POSITION, "period": "2026-11"})
    deliver(outbox, "repayment")
    with outbox.read() as tx:
        assert tally.numbers(tx) == {
            Counted("repayment", PERIOD, "delivered"): 1,
            Counted("repayment", "2026-11", "delivered"): 1,
        }
        assert tally.differences(tx) == []


# ---------------------------------------------------------------- drafts and journals


def test_a_newer_version_behind_one_in_doubt_is_the_same_thing(outbox: Outbox) -> None:
    put(outbox)
    lose(outbox)
    put(outbox, "000000871", '{"amount":2}')
    assert kinds(outbox)["in_doubt"] == 1
    assert "waiting" not in kinds(outbox)


def test_what_differs_is_to_decide_until_a_person_has_seen_it(outbox: Outbox) -> None:
    put(outbox)
    [entry] = deliver(outbox)
    put(outbox, "000000871", '{"amount":2}')
    read_whole(outbox)
    assert kinds(outbox) == {"decide": 1}
    with outbox.begin() as tx:
        settlement.done(tx, entry, by="awa", note="corrected in PA2", now=later(9))
    assert kinds(outbox) == {"left_out": 1}
    put(outbox, "000000871", '{"amount":3}')
    assert kinds(outbox) == {"decide": 1}


def test_what_a_person_takes_back_is_looked_at_again_before_anybody_forgets_it(outbox: Outbox) -> None:
    read_whole(outbox)
    put(outbox)
    seen(outbox, "000000871", resource="loan_draft")
    [entry] = deliver(outbox)
    with outbox.begin() as tx:
        settlement.settle(tx, entry, "resend", by="awa", note="deleted in PA2", now=later(9))
        assert tally.differences(tx) == []
    assert kinds(outbox) == {"not_looked_at_yet": 1}


def test_adopted_and_delivered_are_counted_apart(outbox: Outbox) -> None:
    read_whole(outbox)
    put(outbox, "1", adopted={"kiva_id": "k"})
    put(outbox, "2", None, refusals=(Refusal("name_empty", "x"),))
    with outbox.begin() as tx:
        store.put_by_hand(tx, "3", note="typed", now=NOW)
    assert kinds(outbox) == {"adopted": 1, "delivered": 1, "refused": 1}


def test_a_state_or_reason_that_nobody_thought_of_is_to_decide(outbox: Outbox) -> None:
    put(outbox)
    (group,) = counted(outbox).entries
    situation = Situation(holds=(), sends=True, period=PERIOD, report_is_open=True)
    assert line.stand(replace(group, state="new"), situation) == (LineKind.DECIDE, "new")
    assert not AccountLine(LineKind.DECIDE, 1, "new").is_ok


# ---------------------------------------------------------------- at night


def test_the_night_puts_right_what_was_counted_wrong_and_finds_rows_that_stand_nowhere(outbox: Outbox) -> None:
    read_whole(outbox)
    put(outbox)
    deliver(outbox)
    seen(outbox, "000000999", resource="loan_draft")
    with outbox.begin() as tx:
        tx.execute(sa.update(table.tally).values(number=7))
    assert kinds(outbox) == {"delivered": 7}
    audit.run(outbox)
    assert kinds(outbox) == {"delivered": 1, "not_looked_at_yet": 1}


def test_what_was_never_counted_is_counted_at_night_and_what_nothing_stands_for_is_not(outbox: Outbox) -> None:
    put(outbox)
    deliver(outbox)
    with outbox.begin() as tx:
        right = tally.numbers(tx)
        assert right == tally.counted_anew(tx) == {Counted("loan_draft", "", "delivered"): 1}
        of_another = {"resource": "journal", "period": "", "line": "delivered", "number": 3}
        tx.execute(sa.delete(table.tally))
        tx.execute(sa.insert(table.tally).values(**of_another))
        found = tally.put_right(tx)
        assert found == [(Counted("journal", "", "delivered"), 3, 0), (Counted("loan_draft", "", "delivered"), 0, 1)]
        assert tally.differences(tx) == []
        assert {what: number for what, number in tally.numbers(tx).items() if number} == right


def test_a_loan_to_report_that_the_mis_has_in_other_letters_is_a_question_and_not_missing(outbox: Outbox) -> None:
    read_whole(outbox)
    seen(outbox, "KV/0001")
    seen(outbox, "KV/0003")
    lists(outbox, "kv/0001", "KV/0002", " KV/0003")
    found = counted(outbox).unreported
    assert (found.alike, found.unknown, found.known) == ((("kv/0001", "KV/0001"),), ("KV/0002",), 1)
    assert lines(outbox, "repayment") == (
        AccountLine(LineKind.DECIDE, 1, "perhaps_at_kiva"),
        AccountLine(LineKind.MISSING, 1),
        AccountLine(LineKind.NOT_LOOKED_AT_YET, 1, "to_be_read"),
    )
    with outbox.begin() as tx:
        meta.ALIASES.put(tx, {"kv/0001": "KV/0001"})  # somebody wrote down that it is that loan
    assert counted(outbox).unreported.alike == ()


def test_a_call_that_kiva_took_with_a_problem_is_a_line_of_its_own(outbox: Outbox) -> None:
    for loan in ("001", "002"):
        put(outbox, loan, **POSITION)
    batch = outboxes.claim(outbox, "repayment", limit=2)
    assert batch is not None
    warned = EntryVerdict(State.DELIVERED, receipt={"upload_id": 7}, evidence="warned")
    ending = Ending("accepted", body_complete=True, status=200, detail=None, problems=[{"details": "not all"}])
    outboxes.end(outbox, batch, ending, warned)
    assert lines(outbox, "repayment") == (AccountLine(LineKind.DECIDE, 2, "warned"),)
    assert counted(outbox).asked == 2
    with outbox.begin() as tx:
        first = query.find(tx, batch.entries[0].id)
        assert first is not None
        settlement.settle(tx, first, "delivered", by="awa", note="there", now=NOW)
    assert lines(outbox, "repayment") == (AccountLine(LineKind.DELIVERED, 1), AccountLine(LineKind.DECIDE, 1, "warned"))


# ---------------------------------------------------------------- what it costs


def test_what_was_found_unreported_is_kept_while_nothing_moves(outbox: Outbox) -> None:
    read_whole(outbox)
    lists(outbox, "001", "002")
    first = counted(outbox).unreported
    with outbox.read() as tx:
        given = {"period": PERIOD, "expects": True, "streams": None}
        assert census.take(tx, BOUNDS, before=first, **given).unreported is first  # type: ignore[arg-type]
    put(outbox, "001", **POSITION)
    with outbox.read() as tx:
        again = census.take(tx, BOUNDS, before=first, **given).unreported  # type: ignore[arg-type]
    assert again == Unreported(0, ("002",), 0, again.stamp)


def test_where_many_are_unreported_they_are_not_looked_for_at_each_change(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreported, "_MANY", 1)
    read_whole(outbox)
    lists(outbox, "001", "002", "003")
    with outbox.begin() as tx:
        for loan in ("001", "002", "003"):
            values = {"stream": "repayment", "key": loan, "resource": "repayment", "identity": loan, "hash": "h"}
            flags = {"in_scope": True, "baselined": False, "refused": False, "again": False}
            tx.execute(sa.insert(table.captured).values(**values, **flags, captured_at=NOW))
    first = counted(outbox).unreported
    assert first.known == 3
    put(outbox, "001", **POSITION)
    with outbox.read() as tx:
        given: dict[str, Any] = {"expects": True, "streams": {"repayment": "repayment"}, "before": first}
        assert census.take(tx, BOUNDS, period=PERIOD, recent=True, **given).unreported is first
        assert census.take(tx, BOUNDS, period=PERIOD, **given).unreported.known == 2
        assert census.take(tx, BOUNDS, period="2026-11", recent=True, **given).unreported.known == 2


FIRST_STEPS = {
    "_ENTRIES": "SCAN e USING COVERING INDEX entry_open",
    "_DISCARDED": "SEARCH e USING INDEX entry_by_state (state=?)",
    "_LEFT_AT_CLOSING": "SEARCH e USING INDEX entry_left_at_closing (period=?)",
    "_WARNED": "SCAN e USING INDEX entry_warned",
    "_ASKED_OF_CALLS": "SCAN e USING INDEX entry_warned",
    "_ASKED_OF_UNKNOWN": "SCAN entry USING INDEX entry_closed_unknown",
    "_ASKED_OF_UNDECIDED": "SCAN e USING INDEX entry_undecided",
    "_OPEN": "SCAN d USING INDEX divergence_open",
    "_SEEN": "SCAN d USING INDEX divergence_seen",
    "_UNREPORTED": "SEARCH m USING INDEX mirror_status (status=?)",
    "_TO_READ": "SCAN c USING INDEX captured_again",
}
"""Where SQLite begins: with what is not settled, never with what was delivered."""


@pytest.mark.parametrize("name", FIRST_STEPS)
def test_no_statement_of_the_account_begins_with_the_history(tmp_path: Path, name: str) -> None:
    outbox = outboxes.on_file(tmp_path)
    given = {"due_before": "", "waiting_since": "", "position_since": "", "expires_by": "", "period": PERIOD}
    text = str(next(vars(file)[name] for file in (census, unread, unreported) if name in vars(file)))
    with outbox.read() as tx:
        asked = {key: value for key, value in given.items() if f":{key}" in text}
        plan = [str(row.detail) for row in tx.execute(sa.text(f"EXPLAIN QUERY PLAN {text}"), asked)]
    outbox.close()
    assert FIRST_STEPS[name] in plan
    first = next(step for step in plan if step.startswith(("SCAN", "SEARCH")))
    assert first == FIRST_STEPS[name]
    assert not [step for step in plan if step.startswith("SCAN") and "INDEX" not in step and step != "SCAN loans"]
