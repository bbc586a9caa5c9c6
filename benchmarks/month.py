"""What a month costs where Kiva expects many loans: opened, killed half-way, finished, shown, and looked at in vain.

    .venv/bin/python benchmarks/month.py [LOANS]

The institution's database is a PostgreSQL, Kiva is the stand-in with faults, both on this machine; the relay is a
process of its own. With 100,000 loans, the default: 400 calls, at most 150 MB, `report` within 2 s, and at most 5 ms of
the processor for a look with nothing to do. Nothing leaves the machine.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unittest.mock
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from kiva_relay import log
from kiva_relay.capture import expected
from kiva_relay.config import loader
from kiva_relay.service.relay import Relay
from testbed.institution.branch import KIVA_FUND
from testbed.institution.fineract import Kind
from testbed.institution.institution import office_of, officer_of
from testbed.institution.loan import Terms
from testbed.kiva import server
from testbed.kiva.control import Sandbox
from testbed.rig import compiled, site
from testbed.year import configured
from testbed.year.account import Account
from testbed.year.mis import Mis, mis

TODAY = datetime.now(UTC).date()
LOANS = 100_000
BATCH = 250
LOOKS = 20

_SEEDED = 5_000


def lend(institution: Mis, loans: int) -> None:
    """One loan that was repaid in part, and as many like it as are wanted."""
    start = TODAY - timedelta(days=150)
    client = next(one for one in institution.clients if one.branch == 0)
    terms = Terms(
        kind=Kind.INDIVIDUAL,
        client_id=client.id,
        group_id=None,
        glim_id=None,
        product_id=1,
        fund_id=KIVA_FUND,
        officer_id=officer_of(0),
        purpose_id=None,
        currency="XOF",
        digits=0,
        proposed=Decimal(500_000),
        principal=Decimal(500_000),
        monthly_rate=Decimal("0.02"),
        count=10,
        submitted=start,
        expected=start,
    )
    account = Account(institution, terms, "000000001", office_of(0))
    account.approve(start)
    account.disburse(start, start)
    account.repay(Decimal(60_000), start + timedelta(days=30), start + timedelta(days=30))
    institution.commit()
    with institution.engine.begin() as tx:
        tx.execute(sa.text("SET LOCAL session_replication_role = replica"))  # no look at each foreign key
        for table, key in (
            ("m_loan", "id"),
            ("m_loan_repayment_schedule", "loan_id"),
            ("m_loan_transaction", "loan_id"),
        ):
            others = f"FROM {table} t CROSS JOIN generate_series(2, {loans}) AS n WHERE t.{key} = 1"
            names = [
                row.column_name
                for row in tx.execute(
                    sa.text("SELECT column_name FROM information_schema.columns WHERE table_name = :table"),
                    {"table": table},
                )
            ]
            own = {"id": "n * 100 + t.id"} if key == "loan_id" else {"account_no": "lpad(n::text, 9, '0')"}
            given = own | {key: "n"}
            chosen = ", ".join(given.get(name, f"t.{name}") for name in names)
            tx.execute(sa.text(f"INSERT INTO {table} ({', '.join(names)}) SELECT {chosen} {others}"))
    with institution.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
        tx.execute(sa.text("ANALYZE"))


def expect(kiva: Sandbox, loans: int) -> None:
    """Kiva lists all of them as being paid back."""
    for first in range(1, loans + 1, _SEEDED):
        numbers = range(first, min(first + _SEEDED, loans + 1))
        kiva.seed_loans({"internal_loan_id": f"{n:09}", "price": "500000.00", "currency": "XOF"} for n in numbers)


def config(folder: Path, url: str, kiva_url: str) -> Path:
    """A report whose window is open this month."""
    repayments = {
        "opens_on": {"day": 1, "at": "00:00"},
        "closes_on": {"day": "last", "at": "23:59"},
        "batch": BATCH,
    }
    return configured.write(folder, mis_url=url, mis_zone="UTC", kiva_url=kiva_url, repayments=repayments)


def once(path: Path, *, kiva: Sandbox, dies_after: int | None = None) -> tuple[float, float, float]:
    """`run --once`, killed after so many calls: seconds, seconds of the processor, and megabytes at most."""
    began = time.perf_counter()
    with path.with_name("relay.log").open("ab") as said:
        command = [sys.executable, "-m", "kiva_relay", "run", "--once", "--config", str(path)]
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        most = 0.0
        while not _ended(process.pid):
            most = max(most, _megabytes(process.pid))
            if dies_after is not None and _calls(kiva) >= dies_after:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.05)
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, most


def _megabytes(pid: int) -> float:
    """The most memory that it had so far. What `wait4` says is that of whoever made it, too."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmHWM")), 0.0)


def _ended(pid: int) -> bool:
    """Has it ended? What it used is still to be asked for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _calls(kiva: Sandbox) -> int:
    return int(kiva.state()["accepted"].get("repayment", 0))


def shown(path: Path) -> tuple[float, float]:
    """`report`: seconds, and seconds of the processor."""
    began = time.perf_counter()
    with path.with_name("report.txt").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "kiva_relay", "report", "--config", str(path)], stdout=said, stderr=subprocess.STDOUT
        )
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


def idle(path: Path) -> tuple[float, float]:
    """Milliseconds of the processor for a look with nothing to do, and those that the report has of it: the middle."""
    settings = loader.load(path, environ={})
    relay = Relay(settings, site.documents(settings))
    relay.open()
    looks, reports = [], []
    turn = expected.turn

    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.thread_time()
        try:
            return turn(*arguments, **named)
        finally:
            reports.append(time.thread_time() - began)

    try:
        relay.once()
        capture = relay.capture_loop.capture()
        with unittest.mock.patch.object(expected, "turn", timed):
            for _ in range(LOOKS):
                began = time.thread_time()
                capture.cycle()
                looks.append(time.thread_time() - began)
    finally:
        relay.close()
    return statistics.median(looks) * 1000, statistics.median(reports) * 1000


def main() -> None:
    """All of it, in a folder that is removed."""
    loans = int(sys.argv[1]) if len(sys.argv) > 1 else LOANS
    calls = -(-loans // BATCH)
    compiled.before_measuring()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log.configure(stream=(folder / "idle.log").open("a", encoding="utf-8"))
        with (
            mis("postgresql", folder, clients=300, today=TODAY, seed=1) as institution,
            server.start() as stand_in,
            Sandbox(stand_in.url) as kiva,
        ):
            lend(institution, loans)
            expect(kiva, loans)
            path = config(folder, institution.url, stand_in.url)
            for what, dies_after in (("opened, killed half-way", calls // 2), ("started again, finished", None)):
                seconds, processor, megabytes = once(path, kiva=kiva, dies_after=dies_after)
                print(
                    f"{what:26}{seconds:>8.1f} s {processor:>8.1f} s of the processor {megabytes:>7.0f} MB", flush=True
                )
            rows = [row for record in kiva.ledger(resource="repayment") for row in record["body"]["repayments"]]
            held = {row["loan_id"]: row["amount"] for row in rows}
            print(f"{_calls(kiva):,} calls, {len(held):,} of {loans:,} loans, {len(rows) - len(held):,} twice")
            seconds, processor = shown(path)
            print(f"{'report':26}{seconds:>8.1f} s {processor:>8.1f} s of the processor")
            look, of_report = idle(path)
            print(
                f"{'a look, nothing to do':26}{look:>8.1f} ms of the processor, {of_report:.1f} of them for the report"
            )
            print((folder / "report.txt").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
