"""For any outbox: every thing stands in one line, their sum is what is expected, and OK is said when it balances.

The outboxes come about by the moves that the relay and persons make, in the real tables. What should be there is worked
out again from all rows, one by one.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, event, example, given
from hypothesis import settings as chosen
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.account import finding, health, standing
from kiva_relay.account.line import LineKind
from kiva_relay.cli import frame
from kiva_relay.config.settings import Settings
from kiva_relay.errors import IllegalMove
from kiva_relay.outbox import (
    catalogue,
    closing,
    heartbeat,
    hold,
    listing,
    mirror,
    mirror_table,
    query,
    scan,
    sending,
    settlement,
    store,
    table,
    tally,
    warned_call,
    watermark,
)
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.heartbeat import Heartbeat, Reachability
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.scan import ScanProgress
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource.refusal import Refusal
from testbed.rig import configuration, outboxes
from testbed.rig.outboxes import ACCEPTED, LOST, NOT_SENT, owed

NOW = datetime.fromisoformat("2026-12-05T09:00:00+00:00")
OPEN = """repayments:
  opens_on: {day: 1, at: "00:00"}
  closes_on: {day: 25, at: "18:00"}
"""
STREAMS = {"loan_draft.individual": "loan_draft", "journal": "journal", "repayment": "repayment"}
STREAM_OF = {resource: stream for stream, resource in STREAMS.items()}
PERIODS = ("2026-10", "2026-11")
PERIOD = "2026-11"
LIVE = {"ready", "waiting", "refused", "sending", "in_doubt"}

loans = st.sampled_from(["1", "2"])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIVA_SECRET", "s")
        return frame.load(configuration.write(tmp_path_factory.mktemp("account"), OPEN))


@dataclass
class History:
    """An outbox to which things happen, one step an hour."""

    outbox: Outbox
    now: datetime = NOW - timedelta(hours=20)

    def owe(self, resource: str, loan: str, **changes: Any) -> None:
        period = {"period": PERIOD} if resource == "repayment" else {}
        given = {"resource": resource, "stream": STREAM_OF[resource], "due_at": self.now, **period, **changes}
        with self.outbox.begin() as tx:
            store.owe(tx, owed(loan, given.pop("body", '{"amount":1}'), **given), now=self.now)

    def send(self, resource: str, verdict: EntryVerdict | None, ending: sending.Ending) -> None:
        with self.outbox.begin() as tx:
            due = query.due(tx, resource, limit=2, now=self.now + timedelta(days=1))
            batch = sending.claim(tx, resource, due, fence=1, now=self.now, request=lambda b: b[0].encode())
        if batch is not None and verdict is not None:
            with self.outbox.begin() as tx:
                verdicts = {entry.id: verdict for entry in batch.entries}
                sending.end(tx, batch, ending, verdicts, by=Actor.COURIER, now=self.now)

    def of(self, resource: str, loan: str) -> Entry | None:
        with self.outbox.read() as tx:
            return next(iter(query.versions(tx, resource, loan)), None)


Step = tuple[str, str, str, Any]


@st.composite
def steps(draw: st.DrawFn, resource: str) -> Step:
    """A step: what happens, of which resource (mostly the one given) and loan, and how."""
    how = {
        "owe": st.sampled_from(
            ["plain", "plain", "other", "other", "late", "waits", "incomplete", "refused", "fell", "adopted", "old"]
        ),
        "send": st.sampled_from(["accepted", "accepted", "lost", "lost", "warned", "refused", "not_sent", "open"]),
        "settle": st.sampled_from(["delivered", "resend", "discard"]),
        "done": st.none(),
        "leave": st.sampled_from(["left_scope", "window_closed", "position_fell", "closes"]),
        "hold": st.sampled_from(["resource", "stream", "release"]),
        "list": st.lists(st.tuples(loans, st.sampled_from(["payingBack", "defaulted", "ended"])), max_size=4),
        "capture": st.sampled_from(["seen", "again", "baselined", "left"]),
        "book": st.sampled_from(["begun", "half", "read"]),
    }
    what = draw(st.sampled_from(["owe", "owe", "owe", "send", "send", "send", "settle", *how]))
    return what, draw(st.sampled_from([*[resource] * 7, *STREAM_OF])), draw(loans), draw(how[what])


histories = st.sampled_from(sorted(STREAM_OF)).flatmap(lambda one: st.lists(steps(one), min_size=1, max_size=14))


def happen(told: History, step: Step) -> None:  # noqa: PLR0912 - one case a step
    what, resource, loan, how = step
    match what:
        case "owe":
            owe(told, resource, loan, how)
        case "send":
            send(told, resource, how)
        case "settle" | "done":
            entry = told.of(resource, loan)
            if entry is not None:
                with told.outbox.begin() as tx:
                    if what == "done":
                        settlement.done(tx, entry, by="awa", note="seen", now=told.now)
                    else:
                        settlement.settle(tx, entry, how, by="awa", note="seen", now=told.now)
        case "leave":
            if how == "closes":
                closes(told, resource, loan)
            elif how == "left_scope" or resource == "repayment":
                with told.outbox.begin() as tx:
                    store.left_scope(tx, resource, loan, reason=how, now=told.now)
        case "hold":
            target = f"stream:{STREAM_OF[resource]}" if how == "stream" else resource
            with told.outbox.begin() as tx:
                if how == "release":
                    hold.release(tx, resource, by="awa", note="", now=told.now)
                else:
                    hold.put(tx, target, "asked", now=told.now, by="awa", note="wait")
        case "list":
            kiva_lists(told, how)
        case "capture":
            capture(told, resource, loan, how)
        case "book":
            book(told, resource, how)


def closes(told: History, resource: str, loan: str) -> None:
    """The report closes: what was in doubt, or waits, ends."""
    entry = told.of(resource, loan)
    if resource == "repayment" and entry is not None:
        with told.outbox.begin() as tx:
            closing.close(tx, entry, reason="window_closed", now=told.now)


def owe(told: History, resource: str, loan: str, how: str) -> None:
    more: dict[str, dict[str, Any]] = {
        "plain": {},
        "other": {"body": f'{{"amount":{told.now.hour + 2}}}'},
        "late": {"due_at": NOW + timedelta(minutes=9), "body": f'{{"amount":{told.now.hour + 50}}}'},
        "waits": {"waits": "loan_not_at_kiva"},
        "incomplete": {"waits": "incomplete", "body": None, "publish_by": NOW.date() + timedelta(days=3)},
        "refused": {"body": None, "refusals": (Refusal("name_empty", "x"),)},
        "fell": {"waits": "position_fell", "body": '{"amount":0}'},
        "adopted": {"adopted": {"kiva_id": "k"}} if resource == "loan_draft" else {},
        "old": {"period": PERIODS[0]} if resource == "repayment" else {},
    }
    told.owe(resource, loan, **more[how])


def send(told: History, resource: str, how: str) -> None:
    given: dict[str, tuple[EntryVerdict | None, sending.Ending]] = {
        "accepted": (EntryVerdict(State.DELIVERED, receipt={"loan_draft_uuid": "u"}), ACCEPTED),
        "warned": (EntryVerdict(State.DELIVERED, receipt={"upload_id": 1}, evidence="warned"), ACCEPTED),
        "lost": (EntryVerdict(State.IN_DOUBT, reason="answer_lost"), LOST),
        "refused": (EntryVerdict(State.REFUSED, refusals=(Refusal("kiva_said_no", "x"),)), ACCEPTED),
        "not_sent": (EntryVerdict(State.READY, due_in=timedelta(0)), NOT_SENT),
        "open": (None, NOT_SENT),
    }
    told.send(resource, *given[how])


def kiva_lists(told: History, listed: list[tuple[str, str]]) -> None:
    found = [MirroredLoan(f"k{n}", loan, "", status) for n, (loan, status) in enumerate(listed)]
    with told.outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=told.now)
        mirror.keep(tx, refresh, found)
        mirror.end_refresh(tx, refresh, complete=True, listed=len(found), detail=None, now=told.now)


def capture(told: History, resource: str, loan: str, how: str) -> None:
    seen = Captured(
        stream=STREAM_OF[resource],
        key=loan,
        resource=resource,
        identity=loan,
        hash="h",
        created_at=None,
        scan_number=1,
        captured_at=told.now,
        in_scope=how != "left",
        baselined=how == "baselined",
        again=how == "again",
        refused=False,
    )
    with told.outbox.begin() as tx:
        watermark.keep(tx, seen)


def book(told: History, resource: str, how: str) -> None:
    """The book of a stream is to be read in, is half read, or was read whole."""
    stream = STREAM_OF[resource]
    with told.outbox.begin() as tx:
        if how == "begun":
            watermark.start_scan(tx, stream, "backfill", now=told.now)
            return
        mark = watermark.watermarks(tx)[stream]
        if how == "half":
            scan.keep(tx, stream, ScanProgress(mark.scan_number, "backfill", told.now, 40, done=33, at=told.now))
        else:
            watermark.end_scan(tx, mark, now=told.now)


def begun(folder: Path) -> History:
    """An outbox whose book was read, and Kiva's lists too: nothing is owed."""
    outbox = outboxes.on_file(folder)
    told = History(outbox)
    with outbox.begin() as tx:
        for stream in STREAMS:
            watermark.begin(tx, stream)
            watermark.end_scan(tx, watermark.watermarks(tx)[stream], now=told.now)
        for kind in catalogue.KINDS:
            catalogue.keep(tx, kind, [{"id": 1}], now=NOW - timedelta(hours=1))
    return told


