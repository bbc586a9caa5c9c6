"""The two databases: the MIS, which is read, and the outbox, which is ours."""

# No postponed annotations in this file: pydantic reads them while the classes are made.
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from kiva_relay.config import own_schema, partner, url_parameters, value
from kiva_relay.config.concealed import CONCEALED
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.config.secret import Secret
from kiva_relay.config.section import Section, section, setting

WITNESS = Path("/var/lib/kiva-relay-witness")
STATE = Path("/var/lib/kiva-relay")


class DatabaseSettings(Section):
    """A database by its URL; a password in the URL becomes `password`, so that no URL holds one."""

    @model_validator(mode="before")
    @classmethod
    def _part(cls, written: Any) -> Any:
        if not isinstance(written, dict) or not isinstance(written.get("url"), str) or written.get("password"):
            return written
        try:
            password = urlsplit(written["url"]).password
        except ValueError:
            return written  # the field says what is wrong with it
        if not password:
            return written
        url = written["url"].replace(f":{password}@", "@", 1)
        return {**written, "url": url, "password": Secret("literal", unquote(password))}

    @field_validator("url", check_fields=False)
    @classmethod
    def _one_password(cls, url: str) -> str:
        if urlsplit(url).password:
            raise Mismatch("the password stands here and under password", remedy="take it out of the URL")
        return url


class MisTls(Section):
    """Encryption on the way to the MIS, where it is on another machine."""

    ca: value.ExistingFile | None = setting(
        None,
        does="The authorities that sign the server's certificate (PEM); without it those of the system.",
        example="/etc/ssl/certs/ca-certificates.crt",
    )
    cert: value.File | None = setting(
        None,
        does="Our own certificate and its key in one file (PEM, readable by the relay alone), where the server asks.",
        example="/etc/kiva-relay/mis-client.pem",
    )
    verify: Literal["full", "ca", "encrypt", "off"] | None = setting(
        None,
        does=(
            "full, ca, encrypt or off. full: the server's certificate and its name are checked; ca: the certificate "
            "only; encrypt: nothing is checked; off: PostgreSQL encrypts where the server offers it, MariaDB and MySQL "
            "do not. Without it: full where ca or cert is set, else off."
        ),
        example="full",
        filled=True,
    )

    @field_validator("verify", mode="before")
    @classmethod
    def _fill_verify(cls, written: Any, info: ValidationInfo) -> Any:
        if written is not None:
            return written
        return "full" if info.data.get("ca") or info.data.get("cert") else "off"


