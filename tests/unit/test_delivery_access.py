"""Whether Kiva lets us in, and who is to blame: each decision exactly; tokens and pauses by a clock that is set."""

from __future__ import annotations

import base64
import itertools
import json
import math
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kiva_relay import errors
from kiva_relay.config import loader
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import access, backoff
from kiva_relay.delivery.access import Blame
from kiva_relay.delivery.breaker import Destination
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.token import SCOPES, AnotherPartner, CredentialsRefused, Tokens
from kiva_relay.outbox import hold
from kiva_relay.outbox.hold import Hold
from testbed.rig import configuration, scripted_kiva
from testbed.rig.outboxes import NOW
from testbed.rig.scripted_kiva import LOST, ScriptedKiva, answer
from testbed.rig.set_clock import SetClock


@pytest.mark.parametrize("status", [None, 408, 425, 429, *range(500, 600)])
def test_a_reading_that_says_that_kiva_is_away(status: int | None) -> None:
    for tried in (True, False):
        assert access.of_reading(status, new_token_tried=tried) is Blame.AWAY


@pytest.mark.parametrize("status", [status for status in range(100, 500) if status not in (401, 403, 408, 425, 429)])
def test_a_reading_that_says_that_it_is_our_fault(status: int) -> None:
    for tried in (True, False):
        assert access.of_reading(status, new_token_tried=tried) is Blame.US


@pytest.mark.parametrize("status", [401, 403])
def test_an_old_token_is_replaced_once(status: int) -> None:
    for decide in (access.of_reading, access.of_refusal):
        assert decide(status, new_token_tried=False) is Blame.TOKEN
        assert decide(status, new_token_tried=True) is Blame.US


@pytest.mark.parametrize("status", [400, 402, 404, 501])
def test_a_refusal_that_no_token_mends(status: int) -> None:
    assert access.of_refusal(status, new_token_tried=False) is Blame.US


@pytest.mark.parametrize(
    ("resource", "granted", "lacks"),
    [
        ("loan_draft", {"read:loans", "create:loan_draft"}, []),
        ("loan_draft", {"read:loans"}, ["create:loan_draft"]),
        ("loan_draft", {"create:loan_draft"}, ["read:loans"]),
        ("repayment", set(), ["create:repayment"]),
        ("loan_draft", set(), ["create:loan_draft", "read:loans"]),
        ("journal", {"read:loans", "create:loan_draft"}, ["create:journal_update"]),
        ("journal", set(SCOPES), []),
    ],
)
def test_permissions_that_are_missing(resource: str, granted: set[str], lacks: list[str]) -> None:
    assert access.missing(resource, granted) == lacks


def held(what: str, reason: str) -> Hold:
    return Hold(1, what, reason, {}, NOW, hold.RELAY, "", 0)


OWN = held("journal", "destination_fault")


@pytest.mark.parametrize(
    ("holds", "may"),
    [
        ([], True),
        ([OWN], True),
        ([held("journal", "scope_missing"), OWN], True),
        ([held("journal", "asked")], False),
        ([OWN, held("journal", "many_in_doubt")], False),
        ([held("all", "destination_fault")], False),
        ([held("all", "first_start"), OWN], False),
        ([held("loan_draft", "asked"), OWN], True),
        ([held("stream:journal", "asked"), OWN], True),
    ],
)
def test_only_a_fault_of_its_own_is_tried_again(holds: list[Hold], *, may: bool) -> None:
    assert access.may_try(holds, "journal", now=9.0, not_before=9.0) is may
    assert access.may_try(holds, "journal", now=8.999, not_before=9.0) is False
    assert access.may_try(holds, "journal", now=9.001, not_before=9.0) is may


# ---------------------------------------------------------------- the token


@pytest.fixture
def kiva(tmp_path: Path) -> Kiva:
    text = configuration.WRITTEN.replace("{env: KIVA_SECRET}", "'a secret'")
    return loader.load(configuration.write(tmp_path, text=text), environ={}).kiva


def tokens(kiva: Kiva, there: ScriptedKiva, clock: SetClock) -> Tokens:
    client: Any = there
    return Tokens(client, kiva, clock=clock)


@pytest.mark.parametrize(
    ("expires_in", "kept"),
    [(3_600, 3_300), ("1000", 900), (3_000, 2_700), (10_000, 9_700), (100, 90), (1, 27), (1e300, 86_100)],
)
def test_a_token_is_renewed_a_tenth_early_at_most_five_minutes(kiva: Kiva, expires_in: object, kept: float) -> None:
    there, clock = ScriptedKiva(), scripted_kiva.clock()
    there.token = answer(200, {"access_token": "t", "expires_in": expires_in})
    found = tokens(kiva, there, clock)
    first = found.current()
    assert first.renew_at == pytest.approx(clock.monotonic() + kept)
    clock.passes(kept - 0.01)
    assert found.current() is first
    clock.passes(0.02)
    assert found.current().number == 2


