"""An MFI at work on a small MIS, and the log of what it committed: for PostgreSQL and MariaDB alike.

Application servers stamp the rows, each by its own clock; transactions overlap, commit late, are rolled back, stamp
long before they write. What a stamp does not show is written down as such: only the sweep can see it there.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from testbed.workload.change import Change, Log, Seen

TABLES = """
CREATE TABLE client (id bigint PRIMARY KEY, number varchar(20), name varchar(40), changed {moment});
CREATE TABLE loan (id bigint PRIMARY KEY, account varchar(20), client_id bigint, status int, amount decimal(14, 2),
                   token bigint, disbursed date, changed {moment});
CREATE TABLE instalment (loan_id bigint, number int, due date, principal decimal(14, 2), interest decimal(14, 2),
                         changed {moment});
CREATE TABLE movement (id {serial} PRIMARY KEY, loan_id bigint, external_id varchar(20), amount decimal(14, 2),
                       changed {moment});
CREATE TABLE arrears (loan_id bigint PRIMARY KEY, days int);
CREATE INDEX of_client ON loan (client_id);
CREATE INDEX of_loan ON instalment (loan_id);
CREATE INDEX to_loan ON movement (loan_id);
CREATE INDEX loan_changed ON loan (changed);
CREATE INDEX instalment_changed ON instalment (changed);
CREATE INDEX movement_changed ON movement (changed);
CREATE INDEX client_changed ON client (changed)
"""

MAPPING = """\
resource: loan_draft
identity: account
source:
  table: loan
  key: id
  changed_at: changed
  changed_at_zone: utc
  where: status IN (200, 300)
  touched_by:
    - {table: movement, match: {loan_id: id}, changed_at: changed}
relations:
  client: {table: client, match: {id: client_id}, changed_at: changed}
  schedule: {table: instalment, match: {loan_id: id}, many: true, order_by: number, changed_at: changed}
  arrears: {table: arrears, match: {loan_id: id}, optional: true}
  paid:
    sql: SELECT loan_id, SUM(amount) AS total, MAX(external_id) AS newest FROM movement GROUP BY loan_id
    match: {loan_id: id}
    optional: true
fields:
  entreps: [{client_id: client.number, loan_id: account, first_name: client.name, amount: amount}]
  currency: "'XOF'"
  description: "'token ' ~ token ~ ' paid ' ~ (paid.total or 0) ~ ' newest ' ~ (paid.newest or 'none') ~ ' late ' ~ (arrears.days or 'none')"
  disburse_time: disbursed
  schedule: {each: schedule, do: {date: due, principal: principal, interest: interest}}
"""

_TELLERS = 40
FUND = 100
"""Everything that is lent is so many times a whole number, so that instalments add up."""


class Engine(Protocol):
    """How the branch reaches its database."""

    moment: str
    serial: str

    def connect(self) -> Any:
        """A connection of a teller's, which begins a transaction by itself."""
        ...

    def stamp(self, at: datetime) -> object:
        """A moment as the driver takes it for a `changed` column."""
        ...

    def gone(self, error: Exception) -> bool:
        """Whether the error is of the kind that a branch lives with: a lock that was not given, a server restarted."""
        ...


@dataclass
class Work:
    """One transaction of a teller: a cursor, the stamp to write, and what it will have changed."""

    cursor: Any
    stamp: object
    token: int
    changed: list[tuple[int, Seen, int | None]] = field(default_factory=list)
    quiet: bool = False
    """Whether it works on loans that others seldom touch: there a change that is missed stays missed."""

    def run(self, sql: str, *values: object) -> list[Any]:
        """One statement; its rows, if it gives some."""
        self.cursor.execute(sql, values)
        return list(self.cursor.fetchall()) if self.cursor.description else []

    def note(self, loan: int, seen: Seen = "stamp", *, token: bool = False) -> None:
        """It will have changed this loan."""
        self.changed.append((loan, seen, self.token if token else None))


