"""Kill the relay again and again while the MIS works and the network fails; then compare what is where.

`make torture` runs it as a script. The judge is the stand-in's ledger against the MIS: last contents by identity,
the order of positions, and for each doubt what the stand-in's own log says of its answer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

import killable
import yaml_text
from busy_branch import Branch
from kiva_relay.demo import book, fineract, owed, postgres
from kiva_relay.demo.branch import KIVA_FUND
from kiva_relay.outbox import binding, hold, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.resource import body as json_body
from kiva_relay.sandbox.control import Sandbox

LEASE = 2.0
SETTLE_AFTER = 4.0
_LOSES_AN_ANSWER = ("answer_lost", "answer_cut", "dropped_before", "dropped_in_body", "caller_left", "open")
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
_GATEWAY_AWAY = {"kind": "status", "on": "any", "status": 502, "every": 1}


@dataclass
class Figures:
    """What happened, and what the judge found. `wrong` is everything that should not be."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    duplicated: int = 0
    older_after_newer: int = 0
    in_doubt: int = 0
    released: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Sum up two runs."""
        for name in ("kills", "faults", "changes", "accepted"):
            getattr(self, name).update(getattr(other, name))
        for name in ("lost", "duplicated", "older_after_newer", "in_doubt", "released", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.wrong += other.wrong

    def lines(self) -> Iterator[str]:
        """For a person."""
        for title, counts in (("kills", self.kills), ("changes", self.changes), ("faults", self.faults),
                              ("accepted by Kiva", self.accepted)):  # fmt: skip
            parts = ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items()))
            yield f"{title:<18}{counts.total():>7,}   {parts}"
        yield f"{'released holds':<18}{self.released:>7,}   (too many answers lost in a row; a person looked)"
        yield f"{'in doubt':<18}{self.in_doubt:>7,}   each of them an answer that the stand-in's log says was lost"
        yield (
            f"lost {self.lost} · duplicated {self.duplicated} · older after newer {self.older_after_newer}"
            f" · in doubt {self.in_doubt} · kills {self.kills.total()} · {self.seconds:.0f} s"
        )
        yield from self.wrong[:30]


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

    def life(self, death: killable.Death | None = None) -> killable.Life:
        """A relay on this stage."""
        environ = {"KIVA_SECRET": "s3cr3t"}
        return killable.Life(self.config, self.folder / "relay.log", death, self.lease, environ)


@contextlib.contextmanager
def set_up(
    folder: Path, server: postgres.Server, *, on: str, name: str, template: str, photos: Path, seed: int = 1, loans: int
) -> Iterator[Stage]:
    """A MIS, a stand-in for Kiva as a process, and a configuration; the outbox is on `sqlite` or `postgresql`."""
    folder.mkdir()
    mis = server.create_database(f"mis_{name}", template=template)
    url = server.create_database(f"outbox_{name}") if on == "postgresql" else f"sqlite:///{folder}/outbox.db"
    with contextlib.ExitStack() as stack:
        kiva = stack.enter_context(Sandbox(stack.enter_context(_stand_in(folder))))
        connection = stack.enter_context(psycopg.connect(mis, autocommit=True))
        branch = Branch(connection, photos, seed=seed, loans=loans)
        kiva.seed_loans([{"internal_loan_id": loan, "status": "payingBack"} for loan in branch.paying])
        config = folder / "config.yaml"
        config.write_text(yaml_text.of(_settings(folder, mis, url, kiva.url)), encoding="utf-8")
        outbox = Outbox(url)
        stack.callback(outbox.close)
        yield Stage(folder, mis, url, config, kiva, branch, outbox, LEASE if on == "postgresql" else None, seed)


@contextlib.contextmanager
def book_of(server: postgres.Server, photos: Path, *, clients: int) -> Iterator[str]:
    """A database with a book in it, to be cloned; its name."""
    name = f"torture_book_{clients}"
    with psycopg.connect(server.create_database(name)) as connection:
        fineract.create(connection)
        book.seed(connection, photos, today=date.today(), clients=clients)
    yield name


@contextlib.contextmanager
def _stand_in(folder: Path) -> Iterator[str]:
    options = ["--listen", "127.0.0.1:0", "--drafts-visible", "--ledger", str(folder / "ledger.jsonl")]
    pace = ["--coordinator", "publish_after=6s,fund_after=3s"]
    command = [sys.executable, "-m", "kiva_relay.sandbox", *options, *pace]
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
        "mis": {"url": mis, "timezone": "Africa/Dakar", "poll_every": "200ms"},
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


def run(stage: Stage, *, kills: int, changes: int, rate: float, until: float) -> Figures:
    """Kill and restart until there were so many kills and changes; then let it come to rest, and judge."""
    began, dice, figures, over = time.monotonic(), random.Random(stage.seed), Figures(), threading.Event()
    failed: list[BaseException] = []
    enough = threading.Event()

    def work() -> None:
        wait = threading.Event()
        while not over.is_set():
            stage.branch.work()
            if stage.branch.changes.total() >= changes:
                enough.set()
            wait.wait(dice_of_work.expovariate(rate))

    def go_wrong() -> None:
        while not over.wait(dice_of_faults.uniform(0.3, 1.2)):
            _one_fault(stage, dice_of_faults, figures, over)

    def look_after() -> None:
        while not over.wait(0.5):
            figures.released += _release(stage)

    dice_of_work, dice_of_faults = random.Random(stage.seed + 1), random.Random(stage.seed + 2)
    threads = [threading.Thread(target=_kept, args=(each, failed)) for each in (work, go_wrong, look_after)]
    for thread in threads:
        thread.start()
    try:
        while figures.kills.total() < kills or not enough.is_set():
            if failed or time.monotonic() - began > until:
                break
            figures.kills[_one_life(stage, dice)] += 1
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]
    figures.faults.update(_fired(stage))
    stage.kiva.clear_faults()
    come_to_rest(stage, figures)
    figures.seconds = time.monotonic() - began
    return figures


def come_to_rest(stage: Stage, figures: Figures, *, within: float = 60.0) -> None:
    """A last life without faults: until everything is as it should be, or time is up; then judge."""
    process = killable.start(stage.life())
    deadline = time.monotonic() + within
    try:
        while True:
            figures.released += _release(stage)
            found = judge(stage)
            if (
                process.exitcode is not None
                or (not found.wrong and not _under_way(stage))
                or time.monotonic() > deadline
            ):
                break
            process.join(0.5)
    finally:
        process.terminate()
        process.join(20)
    if process.exitcode != 0:
        found.wrong.insert(0, f"the last life ended with exit code {process.exitcode}; see {stage.folder}/relay.log")
    figures.add(found)


def _one_life(stage: Stage, dice: random.Random) -> str:
    """Begin, and end by SIGKILL: at a step, or at any moment from outside; how it ended."""
    step = dice.choices(_STEPS, _OFTEN)[0] if dice.random() < 0.7 else ""
    death = killable.Death(step, dice.randint(1, 2 if step in ("listed", "leased") else 5)) if step else None
    if death is not None and step == "leased":
        death = killable.Death(step)
    process = killable.start(stage.life(death))
    process.join((6.0 + (stage.lease or 0) * 1.5) if death else dice.uniform(0.2, 3.0) + (stage.lease or 0) * 1.3)
    if process.exitcode is None:
        process.kill()
        process.join()
        step = ""
    if process.exitcode == -signal.SIGALRM:
        return "by its own timer"
    if process.exitcode != -signal.SIGKILL:
        raise AssertionError(f"a relay ended with exit code {process.exitcode}; see {stage.folder}/relay.log")
    return f"at {step}" if step else "from outside"


def _one_fault(stage: Stage, dice: random.Random, figures: Figures, over: threading.Event) -> None:
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


def _release(stage: Stage) -> int:
    """What a person does who has looked: too many answers were lost, and now they are not."""
    with contextlib.suppress(Exception), stage.outbox.begin() as tx:
        held = [each for each in hold.in_force(tx) if each.reason == "many_in_doubt"]
        for each in held:
            hold.release(tx, each.what, by="torture", note="looked", now=datetime.now(UTC), reason=each.reason)
        return len(held)
    return 0


def _kept(work: Any, failed: list[BaseException]) -> None:
    try:
        work()
    except BaseException as error:
        failed.append(error)


# ---------------------------------------------------------------- the judge


def _under_way(stage: Stage) -> int:
    columns = table.entry.c
    query = sa.select(sa.func.count()).where(
        columns.state.in_(["ready", "sending"]) | ((columns.state == "in_doubt") & (columns.resource != "journal"))
    )
    with stage.outbox.read() as tx:
        return tx.execute(query).scalar_one()


def judge(stage: Stage) -> Figures:
    """Compare the MIS, the outbox and the ledger."""
    found = Figures(changes=Counter(stage.branch.changes))
    with psycopg.connect(stage.mis, autocommit=True) as connection:
        due = owed.expected(connection, fund_id=KIVA_FUND, cutoff=date.today(), today=date.today())
    ledger, loans, requests = stage.kiva.ledger(), stage.kiva.loans(), stage.kiva.requests()
    with stage.outbox.read() as tx:
        entries = list(tx.execute(sa.select(table.entry).order_by(table.entry.c.id)))
        diverged = set(tx.execute(sa.select(table.divergence.c.entry_id)).scalars())
        holds = [f"held: {each.what}, {each.reason}" for each in hold.in_force(tx)]
        outbox_id = binding.get(tx, "outbox_id")
        attempts = _lost_attempts(tx)
    found.accepted.update(record["resource"] for record in ledger)
    found.wrong += holds
    newest = {(entry.resource, entry.identity): entry for entry in entries}
    _judge_drafts(stage, ledger, newest, entries, diverged, found)
    _judge_positions(ledger, loans, due.positions, newest, entries, found)
    _judge_journals(stage, ledger, loans, due.notes, newest, found)
    by_key = {request["idempotency_key"]: request for request in requests if request["idempotency_key"]}
    for entry in entries:
        if entry.state == "in_doubt":
            found.in_doubt += 1
            found.wrong += _unfounded(entry, attempts.get(entry.id, []), str(outbox_id), by_key)
    return found


def _judge_drafts(
    stage: Stage, ledger: Sequence[Any], newest: Any, entries: Sequence[Any], diverged: set[int], found: Figures
) -> None:
    posted: dict[str, list[Decimal]] = {}
    for record in ledger:
        if record["resource"] == "loan_draft":
            body = record["body"]
            interest = Decimal(str(body["schedule"][0]["interest"]))
            posted.setdefault(body["entreps"][0]["loan_id"], []).append(interest)
    for identity, versions in stage.branch.drafts.items():
        sent, entry = posted.pop(identity, []), newest.get(("loan_draft", identity))
        found.duplicated += max(len(sent) - 1, 0)
        found.wrong += [f"draft {identity} is at Kiva {len(sent)} times"] if len(sent) > 1 else []
        if not sent and (entry is None or entry.state not in ("refused", "in_doubt")):
            found.lost += 1
            found.wrong.append(f"draft {identity} is lost: {_said(entry)}")
        if sent and sent[0] not in versions:
            found.wrong.append(f"draft {identity}: the MIS never said {sent[0]}")
        if sent and sent[0] != versions[-1]:
            mine = [each for each in entries if (each.resource, each.identity) == ("loan_draft", identity)]
            known = any(each.id in diverged or each.state == "in_doubt" for each in mine)
            found.wrong += [] if known else [f"draft {identity} was corrected after it was sent, and nobody knows"]
    found.wrong += [f"draft {identity} is at Kiva, and nobody owed it" for identity in posted]
    for entry in entries:
        if (entry.resource, entry.state) == ("loan_draft", "delivered") and entry.evidence in ("receipt", "look_up"):
            at_kiva = any(entry.identity in record["loan_ids"] for record in ledger)
            found.wrong += [] if at_kiva else [f"draft {entry.identity} is called delivered, and Kiva does not have it"]


def _judge_positions(
    ledger: Sequence[Any], loans: Sequence[Any], positions: Any, newest: Any, entries: Sequence[Any], found: Figures
) -> None:
    posted: dict[str, list[Decimal]] = {}
    for record in ledger:
        if record["resource"] == "repayment":
            for row in record["body"]["repayments"]:
                posted.setdefault(row["loan_id"], []).append(Decimal(str(row["amount"])))
    for identity, amounts in posted.items():
        falls = sum(1 for before, after in zip(amounts, amounts[1:], strict=False) if after < before)
        found.older_after_newer += falls
        found.wrong += [f"position of {identity} fell: {amounts}"] if falls else []
    for identity in {loan["internal_loan_id"] for loan in loans if loan["status"] == "payingBack"}:
        last, entry = (posted.get(identity) or [None])[-1], newest.get(("repayment", identity))
        due = positions.get(identity)
        if due is not None and last != due.repaid and (entry is None or not _needs_person(entry)):
            found.lost += 1
            found.wrong.append(f"position of {identity}: the MIS says {due.repaid}, Kiva {last}: {_said(entry)}")
    for entry in entries:
        if (entry.resource, entry.state) == ("repayment", "delivered"):
            amount = json_body.decode(entry.body.encode())["amount"]
            if Decimal(str(amount)) not in posted.get(entry.loan_id, []):
                found.wrong.append(f"position {entry.id} is called delivered, and Kiva never had it")


def _judge_journals(
    stage: Stage, ledger: Sequence[Any], loans: Sequence[Any], notes: Any, newest: Any, found: Figures
) -> None:
    posted = Counter(row["body"] for record in ledger if record["resource"] == "journal" for row in record["body"])
    at_kiva = {loan["internal_loan_id"] for loan in loans}
    for note in notes.values():
        if note.body not in stage.branch.notes:
            continue
        times, entry = posted.pop(note.body, 0), newest.get(("journal", note.id))
        found.duplicated += max(times - 1, 0)
        found.wrong += [f"note {note.id} is at Kiva {times} times"] if times > 1 else []
        waits = entry is not None and entry.reason == "loan_not_at_kiva" and note.identity not in at_kiva
        if not times and not waits and (entry is None or entry.state != "in_doubt"):
            found.lost += 1
            found.wrong.append(f"note {note.id} is lost: {_said(entry)}")
        if not times and entry is not None and entry.state == "delivered":
            found.wrong.append(f"note {note.id} is called delivered, and Kiva does not have it")
    found.wrong += [f"Kiva has a text that nobody marked for it: {text!r}" for text in posted]


def _lost_attempts(tx: sa.Connection) -> dict[int, list[Any]]:
    """The attempts in doubt of each entry, oldest first."""
    query = (
        sa.select(table.batch_member.c.entry_id, table.attempt)
        .join(table.attempt, table.attempt.c.batch_id == table.batch_member.c.batch_id)
        .where(table.attempt.c.outcome == "in_doubt")
        .order_by(table.attempt.c.id)
    )
    attempts: dict[int, list[Any]] = {}
    for row in tx.execute(query):
        attempts.setdefault(row.entry_id, []).append(row)
    return attempts


def _unfounded(entry: Any, attempts: Sequence[Any], outbox_id: str, by_key: dict[str, Any]) -> list[str]:
    """Why a doubt is none: the stand-in's log says that the answer arrived, and the process lived to read it."""
    if not attempts:
        return [f"entry {entry.id} is in doubt without a lost attempt"]
    attempt = attempts[-1]
    request = by_key.get(str(uuid.uuid5(uuid.NAMESPACE_URL, f"{outbox_id}/{attempt.id}")))
    killed = attempt.detail == "the process ended"
    if request is None:
        return [] if killed else [f"entry {entry.id} is in doubt, and nothing was ever sent"]
    lost = request["outcome"] in _LOSES_AN_ANSWER or request["fault"] in ("garbage", "status")
    return [] if lost or killed else [f"entry {entry.id} is in doubt, and its answer arrived: {request}"]


def _needs_person(entry: Any) -> bool:
    return entry.state == "in_doubt" or entry.reason == "older_in_flight"


def _said(entry: Any) -> str:
    return "nothing in the outbox" if entry is None else f"entry {entry.id} {entry.state} {entry.reason or ''}"


# ---------------------------------------------------------------- the script


def main() -> int:
    """Run the whole of it on both kinds of outbox; 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=310, help="in all (default %(default)s)")
    parser.add_argument("--changes", type=int, default=20_500, help="of the MIS, in all (default %(default)s)")
    parser.add_argument("--rate", type=float, default=60.0, help="transactions a second (default %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--on", choices=("sqlite", "postgresql"), action="append", help="the outbox; else both")
    parser.add_argument("--keep", action="store_true", help="leave the folder for a look")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kiva-relay-torture-"))
    os.environ["KIVA_SECRET"] = "s3cr3t"
    total = Figures()
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
