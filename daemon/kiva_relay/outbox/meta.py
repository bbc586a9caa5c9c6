"""Facts about the outbox itself: single values that are no rows, each declared once with its name and its type.

In the table `meta` a text stands as it is, a moment in ISO format with its offset, everything else as JSON. No fact
holds anything personal.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import orjson
import pydantic
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import table
from kiva_relay.source import gap
from kiva_relay.source.gap import Gap

_T = TypeVar("_T")

_GET = sa.select(table.meta.c.value).where(table.meta.c.name == sa.bindparam("name"))
_PUT = sa.update(table.meta).where(table.meta.c.name == sa.bindparam("its_name"))
_SOME = sa.select(table.meta.c.name, table.meta.c.value).where(
    table.meta.c.name.in_(sa.bindparam("names", expanding=True))
)


@dataclass(frozen=True)
class Fact(Generic[_T]):
    """One fact: its name in `meta`, and how its value is read from text and written as text."""

    name: str
    _read: Callable[[str], _T]
    _write: Callable[[_T], str]

    def get(self, tx: Connection) -> _T | None:
        """Its value; None when it is not known.

        Raises:
            OutboxRefused: what is stored is not a value of its type.
        """
        return self.understood(tx.execute(_GET, {"name": self.name}).scalar())

    def understood(self, text: str | None) -> _T | None:
        """The value that a stored text is; None for none.

        Raises:
            OutboxRefused: it is not a value of its type.
        """
        if text is None:
            return None
        try:
            return self._read(text)
        except ValueError as error:
            raise errors.OutboxRefused(
                f"The outbox holds a fact that this version does not understand: {self.name}. Nothing was changed.",
                hint="Was it used by a newer kiva-relay? Install that one again.",
            ) from error

    def put(self, tx: Connection, value: _T) -> None:
        """Store it, in place of the value before."""
        text = self._write(value)
        if tx.execute(_PUT, {"value": text, "its_name": self.name}).rowcount == 0:
            tx.execute(sa.insert(table.meta).values(name=self.name, value=text))

    def remove(self, tx: Connection) -> None:
        """Forget it."""
        tx.execute(sa.delete(table.meta).where(table.meta.c.name == self.name))


@dataclass(frozen=True)
class Known:
    """What some facts were at one moment: those that are known, as text, by name."""

    texts: Mapping[str, str]

    def of(self, fact: Fact[_T]) -> _T | None:
        """The value of one of those that were asked for; None when it is not known.

        Raises:
            OutboxRefused: what is stored is not a value of its type.
        """
        return fact.understood(self.texts.get(fact.name))


def known(tx: Connection, *facts: Fact[Any]) -> Known:
    """What these facts are, asked for at once."""
    rows = tx.execute(_SOME, {"names": [fact.name for fact in facts]})
    return Known({row.name: row.value for row in rows})


def text(name: str) -> Fact[str]:
    """A fact that is a text."""
    return Fact(name, str, str)


def _moment(name: str) -> Fact[datetime]:
    return Fact(name, datetime.fromisoformat, datetime.isoformat)


def of_type(name: str, type_: type[_T]) -> Fact[_T]:
    """A fact that is a value of this type, as JSON."""
    return Fact(name, lambda text: _adapter(type_).validate_json(text), _dumped)  # type: ignore[arg-type]  # a class is hashable


@functools.cache
def _adapter(type_: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(type_)


def _dumped(value: object) -> str:
    return orjson.dumps(value).decode()


# ---------------------------------------------------------------- what it belongs to

OUTBOX_ID = text("outbox_id")
"""A random number of this database, with which the witness names it; a new one after it was restored."""
HASH_KEY = text("hash_key")
"""What fingerprints of values are keyed with, so that nobody can guess a value from its fingerprint."""

API_URL = text("api_url")
PARTNER_ID = text("partner_id")
MIS = text("mis")
"""Identity of the MIS, without what tells a restored copy from the one before."""

FIRST_START = _moment("first_start")
"""Since when drafts and journals are owed, where `since` is first_start."""

WORD_LEFT = text("word_left")
"""Another text each time that somebody who is not the relay has written; on a server alone."""

# ---------------------------------------------------------------- what the hour is at Kiva

MOST_OFF = timedelta(minutes=5)
"""Further from Kiva's, the clock of a machine is wrong, and said to be."""


