"""What the MIS owes Kiva, decided for one key: baselined, refused, waiting or ready. The rules of the three resources.

A draft or journal older than `since` is baselined: captured, nothing owed. A position is owed only for a loan from
which Kiva expects a report, while the report is open, and in Kiva's own spelling of the ids.

Nothing here asks a database. What is known of a key comes in as values (`Captured`, `Mapped`, `KeyFacts`), and what
the page has to write goes out as one (`KeyDecision`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from kiva_relay.capture import another_row
from kiva_relay.capture.another_row import RowReplaced
from kiva_relay.capture.context import CaptureContext
from kiva_relay.mapping.mapper import Mapped
from kiva_relay.outbox import adoption, mirror
from kiva_relay.outbox.entry import Entry, Owed
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource import body as json_body
from kiva_relay.resource import loan_draft, refusal
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource.kind import RESOURCES, CheckFacts
from kiva_relay.source.reader import Content

NOT_AT_KIVA = "loan_not_at_kiva"
NOT_EXPECTED = "not_expected"
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
        other_key: another key in scope that has the same identity.
        at_kiva: loans that Kiva lists under `ids_to_look_up`, by the key of their id (`resource/loan_id.py`).
        perhaps: Kiva has none of them, and one whose id differs in case only.
        adopted: of a draft, how we know that Kiva has it without our sending it; None when we do not.
        previous: the position that Kiva took last.
    """

    sent: Entry | None = None
    other_key: str | None = None
    at_kiva: Mapping[str, MirroredLoan] = field(default_factory=dict)
    adopted: Mapping[str, Any] | None = None
    previous: Decimal | None = None
    perhaps: bool = False


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
        captured=dataclasses.replace(seen, in_scope=False, again=False, captured_at=look.now),
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
    return KeyDecision(captured=dataclasses.replace(seen, scan_number=look.scan_number), changed=False)


# ---------------------------------------------------------------- which facts are needed


def ids_to_look_up(look: CaptureContext, row: MappedKey, facts: KeyFacts) -> list[str]:
    """The ids under which Kiva may list the loan of a key. Of the facts, `sent` and `other_key` are known by now."""
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
        owed = _owed(look, row, facts)
        if owed is None:
            withdrawals = (*withdrawals, Withdrawal(row.identity, NOT_EXPECTED))
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


def _owed(look: CaptureContext, row: MappedKey, facts: KeyFacts) -> Owed | None:
    owed = _as_mapped(look, row)
    if _is_used_twice(row, facts):
        # Both rows are named, in one order: whichever of them is looked at, the reason is the same.
        rows = sorted({row.key, facts.other_key or row.key})
        given = {"identity": owed.identity, "other": " and ".join(rows)}
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
            return _position(look, owed, row.mapped, facts)
        case "loan_draft":
            # What Kiva has already is taken as delivered, also where it could not be mapped.
            owed = dataclasses.replace(owed, adopted=facts.adopted)
            waits = facts.perhaps and facts.adopted is None and not owed.refusals and owed.waits is None
            return dataclasses.replace(owed, waits=adoption.PERHAPS) if waits else owed
        case _:
            return _after_its_loan(owed, facts)


def _as_mapped(look: CaptureContext, row: MappedKey) -> Owed:
    mapped, body = row.mapped, row.mapped.body
    resource = look.document.resource
    # A row that the backfill finds was not typed in just now.
    rests = RESOURCES[resource].create_once and look.origin != "backfill"
    amount, currency = _money(body)
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


def _money(body: json_body.Body | None) -> tuple[str | None, str | None]:
    """The amount and currency to show beside an entry."""
    if body is None:
        return None, None
    if "entreps" in body:
        total = sum((Decimal(one["amount"]) for one in body["entreps"]), Decimal(0))
        return f"{total:f}", body.get("currency")
    return (f"{Decimal(body['amount']):f}" if "amount" in body else None), None


# ---------------------------------------------------------------- positions and journals


def _position(look: CaptureContext, owed: Owed, mapped: Mapped, facts: KeyFacts) -> Owed | None:
    """A position as it is owed: in Kiva's spelling, for this period; None when no report is expected of the loan."""
    # Where Kiva has the loan under the MIS's own id too, that one is meant, unless only the other is being paid back.
    expected = min(
        facts.at_kiva.values(),
        key=lambda one: (one.status not in mirror.EXPECTED, spelled.key(one.loan_id) != owed.identity),
        default=None,
    )
    if expected is None or expected.status not in mirror.EXPECTED or not look.report.is_open:
        return None
    owed = dataclasses.replace(owed, loan_id=expected.loan_id, period=look.report.period)
    if mapped.body is None or owed.body is None:
        return owed
    body = mapped.body | {"loan_id": expected.loan_id}
    if "client_id" in body and expected.client_id:
        body["client_id"] = expected.client_id
    checked = CheckFacts(
        today=look.today,
        columns=look.settings.kiva.columns,
        basis=look.settings.repayments.basis,
        principal=mapped.bounds.get("principal"),
        previous=facts.previous,
    )
    reasons = RESOURCES["repayment"].check(body, checked)
    hard = tuple(reason for reason in reasons if reason.code not in refusal.PERSON_DECIDES)
    if hard:
        return dataclasses.replace(owed, body=None, body_sha256=None, refusals=hard, waits=None)
    return dataclasses.replace(
        owed,
        body=json_body.encode(body).decode(),
        body_sha256=json_body.sha256(body),
        refusals=(),
        waits=reasons[0].code if reasons else owed.waits,
    )


def _after_its_loan(owed: Owed, facts: KeyFacts) -> Owed:
    """A journal waits until Kiva has its loan, and goes under the id that Kiva knows."""
    if owed.refusals or owed.waits is not None:
        return owed
    if not facts.at_kiva or owed.body is None:
        return dataclasses.replace(owed, waits=adoption.PERHAPS if facts.perhaps else NOT_AT_KIVA)
    loan = facts.at_kiva.get(spelled.key(owed.loan_id)) or next(iter(facts.at_kiva.values()))
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


def _is_used_twice(row: MappedKey, facts: KeyFacts) -> bool:
    """The same identity from another row, or a number that was another row's before: never a send."""
    if row.mapped.identity is None:
        return False
    return facts.other_key is not None or another_row.former(row.seen, row.mapped, facts.sent) is not None
