"""A month as an account: what Kiva expects, what was reported, what a person decided, and what closing keeps."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.account import balance
from kiva_relay.outbox import hold, report, watermark
from kiva_relay.outbox.state import State
from kiva_relay.report import finalising
from kiva_relay.report.decide import LineChanged
from kiva_relay.words import language, report_choice
from testbed.rig import month as months
from testbed.rig.month import CLOSING, OPENING, Month, listed

NEXT = OPENING + timedelta(days=31)


@pytest.fixture
def month(tmp_path: Path) -> Month:
    return months.begin(tmp_path)


def in_october(month: Month, *amounts: tuple[str, int]) -> None:
    """These were reported for October, and its report closed."""
    month.at(OPENING - timedelta(days=30))
    for loan_id, repaid in amounts:
        month.lend(loan_id, repaid=repaid)
    month.look()
    month.lists(*(listed(loan_id) for loan_id, _ in amounts))
    month.look()
    assert len(month.deliver()) == len(amounts)
    month.at(CLOSING - timedelta(days=30))
    with month.rig.outbox.read() as tx:
        october = report.of(tx, "2026-10")
    assert october is not None
    assert october.closed_at is not None
    month.sent.clear()


def row(month: Month, period: str = "2026-11") -> report.Report:
    with month.rig.outbox.read() as tx:
        found = report.of(tx, period)
    assert found is not None
    return found


# ---------------------------------------------------------------- the report is a thing


def test_a_report_opens_is_looked_at_last_and_closes(month: Month) -> None:
    month.lend("L1", repaid=100)
    month.lists(listed("L1"))
    month.at(OPENING - timedelta(minutes=1))
    assert month.kinds() == {"KL1": ("missing", "not_read_yet")}
    month.at(OPENING)
    assert (row(month).opened_at, row(month).looked_at) == (OPENING, None)
    assert month.kinds() == {"KL1": ("on_its_way", "")}
    assert month.deliver() == ["L1"]
    assert month.kinds() == {"KL1": ("accepted", "")}
    month.at(CLOSING - timedelta(hours=5))
    assert row(month).looked_at == month.rig.clock.now()
    month.at(CLOSING)
    assert row(month).closed_at == CLOSING
    assert month.kinds() == {"KL1": ("accepted", "")}


def test_a_clock_that_is_set_back_closes_no_report(month: Month) -> None:
    """It closed the report that had just opened, for ever; and what the MIS changed meanwhile was passed over."""
    in_october(month, ("L1", 40))
    month.at(OPENING)
    month.at(OPENING - timedelta(days=6))
    month.types("L1", repaid=Decimal(100))
    month.look()
    assert row(month).closed_at is None
    month.at(OPENING + timedelta(hours=1))
    assert row(month).closed_at is None
    assert month.deliver() == ["L1"]
    assert month.kinds() == {"KL1": ("accepted", "")}


def test_what_changes_each_day_goes_with_the_night_all_the_same(month: Month) -> None:
    """Each change was due with the next night's, and took the place of the one that was due with this one."""
    month.lend("L1", repaid=10)
    month.lists(listed("L1"))
    month.at(OPENING)
    month.deliver()
    month.sent.clear()
    for day in range(1, 4):
        month.at(OPENING + timedelta(days=day, hours=-1))
        month.types("L1", repaid=Decimal(10 + day))
        month.look()
        month.at(OPENING + timedelta(days=day))
        month.types("L1", repaid=Decimal(20 + day))
        month.look()
        month.deliver()
    assert month.sent


def test_a_relay_that_was_off_over_opening_and_closing_catches_up(month: Month) -> None:
    month.lend("L1", repaid=100)
    month.lists(listed("L1"))
    month.at(CLOSING + timedelta(days=1))
    assert row(month).closed_at is not None
    assert month.kinds() == {"KL1": ("closed_without", "not_read_yet")}
    month.at(NEXT)
    assert month.kinds("2026-12") == {"KL1": ("on_its_way", "")}
    month.at(NEXT + timedelta(days=32))
    assert month.kinds("2026-12") == {"KL1": ("closed_without", "window_closed")}
    assert month.kinds("2027-01") == {"KL1": ("on_its_way", "")}


