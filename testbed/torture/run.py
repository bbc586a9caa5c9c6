"""Kill the relay again and again while the MIS works and the network fails; then compare what is where.

`make torture` runs it as a script. The judge is the stand-in's ledger against the MIS: last contents by identity,
the order of positions, and for each doubt what the stand-in's own log says of its answer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
import sqlalchemy as sa

from kiva_relay.outbox import hold, migration, table
from kiva_relay.outbox.database import Outbox
from testbed.database import postgres
from testbed.institution import book, fineract
from testbed.institution.branch import KIVA_FUND
from testbed.kiva.control import Sandbox
from testbed.rig import killable, patience, yaml_text
from testbed.torture import judge
from testbed.torture.branch import Branch

LEASE = 1.0
_IN_MEMORY = Path("/dev/shm")  # a killed process needs no disk: the kernel has what it wrote
SETTLE_AFTER = 2.0
_LATE_GRANTS = 3
_STEPS = ("claimed", "testified", "answered", "settled", "read", "captured", "listed", "leased")
_OFTEN = (4, 4, 5, 4, 2, 3, 1, 1)

FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "drop_before", "on": "post"},
    {"kind": "drop_after", "on": "post"},
    {"kind": "drop_after", "on": "post", "reset": True},
    {"kind": "cut_answer", "on": "post"},
    {"kind": "drop_in_body", "on": "post"},
    {"kind": "status", "on": "post", "status": 500, "applied": True},
    {"kind": "status", "on": "post", "status": 429, "retry_after": "1"},
    {"kind": "status", "on": "any", "status": 503, "retry_after": "1"},
    {"kind": "slow", "on": "post", "seconds": 1.0},
    {"kind": "slow", "on": "post", "seconds": 1.0, "late": True},
    {"kind": "revoke_tokens", "on": "post"},
    {"kind": "garbage", "on": "post", "applied": True},
    {"kind": "drop_before", "on": "loans"},
)
_WAITING = 5
"""So many faults may wait for a call. A relay that was refused asks ever more seldom: who had to meet all those that
came meanwhile would never get on, and would be right.
"""
_SEEN_TO_IN_WEATHER = ("destination_fault",)
"""A second token that is void holds a resource for five minutes, and tokens are revoked oftener than that."""
_GATEWAY_AWAY: dict[str, Any] = {"kind": "status", "on": "any", "status": 502, "every": 1}


@dataclass
class Stage:
    """Everything that runs beside the relay."""

    folder: Path
    mis: str
    outbox_url: str
    config: Path
    kiva: Sandbox
    branch: Branch
    outbox: Outbox
    lease: float | None
    seed: int
    stay: float | None = None
    looks_after: tuple[str, ...] = ("many_in_doubt",)
    """The reasons of holds that the person releases."""

    def case(self) -> judge.Case:
        """What the judge compares, as it is now."""
        witnesses = sorted(self.folder.glob("*witness*.log"))
        return judge.case(self.mis, self.outbox, self.kiva, self.branch, witnesses=witnesses)

    def life(self, death: killable.Death | None = None) -> killable.Life:
        """A relay on this stage."""
        environ = {"KIVA_SECRET": "s3cr3t"}
        return killable.Life(self.config, self.folder / "relay.log", death, self.lease, self.stay, environ=environ)


@contextlib.contextmanager
def set_up(
    folder: Path,
    server: postgres.PostgresServer,
    *,
    on: str,
    name: str,
    template: str,
    photos: Path,
    seed: int = 1,
    loans: int,
    outbox_at: str = "",
    reads: Callable[[str], Mapping[str, Any]] = lambda _mis: {},
    changes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Iterator[Stage]:
    """A MIS, a stand-in for Kiva as a process, and a configuration; the outbox is on `sqlite` or `postgresql`.

    `outbox_at`: the URL of an empty database for it, on another server. `reads` gives settings of `mis` that differ,
    for the URL of the MIS; `changes` are settings by their group.
    """
    folder.mkdir()
    mis = server.create_database(f"mis_{name}", template=template)
    url = f"sqlite:///{folder}/outbox.db"
    if on == "postgresql":
        url = outbox_at or server.create_database(f"outbox_{name}")
    with contextlib.ExitStack() as stack:
        kiva = stack.enter_context(Sandbox(stack.enter_context(_stand_in(folder))))
        connection = stack.enter_context(psycopg.connect(mis, autocommit=True))
        branch = Branch(connection, photos, seed=seed, loans=loans)
        kiva.seed_loans([{"internal_loan_id": loan, "status": "payingBack"} for loan in branch.paying])
        config = folder / "config.yaml"
        settings = _settings(folder, mis, url, kiva.url)
        settings["mis"] |= reads(mis)
        for group, values in changes.items():
            settings.setdefault(group, {}).update(values)
        config.write_text(yaml_text.of(settings), encoding="utf-8")
        outbox = Outbox(url)
        stack.callback(outbox.close)
        if on == "postgresql":
            migration.upgrade(outbox)
        yield Stage(folder, mis, url, config, kiva, branch, outbox, LEASE if on == "postgresql" else None, seed)


@contextlib.contextmanager
def book_of(server: postgres.PostgresServer, photos: Path, *, clients: int) -> Iterator[str]:
    """A database with a book in it, to be cloned; its name."""
    name = f"torture_book_{clients}_{secrets.token_hex(3)}"
    with psycopg.connect(server.create_database(name)) as connection:
        fineract.create(connection)
        book.seed(connection, photos, today=date.today(), clients=clients)
    yield name


@contextlib.contextmanager
def _stand_in(folder: Path) -> Iterator[str]:
    options = ["--listen", "127.0.0.1:0", "--drafts-visible", "--ledger", str(folder / "ledger.jsonl")]
    pace = ["--coordinator", "publish_after=6s,fund_after=3s"]
    command = [sys.executable, "-m", "testbed.kiva", *options, *pace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)


def _settings(folder: Path, mis: str, outbox: str, kiva: str) -> dict[str, Any]:
    return {
        "kiva": {
            "environment": "sandbox",
            "partner_id": "123",
            "client_id": "relay",
            "client_secret": {"env": "KIVA_SECRET"},
            "token_url": f"{kiva}/oauth/token",
            "api_url": kiva,
        },
        "mis": {"url": mis, "timezone": "Africa/Dakar", "poll_every": "200ms", "max_load": 100},
        "mappings": "fineract",
        "parameters": {"kiva_fund": KIVA_FUND},
        "outbox": {"url": outbox, "witness": str(folder / "witness.log")},
        "loan_drafts": {"since": date.today()},
        "journals": {"since": date.today(), "batch": 5},
        "repayments": {"when": "continuous", "cutoff": "today"},
        "delivery": {"hold_for": "0", "brake": 100_000, "settle_after": f"{int(SETTLE_AFTER)}s"},
        "mirror": {"refresh_every": "1s"},
        "metrics": {"listen": "off"},
    }


# ---------------------------------------------------------------- under fire


def run(
    stage: Stage, *, kills: int, changes: int, rate: float, until: float, faults: int = 0, rest: float = 60.0
) -> judge.Figures:
    """Kill and restart until there were so many kills, changes and faults; then let it come to rest, and judge."""
    began, dice, figures = time.monotonic(), random.Random(stage.seed), judge.Figures()
    enough = patience.Deadline(until)
    with weather(stage, figures, rate=rate) as failed:
        while not failed and not enough.over:
            fired = figures.faults.total() + _fired(stage).total()
            if figures.kills.total() >= kills and stage.branch.changes.total() >= changes and fired >= faults:
                break
            figures.kills[_one_life(stage, dice)] += 1
    figures.faults.update(_fired(stage))
    stage.kiva.clear_faults()
    come_to_rest(stage, figures, within=rest)
    figures.seconds = time.monotonic() - began
    return figures


@contextlib.contextmanager
def weather(stage: Stage, figures: judge.Figures, *, rate: float) -> Iterator[list[BaseException]]:
    """Meanwhile the branch works, calls fail, and a person looks now and then; what failed of these three."""
    over, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        dice = random.Random(stage.seed + 1)
        while not over.wait(dice.expovariate(rate)):
            stage.branch.work()

    def go_wrong() -> None:
        dice = random.Random(stage.seed + 2)
        while not over.wait(dice.uniform(0.4, 1.4)):
            _one_fault(stage, dice, figures, over)

    def look_after() -> None:
        while not over.wait(0.5):
            figures.released += _release(stage, *_SEEN_TO_IN_WEATHER)

    threads = [threading.Thread(target=_kept, args=(each, failed)) for each in (work, go_wrong, look_after)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


def come_to_rest(stage: Stage, figures: judge.Figures, *, within: float = 60.0) -> None:
    """A last life without faults: until everything is as it should be; `within` is how long nothing may move.

    Meanwhile the branch grants a loan now and then: that a draft is not at Kiva is proven by one that was sent later.
    """
    process = killable.start(stage.life())
    moved, quiet, before, grants = time.monotonic(), patience.Deadline(within), (-1, -1), 0
    try:
        while process.exitcode is None and not quiet.over:
            figures.released += _release(stage)
            now = (under_way(stage), stage.kiva.state()["records"])
            if not now[0] and not judge.judge(stage.case()).wrong:
                break
            if now != before:
                moved, quiet, before = time.monotonic(), patience.Deadline(within), now
            elif grants < _LATE_GRANTS and time.monotonic() - moved > 2 * SETTLE_AFTER:
                stage.branch.grant()
                grants += 1
            process.join(0.5)
    finally:
        process.terminate()
        process.join(patience.seconds(20))
    found = judge.judge(stage.case())
    if process.exitcode not in (0, -signal.SIGTERM):  # the latter before it had begun to listen
        found.wrong.insert(0, f"the last life ended with exit code {process.exitcode}; see {stage.folder}/relay.log")
    figures.add(found)


def _one_life(stage: Stage, dice: random.Random) -> str:
    """Begin, and end by SIGKILL: at a step, or at any moment from outside; how it ended."""
    wait = 1.3 * (stage.lease or 0.0)
    step = dice.choices(_STEPS, _OFTEN)[0] if dice.random() < 0.75 else ""
    death = killable.Death(step, 1 if step == "leased" else dice.choice((1, 1, 2, 3))) if step else None
    process = killable.start(stage.life(death))
    # On a slow machine a life that is as short as on a quick one has not begun to work.
    process.join(wait + patience.seconds(3.5 if death else dice.uniform(0.1, 4.0)))
    if process.exitcode is None:
        process.kill()
        process.join()
        step = ""
    if process.exitcode == -signal.SIGALRM:
        return "by its own timer"
    if process.exitcode != -signal.SIGKILL:
        raise AssertionError(f"a relay ended with exit code {process.exitcode}; see {stage.folder}/relay.log")
    return f"at {step}" if step else "from outside"


def _one_fault(stage: Stage, dice: random.Random, figures: judge.Figures, over: threading.Event) -> None:
    if sum(one["fired"] == 0 for one in stage.kiva.faults()) >= _WAITING:
        return
    if dice.random() < 0.04:
        number = stage.kiva.fault(**_GATEWAY_AWAY)
        over.wait(2.0)
        figures.faults["502 for a while"] += sum(one["fired"] for one in stage.kiva.faults() if one["number"] == number)
        stage.kiva.clear_faults(number)
        return
    stage.kiva.fault(**dice.choice(FAULTS))


def _fired(stage: Stage) -> Counter[str]:
    fired: Counter[str] = Counter()
    for one in stage.kiva.faults():
        name = f"{one['status']}" if one["kind"] == "status" else one["kind"]
        name += " after applying" if one["kind"] == "status" and one["applied"] else ""
        name += ", applied late" if one["late"] else ""
        fired[name] += one["fired"]
    return fired


def _release(stage: Stage, *more: str) -> int:
    """What a person does who has looked: too many answers were lost, and now they are not. Who waits, is let wait."""
    reasons = (*stage.looks_after, *more)
    with contextlib.suppress(Exception), stage.outbox.begin() as tx:
        held = [one for one in hold.in_force(tx) if one.reason in reasons and "machines" not in one.params]
        for each in held:
            hold.release(tx, each.what, by="torture", note="looked", now=datetime.now(UTC), reason=each.reason)
        return len(held)
    return 0


def _kept(work: Any, failed: list[BaseException]) -> None:
    try:
        work()
    except BaseException as error:
        failed.append(error)


def under_way(stage: Stage) -> int:
    """How many entries are to be sent, on their way, or in a doubt that the relay looks up by itself."""
    columns = table.entry.c
    query = sa.select(sa.func.count()).where(
        columns.state.in_(["ready", "sending"]) | ((columns.state == "in_doubt") & (columns.resource != "journal"))
    )
    with stage.outbox.read() as tx:
        return tx.execute(query).scalar_one()


# ---------------------------------------------------------------- the script


def main() -> int:
    """Run the whole of it on both kinds of outbox; 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=310, help="in all (default %(default)s)")
    parser.add_argument("--changes", type=int, default=20_500, help="of the MIS, in all (default %(default)s)")
    parser.add_argument("--rate", type=float, default=35.0, help="transactions a second (default %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--on", choices=("sqlite", "postgresql"), action="append", help="the outbox; else both")
    parser.add_argument("--keep", action="store_true", help="leave the folder for a look")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kiva-relay-torture-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
    os.environ["KIVA_SECRET"] = "s3cr3t"
    total = judge.Figures()
    with postgres.start(folder / "postgres") as server, book_of(server, folder / "photos", clients=400) as template:
        outboxes = given.on or ["sqlite", "postgresql"]
        for on in outboxes:
            where = {"on": on, "name": on, "template": template, "photos": folder / "photos", "seed": given.seed}
            with set_up(folder / on, server, loans=80, **where) as stage:
                _say(f"== outbox on {on}, seed {given.seed}, {folder / on}")
                figures = run(
                    stage,
                    kills=given.kills // len(outboxes),
                    changes=given.changes // len(outboxes),
                    rate=given.rate,
                    until=1_200,
                    rest=60,
                )
                for line in figures.lines():
                    _say(line)
                total.add(figures)
    _say("== both")
    for line in total.lines():
        _say(line)
    if not total.wrong and not given.keep:
        import shutil  # noqa: PLC0415 - only to tidy up

        shutil.rmtree(folder, ignore_errors=True)
    return 1 if total.wrong else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
