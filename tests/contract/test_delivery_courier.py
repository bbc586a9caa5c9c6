"""The courier and the refresher against a Kiva that answers what the test wrote down, on both databases."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.clock import SteadyClock
from kiva_relay.delivery import access, context, start, stop
from kiva_relay.delivery.breaker import Asked
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.courier import Courier
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.delivery.token import SCOPES
from kiva_relay.outbox import catalogue, clock_step, hold, meta, mirror, query, store, table, upload
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import State
from kiva_relay.resource.refusal import Refusal
from testbed.rig import outboxes, scripted_kiva
from testbed.rig.scripted_kiva import LOST, UNREACHED, ScriptedKiva, answer
from testbed.rig.set_clock import SetClock

LOAN = "000000871"


@dataclass
class Rig:
    """A relay's delivery, its Kiva and its clock."""

    folder: Path
    outbox: Outbox
    kiva: ScriptedKiva = field(default_factory=ScriptedKiva)
    clock: SetClock = field(default_factory=scripted_kiva.clock)
    more: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.hour = SteadyClock(self.clock)
        self.context = scripted_kiva.context(self.folder, self.outbox, self.kiva, self.hour, *self.more)
        self.steps: list[str] = []
        self.stop = threading.Event()
        self.courier = Courier(self.context, stop=self.stop, at=self.steps.append)
        self.refresher = Refresher(self.context, at=self.steps.append)

    def look(self) -> bool:
        self.clock.passes(1)
        clock_step.follow(self.outbox, self.hour, boot="one")  # as the main thread does, twice a second
        return self.refresher.look()

    def owe(self, identity: str = LOAN, resource: str = "loan_draft", **changes: Any) -> Entry:
        more = {"period": "2026-11"} if resource == "repayment" else {}
        values: dict[str, Any] = {"stream": resource, "resource": resource, "due_at": self.clock.now()} | more | changes
        with self.outbox.begin() as tx:
            entry = store.owe(tx, outboxes.owed(identity, **values), now=self.clock.now())
        assert entry is not None
        return entry

    def deliver(self) -> int:
        self.clock.passes(1)
        return self.courier.deliver()

    def entry(self, identity: str = LOAN, resource: str = "loan_draft") -> Entry:
        with self.outbox.read() as tx:
            return query.versions(tx, resource, identity)[0]

    def holds(self) -> list[tuple[str, str]]:
        with self.outbox.read() as tx:
            return [(held.what, held.reason) for held in hold.in_force(tx)]

    def attempts(self) -> list[tuple[Any, ...]]:
        columns = table.attempt.c
        query_ = sa.select(columns.outcome, columns.status, columns.body_complete, columns.detail, columns.fence)
        with self.outbox.read() as tx:
            return [tuple(row) for row in tx.execute(query_.order_by(columns.id))]


@pytest.fixture
def rig(tmp_path: Path, outbox: Outbox) -> Iterator[Rig]:
    made = Rig(tmp_path, outbox)
    assert made.look(), "the list is read whole"
    made.steps.clear()
    yield made
    made.context.witness.close()


# ---------------------------------------------------------------- sending


def test_a_draft_goes_in_five_steps(rig: Rig) -> None:
    rig.owe()
    assert rig.deliver() == 1
    assert rig.steps == ["claimed", "testified", "answered", "settled"]
    found = rig.entry()
    assert (found.state, found.evidence, found.receipt) == (State.DELIVERED, "receipt", {"loan_draft_uuid": "u"})
    assert rig.attempts() == [("accepted", 200, True, None, 3)]
    [(path, content, token, key)] = rig.kiva.posts
    assert (path, content, token) == ("/v3/partner/123/loan_draft", b'{"amount":1}', "t1")
    assert len(key) == 36
    with rig.outbox.read() as tx:
        outbox_id = meta.OUTBOX_ID.get(tx)
    memory = rig.context.witness.memory()
    assert [(told.outbox_id, told.identities) for told in memory.sent] == [(outbox_id, (LOAN,))]
    assert list(memory.answers.values()) == [{LOAN: {"loan_draft_uuid": "u"}}]
    assert rig.deliver() == 0


def test_positions_go_together_drafts_alone_in_their_order(rig: Rig) -> None:
    for number in range(4):
        rig.owe(f"{number}", "repayment")
        rig.owe(f"{number}", "loan_draft")
    assert rig.deliver() == 6
    sizes = [(path.rsplit("/", 1)[1], content.count(b"amount")) for path, content, *_ in rig.kiva.posts]
    assert sizes == [("repayments", 3), ("repayments", 1)] + [("loan_draft", 1)] * 4


def test_a_heap_of_drafts_does_not_keep_the_others_waiting(rig: Rig) -> None:
    for number in range(7):
        rig.owe(f"{number}")
    rig.owe("9", "journal")
    rig.deliver()
    kinds = [path.rsplit("/", 1)[1] for path, *_ in rig.kiva.posts]
    assert kinds == ["loan_draft"] * 5 + ["journals"] + ["loan_draft"] * 2


