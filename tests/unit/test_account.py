"""What `status` and `review` say, decided: pure values out of pure values, without a database or a server."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

import pytest

from kiva_relay import cli
from kiva_relay.account import copies, deadline, finding, health, release, slot_kept, standing, task
from kiva_relay.account.balance import Account
from kiva_relay.account.copies import Copies, Possible
from kiva_relay.account.finding import HealthFinding, Verdict
from kiva_relay.account.line import AccountLine, LineKind
from kiva_relay.account.standing import Standing
from kiva_relay.account.task import Task, When
from kiva_relay.cli import frame, health_words, hold_words
from kiva_relay.config.mail import Recipient
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import act, history, listing, mirror
from kiva_relay.outbox.discrepancy import KeptDiscrepancy
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.heartbeat import ALIVE_FOR, Heartbeat, JobHealth, Reachability, StreamHealth
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.listing import Kept
from kiva_relay.outbox.mail import MailStanding
from kiva_relay.outbox.meta import Nameless
from kiva_relay.outbox.reason import REASONS, Lifter
from kiva_relay.outbox.state import State
from kiva_relay.outbox.unread import Unread
from kiva_relay.outbox.unreported import Unreported
from kiva_relay.outbox.warned_call import WarnedCall
from kiva_relay.resource import window
from kiva_relay.resource.refusal import Refusal
from kiva_relay.source.gap import Gap
from kiva_relay.words import language
from kiva_relay.words import task as words
from testbed.rig import configuration

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
TODAY = date(2026, 11, 30)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIVA_SECRET", "s")
        return frame.load(configuration.write(tmp_path_factory.mktemp("account")))


def beating(**changes: Any) -> Heartbeat:
    good = Reachability(last_good=NOW - timedelta(seconds=2))
    values: dict[str, Any] = {
        "beats_at": NOW - timedelta(seconds=2),
        "started_at": NOW - timedelta(hours=1),
        "pid": 4711,
        "version": "0.1.0",
        "mis": good,
        "kiva": good,
    }
    return Heartbeat(**values | changes)


@pytest.fixture
def good(settings: Settings) -> Standing:
    """A relay that runs, with nothing to do."""
    return Standing(
        settings=settings,
        now=NOW,
        heartbeat=beating(),
        account=account(),
        unsettled={},
        kept=(),
        delivered_yesterday={},
        delivered_today={},
        delivered_this_month={},
        corrected={},
        cancelled={},
        doubts=(),
        refused=(),
        decisions=(),
        perhaps=(),
        divergences=(),
        warned=(),
        closed_unknown=(),
        closed_undecided=(),
        expiring=(),
        refresh=mirror.Refresh(1, NOW - MINUTE, NOW - MINUTE),
        why_incomplete="",
        taken=None,
        lists_read=NOW - MINUTE,
        marks={},
        scans={},
        report=window.RepaymentReport("2026-11", TODAY, is_open=False),
    )


def account(*unread: Unread, missing: tuple[str, ...] = (), **lines: AccountLine | tuple[AccountLine, ...]) -> Account:
    """An account with these lines, by resource."""
    given: dict[str, tuple[AccountLine, ...]] = dict.fromkeys(("loan_draft", "repayment", "journal"), ())
    for resource, mine in lines.items():
        given[resource] = (mine,) if isinstance(mine, AccountLine) else mine
    return Account(given, unread, Unreported(unknown=missing))


def entry(number: int = 1, resource: str = "loan_draft", **changes: Any) -> Entry:
    values: dict[str, Any] = dict.fromkeys(Entry.__dataclass_fields__)
    values |= {
        "id": number,
        "resource": resource,
        "loan_id": f"00000{number:04}",
        "identity": f"00000{number:04}",
        "stream": resource,
        "state": State.READY,
        "version": 1,
        "repeats": 0,
        "changed_at": NOW,
        "created_at": NOW,
        "refusals": (),
    }
    return Entry(**values | changes)


def kept(reason: str, what: str = "loan_draft", **ready: int) -> Kept:
    params = {"number": 60, "within": "1 hour", "brake": 50}
    return Kept(Hold(1, what, reason, params, NOW - MINUTE, "awa", "wait", 0), ready)


LOOKS = (
    task._look,
    task._look_at_calls,
    task._same_loan,
    task._twins,
    task._know,
    task._delete,
    task._type,
    task._changed,
    task._correct,
)


def day(days: int) -> date:
    return TODAY + timedelta(days=days)


def codes(facts: Standing) -> list[str]:
    return [one.code for one in health.findings(facts)]


# ---------------------------------------------------------------- health


def test_nothing_differs_from_normal(good: Standing) -> None:
    (one,) = health.findings(good)
    assert one == finding.AllDelivered(NOW - timedelta(seconds=2), under_way={}, due=None, waiting={})
    assert health.verdict([one]) is Verdict.OK


def test_what_is_under_way_is_normal_and_says_when_it_goes(good: Standing) -> None:
    goes = AccountLine(LineKind.ON_ITS_WAY, 3, until=NOW + MINUTE)
    (one,) = health.findings(replace(good, account=account(journal=goes)))
    assert isinstance(one, finding.AllDelivered)
    assert (one.under_way, one.due) == ({"journal": 3}, NOW + MINUTE)
    (due,) = health.findings(replace(good, account=account(journal=replace(goes, until=NOW - MINUTE))))
    assert isinstance(due, finding.AllDelivered)
    assert due.due is None


def test_what_waits_for_what_is_still_to_come_is_normal(good: Standing) -> None:
    (one,) = health.findings(
        replace(good, account=account(journal=AccountLine(LineKind.WAITING, 4, "loan_not_at_kiva")))
    )
    assert isinstance(one, finding.AllDelivered)
    assert one.waiting == {"journal": 4}
    assert "Waiting for what is still to come: 4 journals." in health_words.said(one, good)[1]


def test_a_list_that_lacks_the_same_for_three_hours_may_be_taken_as_it_is(good: Standing) -> None:
    lacks = replace(good, refresh=None, why_incomplete="+3")
    for hours, may in ((2, False), (3, True)):
        facts = replace(lacks, lacking=mirror.Lacking("+3", NOW - hours * HOUR))
        (one,) = health.findings(facts)
        assert any("release mirror" in line for line in health_words.said(one, facts)[1]) is may


AWAY = Reachability(last_good=NOW - 9 * MINUTE, away_since=NOW - 5 * MINUTE, words="503")
MADE = StreamHealth(made=True, live=True)
OLD = NOW - timedelta(days=9)
TAKEN = standing.TakenList(
    mirror.TakenReading("+3", NOW - MINUTE), act.Done(NOW - HOUR, "amina", "release", "PA2 shows all")
)

DIFFERENT: list[tuple[str, Verdict, dict[str, Any]]] = [
    ("relay_stopped", Verdict.STOPPED, {"heartbeat": None}),
    ("relay_stopped", Verdict.STOPPED, {"heartbeat": beating(beats_at=NOW - ALIVE_FOR)}),
    ("relay_mute", Verdict.STOPPED, {"heartbeat": beating(beats_at=NOW - ALIVE_FOR), "is_mute": True}),
    ("disk_full", Verdict.STOPPED, {"heartbeat": beating(no_room="7 MB left for the outbox")}),
    ("mapping_unfit", Verdict.STOPPED, {"heartbeat": beating(stopped_streams={"journal": "no column note"})}),
    ("said_differently", Verdict.NOTE, {"apart": {"other_amount": 2, "twice": 1}}),
    ("rows_nameless", Verdict.NOTE, {"nameless": {"journal": Nameless("note", ("id",), 1, (Gap(2, after="7"),))}}),
    ("kiva_away", Verdict.WAITING, {"heartbeat": beating(kiva=AWAY)}),
    ("mis_away", Verdict.WAITING, {"heartbeat": beating(mis=AWAY)}),
    ("mis_not_read_yet", Verdict.NOTE, {"heartbeat": beating(mis=Reachability())}),
    ("stream_broken", Verdict.NOTE, {"heartbeat": beating(replication=replace(MADE, live=False))}),
    ("stream_piles", Verdict.NOTE, {"heartbeat": beating(replication=replace(MADE, kept=slot_kept.MUCH + 1))}),
    ("stream_piles", Verdict.NOTE, {"heartbeat": beating(replication=replace(MADE, wal_status="unreserved"))}),
    ("list_old", Verdict.NOTE, {"heartbeat": beating(started_at=OLD - MINUTE), "refresh": mirror.Refresh(1, OLD, OLD)}),
    ("loop_stuck", Verdict.STOPPED, {"heartbeat": beating(stuck={"courier": "ValueError, see the log"})}),
    ("job_late", Verdict.NOTE, {"heartbeat": beating(jobs=(JobHealth("sweep"), JobHealth("purge", overdue=90.0)))}),
    ("list_old", Verdict.NOTE, {"refresh": mirror.Refresh(1, NOW - 4 * HOUR, NOW), "why_incomplete": "3 of 4 came"}),
    ("list_taken", Verdict.NOTE, {"refresh": mirror.Refresh(1, OLD, OLD), "why_incomplete": "+3", "taken": TAKEN}),
    ("list_taken", Verdict.NOTE, {"refresh": None, "why_incomplete": "+3", "taken": TAKEN}),
    ("list_being_read", Verdict.WAITING, {"refresh": None, "why_incomplete": "3 of 4 came"}),
    ("lists_not_given", Verdict.NOTE, {"lists_read": None}),
    ("lists_not_given", Verdict.NOTE, {"lists_read": OLD}),
    ("not_looked_at_yet", Verdict.NOTE, {"account": account(Unread("journal", None, None))}),
    ("not_looked_at_yet", Verdict.NOTE, {"account": account(journal=AccountLine(LineKind.NOT_LOOKED_AT_YET, 13))}),
    (
        "overdue",
        Verdict.NOTE,
        {"account": account(journal=AccountLine(LineKind.WAITING, 1, "incomplete", overdue=True))},
    ),
    ("overdue", Verdict.NOTE, {"account": account(journal=AccountLine(LineKind.ON_ITS_WAY, 1, overdue=True))}),
    ("for_persons", Verdict.NOTE, {"account": account(loan_draft=AccountLine(LineKind.IN_DOUBT, 1))}),
    ("for_persons", Verdict.NOTE, {"account": account(loan_draft=AccountLine(LineKind.REFUSED, 1))}),
    ("for_persons", Verdict.NOTE, {"account": account(repayment=AccountLine(LineKind.DECIDE, 1, "position_fell"))}),
    (
        "for_persons",
        Verdict.NOTE,
        {"account": account(repayment=AccountLine(LineKind.DECIDE, 1, "nobody thought of it"))},
    ),
    ("for_persons", Verdict.NOTE, {"account": account(loan_draft=AccountLine(LineKind.DECIDE, 1, "left_scope"))}),
    ("for_persons", Verdict.NOTE, {"account": account(repayment=AccountLine(LineKind.MISSING, 6))}),
    ("for_persons", Verdict.NOTE, {"account": account(repayment=AccountLine(LineKind.LEFT_OUT, 5, "window_closed"))}),
    ("clock_off", Verdict.NOTE, {"clock_off": -timedelta(days=6)}),
    ("edited_not_in_force", Verdict.NOTE, {"heartbeat": beating(edited=("journal.yaml",))}),
    ("mail_not_sent", Verdict.NOTE, {"mail": MailStanding(2, NOW - HOUR, "Connection refused")}),
]


@pytest.mark.parametrize(("code", "verdict", "changes"), DIFFERENT)
def test_each_difference_has_its_verdict(good: Standing, code: str, verdict: Verdict, changes: dict[str, Any]) -> None:
    facts = replace(good, **changes)
    found = health.findings(facts)
    assert [one.code for one in found] == [code]
    assert health.verdict(found) is verdict
    assert health.EXIT_CODES[verdict] == {"NOTE": 0, "WAITING": 3, "HELD": 1, "STOPPED": 1}[verdict.name]


def test_a_refused_address_is_named_as_long_as_it_gets_mail(good: Standing) -> None:
    refused = replace(good, mail=MailStanding(refused=(("awa@example.org", "550 no such user"),)))
    assert codes(refused) == ["all_delivered"]
    to = good.settings.mail.model_copy(update={"host": "h", "recipients": (Recipient(address="awa@example.org"),)})
    facts = replace(refused, settings=good.settings.model_copy(update={"mail": to}))
    (one,) = health.findings(facts)
    sentence, further = health_words.said(one, facts)
    assert sentence == "The mail server does not take mail for everybody. The others get theirs."
    assert "awa@example.org" in further[0]
    assert "550 no such user" in further[0]
    # With the configuration where another test has loaded one elsewhere.
    assert re.fullmatch(r"Look closer: +kiva-relay mail test( --config \S+/config\.yaml)?", further[-1])


def test_a_stopped_relay_says_nothing_of_servers_that_it_does_not_ask(good: Standing) -> None:
    last = beating(beats_at=NOW - timedelta(hours=1), kiva=AWAY, mis=AWAY, edited=("a.yaml",))
    assert codes(replace(good, heartbeat=last)) == ["relay_stopped"]


def test_drafts_wait_for_kivas_list_only_where_they_would_go(good: Standing) -> None:
    before = mirror.Refresh(1, NOW - 2 * HOUR, NOW - 2 * HOUR)
    waiting = replace(good, refresh=before, account=account(loan_draft=AccountLine(LineKind.ON_ITS_WAY, 4)))
    assert health.findings(waiting) == [finding.ListBeingRead(4, "")]
    assert codes(replace(waiting, account=account(loan_draft=AccountLine(LineKind.HELD, 4, "asked")))) == [
        "all_delivered"
    ]


def test_a_list_that_never_gets_complete_says_why(good: Standing) -> None:
    (one,) = health.findings(replace(good, refresh=None, why_incomplete="3 of 4 came"))
    assert "3 of 4 came" in "".join(health_words.said(one, good)[1])


def test_the_gravest_stands_first(good: Standing) -> None:
    last = beating(kiva=AWAY, no_room="7 MB", edited=("a.yaml",))
    found = health.findings(replace(good, heartbeat=last, kept=(kept("asked"), kept("restored_outbox", "all"))))
    assert [one.verdict.name for one in found] == ["STOPPED", "STOPPED", "HELD", "WAITING", "NOTE"]


def test_every_finding_has_a_code_of_its_own_and_words(good: Standing) -> None:
    kinds = get_args(HealthFinding)
    assert len({kind.code for kind in kinds}) == len(kinds)
    silent = good.settings.model_copy(update={"kiva": good.settings.kiva.model_copy(update={"send": False})})
    many = [
        *(changes for _, _, changes in DIFFERENT),
        {"kept": (kept("asked"),)},
        {"settings": silent},
        {},
    ]
    seen = set()
    for changes in many:
        facts = replace(good, **changes)
        for one in health.findings(facts):
            sentence, _ = health_words.said(one, facts)
            assert sentence[0].isupper() or sentence.startswith("kiva.send") or sentence[0].isdigit()
            seen.add(one.code)
            assert not set(finding.params(one)) & {"code", "verdict"}
    assert seen == {kind.code for kind in kinds}


# ---------------------------------------------------------------- holds


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_says_who_lifts_it_and_only_then_what_to_release(good: Standing, reason: str) -> None:
    (one,) = health.findings(replace(good, kept=(kept(reason, loan_draft=9),)))
    assert isinstance(one, finding.HeldBack)
    why = REASONS[reason]
    assert one.verdict is (Verdict.STOPPED if why.grave else Verdict.HELD)
    sentence, lines = hold_words.held(one, good.settings, now=NOW)
    assert why.words in sentence
    typed = [line for line in lines if "kiva-relay release" in line]
    assert bool(typed) is (why.lifter is Lifter.PERSON)
    assert not any("{" in line for line in lines), "every blank is filled, or its paragraph left out"
    assert any("--limit" in line for line in typed) is why.few_first


@pytest.mark.parametrize("reason", REASONS)
def test_a_release_leaves_what_the_relay_lifts_itself(reason: str) -> None:
    one = kept(reason)
    plan = release.plan([one], "loan_draft")
    assert (plan.go, plan.stay) == (((), (one,)) if REASONS[reason].lifts_itself else ((one,), ()))
    assert release.plan([one], "loan_draft", anyway=True).go == (one,)


def test_the_relay_lifts_what_it_can_see_is_over() -> None:
    itself = {code for code, why in REASONS.items() if why.lifts_itself}
    assert itself == {
        "destination_fault",
        "scope_missing",
        "another_partner",
        "list_unreadable",
        "clock",
        "mapping_examined",
    }
    assert {code for code, why in REASONS.items() if why.grave} == {
        "restored_outbox",
        "witness_missing",
        "mis_went_back",
    }


def test_a_release_of_a_resource_concerns_a_hold_on_everything_and_no_mapping() -> None:
    all_of_it, mapping, other = kept("asked", "all"), kept("asked", "stream:loan_draft"), kept("asked", "journal")
    holds = [all_of_it, mapping, other]
    assert release.plan(holds, "loan_draft").go == (all_of_it,)
    assert release.plan(holds, "all").go == (all_of_it,)
    assert release.plan(holds, "stream:loan_draft").go == (mapping,)


def test_a_hold_with_nothing_ready_is_mentioned_beside_one_that_keeps_something(good: Standing) -> None:
    busy, idle = kept("first_start", "loan_draft", loan_draft=3), kept("first_start", "journal")
    (one,) = health.findings(
        replace(good, kept=(busy, idle), account=account(loan_draft=AccountLine(LineKind.ADOPTED, 2)))
    )
    assert one == finding.HeldBack(busy, also=("journal",), few_first=False, adopted={"loan_draft": 2})
    assert len(health.findings(replace(good, kept=(kept("brake"), idle)))) == 2


@pytest.mark.parametrize("reason", REASONS)
def test_what_a_reason_says_to_type_exists(reason: str) -> None:
    typed = "\n".join([*REASONS[reason].known, *(command for _, command in REASONS[reason].look)])
    for command in re.findall(r"kiva-relay ([a-z]+(?: [a-z]+)?)", typed):
        assert command in cli.COMMANDS or command.split()[0] in cli.COMMANDS, command


def test_what_is_known_of_a_hold_has_its_parameters_filled_in() -> None:
    assert kept("brake").hold.known()[0] == "60 became owed within 1 hour; delivery.brake is 50."
    assert kept("asked").hold.known() == ["awa held it: “wait”"]
    back = replace(kept("mis_went_back").hold, params={"stream": "journal", "was": 90, "highest": 40})
    assert back.known()[0] == "journal: its highest key was 90, and is 40 now."
    assert len(back.known()) == 3
    fault = replace(kept("destination_fault").hold, params={"status": "403", "path": "/v3/x", "hint": None})
    assert [line[:26] for line in fault.known()] == ["Kiva answered 403 to /v3/x"]
    said = replace(fault, params={"said": "Kiva refuses the credentials", "hint": "kiva.client_id"})
    assert said.known() == ["Kiva refuses the credentials", "kiva.client_id"]


# ---------------------------------------------------------------- deadlines


def test_drafts_that_expire_within_a_week_are_a_deadline(good: Standing) -> None:
    soon, later = entry(1, publish_by=day(7)), entry(2, publish_by=day(8))
    assert list(deadline.deadlines(replace(good, expiring=(soon, later)))) == [deadline.PublishBy(day(7), (soon,))]
    assert list(deadline.deadlines(replace(good, expiring=(later,)))) == []


@pytest.mark.parametrize(
    "kind", set(LineKind) - {LineKind.DELIVERED, LineKind.ADOPTED, LineKind.LEFT_OUT}, ids=lambda kind: kind.value
)
def test_the_report_is_a_deadline_while_it_is_open(good: Standing, kind: LineKind) -> None:
    closes = NOW + timedelta(days=2)
    report = replace(good.report, is_open=True, closes=closes)
    lines = (AccountLine(kind, 5), AccountLine(LineKind.DELIVERED, 7), AccountLine(LineKind.LEFT_OUT, 1, "person"))
    facts = replace(good, report=report, account=account(repayment=lines))
    assert list(deadline.deadlines(facts)) == [deadline.ReportCloses(closes, 5)]
    assert list(deadline.deadlines(replace(facts, report=replace(report, is_open=False)))) == []


# ---------------------------------------------------------------- tasks


def publish(facts: Standing, *drafts: Entry) -> list[Task]:
    return list(task._publish(facts, [listing.Unpublished(one, [], []) for one in drafts]))


@pytest.mark.parametrize(
    ("days", "when", "kind"),
    [
        (-1, When.TODAY, task.TooOldToPublish),
        (0, When.TODAY, task.PublishSoon),
        (1, When.TODAY, task.PublishSoon),
        (2, When.THIS_WEEK, task.PublishSoon),
        (7, When.THIS_WEEK, task.PublishSoon),
        (8, When.LATER, task.PublishLater),
    ],
)
def test_a_draft_is_the_more_urgent_the_nearer_its_last_day(good: Standing, days: int, when: When, kind: type) -> None:
    (one,) = publish(good, entry(publish_by=day(days)))
    assert (type(one), one.when) == (kind, when)


def test_a_draft_without_a_last_day_is_never_too_late(good: Standing) -> None:
    (one,) = publish(good, entry())
    assert (one.when, one.day) == (When.LATER, None)


def test_tasks_are_sorted_by_the_day_on_which_it_is_too_late(good: Standing) -> None:
    report = replace(good.report, is_open=True, closes=NOW + timedelta(days=3))
    facts = replace(good, report=report, decisions=(entry(9, "repayment", reason="position_fell"),))
    found = [
        *task._confirm(facts, [entry(8, "journal", settled_at=NOW)]),
        *publish(facts, entry(1, publish_by=day(5)), entry(2, publish_by=day(20)), entry(3, publish_by=day(-2))),
        *task._decide(facts, {}),
        *task._look(replace(facts, doubts=(entry(4), entry(5, "journal")))),
    ]
    in_order = [(one.kind, one.day) for one in task.in_order(found)]
    assert in_order == [
        ("too_old", TODAY),
        ("look", TODAY),
        ("look", TODAY),
        ("decide", day(3)),
        ("publish", day(5)),
        ("publish", day(20)),
        ("confirm", None),
    ]


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, False),
        ({"account": account(loan_draft=AccountLine(LineKind.HELD, 1, "asked"))}, True),
        ({"heartbeat": None}, True),
        ({"heartbeat": beating(kiva=AWAY)}, True),
    ],
)
def test_drafts_are_typed_by_hand_only_where_the_relay_cannot_send_them(
    good: Standing, changes: dict[str, Any], *, asked: bool
) -> None:
    facts = replace(good, expiring=(entry(publish_by=day(3)),), **changes)
    assert [one.kind for one in task._type(facts)] == (["expiring"] if asked else [])


def test_a_journal_nobody_confirmed_for_two_weeks_becomes_urgent(good: Standing) -> None:
    fresh, old = (entry(settled_at=NOW - timedelta(days=days)) for days in (14, 15))
    assert [one.when for one in task._confirm(good, [fresh])] == [When.LATER]
    assert [one.when for one in task._confirm(good, [fresh, old])] == [When.THIS_WEEK]


@pytest.mark.parametrize("spoken", ["en", "fr", "es"])
def test_every_task_has_a_title(good: Standing, spoken: str) -> None:
    changed, gone = (
        history.Divergence(entry(n), kind, [], [Refusal("name_empty", "name")], NOW, None, None)
        for n, kind in ((1, "changed"), (2, "left_scope"))
    )
    refused = entry(3, state=State.REFUSED, refusals=(Refusal("name_empty", "entreps[0].first_name").to_json(),))
    facts = replace(
        good,
        heartbeat=None,
        doubts=(entry(4),),
        divergences=(changed, gone),
        refused=(refused,),
        decisions=(entry(5, "repayment", reason="position_fell", amount=100),),
        expiring=(entry(6, publish_by=day(1)),),
        perhaps=((entry(11), ["kv/0011"]),),
        twins=((entry(16, publish_by=day(9)), ("000000015",)),),
        warned=(WarnedCall((entry(12, "repayment"), entry(13, "repayment")), "88121", ["not all could be read"]),),
        closed_unknown=(listing.ClosedUnknown(entry(14, "repayment", period="2026-10"), "150", "100"),),
        closed_undecided=(entry(15, "repayment", reason="position_fell", amount="100"),),
        account=account(repayment=AccountLine(LineKind.MISSING, 1), missing=("000000099",)),
    )
    confirm = entry(7, "journal", receipt={"confirm_url": "https://k/1"}, settled_at=NOW)
    found = [
        *publish(facts, entry(8, publish_by=day(-1)), entry(9, publish_by=day(1)), entry(10)),
        *task._confirm(facts, [confirm]),
        *(one for look in LOOKS for one in look(facts)),
        *task._decide(facts, {}),
        *task._find(facts),
        *task._undecided(facts, {15: entry(5, "repayment", amount="120", period="2026-09")}),
        *task._apart([KeptDiscrepancy("twice", "kiva:1", "1", "000000001", None, {"others": "2"}, id=7)]),
    ]
    assert {type(one) for one in found} == set(get_args(Task))
    for one in found:
        title, lines = words.said(one, facts, language.of(spoken))
        assert title
        assert all(f"{each.loan_id}" in "\n".join(lines) for each in one.entries)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account", account(loan_draft=AccountLine(LineKind.DECIDE, 1, "perhaps_at_kiva"))),
        ("warned", (WarnedCall((entry(12, "repayment"),), "88121", ["no"]),)),
        ("closed_unknown", (listing.ClosedUnknown(entry(14, "repayment", period="2026-10"), "150", None),)),
        ("closed_undecided", (entry(15, "repayment", reason="position_fell"),)),
        ("account", account(repayment=AccountLine(LineKind.LEFT_OUT, 1, "position_fell"))),
    ],
)
def test_what_a_person_has_not_answered_is_not_ok(good: Standing, field: str, value: Any) -> None:
    (found,) = health.findings(replace(good, **{field: value}))
    assert (found.code, found.verdict) == ("for_persons", finding.Verdict.NOTE)


def test_a_problem_of_a_call_is_asked_in_kivas_words(good: Standing) -> None:
    call = WarnedCall((entry(12, "repayment"), entry(13, "repayment")), "88121", ["not all could be read"])
    (one,) = task._look_at_calls(replace(good, warned=(call,)))
    title, _lines = words.said(one, good, language.of("en"))
    assert title == "Kiva says of upload 88121: “not all could be read”. Are its 2 amounts repaid there?"


def test_what_is_unknown_says_what_was_sent_and_what_kiva_may_hold(good: Standing) -> None:
    unknown = listing.ClosedUnknown(entry(14, "repayment", period="2026-10"), "150", "100")
    (one,) = task._know(replace(good, closed_unknown=(unknown,)))
    _title, lines = words.said(one, good, language.of("en"))
    assert "October 2026's report: we sent 150, Kiva may hold 100" in lines[0]


@pytest.mark.parametrize(("repeats", "asked"), [(0, False), (5, False), (6, True)])
def test_a_position_in_doubt_is_asked_about_when_it_is_not_sent_again(
    good: Standing, *, repeats: int, asked: bool
) -> None:
    doubt = entry(1, "repayment", state=State.IN_DOUBT, reason="answer_lost", repeats=repeats)
    assert bool(list(task._look(replace(good, doubts=(doubt,))))) is asked


# ---------------------------------------------------------------- copies


@pytest.mark.parametrize(
    ("outcomes", "possible"),
    [
        ([], Possible.NONE),
        (["refused", "not_processed"], Possible.NONE),
        (["accepted"], Possible.ONE),
        (["in_doubt"], None),
        (["in_doubt", "accepted"], Possible.SEVERAL),
        (["in_doubt", "in_doubt"], Possible.SEVERAL),
    ],
)
def test_how_many_drafts_of_a_loan_may_be_at_kiva(outcomes: list[str], possible: Possible | None) -> None:
    attempts = [
        history.Attempt(n, n, NOW, NOW, outcome, body_complete=True, status=None, detail=None, entries=1)
        for n, outcome in enumerate(outcomes)
    ]
    one = history.History(entry(), attempts, acts=[], divergences=[], versions=[], looked_at=None)
    assert copies.copies([one]) == ([] if possible is None else [Copies("loan_draft", possible)])


def test_two_journals_of_a_loan_are_no_copies() -> None:
    two = [
        history.History(entry(n, "journal"), [], acts=[], divergences=[], versions=[], looked_at=None) for n in (1, 2)
    ]
    assert copies.copies(two) == []