@dataclass(frozen=True)
class KivaTimeKnown:
    """Kiva's clock less the monotonic one, in seconds, as of `learned_at`; it holds as long as `boot` does.

    `off_by`: how many seconds the clock of the machine was behind Kiva's then.
    """

    offset: float
    boot: str
    off_by: float
    learned_at: datetime


KIVA_TIME = of_type("kiva_time", KivaTimeKnown)


@dataclass(frozen=True)
class MachineTime:
    """The clock of the machine less the monotonic one, in seconds, when the relay first looked since this `boot`."""

    offset: float
    boot: str


MACHINE_TIME = of_type("machine_time", MachineTime)

STEADY_TIME = of_type("steady_time", MachineTime)
"""The relay's hour less the monotonic clock, when it last followed the machine's."""

# ---------------------------------------------------------------- Kiva's list

LIST_TAKEN = text("list_taken")
"""Why Kiva's list is never whole, as a person saw it who takes it as it is; for as long as it is just that."""

# ---------------------------------------------------------------- what the witness said


@dataclass(frozen=True)
class WitnessesKnown:
    """The witnesses of this outbox: the `last` that it was started with, and the one of each place in `known`.

    `excused` is the newest attempt whose absence from a witness was reported already; 0 when none was.
    """

    last: str
    known: dict[str, str]
    excused: int


WITNESSES = of_type("witness", WitnessesKnown)
WITNESS_MISSED = text("witness_missed")
"""The number of the witness that was missing at a start: put back whole, it ends the hold that came of it."""


@dataclass(frozen=True)
class WitnessRead:
    """How far a witness was compared with this outbox: `offset` bytes, recognised by `before`.

    `attempt` is the newest attempt then; none was under way.
    """

    offset: int
    before: str
    attempt: int


def witness_read(number: str) -> Fact[WitnessRead]:
    """Of the witness with this number."""
    return of_type(f"read of witness {number}", WitnessRead)


ATTEMPTS_KNOWN = of_type("known_attempts", dict[str, int])
"""By the number of an outbox, its newest attempt of which this one knows what became."""

# ---------------------------------------------------------------- what capture noticed last

REPORT = text("report")
"""The stamp of the repayment report for which positions were computed last."""

EXPECTED = text("expected")
"""Of which report, and by which reading of Kiva's list, the positions were marked that Kiva expects."""

TIMELINE = text("timeline of the MIS")
ROW_SECURITY = of_type("row security of the MIS", dict[str, dict[str, bool]])
"""By stream and table, whether row level security could hide rows from our role when it was last looked at."""

ALIASES = of_type("loan ids", dict[str, str])
"""Loan ids that were typed by hand at Kiva, each with the MIS's own for the same loan."""


@dataclass(frozen=True)
class SlotPosition:
    """How far a replication slot was read, durably. `place` is the LSN as a number."""

    slot: str
    place: int


SLOT_POSITION = of_type("replication", SlotPosition)
TOLD = of_type("tables of the stream", dict[str, str])
"""The tables whose changes the stream tells, and the version of each and of how it is published."""

# ---------------------------------------------------------------- one of each stream


@dataclass(frozen=True)
class ReadyMade:
    """What the package says in a mapping that came with it, or extends one: SHA-256 of its text, and whose version."""

    sha256: str
    version: str


@dataclass(frozen=True)
class Upgrade:
    """An upgrade that changed what the package says in a mapping: the versions of the relay before and after.

    `base` is the ready-made mapping, as `fineract/journal`.
    """

    base: str
    before: str
    now: str


