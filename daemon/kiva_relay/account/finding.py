"""What differs from normal, one value a finding: a code, how grave it is, and what has to be known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, ClassVar

from kiva_relay.frozen import dataclass
from kiva_relay.outbox.listing import Kept
from kiva_relay.outbox.meta import Nameless


class Verdict(IntEnum):
    """The first word of `status`, the gravest last."""

    OK = 0
    NOTE = 1
    WAITING = 2
    HELD = 3
    STOPPED = 4


@dataclass(frozen=True)
class RelayStopped:
    """No relay runs. `last` is its last heartbeat; None when it stopped in order, or never ran."""

    code: ClassVar = "relay_stopped"
    verdict: ClassVar = Verdict.STOPPED
    last: datetime | None


@dataclass(frozen=True)
class RelayMute:
    """A relay runs, as process `pid`, and has written nothing since `last`: its outbox cannot be written."""

    code: ClassVar = "relay_mute"
    verdict: ClassVar = Verdict.STOPPED
    last: datetime
    pid: int


@dataclass(frozen=True)
class DiskFull:
    """There is no room to record what Kiva would answer. `free` is what the relay said of the disk."""

    code: ClassVar = "disk_full"
    verdict: ClassVar = Verdict.STOPPED
    free: str


@dataclass(frozen=True)
class MappingUnfit:
    """A mapping that does not fit the MIS, and is not read."""

    code: ClassVar = "mapping_unfit"
    verdict: ClassVar = Verdict.STOPPED
    mapping: str
    mistake: str


@dataclass(frozen=True)
class RowsNameless:
    """Rows of a mapping that are not read, for their key cannot be told."""

    code: ClassVar = "rows_nameless"
    verdict: ClassVar = Verdict.NOTE
    mapping: str
    known: Nameless


@dataclass(frozen=True)
class HeldBack:
    """A hold, with what it keeps back. `also` is what else is held for the same reason, with nothing ready.

    `few_first`: it is worth letting a few go before the rest. `adopted` is resource → how many are not sent, because
    Kiva has them; empty where it does not matter.
    """

    code: ClassVar = "held"
    kept: Kept
    also: tuple[str, ...]
    few_first: bool
    adopted: Mapping[str, int]

    @property
    def verdict(self) -> Verdict:
        """STOPPED where the relay may be wrong about what is at Kiva."""
        return Verdict.STOPPED if self.kept.hold.why.grave else Verdict.HELD


@dataclass(frozen=True)
class KivaAway:
    """Kiva does not answer. `corrected` and `cancelled`: resource → how many changed meanwhile, before being sent."""

    code: ClassVar = "kiva_away"
    verdict: ClassVar = Verdict.WAITING
    since: datetime
    words: str
    corrected: Mapping[str, int]
    cancelled: Mapping[str, int]


@dataclass(frozen=True)
class MisAway:
    """The MIS cannot be read."""

    code: ClassVar = "mis_away"
    verdict: ClassVar = Verdict.WAITING
    since: datetime
    words: str


@dataclass(frozen=True)
class MisNotReadYet:
    """The relay has just started, and reads the MIS for the first time."""

    code: ClassVar = "mis_not_read_yet"
    verdict: ClassVar = Verdict.NOTE


@dataclass(frozen=True)
class StreamBroken:
    """The MIS has a stream of changes for the relay, which is not followed: it is polled instead."""

    code: ClassVar = "stream_broken"
    verdict: ClassVar = Verdict.NOTE
    why: str


@dataclass(frozen=True)
class StreamPiles:
    """The MIS keeps much of its log for the relay. `kept` is in bytes."""

    code: ClassVar = "stream_piles"
    verdict: ClassVar = Verdict.NOTE
    kept: int


@dataclass(frozen=True)
class ListBeingRead:
    """Kiva's list of loans is not known, or `drafts` are ready and wait until this process has read it.

    `why` is why the newest reading was not complete; empty while none was tried. `may_be_taken`: it lacks the same for
    so long that a person may take it as it is.
    """

    code: ClassVar = "list_being_read"
    verdict: ClassVar = Verdict.WAITING
    drafts: int
    why: str
    may_be_taken: bool = False


@dataclass(frozen=True)
class ListOld:
    """Kiva's list of loans was last read completely too long ago.

    `settles`: it is still young enough to settle doubts by it. `why`, `may_be_taken` as of ListBeingRead.
    """

    code: ClassVar = "list_old"
    verdict: ClassVar = Verdict.NOTE
    age: timedelta
    settles: bool
    why: str
    may_be_taken: bool = False


@dataclass(frozen=True)
class ListTaken:
    """Kiva's list of loans is not whole (`why`), and a person takes it as it is: who, since when, with which note."""

    code: ClassVar = "list_taken"
    verdict: ClassVar = Verdict.NOTE
    by: str
    since: datetime
    note: str
    why: str


