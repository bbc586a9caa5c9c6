"""What persons ask the outbox: what waits, why, and since when. Only reads.

Entries come without their bodies: a body holds names, stories and photos, and a list shows none of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import adoption, hold, mirror, mirror_table, query, table
from kiva_relay.outbox.entry import Entry, of
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.state import FINAL, State
from kiva_relay.resource import body as json_body
from kiva_relay.resource import loan_draft, refusal
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource.kind import CheckFacts

OPEN = tuple(state for state in State if state not in FINAL)
_PRESSING = (State.IN_DOUBT, State.REFUSED, State.SENDING, State.WAITING, State.READY)
_CHUNK = 500
_columns = table.entry.c


@dataclass(frozen=True)
class Filter:
    """Which entries. Empty parts leave nothing out; `reason` is a reason or a refusal's code."""

    numbers: Sequence[int] = ()
    resource: str | None = None
    stream: str | None = None
    states: Collection[State] = ()
    reason: str | None = None
    loan: str | None = None
    since: datetime | None = None
    held: bool = False


@dataclass(frozen=True)
class EntryPage:
    """The entries that are shown, and how many there are."""

    entries: list[Entry]
    total: int


@dataclass(frozen=True)
class Kept:
    """A hold in force, and what is ready and kept back by it: resource → how many."""

    hold: Hold
    ready: Mapping[str, int]

    @property
    def total(self) -> int:
        """How many entries it keeps back."""
        return sum(self.ready.values())


@dataclass(frozen=True)
class Unpublished:
    """A draft that is in PA2 and was not published yet.

    `needed` are the fields that PA2 will still ask for, `warnings` what to look at before it is published.
    """

    entry: Entry
    needed: list[str]
    warnings: list[refusal.Refusal]


@dataclass(frozen=True)
class ClosedUnknown:
    """A position that was sent, and nobody knew what became of it when its report closed.

    `sent` is the amount that Kiva may hold, `before` the one that it accepted last; None: none. Both are text.
    """

    entry: Entry
    sent: str | None
    before: str | None


def entries(tx: Connection, chosen: Filter, *, limit: int | None = None) -> EntryPage:
    """Entries, the most pressing state first and the oldest first in it; what is settled, the newest first."""
    where = _where(tx, chosen)
    total = tx.execute(sa.select(sa.func.count()).select_from(table.entry).where(*where)).scalar_one()
    pressing = sa.case({state.value: place for place, state in enumerate(_PRESSING)}, value=_columns.state, else_=9)
    age = sa.case((_columns.settled_at.is_(None), _columns.id), else_=-_columns.id)
    rows = tx.execute(sa.select(*query.LIGHT).where(*where).order_by(pressing, age).limit(limit))
    return EntryPage([of(row) for row in rows], total)


def of_loan(tx: Connection, loan: str) -> list[Entry]:
    """Every entry of a loan, oldest first, by the id that PA2 shows; a group's loan also by a member's."""
    return entries_in_order(tx, _is_loan(tx, loan))


def entries_in_order(tx: Connection, *where: sa.ColumnElement[bool] | sa.TextClause) -> list[Entry]:
    """Entries by their numbers."""
    return [of(row) for row in tx.execute(sa.select(*query.LIGHT).where(*where).order_by(_columns.id))]


def by_numbers(tx: Connection, numbers: Iterable[int]) -> list[Entry]:
    """The entries with these numbers, in that order."""
    wanted, found = sorted(set(numbers)), []
    for start in range(0, len(wanted), _CHUNK):
        found += entries_in_order(tx, _columns.id.in_(wanted[start : start + _CHUNK]))
    return found


def loans_like(tx: Connection, loan: str, *, limit: int = 3) -> list[str]:
    """Loan ids that may be meant: those that end alike, whatever their leading zeros."""
    tail = loan.strip().lstrip("0")
    if not tail:
        return []
    query = sa.select(_columns.loan_id).where(_columns.loan_id.endswith(tail, autoescape=True)).distinct()
    return list(tx.execute(query.order_by(_columns.loan_id).limit(limit)).scalars())


def counts(tx: Connection) -> dict[str, Counter[State]]:
    """Resource → state → how many; every resource is there. Reads all entries: for an outbox that is new."""
    return _by_state(tx)


