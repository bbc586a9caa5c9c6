"""What the MIS owes Kiva, decided for one key: baselined, refused, waiting or ready. The rules of the three resources.

A draft or journal older than `since` is baselined: captured, nothing owed. A position is owed only for a loan from
which Kiva expects a report, while the report is open, and in Kiva's own spelling of the ids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import log, meter
from kiva_relay.config import settings as config
from kiva_relay.mapping import lookup, mapper
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import divergence, hold, meta, mirror, query, store, table, watermark
from kiva_relay.outbox.entry import Entry, Owed
from kiva_relay.outbox.state import State
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource import body as json_body
from kiva_relay.resource import loan_draft, refusal, window
from kiva_relay.resource.kind import RESOURCES, CheckFacts
from kiva_relay.source.reader import Content

NOT_AT_KIVA = "loan_not_at_kiva"
CLOSED = "window_closed"
NOT_EXPECTED = "not_expected"
_BRAKE_SPAN = timedelta(hours=1)

_log = log.get("capture")


@dataclass(frozen=True)
class CaptureContext:
    """What one page is decided with. `scan_number` is set while a backfill or sweep looks.

    `aliases` are ids that were typed by hand at Kiva, and the MIS's own for the same loan.
    """

    document: Document
    settings: config.Settings
    origin: str
    now: datetime
    today: date
    report: window.RepaymentReport
    scan_number: int | None
    lists: lookup.Lists
    first_start: datetime
    aliases: Mapping[str, str] = field(default_factory=dict)

    def ids(self, loan_id: str) -> list[str]:
        """A loan's id, and those that somebody typed for it at Kiva (`lookup/loan_ids.csv`)."""
        # What Kiva has under this very id may be another loan of the MIS.
        own = [loan_id] if self.aliases.get(loan_id, loan_id) == loan_id else []
        return own + [at_kiva for at_kiva, in_the_mis in self.aliases.items() if in_the_mis == loan_id]

    @property
    def context(self) -> mapper.Context:
        """What the mapper is told beside the rows."""
        return context(self.settings, lists=self.lists, today=self.today, cutoff=self.report.cutoff)


def context(
    settings: config.Settings,
    *,
    lists: lookup.Lists,
    today: date,
    cutoff: date,
    photos: Literal["sha256", "bytes"] = "bytes",
) -> mapper.Context:
    """What a configuration tells the mapper beside the rows; with `sha256` a photo is its fingerprint."""
    return mapper.Context(
        lists=lists,
        today=today,
        cutoff=cutoff,
        timezone=settings.mis.timezone,
        facts=CheckFacts(today=today, columns=settings.kiva.columns, basis=settings.repayments.basis),
        photos=photos,
        photo_folders=settings.mis.photos,
    )


def turn(
    tx: Connection, now_open: window.RepaymentReport, *, now: datetime, aliases: Mapping[str, str] | None = None
) -> None:
    """What follows from the calendar and Kiva's list, not from rows: positions to compute, a window that closed."""
    if not now_open.is_open:
        withdraw_positions(tx, reason=CLOSED, now=now)
    expected = {(aliases or {}).get(loan_id, loan_id) for loan_id in mirror.expected(tx)}
    if meta.REPORT.get(tx) != now_open.stamp:
        meta.REPORT.put(tx, now_open.stamp)
        owed = expected
    else:
        owed = expected - _reported(tx, now_open.period)
    if now_open.is_open:
        watermark.read_identities_again(tx, "repayment", owed)


def withdraw_positions(tx: Connection, *, reason: str, now: datetime) -> None:
    """Positions that were not sent are no longer owed: Kiva would book them in the next period."""
    columns = table.entry.c
    where = (columns.resource == "repayment", columns.state.in_([State.READY.value, State.WAITING.value]))
    for identity in set(tx.execute(sa.select(columns.identity).where(*where)).scalars()):
        store.left_scope(tx, "repayment", identity, reason=reason, now=now)