@dataclass(frozen=True)
class ListsNotGiven:
    """Kiva's other lists (activities, …) were not given, or not for days. `age` is None for never."""

    code: ClassVar = "lists_not_given"
    verdict: ClassVar = Verdict.NOTE
    age: timedelta | None


@dataclass(frozen=True)
class NotLookedAtYet:
    """Things that may be owed and were not looked at. `things` is resource → how many are known of.

    `unread`: the streams whose book was not read whole, each with the rows left (None while nobody can tell).
    """

    code: ClassVar = "not_looked_at_yet"
    verdict: ClassVar = Verdict.NOTE
    things: Mapping[str, int]
    unread: Mapping[str, int | None]


@dataclass(frozen=True)
class Overdue:
    """What goes by itself, and has not gone for too long. Both are resource → how many."""

    code: ClassVar = "overdue"
    verdict: ClassVar = Verdict.NOTE
    on_their_way: Mapping[str, int]
    waiting: Mapping[str, int]


@dataclass(frozen=True)
class SendingSwitchedOff:
    """`kiva.send` is false."""

    code: ClassVar = "sending_switched_off"
    verdict: ClassVar = Verdict.NOTE


@dataclass(frozen=True)
class LoopStuck:
    """A loop of the relay that has not got on for ten minutes. `why` is what has kept it from that."""

    code: ClassVar = "loop_stuck"
    verdict: ClassVar = Verdict.STOPPED
    loop: str
    why: str


@dataclass(frozen=True)
class ClockOff:
    """The clock of this machine is not Kiva's: by how much it is behind, negative where it is ahead."""

    code: ClassVar = "clock_off"
    verdict: ClassVar = Verdict.NOTE
    behind: timedelta


@dataclass(frozen=True)
class JobLate:
    """A job of the schedule that did not run when it should have. `error` is how it ended last, empty when well."""

    code: ClassVar = "job_late"
    verdict: ClassVar = Verdict.NOTE
    job: str
    by: timedelta
    last_run: datetime | None
    error: str


@dataclass(frozen=True)
class SaidDifferently:
    """MIS, outbox and Kiva say different things of loans: kind → how many, of which nobody has said that it is done."""

    code: ClassVar = "said_differently"
    verdict: ClassVar = Verdict.NOTE
    kinds: Mapping[str, int]


@dataclass(frozen=True)
class ForPersons:
    """What waits for a person. `doubts` are the numbers of entries; the rest are counts, `in_doubt` of things.

    `duplicates` are drafts that may be owed twice, `warned` calls of which Kiva named a problem. `missing`: loans for
    which Kiva expects a report, and that the MIS does not give. `left_at_closing`: positions that were not sent before
    the report closed; `undecided_at_closing`: because nobody decided about them. `others`: anything else that somebody
    has to decide.
    """

    code: ClassVar = "for_persons"
    verdict: ClassVar = Verdict.NOTE
    doubts: tuple[int, ...]
    in_doubt: int
    decisions: int
    perhaps: int
    duplicates: int
    divergences: int
    refused: int
    warned: int
    closed_unknown: int
    missing: int
    left_at_closing: int
    undecided_at_closing: int
    others: int


@dataclass(frozen=True)
class EditedNotInForce:
    """Files that were edited and not put into force."""

    code: ClassVar = "edited_not_in_force"
    verdict: ClassVar = Verdict.NOTE
    files: tuple[str, ...]


@dataclass(frozen=True)
class MailNotSent:
    """Mail that could not be sent: how many, since when, what came back last. `refused`: by address, what was said."""

    code: ClassVar = "mail_not_sent"
    verdict: ClassVar = Verdict.NOTE
    waiting: int
    since: datetime | None
    words: str
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class AllDelivered:
    """Nothing differs from normal: the account balances.

    `under_way`: resource → how many still go; `due`: when the last of them does, None when all of them are due already.
    `waiting`: resource → how many wait for what is still to come.
    """

    code: ClassVar = "all_delivered"
    verdict: ClassVar = Verdict.OK
    until: datetime
    under_way: Mapping[str, int]
    due: datetime | None
    waiting: Mapping[str, int]


HealthFinding = (
    RelayStopped
    | RelayMute
    | DiskFull
    | MappingUnfit
    | RowsNameless
    | HeldBack
    | KivaAway
    | MisAway
    | MisNotReadYet
    | StreamBroken
    | StreamPiles
    | ListBeingRead
    | ListOld
    | ListTaken
    | ListsNotGiven
    | NotLookedAtYet
    | Overdue
    | SendingSwitchedOff
    | LoopStuck
    | ClockOff
    | JobLate
    | ForPersons
    | SaidDifferently
    | EditedNotInForce
    | MailNotSent
    | AllDelivered
)


def params(one: HealthFinding) -> dict[str, Any]:
    """What has to be known of a finding, by name."""
    return {field.name: getattr(one, field.name) for field in fields(one)}
