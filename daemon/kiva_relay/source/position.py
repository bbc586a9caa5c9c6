"""How far a stream has been read: a place in the MIS's own order of things, good for every capture mode at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.source.stream import Stream

OVERLAP = timedelta(minutes=10)
"""How far back rows are read again where nothing shows which transactions are still open."""

_LONG = timedelta(days=1)

CaptureMode = Literal["replication", "xmin", "horizon", "overlap", "compare", "sweep"]
"""How changes of a table are found; `sweep`: they are not, the nightly sweep finds them."""


@dataclass(frozen=True)
class Position:
    """Everything committed below it has been read. A watermark is its text: JSON with these three.

    `server` is the MIS's identity; `xid` its 64-bit transaction id below which nothing was still open (None where
    the database has none); `moment` the time stamp, in UTC, below which nothing can still appear.
    """

    server: str
    xid: int | None
    moment: datetime

    def text(self) -> str:
        """As the outbox keeps it."""
        return json.dumps(
            {
                "server": self.server,
                "xid": None if self.xid is None else str(self.xid),
                "moment": self.moment.astimezone(UTC).isoformat(),
            }
        )


def parse(text: str) -> Position:
    """Read a position back.

    Raises:
        UsageError: it is not a position of ours.
    """
    try:
        found = json.loads(text)
        xid = found["xid"]
        moment = datetime.fromisoformat(found["moment"])
        return Position(
            server=str(found["server"]), xid=None if xid is None else int(xid), moment=moment.astimezone(UTC)
        )
    except (ValueError, TypeError, KeyError) as wrong:
        raise errors.UsageError(f"The watermark {text!r} cannot be read.", hint="kiva-relay watermark show") from wrong


@dataclass(frozen=True)
class Snapshot:
    """`xid`: every transaction below it had ended (None: the database has none); `pinned`: newer ones had, too.

    `timeline` is another one after a standby took over, or a backup was recovered; "" where there is none. Below
    `written`, a place in the server's log, lies all that it sees; 0 where that is not known.
    """

    xid: int | None
    pinned: bool = False
    timeline: str = ""
    written: int = 0


@dataclass(frozen=True)
class Horizon:
    """A moment below which no time stamp can still appear.

    `age` is how far it lies behind the MIS's clock; `blind` says why it cannot be relied on ("" when it can), with
    the `remedy`. A blind horizon lies one overlap back. `pinned_by` names the session whose transaction is oldest,
    and `open_for` is how long that is open as far as it is known, which is no more than the `age`.
    """

    moment: datetime
    age: timedelta
    blind: str = ""
    remedy: str = ""
    pinned_by: str = ""
    open_for: timedelta = timedelta(0)

    def overlapping(self) -> Horizon:
        """At least one overlap back."""
        age = max(self.age, OVERLAP)
        return replace(self, moment=self.moment + self.age - age, age=age)


Secured = Mapping[str, Mapping[str, bool]]
"""By stream and table, whether row level security may hide rows from the role."""


@dataclass(frozen=True)
class Cycle:
    """One look at what changed.

    All but `horizon_age`, `pinned_by` and `timeline` is by the name of the stream.

    Attributes:
        keys: root keys whose rows changed, as text, each once; none for a stream without a watermark.
        next: the watermark to store together with their content: the text of a `Position`.
        mode: the capture mode by which the changes were found.
        horizon_age: for how long the oldest transaction of the MIS has kept the watermark where it is.
        reasons: why no better mode was used; "" when there is none.
        failed: streams that could not be looked at, with the error; they are in nothing else.
        pinned_by: the session whose transaction that is; "" when it is not seen.
        timeline: the snapshot's; "" where the database has none.
        left_out: nothing was asked, for nothing had been written since before the look that it repeats.
        written: a place in the MIS's log below which lies all that the look saw; 0 where that is not known.
        secured: of each table, whether row level security may hide rows of it from this role.
    """

    keys: dict[str, list[str]]
    next: dict[str, str]
    mode: dict[str, str]
    horizon_age: timedelta
    reasons: dict[str, str] = field(default_factory=dict)
    failed: dict[str, errors.RelayError] = field(default_factory=dict)
    pinned_by: str = ""
    timeline: str = ""
    left_out: bool = False
    remembered: Mapping[tuple[str, str], Collection[str]] = field(default_factory=dict, repr=False)
    """Row versions above `next`, by source: what `processed()` keeps."""
    streams: tuple[Stream, ...] = field(default=(), repr=False)
    """The streams for which they were followed to their roots."""
    secured: Secured = field(default_factory=dict)
    written: int = 0


def local(at: datetime, now: datetime, zone: tzinfo) -> datetime:
    """What a clock in the zone showed `at`, without its zone.

    Where the clocks went back until `now`, rows carry a smaller time: the smaller offset of both ends is safe.
    """
    offset = min(moment.astimezone(zone).utcoffset() or timedelta(0) for moment in (at, now))
    return at.astimezone(UTC).replace(tzinfo=None) + offset


def following(
    server: str, snapshot: Snapshot, horizon: Horizon, stands: Iterable[Position | None], *, stamped: bool
) -> Position:
    """Where the next cycle goes on. What was once below the horizon stays there, so the moment never goes back.

    While no stamp decides (`stamped` is false) and the horizon is blind, the moment stays a day behind: who can see
    the transactions one day may begin there.

    Raises:
        WentBack: the database is older than a watermark; nothing after it would be seen any more.
    """
    before = [stand for stand in stands if stand]
    xids = [stand.xid for stand in before if stand.xid is not None]
    behind = horizon.moment + horizon.age - _LONG if horizon.blind and not stamped else horizon.moment
    moment = max([behind, *(stand.moment for stand in before)])
    if (snapshot.xid is not None and max(xids, default=0) > snapshot.xid) or (
        stamped and moment > horizon.moment + horizon.age
    ):
        raise errors.WentBack(
            "The MIS is older than what was read from it: it was restored from a backup, or its clock went back.",
            hint="kiva-relay watermark show",
        )
    return Position(server, snapshot.xid, moment)