def test_the_first_report_that_nobody_released_is_not_lost(month: Month) -> None:
    """What was held at closing was thrown away, and nobody was told."""
    with month.rig.outbox.begin() as tx:
        hold.put(tx, "repayment", "first_report", now=month.rig.clock.now())
    month.lend("L1", repaid=100)
    month.lists(listed("L1"))
    month.at(OPENING)
    assert month.kinds() == {"KL1": ("decide", "held")}
    assert month.deliver() == []
    month.at(CLOSING)
    assert month.kinds() == {"KL1": ("closed_without", "held")}
    month.at(NEXT)
    assert month.kinds() == {"KL1": ("closed_without", "held")}, "until it is finalised"
    with month.rig.outbox.begin() as tx:
        released, left = finalising.release(tx, by="awa", note="compared", now=NEXT)
    assert (released, left) == (["first_report"], [])
    assert month.deliver() == ["L1"]
    assert month.kinds("2026-12") == {"KL1": ("accepted", "")}


def test_an_empty_outbox_has_a_line_for_each_loan_that_kiva_expects(month: Month) -> None:
    month.lists(*(listed(f"L{number}") for number in range(11)))
    lines = month.lines()
    assert len(lines) == 11
    assert {(one.kind.value, one.cause) for one in lines.values()} == {("missing", "not_read_yet")}


# ---------------------------------------------------------------- what is missing


def test_a_loan_that_the_mis_does_not_give_is_missing_with_its_reason(month: Month) -> None:
    """Six of eleven were silently not reported: another id, moved out of the scope, deleted, refused."""
    for loan_id in ("L1", "L2", "L3", "L4"):
        month.lend(loan_id, repaid=100)
    month.lend("000000093", lent=750, repaid=75)
    month.look()
    month.types("L2", status="closed")
    month.types("L4", repaid="many")
    month.deletes("L3")
    month.lists(*(listed(one) for one in ("L1", "L2", "L3", "L4", "l1x")), listed("KV/93", lent=750))
    month.at(OPENING)
    found = month.kinds()
    assert found == {
        "KL1": ("on_its_way", ""),
        "KL2": ("missing", "out_of_scope"),
        "KL3": ("missing", "gone"),
        "KL4": ("missing", "refused"),
        "Kl1x": ("missing", "not_in_mis"),
        "KKV/93": ("missing", "not_in_mis"),
    }
    assert month.lines()["KKV/93"].params["likely_id"] == "000000093"
    month.decides(month.lines()["KKV/93"], "is", "000000093")
    month.look()
    assert month.kinds()["KKV/93"] == ("on_its_way", "")
    assert "KV/93" in month.deliver()
    month.at(CLOSING)
    assert month.kinds()["KL3"] == ("closed_without", "gone")


def test_an_id_in_another_case_is_asked_about(month: Month) -> None:
    month.lend("KV-1", repaid=100)
    month.lists(listed("kv-1"))
    month.at(OPENING)
    line = month.lines()["Kkv-1"]
    assert (line.kind.value, line.cause, line.params["likely_id"]) == ("decide", "perhaps_at_kiva", "KV-1")


@pytest.mark.parametrize("verb", ["keep", "send"])
def test_a_loan_that_is_numbered_anew_keeps_what_was_reported_of_it(month: Month, verb: str) -> None:
    """A fall was not noticed, and what Kiva took could not be kept: both were looked for under the new number."""
    in_october(month, ("L1", 300))
    month.types("L1", account="NEW-1", repaid=250)
    month.at(OPENING)
    assert month.kinds()["KL1"][0] == "missing"
    month.decides(month.lines()["KL1"], "is", "NEW-1")
    month.look()
    line = month.lines()["KL1"]
    assert (line.cause, line.before, line.position) == ("position_fell", Decimal(300), Decimal(250))
    assert month.deliver() == []
    month.decides(line, verb)
    month.look()
    assert month.deliver() == ["L1"]
    assert month.sent[-1] == ("L1", {"keep": "300", "send": "250"}[verb])


def test_what_is_in_doubt_as_its_report_closes_goes_once_more_when_a_person_sends_it_late(month: Month) -> None:
    """Its doubt ended unknown, and nothing was sent: the line said for ever that it was on its way."""
    month.lend("L1", repaid=100)
    month.lists(listed("L1"))
    month.at(CLOSING - timedelta(minutes=5))
    assert month.deliver(outcome="lost") == ["L1"]
    month.at(CLOSING)
    month.decides(month.lines()["KL1"], "send", late=True)
    month.look()
    assert month.deliver() == [], "the one in doubt may still arrive"
    month.passes(minutes=16)
    assert month.deliver() == ["L1"]
    line = month.lines()["KL1"]
    assert (line.kind.value, line.cause, line.at_kiva) == ("accepted", "late", Decimal(100))


