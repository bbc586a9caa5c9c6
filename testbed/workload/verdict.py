"""The MIS at rest against an outbox: what is missing, and what was mixed of two moments."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from kiva_relay.outbox import duplicate, table
from testbed.workload.branch import Branch
from testbed.workload.engine import Engine, MariaDB
from testbed.workload.watcher import Watcher

Loan = tuple[str, Decimal, int, Decimal, str, str, tuple[tuple[date, Decimal, Decimal], ...]]


@dataclass
class Verdict:
    """What an outbox has of the MIS at rest."""

    wrong: dict[int, str] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)


def truth(engine: Engine) -> dict[int, Loan | None]:
    """Every loan as its draft should be now; None where none is owed."""
    with contextlib.closing(engine.connect()) as connection:
        cursor = connection.cursor()

        def rows(sql: str) -> list[Any]:
            cursor.execute(sql)
            return list(cursor.fetchall())

        names = dict(rows("SELECT id, name FROM client"))
        schedules: dict[int, list[tuple[date, Decimal, Decimal]]] = {}
        for loan, due, principal, interest in rows(
            "SELECT loan_id, due, principal, interest FROM instalment ORDER BY loan_id, number"
        ):
            schedules.setdefault(loan, []).append((due, principal, interest))
        paid = {
            row[0]: row[1:]
            for row in rows("SELECT loan_id, SUM(amount), MAX(external_id) FROM movement GROUP BY loan_id")
        }
        late = dict(rows("SELECT loan_id, days FROM arrears"))
        found: dict[int, Loan | None] = {}
        for loan, client, status, amount, token in rows("SELECT id, client_id, status, amount, token FROM loan"):
            total, newest = paid.get(loan, (None, None))
            found[loan] = (
                (
                    names[client],
                    amount,
                    token,
                    total or Decimal(0),
                    newest or "none",
                    str(late.get(loan, "none")),
                    tuple(schedules.get(loan, [])),
                )
                if status in (200, 300)
                else None
            )
        return found


def _owed(body: Mapping[str, Any]) -> Loan:
    """What a body says, in the same words."""
    _, token, _, total, _, newest, _, late = body["description"].split()
    entrep = body["entreps"][0]
    schedule = tuple(
        (date.fromisoformat(one["date"]), Decimal(str(one["principal"])), Decimal(str(one["interest"])))
        for one in body["schedule"]
    )
    return entrep["first_name"], Decimal(str(entrep["amount"])), int(token), Decimal(total), newest, late, schedule


def judge(watcher: Watcher, loans: Mapping[int, Loan | None], branch: Branch, *, closely: bool = False) -> Verdict:
    """Compare an outbox with the MIS; `closely` looks at every version that there ever was."""
    verdict = Verdict()
    columns = table.entry.c
    committed = {one.token: one.at for one in branch.log.changes if one.token is not None and one.certain}
    standing: dict[int, tuple[str, Loan | None]] = {}
    filled: set[int] = set()
    with watcher.outbox.read() as tx:
        wanted = (columns.key, columns.state, columns.reason, columns.body, columns.refusals, columns.created_at)
        for key, state, reason, body, refusals, created in tx.execute(sa.select(*wanted).order_by(columns.id)):
            loan = int(key)
            owed = _owed(json.loads(body, parse_float=Decimal)) if body else None
            # Clients of this branch have several loans of one amount: a person is asked before the second goes.
            standing[loan] = ("ready" if (state, reason) == ("waiting", duplicate.PROBABLE) else state, owed)
            if closely:
                verdict.torn += _torn(loan, owed, refusals, filled, swaps=isinstance(branch.engine, MariaDB))
                if owed is not None and (at := committed.pop(owed[2], None)) is not None:
                    verdict.latency.append(created.timestamp() - at)
    for loan in loans.keys() | standing.keys():
        state, owed = standing.get(loan, ("absent", None))
        should = loans.get(loan)
        if should is None:
            if state in ("ready", "waiting", "refused"):
                verdict.wrong[loan] = f"{state}, and should not be owed"
        elif state != "ready" or owed != should:
            verdict.wrong[loan] = f"{state}: {owed}, and should be {should}"
    return verdict


def _torn(loan: int, owed: Loan | None, refusals: Any, filled: set[int], *, swaps: bool) -> Iterator[str]:
    """Signs that a version mixes two moments of the MIS."""
    if owed is None:
        yield f"loan {loan}: refused, {refusals}"
        return
    if owed[6][0][2] != owed[2]:
        yield f"loan {loan}: token {owed[2]} beside an instalment of {owed[6][0][2]}"
    if sum(one[1] for one in owed[6]) != owed[1]:
        yield f"loan {loan}: instalments of {sum(one[1] for one in owed[6])} beside an amount of {owed[1]}"
    if owed[5] != "none":
        filled.add(loan)
    elif loan in filled and not swaps:  # on MariaDB the emptied table is committed, and may be seen so
        yield f"loan {loan}: seen with the emptied table"