class Branch:
    """Tellers, jobs and somebody with SQL, until `stop`."""

    def __init__(self, engine: Engine, *, loans: int, rate: float, seed: int) -> None:
        self.engine, self.loans, self.rate = engine, loans, rate
        self.log = Log()
        self._dice = random.Random(seed)
        self._numbers = itertools.count(1_000)
        self._new = itertools.count(loans + 1)
        self._days = itertools.count(2)
        self._own = threading.local()
        self._opened: list[Any] = []

    def open(self) -> None:
        """Make the tables, and fill them."""
        connection = self.engine.connect()
        work = Work(connection.cursor(), self.engine.stamp(datetime.now(UTC)), 1)
        for sql in TABLES.format(moment=self.engine.moment, serial=self.engine.serial).split(";"):
            work.run(sql)
        for loan in range(1, self.loans + 1):
            if loan % 2:
                work.run("INSERT INTO client VALUES (%s, %s, %s, %s)", loan, f"C{loan}", f"Awa {loan}", work.stamp)
            self._insert(work, loan, loan if loan % 2 else loan - 1, work.stamp)
            if loan % 10 == 0:
                work.run("INSERT INTO arrears VALUES (%s, 1)", loan)
        connection.commit()
        connection.close()

    # ---------------------------------------------------------------- transactions

    def work(self, *, seconds: float, jobs: Sequence[tuple[float, Callable[[], None]]], at_least: int = 0) -> None:
        """So many transactions a second, in overlapping threads; each job at its share of the time.

        Where the server is slow it goes on until `at_least` of them are committed.
        """
        began, waiting = time.monotonic(), sorted(jobs, key=lambda job: job[0])
        due = began
        with ThreadPoolExecutor(_TELLERS) as tellers:
            done: list[Future[None]] = []
            while (passed := time.monotonic() - began) < seconds or self.log.counts["committed"] < at_least:
                if waiting and passed / seconds >= waiting[0][0]:
                    done.append(tellers.submit(waiting.pop(0)[1]))
                if sum(not each.done() for each in done[-2 * _TELLERS :]) < _TELLERS:
                    done.append(tellers.submit(self._some_work, random.Random(self._dice.random())))
                else:  # all of them are at work: nobody does it later instead, or the end would be far away
                    self.log.counts["not begun, for want of a teller"] += 1
                due += self._dice.expovariate(self.rate)
                time.sleep(max(due - time.monotonic(), 0))
            for each in done:
                each.result()
        for connection in self._opened:
            with contextlib.suppress(Exception):  # some are closed already
                connection.close()

    def mass_stamp(self) -> None:
        """The nightly job: every active loan gets the same stamp, and nothing else changes."""

        def stamp_all(work: Work) -> None:
            rows = work.run("SELECT id FROM loan WHERE status = 300 FOR UPDATE SKIP LOCKED")
            marks = ", ".join(["%s"] * len(rows))
            work.run(f"UPDATE loan SET changed = %s WHERE id IN ({marks})", work.stamp, *(row[0] for row in rows))
            for row in rows:
                work.note(int(row[0]))
            self.log.counts["mass stampings"] += 1

        self._transact(stamp_all, random.Random(0))

    def refill_arrears(self) -> None:
        """The other nightly job: the table is emptied and filled again."""

        def refill(work: Work) -> None:
            rows = work.run("SELECT id FROM loan WHERE MOD(id, 10) = 0")
            work.run("TRUNCATE TABLE arrears")
            values = ", ".join(["(%s, %s)"] * len(rows))
            days = next(self._days)
            flat = itertools.chain.from_iterable((row[0], days) for row in rows)
            work.run(f"INSERT INTO arrears VALUES {values}", *flat)
            self.log.counts["truncations"] += 1

        self._transact(refill, random.Random(0))

    def _some_work(self, dice: random.Random) -> None:
        what = dice.choices(list(OFTEN), list(OFTEN.values()))[0]
        late, early = dice.random() < 0.12, dice.random() < 0.06

        def work_on(work: Work) -> None:
            if dice.random() < 0.15:
                self._in_savepoint(work, dice, what)
            else:
                what(self, work, dice)
            if late:
                self.log.counts["late commits"] += 1
                time.sleep(dice.uniform(0.2, 8.0))
            if dice.random() < 0.08:
                raise _RolledBack

        self._transact(work_on, dice, early=early, quiet=late or early)

    def _in_savepoint(self, work: Work, dice: random.Random, what: Callable[..., None]) -> None:
        """Something that is taken back, then the work proper, inside savepoints."""
        self.log.counts["savepoints"] += 1
        work.run("SAVEPOINT a")
        kept = len(work.changed)
        self._edit(work, dice)
        work.run("ROLLBACK TO SAVEPOINT a")
        del work.changed[kept:]
        work.run("SAVEPOINT b")
        what(self, work, dice)
        work.run("RELEASE SAVEPOINT b")

    def _transact(
        self, body: Callable[[Work], None], dice: random.Random, *, early: bool = False, quiet: bool = False
    ) -> None:
        """One transaction; what it changed is in the log once it is committed, in the order of its locks."""
        stamped = datetime.now(UTC) + timedelta(seconds=dice.uniform(-3.0, 3.0))
        try:
            connection = self._connection()
            work = Work(connection.cursor(), self.engine.stamp(stamped), next(self._numbers), quiet=quiet)
            work.run("SELECT id FROM loan WHERE id = 1")  # so does every application, before it stamps
            if early:
                self.log.counts["stamped long before"] += 1
                time.sleep(dice.uniform(0.5, 4.0))
            try:
                body(work)
            except _RolledBack:
                self.log.counts["rolled back"] += 1
                connection.rollback()
            else:
                self._commit(connection, work)
        except Exception as error:
            if not self.engine.gone(error):
                raise
            self.log.counts["failed by themselves"] += 1
            self._drop()

    def _commit(self, connection: Any, work: Work) -> None:
        with self.log.lock:  # the locks on the rows are still held: this order is the order of the changes
            now = time.time()
            first = len(self.log.changes)
            self.log.changes += [Change(loan, seen, now, token) for loan, seen, token in work.changed]
        try:
            connection.commit()
        except BaseException:
            with self.log.lock:
                for place in range(first, first + len(work.changed)):
                    self.log.changes[place] = replace(self.log.changes[place], certain=False)
                self.log.counts["commits of unknown outcome"] += 1
            raise
        self.log.counts["committed"] += 1

    def _connection(self) -> Any:
        if getattr(self._own, "connection", None) is None:
            self._own.connection = self.engine.connect()
            self._opened.append(self._own.connection)
        return self._own.connection

    def _drop(self) -> None:
        """Whatever is left of the connection is not used again."""
        connection, self._own.connection = getattr(self._own, "connection", None), None
        with contextlib.suppress(Exception):
            if connection is not None:
                connection.close()
        time.sleep(0.2)

    # ---------------------------------------------------------------- what they do

    def _loan(self, work: Work, dice: random.Random) -> int:
        """A loan, locked: of the busy fifth, or of the others."""
        busy = self.loans // 5
        while True:
            loan = dice.randrange(busy + 1, self.loans + 1) if work.quiet else dice.randrange(1, busy + 1)
            if work.run("SELECT id FROM loan WHERE id = %s FOR UPDATE", loan):
                return loan

    def _edit(self, work: Work, dice: random.Random) -> None:
        loan = self._loan(work, dice)
        self._write(work, loan, "changed = %s", work.stamp)
        work.note(loan, token=True)

    def _correct(self, work: Work, dice: random.Random) -> None:
        """By SQL: nobody sets a stamp."""
        loan = self._loan(work, dice)
        self._write(work, loan, "status = status")
        work.note(loan, "row")

    def _forget_stamp(self, work: Work, dice: random.Random) -> None:
        loan = self._loan(work, dice)
        self._write(work, loan, "changed = NULL")
        work.note(loan, "row")

    def _write(self, work: Work, loan: int, more: str, *values: object) -> None:
        """The loan and its first instalment say the same token, in two tables, written at two moments."""
        work.run(f"UPDATE loan SET token = %s, {more} WHERE id = %s", work.token, *values, loan)
        interest = "UPDATE instalment SET interest = %s WHERE loan_id = %s AND number = 1"
        work.run(interest, work.token, loan)

    def _pay(self, work: Work, dice: random.Random) -> None:
        loan = self._loan(work, dice)
        self._insert_movement(work, loan, f"E{work.token}")
        work.note(loan)

    def _replay(self, work: Work, dice: random.Random) -> None:
        """Transactions are worked through again: new rows, and the ids of the outside world move to them."""
        loan = self._loan(work, dice)
        rows = work.run("SELECT id, external_id FROM movement WHERE loan_id = %s AND external_id IS NOT NULL", loan)
        for movement, external in rows[-3:]:
            work.run(
                "UPDATE movement SET external_id = NULL, amount = 0, changed = %s WHERE id = %s", work.stamp, movement
            )
            self._insert_movement(work, loan, external)
        if rows:
            work.note(loan)

    def _reschedule(self, work: Work, dice: random.Random) -> None:
        loan = self._loan(work, dice)
        work.run("DELETE FROM instalment WHERE loan_id = %s", loan)
        amount = dice.randrange(1, 40) * FUND
        self._schedule(work, loan, amount, dice.choice((2, 4, 5)), work.stamp)
        work.run(
            "UPDATE loan SET token = %s, amount = %s, changed = %s WHERE id = %s", work.token, amount, work.stamp, loan
        )
        work.note(loan, token=True)

    def _rename(self, work: Work, dice: random.Random) -> None:
        loan = self._loan(work, dice)
        client = work.run("SELECT client_id FROM loan WHERE id = %s", loan)[0][0]
        loans = work.run("SELECT id FROM loan WHERE client_id = %s ORDER BY id FOR UPDATE", client)
        work.run("UPDATE client SET name = %s, changed = %s WHERE id = %s", f"Awa {work.token}", work.stamp, client)
        for row in loans:
            work.note(int(row[0]))

    def _grant(self, work: Work, dice: random.Random) -> None:
        loan, client = next(self._new), dice.randrange(1, self.loans) | 1
        stamped = dice.random() < 0.9
        self._insert(work, loan, client, work.stamp if stamped else None)
        work.note(loan, "stamp" if stamped else "row", token=stamped)

    def _leave_or_return(self, work: Work, dice: random.Random) -> None:
        loan = self._loan(work, dice)
        status = dice.choice((200, 300, 300, 500, 600))
        self._write(work, loan, "status = %s, changed = %s", status, work.stamp)
        work.note(loan, token=True)

    def _delete_movement(self, work: Work, dice: random.Random) -> None:
        loan = self._loan(work, dice)
        rows = work.run("SELECT id FROM movement WHERE loan_id = %s ORDER BY id LIMIT 1", loan)
        if rows:
            work.run("DELETE FROM movement WHERE id = %s", rows[0][0])
            work.note(loan, "nothing")

    def _move_movement(self, work: Work, dice: random.Random) -> None:
        """Booked on the wrong loan: the new one is led to by the row, the old one by nothing."""
        loan = self._loan(work, dice)
        other = self._loan(work, dice)
        rows = work.run("SELECT id FROM movement WHERE loan_id = %s ORDER BY id LIMIT 1", loan)
        if rows and other != loan:
            work.run("UPDATE movement SET loan_id = %s, changed = %s WHERE id = %s", other, work.stamp, rows[0][0])
            work.note(loan, "nothing")
            work.note(other)

    def _delete_loan(self, work: Work, dice: random.Random) -> None:
        work.quiet = True  # there are many of these; the busy ones would soon be no more
        loan = self._loan(work, dice)
        for sql in ("instalment WHERE loan_id", "movement WHERE loan_id", "loan WHERE id"):
            work.run(f"DELETE FROM {sql} = %s", loan)
        work.note(loan, "nothing")

    def _insert(self, work: Work, loan: int, client: int, stamp: object) -> None:
        amount = self._dice.randrange(1, 40) * FUND
        today = date.today()
        values: Sequence[object] = (loan, f"{loan:09d}", client, 200 + loan % 2 * 100, amount, work.token, today, stamp)
        work.run("INSERT INTO loan VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", *values)
        self._schedule(work, loan, amount, 4, stamp)

    def _schedule(self, work: Work, loan: int, amount: int, number: int, stamp: object) -> None:
        for one in range(1, number + 1):
            due, interest = date.today() + timedelta(days=30 * one), work.token if one == 1 else 7
            values = (loan, one, due, Decimal(amount) / number, interest, stamp)
            work.run("INSERT INTO instalment VALUES (%s, %s, %s, %s, %s, %s)", *values)

    def _insert_movement(self, work: Work, loan: int, external: str) -> None:
        sql = "INSERT INTO movement (loan_id, external_id, amount, changed) VALUES (%s, %s, %s, %s)"
        work.run(sql, loan, external, 1 + work.token % 50, work.stamp)


class _RolledBack(Exception):
    """A teller thought better of it."""


OFTEN: dict[Callable[..., None], float] = {
    Branch._edit: 40,
    Branch._pay: 22,
    Branch._reschedule: 8,
    Branch._replay: 6,
    Branch._grant: 6,
    Branch._rename: 5,
    Branch._leave_or_return: 5,
    Branch._correct: 3,
    Branch._forget_stamp: 1.5,
    Branch._delete_movement: 1.5,
    Branch._move_movement: 1,
    Branch._delete_loan: 1,
}
"""What tellers do, and how often of a hundred times."""
