"""What capture knows of the MIS's rows of loans: by their identity, and which is likely meant by a loan without one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import mirror, table
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.report import suggestion
from kiva_relay.report.line import plain
from kiva_relay.report.place import LoanFacts, RowFacts
from kiva_relay.report.suggestion import Suggestion
from kiva_relay.resource import loan_id as spelled

_AT_ONCE = 2_000
_GONE = ", ".join(repr(status) for status in mirror.GONE)
_captured = table.captured.c
_COLUMNS = tuple(_captured[name] for name in ("identity", "in_scope", "gone", "lent", "client_id", "created_at"))
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
    """Rows of one amount that Kiva does not list under their own id, by what their ids and their clients' are found by.

    In a large book thousands have one amount: a loan is compared with those alone that may be it.
    """

    by_id: dict[str, list[RowFacts]] = field(default_factory=lambda: defaultdict(list))
    by_client: dict[str, list[RowFacts]] = field(default_factory=lambda: defaultdict(list))

    def add(self, row: RowFacts) -> None:
        for found, written in ((self.by_id, row.identity), (self.by_client, row.client_id)):
            for mark in spelled.marks(written):
                found[mark].append(row)

    def likeliest(self, loan: MirroredLoan) -> Suggestion | None:
        rows = {
            row.identity: row
            for found, written in ((self.by_id, loan.loan_id), (self.by_client, loan.client_id))
            for mark in spelled.marks(written)
            for row in found.get(mark, ())
        }
        return suggestion.likeliest(loan, rows.values())


class Likeliest:
    """Finds the row that a loan probably is which the MIS does not have under its id. Each amount is looked up once.

    `aliases` are the MIS's ids, as keys, of which a person said which loan of Kiva's they are: of no other one.
    """

    def __init__(self, tx: Connection, aliases: Collection[str]) -> None:
        self._tx, self._aliases = tx, frozenset(aliases)
        self._by_amount: dict[str, _Alike] = {}
        self._known: dict[str, RowFacts] = {}

    def of(self, found: Sequence[LoanFacts]) -> Iterator[LoanFacts]:
        """The same loans; those that the MIS does not have with their likeliest row."""
        missing = [facts for facts in found if facts.row is None and not facts.entries]
        if not missing:
            yield from found
            return
        in_other_case = rows(self._tx, {case for facts in missing for case in _other_cases(facts.loan.loan_id)})
        probably = self.suggestions([facts.loan for facts in missing])
        for facts in found:
            if facts.row is not None or facts.entries:
                yield facts
                continue
            other = next((in_other_case[one] for one in _other_cases(facts.loan.loan_id) if one in in_other_case), None)
            if other is not None:
                yield facts._replace(likely=other, other_case=True)
            elif (one := probably.get(facts.loan.kiva_id)) is not None:
                yield facts._replace(likely=self._known[one.identity], because=one.because)
            else:
                yield facts

    def suggestions(self, loans: Iterable[MirroredLoan]) -> dict[str, Suggestion]:
        """Kiva's number of a loan → the row that it probably is; silent where that is not clear."""
        wanted = [(loan, amount) for loan in loans if (amount := _amount(loan))]
        self._look_up({amount for _, amount in wanted})
        found = ((loan, self._by_amount[amount].likeliest(loan)) for loan, amount in wanted)
        return {loan.kiva_id: one for loan, one in found if one is not None}

    def _look_up(self, amounts: set[str]) -> None:
        new = sorted(amounts - self._by_amount.keys())
        if not new:
            return
        self._by_amount |= {amount: _Alike() for amount in new}
        candidates = [_row(row) for row in self._tx.execute(_BY_LENT, {"lent": new})]
        taken = _listed(self._tx, [row.identity for row in candidates]) | self._aliases
        for row in candidates:
            if row.identity not in taken:
                self._known[row.identity] = row
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
    identity, in_scope, gone, lent, client_id, created = row
    amount = None if lent is None else _decimal(lent)
    return RowFacts(identity, bool(in_scope), bool(gone), amount, client_id or "", created or "")


_decimal = lru_cache(maxsize=4096)(Decimal)
