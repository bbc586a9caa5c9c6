"""The real process, on a machine whose clock somebody sets by days while it runs, there and back.

By the real hour, which the stand-in for Kiva has: what was granted rests as long as `hold_for` says, a lost answer is
settled after `settle_after`, no draft is refused as too late on the last day but three, no position is of a wrong
month, and everything is there once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import table
from kiva_relay.outbox.database import Outbox
from kiva_relay.resource.loan_draft import DAYS_BACK
from testbed.kiva import server
from testbed.kiva.config import KivaConfig
from testbed.kiva.control import Sandbox
from testbed.rig import relay_process
from testbed.rig.office import Office
from testbed.rig.patience import eventually
from testbed.rig.relay_process import MachineClock, RelayProcess

pytestmark = pytest.mark.long

SIX_DAYS = timedelta(days=6)
HOLD_FOR, SETTLE_AFTER = 2.0, 3.0
LAST_DAY_BUT_THREE = timedelta(days=DAYS_BACK - 3)


class Branch:
    """What is granted in it, and what becomes of that at Kiva."""

    def __init__(self, office: Office, kiva: Sandbox, clock: MachineClock) -> None:
        self.office, self.kiva, self.clock = office, kiva, clock
        self.outbox = Outbox(office.outbox)

    def there(self) -> list[str]:
        return [record["loan_ids"][0] for record in self.kiva.ledger(resource="loan_draft", bodies=False)]

    def grants(self) -> str:
        return self.office.grant(datetime.now(UTC).date() - LAST_DAY_BUT_THREE)

    def entries(self, **where: str) -> list[Any]:
        conditions = [table.entry.c[name] == value for name, value in where.items()]
        with self.outbox.read() as tx:
            return list(tx.execute(sa.select(table.entry).where(*conditions).order_by(table.entry.c.id)))

    def rests_as_long(self, by: timedelta) -> None:
        """A loan that rests while the clock is set goes when it is time, by the real hour."""
        account, granted = self.grants(), time.monotonic()
        eventually(lambda: self.entries(identity=account))
        self.clock.is_off(by)
        eventually(lambda: account in self.there(), within=20)
        assert time.monotonic() - granted >= HOLD_FOR, "it went early"

    def settles_as_late(self, by: timedelta) -> None:
        """A position whose answer was lost before the clock is set is sent again when it is time."""
        self.kiva.fault("drop_after", on="repayments")
        before = len(self.kiva.ledger(resource="repayment", bodies=False))
        self.office.repay("K1")
        eventually(lambda: self.entries(resource="repayment", state="in_doubt"))
        lost = time.monotonic()
        self.clock.is_off(by)
        eventually(lambda: len(self.kiva.ledger(resource="repayment", bodies=False)) >= before + 2, within=30)
        assert time.monotonic() - lost >= SETTLE_AFTER - 1, "it was repeated early"
        eventually(lambda: not self.entries(resource="repayment", state="in_doubt"))


@pytest.fixture(params=[True, False], ids=["dates", "no-dates"])
def branch(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Branch]:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    clock = relay_process.machine_clock(tmp_path / "clock")
    with server.start(config=KivaConfig(dates="machine" if request.param else "none")) as pa2, Sandbox(pa2.url) as kiva:
        changes = {"delivery.hold_for": f"{HOLD_FOR:.0f}s", "delivery.settle_after": f"{SETTLE_AFTER:.0f}s"}
        office = Office(tmp_path, pa2.url, changes=changes)
        kiva.seed_loans([{"internal_loan_id": "K1"}])
        relay = RelayProcess(office.config, environ=clock.environ)
        relay.begin()
        try:
            yield Branch(office, kiva, clock)
            assert relay.ended is None, relay.log[-2000:]
            assert "Traceback" not in relay.log
        finally:
            relay.end()


@pytest.mark.parametrize("off", [SIX_DAYS, -SIX_DAYS], ids=["ahead", "back"])
def test_a_clock_that_is_set_by_days_and_back(branch: Branch, off: timedelta) -> None:
    first = branch.grants()
    eventually(lambda: first in branch.there(), within=30)
    branch.rests_as_long(off)
    months = {f"{datetime.now(UTC) + each:%Y-%m}" for each in (timedelta(0), off)}
    if len(months) == 1:  # else a report may be held (`clock`) until the clocks agree
        branch.settles_as_late(timedelta(0))
    branch.rests_as_long(timedelta(0))
    branch.office.repay("K1")
    eventually(lambda: _amounts(branch)[-1:] == [branch.office.positions["K1"]], within=40)
    assert sorted(branch.there()) == sorted(branch.office.drafts)
    assert not branch.entries(state="refused")
    month = f"{datetime.now(UTC):%Y-%m}"
    assert {entry.period for entry in branch.entries(resource="repayment", state="delivered")} <= {month}


def _amounts(branch: Branch) -> list[int]:
    calls = [record["body"]["repayments"] for record in branch.kiva.ledger(resource="repayment")]
    return [int(row["amount"]) for rows in calls for row in rows]
