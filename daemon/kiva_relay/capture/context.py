"""What a page is decided with, beside its rows: the mapping, the settings in force, Kiva's lists, the moment."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from datetime import date, datetime
from typing import Literal

from kiva_relay.config import settings as config
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import lookup, mapper
from kiva_relay.mapping.document import Document
from kiva_relay.outbox.decision import Decision
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource import window
from kiva_relay.resource.kind import CheckFacts

Origin = Literal["poll", "report", "backfill", "sweep", "leaving"]
"""Why keys are looked at. `leaving` is the last part of a scan: keys that it did not meet in scope."""

SCANS: tuple[Origin, ...] = ("backfill", "sweep", "leaving")


@dataclass(frozen=True)
class CaptureContext:
    """What one page is decided with.

    Attributes:
        document: the mapping.
        settings: those in force.
        origin: why these keys are looked at.
        now: the moment of the page, with a zone.
        today: the date of `now` in the MIS's zone.
        report: the repayment report of `now`.
        scan_number: of the backfill or sweep that looks; None for every other look.
        lists: Kiva's lists.
        first_start: when this outbox was first used, with a zone.
        aliases: ids that were typed by hand at Kiva, and the MIS's own id of the same loan.
        streams: the mappings in force: what another one captured once says nothing any more.
        decisions: what persons decided about positions of this period, by `kiva_id`.
        takes_late: the report is closed, and not finalised: what a person sends late still goes.
        photos: `bytes` in the body as it is sent; `sha256` for a trial run, which sends nothing.
    """

    document: Document
    settings: config.Settings
    origin: Origin
    now: datetime
    today: date
    report: window.RepaymentReport
    scan_number: int | None
    lists: lookup.Lists
    first_start: datetime
    aliases: Mapping[str, str] = field(default_factory=dict)
    streams: Collection[str] = ()
    photos: Literal["sha256", "bytes"] = "bytes"
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    takes_late: bool = False

    def ids(self, loan_id: str) -> list[str]:
        """A loan's id, and those that somebody typed for it at Kiva (`lookup/loan_ids.csv`)."""
        # What Kiva has under this very id may be another loan of the MIS.
        key = spelled.key(loan_id)
        own = [loan_id] if self.aliases.get(key, key) == key else []
        return own + [at_kiva for at_kiva, in_the_mis in self.aliases.items() if in_the_mis == key]

    @property
    def cutoff(self) -> str | None:
        """The day up to which the mapping reads its rows; None where it reads them all."""
        return str(self.report.cutoff) if self.document.stream.uses_cutoff else None

    @property
    def context(self) -> mapper.Context:
        """What the mapper is given beside the rows."""
        return mapper_context(
            self.settings, lists=self.lists, today=self.today, cutoff=self.report.cutoff, photos=self.photos
        )


def mapper_context(
    settings: config.Settings,
    *,
    lists: lookup.Lists,
    today: date,
    cutoff: date,
    photos: Literal["sha256", "bytes"] = "bytes",
) -> mapper.Context:
    """What a configuration gives the mapper beside the rows; with `sha256` a photo is its fingerprint."""
    return mapper.Context(
        lists=lists,
        today=today,
        cutoff=cutoff,
        timezone=settings.mis.timezone,
        facts=CheckFacts(today=today, columns=settings.kiva.columns, basis=settings.repayments.basis),
        photos=photos,
        photo_folders=settings.mis.photos,
    )