def settle_lists(told: History) -> None:
    """The last reading of Kiva's list is of a moment ago, with what it listed."""
    with told.outbox.begin() as tx:
        rows = [MirroredLoan(*row) for row in tx.execute(sa.select(*mirror._LOANS.selected_columns)).all()]
    told.now = NOW - timedelta(minutes=5)
    with told.outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=told.now)
        mirror.keep(tx, refresh, rows)
        mirror.end_refresh(tx, refresh, complete=True, listed=len(rows), detail=None, now=told.now)


# ---------------------------------------------------------------- the same, worked out from every row


def stood(tx: Connection, resource: str) -> Counter[LineKind]:
    """In which line each thing stands, one thing at a time."""
    entries = [one for one in (query.find(tx, n) for n in tx.execute(sa.select(table.entry.c.id)).scalars()) if one]
    mine = sorted((one for one in entries if one.resource == resource), key=lambda one: (one.loan_id, one.version))
    holds = hold.in_force(tx)
    found: Counter[LineKind] = Counter()
    present = set()
    for loan, versions in itertools.groupby(mine, key=lambda one: one.loan_id):
        line = line_of(tx, list(versions), holds)
        if line is not None:
            present.add(loan)
            found[line] += 1
    if resource == "repayment":
        found += not_reported(tx, present)
    else:
        found += not_read(tx, resource, present)
    return +found