class MisSettings(DatabaseSettings):
    """The MIS: the database that holds the loans. The relay only reads it."""

    url: Annotated[
        value.Text,
        AfterValidator(value.database("postgresql", "mariadb", "mysql", "sqlite")),
        AfterValidator(url_parameters.checked),
        CONCEALED,
    ] = setting(
        does=(
            "Where the MIS is: postgresql://, mariadb://, mysql:// or sqlite://, without a driver. "
            "On the same server a socket needs no password: postgresql://kiva_relay@/fineract_default"
            "?host=/run/postgresql, or mariadb://kiva_relay@localhost/fineract_default"
            "?unix_socket=/run/mysqld/mysqld.sock. Of a PostgreSQL with standbys, all of them: "
            "postgresql://kiva_relay@db1,db2/fineract_default; the one that is the primary is read."
        ),
        where="postgresql://USER@HOST/DATABASE",
        example="postgresql://kiva_relay@localhost/fineract_default",
    )
    password: Secret | None = setting(
        None,
        does="Where the password is: {credential: NAME} of systemd, {file: /PATH} or {env: NAME}.",
        example="{credential: mis-password}",
    )
    tls: MisTls = section(MisTls)
    timezone: value.Zone = setting(
        does=(
            "The zone in which the branches write dates. It is not in the database, and a wrong one moves "
            "repayments over the end of the month."
        ),
        where="the time zone of the institution, as Africa/Dakar",
        example="Africa/Dakar",
    )
    poll_every: Annotated[value.Length, Field(ge=timedelta(milliseconds=10))] = setting(
        timedelta(seconds=10), does="How often the MIS is asked what changed."
    )
    watch: Literal["auto", "poll", "replication", "xmin", "horizon", "overlap"] = setting(
        "auto",
        does=(
            "How changes are noticed: auto, poll, replication, xmin, horizon or overlap. auto takes the best "
            "that the database and the grants allow, and PostgreSQL's stream where `kiva-relay watch setup` was "
            "run; poll is auto without the stream; replication refuses to start without it. `kiva-relay check` "
            "says which it is, and what would better it."
        ),
    )
    max_load: value.Percent = setting(
        5.0,
        does=(
            "How much of the time we may keep the MIS busy, in percent; polls, backfill and sweep wait accordingly, "
            "and what comes by the stream as soon as it takes more over ten minutes."
        ),
        example="5",
    )
    sweep_at: value.Hours = setting(
        (time(2, 30),),
        does="When the whole book is compared, in mis.timezone; finds deleted rows and what no column shows.",
    )
    statement_timeout: Annotated[value.Length, Field(ge=timedelta(seconds=1))] = setting(
        timedelta(seconds=30), does="After how long the MIS gives up one query of ours."
    )
    photos: value.Files = setting(
        (),
        does=(
            "The folders below which the MIS keeps its photos, on this machine. A photo whose path leads elsewhere "
            "is not read; without a folder, photos that are files are left to the coordinator."
        ),
        example="[/var/lib/fineract/images]",
    )


class OutboxSettings(DatabaseSettings):
    """The outbox: the relay's own database. Never among the tables of the MIS."""

    url: Annotated[
        value.Text,
        AfterValidator(value.database("sqlite", "postgresql")),
        AfterValidator(url_parameters.of_outbox),
        AfterValidator(own_schema.checked),
        CONCEALED,
    ] = setting(
        f"sqlite:///{STATE}/outbox.db",
        does=(
            "sqlite:/// and the path of a local file, or postgresql://. Each environment has its own. Of a PostgreSQL "
            "with standbys, all of them: postgresql://kiva_relay@db1,db2/kiva_relay?target_session_attrs=read-write. "
            "Several partners in one database have a schema each: ?options=-csearch_path=north."
        ),
    )
    password: Secret | None = setting(
        None,
        does="Its password, for PostgreSQL; written like mis.password.",
        example="{credential: outbox-password}",
    )
    keep_payloads: Annotated[value.Length, Field(ge=timedelta(days=1))] = setting(
        timedelta(days=90),
        does="How long the bodies of delivered entries are kept. Ids, attempts and receipts stay.",
    )
    witness: value.File = setting(
        None,
        does=(
            "A file outside the database that remembers each attempt, without personal data: it shows when "
            "an older outbox was restored. So keep it out of the outbox's backup. Without it: a file named "
            f"like the outbox in {WITNESS} (of one of several partners in a folder of its name there), or beside an "
            "outbox that is elsewhere."
        ),
        example=f"{WITNESS}/outbox.log",
        filled=True,
    )

    @property
    def file(self) -> Path | None:
        """The file of a SQLite outbox; none on PostgreSQL."""
        scheme, _, place = self.url.partition(":///")
        return Path(place.partition("?")[0]) if scheme == "sqlite" else None

    @field_validator("witness", mode="before")
    @classmethod
    def _fill_witness(cls, written: Any, info: ValidationInfo) -> Any:
        url: str = info.data.get("url", "")
        if written is not None:
            return written
        if not url.startswith("sqlite:"):
            parts = (urlsplit(url).path.strip("/"), own_schema.of(url))
            return WITNESS / partner.of_folder(value.home_of(info)) / f"{'.'.join(filter(None, parts))}.log"
        place = Path(url.removeprefix("sqlite:///").partition("?")[0])
        if place.is_relative_to(STATE):
            return WITNESS / f"{place.stem}.log"
        return place.with_name(f"{place.stem}.witness.log")
