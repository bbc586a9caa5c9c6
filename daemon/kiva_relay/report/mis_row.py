"""What capture knows of the MIS's rows of loans: by their identity, and which is likely meant by a loan without one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import mirror, table
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.report.line import plain
from kiva_relay.report.place import LoanFacts, RowFacts
from kiva_relay.resource import loan_id as spelled

_AT_ONCE = 2_000
_GONE = ", ".join(repr(status) for status in mirror.GONE)
_captured = table.captured.c
_COLUMNS = (_captured.identity, _captured.in_scope, _captured.gone, _captured.lent, _captured.client_id)
_ROWS = sa.select(*_COLUMNS).where(
    _captured.resource == "repayment", _captured.identity.in_(sa.bindparam("ids", expanding=True))
)
# Most rows of an amount are at Kiva under their own id, letter by letter: those are left out at once.
_BY_LENT = sa.select(*_COLUMNS).where(
    table.LENT,
    _captured.lent.in_(sa.bindparam("lent", expanding=True)),
    _captured.in_scope,
    sa.text(
        "NOT EXISTS (SELECT 1 FROM mirror m WHERE m.loan_fold = lower(captured.identity)"  # noqa: S608 - our own words
        f" AND m.loan_id = captured.identity AND m.status NOT IN ({_GONE}))"
    ),
)


def rows(tx: Connection, identities: Iterable[str]) -> dict[str, RowFacts]:
    """What capture knows of rows, by identity; one in scope before one that is not."""
    found: dict[str, RowFacts] = {}
    wanted = sorted(set(identities))
    for start in range(0, len(wanted), _AT_ONCE):
        for row in tx.execute(_ROWS, {"ids": wanted[start : start + _AT_ONCE]}).all():
            one = _row(row)
            if one.in_scope or one.identity not in found:
                found[one.identity] = one
    return found


@dataclass
class _Alike:
    """Rows of one amount that Kiva does not list under their own id."""

    every: list[RowFacts] = field(default_factory=list)
    by_client: dict[str, list[RowFacts]] = field(default_factory=dict)

    def add(self, row: RowFacts) -> None:
        self.every.append(row)
        self.by_client.setdefault(spelled.key(row.client_id), []).append(row)

    def likeliest(self, loan: MirroredLoan) -> RowFacts | None:
        """The one row of the same client where Kiva names one, else the only one; None where it is not clear."""
        if loan.client_id:
            same = self.by_client.get(spelled.key(loan.client_id), [])
            if len(same) == 1:
                return same[0]
        only = self.every[0] if len(self.every) == 1 else None
        return only if only is not None and (not loan.client_id or not only.client_id) else None


class Likeliest:
    """Finds the row that a loan probably is which the MIS does not have under its id. Each amount is looked up once."""

    def __init__(self, tx: Connection) -> None:
        self._tx = tx
        self._by_amount: dict[str, _Alike] = {}

    def of(self, found: Sequence[LoanFacts]) -> Iterator[LoanFacts]:
        """The same loans; those that the MIS does not have with their likeliest row."""
        missing = [facts for facts in found if facts.row is None and not facts.entries]
        if not missing:
            yield from found
            return
        in_other_case = rows(self._tx, {case for facts in missing for case in _other_cases(facts.loan.loan_id)})
        self._look_up({_amount(facts.loan) for facts in missing} - {""})
        for facts in found:
            if facts.row is not None or facts.entries:
                yield facts
                continue
            other = next((in_other_case[one] for one in _other_cases(facts.loan.loan_id) if one in in_other_case), None)
            if other is not None:
                yield facts._replace(likely=other, other_case=True)
                continue
            alike = self._by_amount.get(_amount(facts.loan))
            yield facts._replace(likely=None if alike is None else alike.likeliest(facts.loan))

    def _look_up(self, amounts: set[str]) -> None:
        new = sorted(amounts - self._by_amount.keys())
        if not new:
            return
        self._by_amount |= {amount: _Alike() for amount in new}
        candidates = [_row(row) for row in self._tx.execute(_BY_LENT, {"lent": new})]
        taken = _listed(self._tx, [row.identity for row in candidates])
        for row in candidates:
            if row.identity not in taken:
                self._by_amount[str(row.lent)].add(row)


def _amount(loan: MirroredLoan) -> str:
    return "" if loan.amount is None else plain(Decimal(loan.amount))


def _other_cases(loan_id: str) -> set[str]:
    key = spelled.key(loan_id)
    return {key.upper(), key.lower(), key.capitalize()} - {key}


def _listed(tx: Connection, identities: Sequence[str]) -> set[str]:
    """Those of the MIS's loans that Kiva lists under their own id."""
    keys: set[str] = set()
    for start in range(0, len(identities), _AT_ONCE):
        keys |= mirror.by_loan_id(tx, identities[start : start + _AT_ONCE]).keys()
    return keys


def _row(row: Any) -> RowFacts:
    identity, in_scope, gone, lent, client_id = row
    return RowFacts(identity, bool(in_scope), bool(gone), None if lent is None else _decimal(lent), client_id or "")


_decimal = lru_cache(maxsize=4096)(Decimal)