def unsettled(tx: Connection) -> dict[str, Counter[State]]:
    """Resource → state → how many are not settled; every resource is there."""
    return _by_state(tx, sa.text("settled_at IS NULL"))


def _by_state(tx: Connection, *where: sa.TextClause) -> dict[str, Counter[State]]:
    found = {resource: Counter[State]() for resource in table.RESOURCES}
    query = sa.select(_columns.resource, _columns.state, sa.func.count()).where(*where)
    for resource, state, count in tx.execute(query.group_by(_columns.resource, _columns.state)):
        found[resource][State(state)] = count
    return found


def delivered(tx: Connection, *, since: datetime, until: datetime | None = None) -> dict[str, int]:
    """Resource → how many came to Kiva from this moment on. What was there before us (adopted) is not counted."""
    return _ended(tx, State.DELIVERED, _columns.evidence != "adopted", since=since, until=until)


def ended_unsent(tx: Connection, state: State, *, since: datetime) -> dict[str, int]:
    """Resource → how many were superseded or withdrawn from this moment on, before they were sent."""
    return _ended(tx, state, since=since)


_NEVER = datetime.max.replace(tzinfo=UTC)


def _ended(
    tx: Connection, state: State, *where: sa.ColumnElement[bool], since: datetime, until: datetime | None = None
) -> dict[str, int]:
    """By the moment alone: joined to nothing, state and resource serve no index, and the history is not read."""
    resource = _columns.resource.concat("")
    # With both ends, also a server without statistics expects few of them.
    when = (_columns.settled_at >= since, _columns.settled_at < (until or _NEVER))
    query = sa.select(resource, sa.func.count()).where(*when, _columns.state.concat("") == state.value, *where)
    return {row[0]: row[1] for row in tx.execute(query.group_by(sa.text("1")).order_by(sa.text("1")))}


def kept_back(tx: Connection) -> list[Kept]:
    """Every hold in force, oldest first, with what it keeps back."""
    return [Kept(held, _counted(tx, _columns.state == State.READY.value, *_under(held))) for held in hold.in_force(tx)]


def held(tx: Connection) -> dict[str, int]:
    """Resource → how many are ready and kept back by at least one hold."""
    return _counted(tx, *_is_held(tx))


def draft_ids(tx: Connection) -> set[str]:
    """Every id under which the MIS knows a loan that is, was or may be a draft."""
    captured = table.captured.c
    queries = (
        sa.select(captured.identity).where(captured.resource == "loan_draft", captured.identity.is_not(None)),
        sa.select(_columns.loan_id).where(_columns.resource == "loan_draft", _columns.origin != "person"),
    )
    return {loan for query in queries for loan in tx.execute(query).scalars()}


def streams(tx: Connection) -> list[str]:
    """The streams that are known: the mappings that were ever in force."""
    return list(tx.execute(sa.select(table.watermark.c.stream).order_by(table.watermark.c.stream)).scalars())


def to_publish(tx: Connection) -> list[Unpublished]:
    """Drafts in PA2 that nobody published yet, as far as Kiva's list tells; the first to expire first."""
    gone = set(
        tx.execute(
            sa.select(mirror_table.mirror.c.kiva_id).where(mirror_table.mirror.c.status.in_(mirror.GONE))
        ).scalars()
    )
    cancelled = sa.select(table.divergence.c.entry_id).where(
        table.divergence.c.ended_at.is_(None), table.divergence.c.kind == "left_scope"
    )
    where = (
        _columns.resource == "loan_draft",
        _columns.state == State.DELIVERED.value,
        _columns.evidence != "adopted",
        _columns.done_at.is_(None),
        _columns.id.not_in(cancelled),
        # Nearly all were published, under just that id: the few that are left are looked at one by one.
        sa.not_(_is_published()),
    )
    order = (sa.case((_columns.publish_by.is_(None), 1), else_=0), _columns.publish_by, _columns.id)
    found = [of(row) for row in tx.execute(sa.select(*query.LIGHT).where(*where).order_by(*order))]
    listed = mirror.by_loan_id(tx, {entry.loan_id for entry in found})
    published = {key for key, loan in listed.items() if loan.status in mirror.PUBLISHED}
    there = [
        entry
        for entry in found
        if (entry.receipt or {}).get("loan_draft_uuid") not in gone and spelled.key(entry.loan_id) not in published
    ]
    return [draft for entry in there if (draft := _unpublished(tx, entry)) is not None]