def test_what_is_lost_when_it_is_sent_late_is_said_to_be_unknown(month: Month) -> None:
    month.lend("L1", repaid=100)
    month.lists(listed("L1"))
    month.at(OPENING)
    month.at(CLOSING)
    month.decides(month.lines()["KL1"], "send", late=True)
    month.look()
    assert month.deliver(outcome="lost") == ["L1"]
    month.passes(minutes=16)
    assert month.kinds()["KL1"] == ("closed_unknown", "late")
    assert month.deliver() == []


@pytest.mark.parametrize("how", ["out of scope", "gone"])
def test_what_the_mis_does_not_report_is_no_loan_in_another_case(month: Month, how: str) -> None:
    """It was asked whether it is KV-1, and who said yes was told that the MIS has no such loan."""
    month.lend("KV-1", repaid=100)
    month.look()
    if how == "gone":
        month.deletes("KV-1")
    else:
        month.types("KV-1", status="closed")
    month.lists(listed("kv-1"))
    month.at(OPENING)
    assert month.kinds()["Kkv-1"] == ("missing", "not_in_mis")
    assert "likely_id" not in month.lines()["Kkv-1"].params


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_amount_that_changes_after_its_report_closed_is_asked_about_again(month: Month, when: str) -> None:
    """Nothing went, for a decision holds for what was seen; and the line said that it was on its way."""
    month.lend("L1", repaid=100)
    month.lists(listed("L1"))
    month.at(OPENING)
    month.at(CLOSING)
    if when == "before":
        month.types("L1", repaid=110)
        month.look()
    month.decides(month.lines()["KL1"], "send", late=True)
    if when == "after":
        month.types("L1", repaid=110)
    month.look()
    assert month.deliver() == []
    line = month.lines()["KL1"]
    assert (line.kind.value, line.position) == ("closed_without", Decimal(110))
    assert line.params["answered"]["seen"]["position"] == "100"
    month.decides(line, "send", late=True)
    assert month.kinds()["KL1"] == ("on_its_way", "decided")
    month.look()
    assert month.deliver() == ["L1"]
    assert month.sent == [("L1", "110")]
    assert month.kinds()["KL1"] == ("accepted", "late")


def test_what_kiva_holds_already_is_not_on_its_way_late(month: Month) -> None:
    month.lend("L1", repaid=100)
    month.lists(listed("L1"))
    month.at(OPENING)
    assert month.deliver() == ["L1"]
    month.at(CLOSING - timedelta(hours=1))
    month.types("L1", repaid=90)
    month.look()
    month.at(CLOSING)
    assert month.kinds()["KL1"][0] == "closed_wrong"
    month.types("L1", repaid=100)
    month.look()
    month.decides(month.lines()["KL1"], "send", late=True)
    month.look()
    assert month.lines()["KL1"].position == Decimal(100), "it asks again, with the amount of now"
    month.decides(month.lines()["KL1"], "send", late=True)
    month.look()
    assert month.deliver() == []
    assert month.kinds()["KL1"] == ("accepted", "late")


def test_what_kiva_expects_no_more_is_not_on_its_way_late(month: Month) -> None:
    month.lend("L1", repaid=100)
    month.lists(listed("L1"))
    month.at(OPENING)
    month.at(CLOSING)
    month.lists(listed("L1", status="ended"))
    month.decides(month.lines()["KL1"], "send", late=True)
    month.look()
    assert month.deliver() == []
    assert month.kinds()["KL1"][0] == "closed_without"


def test_what_a_person_decides_waits_for_an_older_one_in_doubt(month: Month) -> None:
    """It was ready at once, and no position at all could be claimed until the doubt was over: the outbox refused it."""
    in_october(month, ("L1", 50))
    month.types("L1", repaid=60)
    month.at(OPENING)
    assert month.deliver(outcome="lost") == ["L1"]
    month.types("L1", repaid=40)
    month.look()
    assert month.entries("L1")[0].reason == "position_fell"
    month.decides(month.lines()["KL1"], "send")
    month.look()
    decided, doubt = month.entries("L1")[0], month.entries("L1")[2]
    assert (decided.state, decided.reason) == (State.WAITING, "older_in_flight")
    assert (doubt.state, decided.waits_for) == (State.IN_DOUBT, doubt.id)
    assert month.deliver() == [], "the one in doubt may still arrive"


# ---------------------------------------------------------------- the rules