@pytest.mark.parametrize(
    "said", [{}, *({"expires_in": odd} for odd in (None, "soon", 0, -5, math.nan, math.inf, True))]
)
def test_a_token_without_an_end_is_kept_for_nine_minutes(kiva: Kiva, said: dict[str, object]) -> None:
    there, clock = ScriptedKiva(), scripted_kiva.clock()
    there.token = answer(200, {"access_token": "t"} | said)
    assert tokens(kiva, there, clock).current().renew_at == clock.monotonic() + 540


def test_a_token_says_what_it_grants_and_to_whom(kiva: Kiva) -> None:
    there, clock = ScriptedKiva(), scripted_kiva.clock()
    there.token = answer(200, {"access_token": "t", "scope": "read:loans  other", "partnerId": 123})
    found = tokens(kiva, there, clock).current()
    assert (found.scopes, found.partner_id, found.text) == (frozenset({"read:loans", "other"}), "123", "t")
    assert "t" not in repr(found).removeprefix("Token(number=")
    there.token = answer(200, {"access_token": "t"})
    everything = tokens(kiva, there, clock).current()
    assert (everything.scopes, everything.partner_id) == (frozenset(SCOPES), None)


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        (["read:loans", "create:loan_draft"], {"read:loans", "create:loan_draft"}),
        (["read:loans create:loan_draft", 7], {"read:loans", "create:loan_draft"}),
        ("read:loans,create:loan_draft", {"read:loans", "create:loan_draft"}),
        ([], set()),
        ("", set()),
    ],
)
def test_what_is_granted_as_a_list_or_a_text(kiva: Kiva, scope: object, granted: set[str]) -> None:
    there = ScriptedKiva(token=answer(200, {"access_token": "t", "scope": scope}))
    assert tokens(kiva, there, scripted_kiva.clock()).current().scopes == granted


def _jwt(partner: object) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"partnerId": partner}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2lnbmVk"


@pytest.mark.parametrize("said", [{"partnerId": "999"}, {"partner_id": 999}, {"access_token": _jwt(999)}])
def test_a_token_of_another_partner_is_never_used(kiva: Kiva, said: dict[str, object]) -> None:
    there = ScriptedKiva(token=answer(200, {"access_token": "t"} | said))
    with pytest.raises(AnotherPartner, match=r"belong to partner 999; kiva.partner_id is 123"):
        tokens(kiva, there, scripted_kiva.clock()).current()


@pytest.mark.parametrize("partner", ["123", 123, " 0123 ", None, ["999"], True, {}])
def test_a_partner_that_is_ours_or_cannot_be_read(kiva: Kiva, partner: object) -> None:
    there = ScriptedKiva(token=answer(200, {"access_token": _jwt(partner), "partnerId": partner}))
    assert tokens(kiva, there, scripted_kiva.clock()).current().number == 1