def line_of(tx: Connection, versions: list[Entry], holds: list[hold.Hold]) -> LineKind | None:
    position = versions[0].resource == "repayment"
    live = [one for one in versions if one.state.value in LIVE and one.waits_for is None]
    there = [
        one
        for one in versions
        if (one.state in (State.DELIVERED, State.DISCARDED) and (not position or one.period == PERIOD))
        or (
            one.state is State.WITHDRAWN
            and one.reason in ("window_closed", "position_fell", "closed_unknown")
            and one.period == PERIOD
        )
    ]
    if not live and not there:
        return None
    one = (live or there)[-1]
    match one.state:
        case State.DELIVERED if one.evidence == "warned":
            return LineKind.DECIDE
        case State.DELIVERED:
            columns = table.divergence.c
            last = tx.execute(
                sa.select(table.divergence).where(columns.entry_id == one.id).order_by(columns.id.desc()).limit(1)
            ).one_or_none()
            if last is not None and last.ended_at is None:
                return LineKind.DECIDE
            if last is not None and last.ended_by not in ("a newer difference", "the MIS"):
                return LineKind.LEFT_OUT
            return LineKind.ADOPTED if one.evidence == "adopted" else LineKind.DELIVERED
        case State.DISCARDED | State.WITHDRAWN:
            return LineKind.LEFT_OUT
        case State.READY:
            return LineKind.HELD if any(each.keeps(one) for each in holds) else LineKind.ON_ITS_WAY
        case State.WAITING:
            return LineKind.DECIDE if one.reason == "position_fell" else LineKind.WAITING
        case State.REFUSED:
            return LineKind.REFUSED if one.done_at is None else LineKind.LEFT_OUT
        case State.SENDING:
            return LineKind.ON_ITS_WAY
        case _:
            return LineKind.IN_DOUBT