def test_a_typing_error_is_corrected_before_the_night_and_asks_nobody(month: Month) -> None:
    """1000 for 100, sent at once, corrected five minutes later: `position_fell`, undecided, withdrawn."""
    in_october(month, ("L1", 90))
    month.at(OPENING)
    assert month.deliver() == ["L1"]
    month.rig.clock.moment = OPENING + timedelta(hours=3)
    month.types("L1", repaid=450)
    month.look()
    assert month.deliver() == [], "what changes goes at night"
    month.types("L1", repaid=100)
    month.passes(minutes=5)
    assert month.kinds() == {"KL1": ("older_amount", "")}
    month.at(OPENING + timedelta(hours=22))
    assert month.deliver() == ["L1"]
    assert month.sent == [("L1", "90"), ("L1", "100")]


def test_a_fall_below_an_upload_of_the_same_report_is_sent_and_below_the_last_closed_one_asks(month: Month) -> None:
    in_october(month, ("L1", 90))
    month.types("L1", repaid=450)
    month.at(OPENING)
    assert month.deliver() == ["L1"]
    month.types("L1", repaid=100)
    month.look()
    month.at(OPENING + timedelta(days=1))
    assert month.deliver() == ["L1"]
    month.types("L1", repaid=80)
    month.look()
    month.at(OPENING + timedelta(days=2))
    assert month.deliver() == []
    line = month.lines()["KL1"]
    assert (line.kind.value, line.cause, line.at_kiva, line.before, line.likely) == (
        "decide", "position_fell", Decimal(100), Decimal(90), Decimal(80)
    )  # fmt: skip
    month.at(CLOSING)
    closed = month.lines()["KL1"]
    assert (closed.kind.value, closed.cause) == ("closed_wrong", "position_fell")


def test_kivas_amount_and_currency_are_compared(month: Month) -> None:
    month.lend("L1", repaid=400)
    month.lend("L2", repaid=10, currency="PEN")
    month.lend("L3", repaid=10)
    month.lists(
        listed("L1", lent=300), listed("L2", currency="USD"), listed("L3", "K3a"), listed("L3 ", "K3b", lent=100)
    )
    month.at(OPENING)
    assert month.deliver() == []
    assert month.kinds() == {
        "KL1": ("decide", "position_exceeds_kiva"),
        "KL2": ("decide", "other_currency"),
        "K3a": ("decide", "id_shared_at_kiva"),
        "K3b": ("decide", "id_shared_at_kiva"),
    }
    assert month.lines()["KL1"].likely == Decimal(300)


def test_another_basis_holds_the_report_instead_of_a_thousand_falls(month: Month) -> None:
    in_october(month, ("L1", 400), ("L2", 100))
    changed = month.rig.settings.repayments.model_copy(update={"basis": "principal_outstanding"})
    month.rig.settings = month.rig.settings.model_copy(update={"repayments": changed})
    month.types("L1", repaid=410)
    month.at(OPENING)
    assert month.deliver() == []
    assert {one.cause for one in month.lines().values()} == {"basis_changed"}
    with month.rig.outbox.begin() as tx:
        released, _ = finalising.release(tx, by="awa", note="agreed with Kiva", now=OPENING)
    assert released == ["basis_changed"]
    assert sorted(month.deliver()) == ["L1", "L2"]
    assert sorted(month.sent) == [("L1", "90"), ("L2", "400")]


def test_less_than_nothing_is_never_sent(month: Month) -> None:
    """More was repaid than lent: what is still owed would be -10, which Kiva refuses, and a person could send it."""
    chosen = month.rig.settings.repayments.model_copy(update={"basis": "principal_outstanding"})
    month.rig.settings = month.rig.settings.model_copy(update={"repayments": chosen})
    month.lend("L1", lent=500, repaid=510)
    month.lists(listed("L1", lent=600))
    month.at(OPENING)
    line = month.lines()["KL1"]
    assert (line.cause, line.position, line.likely) == ("position_exceeds_principal", Decimal(-10), Decimal(0))
    assert [(each.verb, each.value) for each in report_choice.choices(line, language.of("en"))] == [
        ("value", "0"),
        ("leave_out", None),
    ]
    with pytest.raises(errors.UsageError, match="-10 is no amount that Kiva takes"):
        month.decides(line, "send")
    month.decides(line, "value", "0")
    month.look()
    assert month.deliver() == ["L1"]
    assert month.sent == [("L1", "0")]


# ---------------------------------------------------------------- decisions


