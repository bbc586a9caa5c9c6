"""What a reload answers is in force, is in force: also when it comes at the worst moment."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.capture.cycle import Capture
from kiva_relay.config.settings import Settings
from kiva_relay.mapping import configuration, document
from kiva_relay.mapping.configuration import Configuration
from kiva_relay.outbox.meta import ReloadResult
from kiva_relay.service import capture_loop, reload
from kiva_relay.service.relay import Relay
from kiva_relay.service.reload import InForce
from testbed.rig import patience
from testbed.rig.note_site import NoteSite
from testbed.rig.patience import eventually

MOMENTS = ("before the capture is made", "after it is made", "the value was read", "read", "captured", "any")
"""Where the thread of the capture stands while a reload is asked for and answered."""
MAKING = MOMENTS[:2]


@dataclass
class Moments:
    """Acts that are done once, by the thread of the capture, when it comes to a moment."""

    acts: dict[str, Callable[[], None]] = field(default_factory=dict)

    def come(self, moment: str) -> None:
        if threading.current_thread().name == "capture" and (act := self.acts.pop(moment, None)):
            act()


class Watched(InForce):
    """Tells when its value was read, and not used yet."""

    def __init__(self, made: Configuration, moments: Moments) -> None:
        self._made, self._moments = made, moments

    @property
    def configuration(self) -> Configuration:
        made = self._made
        self._moments.come("the value was read")
        return made

    @configuration.setter
    def configuration(self, made: Configuration) -> None:
        self._made = made


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NoteSite:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    return NoteSite(tmp_path, poll_every="50ms")


def ask(relay: Relay) -> str:
    """Ask for a reload as the command does; the answer."""
    with relay.outbox.begin() as tx:
        asked = reload.ask(tx, now=relay.time.now())

    def answer() -> ReloadResult | None:
        with relay.outbox.read() as tx:
            return reload.answered(tx, asked)

    result: ReloadResult = eventually(answer)
    assert result.ok, result.text
    return result.text


def reads(site: NoteSite, relay: Relay, number: int, text: str) -> bool:
    return text in site.body(relay, number)


def work(site: NoteSite, stop: threading.Event) -> None:
    """Somebody who writes into the MIS all the time, always the same few notes."""
    first = site.note(times=5)
    for number in itertools.cycle(range(first - 4, first + 1)):
        site.rewrite(number)
        if stop.wait(0.1):
            return


ROUNDS = [
    6,
    pytest.param(30, marks=pytest.mark.long),
    pytest.param(100, marks=[pytest.mark.long, pytest.mark.night]),
]
"""Each is two edits."""


@pytest.mark.parametrize("rounds", ROUNDS)
def test_what_is_answered_in_force_is_in_force(site: NoteSite, monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    moments, rng = Moments(), random.Random(11)

    def made(**given: object) -> Capture:
        moments.come("before the capture is made")
        capture = Capture(**given)  # type: ignore[arg-type]
        moments.come("after it is made")
        return capture

    monkeypatch.setattr(capture_loop, "Capture", made)
    with site.relay() as relay:
        relay.in_force = Watched(relay.in_force.configuration, moments)
        relay.capture_loop._in_force = relay.in_force
        relay.progress.at = moments.come
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            stop, edits = threading.Event(), 0
            load = threading.Thread(target=work, args=(site, stop))
            load.start()
            eventually(lambda: site.body(relay, 1))
            for number in range(rounds):
                edits += 2
                moment = MOMENTS[number % len(MOMENTS)]
                answered = threading.Event()

                def edit(edits: int = edits, answered: threading.Event = answered) -> None:
                    site.write(f"subject {edits}", brake=edits)
                    assert "changed: journal.note" in ask(relay)
                    answered.set()

                if moment in MAKING:  # a capture is made after a reload only
                    moments.acts[moment] = edit
                site.write(f"subject {edits - 1}", brake=edits - 1)
                ask(relay)
                if moment not in MAKING:
                    moments.acts[moment] = edit
                if moment == "any":
                    threading.Event().wait(rng.random() / 20)
                    edit()
                assert answered.wait(patience.seconds(60)), f"the thread did not come to: {moment}"
                assert relay.settings.delivery.brake == edits
                mine = site.note()
                # The turn under way may still put it down by what was in force when it began; the next one corrects it.
                eventually(partial(reads, site, relay, mine, f'"subject {edits}"'))
            stop.set()
            load.join()
        finally:
            relay.stop.set()
            thread.join()
    assert edits == 2 * rounds


def test_two_who_ask_at_the_same_time_are_both_answered(site: NoteSite) -> None:
    with site.relay() as relay:
        earlier = relay.time.now()
        with relay.outbox.begin() as tx:
            first = reload.ask(tx, now=earlier)
            second = reload.ask(tx, now=earlier + timedelta(seconds=1))
            assert reload.wanted(tx) == second
            reload.answer(tx, ReloadResult(relay.time.now(), ok=True, text="In force", asked=second))
            for asked in (first, second):
                answer = reload.answered(tx, asked)
                assert answer is not None
                assert answer.text == "In force"
            third = reload.ask(tx, now=earlier + timedelta(seconds=2))
            assert reload.answered(tx, third) is None


def test_files_that_change_while_they_are_read_are_read_again(site: NoteSite, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.relay() as relay:
        load, times = document.load, [0]

        def late(*args: Any, **more: Any) -> object:
            found = load(*args, **more)
            times[0] += 1
            if times[0] == 1:
                site.write("subject 2", brake=2)
            return found

        monkeypatch.setattr(document, "load", late)
        site.write("subject 1", brake=1)
        read = configuration.read(relay._read_settings)
        assert times[0] == 2
        assert read.settings.delivery.brake == 2
        assert "subject 2" in read.documents[0].text
        assert reload.edited(read) == ()


def test_an_edit_after_a_reload_has_read_is_told(site: NoteSite) -> None:
    with site.relay() as relay:
        made = relay.in_force.configuration
        assert reload.edited(made) == ()
        site.write("subject 1", brake=1)
        assert reload.edited(made) == ("config.yaml", "journal.note.yaml")


def test_a_reload_is_one_value_and_the_turn_under_way_keeps_the_old_one(site: NoteSite) -> None:
    with site.relay() as relay:
        old, capture = relay.in_force.configuration, relay.capture_loop.capture()
        assert relay.capture_loop.capture() is capture
        site.write("subject 1", brake=1)
        reloader = reload.Reloader(relay.in_force, relay.outbox, clock=relay.time, signalled=threading.Event(),
                                   read_settings=relay._read_settings)  # fmt: skip
        result = reloader.reload(reload.Request("", by_person=True))
        assert result.ok
        assert old.settings.delivery.brake == 1000
        assert isinstance(relay.settings, Settings)
        assert relay.settings.delivery.brake == 1
        assert relay.capture_loop.capture() is not capture
