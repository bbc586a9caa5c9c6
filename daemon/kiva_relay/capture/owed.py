"""What the MIS owes Kiva, decided for one key: baselined, refused, waiting or ready. The rules of the three resources.

A draft or journal older than `since` is baselined: captured, nothing owed. A position is owed only for a loan from
which Kiva expects a report, while the report is open, and in Kiva's own spelling of the ids.

What is known of a key comes in as values (`Captured`,
`Mapped`, `KeyFacts`), and what the page has to write goes out as one (`KeyDecision`): nothing here asks a database.
What is owed of a position, `owed_position.py` says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from kiva_relay.capture import another_row, owed_position
from kiva_relay.capture.another_row import RowReplaced
from kiva_relay.capture.context import CaptureContext
from kiva_relay.frozen import dataclass
from kiva_relay.mapping.mapper import Mapped
from kiva_relay.outbox import adoption, duplicate
from kiva_relay.outbox.decision import Decision
from kiva_relay.outbox.entry import Entry, Owed
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.watermark import Captured
from kiva_relay.report.line import plain
from kiva_relay.resource import body as json_body
from kiva_relay.resource import loan_draft, refusal
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.resource.repayment import OUTSTANDING
from kiva_relay.source.reader import Content

NOT_AT_KIVA = "loan_not_at_kiva"
NOT_ELIGIBLE = "loan_not_eligible"
LEFT_SCOPE = "left_scope"
GONE = "gone_from_mis"


@dataclass(frozen=True)
class MappedKey:
    """A key in scope that was mapped.

    `seen` is what was known of it; `mapped` what the mapping makes of it now; `digest` the fingerprint of everything
    that the mapper was given.
    """

    key: str
    seen: Captured | None
    mapped: Mapped
    digest: str

    @property
    def identity(self) -> str:
        """Its identity, or a stand-in for what the mapping could give none."""
        return self.mapped.identity or f"({self.key})"


@dataclass(frozen=True)
class KeyFacts:
    """What the outbox and Kiva's list say about a key that was mapped.

    Attributes:
        sent: the version of its identity that is at Kiva or may be; None also where nobody has to know.
        other_row: the stream and key of another row in scope that has the same identity.
        at_kiva: loans that Kiva lists under `ids_to_look_up`, by the key of their id (`resource/loan_id.py`).
        perhaps: Kiva has none of them, and one whose id differs in case only.
        adopted: of a draft, how we know that Kiva has it without our sending it; None when we do not.
        previous: the position that Kiva took last in another period, on the basis of now.
        listed: of a position, the expected loans that have its id at Kiva, more than one where several share it.
        decision: what a person decided about it for this period.
        currency: in which its draft was posted; None where that is not known.
        twins: of a draft, loans that may be the same one under another number, and nobody has said yet.
    """

    sent: Entry | None = None
    other_row: tuple[str, str] | None = None
    at_kiva: Mapping[str, MirroredLoan] = field(default_factory=dict)
    adopted: Mapping[str, Any] | None = None
    previous: Decimal | None = None
    perhaps: bool = False
    listed: tuple[MirroredLoan, ...] = ()
    decision: Decision | None = None
    currency: str | None = None
    twins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Withdrawal:
    """What was not sent of an identity is no longer owed; a draft or journal that was sent becomes a divergence."""

    identity: str
    reason: str


@dataclass(frozen=True)
class KeyDecision:
    """Everything that has to be written for one key.

    Attributes:
        captured: what is known of the key from now on.
        new: nothing was known of it.
        changed: its content is not what was known; false when it was only met, or mapped again.
        owed: what to enqueue; None when nothing is owed.
        withdrawals: what is no longer owed.
        became_another: its old number belongs to another row now, and a person was not asked yet.
        replaced: the divergence by which the coordinator learns of that.
    """

    captured: Captured
    new: bool = False
    changed: bool = True
    owed: Owed | None = None
    withdrawals: tuple[Withdrawal, ...] = ()
    became_another: bool = False
    replaced: RowReplaced | None = None


# ---------------------------------------------------------------- is there anything to decide


def left(look: CaptureContext, content: Content, seen: Captured | None) -> KeyDecision | None:
    """A key that is out of scope or gone: what is written for it; None when it was not known in scope."""
    if seen is None:
        return None
    if not seen.in_scope:
        # It was marked to be looked at again, and that is done: a mark that stayed would be read at every look.
        return KeyDecision(captured=dataclasses.replace(seen, again=False), changed=False) if seen.again else None
    reason = GONE if content.root is None else LEFT_SCOPE
    return KeyDecision(
        captured=dataclasses.replace(
            seen, in_scope=False, again=False, unseen=False, captured_at=look.now, gone=content.root is None
        ),
        withdrawals=() if seen.identity is None else (Withdrawal(seen.identity, reason),),
    )


def is_in_scope(content: Content) -> bool:
    """Is the row there, and does the mapping's `where` hold for it?"""
    return content.root is not None and content.in_scope


