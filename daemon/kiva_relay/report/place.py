"""In which line an expected loan stands. Pure: of what Kiva lists and what the outbox knows of it, a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import adoption, store
from kiva_relay.outbox.decision import Decision
from kiva_relay.outbox.hold import ALL, STREAM, Hold
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import State
from kiva_relay.report import line as lines_
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.report.suggestion import Unclear
from kiva_relay.resource.refusal import PERSON_DECIDES
from kiva_relay.resource.repayment import OUTSTANDING

BY_KIVA = "kiva_said_no"
"""The code of what Kiva refused; what we refuse has others."""
LEFT_OUT = "left_out"
"""Why a position is withdrawn that a person left out."""
_RESOURCE = "repayment"
_NOTHING: Mapping[str, Any] = {}
_WAITS_ITSELF = ("lists_unknown", store.OLDER_IN_FLIGHT)


class PositionFacts(NamedTuple):
    """One entry of the period. `mis` is what the MIS gave where a person decided on another amount, else the amount."""

    number: int
    version: int
    state: State
    reason: str | None
    amount: Decimal | None
    mis: Decimal | None
    identity: str
    stream: str = _RESOURCE
    evidence: str | None = None
    refusals: Sequence[Mapping[str, Any]] = ()
    receipt: Mapping[str, Any] | None = None
    lent: Decimal | None = None
    handled: bool = False


class RowFacts(NamedTuple):
    """What capture knows of the MIS's row of a loan. `created_on` is the day of the row, as ISO text."""

    identity: str
    in_scope: bool
    gone: bool = False
    lent: Decimal | None = None
    client_id: str = ""
    created_on: str = ""


class LoanFacts(NamedTuple):
    """One loan that Kiva expects, and all that decides where it stands.

    Attributes:
        loan: as Kiva lists it.
        entries: those of the period that count, in the order of their versions.
        before: what Kiva took last in a closed period, on the basis of now.
        row: what is known of its row in the MIS; None: nothing.
        decision: what a person decided about it for this period.
        twins: so many expected loans have its id.
        likely: of a loan that the MIS does not have, the row that it probably is.
        other_case: `likely` differs from its id in upper and lower case only.
        because: why it is `likely` that row, as in report/suggestion.py.
        unclear: why no row is `likely`, where several are, or one is for several loans.
    """

    loan: MirroredLoan
    entries: Sequence[PositionFacts] = ()
    before: Decimal | None = None
    row: RowFacts | None = None
    decision: Decision | None = None
    twins: int = 1
    likely: RowFacts | None = None
    other_case: bool = False
    because: Sequence[str] = ()
    unclear: Unclear | None = None


@dataclass(frozen=True)
class ReportSituation:
    """What decides for all loans. `unread`: the book of the MIS was not read whole yet."""

    holds: Sequence[Hold] = ()
    sends: bool = True
    unread: bool = False
    basis: str = "cumulative_principal"


def lines(expected: Iterable[LoanFacts], now_is: ReportSituation) -> Iterator[ReportLine]:
    """One line for each loan that Kiva expects."""
    for facts in expected:
        yield line(facts, now_is)


def line(facts: LoanFacts, now_is: ReportSituation) -> ReportLine:
    """The line of one loan."""
    standing, delivered, aside = _counting(facts.entries)
    present = standing or max(filter(None, (delivered, aside)), key=lambda entry: entry.version, default=None)
    position = None if present is None else present.mis
    if aside is not None and aside.state is State.WITHDRAWN:
        aside = None  # it says what the MIS gives; that it is left out, the decision says
    loan, lent_at_kiva = facts.loan, _amount(facts.loan.amount)
    kind, cause, params = _place(facts, now_is, standing, delivered, aside, position)
    decision = facts.decision
    lent = facts.row.lent if facts.row is not None else None
    if lent is None and present is not None:
        lent = present.lent
    if decision is not None and not is_bound(decision, position, loan):
        params = {**params, "answered": answer(decision)}
    return ReportLine(
        kiva_id=loan.kiva_id,
        loan_id=loan.loan_id,
        kind=kind,
        cause=cause,
        params=params,
        client_id=loan.client_id,
        status=loan.status,
        currency=loan.currency,
        lent_at_kiva=lent_at_kiva,
        entry=None if present is None else present.number,
        identity=facts.row.identity if facts.row is not None else None if present is None else present.identity,
        position=position,
        at_kiva=None if delivered is None else delivered.amount,
        before=facts.before,
        likely=_likely(cause, position, lent_at_kiva, lent, now_is.basis),
        lent=lent,
        decided=None if decision is None else decision.id,
    )


