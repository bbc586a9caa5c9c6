"""Following the MIS's stream: when it may be relied on, what it lets W do, and what follows from each of its ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from kiva_relay import errors, meter
from kiva_relay.capture import follow
from kiva_relay.capture.follow import NoStream, StreamFollower
from kiva_relay.outbox import meta, watermark
from kiva_relay.source import replication, slot
from kiva_relay.source.mis import Mis
from kiva_relay.source.position import Cycle, Position
from kiva_relay.source.published import Member, PublishedTable
from kiva_relay.source.replication import Session
from kiva_relay.source.route import Routed
from testbed.rig import capturing
from testbed.rig.capturing import NOW, Rig

ALL = ("loan_draft", "repayment", "journal")


def table(oid: int, name: str, **changes: Any) -> PublishedTable:
    itself = Member(name=name, kind="r", logged=True, whole=True, identity=frozenset())
    values: dict[str, Any] = {"oid": oid, "file": oid, "name": name, "can_be": True, "published": True,
                              "columns": frozenset(), "members": (itself,)}  # fmt: skip
    return PublishedTable(**(values | changes))


USABLE = slot.SlotFacts(
    name="ours", role="kiva_relay", next_xid=100, wal_level="logical", keep="10GB", standbys="", standby=False,
    may_follow=True, published=True, partial=False, there=True, here=True, plugin="pgoutput", reader=None,
    wal_status="reserved", kept=5, tables={"loan": table(1, "loan"), "note": table(2, "note"),
                                           "instalment": table(3, "instalment")},
)  # fmt: skip


class Server:
    """In place of the MIS: its slot."""

    def __init__(self) -> None:
        self.found = USABLE
        self.fails: Exception | None = None
        self.routed = Routed()
        self.asked: list[Any] = []

    def slot(self, _name: str, _streams: Any, *, all_of_it: bool) -> slot.SlotFacts:
        assert not all_of_it
        if self.fails is not None:
            raise self.fails
        return self.found

    def follow(self, _streams: Any, transactions: Any, **more: Any) -> Routed:
        self.asked.append((transactions, more["oids"], more["most"]))
        return self.routed


class Tail:
    """In place of the thread that listens."""

    made: list[Tail] = []  # noqa: RUF012 - the tests look there

    def __init__(self, *_args: Any, **_more: Any) -> None:
        self.session: Session | None = None
        self.error = ""
        self.asks = self.has_news = False
        self.waiting: list[Any] = []
        self.place = 0
        self.calls: list[Any] = []
        Tail.made.append(self)

    def want(self, columns: Any) -> None:
        self.calls.append(("want", dict(columns)))

    def start(self) -> None:
        self.calls.append("start")

    def close(self) -> None:
        self.calls.append("close")

    def pending(self) -> list[Any]:
        return self.waiting

    def reached(self, session: Session | None) -> int:
        return self.place if session is not None and session == self.session else 0

    def done(self, transactions: Any) -> None:
        self.calls.append(("done", list(transactions)))

    def confirm(self, place: int) -> None:
        self.calls.append(("confirm", place))


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(replication, "Tail", Tail)
    Tail.made = []
    made = capturing.rig(tmp_path)
    with made.outbox.begin() as tx:
        for name in ALL:
            watermark.begin(tx, name)
            watermark.end_scan(tx, watermark.watermarks(tx)[name], now=NOW)
    yield made
    made.outbox.close()


@pytest.fixture
def server() -> Server:
    return Server()


def follower(rig: Rig, server: Server, **changes: Any) -> StreamFollower:
    values: dict[str, Any] = {"url": "postgresql://h/d", "password": None, "name": "ours", "required": False,
                              "share": 0.05, "news": lambda: None}  # fmt: skip
    return StreamFollower(mis=cast("Mis", server), outbox=rig.outbox, clock=rig.clock, **(values | changes))


def look(rig: Rig, made: StreamFollower, xid: int | None = 100) -> Any:
    """A cycle's look, with every stream read up to this transaction."""
    w = Position("s", xid, NOW).text()
    marks = {name: replace(mark, w=w) for name, mark in rig.marks().items()}
    return made.look([one.stream for one in rig.documents], marks)


def connected(rig: Rig, made: StreamFollower, number: int = 1, began: int = 500) -> Tail:
    """The stream is there, and it was looked at since."""
    look(rig, made)
    tail = Tail.made[-1]
    tail.session = Session(number, began)
    look(rig, made)
    return tail


def scans(rig: Rig) -> list[str]:
    return [name for name, mark in rig.marks().items() if mark.scan]