def leave(tx: Connection, look: CaptureContext, seen: Captured, *, gone: bool) -> None:
    """A key left the scope, or is gone from the MIS."""
    if seen.identity is not None:
        reason = "gone_from_mis" if gone else "left_scope"
        store.left_scope(tx, seen.resource, seen.identity, reason=reason, now=look.now)
    watermark.keep(
        tx,
        Captured(
            **{name: getattr(seen, name) for name in Captured.__dataclass_fields__}
            | {"in_scope": False, "again": False, "captured_at": look.now}
        ),
    )


def enqueue(
    tx: Connection, look: CaptureContext, content: Content, seen: Captured | None, *, digest: str, scan_number: int
) -> None:
    """Map one key that is in scope, put down what is owed for it, and remember that it was captured."""
    document = look.document
    mapped = mapper.apply(document, content, context=look.context)
    created_at = None if mapped.created_at is None else str(mapped.created_at)
    identity = mapped.identity
    another = _became_another(tx, seen, mapped)
    # Of its old row something may be at Kiva: what is known stays, so that a person decides, whenever it is read.
    kept = seen if another and seen is not None and _may_be_at_kiva(tx, seen, mapped) else None
    baselined = seen is not None and seen.baselined
    if seen is None or another or (baselined and look.origin == "backfill"):
        baselined = _is_older(look, mapped.created_at)
    refused = False
    if another and (kept is None or not kept.refused):
        # Said once; what is refused is mapped again at every sweep.
        params = {"stream": document.name, "key": content.key}
        hold.put(tx, f"{hold.STREAM}{document.name}", "mis_went_back", now=look.now, params=params)
    if seen is not None and seen.identity is not None and identity is not None and seen.identity != identity:
        store.left_scope(tx, document.resource, seen.identity, reason="left_scope", now=look.now)
    if not baselined:
        refused = _owe(tx, look, content, mapped, kept)
    watermark.keep(
        tx,
        Captured(
            stream=document.name,
            key=content.key,
            resource=document.resource,
            identity=identity,
            hash=digest,
            in_scope=True,
            baselined=baselined if kept is None else kept.baselined,
            refused=refused or kept is not None,
            again=False,
            created_at=created_at if kept is None else kept.created_at,
            scan_number=scan_number,
            captured_at=look.now,
        ),
        new=seen is None,
    )


def _owe(
    tx: Connection, look: CaptureContext, content: Content, mapped: mapper.Mapped, other_row: Captured | None
) -> bool:
    """Put down what is owed for a mapped key; true when it was refused. `other_row` had this number before."""
    owed = _owed(look, content, mapped)
    owed = _id_used_twice(tx, look, owed, mapped, other_row)
    if owed.resource == "repayment":
        ours = _position(tx, look, owed, mapped)
        if ours is None:
            return False
        owed = ours
    elif owed.resource == "loan_draft":
        owed = _adopted(tx, look, owed)
    elif owed.resource == "journal":
        owed = _after_its_loan(tx, look, owed)
    entry = store.owe(tx, owed, now=look.now)
    if entry is not None:
        _brake(tx, look, entry)
        for reason in owed.refusals:
            meter.mapping_refusals.labels(mapping=look.document.name, code=reason.code).inc()
    return owed.adopted is None and (bool(owed.refusals) or owed.waits is not None)


def _adopted(tx: Connection, look: CaptureContext, owed: Owed) -> Owed:
    """What Kiva has already, under any of its ids, is taken as delivered, also where it could not be mapped.

    So is what a person typed into PA2, and said so before the MIS owed it.
    """
    ids = [each for loan_id in mirror.candidates(owed) for each in look.ids(loan_id)]
    loan = next(iter(mirror.by_loan_id(tx, ids).values()), None)
    if loan is not None:
        return _with(owed, adopted={"kiva_id": loan.kiva_id, "status": loan.status})
    typed = query.by_hand(tx, ids)
    return owed if typed is None else _with(owed, adopted={"note": (typed.receipt or {}).get("note", "")})


