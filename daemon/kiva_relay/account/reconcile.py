"""What MIS, outbox and Kiva say differently of one loan. Pure: three values in, differences with codes out.

What cannot be told from what is there says nothing: a book not read yet, an amount that nobody knows. Kiva's list shows
no drafts (kiva-partner-api: `GET /loans`), so one of ours that is not listed is a difference only when it can no longer
be published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from kiva_relay.frozen import dataclass
from kiva_relay.outbox.mirror import EXPECTED, GONE, LIVE, MirroredLoan
from kiva_relay.report.line import plain
from kiva_relay.resource import loan_id as spelled

OVER_IN_VAIN = ("expired", "refunded", "inactive", "inactive_expired", *GONE)
"""In which a loan may be posted once more under its id."""

KIVA_ENDS_WITHIN = timedelta(days=14)
"""So long after a report closed Kiva may still list a loan as being paid back that it says is repaid."""

PUBLISHED_WITHIN = timedelta(days=7)
"""After its last day: a published draft may not be listed at once."""

WITHOUT_A_LAST_DAY = timedelta(days=45)
"""A draft of which no last day is known is not published any more so long after it was sent: PA2 takes loans disbursed
at most 30 days ago."""


class DiscrepancyKind(StrEnum):
    """What differs, the gravest first."""

    TWICE = "twice"  # Kiva has several loans of one of the MIS's
    UNKNOWN_HERE = "unknown_here"  # Kiva has it, and neither we nor the MIS
    NEVER_SEEN = "never_seen"  # we sent it, and Kiva never listed it
    NO_LONGER_LISTED = "no_longer_listed"  # Kiva listed it, and does no more
    GONE_HERE = "gone_here"  # at Kiva, and gone from the MIS
    OUT_OF_SCOPE_HERE = "out_of_scope_here"  # at Kiva, and the MIS has it for somebody else now
    OTHER_AMOUNT = "other_amount"
    OTHER_CURRENCY = "other_currency"
    OTHER_CLIENT = "other_client"
    WRITTEN_OFF_HERE = "written_off_here"  # and not defaulted at Kiva
    PAID_OFF_HERE = "paid_off_here"  # and Kiva still waits for repayments
    ENDED_THERE = "ended_there"  # and something is still owed here
    ISSUE_THERE = "issue_there"  # Kiva waits for a correction in PA2


class OfMis(NamedTuple):
    """What capture knows of the rows of a loan, of all mappings together.

    `reported`: it is known as one whose repayments are reported; the amounts are of that row. `known_since` is when
    its content became what it is; `created_on` is the day of the row, as ISO text.
    """

    identity: str
    in_scope: bool
    gone: bool
    reported: bool = False
    lent: Decimal | None = None
    repaid: Decimal | None = None
    written_off: Decimal | None = None
    client_id: str = ""
    known_since: datetime | None = None
    created_on: str = ""


class OfOutbox(NamedTuple):
    """A draft that is at Kiva as far as we know. `handled`: a person dealt with it; `was_listed`: Kiva once had it."""

    number: int
    loan_id: str
    sent_at: datetime
    client_id: str = ""
    amount: Decimal | None = None
    currency: str | None = None
    publish_by: date | None = None
    handled: bool = False
    was_listed: bool = False


class LoanSides(NamedTuple):
    """One loan, as each of the three has it. `twins`: all of Kiva's loans that are this one of the MIS's, by number.

    `told` is when a report closed in which Kiva took that all of it is repaid.
    """

    kiva: MirroredLoan | None = None
    ours: OfOutbox | None = None
    mis: OfMis | None = None
    twins: Sequence[MirroredLoan] = ()
    told: datetime | None = None


@dataclass(frozen=True)
class Reconciling:
    """What decides for all loans.

    `book_is_read`: the MIS's book of repayments was read whole, so that what is not there is not there. `closed_at`:
    when the newest report closed that is closed.
    """

    now: datetime
    today: date
    book_is_read: bool = True
    closed_at: datetime | None = None


class Discrepancy(NamedTuple):
    """One difference: `params` is what each side says, as text."""

    kind: DiscrepancyKind
    subject: str
    kiva_id: str
    loan_id: str
    entry: int | None
    params: Mapping[str, str]


def compare(sides: LoanSides, known: Reconciling) -> Iterator[Discrepancy]:
    """Everything that differs of one loan."""
    if sides.kiva is None:
        yield from _not_listed(sides, known)
        return
    for kind, params in _listed(sides.kiva, sides, known):
        yield _found(kind, sides, params)


def _listed(
    kiva: MirroredLoan, sides: LoanSides, known: Reconciling
) -> Iterator[tuple[DiscrepancyKind, Mapping[str, str]]]:
    mis, ours = sides.mis, sides.ours
    if len(sides.twins) > 1 and kiva.kiva_id == sides.twins[0].kiva_id:
        yield DiscrepancyKind.TWICE, {"others": ", ".join(one.kiva_id for one in sides.twins[1:])}
    if kiva.status == "ended" and mis is not None:
        yield from _ended(mis)
    if kiva.status in GONE and ours is not None and not ours.handled:
        yield DiscrepancyKind.NO_LONGER_LISTED, {"status": kiva.status}
    if kiva.status not in LIVE:
        return
    if kiva.status == "issue":
        yield DiscrepancyKind.ISSUE_THERE, {} if kiva.status_detail is None else {"detail": kiva.status_detail}
    if mis is None and ours is None:
        if known.book_is_read:
            yield DiscrepancyKind.UNKNOWN_HERE, _of_kiva(kiva)
        return
    if mis is not None:
        yield from _left(mis, kiva)
        yield from _repaid(mis, kiva, sides, known)
    yield from _amounts(kiva, ours, mis)


def _not_listed(sides: LoanSides, known: Reconciling) -> Iterator[Discrepancy]:
    """A draft of ours that Kiva does not list."""
    ours = sides.ours
    if ours is None or ours.handled:
        return
    if ours.was_listed:
        yield _found(DiscrepancyKind.NO_LONGER_LISTED, sides, {})
    elif sides.mis is not None and sides.mis.gone:
        yield _found(DiscrepancyKind.GONE_HERE, sides, {"status": "draft"})
    elif _is_too_late(ours, known):
        last = {} if ours.publish_by is None else {"publish_by": ours.publish_by.isoformat()}
        yield _found(DiscrepancyKind.NEVER_SEEN, sides, last)


def _is_too_late(ours: OfOutbox, known: Reconciling) -> bool:
    if ours.publish_by is not None:
        return known.today > ours.publish_by + PUBLISHED_WITHIN
    return known.now - ours.sent_at > WITHOUT_A_LAST_DAY


def _ended(mis: OfMis) -> Iterator[tuple[DiscrepancyKind, Mapping[str, str]]]:
    if mis.lent and mis.repaid is not None and mis.in_scope and not mis.written_off and mis.repaid < mis.lent:
        yield DiscrepancyKind.ENDED_THERE, {"repaid": plain(mis.repaid), "lent": plain(mis.lent)}


def _left(mis: OfMis, kiva: MirroredLoan) -> Iterator[tuple[DiscrepancyKind, Mapping[str, str]]]:
    if mis.gone:
        yield DiscrepancyKind.GONE_HERE, {"status": kiva.status}
    elif mis.reported and not mis.in_scope:
        yield DiscrepancyKind.OUT_OF_SCOPE_HERE, {"status": kiva.status}


def _repaid(
    mis: OfMis, kiva: MirroredLoan, sides: LoanSides, known: Reconciling
) -> Iterator[tuple[DiscrepancyKind, Mapping[str, str]]]:
    if not mis.in_scope or kiva.status not in EXPECTED:
        return
    if mis.written_off:
        if kiva.status == "payingBack":
            yield DiscrepancyKind.WRITTEN_OFF_HERE, {"written_off": plain(mis.written_off)}
        return
    if mis.lent and mis.repaid is not None and mis.repaid >= mis.lent and _kiva_could_know(mis, sides, known):
        yield DiscrepancyKind.PAID_OFF_HERE, {"status": kiva.status, "lent": plain(mis.lent)}


def _kiva_could_know(mis: OfMis, sides: LoanSides, known: Reconciling) -> bool:
    """Did a report close with it long ago, or one in which it should have been?"""
    since = sides.told
    if since is None and known.closed_at is not None and mis.known_since is not None:
        since = known.closed_at if mis.known_since < known.closed_at else None
    return since is not None and known.now - since > KIVA_ENDS_WITHIN


def _amounts(
    kiva: MirroredLoan, ours: OfOutbox | None, mis: OfMis | None
) -> Iterator[tuple[DiscrepancyKind, Mapping[str, str]]]:
    posted, lent = (None if ours is None else ours.amount), (None if mis is None else mis.lent or None)
    if ours is not None and ours.currency and kiva.currency and ours.currency != kiva.currency:
        yield DiscrepancyKind.OTHER_CURRENCY, {"kiva": kiva.currency, "sent": ours.currency}
    elif kiva.amount is not None and (posted is not None or lent is not None):
        at_kiva = Decimal(kiva.amount)
        if at_kiva not in (posted, lent):
            here = {"sent": posted, "mis": lent}
            shown = {name: plain(amount) for name, amount in here.items() if amount is not None}
            yield DiscrepancyKind.OTHER_AMOUNT, {"kiva": plain(at_kiva), **shown, **_currency(kiva)}
    clients = {spelled.key(one.client_id) for one in (ours, mis) if one is not None and one.client_id}
    several = (kiva.borrower_count or 1) > 1
    same = any(kiva.client_id == one or spelled.alike(kiva.client_id, one) for one in clients)
    if clients and kiva.client_id and not several and not same:
        yield DiscrepancyKind.OTHER_CLIENT, {"kiva": kiva.client_id, "mis": " or ".join(sorted(clients))}


def _of_kiva(kiva: MirroredLoan) -> dict[str, str]:
    amount = {} if kiva.amount is None else {"amount": plain(Decimal(kiva.amount))}
    return {"status": kiva.status, **amount, **_currency(kiva)}


def _currency(kiva: MirroredLoan) -> dict[str, str]:
    return {} if kiva.currency is None else {"currency": kiva.currency}


def _found(kind: DiscrepancyKind, sides: LoanSides, params: Mapping[str, str]) -> Discrepancy:
    kiva, ours = sides.kiva, sides.ours
    if kiva is not None:
        return Discrepancy(
            kind, f"kiva:{kiva.kiva_id}", kiva.kiva_id, kiva.loan_id, None if ours is None else ours.number, params
        )
    if ours is None:
        raise AssertionError("a difference of nothing")
    return Discrepancy(kind, f"entry:{ours.number}", "", ours.loan_id, ours.number, params)