@pytest.mark.parametrize(
    ("verb", "value", "sent", "kind"),
    [
        ("send", None, [("L1", "50")], "accepted"),
        ("keep", None, [("L1", "90")], "accepted"),
        ("value", "70", [("L1", "70")], "accepted"),
        ("leave_out", None, [], "left_out"),
    ],
)
def test_what_a_person_decides_is_what_goes(
    month: Month, verb: str, value: str | None, sent: list[tuple[str, str]], kind: str
) -> None:
    in_october(month, ("L1", 90))
    month.types("L1", repaid=50)
    month.at(OPENING)
    seen = month.lines()["KL1"]
    month.decides(seen, verb, value)
    with pytest.raises(LineChanged, match="has changed"):
        month.decides(seen, verb, value)
    month.look()
    month.deliver()
    assert (month.sent, month.lines()["KL1"].kind.value) == (sent, kind)
    with month.rig.outbox.begin() as tx:
        watermark.read_identities_again(tx, "repayment", ["L1"])
    month.passes(hours=1)
    assert month.deliver() == [], "a further look comes to the same"
    assert month.lines()["KL1"].kind.value == kind
    month.at(CLOSING)
    assert month.lines()["KL1"].kind.value == kind


def test_a_person_cannot_report_more_than_was_lent(month: Month) -> None:
    """A slip of the finger would go out tenfold, for nothing looks at what a person has decided."""
    in_october(month, ("L1", 90))
    month.types("L1", repaid=50)
    month.at(OPENING)
    seen = month.lines()["KL1"]
    with pytest.raises(errors.UsageError, match="more than was lent of loan L1, by the MIS and by Kiva: 500 at most"):
        month.decides(seen, "value", "700")
    assert month.lines()["KL1"].decided is None
    month.decides(seen, "value", "500")
    month.look()
    assert month.deliver() == ["L1"]


def test_a_decision_binds_to_the_amount_that_it_was_about(month: Month) -> None:
    in_october(month, ("L1", 90))
    month.types("L1", repaid=50)
    month.at(OPENING)
    month.decides(month.lines()["KL1"], "leave_out")
    month.look()
    month.types("L1", repaid=120)
    month.look()
    month.passes(days=1)
    line = month.lines()["KL1"]
    assert (line.kind.value, line.cause, line.params["answered"]["verb"]) == ("decide", "answered_before", "leave_out")
    assert month.deliver() == []
    month.decides(line, "send")
    month.look()
    assert month.deliver() == ["L1"]


def test_what_was_not_decided_at_closing_is_sent_late_or_not_at_all(month: Month) -> None:
    in_october(month, ("L1", 90), ("L2", 90))
    month.types("L1", repaid=50)
    month.types("L2", repaid=50)
    month.at(OPENING)
    month.at(CLOSING)
    assert set(month.kinds().values()) == {("closed_without", "position_fell")}
    with pytest.raises(errors.UsageError, match="has closed"):
        month.decides(month.lines()["KL1"], "send")
    month.decides(month.lines()["KL1"], "send", late=True)
    month.passes(minutes=1)
    assert month.deliver() == ["L1"]
    assert month.kinds() == {"KL1": ("accepted", "late"), "KL2": ("closed_without", "position_fell")}
    with month.rig.outbox.begin() as tx:
        finalising.finalise(tx, month.rig.settings, "2026-11", by="awa", note="", now=month.rig.clock.now())
    with pytest.raises(errors.UsageError, match="awa finalised the report"):
        month.decides(month.lines()["KL2"], "send", late=True)
    assert month.kinds() == {"KL1": ("accepted", "late"), "KL2": ("closed_without", "position_fell")}
    month.at(NEXT)
    assert {kind for kind, _ in month.kinds("2026-12").values()} == {"decide", "on_its_way"}


def test_late_ends_with_the_next_opening(month: Month) -> None:
    in_october(month, ("L1", 90))
    month.types("L1", repaid=50)
    month.at(OPENING)
    month.at(CLOSING)
    month.decides(month.lines()["KL1"], "send", late=True)
    assert month.kinds() == {"KL1": ("on_its_way", "decided")}
    month.look()
    assert month.entries("L1")[0].state is State.READY
    assert month.kinds() == {"KL1": ("on_its_way", "late")}
    month.at(NEXT)
    assert month.entries("L1")[0].period == "2026-12"
    assert next(one.state for one in month.entries("L1") if one.period == "2026-11") is State.WITHDRAWN
    assert month.kinds() == {"KL1": ("closed_without", "position_fell")}
    with pytest.raises(errors.UsageError, match="booked there"):
        month.decides(month.lines()["KL1"], "send", late=True)


