"""Kiva's words in a closed report go with the bodies: they may quote a name."""

from __future__ import annotations

from datetime import date

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import report, report_table, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.report import FrozenLine, Report
from testbed.rig import outboxes as suite
from testbed.rig.outboxes import later

QUOTED = "Awa Sow is unknown"
PROBLEM = {"loan_id": "L1", "severity": "error", "code": "e7", "details": QUOTED}
FACTS = {
    "loan_id": "L1",
    "position": "150",
    "params": {
        "problems": [PROBLEM],
        "reasons": [{"code": "kiva_said_no", "field": "", "params": {"text": QUOTED, "status": "422"}}],
    },
}


def test_of_a_report_that_closed_long_ago_only_the_codes_stay(outbox: Outbox) -> None:
    suite.put(outbox, resource="repayment", period="2026-09")
    attempt = suite.deliver(outbox, "repayment")
    assert attempt
    with outbox.begin() as tx:
        for period, closed in (("2026-09", later(0)), ("2026-10", later(500))):
            opened = Report(period, date(2026, 9, 30), "cumulative_principal", None, None, later(0), closed_at=closed)
            report.open_(tx, opened)
            report.freeze(tx, period, [FrozenLine("k1", "L1", "decide", "position_fell", FACTS)])
        given = {"period": "2026-09", "upload_id": "u1", "at": later(0), "loans": 1, "problems": [PROBLEM]}
        tx.execute(sa.insert(report_table.upload).values(attempt_id=1, **given))
    with outbox.begin() as tx:
        assert report.forget_words(tx, before=later(100)) == 2
        assert report.forget_words(tx, before=later(100)) == 0
    with outbox.read() as tx:
        (old,), (young,) = (list(report.frozen(tx, period)) for period in ("2026-09", "2026-10"))
        uploads = tx.execute(sa.select(report_table.upload.c.problems)).scalars().all()
    assert QUOTED not in str(old) + str(uploads)
    assert old.facts["position"] == "150"
    assert old.facts["params"]["problems"] == [{"loan_id": "L1", "severity": "error", "code": "e7", "details": ""}]
    assert QUOTED in str(young)


def test_a_large_report_is_gone_through_in_parts_by_whoever_goes_on(outbox: Outbox) -> None:
    """All of a hundred thousand loans was one transaction, in which nobody else could write for half a minute."""
    with outbox.begin() as tx:
        opened = Report("2026-09", date(2026, 9, 30), "cumulative_principal", None, None, later(0), closed_at=later(0))
        report.open_(tx, opened)
        plain = {"loan_id": "L1", "position": "150", "params": {"text": "no word of Kiva's"}}
        lines = [
            FrozenLine(f"k{number:04}", "L1", "decide", "position_fell", FACTS if number % 2 else plain)
            for number in range(1200)
        ]
        report.freeze(tx, "2026-09", lines)
    parts: list[int] = []
    while not parts or parts[-1]:
        with outbox.begin() as tx:
            parts.append(report.forget_words(tx, before=later(100)))
    assert parts == [251, 251, 101, 0]
    with outbox.read() as tx:
        told = list(report.frozen(tx, "2026-09"))
    assert QUOTED not in str(told)
    assert [one.facts["params"] for one in told if "text" in one.facts["params"]] == [plain["params"]] * 600


def test_many_uploads_of_a_report_are_gone_through_in_parts(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        opened = Report("2026-09", date(2026, 9, 30), "cumulative_principal", None, None, later(0), closed_at=later(0))
        report.open_(tx, opened)
    for number in range(3):
        suite.put(outbox, f"L{number}", resource="repayment", period="2026-09")
        suite.deliver(outbox, "repayment")
    given = {"period": "2026-09", "upload_id": "u1", "at": later(0), "loans": 1, "problems": [PROBLEM]}
    with outbox.begin() as tx:
        attempts = tx.execute(sa.select(table.attempt.c.id)).scalars().all()
        tx.execute(sa.insert(report_table.upload), [{"attempt_id": attempt, **given} for attempt in attempts])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(report, "_FORGOTTEN_AT_ONCE", 2)
        with outbox.begin() as tx:
            assert [report.forget_words(tx, before=later(100)) for _ in range(3)] == [1, 1, 0]
    with outbox.read() as tx:
        uploads = tx.execute(sa.select(report_table.upload.c.problems)).scalars().all()
    assert len(uploads) == 3
    assert QUOTED not in str(uploads)