def swept(rig: Rig) -> None:
    with rig.outbox.begin() as tx:
        for mark in watermark.watermarks(tx).values():
            watermark.end_scan(tx, mark, now=NOW)


def stored(rig: Rig) -> Any:
    with rig.outbox.read() as tx:
        return meta.SLOT_POSITION.get(tx)


# ---------------------------------------------------------------- which tables need not be polled


def test_a_stream_is_followed_once_polling_has_come_to_where_it_begins(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    assert look(rig, made) == {}  # there is no connection yet
    (tail,) = Tail.made
    assert tail.calls[0][0] == "want"
    assert tail.calls[1] == "start"
    assert (made.standing.live, made.standing.why, made.standing.made) == (False, "it is being connected", True)
    assert not made.has_begun()
    tail.session = Session(1, 500)
    assert made.has_begun()
    assert not made.has_begun()
    assert look(rig, made, xid=99) == {}
    assert made.standing.live
    assert look(rig, made, xid=None) == {}
    assert look(rig, made, xid=100) == {
        "loan_draft": {"loan", "instalment"},
        "repayment": {"loan"},
        "journal": {"note"},
    }
    server.found = replace(USABLE, next_xid=200)
    assert set(look(rig, made, xid=100)) == set(ALL)  # it has been followed since


def test_only_what_is_published_is_followed(rig: Rig, server: Server) -> None:
    server.found = replace(USABLE, tables={"loan": table(1, "loan"), "note": table(2, "note", published=False)})
    made = follower(rig, server)
    connected(rig, made)
    assert look(rig, made) == {"loan_draft": {"loan"}, "repayment": {"loan"}}


@pytest.mark.parametrize(
    "changes",
    [
        {"tables": {**USABLE.tables, "loan": table(1, "loan", file=9)}},  # it was rewritten
        {"tables": {**USABLE.tables, "loan": table(9, "loan")}},
        {"tables": {"loan": table(1, "loan")}},
    ],
)
def test_a_gap_begins_it_anew(rig: Rig, server: Server, changes: Any) -> None:
    made = follower(rig, server)
    connected(rig, made)
    assert look(rig, made) != {}
    server.found = replace(USABLE, next_xid=200, **changes)
    assert look(rig, made) == {}
    assert look(rig, made, xid=199) == {}
    assert look(rig, made, xid=200) != {}


@pytest.mark.parametrize(
    ("tables", "compared"),
    [
        ({"note": table(2, "note", version="altered")}, {"journal"}),
        ({"note": table(2, "note", published=False)}, {"journal"}),  # what it told last may be less than all
        ({"loan": table(1, "loan", version="altered")}, {"loan_draft", "repayment"}),
        ({"other": table(7, "other", version="new")}, set()),
    ],
)
def test_a_table_that_was_altered_is_compared(
    rig: Rig, server: Server, tables: Any, compared: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    made = follower(rig, server)
    connected(rig, made)
    swept(rig)
    look(rig, made)
    assert scans(rig) == []
    server.found = replace(USABLE, next_xid=200, tables={**USABLE.tables, **tables})
    assert look(rig, made, xid=199) == {} or not compared
    assert {*scans(rig)} == compared
    assert capsys.readouterr().err.count("were altered") == bool(compared)
    swept(rig)
    look(rig, made)
    assert scans(rig) == []


def test_a_table_that_was_altered_while_no_relay_ran_is_compared(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    connected(rig, made)
    made.settle()
    made.close()
    swept(rig)
    server.found = replace(USABLE, tables={**USABLE.tables, "note": table(2, "note", version="altered")})
    connected(rig, follower(rig, server))
    assert scans(rig) == ["journal"]


def test_another_connection_begins_it_anew(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    tail = connected(rig, made)
    assert look(rig, made) != {}
    tail.session = Session(2, 500)
    server.found = replace(USABLE, next_xid=150)
    assert look(rig, made, xid=149) == {}
    assert look(rig, made, xid=150) != {}
    tail.session = None
    tail.error = "the server closed the connection"
    assert look(rig, made) == {}
    assert (made.standing.live, made.standing.why) == (False, "the server closed the connection")


def test_columns_that_are_wanted_from_now_on_may_lack_in_what_came_before(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    connected(rig, made)
    assert look(rig, made) != {}
    server.found = replace(USABLE, tables={**USABLE.tables, "note": table(9, "note")})
    assert look(rig, made, xid=1000) == {}
    server.found = replace(server.found, next_xid=300)
    assert look(rig, made, xid=299) == {}
    assert look(rig, made, xid=300) != {}


# ---------------------------------------------------------------- how far W may move


def cycle(written: int = 1000, **following: str) -> Cycle:
    return Cycle({name: [] for name in following}, following, {}, timedelta(0), written=written)


def test_w_moves_when_the_stream_has_passed_what_the_snapshot_saw(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    tail = connected(rig, made)
    followed = look(rig, made)
    result, pinned = made.bar(cycle(loan_draft="7", journal="7"), followed)
    assert (result.next, set(pinned)) == ({"loan_draft": "7", "journal": "7"}, {"loan_draft", "journal"})
    tail.place = 999
    assert made.bar(cycle(2000, loan_draft="8"), followed)[1] == {"loan_draft"}
    tail.place = 1000
    result, pinned = made.bar(cycle(2000, loan_draft="9", journal="9", repayment="9"), followed)
    assert result.next == {"loan_draft": "7", "journal": "7", "repayment": "9"}
    assert pinned == {"repayment"}  # it was not followed at that time
    tail.place = 1999
    assert made.bar(cycle(3000, loan_draft="10"), followed)[1] == {"loan_draft"}
    tail.place = 2000
    assert made.bar(cycle(3000, loan_draft="10"), followed)[0].next == {"loan_draft": "9"}


def test_w_stays_where_nobody_knows_how_far_the_server_had_written(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    tail = connected(rig, made)
    followed = look(rig, made)
    tail.place = 5000
    for number in ("7", "8"):
        assert made.bar(cycle(0, loan_draft=number), followed)[1] == {"loan_draft"}


def test_what_is_polled_moves_as_ever(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    connected(rig, made)
    result, pinned = made.bar(cycle(loan_draft="7"), {})
    assert (result.next, pinned) == ({"loan_draft": "7"}, frozenset())
    result, pinned = made.bar(cycle(loan_draft="7"), {"journal": frozenset({"note"})})
    assert pinned == frozenset()


# ---------------------------------------------------------------- what it brings


def test_nothing_is_asked_while_nothing_came(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    assert made.take([], cutoff=NOW.date(), most={"loan_draft": 5}) is None
    tail = connected(rig, made)
    assert made.take([], cutoff=NOW.date(), most={"loan_draft": 5}) is None
    assert server.asked == []
    tail.place = 600
    assert made.take([], cutoff=NOW.date(), most={"loan_draft": 5}) is None
    assert ("confirm", 600) not in tail.calls
    tail.asks = True
    assert made.take([], cutoff=NOW.date(), most={"loan_draft": 5}) is None
    assert tail.calls[-1] == ("confirm", 600)


def test_what_came_is_routed(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    tail = connected(rig, made)
    tail.waiting = ["one", "two"]
    assert made.take([], cutoff=NOW.date(), most={"loan_draft": 5}) is server.routed
    assert server.asked == [(["one", "two"], {"loan": 1, "note": 2, "instalment": 3}, {"loan_draft": 5})]


def test_what_comes_soon_after_a_page_shares_the_next_one(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    assert not made.has_news
    tail = connected(rig, made)
    tail.has_news = True
    assert made.has_news
    assert made.pause() == 0  # a single commit goes at once
    made.taken(Routed(waiting=[cast("Any", "one")]), missed=())
    assert made.pause() == 0
    made.taken(Routed(done=[cast("Any", "one")]), missed=())
    assert made.pause() == pytest.approx(follow.GATHERED_FOR)
    rig.clock.pass_(0.06)
    assert made.pause() == pytest.approx(follow.GATHERED_FOR - 0.06)
    rig.clock.pass_(0.05)
    assert made.pause() == 0


def test_what_was_captured_is_confirmed_now_and_then_and_written_first(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    tail = connected(rig, made)
    swept(rig)
    tail.place = 700
    made.taken(Routed(), missed=())
    assert tail.calls[-1] != ("confirm", 700)  # nothing was done
    made.taken(Routed(done=[cast("Any", "one")]), missed=())
    assert tail.calls[-2:] == [("done", ["one"]), ("confirm", 700)]
    assert stored(rig) == meta.SlotPosition("ours", 700)
    tail.place = 800
    rig.clock.pass_(0.9)
    made.taken(Routed(done=[cast("Any", "two")]), missed=())
    assert tail.calls[-1] == ("done", ["two"])
    rig.clock.pass_(0.1)
    made.taken(Routed(done=[cast("Any", "three")]), missed=())
    assert tail.calls[-1] == ("confirm", 800)
    assert scans(rig) == []


def test_what_concerned_nobody_is_confirmed_now_and_then_and_before_it_keeps_a_file_more(
    rig: Rig, server: Server
) -> None:
    """The relay's own heartbeat moves the log of a server that holds the outbox, too: it stored that at each look."""
    made = follower(rig, server)
    tail = connected(rig, made)
    swept(rig)

    def is_confirmed(place: int) -> bool:
        tail.place = place
        made.settle(at_once=False)
        return bool(tail.calls[-1] == ("confirm", place) and stored(rig).place == place)

    assert is_confirmed(700)
    rig.clock.pass_(59.9)
    assert not is_confirmed(800)
    assert stored(rig).place == 700
    rig.clock.pass_(0.1)
    assert is_confirmed(800)
    assert not is_confirmed(799 + 16 * 1024 * 1024)
    assert is_confirmed(800 + 16 * 1024 * 1024)
    tail.place += 1
    made.taken(Routed(done=[cast("Any", "one")]), missed=())  # a moment after it was confirmed
    assert tail.calls[-1] == ("done", ["one"])
    assert is_confirmed(tail.place)


def test_how_far_it_came_never_goes_back(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    tail = connected(rig, made)
    swept(rig)
    for place, kept in ((700, 700), (600, 700), (701, 701)):
        tail.place = place
        made.settle()
        assert stored(rig).place == kept
        assert tail.calls[-1] == ("confirm", place)
    tail.place = 0
    made.settle()
    assert tail.calls[-1] == ("confirm", 701)


def test_a_stream_that_was_missed_is_polled_and_compared(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    tail = connected(rig, made)
    swept(rig)
    followed = look(rig, made)
    made.bar(cycle(loan_draft="7", journal="7"), followed)
    tail.place = 1000
    made.taken(Routed(done=[cast("Any", "one")]), missed=["journal", "unknown"])
    assert scans(rig) == ["journal"]
    result, pinned = made.bar(cycle(loan_draft="8"), followed)
    assert pinned == {"loan_draft"}  # what the barrier was made with no longer holds
    server.found = replace(USABLE, next_xid=300)
    assert set(look(rig, made, xid=299)) == {"loan_draft", "repayment"}
    assert set(look(rig, made, xid=300)) == set(ALL)


def test_a_table_of_which_all_may_have_changed_is_compared(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    tail = connected(rig, made)
    swept(rig)
    tail.place = 600
    made.taken(Routed(done=[cast("Any", "one")], all_changed={"loan_draft"}), missed=())
    assert scans(rig) == ["loan_draft"]
    swept(rig)
    made.settle()
    assert scans(rig) == []


# ---------------------------------------------------------------- beginnings and ends


@pytest.mark.parametrize(
    ("kept", "began", "compared"), [(None, 500, True), (499, 500, True), (500, 500, False), (501, 500, False)]
)
def test_where_the_server_begins_behind_what_we_have_all_is_compared(
    rig: Rig, server: Server, kept: int | None, began: int, *, compared: bool
) -> None:
    if kept is not None:
        with rig.outbox.begin() as tx:
            meta.SLOT_POSITION.put(tx, meta.SlotPosition("ours", kept))
    connected(rig, follower(rig, server), began=began)
    assert (len(scans(rig)) == 3) is compared
    assert stored(rig).place == (began if compared else kept)


def test_what_another_slot_had_says_nothing(rig: Rig, server: Server) -> None:
    with rig.outbox.begin() as tx:
        meta.SLOT_POSITION.put(tx, meta.SlotPosition("another", 900))
    connected(rig, follower(rig, server))
    assert len(scans(rig)) == 3
    assert stored(rig) == meta.SlotPosition("ours", 500)


def test_without_a_stream_it_is_polled_and_compared_once(rig: Rig, server: Server) -> None:
    made = follower(rig, server)
    tail = connected(rig, made)
    swept(rig)
    server.found = replace(USABLE, wal_status="lost")
    assert look(rig, made) == {}
    assert tail.calls[-1] == "close"
    assert len(scans(rig)) == 3
    assert stored(rig) is None
    assert (made.standing.live, made.standing.made) == (False, True)
    assert "wal_status lost" in made.standing.why
    assert meter.replication_live._value.get() == 0
    swept(rig)
    assert look(rig, made) == {}
    assert scans(rig) == []
    assert len(Tail.made) == 1
    server.found = USABLE
    look(rig, made)
    assert len(Tail.made) == 2


PROMOTED = replace(USABLE, there=False, here=False, plugin="", wal_status="", timeline="2", version=180_001)


@pytest.fixture
def made_there(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements by which a slot was made on the server; `failing` is why not."""
    asked: list[str] = []

    def made(_url: Any, _password: Any, statement: str) -> str:
        asked.append(statement)
        if "no" in asked:
            return "a transaction is open"
        server.found = replace(USABLE, timeline="2")
        return ""

    monkeypatch.setattr(replication, "made", made)
    return asked


def test_a_standby_that_took_over_without_the_slot_gets_it_again(
    rig: Rig, server: Server, made_there: list[str]
) -> None:
    server.found = replace(USABLE, timeline="1")
    made = follower(rig, server)
    connected(rig, made)
    made.settle()
    swept(rig)
    server.found = PROMOTED
    look(rig, made)
    assert made_there == ["SELECT pg_create_logical_replication_slot('ours', 'pgoutput', failover => true);"]
    Tail.made[-1].session = Session(2, 400)  # its log is another one, whose places may lie before ours
    look(rig, made)
    assert len(scans(rig)) == 3
    assert stored(rig).place == 400
    swept(rig)
    Tail.made[-1].session = Session(3, 400)
    look(rig, made)
    assert scans(rig) == [], "on one timeline a place that was read is no gap"


def test_a_slot_that_cannot_be_made_is_tried_again_later_and_meanwhile_it_is_polled(
    rig: Rig, server: Server, made_there: list[str]
) -> None:
    server.found = replace(USABLE, timeline="1")
    made = follower(rig, server)
    connected(rig, made)
    made.settle()
    server.found = PROMOTED
    made_there.append("no")
    for _ in range(3):
        assert look(rig, made) == {}
    assert len(made_there) == 2
    assert "there is no slot" in made.standing.why
    made_there.clear()
    rig.clock.pass_(61)
    look(rig, made)
    assert len(made_there) == 1


def test_a_slot_that_somebody_dropped_is_not_made_again(rig: Rig, server: Server, made_there: list[str]) -> None:
    server.found = replace(USABLE, timeline="1")
    made = follower(rig, server)
    connected(rig, made)
    made.settle()
    server.found = replace(PROMOTED, timeline="1")
    look(rig, made)
    server.found = PROMOTED
    look(rig, made)
    assert made_there == []


def test_nobody_hears_of_a_stream_that_nobody_set_up(
    rig: Rig, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.found = replace(USABLE, there=False, published=False)
    made = follower(rig, server)
    assert look(rig, made) == {}
    assert (made.standing.made, made.standing.live) == (False, False)
    assert "cannot be followed" not in capsys.readouterr().err
    assert scans(rig) == []
    server.found = replace(USABLE, published=False)
    look(rig, made)
    look(rig, made)
    assert capsys.readouterr().err.count("cannot be followed") == 1


def test_a_stream_that_must_be_there_is_missed_at_the_start_only(rig: Rig, server: Server) -> None:
    server.found = replace(USABLE, there=False)
    with pytest.raises(NoStream, match="there is no slot ours"):
        look(rig, follower(rig, server, required=True))
    server.found = USABLE
    made = follower(rig, server, required=True)
    connected(rig, made)
    server.found = replace(USABLE, there=False)
    assert look(rig, made) == {}


def test_a_catalogue_that_may_not_be_read_does_not_stop_the_polling(rig: Rig, server: Server) -> None:
    server.fails = errors.RelayError("permission denied")
    made = follower(rig, server)
    assert look(rig, made) == {}
    assert made.standing.why == "permission denied"
    server.fails = errors.Unreachable("it is away")
    with pytest.raises(errors.Unreachable):
        look(rig, made)


def test_what_the_server_keeps_is_shown_and_said_before_it_is_dropped(
    rig: Rig, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    made = follower(rig, server)
    connected(rig, made)
    assert (made.standing.kept, meter.replication_kept_bytes._value.get(), meter.replication_live._value.get()) == (
        5,
        5,
        1,
    )
    server.found = replace(USABLE, wal_status="unreserved", kept=None)
    look(rig, made)
    look(rig, made)
    assert (made.standing.kept, made.standing.wal_status) == (None, "unreserved")
    assert meter.replication_kept_bytes._value.get() == 0
    assert capsys.readouterr().err.count("about to drop") == 1


def test_it_closes_what_it_opened(rig: Rig, server: Server) -> None:
    follower(rig, server).close()
    made = follower(rig, server)
    tail = connected(rig, made)
    made.close()
    assert tail.calls[-1] == "close"


def test_reading_what_it_brings_keeps_to_its_share(rig: Rig, server: Server) -> None:
    made = follower(rig, server, share=0.1)
    made.spent(0.1 * follow.SPAN)
    assert made.pause() == 0
    made.spent(1)
    assert made.pause() == pytest.approx(10)