def is_bound(decision: Decision, position: Decimal | None, loan: MirroredLoan) -> bool:
    """Does a decision still hold? Not when the MIS's amount, or Kiva's, is another than the one that it was about."""
    return binds(decision, position, _amount(loan.amount), loan.currency)


def binds(decision: Decision, position: Decimal | None, lent: Decimal | None, currency: str | None) -> bool:
    """The same, of these amounts."""
    return decision.binds(
        None if position is None else lines_.plain(position), None if lent is None else lines_.plain(lent), currency
    )


def answer(decision: Decision) -> dict[str, Any]:
    """What a person answered, to be shown."""
    return {
        "verb": decision.verb,
        "value": decision.value,
        "person": decision.person,
        "note": decision.note,
        "at": decision.at.isoformat(),
        "seen": dict(decision.seen),
    }


def _place(  # noqa: PLR0917 - the parts of one loan
    facts: LoanFacts,
    now_is: ReportSituation,
    standing: PositionFacts | None,
    delivered: PositionFacts | None,
    aside: PositionFacts | None,
    position: Decimal | None,
) -> tuple[ReportLineKind, str, Mapping[str, Any]]:
    """Where it stands: the first that applies."""
    decision = facts.decision
    decided = decision if decision is not None and is_bound(decision, position, facts.loan) else None
    in_flight = standing is not None and standing.state in (State.SENDING, State.IN_DOUBT)
    if decided is not None and decided.verb == "leave_out" and not in_flight:
        return ReportLineKind.LEFT_OUT, lines_.BY_A_PERSON, answer(decided)
    if facts.twins > 1 and decided is None and facts.row is not None:
        return ReportLineKind.DECIDE, lines_.ID_TWICE, {"number": facts.twins}
    if standing is not None:
        return _standing(standing, delivered, decided, now_is)
    if aside is not None:
        return ReportLineKind.LEFT_OUT, lines_.BY_A_PERSON, {}
    if delivered is not None:
        if delivered.evidence == "warned":
            return ReportLineKind.WARNED, "", _receipt(delivered)
        return ReportLineKind.ACCEPTED, "", _receipt(delivered)
    return _absent(facts, now_is)


def _standing(
    entry: PositionFacts, delivered: PositionFacts | None, decided: Decision | None, now_is: ReportSituation
) -> tuple[ReportLineKind, str, Mapping[str, Any]]:
    """The line of what is not settled."""
    goes = ReportLineKind.ON_ITS_WAY if delivered is None else ReportLineKind.OLDER_AMOUNT
    reason = entry.reason or ""
    match entry.state:
        case State.WAITING if reason in PERSON_DECIDES or reason == adoption.PERHAPS:
            return (ReportLineKind.DECIDE, reason, {}) if decided is None else (goes, lines_.DECIDED, answer(decided))
        case State.WAITING if reason not in _WAITS_ITSELF:
            return (
                ReportLineKind.MISSING,
                lines_.REFUSED_BY_US,
                {"reasons": [{"code": reason, "field": "", "params": {}}]},
            )
        case State.WAITING | State.SENDING:
            return goes, reason, {}
        case State.IN_DOUBT:
            return goes, lines_.IN_DOUBT, {"sent": None if entry.amount is None else lines_.plain(entry.amount)}
        case State.REFUSED if entry.handled:
            return ReportLineKind.LEFT_OUT, lines_.BY_A_PERSON, {}
        case State.REFUSED:
            by_kiva = any(one.get("code") == BY_KIVA for one in entry.refusals)
            params = {"reasons": list(entry.refusals)}
            if by_kiva:
                return ReportLineKind.REFUSED_BY_KIVA, "", {**params, **_receipt(entry)}
            return ReportLineKind.MISSING, lines_.REFUSED_BY_US, params
        case _:
            return _ready(entry, goes, now_is)