def is_unchanged(seen: Captured | None, digest: str) -> bool:
    """Is a key in scope just as it was captured, and nobody asked to look at it again?"""
    return seen is not None and seen.in_scope and seen.hash == digest and not seen.again


def must_be_mapped(look: CaptureContext, seen: Captured | None, digest: str) -> bool:
    """Is there something to decide for a key in scope?

    What was refused may be good now, for lists and clocks change too: each scan maps it again. A backfill may reach
    further back than the one before.
    """
    if seen is None or not is_unchanged(seen, digest):
        return True
    return (look.scan_number is not None and seen.refused) or (look.origin == "backfill" and seen.baselined)


def met(look: CaptureContext, seen: Captured) -> KeyDecision | None:
    """A key that need not be mapped: a scan remembers that it met it."""
    if look.scan_number is None or seen.scan_number == look.scan_number:
        return None
    return KeyDecision(captured=dataclasses.replace(seen, scan_number=look.scan_number, unseen=False), changed=False)


def unseen(look: CaptureContext, seen: Captured) -> Captured:
    """A key whose row is not there, as too many are not: it stays what it was, and this scan need not ask again."""
    return dataclasses.replace(seen, unseen=True, again=False, scan_number=_scan_number(look, seen))


# ---------------------------------------------------------------- which facts are needed


def ids_to_look_up(look: CaptureContext, row: MappedKey, facts: KeyFacts) -> list[str]:
    """The ids under which Kiva may list the loan of a key. Of the facts, `sent` and `other_row` are known by now."""
    resource, mapped = look.document.resource, row.mapped
    if resource == "repayment":
        return look.ids(row.identity)
    loan_ids = [mapped.loan_id]
    if resource == "loan_draft" and mapped.body is not None and not _is_used_twice(row, facts):
        loan_ids += loan_draft.loan_ids(mapped.body)
    return [each for loan_id in dict.fromkeys(loan_ids) for each in look.ids(loan_id)]


# ---------------------------------------------------------------- the decision