def _after_its_loan(tx: Connection, look: CaptureContext, owed: Owed) -> Owed:
    """A journal waits until Kiva has its loan, and goes under the id that Kiva knows."""
    if owed.refusals or owed.waits is not None:
        return owed
    at_kiva = mirror.by_loan_id(tx, look.ids(owed.loan_id))
    if not at_kiva or owed.body is None:
        return _with(owed, waits=NOT_AT_KIVA)
    if owed.loan_id in at_kiva:
        return owed
    loan = next(iter(at_kiva.values()))
    body = json_body.decode(owed.body.encode()) | {"internal_loan_id": loan.loan_id}
    encoded = json_body.encode(body).decode()
    return _with(owed, loan_id=loan.loan_id, body=encoded, body_sha256=json_body.sha256(body))


def _owed(look: CaptureContext, content: Content, mapped: mapper.Mapped) -> Owed:
    body = mapped.body
    # A row that the backfill finds was not typed in just now.
    quiet = RESOURCES[look.document.resource].create_once and look.origin != "backfill"
    amount, currency = _money(body)
    return Owed(
        resource=look.document.resource,
        identity=mapped.identity or f"({content.key})",
        stream=look.document.name,
        key=content.key,
        loan_id=mapped.loan_id,
        client_id=mapped.client_id,
        amount=amount,
        currency=currency,
        fingerprint=look.document.fingerprint,
        origin=look.origin,
        due_at=look.now + (look.settings.delivery.hold_for if quiet else timedelta(0)),
        body=None if body is None else json_body.encode(body).decode(),
        body_sha256=None if body is None else json_body.sha256(body),
        refusals=mapped.refusals,
        waits=mapped.waiting,
        publish_by=loan_draft.publish_by(body) if body is not None and look.document.resource == "loan_draft" else None,
    )


def _money(body: json_body.Body | None) -> tuple[str | None, str | None]:
    """The amount and currency to show beside an entry."""
    if body is None:
        return None, None
    if "entreps" in body:
        total = sum((Decimal(one["amount"]) for one in body["entreps"]), Decimal(0))
        return f"{total:f}", body.get("currency")
    return (f"{Decimal(body['amount']):f}" if "amount" in body else None), None


def _position(tx: Connection, look: CaptureContext, owed: Owed, mapped: mapper.Mapped) -> Owed | None:
    """A position as it is owed: in Kiva's spelling, for this period; None when no report is expected of the loan."""
    at_kiva = mirror.by_loan_id(tx, look.ids(owed.identity))
    # Where Kiva has the loan under the MIS's own id too, that one is meant, unless only the other is being paid back.
    expected = min(
        at_kiva.values(),
        key=lambda one: (one.status not in mirror.EXPECTED, one.loan_id != owed.identity),
        default=None,
    )
    if expected is None or expected.status not in mirror.EXPECTED or not look.report.is_open:
        store.left_scope(tx, "repayment", owed.identity, reason=NOT_EXPECTED, now=look.now)
        return None
    owed = _with(owed, loan_id=expected.loan_id, period=look.report.period)
    if mapped.body is None or owed.body is None:
        return owed
    body = mapped.body | {"loan_id": expected.loan_id}
    if "client_id" in body and expected.client_id:
        body["client_id"] = expected.client_id
    facts = CheckFacts(
        today=look.today,
        columns=look.settings.kiva.columns,
        basis=look.settings.repayments.basis,
        principal=mapped.bounds.get("principal"),
        previous=_previous(tx, owed.identity),
    )
    reasons = RESOURCES["repayment"].check(body, facts)
    hard = tuple(reason for reason in reasons if reason.code not in refusal.PERSON_DECIDES)
    if hard:
        return _with(owed, body=None, body_sha256=None, refusals=hard, waits=None)
    waits = reasons[0].code if reasons else owed.waits
    return _with(
        owed,
        body=json_body.encode(body).decode(),
        body_sha256=json_body.sha256(body),
        refusals=(),
        waits=waits,
    )