def not_reported(tx: Connection, present: set[str]) -> Counter[LineKind]:
    found: Counter[LineKind] = Counter()
    known = watermark.identities(tx, "repayment")
    read = is_read(tx, "repayment")
    rows = [row.loan_id for row in tx.execute(sa.select(mirror_table.mirror)) if row.status in mirror.EXPECTED]
    for loan, number in Counter(rows).items():
        found[LineKind.DECIDE] += number - 1
        if loan not in present:
            found[LineKind.MISSING if loan not in known and read else LineKind.NOT_LOOKED_AT_YET] += 1
    return found


def not_read(tx: Connection, resource: str, present: set[str]) -> Counter[LineKind]:
    columns = table.captured.c
    where = (columns.again, columns.in_scope, sa.not_(columns.baselined), columns.resource == resource)
    keys = set(tx.execute(sa.select(columns.identity).where(*where)).scalars())
    left = 0
    if not is_read(tx, resource):
        mark, progress = watermark.watermarks(tx)[STREAM_OF[resource]], scan.of(tx, STREAM_OF[resource])
        if progress is not None and progress.number == mark.scan_number:
            left = progress.total - progress.done
    return Counter({LineKind.NOT_LOOKED_AT_YET: len(keys - present) + left})


def is_read(tx: Connection, resource: str) -> bool:
    mark = watermark.watermarks(tx)[STREAM_OF[resource]]
    return mark.backfilled_at is not None and mark.scan != "backfill"


# ---------------------------------------------------------------- for any outbox


WELL = Reachability(last_good=NOW)
AWAY = Reachability(away_since=NOW - timedelta(minutes=1), words="503")
BEATS: dict[str, dict[str, Any]] = {
    "well": {},
    "stopped": {"beats_at": NOW - timedelta(minutes=1)},
    "kiva away": {"kiva": AWAY},
    "mis away": {"mis": AWAY},
    "stuck": {"stuck": {"courier": "ValueError"}},
    "unfit": {"stopped_streams": {"journal": "no column note"}},
    "another mapping": {"streams": {**STREAMS, "loan_draft.group": "loan_draft"}},
}


A_CUTOFF_THAT_WENT_BACK: list[Step] = [
    ("owe", "repayment", "1", "plain"),
    ("settle", "repayment", "1", "discard"),
    ("owe", "repayment", "1", "old"),
    ("send", "repayment", "1", "accepted"),
]


@chosen(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, beats=st.sampled_from(["well", "well", "well", *BEATS]))
@example(history=A_CUTOFF_THAT_WENT_BACK, beats="well")
def test_every_thing_stands_in_one_line_and_ok_means_that_all_of_them_are(
    settings: Settings, history: list[Step], beats: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = begun(Path(folder))
        for step in history:
            told.now += timedelta(hours=1)
            try:
                happen(told, step)
            except (store.Overtaken, IllegalMove, errors.UsageError, sa.exc.IntegrityError):
                continue  # nobody can do that now
        settle_lists(told)
        with told.outbox.begin() as tx:
            beat = Heartbeat(NOW - timedelta(days=1), "0.2.0", 1, NOW, mis=WELL, kiva=WELL, streams=STREAMS)
            heartbeat.write(tx, replace(beat, **BEATS[beats]))
        with told.outbox.read() as tx:
            facts = standing.gather(tx, settings, now=NOW)
            asked = [*warned_call.calls(tx), *listing.closed_unknown(tx), *listing.closed_undecided(tx)]
            right = {resource: stood(tx, resource) for resource in STREAM_OF}
            assert tally.differences(tx) == []
        told.outbox.close()
    account = facts.account
    for resource, lines in right.items():
        shown: Counter[LineKind] = Counter()
        for one in account.lines[resource]:
            shown[one.kind] += one.number
        assert shown == lines, resource
        assert account.number(resource) == sum(lines.values())
    says_ok = health.verdict(health.findings(facts)) is finding.Verdict.OK
    assert says_ok is (account.balances and not facts.kept and beats == "well")
    assert not (says_ok and asked)
    kinds = {kind for lines in right.values() for kind in lines}
    for kind in kinds:
        event(f"something stands in {kind}")
    event("OK" if says_ok else "not OK")
    if kinds - {
        LineKind.DELIVERED,
        LineKind.ADOPTED,
        LineKind.ON_ITS_WAY,
        LineKind.WAITING,
        LineKind.LEFT_OUT,
    }:
        assert not says_ok