def _is_published() -> sa.Exists:
    loan = mirror_table.mirror.c
    return sa.exists().where(
        loan.loan_fold == _columns.loan_fold,
        loan.loan_id == _columns.loan_id,
        loan.status.in_(mirror.PUBLISHED),
    )


def to_confirm(tx: Connection) -> list[Entry]:
    """Journals that wait at Kiva for somebody to confirm them, oldest first."""
    where = (
        _columns.resource == "journal",
        _columns.state == State.DELIVERED.value,
        _columns.done_at.is_(None),
        _columns.receipt.is_not(None),
    )
    return [entry for entry in entries_in_order(tx, *where) if (entry.receipt or {}).get("confirm_url")]


def expiring(tx: Connection) -> list[Entry]:
    """Drafts that were not sent yet and have a last day, the first to expire first."""
    where = (
        _columns.resource == "loan_draft",
        _columns.state.in_([State.READY.value, State.WAITING.value, State.SENDING.value, State.IN_DOUBT.value]),
        _columns.publish_by.is_not(None),
    )
    order = (_columns.publish_by, _columns.id)
    return [of(row) for row in tx.execute(sa.select(*query.LIGHT).where(*where).order_by(*order))]


def refused(tx: Connection) -> list[Entry]:
    """What was refused and nobody has dealt with yet, oldest first."""
    return entries_in_order(tx, _columns.state == State.REFUSED.value, _columns.done_at.is_(None))


def decisions(tx: Connection, *where: sa.TextClause) -> list[Entry]:
    """Positions that wait for a person: they fell, or exceed the principal. `where`: those of which this holds, too."""
    reasons = sorted(refusal.PERSON_DECIDES)
    return entries_in_order(tx, _columns.state == State.WAITING.value, _columns.reason.in_(reasons), *where)


def closed_undecided(tx: Connection) -> list[Entry]:
    """Positions that nobody decided about before their report closed, nor has seen since; no newer one went."""
    asked = _columns.reason.in_(sorted(refusal.PERSON_DECIDES))
    return entries_in_order(
        tx, sa.text(table.LEFT_AT_CLOSING), asked, _columns.done_at.is_(None), sa.not_(query.is_replaced())
    )


def closed_unknown(tx: Connection) -> list[ClosedUnknown]:
    """Positions whose report closed while it was unknown what Kiva holds, and that nobody has seen yet."""
    unknown = entries_in_order(tx, sa.text(table.UNKNOWN_UNSEEN))
    identities = sorted({entry.identity for entry in unknown})
    there, perhaps = query.delivered_positions(tx, identities), query.perhaps_positions(tx, identities)
    found = []
    for entry in unknown:
        before = _newest(there.get(entry.identity, ()), after=0, until=entry.version - 1)
        after = 0 if before is None else before.version
        sent = _newest(perhaps.get(entry.identity, ()), after=after, until=entry.version)
        last, before_it = (None if one is None else one.amount for one in (sent, before))
        found.append(ClosedUnknown(entry, last, before_it))
    return found


def _newest(versions: Iterable[Entry], *, after: int, until: int) -> Entry | None:
    return max((one for one in versions if after < one.version <= until), key=lambda one: one.version, default=None)


def perhaps_at_kiva(tx: Connection) -> list[tuple[Entry, list[str]]]:
    """What waits until a person says whether it is a loan of Kiva's whose id differs in case only, with those ids."""
    waiting = entries_in_order(tx, _columns.state == State.WAITING.value, _columns.reason == adoption.PERHAPS)
    whole = query.with_bodies(tx, [light.id for light in waiting])
    ids_of = {light.id: mirror.candidates(whole.get(light.id, light)) for light in waiting}
    ids = {loan_id for mine in ids_of.values() for loan_id in mine}
    there = defaultdict[str, set[str]](set)
    for loan in mirror.alike(tx, ids):
        there[spelled.fold(loan.loan_id)].add(loan.loan_id)
    for noted in query.by_hand(tx, ids):
        there[spelled.fold(noted)].add(noted)
    found = []
    for light in waiting:
        own = {spelled.key(loan_id) for loan_id in ids_of[light.id]}
        others = {one for loan_id in ids_of[light.id] for one in there[spelled.fold(loan_id)]}
        found.append((light, sorted(one for one in others if spelled.key(one) not in own)))
    return found


