"""Who asks for the lease, and when its holder hands it over: by a clock that is set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.cli import check_machine
from kiva_relay.config import loader
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import lease, meta, preference
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import State
from kiva_relay.service import handover
from kiva_relay.service.handover import Candidate, Handover
from testbed.rig import configuration, outboxes, scripted_kiva
from testbed.rig.patience import joined
from testbed.rig.set_clock import SetClock

STAY = preference.STAY.total_seconds()
LEASE = lease.DURATION.total_seconds()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = outboxes.on_file(tmp_path)
    yield made
    made.close()


@pytest.fixture
def clock() -> SetClock:
    return scripted_kiva.clock()


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Which machine this is."""
    return lambda name: monkeypatch.setattr("socket.gethostname", lambda: name)


def settings(folder: Path, prefer: str = "[north, south]", mis: str = "") -> Settings:
    text = configuration.WRITTEN.replace(
        "postgresql://kiva_relay@localhost/fineract_default", mis or "sqlite:///none.db"
    )
    outbox = "outbox: {url: 'postgresql://kiva_relay@db/outbox'}\n"
    file = configuration.write(folder, outbox, f"lease: {{prefer: {prefer}}}\n", text=text)
    return loader.load(file, environ={"KIVA_SECRET": "s"})


def held(outbox: Outbox, folder: Path, clock: SetClock, prefer: str = "[north, south]") -> Handover:
    return Handover(outbox, settings(folder, prefer), clock=clock, begun=clock.monotonic())


@pytest.mark.parametrize(
    ("machine", "those"),
    [
        ("north", ()),
        ("south", ("north",)),
        ("west", ("north", "south", "east")),
        ("nowhere", ("north", "south", "east", "west")),
    ],
)
def test_those_before_a_machine_are_preferred_to_it(machine: str, those: tuple[str, ...]) -> None:
    named = ("north", "south", "east", "west")
    assert preference.before(named, machine) == those


def test_who_asks_again_and_again_gets_it_after_a_stay(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None]
) -> None:
    on("south")
    holder = held(outbox, tmp_path, clock)
    assert holder.look() == ""
    clock.passes(STAY - LEASE)
    for _ in range(3):
        preference.ask(outbox, "north")
        assert holder.look() == ""
    clock.passes(LEASE)
    preference.ask(outbox, "north")
    assert holder.look() == "north" == holder.to


def test_who_asked_once_and_died_does_not_get_it(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None]
) -> None:
    on("south")
    holder = held(outbox, tmp_path, clock)
    preference.ask(outbox, "north")
    clock.passes(STAY * 3)
    for _ in range(3):
        assert holder.look() == "", "its last word may be years old"
    preference.ask(outbox, "north")
    assert holder.look() == "north"
    assert holder.look() == "", "it has died since: this one goes on"


@pytest.mark.parametrize("prefer", ["[south, north]", "[south]", "[]"])
def test_machines_that_disagree_hand_nothing_over(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None], prefer: str
) -> None:
    on("south")
    holder = held(outbox, tmp_path, clock, prefer)
    clock.passes(STAY * 3)
    for _ in range(3):
        preference.ask(outbox, "north")
        assert holder.look() == ""


def test_of_two_that_ask_the_first_choice_gets_it(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None]
) -> None:
    on("west")
    holder = held(outbox, tmp_path, clock)
    clock.passes(STAY)
    for expected in ("", "north"):
        preference.ask(outbox, "south")
        preference.ask(outbox, "north")
        assert holder.look() == expected


def test_a_machine_on_which_nothing_stays_gets_it_ever_more_seldom(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None]
) -> None:
    on("south")

    def asked(holder: Handover) -> str:
        preference.ask(outbox, "north")
        return holder.look()

    for stays in (1, 2, 4, 8, 16, 32, 64, 128, 128):
        holder = held(outbox, tmp_path, clock)  # the machine that is preferred died, and this one took over
        clock.passes(STAY * stays - LEASE)
        assert [asked(holder) for _ in range(3)] == ["", "", ""]
        clock.passes(LEASE)
        assert asked(holder) == "north"
        assert holder.done()


def test_a_stay_on_the_preferred_machine_ends_that(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None]
) -> None:
    with outbox.begin() as tx:
        for _ in range(3):
            preference.hand_over(tx, "north")
        assert preference.stay(preference.HANDED_OVER.get(tx), "north") == 8 * preference.STAY
        assert preference.stay(preference.HANDED_OVER.get(tx), "east") == preference.STAY
    on("north")
    there = held(outbox, tmp_path, clock)
    there.look()
    with outbox.read() as tx:
        assert preference.HANDED_OVER.get(tx) is not None
    clock.passes(STAY)
    there.look()
    with outbox.read() as tx:
        assert preference.HANDED_OVER.get(tx) is None


def test_it_waits_for_the_attempt_that_is_open(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None]
) -> None:
    on("south")
    holder = held(outbox, tmp_path, clock)
    clock.passes(STAY)
    for _ in range(2):
        preference.ask(outbox, "north")
        holder.look()
    outboxes.put(outbox)
    batch = outboxes.claim(outbox)
    assert batch is not None
    assert not holder.done()
    with outbox.read() as tx:
        assert preference.HANDED_OVER.get(tx) is None
    outboxes.end(outbox, batch, outboxes.LOST, EntryVerdict(State.IN_DOUBT))
    assert holder.done()