def test_a_report_that_is_finalised_before_its_window_closes_sends_nothing_more(month: Month) -> None:
    in_october(month, ("L1", 90))
    month.at(OPENING)
    month.deliver()
    with month.rig.outbox.begin() as tx:
        finalising.finalise(tx, month.rig.settings, "2026-11", by="awa", note="", now=month.rig.clock.now())
    month.types("L1", repaid=95)
    month.passes(days=1)
    assert month.deliver() == []
    with month.rig.outbox.begin() as tx:
        finalising.reopen(tx, month.rig.settings, "2026-11", by="awa", note="", now=month.rig.clock.now())
    month.passes(minutes=1)
    assert month.deliver() == ["L1"], "all is computed once more"
    assert month.sent[-1] == ("L1", "95")


def test_what_is_unknown_at_closing_says_so(month: Month) -> None:
    in_october(month, ("L1", 90))
    month.types("L1", repaid=100)
    month.at(OPENING)
    month.deliver(outcome="in_doubt")
    assert month.kinds() == {"KL1": ("on_its_way", "in_doubt")}
    month.at(CLOSING)
    line = month.lines()["KL1"]
    assert (line.kind.value, line.params["sent"], line.before) == ("closed_unknown", "100", Decimal(90))
    month.at(NEXT)
    assert month.deliver() == ["L1"], "an old line never stands in the way"


# ---------------------------------------------------------------- the account says the same


GROUPS = {
    "there": {"delivered", "accepted"},
    "by itself": {"on_its_way", "in_doubt", "older_amount"},
    "left out": {"left_out"},
    "a person": {"decide", "held", "missing", "refused", "refused_by_kiva", "not_looked_at_yet", "waiting"},
}


def grouped(numbers: dict[str, int]) -> dict[str, int]:
    return {group: number for group, kinds in GROUPS.items() if (number := sum(numbers.get(kind, 0) for kind in kinds))}


def agrees(month: Month, expected: int) -> dict[str, int]:
    """The account counts by SQL what the lines say one by one; both have each loan that Kiva expects once."""
    with month.rig.outbox.read() as tx:
        account = balance.read(tx, month.rig.settings, last=None, now=month.rig.clock.now())
    by_account = Counter[str]()
    for _, one in account.each():
        by_account[one.kind.value] += one.number
    by_line = Counter(kind for kind, _ in month.kinds().values())
    assert grouped(dict(by_account)) == grouped(dict(by_line)), (by_account, by_line)
    assert by_account.total() == by_line.total() == expected
    return grouped(dict(by_line))


def test_account_and_lines_agree(month: Month) -> None:
    in_october(month, ("L1", 90), ("L2", 90), ("L3", 90), ("L4", 90))
    month.lists(*(listed(f"L{number}") for number in range(1, 8)))
    month.types("L2", repaid=50)
    month.types("L3", repaid=50)
    month.types("L4", repaid="many")
    month.lend("L5", repaid=10)
    month.lend("L6", repaid=10, status="closed")
    month.at(OPENING)
    assert agrees(month, 7) == {"by itself": 2, "a person": 5}
    month.decides(month.lines()["KL2"], "leave_out")
    month.decides(month.lines()["KL7"], "leave_out")
    month.look()
    assert agrees(month, 7) == {"by itself": 2, "a person": 3, "left out": 2}
    month.deliver(outcome="in_doubt")
    assert agrees(month, 7) == {"by itself": 2, "a person": 3, "left out": 2}
    month.types("L1", repaid=120)
    month.types("L2", repaid=140)
    month.passes(hours=1)
    assert agrees(month, 7) == {"by itself": 2, "a person": 4, "left out": 1}


def test_a_late_answer_that_is_lost_is_unknown(month: Month) -> None:
    in_october(month, ("L1", 90))
    month.types("L1", repaid=50)
    month.at(OPENING)
    month.at(CLOSING)
    month.decides(month.lines()["KL1"], "send", late=True)
    month.look()
    assert month.deliver(outcome="in_doubt") == ["L1"]
    assert month.kinds() == {"KL1": ("on_its_way", "late")}
    month.passes(hours=1)
    assert month.kinds() == {"KL1": ("closed_unknown", "late")}
    month.decides(month.lines()["KL1"], "send", late=True)
    month.look()
    assert month.deliver() == ["L1"]
    assert month.kinds() == {"KL1": ("accepted", "late")}
