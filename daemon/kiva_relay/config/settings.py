"""Every setting: key, type, default, and what it does. Sample, documentation and checks come from here."""

# No postponed annotations in this file: pydantic reads them while the classes are made.
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field, PrivateAttr, Strict, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from kiva_relay.config import value
from kiva_relay.config.database import MisSettings, OutboxSettings
from kiva_relay.config.kiva import Kiva
from kiva_relay.config.mail import Mail
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.config.page import Page
from kiva_relay.config.repayments import MonthDay, Repayments
from kiva_relay.config.section import Section, section, setting
from kiva_relay.errors import Mistake

Resource = Literal["loan_draft", "repayment", "journal"]
RESOURCES: tuple[Resource, ...] = get_args(Resource)

_Since = Literal["first_start", "all"] | value.Day


class LoanDrafts(Section):
    """Which loans are ours to post."""

    since: _Since = setting(
        does=(
            "From when on: first_start (what comes after the first start), a date (created on it or later), "
            "or all. What is older was posted by hand and stays so."
        ),
        where="first_start, or the first day whose loans nobody posted by hand",
        example="first_start",
    )


class Journals(Section):
    """Which notes are ours to post."""

    since: _Since = setting(
        does="From when on, as in loan_drafts.since.",
        where="first_start, or the first day whose notes nobody posted by hand",
        example="first_start",
    )
    batch: Annotated[int, Strict(), Field(ge=1, le=300)] = setting(20, does="How many journals go in one call at most.")
    statuses: Annotated[tuple[value.Text, ...], Field(min_length=1)] = setting(
        ("fundRaising", "raised", "payingBack", "ended", "defaulted"),
        does=(
            "A journal goes only while its loan has one of these statuses at Kiva, as `GET /loans` spells them: those "
            "that PA2's Journals list shows. Otherwise it waits."
        ),
    )


class Delivery(Section):
    """Caution in sending."""

    hold_for: value.Length = setting(
        timedelta(minutes=15),
        does="A draft or journal is sent after it did not change for this long: officers correct their typing.",
    )
    brake: Annotated[int, Strict(), Field(ge=1, le=100_000)] = setting(
        50, does="More newly owed drafts or journals in an hour than this are held, and a person is asked."
    )
    settle_after: value.Length = setting(
        timedelta(minutes=15), does="How long after a lost answer what Kiva lists counts as evidence."
    )


class LeaseSettings(Section):
    """Which of several machines works, where the outbox is on PostgreSQL."""

    prefer: value.Names = setting(
        (),
        does=(
            "The machines by their names (`hostname`), the first choice first. A relay that stands by on one of them "
            "gets the lease from one that works on a later one, or on none of them, in good order and after ten "
            "minutes at the earliest. The same on all machines. Without it the lease stays where it is."
        ),
        example="[relay-a, relay-b]",
    )


class Mirror(Section):
    """What Kiva says it has."""

    max_age: value.Length = setting(
        timedelta(hours=26), does="Older than this, it is no evidence that something is missing at Kiva."
    )
    refresh_every: Annotated[value.Length, Field(ge=timedelta(seconds=1))] = setting(
        timedelta(hours=1), does="How often it is read again.", filled=True
    )

    @field_validator("refresh_every")
    @classmethod
    def _refresh_in_time(cls, every: timedelta, info: ValidationInfo) -> timedelta:
        if every >= info.data.get("max_age", timedelta.max):
            raise Mismatch("the mirror would be too old before it is read again", remedy="shorter than mirror.max_age")
        return every


class Metrics(Section):
    """Numbers for Prometheus."""

    listen: value.Listen = setting("127.0.0.1:9478", does="Address and port of /metrics, /healthz and /readyz; or off.")


class Log(Section):
    """The log, which goes to the journal. It holds ids, and nothing personal."""

    format: Literal["text", "json"] = setting("text", does="text for people, json for machines.")