def latest_states(tx: Connection, resource: str, identities: Iterable[str]) -> dict[str, State]:
    """Of each identity, the state of its newest version."""
    wanted, found = sorted(identities), {}
    for start in range(0, len(wanted), _CHUNK):
        where = (_columns.resource == resource, _columns.identity.in_(wanted[start : start + _CHUNK]))
        for row in tx.execute(sa.select(_columns.identity, _columns.state).where(*where).order_by(_columns.version)):
            found[row.identity] = State(row.state)
    return found


def _where(tx: Connection, chosen: Filter) -> list[sa.ColumnElement[bool]]:
    where: list[sa.ColumnElement[bool]] = []
    if chosen.numbers:
        where.append(_columns.id.in_(chosen.numbers))
    if chosen.resource is not None:
        where.append(_columns.resource == chosen.resource)
    if chosen.stream is not None:
        where.append(_columns.stream == chosen.stream)
    if chosen.states:
        where.append(_columns.state.in_([state.value for state in chosen.states]))
    if chosen.reason is not None:
        coded = sa.type_coerce(_columns.refusals, sa.Text).contains(f'"code":"{chosen.reason}"', autoescape=True)
        where.append(sa.or_(_columns.reason == chosen.reason, coded))
    if chosen.loan is not None:
        where.append(_is_loan(tx, chosen.loan))
    if chosen.since is not None:
        where.append(_columns.changed_at >= chosen.since)
    if chosen.held:
        where += _is_held(tx)
    return where


def _is_loan(tx: Connection, loan: str) -> sa.ColumnElement[bool]:
    """By the id that PA2 shows; only where there is none, by a group member's, which stands in the bodies alone."""
    mine = sa.and_(_columns.resource != "journal", _columns.identity == spelled.key(loan))
    shown = sa.or_(_columns.loan_fold == spelled.fold(loan), mine)
    if tx.execute(sa.select(_columns.id).where(shown).limit(1)).first() is not None:
        return shown
    inside = _columns.body.contains(f'"loan_id":"{loan}"', autoescape=True)
    return sa.and_(_columns.resource == "loan_draft", inside)


def _under(held: Hold) -> list[sa.ColumnElement[bool]]:
    if held.what == hold.ALL:
        return []
    if held.what.startswith(hold.STREAM):
        return [_columns.stream == held.what.removeprefix(hold.STREAM)]
    return [_columns.resource == held.what]


def _is_held(tx: Connection) -> list[sa.ColumnElement[bool]]:
    any_of = [sa.and_(sa.true(), *_under(held)) for held in hold.in_force(tx)]
    return [_columns.state == State.READY.value, sa.or_(sa.false(), *any_of)]


def _counted(tx: Connection, *where: sa.ColumnElement[bool]) -> dict[str, int]:
    query = sa.select(_columns.resource, sa.func.count()).where(*where).group_by(_columns.resource)
    return {row[0]: row[1] for row in tx.execute(query.order_by(_columns.resource))}


def _unpublished(tx: Connection, entry: Entry) -> Unpublished | None:
    """With its body looked at, one at a time: only there stand a group's other ids, and what PA2 will ask for."""
    body = tx.execute(sa.select(_columns.body).where(_columns.id == entry.id)).scalar()
    if body is None:
        return Unpublished(entry, [], [])
    written = json_body.decode(body.encode())
    ids = [loan for loan in loan_draft.loan_ids(written) if loan != entry.loan_id]
    loans = mirror.by_loan_id(tx, ids).values() if ids else ()
    if any(loan.status in mirror.PUBLISHED for loan in loans):
        return None
    facts = CheckFacts(today=entry.created_at.date(), left=loan_draft.CONSENT)
    warnings = [each for each in loan_draft.warn(written, facts) if each.code != "needed_to_publish"]
    return Unpublished(entry, loan_draft.still_needed(written), warnings)