def _previous(tx: Connection, identity: str) -> Decimal | None:
    """The position that Kiva took last."""
    delivered = (entry for entry in query.versions(tx, "repayment", identity) if entry.state is State.DELIVERED)
    last = next(delivered, None)
    return Decimal(last.amount) if last is not None and last.amount is not None else None


def _id_used_twice(
    tx: Connection, look: CaptureContext, owed: Owed, mapped: mapper.Mapped, other_row: Captured | None
) -> Owed:
    """The same identity from another row, or a number that was another row's before: never a send."""
    if mapped.identity is None:
        return owed
    other = watermark.same_identity(tx, owed.resource, mapped.identity, other_than=owed.key)
    if other is None and other_row is None:
        return owed
    sent = query.was_sent(tx, owed.resource, mapped.identity)
    if other_row is not None and sent is not None and RESOURCES[owed.resource].create_once:
        was, now_is = (
            f"created {moment or 'at an unknown time'}" for moment in (other_row.created_at, mapped.created_at)
        )
        divergence.another(tx, sent, was, now_is, now=look.now)
    twice = refusal.Refusal("id_used_twice", "", {"identity": mapped.identity, "other": other or owed.key})
    return _with(owed, body=None, body_sha256=None, refusals=(twice,), waits=None)


def _became_another(tx: Connection, seen: Captured | None, mapped: mapper.Mapped) -> bool:
    """A row that has another creation moment, or without one another borrower, is another row under the old number."""
    if seen is None or mapped.identity is None:
        return False
    if seen.created_at is not None and mapped.created_at is not None:
        if seen.created_at != str(mapped.created_at):
            return True
        if isinstance(mapped.created_at, datetime):
            return False
    sent = query.was_sent(tx, seen.resource, mapped.identity)
    if sent is None or sent.key != seen.key or "group_name" in (mapped.body or {}):
        return False
    return bool(sent.client_id and mapped.client_id) and sent.client_id != mapped.client_id


def _may_be_at_kiva(tx: Connection, seen: Captured, mapped: mapper.Mapped) -> bool:
    """Can Kiva have something of the row that had this number before? Of a position the mirror says only the number."""
    if not RESOURCES[seen.resource].create_once or seen.baselined or mapped.identity is None:
        return True
    return query.was_sent(tx, seen.resource, mapped.identity) is not None


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


def _brake(tx: Connection, look: CaptureContext, entry: Entry) -> None:
    """More newly owed in an hour than a person would expect: hold the resource. Not while a book is read in."""
    if not RESOURCES[entry.resource].create_once or look.origin == "backfill" or entry.version > 1:
        return
    columns = table.entry.c
    where = (
        columns.resource == entry.resource,
        columns.origin != "backfill",
        columns.version == 1,
        columns.created_at > look.now - _BRAKE_SPAN,
    )
    newly = tx.execute(sa.select(sa.func.count()).select_from(table.entry).where(*where)).scalar_one()
    if newly > look.settings.delivery.brake:
        params = {"number": newly, "within": "1 hour", "brake": look.settings.delivery.brake}
        if hold.put(tx, entry.resource, "brake", now=look.now, params=params):
            _log.warning("More became owed than delivery.brake allows; held", resource=entry.resource, number=newly)


def _reported(tx: Connection, period: str) -> set[str]:
    """Identities that have a position of this period that stands, in whatever state."""
    columns = table.entry.c
    where = (
        columns.resource == "repayment",
        columns.period == period,
        columns.state.not_in([State.SUPERSEDED.value, State.WITHDRAWN.value]),
    )
    return set(tx.execute(sa.select(columns.identity).where(*where)).scalars())


def _with(owed: Owed, **changes: object) -> Owed:
    return dataclasses.replace(owed, **changes)  # type: ignore[arg-type]  # the field's types are Owed's own
