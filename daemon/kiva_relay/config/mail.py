"""The mail to coordinators and administrators: through which server, to whom, when."""

# No postponed annotations in this file: pydantic reads them while the classes are made.
import ipaddress
import re
from collections.abc import Iterator
from datetime import time
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationInfo, create_model, field_validator

from kiva_relay.config import value
from kiva_relay.config.concealed import CONCEALED
from kiva_relay.config.mismatch import Mismatch, found
from kiva_relay.config.secret import Secret
from kiva_relay.config.section import Section, setting

PORTS = {"starttls": 587, "tls": 465, "none": 25}
"""Where a server listens as a rule, by `mail.security`."""

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}", re.ASCII)
_LONGEST_ADDRESS = 254
_HOST = re.compile(r"([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?|\[?[0-9A-Fa-f:]+\]?", re.ASCII)


def _address(written: str) -> str:
    if len(written) > _LONGEST_ADDRESS or not _ADDRESS.fullmatch(written):
        raise Mismatch(f"expected an address, found {found(written)}", remedy="the address alone, as awa@example.org")
    return written


def _host(written: str) -> str:
    if not _HOST.fullmatch(written):
        said = f"expected the name of a host, found {found(written)}"
        raise Mismatch(said, remedy="as smtp.example.org; the port apart")
    return written.strip("[]")


def _alive_url(written: str) -> str:
    try:
        parts = urlsplit(written)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        parts, host = urlsplit(""), ""
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    if not host or not is_safe or not written.isprintable() or not written.isascii():
        raise Mismatch("expected https://… (http:// only to this machine)", remedy="as https://hc-ping.com/UUID")
    return written


def is_loopback(host: str) -> bool:
    """Is it this machine itself?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Address = Annotated[value.Text, AfterValidator(_address)]
Role = Literal["coordinator", "administrator"]


class Recipient(Section):
    """Somebody who gets mail."""

    address: Address
    role: Role = "coordinator"
    language: Literal["en", "fr", "es"] = "en"


def _alone(written: object) -> object:
    """One alone needs no list."""
    return [written] if isinstance(written, dict) else written


class _MailServer(Section):
    """Through which server mail goes."""

    host: Annotated[value.Text, AfterValidator(_host)] | None = setting(
        None,
        does=(
            "The server that takes mail. Without it there is no mail: neither each morning, nor about a report, nor "
            "when the relay stops. `kiva-relay mail test` tries it."
        ),
        example="smtp.example.org",
    )
    security: Literal["starttls", "tls", "none"] = setting(
        "starttls",
        does="starttls, tls (from the first byte on), or none, which only a server on this machine may have.",
    )
    port: Annotated[int, Strict(), Field(ge=1, le=65_535)] = setting(
        None,
        does="Its port. Without it: 587 for starttls, 465 for tls, 25 for none.",
        example="587",
        filled=True,
    )
    user: value.Text | None = setting(
        None, does="The name to log in with, where the server asks for one.", example="kiva-relay"
    )
    password: Secret | None = setting(
        None,
        does="Where its password is: {credential: NAME}, {file: /PATH} or {env: NAME}.",
        example="{credential: mail-password}",
    )

    @field_validator("security")
    @classmethod
    def _only_here(cls, security: str, info: ValidationInfo) -> str:
        host = info.data.get("host")
        if security == "none" and host and not is_loopback(host):
            raise Mismatch(f"none would send mail and password to {host} readable by all", remedy="starttls, or tls")
        return security

    @field_validator("port", mode="before")
    @classmethod
    def _usual(cls, written: Any, info: ValidationInfo) -> Any:
        return PORTS[info.data.get("security", "starttls")] if written is None else written

    @field_validator("password")
    @classmethod
    def _with_a_name(cls, password: Secret | None, info: ValidationInfo) -> Secret | None:
        if password is not None and "user" in info.data and not info.data["user"]:
            raise Mismatch("a password, and no user", remedy="write mail.user, too")
        return password


# "from" is a word of Python's, so that no class can be written with it.
if TYPE_CHECKING:
    _MailFrom = _MailServer
else:
    _MailFrom = create_model(
        "_MailFrom",
        __base__=_MailServer,
        __module__=__name__,
        **{
            "from": (
                Address | None,
                setting(
                    None,
                    does="The address that mail comes from; answers go there.",
                    example="kiva-relay@example.org",
                ),
            )
        },
    )


class Mail(_MailFrom):
    """The mail of each morning, of the report, and of a relay that stops."""

    at: value.Hour = setting(time(7, 30), does="When the mail of the morning goes, in mis.timezone.")
    recipients: Annotated[tuple[Recipient, ...], BeforeValidator(_alone)] = Field(
        default_factory=tuple,
        validate_default=True,
        description=(
            "To whom: an address, a role (coordinator: each morning, and about the report; administrator: when the "
            "relay is STOPPED or HELD), a language (en, fr or es)."
        ),
        json_schema_extra={"where": "", "example": "[{address: awa@example.org, language: fr}]"},
    )
    ca: value.ExistingFile | None = setting(
        None,
        does="A file with further certificate authorities (PEM), beside the system's own, for a server of one's own.",
        example="/etc/ssl/certs/ca-certificates.crt",
    )
    alive_url: Annotated[value.Text, AfterValidator(_alive_url), CONCEALED] | None = setting(
        None,
        does=(
            "An address that is asked every 5 minutes while the relay works and can send mail. A service that watches "
            "it (a dead man's switch) tells somebody when that ends, also when this machine is dead."
        ),
        example="https://hc-ping.com/UUID",
        hidden=True,
    )

    @field_validator("recipients")
    @classmethod
    def _each_once(cls, recipients: tuple[Recipient, ...], info: ValidationInfo) -> tuple[Recipient, ...]:
        """With a server there is somebody to write to, and from; none twice in the same role."""
        if info.data.get("host"):
            if "from" in info.data and info.data["from"] is None:
                raise Mismatch("mail.host is set, and mail.from is not", remedy="from: kiva-relay@example.org")
            if not recipients:
                raise Mismatch("mail.host is set, and nobody gets mail", remedy=_example())
        elif recipients and "host" in info.data:
            raise Mismatch("mail.recipients are set, and mail.host is not", remedy="host: smtp.example.org")
        seen = set()
        for number, one in enumerate(recipients):
            key = (one.address.casefold(), one.role)
            if key in seen:
                raise Mismatch(f"{one.address} is there twice as {one.role}", at=(number, "address"))
            seen.add(key)
        return recipients

    @property
    def is_on(self) -> bool:
        """Is there mail at all?"""
        return self.host is not None

    @property
    def sender(self) -> str:
        """The address that mail comes from."""
        return str(getattr(self, "from"))

    def of_role(self, role: Role) -> Iterator[Recipient]:
        """Those who have this role."""
        return (one for one in self.recipients if one.role == role)


def _example() -> str:
    return "recipients: [{address: awa@example.org, role: coordinator, language: fr}]"
