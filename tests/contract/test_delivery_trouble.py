"""What goes wrong beside Kiva's answers, and what is said of it: witness, disk, lists, clocks. On both databases."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.delivery import context
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.courier import Courier
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.outbox import hold, mirror
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.state import State
from testbed.rig.delivering import LOAN, Machine
from testbed.rig.scripted_kiva import LOST, UNREACHED, answer

DAY = 24 * 3_600


# ---------------------------------------------------------------- sending


@pytest.mark.parametrize(
    ("said", "sentence", "warns"),
    [
        (answer(200, {"loan_draft_uuid": "u"}), "Kiva accepted it", False),
        (answer(422, "no"), "Kiva refused it", True),
        (answer(429, retry_after="90"), "It was surely not processed, and is sent again", True),
        (LOST, "The answer was lost. It is not sent again until that is settled", True),
    ],
)
def test_the_log_says_what_became_of_each_request(
    machine: Machine, capsys: pytest.CaptureFixture[str], said: Answer, sentence: str, *, warns: bool
) -> None:
    machine.owe()
    machine.kiva.answers.append(said)
    capsys.readouterr()
    assert machine.send() == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if sentence in line]
    assert ("WARNING" in line) is warns
    assert LOAN in line
    assert "loan_draft" in line


@pytest.mark.parametrize("problems", [[], [{"message": "a row was odd"}]])
def test_a_problem_that_came_with_a_yes_is_said(
    machine: Machine, capsys: pytest.CaptureFixture[str], problems: list[dict[str, str]]
) -> None:
    machine.owe("repayment")
    machine.kiva.answers.append(answer(200, {"upload_id": 7, "problems": problems}))
    capsys.readouterr()
    machine.send()
    assert capsys.readouterr().err.count("named a problem of it. A person looks") == len(problems)


def test_a_batch_is_logged_by_its_number_not_loan_by_loan(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    for loan in ("A-1", "A-2"):
        machine.owe("repayment", loan)
    capsys.readouterr()
    assert machine.send() == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "Kiva accepted it" in line]
    assert "A-1" not in line
    assert "A-2" not in line


def test_a_resource_that_the_institution_does_not_use_is_not_sent(tmp_path: Path, outbox: Outbox) -> None:
    machine = Machine(tmp_path, outbox)
    machine.context.settings = machine.context.settings.model_copy(update={"resources": ["journal"]})
    machine.owe("loan_draft")
    machine.owe("journal", "9")
    assert machine.send() == 1
    assert (machine.entry().state, machine.entry("journal", "9").state) == (State.READY, State.DELIVERED)
    machine.context.witness.close()


def test_a_round_with_nothing_due_makes_no_request(machine: Machine) -> None:
    """Else the courier would go round for ever, and never look whether it should stop."""
    assert Courier(machine.context, stop=threading.Event()).round() == 0
    assert machine.kiva.posts == []


def test_drafts_that_kiva_has_already_do_not_keep_the_next_one_waiting(machine: Machine) -> None:
    """Each goes alone: the first of them are only adopted, and the turn goes on."""
    for loan in ("A", "B"):
        machine.owe(identity=loan)
    machine.owe(identity="C")
    with machine.outbox.begin() as tx:
        listed = [mirror.MirroredLoan(f"k{loan}", loan, "", "fundRaising") for loan in ("A", "B")]
        mirror.keep(tx, mirror.begin_refresh(tx, now=machine.clock.now()), listed)
    assert machine.send() == 1
    assert [machine.entry(identity=loan).evidence for loan in "ABC"] == ["adopted", "adopted", "receipt"]


def test_what_kiva_has_under_its_own_id_is_adopted_whatever_it_lists_beside_it(machine: Machine) -> None:
    """An id that differs in case is a question only while Kiva has not just this one."""
    machine.owe(identity="KV/1")
    machine.kiva.loans |= {"KV/1": "fundRaising", "kv/1": "fundRaising"}
    machine.clock.passes(machine.context.settings.mirror.refresh_every.total_seconds())
    assert machine.look()
    found = machine.entry(identity="KV/1")
    assert (found.state, found.evidence) == (State.DELIVERED, "adopted")
    assert found.receipt == {"kiva_id": "kKV/1", "status": "fundRaising"}


def test_a_token_that_was_accepted_is_replaced_at_once_when_it_is_revoked(machine: Machine) -> None:
    """Only what is refused again and again is renewed ever more slowly."""
    for loan in "ABCDEF":
        machine.owe(identity=loan)
        machine.kiva.answers += [answer(401), answer(200, {"loan_draft_uuid": "u"})]
    before = machine.kiva.tokens
    assert machine.send() == 12
    assert machine.kiva.tokens - before == 6
    sent = [token for _path, _content, token, _key in machine.kiva.posts]
    assert sent[1::2] == [*sent[2::2], sent[-1]], "each goes on with the token that was accepted last"
    assert len(set(sent)) == 7


def test_an_allowance_that_was_used_up_ends_the_turn(machine: Machine) -> None:
    for loan in ("A", "B", "C"):
        machine.owe(identity=loan)
    with machine.outbox.begin() as tx:
        hold.put(tx, "loan_draft", "asked", now=machine.clock.now())
        hold.release(tx, "loan_draft", by="awa", note="one", now=machine.clock.now(), limit=1)
    assert machine.send() == 1
    assert machine.send() == 0
    assert [machine.entry(identity=loan).state for loan in "BC"] == [State.READY, State.READY]


def test_a_witness_that_cannot_record_the_answer_costs_nothing_but_its_word(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer is in the outbox. Only after a restore would the draft be in doubt, which is safe."""

    def fails(**_more: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(machine.context.witness, "ended", fails)
    machine.owe()
    assert machine.send() == 1
    assert (machine.entry().state, machine.entry().receipt) == (State.DELIVERED, {"loan_draft_uuid": "u"})
    assert "The witness could not record what became of it" in capsys.readouterr().err


def test_a_full_disk_is_said_once_and_so_is_its_end(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(needed: int) -> tuple[bool, int, int]:
        monkeypatch.setattr(context, "FREE_BYTES", needed)
        room, printed = machine.context.has_room(), capsys.readouterr().err
        return room, printed.count("The disk is almost full"), printed.count("There is room on the disk again")

    capsys.readouterr()
    assert said(1) == (True, 0, 0)
    assert said(2**62) == (False, 1, 0)
    assert said(2**62) == (False, 0, 0)
    assert said(1) == (True, 0, 1)
    assert said(1) == (True, 0, 0)


# ---------------------------------------------------------------- reading


def test_a_problem_that_names_no_loan_is_not_repeated_by_rule(machine: Machine) -> None:
    """Kiva may have booked a part of the report: a person looks."""
    machine.owe("repayment")
    machine.kiva.answers.append(answer(200, {"upload_id": 7, "problems": [{"message": "a row was odd"}]}))
    machine.send()
    assert machine.entry("repayment").reason == "problem_without_loan"
    machine.clock.passes(DAY)
    machine.look()
    assert machine.entry("repayment").evidence == "warned"
    machine.send()
    assert len(machine.kiva.posts) == 1


def test_kiva_that_was_away_is_back_once(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    def looked() -> int:
        capsys.readouterr()
        machine.look()
        return capsys.readouterr().err.count("Kiva answers again")

    every = machine.context.settings.mirror.refresh_every.total_seconds()
    machine.clock.passes(every)
    assert looked() == 0, "it was not away"
    machine.kiva.reading = UNREACHED
    machine.clock.passes(every)
    assert looked() == 0
    machine.kiva.reading = None
    machine.clock.passes(every)
    assert looked() == 1
    machine.clock.passes(every)
    assert looked() == 0


def test_lists_that_kiva_does_not_give_cost_nothing_else_and_are_said_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kiva's list of loans is read all the same; its activities, locations and themes are asked for again soon."""
    get, gives = machine.kiva.get, False
    asked: list[str] = []

    def some(path: str, **more: Any) -> Answer:
        if path.endswith("/loans"):
            return get(path, **more)
        asked.append(path)
        return get(path, **more) if gives else answer(500)

    monkeypatch.setattr(machine.kiva, "get", some)
    missing = "Kiva did not give its lists"

    def looked(after: float) -> tuple[bool, int]:
        machine.clock.passes(after)
        capsys.readouterr()
        asked.clear()
        machine.look()
        return bool(asked), capsys.readouterr().err.count(missing)

    assert looked(DAY) == (True, 1)
    assert looked(2) == (True, 0), "asked again, and not said again"
    gives = True
    assert looked(6 * 60) == (True, 0)
    gives = False
    assert looked(DAY) == (True, 1), "a day later it is news again"
    machine.refresher = Refresher(machine.context)
    assert looked(6 * 60) == (True, 1), "and after a restart"


@pytest.mark.parametrize(("status", "tokens"), [(401, 3), (403, 3), (500, 1), (404, 1)])
def test_a_token_that_one_list_refused_is_not_used_for_the_next_and_another_refusal_costs_none(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, status: int, tokens: int
) -> None:
    get, refused = machine.kiva.get, set[str]()

    def some(path: str, *, token: str, **more: Any) -> Answer:
        if path.endswith("/loans"):
            return get(path, token=token, **more)
        assert token not in refused
        if path.endswith("/activities"):
            refused.update({token} if status in (401, 403) else ())
            return answer(status)
        return get(path, token=token, **more)

    monkeypatch.setattr(machine.kiva, "get", some)
    machine.refresher = Refresher(machine.context)
    machine.clock.passes(DAY)
    before = machine.kiva.tokens
    machine.look()
    assert machine.kiva.tokens - before == tokens, "one for the look, and one for each that was refused"


def test_only_a_whole_reading_forgets_what_it_did_not_list(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    get, total = machine.kiva.get, 2

    def some(path: str, **more: Any) -> Answer:
        if not path.endswith("/loans") or more["params"]["status"] != "fundRaising":
            return get(path, **more)
        rows = [{"kiva_id": f"k{loan}", "internal_loan_id": loan} for loan in machine.kiva.loans]
        return answer(200, {"total_records": total, "data": rows})

    def known() -> set[str]:
        machine.clock.passes(DAY)
        machine.look()
        with machine.outbox.read() as tx:
            return {loan.kiva_id for loan in mirror.by_loan_id(tx, ["A", "B"]).values()}

    monkeypatch.setattr(machine.kiva, "get", some)
    machine.kiva.loans = {"A": "fundRaising", "B": "fundRaising"}
    assert known() == {"kA", "kB"}
    machine.kiva.loans = {"A": "fundRaising"}
    assert known() == {"kA", "kB"}, "one of two came: the other may be there"
    total = 1
    assert known() == {"kA"}


def test_one_list_that_is_missing_is_asked_for_alone_and_ever_more_seldom(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One 503 for the locations made all drafts wait for five minutes, and then all four lists were asked for again."""
    get = machine.kiva.get
    asked: list[str] = []

    def some(path: str, **more: Any) -> Answer:
        what = path.rsplit("/", 1)[1]
        asked.append(what)
        return answer(404, {"code": "no"}) if what == "locations" else get(path, **more)

    monkeypatch.setattr(machine.kiva, "get", some)

    def looked(after: float) -> set[str]:
        machine.clock.passes(after)
        asked.clear()
        machine.look()
        return {*asked} - {"loans"}

    assert looked(DAY) == {"activities", "locales", "locations", "themes"}
    assert looked(2) == {"locations"}
    pauses = []
    for _ in range(6):
        waited = 0.0
        while not looked(0):
            waited += 1
        pauses.append(waited)
    assert pauses[0] <= 3
    assert pauses[-1] > 20, "seldom"


def test_a_machine_that_was_just_started_settles_nothing_and_reads_no_list(machine: Machine) -> None:
    """What tells the capture that Kiva's list is another one now must not be said without a reading."""
    machine.owe("repayment")
    machine.kiva.answers.append(LOST)
    machine.send()
    machine.look()  # one harmless request succeeds
    machine.context.not_settled_before = machine.clock.monotonic() + 120  # nobody knows how long it was off
    machine.clock.passes(90)
    asked = len(machine.kiva.gets)
    assert machine.look() is False
    assert len(machine.kiva.gets) == asked
    assert machine.entry("repayment").state is State.IN_DOUBT
    machine.clock.passes(40)
    machine.look()
    assert machine.entry("repayment").state is State.READY


# ---------------------------------------------------------------- the list of loans


def spoiled(machine: Machine, monkeypatch: pytest.MonkeyPatch, *said: Answer | None) -> list[Answer | None]:
    """The next pages of the list are answered so, None: as they should be; what is left of it."""
    left, get = [*said], machine.kiva.get

    def some(path: str, **more: Any) -> Answer:
        found = left.pop(0) if left and path.endswith("/loans") else None
        return found or get(path, **more)

    monkeypatch.setattr(machine.kiva, "get", some)
    return left


def test_a_page_is_asked_for_again_alone_when_kiva_asks_to_wait_a_little(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One 429 threw away whatever had been read of the list, and at 3 % of them few lists came to their end."""
    machine.clock.passes(DAY)
    before = machine.clock.monotonic()
    left = spoiled(machine, monkeypatch, None, None, answer(429, retry_after="3"), None, answer(503, retry_after="2"))
    assert machine.refresher.look()
    assert left == []
    assert machine.clock.monotonic() - before >= 5, "as long as it asks for"


def test_whoever_asks_to_wait_for_long_is_left_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.clock.passes(DAY)
    asked = len(machine.kiva.gets)
    spoiled(machine, monkeypatch, None, answer(429, retry_after="60"))
    assert not machine.refresher.look()
    assert len(machine.kiva.gets) - asked <= 1 + len(("activities", "locales", "themes", "locations"))
    machine.clock.passes(55)
    assert not machine.refresher.look()
    machine.clock.passes(10)
    assert machine.refresher.look()


def test_a_page_that_kiva_gives_shows_that_it_lets_us_in(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold on everything waited for a whole list, in weather in which none came to its end."""
    machine.clock.passes(DAY)
    machine.kiva.reading = answer(404, {"code": "no"})
    assert not machine.refresher.look()
    assert [*machine.holds()] == ["all: destination_fault"]
    machine.kiva.reading = None
    machine.clock.passes(DAY)
    spoiled(machine, monkeypatch, None, *[answer(500)] * 4)
    assert not machine.refresher.look()
    assert machine.holds() == {}


def test_a_status_that_kiva_refuses_holds_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.clock.passes(DAY)
    machine.owe("repayment")
    spoiled(machine, monkeypatch, None, None, answer(400, {"code": "no such status"}))
    assert not machine.refresher.look()
    assert machine.holds() == {}
    assert "for issue" in machine.context.destination.list_words
    assert machine.send() == 1