def _ready(
    entry: PositionFacts, goes: ReportLineKind, now_is: ReportSituation
) -> tuple[ReportLineKind, str, Mapping[str, Any]]:
    for held in now_is.holds:
        if held.what not in (ALL, _RESOURCE, STREAM + entry.stream):
            continue
        if held.why.lifts_itself:
            return goes, lines_.HELD, {"reason": held.reason}
        cause = lines_.BASIS_CHANGED if held.reason == lines_.BASIS_CHANGED else lines_.HELD
        return ReportLineKind.DECIDE, cause, {"reason": held.reason, **held.params}
    return goes, "" if now_is.sends else lines_.SWITCHED_OFF, {}


def _absent(facts: LoanFacts, now_is: ReportSituation) -> tuple[ReportLineKind, str, Mapping[str, Any]]:
    """The line of a loan of which the outbox has no position of this period."""
    row = facts.row
    if row is not None and row.in_scope:
        return ReportLineKind.MISSING, lines_.NOT_READ_YET, {}
    if row is not None:
        return ReportLineKind.MISSING, lines_.GONE if row.gone else lines_.OUT_OF_SCOPE, {}
    params: dict[str, Any] = {}
    if facts.likely is not None:
        lent = facts.likely.lent
        params = {"likely_id": facts.likely.identity, "likely_lent": None if lent is None else lines_.plain(lent)}
    if facts.unclear is not None and facts.unclear.loans:
        params = {"shared_id": facts.unclear.rows[0], "shared_with": list(facts.unclear.loans)}
    elif facts.unclear is not None:
        params = {"as_likely": list(facts.unclear.rows)}
    if "client" in facts.because:
        params["likely_by"] = "client"
    if facts.other_case:
        return ReportLineKind.DECIDE, lines_.IN_OTHER_CASE, params
    return ReportLineKind.MISSING, lines_.NOT_READ_YET if now_is.unread else lines_.NOT_IN_MIS, params


def _counting(
    entries: Sequence[PositionFacts],
) -> tuple[PositionFacts | None, PositionFacts | None, PositionFacts | None]:
    """Of a loan's entries: what is not settled, what Kiva took last, and what a person set aside after that."""
    standing = delivered = aside = None
    for entry in entries:
        match entry.state:
            case State.DELIVERED:
                delivered, aside = entry, None
            case State.DISCARDED:
                aside = entry
            case State.WITHDRAWN if entry.reason == LEFT_OUT:
                aside = entry
            case State.WITHDRAWN | State.SUPERSEDED:
                continue
            case State.WAITING if entry.reason == store.OLDER_IN_FLIGHT and standing is not None:
                continue  # the older one stands for both
            case _:
                standing = entry
    return standing, delivered, aside


def _receipt(entry: PositionFacts) -> Mapping[str, Any]:
    """What Kiva gave back, and the problems that it named."""
    return entry.receipt or _NOTHING


def _likely(
    cause: str, position: Decimal | None, lent_at_kiva: Decimal | None, lent: Decimal | None, basis: str
) -> Decimal | None:
    match cause:
        case lines_.FELL | lines_.ANSWERED_BEFORE:
            return position
        case lines_.EXCEEDS_KIVA if basis != OUTSTANDING:
            return lent_at_kiva
        case lines_.EXCEEDS_LENT:
            return Decimal(0) if basis == OUTSTANDING else lent  # all of it is repaid
        case _:
            return None


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else _decimal(text)


_decimal = lru_cache(maxsize=4096)(Decimal)
