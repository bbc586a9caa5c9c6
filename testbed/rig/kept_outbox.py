"""A full outbox of version 0.2, written once and kept as a test file: later versions must be able to take it over.

    python -m testbed.rig.kept_outbox tests/data/outbox-0.2.sql

Every state, evidence, outcome of an attempt, reason of a hold, divergence and scan is in it, and nothing personal. The
same version writes the same bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import (
    act,
    catalogue,
    closing,
    hold,
    meta,
    mirror,
    query,
    reason,
    scan,
    sending,
    settlement,
    store,
    table,
    watermark,
)
from kiva_relay.outbox.database import Outbox, create_file
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.scan import ScanProgress
from kiva_relay.outbox.sending import Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource.refusal import Refusal
from kiva_relay.source.position import Position
from testbed.rig import outboxes
from testbed.rig.outboxes import ACCEPTED, LOST, NOT_SENT, NOW, later

FILE = Path(__file__).parents[2] / "tests" / "data" / "outbox-0.2.sql"
BY = "awa"
_W = Position(server="postgresql fineract_default", xid=17, moment=NOW).text()
_REFUSED = Ending("refused", body_complete=True, status=422, detail="amount: too large")
_RECEIPT = {"loan_draft": "loan_draft_uuid", "repayment": "upload_id", "journal": "archive_id"}


def opened(folder: Path, *, file: Path = FILE) -> Outbox:
    """The kept outbox, as a database file in `folder`."""
    path = folder / "outbox.db"
    create_file(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(file.read_text(encoding="utf-8"))
    return Outbox(f"sqlite:///{path}")


def dumped() -> str:
    """The SQL that makes it, written now."""
    with tempfile.TemporaryDirectory() as folder:
        outbox = outboxes.on_file(Path(folder))
        _fill(outbox)
        outbox.close()
        with contextlib.closing(sqlite3.connect(outbox.path)) as connection:
            return "\n".join(connection.iterdump()) + "\n"


def _fill(outbox: Outbox) -> None:
    _facts(outbox)
    _streams(outbox)
    _entries(outbox)
    _persons(outbox)
    _diverge(outbox)
    with outbox.begin() as tx:
        _lists(tx)
        _holds(tx)
        tx.execute(sa.insert(table.lease).values(id=1, fence=3, holder=None, expires_at=None))


def _facts(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        meta.OUTBOX_ID.put(tx, "0123456789abcdef")
        meta.API_URL.put(tx, "http://127.0.0.1:8765")
        meta.PARTNER_ID.put(tx, "123")
        meta.MIS.put(tx, "postgresql fineract_default")
        meta.FIRST_START.put(tx, NOW - timedelta(days=9))
        meta.WITNESSES.put(tx, meta.WitnessesKnown("0a", {"file": "0a"}, 0))
        meta.ATTEMPTS_KNOWN.put(tx, {"fedcba9876543210": 4})
        meta.REPORT.put(tx, "2026-11")
        meta.TIMELINE.put(tx, "1")
        meta.ALIASES.put(tx, {"L-871": "000000871"})
        meta.SLOT_POSITION.put(tx, meta.SlotPosition("kiva_relay", 23_456_789))
        meta.RELOAD_RESULT.put(tx, meta.ReloadResult(NOW, ok=True, text="in force"))
        for stream in ("loan_draft.individual", "journal"):
            meta.mapping_text(stream).put(tx, "format: 1\n")
            meta.mapping_fingerprint(stream).put(tx, "1:abc")
            meta.mapping_approved(stream).put(tx, "1:abc")
            meta.habits(stream).put(tx, {"new": {"of": 2, "filled": {"amount": 2}, "last": {"871": ["amount"]}}})
        meta.mapping_revision("journal").put(tx, meta.Revision(newest=3, waiting=2, period="", at=NOW))


def _streams(outbox: Outbox) -> None:
    scans = {
        "loan_draft.individual": ScanProgress(1, "backfill", NOW, 40, done=40, found=40, at=later(9)),
        "repayment": ScanProgress(3, "sweep", NOW, 40, done=12, found=3, gone=1, missed=2, at=later(4)),
        "journal": ScanProgress(2, "edit", NOW, 8),
        "loan_draft.group": None,
    }
    with outbox.begin() as tx:
        for stream, progress in scans.items():
            watermark.begin(tx, stream)
            for _ in range(progress.number - 1 if progress else 0):
                watermark.start_scan(tx, stream, "sweep", now=NOW)
            if progress is not None:
                scan.keep(tx, stream, progress)
                watermark.advance(tx, watermark.watermarks(tx)[stream], _W, mode="poll", now=NOW)
        watermark.end_scan(tx, watermark.watermarks(tx)["loan_draft.individual"], now=later(9))
        watermark.scanned(tx, watermark.watermarks(tx)["repayment"], "12", now=later(4))
        watermark.start_leaving(tx, watermark.watermarks(tx)["journal"])
        seen = Captured(
            stream="loan_draft.individual",
            key="871",
            resource="loan_draft",
            identity="000000871",
            hash="h",
            in_scope=True,
            baselined=False,
            refused=False,
            again=False,
            created_at="2026-11-20",
            scan_number=1,
            captured_at=NOW,
        )
        watermark.keep(tx, seen)
        for number, flag in enumerate(("baselined", "refused", "again"), 872):
            values = {**seen.__dict__, "key": str(number), "identity": f"{number:09}", flag: True}
            watermark.keep(tx, Captured(**values))


def _entries(outbox: Outbox) -> None:
    """One of each state, by the roads that lead there; of each resource where it differs."""
    for resource, receipt in _RECEIPT.items():
        period = "2026-10" if resource == "repayment" else ""
        for identity, ending, verdict in (
            ("000000001", ACCEPTED, EntryVerdict(State.DELIVERED, receipt={receipt: "7"})),
            ("000000002", LOST, EntryVerdict(State.IN_DOUBT, reason="answer_lost")),
            ("000000003", _REFUSED, EntryVerdict(State.REFUSED, refusals=(Refusal("kiva_said_no", "amount", {}),))),
            ("000000004", NOT_SENT, EntryVerdict(State.READY, due_in=timedelta(seconds=60))),
            ("000000005", None, None),
        ):
            owed = outboxes.put(outbox, identity, resource=resource, stream=resource, period=period)
            _sent(outbox, owed, ending, verdict)
    problem = replace(ACCEPTED, problems=[{"severity": "error", "details": "not all could be read"}])
    verdict = EntryVerdict(State.DELIVERED, {"upload_id": "8"}, reason="problem_without_loan", evidence="warned")
    owed = outboxes.put(outbox, "000000015", resource="repayment", stream="repayment", period="2026-10")
    _sent(outbox, owed, problem, verdict)
    owed = outboxes.put(outbox, "000000016", resource="repayment", stream="repayment", period="2026-09")
    [doubt] = _sent(outbox, owed, LOST, EntryVerdict(State.IN_DOUBT, reason="answer_lost"))
    with outbox.begin() as tx:
        closing.close(tx, doubt, reason="window_closed", now=later(3))
    outboxes.put(outbox, "000000006", waits="loan_not_at_kiva", resource="journal", stream="journal")
    outboxes.put(outbox, "000000007", None, refusals=(Refusal("name_empty", "entreps[0].first_name"),))
    outboxes.put(outbox, "000000008", adopted={"kiva_id": "k8", "status": "fundRaising"})
    outboxes.put(outbox, "000000009")
    outboxes.put(outbox, "000000009", '{"amount":2}', seconds=2)
    outboxes.put(outbox, "000000010")
    outboxes.put(outbox, "000000002", '{"amount":2}', seconds=2)
    with outbox.begin() as tx:
        store.left_scope(tx, "loan_draft", "000000010", reason="left_scope", now=later(3))
        store.put_in_doubt(tx, "loan_draft", "000000011", loan_id="000000011", now=later(3))


def _sent(outbox: Outbox, entry: Entry | None, ending: Ending | None, verdict: EntryVerdict | None) -> Sequence[Entry]:
    """Claim just this entry, and end its attempt unless it stays open; the entries as they are then."""
    assert entry is not None
    with outbox.begin() as tx:
        batch = sending.claim(tx, entry.resource, [entry], fence=3, now=entry.due_at, request=lambda b: b[0].encode())
        assert batch is not None
        if ending is None or verdict is None:
            return batch.entries
        return sending.end(tx, batch, ending, {entry.id: verdict}, by=Actor.COURIER, now=later(1))


def _persons(outbox: Outbox) -> None:
    for identity, verb in (("000000012", "delivered"), ("000000013", "discard")):
        entry = outboxes.put(outbox, identity)
        assert entry is not None
        with outbox.begin() as tx:
            settlement.settle(tx, entry, verb, by=BY, note="seen in PA2", now=later(5))  # type: ignore[arg-type]
    found = outboxes.put(outbox, "000000014")
    [lost] = _sent(outbox, found, LOST, EntryVerdict(State.IN_DOUBT, reason="answer_lost"))
    with outbox.begin() as tx:
        receipt = {"kiva_id": "k14", "status": "inactive"}
        values = {"evidence": "look_up", "receipt": receipt, "reason": None}
        store.move(tx, lost, State.DELIVERED, Actor.RECONCILER, now=later(9), **values)
        act.record(tx, by=BY, verb="reload", about=["journal"], note="", now=later(9))


def _diverge(outbox: Outbox) -> None:
    """A draft that the MIS changed, and one that it cancelled, after they were sent; a difference that is over."""
    for identity in ("000000021", "000000022", "000000023"):
        delivered = EntryVerdict(State.DELIVERED, receipt={"loan_draft_uuid": "u"})
        _sent(outbox, outboxes.put(outbox, identity, seconds=20), ACCEPTED, delivered)
    outboxes.put(outbox, "000000021", '{"amount":2}', seconds=22)
    outboxes.put(outbox, "000000023", '{"amount":2}', seconds=22)
    with outbox.begin() as tx:
        store.left_scope(tx, "loan_draft", "000000022", reason="left_scope", now=later(22))
        done: Entry = query.versions(tx, "loan_draft", "000000023")[0]
        settlement.done(tx, done, by=BY, note="corrected in PA2", now=later(23))


def _lists(tx: Connection) -> None:
    for started, complete in ((30, True), (40, False)):
        number = mirror.begin_refresh(tx, now=later(started))
        if complete:
            mirror.keep(tx, number, [MirroredLoan("k8", "000000008", "c8", "fundRaising", "100.00", "XOF")])
        detail = None if complete else "the counts changed"
        mirror.end_refresh(tx, number, complete=complete, listed=int(complete), detail=detail, now=later(started + 1))
    for kind in catalogue.KINDS:
        catalogue.keep(tx, kind, [{"id": 1}], now=later(32))


def _holds(tx: Connection) -> None:
    """Every reason; the first of them released, and the second with an allowance."""
    for number, code in enumerate(sorted(reason.REASONS)):
        what = (hold.ALL, "loan_draft", f"{hold.STREAM}journal")[number % 3]
        hold.put(tx, what, code, now=later(50 + number), params={"number": number})
    first, second, *_others = hold.in_force(tx)
    hold.release(tx, first.what, by=BY, note="looked", now=later(80), reason=first.reason)
    hold.release(tx, second.what, by=BY, note="five", now=later(81), reason=second.reason, limit=5)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Writes a full outbox, to be kept as a test file.")
    parser.add_argument("file", type=Path)
    parser.parse_args().file.write_text(dumped(), encoding="utf-8")


if __name__ == "__main__":
    main()
