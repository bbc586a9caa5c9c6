"""What the outbox knows of the loans that Kiva expects: read in parts, so that a hundred thousand take no room."""

# ruff: noqa: S608 - the texts are put together of parts of this file alone

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import decision, mirror, mirror_table
from kiva_relay.outbox.decision import Decision
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import State
from kiva_relay.report import accepted, alike, mis_row
from kiva_relay.report.frozen import AmountsNow
from kiva_relay.report.line import ReportLine
from kiva_relay.report.place import LoanFacts, PositionFacts
from kiva_relay.resource import loan_id as spelled

PART = 2_000
"""So many loans are read at a time."""

_STATUSES = ", ".join(repr(status) for status in mirror.EXPECTED)
# By the loan's number at Kiva: joined to nothing, its status serves no index, and no part is sorted again.
_EXPECTED = f"m.status || '' IN ({_STATUSES})"
_IN_RANGE = f"m.kiva_id > :after AND m.kiva_id <= :last AND {_EXPECTED}"
_NAMED = "m.kiva_id IN :kiva_ids"


@dataclass(frozen=True)
class _Asked:
    """The statements by which a part is read: its loans, their entries of the period, what Kiva took before."""

    loans: sa.TextClause
    entries: sa.TextClause
    before: sa.TextClause


def _asked(loans: str, part: str) -> _Asked:
    """`loans` is which of them are read, `part` which loans a part has."""
    # Each by the index `entry_position`: its condition has to stand here word by word. A CROSS JOIN, for SQLite begins
    # with the first table of it.
    asked = _Asked(
        loans=sa.text(f"""
SELECT m.kiva_id, m.loan_id, m.client_id, m.status, m.amount, m.currency, m.created_on FROM mirror m
WHERE m.kiva_id > :after AND {loans} ORDER BY m.kiva_id LIMIT :most
"""),
        entries=sa.text(f"""
SELECT e.loan_id, e.id, e.version, e.state, e.reason, e.amount, coalesce(p.mis, e.amount) AS mis, e.identity,
       e.stream, e.evidence, e.refusals, e.receipt, p.lent, e.done_at
FROM mirror m CROSS JOIN entry e LEFT JOIN position p ON p.entry_id = e.id
WHERE {part} AND e.resource = 'repayment' AND e.state <> 'superseded' AND e.loan_id = m.loan_id
  AND e.period = :period
"""),
        before=sa.text(f"""
SELECT e.loan_id, e.amount, p.basis, p.lent
FROM mirror m CROSS JOIN entry e LEFT JOIN position p ON p.entry_id = e.id
WHERE {part} AND e.id = (
  SELECT max(n.id) FROM entry n WHERE n.resource = 'repayment' AND n.state <> 'superseded' AND n.loan_id = m.loan_id
    AND n.state = 'delivered' AND n.period = (
      SELECT max(b.period) FROM entry b WHERE b.resource = 'repayment' AND b.state <> 'superseded'
        AND b.loan_id = m.loan_id AND b.period < :period AND b.state = 'delivered'))
"""),
    )
    if part != _NAMED:
        return asked
    kiva_ids: sa.BindParameter[list[str]] = sa.bindparam("kiva_ids", expanding=True)
    return _Asked(asked.loans, asked.entries.bindparams(kiva_ids), asked.before.bindparams(kiva_ids))


_EVERY = _asked(_EXPECTED, _IN_RANGE)
_OTHERS = _asked(f"{_EXPECTED} AND NOT ({accepted.PLAIN})", _NAMED)
_ODD = _asked(f"{_EXPECTED} AND NOT ({alike.SINGLE})", _NAMED)
_EACH = sa.select(*mirror.LOAN_COLUMNS).where(
    mirror_table.mirror.c.kiva_id.in_(sa.bindparam("kiva_ids", expanding=True)),
    mirror_table.mirror.c.status.concat("").in_(mirror.EXPECTED),  # by their numbers, not by their status
)
_NUMBERS = sa.text(f"SELECT m.kiva_id FROM mirror m WHERE {_EXPECTED} ORDER BY m.kiva_id")
_LATE = sa.text("""
SELECT e.loan_id, e.id, e.version, e.state, e.reason, e.amount, coalesce(p.mis, e.amount) AS mis, e.identity,
       e.stream, e.evidence, e.refusals, e.receipt, p.lent, e.done_at
FROM decision d CROSS JOIN entry e LEFT JOIN position p ON p.entry_id = e.id
WHERE d.period = :period AND d.late AND e.resource = 'repayment' AND e.state <> 'superseded'
  AND e.loan_id = d.loan_id AND e.period = :period AND e.origin = 'late'
""")
_REPAID = "cumulative_principal"
_ROW_NOW = sa.text(
    "SELECT in_scope, repaid, lent FROM captured WHERE resource = 'repayment' AND identity = :identity"
    " ORDER BY in_scope DESC LIMIT 1"
)
_LOAN_NOW = sa.text("SELECT amount, currency, status FROM mirror WHERE kiva_id = :kiva_id")
_SHARED = sa.text(f"""
SELECT loan_fold FROM mirror WHERE status IN ({_STATUSES}) GROUP BY loan_fold HAVING count(*) > 1
""")