def decide(look: CaptureContext, row: MappedKey, facts: KeyFacts) -> KeyDecision:
    """What is owed for a key in scope that was mapped, and what is known of it from now on."""
    seen, mapped = row.seen, row.mapped
    another = another_row.became_another(seen, mapped, facts.sent)
    former = another_row.former(seen, mapped, facts.sent)
    baselined = seen is not None and seen.baselined
    if seen is None or another or (baselined and look.origin == "backfill"):
        baselined = _is_older(look, mapped.created_at)
    withdrawals: tuple[Withdrawal, ...] = ()
    if seen is not None and None not in (seen.identity, mapped.identity) and seen.identity != mapped.identity:
        withdrawals = (Withdrawal(str(seen.identity), LEFT_SCOPE),)
    owed: Owed | None = None
    if not baselined:
        found = _owed(look, row, facts)
        if isinstance(found, Withdrawal):
            withdrawals = (*withdrawals, found)
        else:
            owed = found
    captured = Captured(
        stream=look.document.name,
        key=row.key,
        resource=look.document.resource,
        identity=mapped.identity,
        hash=row.digest,
        in_scope=True,
        baselined=baselined,
        refused=_is_refused(owed),
        again=False,
        created_at=None if mapped.created_at is None else str(mapped.created_at),
        scan_number=_scan_number(look, seen),
        captured_at=look.now,
        cutoff=look.cutoff,
        lent=_bound(look, mapped, "principal"),
        client_id=mapped.client_id if look.document.resource == "repayment" else None,
        repaid=_repaid(look, mapped),
        written_off=_bound(look, mapped, "written_off"),
    )
    if former is not None:
        # Something of it may be at Kiva: what is known of it stays, so that a person decides, whenever it is read.
        captured = dataclasses.replace(captured, baselined=former.baselined, created_at=former.created_at, refused=True)
    return KeyDecision(
        captured=captured,
        new=seen is None,
        changed=not is_unchanged(seen, row.digest),
        owed=owed,
        withdrawals=withdrawals,
        # Asked once; what is refused is mapped again at every sweep.
        became_another=another and (former is None or not former.refused),
        replaced=None if baselined else another_row.replaced(former, mapped, facts.sent),
    )


def _scan_number(look: CaptureContext, seen: Captured | None) -> int:
    """The last scan that met a key."""
    if look.scan_number is not None:
        return look.scan_number
    return 0 if seen is None else seen.scan_number


def _is_refused(owed: Owed | None) -> bool:
    """Is a key mapped again at every scan, for what stands in its way may be gone?"""
    return owed is not None and owed.adopted is None and (bool(owed.refusals) or owed.waits is not None)


def _bound(look: CaptureContext, mapped: Mapped, name: str) -> str | None:
    """Of a position, one of its `checks:` as text. By what was lent a loan with another id at Kiva is recognised."""
    found = mapped.bounds.get(name) if look.document.resource == "repayment" else None
    return None if found is None else plain(found)


def _repaid(look: CaptureContext, mapped: Mapped) -> str | None:
    """Of a position, the principal repaid up to the cut-off, whatever the basis; None where it cannot be told."""
    if look.document.resource != "repayment" or mapped.body is None or "amount" not in mapped.body:
        return None
    amount = Decimal(mapped.body["amount"])
    if look.settings.repayments.basis != OUTSTANDING:
        return plain(amount)
    lent = mapped.bounds.get("principal")
    return None if lent is None else plain(lent - amount)


def _owed(look: CaptureContext, row: MappedKey, facts: KeyFacts) -> Owed | Withdrawal:
    owed = _as_mapped(look, row)
    if _is_used_twice(row, facts):
        # Both rows are named, in one order: whichever of them is looked at, the reason is the same.
        given = {"identity": owed.identity, "other": " and ".join(_rows(look, row, facts))}
        reason = refusal.Refusal("id_used_twice", "", given)
        owed = dataclasses.replace(
            owed,
            body=None,
            body_sha256=None,
            partial=None,
            refusals=(reason,),
            waits=None,
            comparable=another_row.former(row.seen, row.mapped, facts.sent) is None,
        )
    match owed.resource:
        case "repayment":
            position = owed_position.decide(look, owed, row, facts)
            return Withdrawal(row.identity, position) if isinstance(position, str) else position
        case "loan_draft":
            # What Kiva has already is taken as delivered, also where it could not be mapped.
            owed = dataclasses.replace(owed, adopted=facts.adopted)
            goes = facts.adopted is None and not owed.refusals and owed.waits is None
            asks = adoption.PERHAPS if facts.perhaps else duplicate.PROBABLE if facts.twins else None
            return dataclasses.replace(owed, waits=asks) if goes and asks else owed
        case _:
            return _after_its_loan(owed, facts, statuses=look.settings.journals.statuses)


