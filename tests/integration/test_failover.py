"""What a failover of the outbox's PostgreSQL loses, row by row: what was committed there, sent, answered and witnessed.

The servers are real, a primary and a standby that is promoted. A relay ends at a step of its work, or goes on.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.cli import check_replicas
from kiva_relay.delivery.courier import Courier
from kiva_relay.outbox import failover, hold, lease, meta, migration, store
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.lease import Lease
from kiva_relay.outbox.state import State
from kiva_relay.outbox.witness import Witness
from kiva_relay.service import telling
from testbed.database import replicated
from testbed.database.replicated import Replicated
from testbed.rig import delivering, scripted_kiva
from testbed.rig.delivering import LOAN, Machine
from testbed.rig.patience import eventually
from testbed.rig.set_clock import SetClock

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

RECEIPT = {"loan_draft_uuid": "u"}
_EMPTY = "outbox_empty"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    with replicated.started(tmp_path_factory.mktemp("servers")) as made:
        outbox = Outbox(made.primary.create_database(_EMPTY))
        migration.upgrade(outbox)
        outbox.close()
        yield made


class Site:
    """An outbox on these servers, and the machines that share it."""

    def __init__(self, servers: Replicated, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if servers.standby is None:
            servers.attach(synchronous=False)
        self.servers, self._folder, self._patch = servers, folder, monkeypatch
        self._name = f"outbox_{next(_numbers)}"
        servers.primary.create_database(self._name, template=_EMPTY)
        self._opened: list[Outbox] = []

    def opened(self) -> Outbox:
        """The outbox, opened as a process does; on whichever server answers."""
        self._opened.append(Outbox(self.servers.url(self._name)))
        with self._opened[-1].glance():
            return self._opened[-1]

    def machine(self, name: str = "north") -> Machine:
        """A machine with a witness of its own, started."""
        self._patch.setattr("socket.gethostname", lambda: name)
        folder = self._folder / name
        folder.mkdir()
        return Machine(folder, self.opened())

    def start(self, machine: Machine, name: str = "north") -> None:
        """A new process on a machine, with the outbox as it answers now."""
        self._patch.setattr("socket.gethostname", lambda: name)
        machine.outbox = machine.context.outbox = self.opened()
        machine.start()

    def send(self, machine: Machine, *, ends_at: str = "", cut_at: str = "") -> None:
        """Send what is due; the standby gets nothing any more from a step on, and the process may end at one."""
        ends = delivering._ends(ends_at)

        def at(step: str) -> None:
            if step == cut_at:
                eventually(self.servers.has_all)
                self.servers.cut()
            ends(step)

        machine.clock.passes(1)
        with contextlib.suppress(delivering.ProcessEnded):
            Courier(machine.context, stop=threading.Event(), at=at).deliver()

    def close(self) -> None:
        for outbox in self._opened:
            outbox.close()
        self.servers.sql(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")  # the next standby is a copy of all


@pytest.fixture
def site(servers: Replicated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(servers, tmp_path, monkeypatch)
    yield made
    made.close()


def released(machine: Machine) -> None:
    """A person looked, and lets it go on."""
    with machine.outbox.begin() as tx:
        for held in hold.in_force(tx):
            hold.release(tx, held.what, by="awa", note="looked", now=machine.clock.now())


def holds(machine: Machine) -> list[str]:
    return sorted(machine.holds())


@dataclass(frozen=True)
class Row:
    """`cut_at`: from which step on the standby lacks everything ("before": all of it); `posts`: in all, at the end."""

    cut_at: str
    ends_at: str
    state: State
    held: bool = False
    reason: str | None = None
    posts: int = 1


ROWS = {
    "all of it is there": Row("", "", State.DELIVERED),
    "the attempt is there and never left": Row("claimed", "claimed", State.READY),
    "the attempt is there and nobody knows": Row(
        "testified", "testified", State.IN_DOUBT, reason="process_ended", posts=0
    ),
    "the attempt is there and Kiva answered": Row("claimed", "", State.DELIVERED),
    "the attempt is missing and never left": Row("before", "claimed", State.READY),
    "the attempt is missing and nobody knows": Row(
        "before", "testified", State.IN_DOUBT, held=True, reason=store.KNOWN_FROM_WITNESS, posts=0
    ),
    "the attempt is missing and Kiva answered": Row("before", "", State.DELIVERED, held=True),
}


@pytest.mark.parametrize("name", ROWS)
def test_each_row_of_what_may_be_lost(site: Site, name: str) -> None:
    row = ROWS[name]
    machine = site.machine()
    machine.owe()
    if row.cut_at == "before":
        eventually(site.servers.has_all)
        site.servers.cut()
    site.send(machine, ends_at=row.ends_at, cut_at=row.cut_at)
    if not row.cut_at:
        eventually(site.servers.has_all)
    site.servers.fail_over()
    site.start(machine)
    found = machine.entry()
    assert (found.state, found.reason) == (row.state, row.reason)
    assert found.receipt == (RECEIPT if row.state is State.DELIVERED else None)
    assert holds(machine) == (["all: restored_outbox"] if row.held else [])
    site.start(machine)
    assert holds(machine) == (["all: restored_outbox"] if row.held else []), "it is found once"
    released(machine)
    site.send(machine)
    assert len(machine.kiva.posts) == row.posts
    assert machine.entry().state is (State.DELIVERED if row.posts else State.IN_DOUBT)


def test_what_kiva_refused_is_ready_again_where_its_answer_is_missing(site: Site) -> None:
    machine = site.machine()
    machine.owe()
    machine.kiva.answers.append(scripted_kiva.answer(400, {"error": "no"}))
    site.send(machine, cut_at="claimed")
    assert machine.entry().state is State.REFUSED
    site.servers.fail_over()
    site.start(machine)
    assert (machine.entry().state, holds(machine)) == (State.READY, [])


def test_a_position_that_the_server_lacks_is_owed_again(site: Site) -> None:
    machine = site.machine()
    eventually(site.servers.has_all)
    site.servers.cut()
    machine.owe("repayment")
    site.send(machine)
    assert machine.entry("repayment").state is State.DELIVERED
    site.servers.fail_over()
    site.start(machine)
    assert machine.holds()["all: restored_outbox"]["positions"] == 1


def test_a_number_that_comes_a_second_time_is_another_attempt(site: Site) -> None:
    machine = site.machine()
    eventually(site.servers.has_all)
    site.servers.cut()
    machine.owe()
    site.send(machine, ends_at="claimed")  # the first number, which the standby gives again
    site.servers.fail_over()
    site.start(machine)
    machine.owe()  # that it was owed is lost, too
    site.send(machine, ends_at="testified")
    site.start(machine)
    assert (machine.entry().state, len(machine.kiva.posts)) == (State.IN_DOUBT, 0)


# ---------------------------------------------------------------- a process that goes on


def test_a_relay_that_runs_ends_when_another_server_answers(site: Site) -> None:
    machine = site.machine()
    machine.outbox.stay()
    site.servers.fail_over()
    with pytest.raises(errors.OutboxPutBack, match="another one now"):
        eventually(lambda: _is_written(machine.outbox))
    machine.outbox.stay(at_this_server=False)
    eventually(lambda: _is_written(machine.outbox))


def _is_written(outbox: Outbox) -> bool:
    try:
        with outbox.begin() as tx:
            meta.text("tried").put(tx, "yes")
    except errors.OutboxAway:
        return False
    return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    monkeypatch.setattr("signal.setitimer", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return scripted_kiva.clock()


def test_a_free_lease_counts_as_held_on_another_server_until_it_was_quiet(site: Site, clock: SetClock) -> None:
    site.machine()
    before = Lease(site.opened(), clock=clock)
    before.acquire()
    before.release()
    eventually(site.servers.has_all)
    site.servers.fail_over()
    waits = Lease(site.opened(), clock=clock)
    with pytest.raises(errors.Stolen, match="just before"):
        waits.acquire()
    clock.passes((lease.DURATION + lease.MARGIN).total_seconds() + 1)
    waits.acquire()


def test_a_lease_that_was_given_back_there_is_free_at_once(site: Site, clock: SetClock) -> None:
    site.machine()
    first = Lease(site.opened(), clock=clock)
    first.acquire()
    eventually(site.servers.has_all)
    site.servers.fail_over()
    first._outbox.stay(at_this_server=False)
    eventually(lambda: _is_written(first._outbox))
    first.release()
    Lease(site.opened(), clock=clock).acquire()


def test_a_number_of_the_lease_that_comes_twice_has_one_holder(site: Site, clock: SetClock) -> None:
    first, second = (Lease(site.opened(), clock=clock) for _ in range(2))
    eventually(site.servers.has_all)
    site.servers.cut()
    first.acquire()
    site.servers.fail_over()
    second._outbox.engine.dispose()
    second.acquire()
    assert first.fence == second.fence
    first._outbox.stay(at_this_server=False)
    first._outbox.engine.dispose()
    with pytest.raises(errors.Stolen):
        first.renew()
    first.release()
    second.renew()


# ---------------------------------------------------------------- another machine


def of_two(site: Site) -> tuple[Machine, Machine]:
    """Two machines that have both been active; the second one sends."""
    first = site.machine("north")
    second = site.machine("south")
    second.owe()
    eventually(site.servers.has_all)
    return first, second


def tells(site: Site, machine: Machine) -> failover.Told | None:
    with site.opened().begin() as tx:
        return failover.tell(tx, machine.context.witness, now=machine.clock.now())


AWAITED = ["journal: restored_outbox", "loan_draft: restored_outbox"]


def test_what_another_machine_sent_waits_until_it_tells(site: Site) -> None:
    first, second = of_two(site)
    site.servers.cut()
    site.send(second)
    site.servers.fail_over()
    site.start(first, "north")
    assert (first.entry().state, holds(first)) == (State.READY, AWAITED)
    assert first.holds()[AWAITED[1]]["machines"] == "south"
    site.send(first)
    assert first.kiva.posts == []
    told = tells(site, second)
    assert told is not None
    assert told.released
    assert (first.entry().state, first.entry().receipt) == (State.DELIVERED, RECEIPT)
    assert holds(first) == ["all: restored_outbox"], "and a person looks, for more may be missing"


def test_what_was_under_way_there_is_settled_by_its_witness(site: Site) -> None:
    first, second = of_two(site)
    site.send(second, cut_at="claimed")
    site.servers.fail_over()
    site.start(first, "north")
    assert (first.entry().state, holds(first)) == (State.IN_DOUBT, AWAITED)
    told = tells(site, second)
    assert told is not None
    assert [entry.identity for entry in told.settled] == [LOAN]
    assert (first.entry().state, first.entry().receipt, holds(first)) == (State.DELIVERED, RECEIPT, [])


def test_what_never_left_there_goes_from_here(site: Site) -> None:
    first, second = of_two(site)
    site.send(second, ends_at="claimed")
    eventually(site.servers.has_all)
    site.servers.fail_over()
    site.start(first, "north")
    assert first.entry().state is State.IN_DOUBT
    tells(site, second)
    assert (first.entry().state, holds(first)) == (State.READY, [])
    first.look()  # after a doubt something harmless goes first
    site.send(first)
    assert (len(first.kiva.posts), len(second.kiva.posts)) == (1, 0)


def test_a_takeover_without_a_failover_holds_nothing_and_is_told_too(site: Site) -> None:
    first, second = of_two(site)
    site.send(second, ends_at="claimed")
    site.start(first, "north")
    assert (first.entry().state, holds(first)) == (State.IN_DOUBT, [])
    tells(site, second)
    assert (first.entry().state, holds(first)) == (State.READY, [])
    site.start(second, "south")
    assert holds(second) == []


def test_a_machine_that_is_awaited_and_takes_over_tells_by_its_start(site: Site) -> None:
    first, second = of_two(site)
    site.servers.cut()
    site.send(second)
    site.servers.fail_over()
    site.start(first, "north")
    assert holds(first) == AWAITED
    site.start(second, "south")  # the first one ended before the second had told
    assert (second.entry().state, second.entry().receipt) == (State.DELIVERED, RECEIPT)
    assert holds(second) == ["all: restored_outbox"], "nobody waits for the machine that works"
    released(second)
    site.send(second)
    assert (len(first.kiva.posts), len(second.kiva.posts)) == (0, 1)


def test_a_machine_that_takes_over_again_settles_what_another_doubted(site: Site) -> None:
    first, second = of_two(site)
    site.send(second, ends_at="answered")
    site.start(first, "north")
    assert first.entry().state is State.IN_DOUBT
    site.start(second, "south")
    assert (second.entry().state, second.entry().reason) == (State.IN_DOUBT, "process_ended"), "nobody knows"
    second.owe("loan_draft", "another")
    second.look()  # after a doubt something harmless goes first
    site.send(second, ends_at="settled")
    site.start(second, "south")
    second.owe("loan_draft", "a third")
    site.send(second, ends_at="claimed")
    site.start(first, "north")
    assert first.entry("loan_draft", "a third").state is State.IN_DOUBT
    site.start(second, "south")
    assert (second.entry("loan_draft", "a third").state, holds(second)) == (State.READY, [])


def test_a_machine_whose_witness_is_not_whole_is_awaited_when_it_takes_over(site: Site) -> None:
    first, second = of_two(site)
    file = second.context.witness.path
    early = file.read_bytes()
    site.send(second)
    eventually(site.servers.has_all)
    site.servers.fail_over()
    site.start(first, "north")
    file.write_bytes(early)
    site.start(second, "south")
    assert holds(second) == AWAITED


def test_a_copy_of_its_file_tells_for_a_machine_that_is_dead(site: Site, tmp_path: Path) -> None:
    first, second = of_two(site)
    site.send(second)
    eventually(site.servers.has_all)
    early = tmp_path / "early.log"
    early.write_bytes(second.context.witness.path.read_bytes())
    second.owe("loan_draft", "another")
    site.send(second)
    eventually(site.servers.has_all)
    site.servers.cut()
    second.owe("loan_draft", "the last")
    site.send(second)
    site.servers.fail_over()
    site.start(first, "north")
    settings, file = first.context.settings, tmp_path / "copy.log"
    file.write_bytes(second.context.witness.path.read_bytes())
    with pytest.raises(errors.UsageError, match="no whole copy"):
        telling.tell_for(site.opened(), settings, early, clock=first.clock)
    with pytest.raises(errors.UsageError, match="the witness of this machine"):
        telling.tell_for(site.opened(), settings, first.context.witness.path, clock=first.clock)
    assert holds(first) == AWAITED
    told = telling.tell_for(site.opened(), settings, file, clock=first.clock)
    assert told.taken is not None
    assert [entry.identity for entry in told.taken.delivered] == ["the last"]


def test_a_machine_that_a_person_let_go_is_not_awaited_again(site: Site) -> None:
    first, _second = of_two(site)
    site.servers.fail_over()
    site.start(first, "north")
    assert holds(first) == AWAITED
    released(first)
    site.servers.attach(synchronous=False)
    site.servers.fail_over()
    site.start(first, "north")
    assert holds(first) == []


def test_who_was_told_of_waits_for_nobody_else(site: Site) -> None:
    first, second = of_two(site)
    third = site.machine("west")
    eventually(site.servers.has_all)
    site.servers.fail_over()
    site.start(first, "north")
    tells(site, second)
    assert holds(first) == AWAITED, "one of the two others has not told"
    tells(site, third)
    assert holds(first) == []


def test_a_file_that_is_no_witness_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.log"
    file.write_text("{}\n")
    with pytest.raises(errors.UsageError, match="no witness"):
        Witness(file, api_url="http://kiva", partner_id="1", copied=True)
    with pytest.raises(errors.UsageError, match="cannot be read"):
        Witness(tmp_path / "nothing", api_url="http://kiva", partner_id="1", copied=True)


# ---------------------------------------------------------------- what `check` says


def said(site: Site, machine: Machine, change: Callable[[str], str] = lambda url: url) -> list[tuple[str, str]]:
    outbox = site.opened()
    settings = machine.context.settings
    url = change(site.servers.url("outbox").replace(f":{site.servers.primary.password}@", "@"))
    given = settings.model_copy(update={"outbox": settings.outbox.model_copy(update={"url": url})})
    return [(one.word, one.text) for one in check_replicas.replicas(outbox, given)]


def test_check_names_an_asynchronous_replica_and_what_it_may_cost(site: Site) -> None:
    machine = site.machine()
    [(level, text)] = said(site, machine)
    assert level == "warning"
    assert "asynchronous" in text
    assert "what persons decided in them is lost" in text
    assert "synchronous_standby_names" in text


def test_check_is_content_with_a_synchronous_one_and_not_with_none(site: Site) -> None:
    machine = site.machine()
    site.servers.wait_for_it(synchronous=True)
    try:
        assert [level for level, _ in said(site, machine)] == ["ok"]
    finally:
        site.servers.wait_for_it(synchronous=False)
    site.servers.fail_over()
    assert [level for level, _ in said(site, machine)] == ["warning"]


def test_check_says_that_a_standby_alone_is_named(site: Site) -> None:
    machine = site.machine()
    assert site.servers.standby is not None
    outbox = Outbox(site.servers.standby.url())
    [found] = check_replicas.replicas(outbox, machine.context.settings)
    outbox.close()
    assert (found.word, "leads to a standby" in found.text) == ("error", True)


def test_check_says_that_one_server_of_several_is_named(site: Site) -> None:
    machine = site.machine()
    port = site.servers.primary.port
    found = said(site, machine, lambda url: f"postgresql://postgres@127.0.0.1:{port}/{url.rpartition('/')[2]}")
    assert "HOST,HOST/outbox?target_session_attrs=read-write" in found[-1][1]
    found = said(
        site,
        machine,
        lambda _url: f"postgresql://postgres@127.0.0.1:{port}/outbox?options=-csearch_path=north",
    )
    assert "HOST,HOST/outbox?target_session_attrs=read-write&options=-csearch_path=north" in found[-1][1]