def test_a_token_that_is_refused_again_and_again_is_renewed_for_ever_at_growing_intervals(kiva: Kiva) -> None:
    there, clock = ScriptedKiva(), scripted_kiva.clock()
    found = tokens(kiva, there, clock)
    asked: list[float] = []
    for _ in range(4 * 3_600):
        token = found.current()
        if token.number > len(asked):
            asked.append(clock.monotonic())
        found.refuse(token)
        clock.passes(1)
    waits = [round(after - before) for before, after in itertools.pairwise(asked)]
    assert waits[:11] == [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert set(waits[11:]) == {300}


def test_a_token_that_was_good_for_long_is_renewed_at_once(kiva: Kiva) -> None:
    there, clock = ScriptedKiva(), scripted_kiva.clock()
    found = tokens(kiva, there, clock)
    for number in range(1, 20):
        token = found.current()
        assert token.number == number
        clock.passes(700)
        found.refuse(token)


@pytest.mark.parametrize(("lasted", "renewed_at_once"), [(599, False), (600, True)])
def test_ten_minutes_are_long_enough_to_forget_what_was_refused_before(
    kiva: Kiva, lasted: float, *, renewed_at_once: bool
) -> None:
    there, clock = ScriptedKiva(), scripted_kiva.clock()
    found = tokens(kiva, there, clock)
    for _ in range(100):
        found.refuse(found.current())
        clock.passes(1)
    clock.passes(300)
    token = found.current()
    clock.passes(lasted)
    found.refuse(token)
    found.refuse(found.current())
    assert (found.current().number == token.number + 2) is renewed_at_once


def test_one_in_force_is_good_until_it_is_refused_or_it_is_time(kiva: Kiva) -> None:
    there, clock = ScriptedKiva(), scripted_kiva.clock()
    found = tokens(kiva, there, clock)
    assert found.good is False
    token = found.current()
    assert found.good is True
    clock.passes(token.renew_at - clock.monotonic() - 1)
    assert found.good is True
    clock.passes(1)
    assert found.good is False
    again = found.current()
    assert (found.good, there.tokens) == (True, 2)
    found.refuse(again)
    assert found.good is False


def test_only_the_token_in_force_can_be_refused(kiva: Kiva) -> None:
    there = ScriptedKiva()
    found = tokens(kiva, there, scripted_kiva.clock())
    first = found.current()
    found.refuse(first)
    second = found.current()
    assert (first.number, second.number) == (1, 2)
    found.refuse(first)
    assert found.current() is second
    found.drop(first)
    assert found.current() is second, "whoever still held the first one says nothing of the second"
    found.drop(second)
    assert found.current().number == 3


@pytest.mark.parametrize("told", [False, True])
def test_only_the_token_in_force_can_prove_that_it_is_good(kiva: Kiva, *, told: bool) -> None:
    """Else a late answer to an old one would let the token server be asked at each refusal."""
    there, clock = ScriptedKiva(), scripted_kiva.clock()
    found = tokens(kiva, there, clock)
    first = found.current()
    for _ in range(100):
        found.refuse(found.current())
        clock.passes(1)
        if told and found.current() is not first:
            found.proved(first)
    assert there.tokens == 8, "as often as if nobody had told anything"


@pytest.mark.parametrize("status", [400, 401, 403])
def test_credentials_that_are_refused(kiva: Kiva, status: int) -> None:
    there = ScriptedKiva(token=answer(status, {"access_token": "t"}))
    with pytest.raises(CredentialsRefused, match=str(status)) as refused:
        tokens(kiva, there, scripted_kiva.clock()).current()
    assert "belong to sandbox" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (LOST, "ReadTimeout: lost"),
        (answer(500), "it answered 500"),
        (answer(404), "it answered 404"),
        (answer(200, {"token": "t"}), "it answered 200"),
        (answer(200, {"access_token": ""}), "it answered 200"),
        (answer(200, ["t"]), "it answered 200"),
        (answer(201, {"access_token": "t"}), "it answered 201"),
        (answer(200, {"access_token": "t\u00e9"}), "access_token is no text that can be sent"),
        (answer(200, {"access_token": "t t"}), "access_token is no text that can be sent"),
        (answer(200, {"access_token": 7}), "access_token is no text that can be sent"),
    ],
)
def test_a_token_server_that_gives_no_token(kiva: Kiva, said: Answer, words: str) -> None:
    with pytest.raises(errors.Unreachable, match=words):
        tokens(kiva, ScriptedKiva(token=said), scripted_kiva.clock()).current()


# ---------------------------------------------------------------- Kiva away


class _Highest(random.Random):
    def uniform(self, _low: float, high: float) -> float:
        return high


class _Lowest(random.Random):
    def uniform(self, low: float, _high: float) -> float:
        return low


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 1), (1, 1), (2, 2), (3, 4), (10, 512), (11, 900), (12, 900), (10_000, 900)]
)
def test_the_wait_doubles_up_to_a_quarter_of_an_hour(failures: int, seconds: float) -> None:
    assert backoff.wait(failures, dice=_Highest()) == timedelta(seconds=seconds)
    assert backoff.wait(failures, dice=_Lowest()) == timedelta(seconds=seconds / 2)


def test_how_long_nothing_is_asked() -> None:
    clock = scripted_kiva.clock()
    there = Destination(clock=clock, dice=_Highest())
    assert there.pause() == timedelta(0)
    began = clock.now()
    assert there.unreachable("refused") == timedelta(seconds=1)
    assert (there.down_since, there.last_words) == (began, "refused")
    clock.passes(0.25)
    assert there.pause() == timedelta(seconds=0.75)
    clock.passes(5)
    assert there.pause() == timedelta(0)
    assert there.unreachable("again") == timedelta(seconds=2)
    assert (there.down_since, there.last_words) == (began, "again")
    assert there.asked_to_wait(timedelta(seconds=70)) == timedelta(seconds=70)
    assert there.asked_to_wait(None) == timedelta(seconds=8)
    clock.passes(1)
    assert there.answered() is True
    assert (there.pause(), there.down_since, there.last_harmless_success) == (timedelta(0), None, clock.now())
    assert there.answered() is False
    assert there.unreachable("refused") == timedelta(seconds=1), "failures are counted from 0 again"


def test_an_outage_is_logged_the_first_time_and_then_once_an_hour(capsys: pytest.CaptureFixture[str]) -> None:
    clock = scripted_kiva.clock()
    there = Destination(clock=clock, dice=_Highest())

    def lines() -> int:
        return capsys.readouterr().err.count("Kiva does not answer")

    there.unreachable("refused")
    assert lines() == 1
    clock.passes(3_599)
    there.unreachable("refused")
    assert lines() == 0
    clock.passes(1)
    there.unreachable("refused")
    assert lines() == 1
    there.answered()
    there.unreachable("refused")
    assert lines() == 1