@dataclass(frozen=True)
class Revision:
    """An edited mapping whose rows are being looked at again.

    `newest` is the newest entry when it began, `waiting` how many identities waited to be sent then, `period` the
    newest period of its positions ("" for other resources). `upgrade` is what edited it, where no person did.
    """

    newest: int
    waiting: int
    period: str
    at: datetime
    upgrade: Upgrade | None = None


def mapping_text(stream: str) -> Fact[str]:
    """The text of the mapping in force."""
    return text(f"text of {stream}")


def mapping_fingerprint(stream: str) -> Fact[str]:
    """The fingerprint of the mapping in force."""
    return text(f"fingerprint of {stream}")


def mapping_approved(stream: str) -> Fact[str]:
    """The fingerprint of the version that a person put into force after seeing what it changes."""
    return text(f"seen {stream}")


def mapping_revision(stream: str) -> Fact[Revision]:
    """The edit whose rows are being looked at again, while they are."""
    return of_type(f"revision of {stream}", Revision)


def mapping_ready_made(stream: str) -> Fact[ReadyMade]:
    """What the package says in the mapping in force; none where it says nothing."""
    return of_type(f"ready-made of {stream}", ReadyMade)


def habits(stream: str) -> Fact[dict[str, dict[str, Any]]]:
    """How often each column was filled, by kind of row: new or changed."""
    return of_type(f"filled {stream}", dict[str, dict[str, Any]])


@dataclass(frozen=True)
class Leaving:
    """Of one mapping, what left its scope since `since`, for at most a day.

    `of` rows were in scope then; `gone` of them left other than by their normal end, and `counted` of these are rows
    that a person is asked about.
    """

    since: datetime
    of: int
    gone: int = 0
    counted: int = 0


def leaving(stream: str) -> Fact[Leaving]:
    """How many rows of a mapping left today."""
    return of_type(f"left {stream}", Leaving)


@dataclass(frozen=True)
class Nameless:
    """Rows in scope of a mapping's `table` whose `key` cannot be told, as scan number `scan` met them.

    `before`: those of the scan before, until this one is through.
    """

    table: str
    key: tuple[str, ...]
    scan: int
    met: tuple[Gap, ...]
    before: tuple[Gap, ...] = ()

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """All that is known."""
        return gap.together((*self.met, *self.before))


def nameless(stream: str) -> Fact[Nameless]:
    """The rows of a mapping that are not read, for nobody can tell which they are; none where there are none."""
    return of_type(f"nameless {stream}", Nameless)


# ---------------------------------------------------------------- MIS, outbox and Kiva, compared


@dataclass(frozen=True)
class Reconciled:
    """The newest comparison that is through: how many of Kiva's `loans` and of our `drafts` it looked at.

    `listed_at` is when the reading of Kiva's list began that it used. `book_is_read`: what the MIS does not have could
    be told, for its book was read whole.
    """

    at: datetime
    listed_at: datetime
    loans: int
    drafts: int
    book_is_read: bool


WORDS_FORGOTTEN = text("words_forgotten")
"""The period of the newest report of which Kiva's words were deleted."""


@dataclass(frozen=True)
class PlaceInReport:
    """How far Kiva's words of a report were deleted: up to this line, and up to the upload of this attempt."""

    period: str
    kiva_id: str
    attempt: int


WORDS_FORGOTTEN_UNTIL = of_type("words_forgotten_until", PlaceInReport)
"""While those of one report are being deleted."""

RECONCILED = of_type("reconciled", Reconciled)

# ---------------------------------------------------------------- between the relay and the commands


@dataclass(frozen=True)
class ReloadResult:
    """What became of a reload: `asked` is the request it answers, empty when nobody asked through the outbox."""

    at: datetime
    ok: bool
    text: str
    asked: str = ""


TURNS = of_type("turns", list[str])
"""The streams in the order in which they had something to read, the last one last."""

RELOAD_WANTED = text("reload_wanted")
RELOAD_RESULT = of_type("reload_result", ReloadResult)