def test_asked_to_stop_it_claims_nothing_more(rig: Rig) -> None:
    rig.owe()
    rig.stop.set()
    assert rig.deliver() == 0
    assert rig.kiva.posts == []


def test_what_is_not_due_waits(rig: Rig) -> None:
    rig.owe(due_at=rig.clock.now() + timedelta(seconds=10))
    assert rig.deliver() == 0
    rig.clock.passes(8)
    assert rig.deliver() == 1


# ---------------------------------------------------------------- what an answer does


@pytest.mark.parametrize(
    ("said", "state", "reason", "attempt"),
    [
        (answer(422, "no"), State.REFUSED, None, ("refused", 422, True, '"no"', 3)),
        (LOST, State.IN_DOUBT, "answer_lost", ("in_doubt", None, True, "ReadTimeout: lost", 3)),
        (answer(502, "bad"), State.IN_DOUBT, "answer_lost", ("in_doubt", 502, True, '"bad"', 3)),
        (answer(200, {"odd": 1}), State.IN_DOUBT, "strange_answer", ("in_doubt", 200, True, '{"odd": 1}', 3)),
        (
            answer(200, {"code": "error", "message": "no", "loan_draft_uuid": ""}),
            State.IN_DOUBT,
            "strange_answer",
            ("in_doubt", 200, True, '{"code": "error", "message": "no", "loan_draft_uuid": ""}', 3),
        ),
        (UNREACHED, State.READY, None, ("not_processed", None, False, "ConnectError: refused", 3)),
    ],
)
def test_what_an_answer_makes_of_a_draft(
    rig: Rig, said: Answer, state: State, reason: str | None, attempt: tuple[Any, ...]
) -> None:
    rig.owe()
    rig.kiva.answers.append(said)
    assert rig.deliver() == 1
    assert (rig.entry().state, rig.entry().reason) == (state, reason)
    assert rig.attempts() == [attempt]
    assert len(rig.kiva.posts) == 1
    told = {State.REFUSED: [{LOAN: None}], State.READY: [{LOAN: None}], State.IN_DOUBT: [{}]}
    assert list(rig.context.witness.memory().answers.values()) == told[state]
    assert rig.holds() == []


def test_kiva_asks_to_come_back_later(rig: Rig) -> None:
    rig.owe()
    rig.kiva.answers.append(answer(429, retry_after="90"))
    rig.deliver()
    asked_at = rig.clock.now()
    assert rig.entry().due_at == asked_at + timedelta(seconds=90)
    assert rig.context.destination.pause() == timedelta(seconds=90)
    rig.owe("other")
    rig.clock.passes(80)
    assert rig.deliver() == 0, "nothing else goes either"
    rig.clock.passes(9)
    assert rig.deliver() == 2


def test_a_refused_batch_is_halved_until_the_culprit_stands_alone(rig: Rig) -> None:
    for loan in ("A", "B"):
        rig.owe(loan, "repayment")
    rig.kiva.answers += [answer(422, "no"), answer(422, "no")]
    assert rig.deliver() == 3
    assert [rig.entry(loan, "repayment").state for loan in ("A", "B")] == [State.REFUSED, State.DELIVERED]


def test_a_call_of_positions_that_kiva_took_is_an_upload_with_its_problems(rig: Rig) -> None:
    for loan in ("A", "B", "C"):
        rig.owe(loan, "repayment")
    problem = {"loan_id": "B", "severity": "error", "code": "x", "details": "no such loan"}
    rig.kiva.answers += [answer(200, {"upload_id": 88121, "problems": [problem]}), LOST]
    rig.deliver()
    rig.owe("D", "repayment")
    rig.deliver()
    with rig.outbox.read() as tx:
        (only,) = upload.of(tx, "2026-11")
        assert (only.upload_id, only.problems, only.loans) == ("88121", [problem], 3)
        assert upload.of(tx, "2026-10") == []


def test_after_a_lost_answer_something_harmless_must_succeed(rig: Rig) -> None:
    rig.owe("A")
    rig.owe("B")
    rig.kiva.answers.append(LOST)
    assert rig.deliver() == 1
    assert rig.deliver() == 0
    rig.look()
    assert rig.deliver() == 1


def test_three_lost_answers_hold_the_resource_and_a_release_counts_from_zero(rig: Rig) -> None:
    for number in range(stop.MOST_DOUBTS + 2):
        rig.owe(f"{number}")
    for lost in range(1, stop.MOST_DOUBTS + 1):
        rig.kiva.answers.append(LOST)
        rig.look()
        assert rig.deliver() == 1
        assert rig.holds() == ([("loan_draft", "many_in_doubt")] if lost == stop.MOST_DOUBTS else [])
    rig.look()
    assert rig.deliver() == 0
    with rig.outbox.begin() as tx:
        hold.release(tx, "loan_draft", by="awa", note="looked", now=rig.clock.now())
    rig.kiva.answers.append(LOST)
    assert rig.deliver() == 1
    assert rig.holds() == []