def read(
    tx: Connection,
    *,
    period: str,
    basis: str,
    aliases: Mapping[str, str],
    besides_accepted: bool = False,
    besides_alike: bool = False,
) -> Iterator[LoanFacts]:
    """All loans that Kiva expects, by `kiva_id`.

    Args:
        tx: a transaction of the outbox.
        period: YYYY-MM.
        basis: what an amount means now; what Kiva took before on another one is turned into it.
        aliases: ids that were typed by hand at Kiva, and the MIS's own id of the same loan, as keys.
        besides_accepted: without those that `report/accepted.py` counts.
        besides_alike: without those that `report/alike.py` counts.
    """
    asked = _ODD if besides_alike else _OTHERS if besides_accepted else _EVERY
    reading = _Reading(tx, asked, period, basis, aliases, decision.in_force(tx, period), _shared(tx))
    likeliest = mis_row.Likeliest(tx, aliases)
    after = ""
    while loans := reading.loans(after=after, most=PART):
        yield from likeliest.of(reading.part(loans, after=after))
        after = loans[-1].kiva_id


def named(
    tx: Connection, kiva_ids: Sequence[str], *, period: str, basis: str, aliases: Mapping[str, str]
) -> Iterator[LoanFacts]:
    """These of the loans that Kiva expects, by `kiva_id`; the other arguments are those of `read`."""
    decided, likeliest = decision.in_force(tx, period), mis_row.Likeliest(tx, aliases)
    for loans in _in_parts(tx, kiva_ids):
        shared = _shared(tx, sorted({spelled.fold(loan.loan_id) for loan in loans}))
        reading = _Reading(tx, _ODD, period, basis, aliases, decided, shared)
        yield from likeliest.of(reading.part(loans, after=""))


def besides(
    tx: Connection, counted: Collection[str], *, period: str, basis: str, aliases: Mapping[str, str]
) -> Iterator[LoanFacts]:
    """All loans that Kiva expects without those that were counted, by Kiva's numbers; the rest as of `read`."""
    others = [kiva_id for kiva_id in tx.execute(_NUMBERS).scalars().all() if kiva_id not in counted]
    reading = _Reading(tx, _ODD, period, basis, aliases, decision.in_force(tx, period), _shared(tx))
    likeliest = mis_row.Likeliest(tx, aliases)
    for loans in _in_parts(tx, others):
        yield from likeliest.of(reading.part(loans, after=""))


def _in_parts(tx: Connection, kiva_ids: Sequence[str]) -> Iterator[list[MirroredLoan]]:
    for start in range(0, len(kiva_ids), PART):
        rows = tx.execute(_EACH, {"kiva_ids": list(kiva_ids[start : start + PART])}).all()
        if rows:
            yield sorted((MirroredLoan(*row) for row in rows), key=lambda loan: loan.kiva_id)


@dataclass(frozen=True)
class _Reading:
    """With what all parts are read."""

    tx: Connection
    asked: _Asked
    period: str
    basis: str
    aliases: Mapping[str, str]
    decisions: Mapping[str, Decision]
    shared: Mapping[str, int]

    def loans(self, *, after: str, most: int) -> list[MirroredLoan]:
        """The next loans after one, at most so many."""
        given: dict[str, Any] = {"after": after, "most": most}
        if self.asked is not _EVERY:
            given["period"] = self.period
        rows = self.tx.execute(self.asked.loans, given).all()
        return [
            MirroredLoan(kiva_id, loan_id, client_id, status, amount, currency, created_on=created_on)
            for kiva_id, loan_id, client_id, status, amount, currency, created_on in rows
        ]

    def part(self, loans: Sequence[MirroredLoan], *, after: str) -> list[LoanFacts]:
        """What is known of some loans, those that come after `after`."""
        given: dict[str, Any] = {"period": self.period}
        if self.asked is not _EVERY:
            given["kiva_ids"] = [loan.kiva_id for loan in loans]
        else:
            given |= {"after": after, "last": loans[-1].kiva_id}
        entries: dict[str, list[PositionFacts]] = defaultdict(list)
        for loan_id, *row in self.tx.execute(self.asked.entries, given).all():
            entries[loan_id].append(_position(row))
        before = {
            loan_id: on_basis(amount, was, lent, self.basis)
            for loan_id, amount, was, lent in self.tx.execute(self.asked.before, given).all()
        }
        keys = [spelled.key(loan.loan_id) for loan in loans]
        identities = [self.aliases.get(key, key) for key in keys] if self.aliases else keys
        rows, shared = mis_row.rows(self.tx, identities), self.shared
        return [
            LoanFacts(
                loan,
                _in_order(entries.get(loan.loan_id, ())),
                before.get(loan.loan_id),
                rows.get(identity),
                self.decisions.get(loan.kiva_id),
                shared.get(key, 1) if shared else 1,
            )
            for loan, key, identity in zip(loans, keys, identities, strict=True)
        ]


