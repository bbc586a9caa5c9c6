"""Kiva's words in a closed report go with the bodies: they may quote a name."""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa

from kiva_relay.outbox import report, report_table
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