def test_ten_refusals_hold_the_resource(rig: Rig) -> None:
    for number in range(stop.MOST_REFUSALS + 1):
        rig.owe(f"{number}")
        rig.kiva.answers.append(answer(422, "no"))
    assert rig.deliver() == stop.MOST_REFUSALS
    assert rig.holds() == [("loan_draft", "many_refusals")]


# ---------------------------------------------------------------- token and blame


def test_a_refused_token_is_replaced_once_then_the_resource_is_held(rig: Rig) -> None:
    rig.owe()
    rig.kiva.answers += [answer(401), answer(401), answer(401)]
    assert rig.deliver() == 2
    assert [token for _path, _content, token, _key in rig.kiva.posts] == ["t1", "t2"]
    assert rig.holds() == [("loan_draft", "destination_fault")]
    with rig.outbox.read() as tx:
        assert hold.in_force(tx)[0].params == {"status": "401", "path": "/v3/partner/123/loan_draft"}
    rig.clock.passes(access.TRY_AGAIN_AFTER.total_seconds() - 10)
    assert rig.deliver() == 0
    rig.clock.passes(10)
    assert rig.deliver() == 1, "it is tried once more"
    assert rig.holds() == [("loan_draft", "destination_fault")]
    rig.clock.passes(access.TRY_AGAIN_AFTER.total_seconds())
    assert rig.deliver() == 1
    assert (rig.holds(), rig.entry().state) == ([], State.DELIVERED)


def test_another_fault_of_ours_is_held_at_once_and_only_its_resource(rig: Rig) -> None:
    rig.owe()
    rig.owe("9", "journal")
    rig.kiva.answers.append(answer(404))
    assert rig.deliver() == 2
    assert rig.holds() == [("loan_draft", "destination_fault")]
    assert rig.entry().state is State.READY
    assert rig.kiva.tokens == 1


def test_an_accepted_request_makes_the_next_refusal_worth_a_new_token(rig: Rig) -> None:
    for loan in ("A", "B"):
        rig.owe(loan)
    rig.kiva.answers += [answer(401), answer(200, {"loan_draft_uuid": "u"}), answer(403)]
    assert rig.deliver() == 4
    assert rig.kiva.tokens == 3
    assert rig.holds() == []


def test_a_missing_permission_holds_its_resource_until_it_is_granted(rig: Rig) -> None:
    rig.kiva.scopes = ("read:loans", "create:journal_update")
    rig.context.tokens.refuse(rig.context.tokens.current())
    rig.owe()
    rig.owe("9", "journal")
    assert rig.deliver() == 1
    assert rig.holds() == [("loan_draft", "scope_missing")]
    with rig.outbox.read() as tx:
        assert hold.in_force(tx)[0].params == {"scope": "create:loan_draft"}
    rig.kiva.scopes = ("read:loans", "create:loan_draft")
    rig.clock.passes(access.TRY_AGAIN_AFTER.total_seconds())
    assert rig.deliver() == 0, "the token in force is older than the grant"
    rig.clock.passes(access.TRY_AGAIN_AFTER.total_seconds())
    assert rig.deliver() == 1
    assert rig.holds() == []


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refused_credentials_hold_everything_until_kiva_answers(rig: Rig, status: int) -> None:
    rig.owe()
    rig.context.tokens.refuse(rig.context.tokens.current())
    rig.kiva.token = answer(status)
    assert rig.deliver() == 0
    assert rig.holds() == [("all", "destination_fault")]
    with rig.outbox.read() as tx:
        params = hold.in_force(tx)[0].params
    assert str(status) in params["said"]
    assert "kiva.client_secret" in params["hint"]
    assert rig.context.destination.pause() > timedelta(0)
    rig.kiva.token = None
    rig.clock.passes(3_700)
    assert rig.look()
    assert rig.holds() == []
    assert rig.deliver() == 1


def test_a_token_server_that_is_away_is_nobodys_fault(rig: Rig) -> None:
    rig.owe()
    rig.context.tokens.refuse(rig.context.tokens.current())
    rig.kiva.token = answer(500)
    assert rig.deliver() == 0
    assert rig.holds() == []
    assert rig.context.destination.down_since is not None
    assert "it answered 500" in rig.context.destination.last_words


def test_a_persons_hold_is_not_lifted_by_a_try(rig: Rig) -> None:
    rig.owe()
    with rig.outbox.begin() as tx:
        hold.put(tx, "loan_draft", "destination_fault", now=rig.clock.now())
        hold.put(tx, "loan_draft", "asked", now=rig.clock.now())
    rig.clock.passes(3_600)
    assert rig.deliver() == 0
    assert len(rig.holds()) == 2


