"""How a line stands once its report has closed, and how it is kept as a row. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from kiva_relay.outbox import closing
from kiva_relay.outbox.decision import Decision
from kiva_relay.outbox.report import FrozenLine
from kiva_relay.outbox.state import State
from kiva_relay.report import line as lines_
from kiva_relay.report import place
from kiva_relay.report.line import Price, ReportLine, ReportLineKind, plain
from kiva_relay.report.place import PositionFacts

_AMOUNTS = ("lent_at_kiva", "position", "at_kiva", "before", "likely", "lent")
_WORDS = ("client_id", "status", "currency", "entry", "identity", "decided")
_STAYS = (ReportLineKind.ACCEPTED, ReportLineKind.LEFT_OUT, ReportLineKind.WARNED)


def closed(line: ReportLine) -> ReportLine:
    """The same line, now that nothing more of its report is sent. Its reason stays."""
    if line.kind in _STAYS:
        return line
    if line.cause == lines_.IN_DOUBT:
        return replace(line, kind=ReportLineKind.CLOSED_UNKNOWN)
    cause = line.cause or lines_.NOT_SENT
    if line.kind is ReportLineKind.REFUSED_BY_KIVA:
        cause = ReportLineKind.REFUSED_BY_KIVA.value
    elif line.kind in (ReportLineKind.ON_ITS_WAY, ReportLineKind.OLDER_AMOUNT) and cause == lines_.DECIDED:
        cause = lines_.NOT_SENT
    without = line.at_kiva is None
    return replace(line, kind=ReportLineKind.CLOSED_WITHOUT if without else ReportLineKind.CLOSED_WRONG, cause=cause)


class AmountsNow(NamedTuple):
    """What a decision binds to, as it is now; `position` is None where the MIS does not report the loan."""

    position: Decimal | None
    lent_at_kiva: Decimal | None
    currency: str | None


def afterwards(
    line: ReportLine,
    entries: Sequence[PositionFacts],
    decision: Decision | None,
    *,
    over: bool,
    amounts: AmountsNow | None = None,
) -> ReportLine:
    """A line of a closed report, with what a person decided about it since, and what became of that.

    `over`: it is finalised, or the next one has opened; what was not sent by then is not sent any more. `amounts`:
    where a person who sends it late saw other ones, nothing goes, and the line asks again.
    """
    if line.kind in (ReportLineKind.ACCEPTED, ReportLineKind.LEFT_OUT):
        return line
    decided = line if decision is None else replace(line, decided=decision.id)
    late = max(entries, key=lambda entry: entry.version, default=None)
    sent = None if late is None else _sent(replace(decided, entry=late.number), late, over=over)
    if sent is not None:
        return sent
    if decision is None or decision.id == line.decided:
        return line
    decided = replace(decided, params={**line.params, "answered": place.answer(decision)})
    if decision.verb == "leave_out":
        return replace(decided, kind=ReportLineKind.LEFT_OUT, cause=lines_.BY_A_PERSON)
    if not decision.late or over:
        return decided
    if amounts is None or place.binds(decision, *amounts):
        if line.kind is not ReportLineKind.CLOSED_UNKNOWN and line.at_kiva == _of(decision, line):
            return replace(decided, kind=ReportLineKind.ACCEPTED, cause=lines_.LATE)  # Kiva has it: nothing goes
        return replace(decided, kind=ReportLineKind.ON_ITS_WAY, cause=lines_.DECIDED)
    return replace(
        decided,
        position=amounts.position,
        lent_at_kiva=amounts.lent_at_kiva,
        currency=amounts.currency or line.currency,
    )


def _of(decision: Decision, line: ReportLine) -> Decimal | None:
    """The amount that a person sends late."""
    match decision.verb:
        case "send":
            return _amount(decision.seen.get("position"))
        case "value":
            return _amount(decision.value)
        case _:
            return line.before


def _sent(line: ReportLine, late: PositionFacts, *, over: bool) -> ReportLine | None:
    """What became of a position that was sent late; None: it was not sent."""
    match late.state:
        case State.DELIVERED:
            kind = ReportLineKind.WARNED if late.evidence == "warned" else ReportLineKind.ACCEPTED
            return replace(line, kind=kind, cause=lines_.LATE, at_kiva=late.amount)
        case State.REFUSED if any(one.get("code") == place.BY_KIVA for one in late.refusals):
            params = {**line.params, "reasons": list(late.refusals)}
            return replace(line, kind=ReportLineKind.REFUSED_BY_KIVA, params=params)
        case State.WITHDRAWN if late.reason == closing.CLOSED_UNKNOWN:
            params = {**line.params, "sent": None if late.amount is None else plain(late.amount)}
            return replace(line, kind=ReportLineKind.CLOSED_UNKNOWN, cause=lines_.LATE, params=params)
        case State.READY | State.SENDING | State.WAITING | State.IN_DOUBT if not over:
            return replace(line, kind=ReportLineKind.ON_ITS_WAY, cause=lines_.LATE)
        case _:
            return None


def kept(line: ReportLine) -> FrozenLine:
    """A line as it is kept. Ids, codes and amounts: no names."""
    facts: dict[str, Any] = {name: value for name in _WORDS if (value := getattr(line, name)) not in (None, "")}
    facts |= {name: plain(value) for name in _AMOUNTS if (value := getattr(line, name)) is not None}
    if line.params:
        facts["params"] = dict(line.params)
    if line.price is not None:
        price = line.price
        facts["price"] = {
            "amount": None if price.amount is None else plain(price.amount),
            "at_most": None if price.at_most is None else plain(price.at_most),
            "by": price.by,
        }
    return FrozenLine(line.kiva_id, line.loan_id, line.kind.value, line.cause, facts)


def read(row: FrozenLine) -> ReportLine:
    """The line of a row."""
    facts = row.facts
    values: dict[str, Any] = {name: facts[name] for name in _WORDS if name in facts}
    values |= {name: _decimal(facts[name]) for name in _AMOUNTS if name in facts}
    if "params" in facts:
        values["params"] = _params(orjson.dumps(facts["params"]))
    if "price" in facts:
        given = facts["price"]
        values["price"] = Price(_amount(given["amount"]), _amount(given["at_most"]), given["by"])
    return ReportLine(row.kiva_id, row.loan_id, ReportLineKind(row.kind), row.cause, **values)


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else _decimal(text)


_decimal = lru_cache(maxsize=4096)(Decimal)
"""Many lines have the same amounts, and all of a call the same receipt: one value for all of them takes less room."""


@lru_cache(maxsize=256)
def _params(text: bytes) -> Any:
    return orjson.loads(text)
