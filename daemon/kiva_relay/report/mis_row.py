"""What capture knows of the MIS's rows of loans: by their identity, and which is likely meant by a loan without one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import mirror, mirror_table, table
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.report import suggestion
from kiva_relay.report.line import plain
from kiva_relay.report.place import LoanFacts, RowFacts
from kiva_relay.report.suggestion import Suggestion, Unclear
from kiva_relay.resource import loan_id as spelled

_AT_ONCE = 2_000
_OF_LOANS = ("loan_draft", "repayment")
"""Resources whose rows are loans."""
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
# The amounts as numbers, for Kiva writes them in its own way; they are compared to the cent afterwards.
_STRANGE = sa.select(*mirror.LOAN_COLUMNS).where(
    mirror_table.mirror.c.status.in_(mirror.LIVE),
    sa.cast(mirror_table.mirror.c.amount, sa.Float).in_(sa.bindparam("amounts", expanding=True)),
    ~sa.exists().where(_captured.resource.in_(_OF_LOANS), _captured.identity == mirror_table.mirror.c.loan_id),
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

    def likeliest(self, loan: MirroredLoan) -> Suggestion | Unclear | None:
        rows = {
            row.identity: row
            for found, written in ((self.by_id, loan.loan_id), (self.by_client, loan.client_id))
            for mark in spelled.marks(written)
            for row in found.get(mark, ())
        }
        return suggestion.likeliest(loan, rows.values())


class Likeliest:
    """Finds the row that a loan probably is which the MIS does not have under its id. Each amount is looked up once.

    `aliases`: ids that were typed by hand at Kiva, and the MIS's own id of the same loan, as keys: it is no other one.
    """

    def __init__(self, tx: Connection, aliases: Mapping[str, str]) -> None:
        self._tx, self._aliases, self._taken = tx, aliases, frozenset(aliases.values())
        self._by_amount: dict[str, _Alike] = {}
        self._known: dict[str, RowFacts] = {}
        self._rivals: dict[str, dict[str, list[MirroredLoan]]] = {}

    def of(self, found: Sequence[LoanFacts]) -> Iterator[LoanFacts]:
        """The same loans; those that the MIS does not have with their likeliest row."""
        missing = [facts for facts in found if facts.row is None and not facts.entries]
        if not missing:
            yield from found
            return
        cases = {case for facts in missing for case in _other_cases(facts.loan.loan_id)}
        in_other_case = {identity: row for identity, row in rows(self._tx, cases).items() if row.in_scope}
        probably = self._suggested_alone([facts.loan for facts in missing])
        for facts in found:
            if facts.row is not None or facts.entries:
                yield facts
                continue
            other = next((in_other_case[one] for one in _other_cases(facts.loan.loan_id) if one in in_other_case), None)
            if other is not None:
                yield facts._replace(likely=other, other_case=True)
                continue
            match probably.get(facts.loan.kiva_id):
                case Suggestion() as one:
                    yield facts._replace(likely=self._known[one.identity], because=one.because)
                case unclear:
                    yield facts._replace(unclear=unclear)

    def suggestions(self, loans: Iterable[MirroredLoan]) -> dict[str, Suggestion | Unclear]:
        """Kiva's number of a loan → the row that it probably is, or why none is; silent where nothing speaks for one.

        Whether other loans have the same row, whoever reads all of Kiva's list sees for himself.
        """
        wanted = [(loan, amount) for loan in loans if (amount := _amount(loan))]
        self._look_up({amount for _, amount in wanted})
        found = ((loan, self._by_amount[amount].likeliest(loan)) for loan, amount in wanted)
        return {loan.kiva_id: one for loan, one in found if one is not None}

    def _suggested_alone(self, loans: Sequence[MirroredLoan]) -> dict[str, Suggestion | Unclear]:
        """The same; a row that is the likeliest of two loans is suggested for none, also of loans not asked about."""
        found = self.suggestions(loans)
        amounts = {_amount(loan) for loan in loans if isinstance(found.get(loan.kiva_id), Suggestion)}
        self._look_for_rivals(amounts)
        for loan in loans:
            one = found.get(loan.kiva_id)
            if isinstance(one, Suggestion):
                also = [each for each in self._rivals[_amount(loan)][one.identity] if each.kiva_id != loan.kiva_id]
                if also:
                    found[loan.kiva_id] = Unclear((one.identity,), suggestion.named(each.loan_id for each in also))
        return found

    def _look_for_rivals(self, amounts: set[str]) -> None:
        """All loans of some amounts that the MIS does not have under their ids, by the row that each probably is."""
        new = sorted(amounts - self._rivals.keys())
        if not new:
            return
        self._rivals |= {amount: defaultdict(list) for amount in new}
        rivals = [MirroredLoan(*row) for row in self._tx.execute(_STRANGE, {"amounts": list(map(float, new))})]
        rivals = [loan for loan in rivals if spelled.key(loan.loan_id) not in self._aliases]
        known = rows(self._tx, {spelled.key(loan.loan_id) for loan in rivals})
        for loan in rivals:
            amount = _amount(loan)
            if amount in self._rivals and spelled.key(loan.loan_id) not in known:
                one = self._by_amount[amount].likeliest(loan)
                if isinstance(one, Suggestion):
                    self._rivals[amount][one.identity].append(loan)

    def _look_up(self, amounts: set[str]) -> None:
        new = sorted(amounts - self._by_amount.keys())
        if not new:
            return
        self._by_amount |= {amount: _Alike() for amount in new}
        candidates = [_row(row) for row in self._tx.execute(_BY_LENT, {"lent": new})]
        taken = _listed(self._tx, [row.identity for row in candidates]) | self._taken
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