class Settings(Section):
    """All settings."""

    kiva: Kiva = section(Kiva, required=True)
    mis: MisSettings = section(MisSettings, required=True)
    mappings: value.Folders = setting(
        does=(
            "What becomes what: fineract is ready-made, and a folder mappings beside this file holds what is your own. "
            "Other folders are named, as in [fineract, /srv/mappings]."
        ),
        example="fineract",
    )
    parameters: value.Parameters = Field(
        default_factory=lambda: MappingProxyType({}),
        description=(
            "What the mappings have to know about this institution. `kiva-relay check` asks for what is "
            "missing and shows the choices from your database."
        ),
        json_schema_extra={"where": "", "example": "{kiva_fund: 3}"},
    )
    loan_drafts: LoanDrafts = section(LoanDrafts, required=True)
    journals: Journals = section(Journals, required=True)
    repayments: Repayments = section(Repayments)
    resources: value.Listed[Resource] = setting(RESOURCES, does="What is sent; leave out what is still done by hand.")
    first_start: Literal["hold", "send"] | None = setting(
        None,
        does=(
            "hold or send: what to do with the first things to be sent. Without it, they are held for a "
            "person to look at (`kiva-relay status`) towards Kiva's own hosts, and sent elsewhere."
        ),
        example="hold",
    )
    delivery: Delivery = section(Delivery)
    outbox: OutboxSettings = section(OutboxSettings)
    lease: LeaseSettings = section(LeaseSettings)
    mirror: Mirror = section(Mirror)
    reload: Literal["on_command", "on_save"] = setting(
        "on_command",
        does="When an edited mapping takes effect: on_command (`kiva-relay reload`), or on_save.",
    )
    language: Literal["en", "fr", "es"] = setting(
        "en", does="The coordinator's language, in `review` and `report`: en, fr or es."
    )
    page: Page = section(Page)
    mail: Mail = section(Mail)
    metrics: Metrics = section(Metrics)
    log: Log = section(Log)
    stop_grace: value.Length = setting(
        timedelta(seconds=150),
        does="How long a stop waits for an answer under way. TimeoutStopSec of the unit must be longer.",
    )

    _file: Path = PrivateAttr(default=Path("config.yaml"))
    _warnings: tuple[Mistake, ...] = PrivateAttr(default=())

    @property
    def file(self) -> Path:
        """The file that was read."""
        return self._file

    @property
    def warnings(self) -> tuple[Mistake, ...]:
        """What works, and should be better: secrets that stand in the file."""
        return self._warnings

    @property
    def first_start_holds(self) -> bool:
        """Whether the first things to be sent wait for a person."""
        return self.first_start == "hold" or (self.first_start is None and self.kiva.own_host)

    @property
    def mapping_folders(self) -> tuple[Path, ...]:
        """The folders of `mappings`, in order; after a ready-made set alone, the folder `mappings` beside the file."""
        return value.mapping_folders(self.mappings, self.file.parent.absolute())

    @field_validator("lease")
    @classmethod
    def _lease_of_a_server(cls, lease: LeaseSettings, info: ValidationInfo) -> LeaseSettings:
        outbox: OutboxSettings | None = info.data.get("outbox")
        if lease.prefer and outbox is not None and outbox.file is not None:
            raise Mismatch(
                f"two machines need an outbox on PostgreSQL, and this one is the file {outbox.file}",
                remedy="leave it out, or outbox: {url: postgresql://…}",
                at=("prefer",),
            )
        return lease

    @field_validator("repayments")
    @classmethod
    def _fill_timezone(cls, repayments: Repayments, info: ValidationInfo) -> Repayments:
        mis: MisSettings | None = info.data.get("mis")
        if mis is None or repayments.timezone:
            return repayments
        return repayments.model_copy(update={"timezone": mis.timezone})


def every(within: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting, in the order of the sample: its key, as `kiva.timeout.read`, and its field."""
    for name, field in within.model_fields.items():
        inner = section_of(field)
        if inner is None:
            yield prefix + name, field
        else:
            yield from every(inner, f"{prefix}{name}.")


def section_of(field: FieldInfo) -> type[Section] | None:
    """The group of settings that a field holds; none for a setting of its own."""
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, Section) and kind is not MonthDay:
        return kind
    return None