def _in_order(entries: Sequence[PositionFacts]) -> Sequence[PositionFacts]:
    """By their versions, each once: loans that share an id share their entries."""
    if len(entries) <= 1:
        return entries
    return sorted({entry.number: entry for entry in entries}.values(), key=lambda entry: entry.version)


def late(tx: Connection, period: str) -> dict[str, list[PositionFacts]]:
    """The positions of a closed period that persons sent late, by Kiva's spelling of the loan id."""
    found: dict[str, list[PositionFacts]] = defaultdict(list)
    for loan_id, *row in tx.execute(_LATE, {"period": period}).all():
        found[loan_id].append(_position(row))
    return found


def amounts_now(tx: Connection, line: ReportLine, basis: str) -> AmountsNow | None:
    """What MIS and Kiva say now of a loan whose report has closed; None: that is not known."""
    mine = {"identity": line.identity or "", "kiva_id": line.kiva_id}
    row, loan = tx.execute(_ROW_NOW, mine).first(), tx.execute(_LOAN_NOW, mine).first()
    if loan is None or loan.status not in mirror.EXPECTED or (row is not None and not row.in_scope):
        return AmountsNow(None, None if loan is None else _of(loan.amount), None if loan is None else loan.currency)
    if row is None or row.repaid is None:
        return None
    return AmountsNow(on_basis(row.repaid, _REPAID, row.lent, basis), _of(loan.amount), loan.currency)


def _of(text: str | None) -> Decimal | None:
    return None if text is None else _decimal(text)


def _shared(tx: Connection, folds: Sequence[str] | None = None) -> Counter[str]:
    """The keys of ids that more than one expected loan has: how many. `folds`: of these ids alone."""
    found: Counter[str] = Counter()
    folds = list(tx.execute(_SHARED).scalars()) if folds is None else folds
    columns = mirror_table.mirror.c
    # Joined to nothing, their status serves no index: the ids are few, and the loans many.
    status = columns.status.concat("")
    for start in range(0, len(folds), PART):
        where = (columns.loan_fold.in_(folds[start : start + PART]), status.in_(mirror.EXPECTED))
        found.update(spelled.key(loan_id) for loan_id in tx.execute(sa.select(columns.loan_id).where(*where)).scalars())
    return Counter({key: number for key, number in found.items() if number > 1})


def on_basis(amount: str | None, was: str | None, lent: str | None, basis: str) -> Decimal | None:
    """An amount that was reported on a basis, on another one; None where it cannot be known."""
    if amount is None:
        return None
    if was is None or was == basis:
        return _decimal(amount)
    return None if lent is None else Decimal(lent) - Decimal(amount)


def _position(row: Sequence[Any]) -> PositionFacts:
    number, version, state, reason, amount, mis, identity, stream, evidence, refusals, receipt, lent, done = row
    value = None if amount is None else _decimal(amount)
    return PositionFacts(
        number,
        version,
        _STATES[state],
        reason,
        value,
        value if mis == amount else _decimal(mis) if mis else None,
        identity,
        stream,
        evidence,
        () if refusals is None else orjson.loads(refusals),
        None if receipt is None else _receipt(receipt),
        None if lent is None else _decimal(lent),
        done is not None,
    )


_STATES = {state.value: state for state in State}


@lru_cache(maxsize=4096)
def _decimal(text: str) -> Decimal:
    """Many loans have the same amounts; one value for all of them takes less room."""
    return Decimal(text)


@lru_cache(maxsize=256)
def _receipt(text: str) -> Mapping[str, Any]:
    """All loans of a call have the same receipt."""
    found: Mapping[str, Any] = orjson.loads(text)
    return found
