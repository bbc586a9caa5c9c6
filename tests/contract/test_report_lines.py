"""The report's life, lines and decisions on both databases."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.capture import expected
from kiva_relay.outbox import decision, meta, mirror, query, report, store, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import OwedPosition
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import State
from kiva_relay.report import calendar, current, decide, facts, finalising
from kiva_relay.report.decide import LineAnswer, LineChanged
from kiva_relay.report.line import ReportLine
from kiva_relay.resource import window
from testbed.rig import capturing, outboxes
from testbed.rig.month import CLOSING, OPENING, WINDOW, listed

SETTINGS = capturing.settings(repayments=WINDOW, mis={"timezone": "UTC"}).model_copy(
    update={"resources": ("repayment",)}
)


def at(outbox: Outbox, moment: Any, **aliases: str) -> None:
    """The relay looks at this moment."""
    with outbox.begin() as tx:
        due = window.report(SETTINGS, moment)
        expected.turn(tx, due, settings=SETTINGS, aliases=aliases, now=moment)


def lists(outbox: Outbox, *loans: MirroredLoan) -> None:
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=OPENING)
        mirror.keep(tx, refresh, loans)
        mirror.end_refresh(tx, refresh, complete=True, listed=len(loans), detail=None, now=OPENING)


def owe(outbox: Outbox, loan_id: str, amount: str, *, period: str = "2026-11", **more: Any) -> None:
    body = more.pop("body", f'{{"amount":{amount}}}')
    values = {"resource": "repayment", "stream": "repayment", "period": period, "amount": amount, **more}
    with outbox.begin() as tx:
        owed = outboxes.owed(loan_id, body, **values, position=OwedPosition("cumulative_principal", lent="500"))
        store.owe(tx, owed, now=OPENING)


def send(outbox: Outbox, *, lost: bool = False) -> None:
    batch = outboxes.claim(outbox, "repayment", limit=9, seconds=30 * 86400)
    assert batch is not None
    verdict = (
        EntryVerdict(State.IN_DOUBT, reason="answer_lost")
        if lost
        else EntryVerdict(State.DELIVERED, receipt={"upload_id": "88121"})
    )
    outboxes.end(outbox, batch, outboxes.LOST if lost else outboxes.ACCEPTED, verdict)


def seen(outbox: Outbox, identity: str, **more: Any) -> None:
    with outbox.begin() as tx:
        watermark.keep(tx, capturing.seen("repayment", key=identity, identity=identity, **more), new=True)


def lines(outbox: Outbox, period: str = "2026-11") -> dict[str, ReportLine]:
    with outbox.read() as tx:
        return {one.kiva_id: one for one in current.lines_of(tx, SETTINGS, period, OPENING)}


def kinds(outbox: Outbox, period: str = "2026-11") -> dict[str, tuple[str, str]]:
    return {kiva_id: (one.kind.value, one.cause) for kiva_id, one in lines(outbox, period).items()}


@pytest.fixture
def told(outbox: Outbox) -> Outbox:
    """Of each kind a loan, in the open report of November."""
    with outbox.begin() as tx:
        meta.FIRST_START.put(tx, OPENING - timedelta(days=300))
        watermark.begin(tx, "repayment")
        watermark.end_scan(tx, watermark.watermarks(tx)["repayment"], now=OPENING)
    lists(
        outbox,
        *(listed(one) for one in ("accepted", "doubt", "fell", "gone", "older", "ready", "refused", "scope", "twice")),
        listed("twice", "Ktwice2"),
        listed("typed", client_id="C7", lent=750),
        listed("absent", lent=None),
        listed("ended", status="ended"),
    )
    for loan_id in ("accepted", "doubt", "fell", "older", "ready", "refused", "twice"):
        seen(outbox, loan_id, lent="500")
    seen(outbox, "gone", in_scope=False, gone=True)
    seen(outbox, "scope", in_scope=False)
    seen(outbox, "other", lent="750", client_id="C8")
    seen(outbox, "own", lent="750", client_id="C7")
    owe(outbox, "fell", "90", period="2026-10")
    send(outbox)
    at(outbox, OPENING)
    owe(outbox, "accepted", "100")
    owe(outbox, "older", "100")
    send(outbox)
    owe(outbox, "doubt", "100")
    send(outbox, lost=True)
    owe(outbox, "older", "110")
    owe(outbox, "fell", "50", waits="position_fell")
    owe(outbox, "ready", "10")
    owe(outbox, "refused", "10", body=None, refusals=(capturing_refusal(),))
    owe(outbox, "twice", "10", waits="id_shared_at_kiva")
    return outbox


def capturing_refusal() -> Any:
    from kiva_relay.resource.refusal import Refusal  # noqa: PLC0415

    return Refusal("amount_negative", "amount", {"value": "-1"})


OPEN = {
    "Kaccepted": ("accepted", ""),
    "Kdoubt": ("on_its_way", "in_doubt"),
    "Kfell": ("decide", "position_fell"),
    "Kgone": ("missing", "gone"),
    "Kolder": ("older_amount", ""),
    "Kready": ("on_its_way", ""),
    "Krefused": ("missing", "refused"),
    "Kscope": ("missing", "out_of_scope"),
    "Ktwice": ("decide", "id_shared_at_kiva"),
    "Ktwice2": ("decide", "id_shared_at_kiva"),
    "Ktyped": ("missing", "not_in_mis"),
    "Kabsent": ("missing", "not_in_mis"),
}
CLOSED = {
    "Kaccepted": ("accepted", ""),
    "Kdoubt": ("closed_unknown", "in_doubt"),
    "Kfell": ("closed_without", "position_fell"),
    "Kgone": ("closed_without", "gone"),
    "Kolder": ("closed_wrong", "window_closed"),
    "Kready": ("closed_without", "window_closed"),
    "Krefused": ("closed_without", "refused"),
    "Kscope": ("closed_without", "out_of_scope"),
    "Ktwice": ("closed_without", "id_shared_at_kiva"),
    "Ktwice2": ("closed_without", "id_shared_at_kiva"),
    "Ktyped": ("closed_without", "not_in_mis"),
    "Kabsent": ("closed_without", "not_in_mis"),
}


def test_each_loan_has_its_line_and_closing_keeps_its_reason(told: Outbox) -> None:
    assert kinds(told) == OPEN
    found = lines(told)
    assert [found["Kfell"].before, found["Kfell"].position] == [Decimal(90), Decimal(50)]
    assert found["Kolder"].at_kiva == Decimal(100)
    assert found["Kaccepted"].params == {"upload_id": "88121"}
    assert found["Ktyped"].params["likely_id"] == "own", "of the same amount and client"
    assert found["Krefused"].params["reasons"][0]["code"] == "amount_negative"
    at(told, CLOSING)
    assert kinds(told) == CLOSED
    kept = lines(told)
    for kiva_id, line in found.items():
        assert kept[kiva_id].amounts == line.amounts, kiva_id
    with told.read() as tx:
        assert {one.state for one in query.versions(tx, "repayment", "ready")} == {State.WITHDRAWN}
        assert query.versions(tx, "repayment", "fell")[0].reason == "position_fell"
    at(told, OPENING + timedelta(days=31))
    assert kinds(told) == CLOSED
    with told.read() as tx:
        assert [(one.period, one.closed_at is None) for one in report.every(tx)] == [
            ("2026-11", False),
            ("2026-12", True),
        ]


def test_what_a_report_that_is_over_left_is_not_sent_with_the_next(told: Outbox) -> None:
    """A relay that was off over the closing finds it ready, and its courier may look before it is ended."""
    with told.read() as tx:
        later = OPENING + timedelta(days=31)
        assert {one.identity for one in query.due(tx, "repayment", limit=9, now=later, period="2026-11")} == {
            "older", "ready"
        }  # fmt: skip
        assert query.due(tx, "repayment", limit=9, now=later, period="2026-12") == []


def test_parts_that_are_read_are_joined(told: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "PART", 2)
    assert kinds(told) == OPEN
    with told.read() as tx:
        for kiva_id, line in lines(told).items():
            assert current.line_of(tx, SETTINGS, "2026-11", kiva_id) == line
        assert current.line_of(tx, SETTINGS, "2026-11", "Kended") is None


def say(outbox: Outbox, line: ReportLine, verb: Any, value: str | None = None, **more: Any) -> int:
    with outbox.begin() as tx:
        return decide.decide(
            tx, SETTINGS, line, LineAnswer(verb, value, "why", **more), period="2026-11", by="awa", now=OPENING
        )


def test_a_decision_is_one_row_about_what_was_seen(told: Outbox) -> None:
    line = lines(told)["Kfell"]
    number = say(told, line, "send")
    with pytest.raises(LineChanged):
        say(told, line, "leave_out")
    again = say(told, lines(told)["Kfell"], "leave_out")
    assert kinds(told)["Kfell"] == ("left_out", "person")
    say(told, lines(told)["Kabsent"], "leave_out")
    assert kinds(told)["Kabsent"] == ("left_out", "person")
    with told.read() as tx:
        (first, second, _) = decision.all_of(tx, "2026-11")
        assert watermark.to_read_again(tx, "repayment", limit=99)
    assert (first.id, first.undone_by, second.id, second.undone_at) == (number, decision.REPLACED, again, None)
    assert first.seen["position"] == "50"
    at(told, CLOSING)
    assert kinds(told)["Kfell"] == ("left_out", "person")


@pytest.mark.parametrize(
    ("loan", "verb", "value", "words"),
    [
        ("Kabsent", "send", None, "gives no amount"),
        ("Kabsent", "value", "10", "does not have loan"),
        ("Kready", "keep", None, "none to keep"),
        ("Kaccepted", "send", None, "Nothing is to be decided"),
        ("Kfell", "value", "-1", "takes an amount"),
        ("Kfell", "value", "many", "takes an amount"),
        ("Ktyped", "is", "nothing", "has no loan nothing"),
        ("Ktyped", "is", "accepted", "a loan of its own"),
    ],
)
def test_what_cannot_be_decided_says_why(told: Outbox, loan: str, verb: Any, value: str | None, words: str) -> None:
    with pytest.raises(errors.UsageError, match=words):
        say(told, lines(told)[loan], verb, value)
    with told.read() as tx:
        assert decision.all_of(tx, "2026-11") == []


def test_whose_loan_it_is_holds_for_life_and_can_be_taken_back(told: Outbox) -> None:
    say(told, lines(told)["Ktyped"], "is", "own")
    with told.begin() as tx:
        aliases = decision.aliases(tx)
        assert aliases == {"typed": "own"}
        meta.ALIASES.put(tx, aliases)
    assert kinds(told)["Ktyped"] == ("missing", "not_read_yet")
    with told.begin() as tx:
        assert decide.undo(tx, "Ktyped", by="awa", note="", now=OPENING)
        assert not decide.undo(tx, "Ktyped", by="awa", note="", now=OPENING)
        assert decision.aliases(tx) == {}


def test_a_finalised_report_takes_nothing_and_can_be_reopened(told: Outbox) -> None:
    at(told, CLOSING)
    with told.begin() as tx:
        finalising.finalise(tx, SETTINGS, "2026-11", by="awa", note="", now=CLOSING)
    assert kinds(told) == CLOSED
    with pytest.raises(errors.UsageError, match="nothing more is decided"):
        say(told, lines(told)["Kfell"], "leave_out")
    with told.begin() as tx, pytest.raises(errors.UsageError, match="already"):
        finalising.finalise(tx, SETTINGS, "2026-11", by="awa", note="", now=CLOSING)
    with told.begin() as tx:
        reopened = finalising.reopen(tx, SETTINGS, "2026-11", by="awa", note="", now=CLOSING)
    assert (reopened.finalised_at, reopened.takes_late) == (None, True)
    say(told, lines(told)["Kfell"], "leave_out")
    assert kinds(told)["Kfell"] == ("left_out", "person")


def test_a_price_by_the_schedule_that_was_posted(told: Outbox) -> None:
    body = (
        '{"entreps":[{"loan_id":"gone"}],"schedule":[{"date":"2026-10-31","principal":100},'
        '{"date":"2026-11-30","principal":41.5},{"date":"2026-12-31","principal":100}]}'
    )
    outboxes.put(told, "gone", body)
    outboxes.deliver(told)
    found = lines(told)
    assert found["Kgone"].price is not None
    assert (found["Kgone"].price.amount, found["Kgone"].price.by) == (Decimal("41.5"), "posted")
    assert found["Kscope"].price is not None
    scope = found["Kscope"].price
    assert (scope.amount, scope.at_most, scope.by) == (None, Decimal(500), "unknown")
    assert found["Kaccepted"].price is None
    at(told, CLOSING)
    assert lines(told)["Kgone"].price == found["Kgone"].price


def test_a_look_in_vain_asks_for_the_report_that_opened_last_and_for_those_that_are_open(outbox: Outbox) -> None:
    """Each relay asks it every few seconds; the same report was asked for four times."""
    now = OPENING + timedelta(hours=1)
    at(outbox, now)
    asked: list[str] = []
    with outbox.begin() as tx:
        sa.event.listen(outbox.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
        due = current.due(tx, SETTINGS, now)
        assert calendar.turn(tx, SETTINGS, due, now=now)
    assert (due.period, due.is_open) == ("2026-11", True)
    assert len([sql for sql in asked if "FROM report" in sql]) == 2