# ---------------------------------------------------------------- who asks


def asks(outbox: Outbox) -> str | None:
    with outbox.read() as tx:
        return preference.asking(tx, ("north",)).get("north")


def looked(candidate: Candidate, holder: str) -> None:
    """It looks around in a thread of its own."""
    candidate.turn(holder)
    assert candidate._look is not None
    joined(candidate._look)
    candidate.turn(holder)


def test_it_asks_where_it_is_preferred_and_would_work(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Candidate, "_must_work", lambda _self: None)
    on("north")
    candidate = Candidate(outbox, settings(tmp_path), clock=clock)
    for holder in ("", "north"):
        candidate.turn(holder)
    assert candidate._look is None
    looked(candidate, "south")
    first = asks(outbox)
    assert first is not None
    candidate.turn("south")
    assert asks(outbox) == first, "not at each look at the lease"
    clock.passes(LEASE / 3)
    candidate.turn("south")
    assert asks(outbox) not in (None, first)


def test_it_does_not_ask_while_the_mis_or_kiva_is_away(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    on("north")
    candidate = Candidate(outbox, settings(tmp_path, mis="mysql://x@127.0.0.1:1/x"), clock=clock)
    for _ in range(3):
        looked(candidate, "south")
        clock.passes(LEASE)
    assert asks(outbox) is None
    monkeypatch.setattr(Candidate, "_must_work", lambda _self: None)
    looked(candidate, "south")
    assert asks(outbox) is not None


def test_an_answer_that_nobody_documented_keeps_it_from_asking_and_from_nothing_else(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread ended with a traceback in the log, every half minute; the words may be a person's."""

    def odd(_self: Candidate) -> None:
        raise ValueError("Aminata")

    said: list[str | None] = []
    monkeypatch.setattr(Candidate, "_must_work", odd)
    monkeypatch.setattr(handover._log, "info", lambda _words, **more: said.append(more["cause"]))
    on("north")
    candidate = Candidate(outbox, settings(tmp_path), clock=clock)
    for _ in range(2):
        looked(candidate, "south")
        clock.passes(handover.LOOKS_EVERY.total_seconds())
    assert asks(outbox) is None
    assert said == ["ValueError"], "once"
    monkeypatch.setattr(Candidate, "_must_work", lambda _self: None)
    looked(candidate, "south")
    assert asks(outbox) is not None


def test_what_it_saw_long_ago_is_no_reason_to_ask(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that neither answers nor refuses: the look hangs, and standing by goes on."""
    hangs = threading.Event()
    monkeypatch.setattr(Candidate, "_must_work", lambda _self: None)
    on("north")
    candidate = Candidate(outbox, settings(tmp_path), clock=clock)
    looked(candidate, "south")
    monkeypatch.setattr(Candidate, "_must_work", lambda _self: hangs.wait())
    clock.passes(handover.LOOKS_EVERY.total_seconds())
    candidate.turn("south")
    before = asks(outbox)
    clock.passes(handover.LOOKS_EVERY.total_seconds() * 4)
    candidate.turn("south")
    assert asks(outbox) == before
    hangs.set()


def test_another_mis_than_that_of_the_outbox_is_not_asked_for(
    outbox: Outbox, tmp_path: Path, clock: SetClock, on: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    on("north")
    with outbox.begin() as tx:
        meta.MIS.put(tx, "another")
    (tmp_path / "mis.db").touch()
    candidate = Candidate(outbox, settings(tmp_path, mis=f"sqlite:///{tmp_path}/mis.db"), clock=clock)
    with pytest.raises(errors.OutboxRefused):
        candidate._must_work()


def test_two_machines_need_an_outbox_on_a_server(tmp_path: Path) -> None:
    file = configuration.write(tmp_path, "lease: {prefer: [north, south]}\n")
    with pytest.raises(errors.ConfigurationError, match="lease: two machines need an outbox on PostgreSQL"):
        loader.load(file, environ={"KIVA_SECRET": "s"})


# ---------------------------------------------------------------- what check says


def test_check_says_where_this_machine_stands(tmp_path: Path, on: Callable[[str], None]) -> None:
    on("south")
    (found,) = check_machine.preferred(settings(tmp_path))
    assert (found.word, found.text) == ("ok", "this machine, south, is number 2 of lease.prefer")
    assert [*check_machine.preferred(settings(tmp_path, "[]"))] == []


@pytest.mark.parametrize(("own", "remedy"), [("nort", "lease: {prefer: [nort, south]}"), ("elsewhere", "")])
def test_a_machine_that_is_not_named_is_a_warning_with_the_nearest(
    tmp_path: Path, on: Callable[[str], None], own: str, remedy: str
) -> None:
    on(own)
    (found,) = check_machine.preferred(settings(tmp_path))
    assert found.word == "warning"
    first, *further = found.text.splitlines()
    assert first == f"lease.prefer names north and south, and not this machine, {own}: the others are preferred to it."
    assert further == ([remedy] if remedy else [])
