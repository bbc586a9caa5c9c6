"""The account: all lines of all resources, in one picture of the outbox. Status, metrics and review only show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Connection

from kiva_relay.account import line
from kiva_relay.account.line import AccountLine, LineKind, Situation
from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import census, hold, mirror
from kiva_relay.outbox.census import Bounds
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.outbox.unread import Unread
from kiva_relay.outbox.unreported import Unreported
from kiva_relay.report import current
from kiva_relay.resource.window import RepaymentReport

LATE_AFTER = timedelta(hours=1)
"""What was due, or has been under way, for longer is late: something keeps it that says nothing of itself."""

WAITS_AT_MOST = timedelta(days=30)
"""PA2 publishes loans disbursed less than 30 days ago: what waited that long, unchanged, waits in vain."""

LAST_DAYS = timedelta(days=7)
"""A draft that still waits so near to its last day needs a person, who may have to type it by hand."""

_DONE_WITH = (LineKind.DELIVERED, LineKind.ADOPTED, LineKind.LEFT_OUT)

BEFORE_CLOSING = timedelta(days=1)
"""A position that still waits for the MIS so near to the report's close may miss it."""


@dataclass(frozen=True)
class Account:
    """What should be at Kiva, and where it stands: the lines of each resource that is sent.

    `unread` are the streams whose book was not read whole; `unreported` is kept for the next reading. `asked` is how
    many entries a person is asked about that may stand in no line: of an earlier report, or behind a newer one.
    """

    lines: Mapping[str, tuple[AccountLine, ...]]
    unread: tuple[Unread, ...] = ()
    unreported: Unreported | None = None
    asked: int = 0

    def each(self, *kinds: LineKind) -> Iterator[tuple[str, AccountLine]]:
        """Resource and line, of these kinds; of all without any."""
        for resource, mine in self.lines.items():
            yield from ((resource, one) for one in mine if not kinds or one.kind in kinds)

    def number(self, resource: str, *kinds: LineKind) -> int:
        """How many things of a resource stand in lines of these kinds; in all of them without any."""
        return sum(one.number for one in self.lines.get(resource, ()) if not kinds or one.kind in kinds)

    def numbers(self, *kinds: LineKind, cause: str | None = None) -> dict[str, int]:
        """Resource → how many stand in lines of these kinds (with this cause), for those that have any."""
        found: dict[str, int] = {}
        for resource, one in self.each(*kinds):
            if cause in (None, one.cause):
                found[resource] = found.get(resource, 0) + one.number
        return found

    @property
    def not_there(self) -> dict[str, int]:
        """Resource → how many are not at Kiva, and not left out either; for those that have any."""
        return self.numbers(*(kind for kind in LineKind if kind not in _DONE_WITH))

    @property
    def missing(self) -> tuple[str, ...]:
        """The loans for which Kiva expects a report and that the MIS does not give, as Kiva spells their ids."""
        unknown = () if self.unreported is None else self.unreported.unknown
        return unknown if self.numbers(LineKind.MISSING) else ()

    @property
    def alike(self) -> tuple[tuple[str, str], ...]:
        """Loans to report whose id the MIS has in other letters (upper or lower case): Kiva's id, and the MIS's."""
        return () if self.unreported is None else self.unreported.alike

    @property
    def overdue(self) -> list[tuple[str, AccountLine]]:
        """What takes longer than it should."""
        return [(resource, one) for resource, one in self.each() if one.overdue]

    @property
    def balances(self) -> bool:
        """Are there only lines that nobody has to look at, and was the whole book read? Is nobody asked anything?"""
        return not self.unread and not self.asked and all(one.is_ok for _, one in self.each())


def read(
    tx: Connection,
    settings: Settings,
    *,
    last: Heartbeat | None,
    now: datetime,
    before: Account | None = None,
    recent: bool = False,
) -> Account:
    """The account at `now`.

    Args:
        tx: a reading transaction of the outbox.
        settings: those in force.
        last: the last heartbeat, which says what mappings are in force.
        now: with a zone.
        before: an earlier account, of which is taken over what cannot have changed.
        recent: it is not a minute old; what is dear to count may be taken over, too.
    """
    report = current.due(tx, settings, now)
    # A list that a person takes as it is says of what it lists what Kiva expects.
    is_known = mirror.last_complete(tx) is not None or mirror.taken(tx) is not None
    expects = "repayment" in settings.resources and report.is_open and is_known
    found = census.take(
        tx,
        _bounds(settings, report, now),
        period=report.period,
        expects=expects,
        streams=last.streams if last is not None and last.streams else None,
        before=None if before is None else before.unreported,
        recent=recent,
    )
    situation = Situation(
        holds=hold.in_force(tx), sends=settings.kiva.send, period=report.period, report_is_open=report.is_open
    )
    lines: dict[str, tuple[AccountLine, ...]] = {
        resource: line.lines(resource, found, situation) for resource in settings.resources
    }
    unread = tuple(one for one in found.unread if one.resource is None or one.resource in settings.resources)
    return Account(lines, unread, found.unreported, found.asked)


def _bounds(settings: Settings, report: RepaymentReport, now: datetime) -> Bounds:
    today = now.astimezone(ZoneInfo(settings.mis.timezone)).date()
    closes_soon = report.closes is not None and now >= report.closes - BEFORE_CLOSING
    return Bounds(
        due_before=now - LATE_AFTER,
        waiting_since=now - WAITS_AT_MOST,
        position_since=now if closes_soon else now - WAITS_AT_MOST,
        expires_by=today + LAST_DAYS,
    )