# ---------------------------------------------------------------- what stops it


def test_a_hold_lets_its_allowance_pass(rig: Rig) -> None:
    for number in range(3):
        rig.owe(f"{number}")
    with rig.outbox.begin() as tx:
        hold.put(tx, hold.ALL, "first_start", now=rig.clock.now())
        hold.release(tx, hold.ALL, by="awa", note="two", now=rig.clock.now(), limit=2)
    assert rig.deliver() == 2
    assert rig.deliver() == 0


def test_drafts_wait_until_the_list_was_read_whole_since_the_start(tmp_path: Path, outbox: Outbox) -> None:
    rig = Rig(tmp_path, outbox)
    rig.owe()
    rig.owe("9", "journal")
    assert rig.deliver() == 1
    rig.look()
    assert rig.deliver() == 1
    rig.context.witness.close()


def test_a_full_disk_stops_it_before_anything_is_claimed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.owe()
    monkeypatch.setattr(context, "FREE_BYTES", 2**62)
    assert rig.deliver() == 0
    assert rig.attempts() == []
    assert "MB left for the" in rig.context.no_room
    monkeypatch.setattr(context, "FREE_BYTES", 1)
    assert rig.deliver() == 1
    assert rig.context.no_room == ""


def test_a_shadow_sends_nothing(tmp_path: Path, outbox: Outbox) -> None:
    rig = Rig(tmp_path, outbox)
    kiva = rig.context.settings.kiva.model_copy(update={"send": False})
    rig.context.settings = rig.context.settings.model_copy(update={"kiva": kiva})
    rig.look()
    rig.owe()
    assert rig.deliver() == 0
    assert rig.entry().state is State.READY
    rig.context.witness.close()