def _as_mapped(look: CaptureContext, row: MappedKey) -> Owed:
    mapped, body = row.mapped, row.mapped.body
    resource = look.document.resource
    # A row that the backfill finds was not typed in just now.
    rests = RESOURCES[resource].create_once and look.origin != "backfill"
    amount, currency = money(body)
    return Owed(
        resource=resource,
        identity=row.identity,
        stream=look.document.name,
        key=row.key,
        loan_id=mapped.loan_id,
        client_id=mapped.client_id,
        amount=amount,
        currency=currency,
        fingerprint=look.document.fingerprint,
        origin=look.origin,
        due_at=look.now + (look.settings.delivery.hold_for if rests else timedelta(0)),
        body=None if body is None else json_body.encode(body).decode(),
        body_sha256=None if body is None else json_body.sha256(body),
        refusals=mapped.refusals,
        partial=None if mapped.partial is None else json_body.encode(mapped.partial).decode(),
        waits=mapped.waiting,
        publish_by=loan_draft.publish_by(body) if body is not None and resource == "loan_draft" else None,
    )


def money(body: json_body.Body | None) -> tuple[str | None, str | None]:
    """The amount and currency to show beside an entry."""
    if body is None:
        return None, None
    if "entreps" in body:
        total = sum((Decimal(one["amount"]) for one in body["entreps"]), Decimal(0))
        return f"{total:f}", body.get("currency")
    return (f"{Decimal(body['amount']):f}" if "amount" in body else None), None


# ---------------------------------------------------------------- journals


def _after_its_loan(owed: Owed, facts: KeyFacts, *, statuses: Collection[str]) -> Owed:
    """A journal waits until Kiva has its loan, in one of these statuses, and goes under the id that Kiva knows."""
    if owed.refusals or owed.waits is not None:
        return owed
    if not facts.at_kiva or owed.body is None:
        return dataclasses.replace(owed, waits=adoption.PERHAPS if facts.perhaps else NOT_AT_KIVA)
    eligible = {key: loan for key, loan in facts.at_kiva.items() if loan.status in statuses}
    if not eligible:
        return dataclasses.replace(owed, waits=NOT_ELIGIBLE)
    loan = eligible.get(spelled.key(owed.loan_id)) or next(iter(eligible.values()))
    if loan.loan_id == owed.loan_id:
        return owed
    body = json_body.decode(owed.body.encode()) | {"internal_loan_id": loan.loan_id}
    encoded = json_body.encode(body).decode()
    return dataclasses.replace(owed, loan_id=loan.loan_id, body=encoded, body_sha256=json_body.sha256(body))


def _is_older(look: CaptureContext, created_at: datetime | date | None) -> bool:
    """Is a key that is seen for the first time older than `since`? Then it was posted by hand, and stays so."""
    resource = look.document.resource
    if not RESOURCES[resource].create_once:
        return False
    since = look.settings.loan_drafts.since if resource == "loan_draft" else look.settings.journals.since
    if since == "all":
        return False
    if created_at is None:
        return look.origin == "backfill"
    zone = ZoneInfo(look.settings.mis.timezone)
    if isinstance(since, date):
        return (created_at.astimezone(zone).date() if isinstance(created_at, datetime) else created_at) < since
    if isinstance(created_at, datetime):
        return created_at < look.first_start
    return created_at < look.first_start.astimezone(zone).date()


def _rows(look: CaptureContext, row: MappedKey, facts: KeyFacts) -> list[str]:
    """The keys of the rows that have one identity; with their mappings, where these are two."""
    itself = (look.document.name, row.key)
    rows = sorted({itself, facts.other_row or itself})
    several = len({stream for stream, _ in rows}) > 1
    return [f"{key} of {stream}" if several else key for stream, key in rows]


def _is_used_twice(row: MappedKey, facts: KeyFacts) -> bool:
    """The same identity from another row, or a number that was another row's before: never a send."""
    if row.mapped.identity is None:
        return False
    return facts.other_row is not None or another_row.former(row.seen, row.mapped, facts.sent) is not None