def test_what_the_witness_cannot_write_is_put_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.owe()

    def fails(**_more: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(rig.context.witness, "testify", fails)
    assert rig.deliver() == 0
    assert rig.kiva.posts == []
    found = rig.entry()
    assert (found.state, found.due_at) == (State.READY, rig.clock.now() + timedelta(minutes=1))
    assert rig.attempts() == [("not_processed", None, False, "no space", 3)]


def test_an_outbox_that_was_put_back_sends_nothing_more(rig: Rig) -> None:
    rig.owe()
    rig.deliver()
    rig.owe("other")
    with rig.outbox.begin() as tx:
        for gone in (table.attempt, table.batch_member, table.batch):
            tx.execute(sa.delete(gone))
    with pytest.raises(errors.OutboxPutBack, match="put back to an older state"):
        rig.deliver()
    assert len(rig.kiva.posts) == 1


def test_an_answer_that_cannot_be_stored_is_kept_until_it_can(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.owe()
    begin, failures = rig.outbox.begin, [errors.OutboxAway("locked"), errors.OutboxAway("locked")]

    def sometimes(**more: Any) -> Any:
        if rig.steps[-1:] == ["answered"] and failures:
            raise failures.pop()
        return begin(**more)

    monkeypatch.setattr(rig.outbox, "begin", sometimes)
    assert rig.deliver() == 1
    assert failures == []
    assert rig.entry().state is State.DELIVERED
    assert len(rig.kiva.posts) == 1


# ---------------------------------------------------------------- adoption


def test_what_kiva_lists_is_adopted_and_not_sent(rig: Rig) -> None:
    rig.owe()
    with rig.outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=rig.clock.now())
        mirror.keep(tx, refresh, [mirror.MirroredLoan("k1", LOAN, "", "fundRaising")])
    assert rig.deliver() == 0
    found = rig.entry()
    assert (found.state, found.evidence) == (State.DELIVERED, "adopted")
    assert found.receipt == {"kiva_id": "k1", "status": "fundRaising"}


def test_the_list_is_read_before_a_report_opens_and_before_its_last_look(tmp_path: Path, outbox: Outbox) -> None:
    """By the list is known who is expected: it must not be of yesterday, whatever mirror.refresh_every says."""
    rig = Rig(tmp_path, outbox, more=("mirror: {refresh_every: 1d}",))
    monthly = rig.context.settings.repayments.model_copy(update={"when": "window"})
    rig.context.settings = rig.context.settings.model_copy(update={"repayments": monthly})

    def read_between(day: int, hour: int) -> list[str]:
        """When the list was read in the hour before and after."""
        begin = datetime(2026, 12, day, hour, tzinfo=UTC) - timedelta(hours=1)
        rig.clock.passes((begin - rig.clock.now()).total_seconds())
        rig.look()
        rig.refresher.look_ahead()
        rig.look()
        found = []
        for _ in range(24):
            rig.clock.passes(300)
            rig.refresher.look_ahead()
            found += [f"{rig.clock.now():%H:%M}"] if rig.refresher.look() else []
        return found

    assert read_between(1, 6) == ["05:45"], "it opens at 06:00"
    assert read_between(5, 6) == []
    assert read_between(10, 12) == ["11:45"], "its last look begins at 12:00"
    rig.context.witness.close()


def test_a_reading_adopts_what_was_not_sent_and_wakes_journals(rig: Rig) -> None:
    rig.owe()
    rig.owe("refused", body=None, refusals=(Refusal("name_empty"),))
    rig.owe("n1", "journal", loan_id="J", waits="loan_not_at_kiva")
    rig.owe("n2", "journal", loan_id="K", waits="loan_not_at_kiva")
    rig.kiva.loans = {LOAN: "issue", "refused": "payingBack", "J": "raised"}
    rig.clock.passes(3_600)
    assert rig.look()
    assert [rig.entry(one).evidence for one in (LOAN, "refused")] == ["adopted", "adopted"]
    assert rig.entry("n1", "journal").state is State.READY
    assert rig.entry("n2", "journal").state is State.WAITING


def test_a_journal_does_not_go_to_a_loan_that_takes_none_any_more(rig: Rig) -> None:
    """It was eligible when the note was read, and expired before the journal went."""
    rig.owe("n1", "journal", loan_id="J")
    rig.owe("n2", "journal", loan_id="K", waits="loan_not_eligible")
    for statuses, states in (
        ({"J": "expired", "K": "issue"}, (State.WAITING, State.WAITING)),
        ({"J": "payingBack", "K": "fundRaising"}, (State.READY, State.READY)),
        ({"J": "payingBack"}, (State.READY, State.READY)),
    ):
        rig.kiva.loans = statuses
        rig.clock.passes(3_600)
        assert rig.look()
        assert tuple(rig.entry(one, "journal").state for one in ("n1", "n2")) == states
    assert rig.deliver() == 1


def test_what_a_person_noted_is_adopted_before_it_is_sent(rig: Rig) -> None:
    rig.owe("other", loan_id=LOAN)
    with rig.outbox.begin() as tx:
        store.put_by_hand(tx, LOAN, note="typed", now=rig.clock.now())
    assert rig.deliver() == 0
    found = rig.entry("other")
    assert (found.state, found.evidence, found.receipt) == (State.DELIVERED, "adopted", {"note": "typed"})


def test_a_draft_whose_last_day_has_passed_is_refused(rig: Rig) -> None:
    rig.owe("today", publish_by=rig.clock.now().date())
    rig.owe("late", publish_by=date(2026, 11, 22))
    assert rig.deliver() == 1
    assert [reason.code for reason in rig.entry("late").reasons] == ["too_late_to_publish"]
    assert rig.entry("today").state is State.DELIVERED


# ---------------------------------------------------------------- the refresher


def test_the_list_is_read_again_when_it_is_time(rig: Rig) -> None:
    assert rig.steps == []
    every = rig.context.settings.mirror.refresh_every.total_seconds()
    rig.clock.passes(every - 3)
    assert not rig.look()
    rig.clock.passes(2)
    assert rig.look()
    assert rig.steps == ["listed"]
    with rig.outbox.read() as tx:
        assert catalogue.refreshed_at(tx) is not None


@pytest.mark.parametrize("status", [None, 408, 425, 429, 500, 599])
def test_a_list_that_is_not_given_now_is_asked_for_later(rig: Rig, status: int | None) -> None:
    rig.clock.passes(3_600)
    rig.kiva.reading = LOST if status is None else answer(status)
    assert not rig.look()
    assert rig.holds() == []
    assert rig.context.destination.down_since == rig.hour.now()
    rig.kiva.reading = None
    rig.clock.passes(60)
    assert rig.look()
    assert rig.context.destination.down_since is None


@pytest.mark.parametrize(("status", "tokens"), [(401, 2), (403, 2), (404, 1), (400, 1), (302, 1), (499, 1)])
def test_a_list_that_is_refused_holds_everything(rig: Rig, status: int, tokens: int) -> None:
    rig.kiva.reading = answer(status)
    rig.clock.passes(3_000)
    rig.context.tokens.refuse(rig.context.tokens.current())
    rig.clock.passes(600)
    rig.kiva.tokens = 0
    for _ in range(tokens):
        assert rig.holds() == []
        rig.look()
    assert rig.kiva.tokens == tokens
    assert rig.holds() == [("all", "destination_fault")]
    with rig.outbox.read() as tx:
        params = hold.in_force(tx)[0].params
    assert params["said"] == f"the list of loans was not given: status {status} at /v3/partner/123/loans"
    assert params["hint"] == "Look at kiva.partner_id, kiva.api_url and kiva.environment."
    rig.kiva.reading = None
    rig.clock.passes(60)
    assert rig.look()
    assert rig.holds() == []


def test_without_the_right_to_read_nothing_is_listed(rig: Rig) -> None:
    rig.kiva.scopes = ("create:loan_draft",)
    rig.context.tokens.refuse(rig.context.tokens.current())
    asked = len(rig.kiva.gets)
    rig.clock.passes(3_600)
    assert not rig.look()
    assert len(rig.kiva.gets) == asked
    assert rig.holds() == [("journal", "scope_missing"), ("loan_draft", "scope_missing")]
    rig.kiva.scopes = SCOPES
    rig.clock.passes(access.TRY_AGAIN_AFTER.total_seconds())
    assert rig.look()
    assert rig.holds() == []


def test_a_token_of_another_partner_holds_everything_and_says_it(rig: Rig) -> None:
    rig.owe()
    rig.context.tokens.drop(rig.context.tokens.current())
    rig.kiva.token = answer(200, {"access_token": "t", "partnerId": "999"})
    assert rig.deliver() == 0
    assert rig.holds() == [("all", "another_partner")]
    with rig.outbox.read() as tx:
        assert "belong to partner 999; kiva.partner_id is 123" in hold.in_force(tx)[0].known()[0]
    rig.kiva.token = None
    rig.clock.passes(3_600)
    assert rig.look()
    assert rig.holds() == []
    assert rig.deliver() == 1


def test_a_token_that_is_revoked_twice_before_the_list_was_read_whole(rig: Rig) -> None:
    """The second one stayed in force until it expired, twelve hours later."""
    good: list[str] = []

    def get(path: str, **more: Any) -> Answer:
        if more["token"] not in good:
            return answer(401)
        return ScriptedKiva.get(rig.kiva, path, **more)

    rig.kiva.get = get  # type: ignore[method-assign]
    rig.clock.passes(3_600)
    asked = rig.kiva.tokens
    for _ in range(20):
        assert not rig.look()
        rig.clock.passes(5)
    assert rig.kiva.tokens > asked + 3, "it is asked for again"
    assert rig.kiva.tokens < asked + 15, "at a measured pace"
    good.append(f"t{rig.kiva.tokens + 1}")
    rig.clock.passes(900)
    assert rig.look()
    assert rig.holds() == []


def test_tokens_that_are_revoked_while_the_list_is_read_cost_a_page_each(rig: Rig) -> None:
    asked: list[str] = []

    def get(path: str, **more: Any) -> Answer:
        asked.append(more["token"])
        return answer(401) if asked.count(more["token"]) > 10 else ScriptedKiva.get(rig.kiva, path, **more)

    rig.kiva.get = get  # type: ignore[method-assign]
    rig.clock.passes(3_600)
    assert rig.look()
    assert rig.holds() == []


def test_bad_weather_costs_a_request_and_not_the_list(rig: Rig) -> None:
    """Three of a hundred answers 503 or dropped stopped everything for minutes, though all others were good."""
    dice, lost = random.Random(5), 0

    def get(path: str, **more: Any) -> Answer:
        nonlocal lost
        if dice.random() < 0.03:
            lost += 1
            return dice.choice((LOST, UNREACHED, answer(503), answer(500, {}), answer(200, "<html>")))
        return ScriptedKiva.get(rig.kiva, path, **more)

    rig.kiva.get = get  # type: ignore[method-assign]
    for number in range(30):
        rig.owe(f"{number}")
        rig.clock.passes(rig.context.settings.mirror.refresh_every.total_seconds())
        assert rig.look()
        assert rig.deliver() == 1
    assert lost > 20
    assert rig.context.destination.down_since is None


def test_a_status_that_kiva_never_gives_keeps_only_the_list_back(rig: Rig) -> None:
    def get(path: str, **more: Any) -> Answer:
        deleted = path.endswith("/loans") and more["params"]["status"] == "deleted"
        return answer(500) if deleted else ScriptedKiva.get(rig.kiva, path, **more)

    rig.kiva.get = get  # type: ignore[method-assign]
    rig.clock.passes(3_600)
    assert not rig.look()
    assert rig.context.destination.pause(Asked.LOANS)
    rig.look()
    rig.owe(LOAN, "repayment")
    rig.owe()
    assert rig.deliver() == 2
    assert rig.context.destination.down_since is None
    assert "status 500" in rig.context.destination.list_words


@pytest.mark.parametrize("odd", [answer(500, {"total_records": 0, "data": []}), answer(200, {"ok": True}), answer(200)])
def test_a_harmless_request_that_is_answered_oddly_is_no_success(rig: Rig, odd: Answer) -> None:
    """A 500 with JSON in it counted as one: three drafts were in doubt within two seconds."""
    for number in range(3):
        rig.owe(f"{number}")
    rig.kiva.answers += [LOST, LOST, LOST]
    rig.kiva.reading = odd
    assert rig.deliver() == 1
    for _ in range(20):
        rig.look()
        assert rig.deliver() == 0
    rig.kiva.reading = None
    rig.clock.passes(60)
    rig.look()
    assert rig.deliver() == 1


def test_totals_that_never_agree_are_asked_for_more_and_more_slowly_and_said(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were asked for 1,400 times in 44 seconds, without a word."""
    rig.kiva.reading = answer(200, {"total_records": 3, "data": []})
    rig.clock.passes(3_600)
    capsys.readouterr()
    asked, began = len(rig.kiva.gets), rig.clock.now()
    for _ in range(240):
        rig.clock.passes(14)
        rig.look()
    readings = (len(rig.kiva.gets) - asked) / (5 * 2 * 14)
    assert 4 < readings < 20
    assert rig.context.destination.list_incomplete_since == began + timedelta(seconds=15)
    assert "the counts of inactive, reviewed" in rig.context.destination.list_words
    assert capsys.readouterr().err.count("cannot be read whole") in (1, 2)
    assert rig.context.destination.down_since is None, "it answers"
    rig.kiva.reading = None
    rig.clock.passes(1_000)
    assert rig.look()
    assert rig.context.destination.list_incomplete_since is None


def test_a_loan_whose_id_cannot_be_read_holds_drafts_until_it_can(rig: Rig) -> None:
    rig.kiva.reading = answer(
        200,
        {
            "total_records": 2,
            "data": [
                {"kiva_id": 8, "internal_loan_id": [1]},
                {"kiva_id": 9, "internal_loan_id": LOAN, "status": "issue"},
            ],
        },
    )
    rig.owe()
    rig.owe("B")
    rig.owe("B", "repayment")
    rig.clock.passes(3_600)
    assert rig.look()
    assert rig.holds() == [("loan_draft", "list_unreadable")]
    with rig.outbox.read() as tx:
        assert "1 in Kiva's list cannot be read: kiva_id 8" in hold.in_force(tx)[0].known()[0]
        assert mirror.last_complete(tx, started_after=rig.clock.now() - timedelta(hours=1)) is None
    assert rig.entry().evidence == "adopted", "what can be read is adopted"
    assert rig.deliver() == 1, "positions go on"
    rig.clock.passes(access.TRY_AGAIN_AFTER.total_seconds())
    assert rig.deliver() == 0, "it is no fault of ours that a try could show to be over"
    rig.kiva.reading = answer(200, {"total_records": 2, "data": []})
    rig.clock.passes(3_600)
    assert not rig.look()
    assert rig.holds() == [("loan_draft", "list_unreadable")], "what is missing now may be just that one"
    rig.kiva.reading = None
    rig.clock.passes(3_600)
    assert rig.look()
    assert rig.holds() == []
    assert rig.deliver() == 1


@pytest.mark.parametrize(
    "lacks",
    [
        {"total_records": 3, "data": [{"kiva_id": 9, "internal_loan_id": LOAN, "status": "issue"}]},
        {"total_records": 1, "data": [{"kiva_id": 8, "internal_loan_id": [1]}]},
    ],
)
def test_a_person_may_take_the_list_as_it_is_as_long_as_it_lacks_just_that(rig: Rig, lacks: dict[str, Any]) -> None:
    """No draft went any more, and nobody could say that it may: Kiva's list was never whole."""
    rig.kiva.reading = answer(200, lacks)
    rig.owe("B")
    rig.context.started = rig.clock.monotonic()  # as after a restart: the list was not read whole since
    for _ in range(4):
        rig.clock.passes(4_000)
        rig.look()
    assert rig.deliver() == 0
    with rig.outbox.begin() as tx:
        lacking = mirror.lacking(tx)
        assert lacking is not None
        assert rig.clock.now() - lacking.since >= mirror.SAME_FOR
        meta.LIST_TAKEN.put(tx, lacking.why)
    rig.clock.passes(4_000)
    rig.look()
    assert rig.holds() == []
    assert rig.deliver() == 1
    with rig.outbox.read() as tx:
        assert mirror.last_complete(tx, started_after=rig.context.started_at) is None, "absence is not proved"
    # It lacks something else: that nobody has said.
    rig.owe("C")
    rig.kiva.reading = answer(200, {"total_records": lacks["total_records"] + 1, "data": lacks["data"]})
    rig.clock.passes(4_000)
    rig.look()
    assert rig.deliver() == 0


def test_a_clock_that_is_set_back_keeps_nothing_waiting(rig: Rig) -> None:
    """It was six days ahead: the list of loans was read again after six days, and a refused resource tried again."""
    ahead, token = timedelta(days=6), rig.context.tokens.current()
    rig.clock.is_set(ahead)
    rig.clock.passes(4_000)
    assert rig.look()
    way = access.Access(rig.context)
    assert way.refused("journal", token, 404) is access.Blame.US
    with rig.outbox.begin() as tx:
        hold.put(tx, "journal", "destination_fault", now=rig.clock.now())
    rig.clock.is_set(-ahead)
    with rig.outbox.read() as tx:
        assert not way.may_try(hold.in_force(tx), "journal")
    rig.clock.passes(access.TRY_AGAIN_AFTER.total_seconds())
    with rig.outbox.read() as tx:
        assert way.may_try(hold.in_force(tx), "journal")
    rig.clock.passes(4_000)
    assert rig.look(), "the list is read again"


def test_an_odd_item_of_a_list_costs_only_itself(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """It stood in the way of every mapping, and was stored, so that a restart did not help."""

    def get(path: str, **more: Any) -> Answer:
        if path.endswith("/activities"):
            said = [{"activity_id": "79", "activity": "Retail"}, {"activity": "New one"}]
            return answer(200, {"activities": said})
        return answer(500) if path.endswith("/themes") else ScriptedKiva.get(rig.kiva, path, **more)

    rig.kiva.get = get  # type: ignore[method-assign]
    rig.clock.passes(100_000)
    rig.look()
    with rig.outbox.read() as tx:
        assert catalogue.load(tx)["activities"] == [{"activity_id": 79, "activity": "Retail"}]
    said = capsys.readouterr().err
    assert "are left out" in said
    assert "did not give its lists" in said


@pytest.mark.parametrize("status", [200, 308, 500])
def test_an_answer_that_came_was_not_lost(rig: Rig, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    rig.owe()
    rig.kiva.answers.append(answer(status, {"odd": 1}))
    rig.deliver()
    said = capsys.readouterr().err
    assert "does not say whether it took it" in said
    assert "was lost" not in said


def test_a_draft_that_comes_to_be_listed_is_settled_by_look_up(rig: Rig) -> None:
    rig.owe()
    rig.kiva.answers.append(LOST)
    rig.deliver()
    rig.kiva.loans = {LOAN: "issue"}
    rig.clock.passes(3_600)
    assert rig.look()
    assert (rig.entry().state, rig.entry().evidence) == (State.DELIVERED, "look_up")


def test_a_position_is_sent_again_when_the_lost_one_can_no_longer_arrive(rig: Rig) -> None:
    rig.owe(LOAN, "repayment")
    rig.kiva.answers.append(LOST)
    rig.deliver()
    rig.clock.passes(58)
    rig.look()
    assert rig.entry(LOAN, "repayment").state is State.IN_DOUBT
    rig.clock.passes(1)
    rig.look()
    assert rig.entry(LOAN, "repayment").state is State.READY
    assert rig.entry(LOAN, "repayment").repeats == 1


@pytest.mark.parametrize("by", [timedelta(minutes=30), timedelta(days=-6)], ids=str)
def test_after_the_clock_was_set_a_doubt_waits_as_long_as_before(rig: Rig, by: timedelta) -> None:
    rig.owe(LOAN, "repayment")
    rig.kiva.answers.append(LOST)
    rig.deliver()
    rig.look()
    rig.clock.is_set(by)
    rig.look()
    assert rig.entry(LOAN, "repayment").state is State.IN_DOUBT
    rig.clock.passes(56)
    rig.look()
    assert rig.entry(LOAN, "repayment").state is State.IN_DOUBT
    rig.look()
    assert rig.entry(LOAN, "repayment").state is State.READY


# ---------------------------------------------------------------- the start


def test_a_first_start_towards_kivas_own_hosts_is_held_once(rig: Rig) -> None:
    rig.context.settings = rig.context.settings.model_copy(update={"first_start": "hold"})
    start.hold_what_must_wait(rig.context)
    assert rig.holds() == [("all", "first_start"), ("repayment", "first_report")]
    with rig.outbox.begin() as tx:
        for what in ("all", "repayment"):
            hold.release(tx, what, by="awa", note="looked", now=rig.clock.now())
    start.hold_what_must_wait(rig.context)
    assert rig.holds() == []


def test_a_first_start_that_may_send_is_not_held(rig: Rig) -> None:
    rig.context.settings = rig.context.settings.model_copy(update={"first_start": "send"})
    start.hold_what_must_wait(rig.context)
    assert rig.holds() == []


def test_since_when_things_are_owed_is_in_the_witness_too(rig: Rig) -> None:
    start.recover(rig.context)
    began = rig.clock.now()
    rig.clock.passes(60)
    with rig.outbox.begin() as tx:
        assert meta.FIRST_START.get(tx) == began
        meta.FIRST_START.remove(tx)
    assert rig.context.witness.memory().first_start == began.isoformat()
    start.recover(rig.context)
    with rig.outbox.read() as tx:
        assert meta.FIRST_START.get(tx) == began, "also of a lost outbox"
