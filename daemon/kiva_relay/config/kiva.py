"""Kiva: where it is, who we are there, how it is talked to."""

# No postponed annotations in this file: pydantic reads them while the classes are made.
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ValidationInfo, field_validator

from kiva_relay.config import concealed, value
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.config.secret import Secret
from kiva_relay.config.section import Section, section, setting

ENVIRONMENTS = {
    "sandbox": {
        "token_url": "http://127.0.0.1:8765/oauth/token",
        "api_url": "http://127.0.0.1:8765",
        "audience": "kiva-sandbox",
    },
    "staging": {
        "token_url": "https://auth.staging.kiva.org/oauth/token",
        "api_url": "https://partnerapi.staging.kiva.org",
        "audience": "https://partner-api-stage.dk1.kiva.org",
    },
    "production": {
        "token_url": "https://auth.k1.kiva.org/oauth/token",
        "api_url": "https://partner-api.k1.kiva.org",
        "audience": "https://partner-api.k1.kiva.org",
    },
}


class Timeout(Section):
    """How long Kiva is waited for."""

    connect: value.Length = setting(timedelta(seconds=5), does="To connect.")
    write: value.Length = setting(timedelta(seconds=30), does="To take one piece of what is sent.")
    read: value.Length = setting(
        timedelta(seconds=150),
        does="To answer. Kiva can take two minutes; a short time makes answers doubtful.",
    )


class KivaJournals(Section):
    """Two points in which Kiva's own material disagrees; staging tells which is right."""

    path: Literal["partner", "partners"] = setting(
        "partner", does="Journals go to /v3/partner/… or to /v3/partners/…: partner or partners."
    )
    body: Literal["list", "object"] = setting(
        "list", does="They are sent as a bare list or inside an object: list or object."
    )


class Kiva(Section):
    """Kiva, and who we are there."""

    environment: Literal["sandbox", "staging", "production"] = setting(
        does="sandbox, then staging, then production. Fills token_url, api_url and audience.",
        example="sandbox",
    )
    partner_id: value.Partner = setting(
        does="Kiva's number of the institution.", where="PA2 → Account → Profile", example="123"
    )
    client_id: value.Text = setting(
        does="The name under which the relay asks for its token. Staging and production have their own.",
        where="from Kiva, with the secret",
        example="kiva-relay",
    )
    client_secret: Secret = setting(
        does=(
            "Where the secret is: {credential: NAME} of systemd, {file: /PATH} or {env: NAME}. "
            "The secret itself works, too, and `kiva-relay check` warns."
        ),
        where="from Kiva, with client_id",
        example="{credential: kiva-client-secret}",
    )
    columns: Literal[2, 3] = setting(
        2,
        does="The columns of the institution's CSV format, 2 or 3; with 3 Kiva wants client ids, too.",
        where="PA2 → Account → Profile → CSV upload format",
    )
    send: value.Switch = setting(
        default=True,
        does="false rehearses on the real data: everything is captured, mapped and shown, nothing is sent.",
    )
    token_url: value.Server = setting(
        None,
        does="Where tokens come from, if not from where the environment says.",
        example="https://auth.staging.kiva.org/oauth/token",
        filled=True,
    )
    api_url: value.Server = setting(
        None,
        does="Where the Partner API is, if not where the environment says.",
        example="https://partnerapi.staging.kiva.org",
        filled=True,
    )
    audience: value.Text = setting(
        None,
        does="What the token is for, if not what the environment says. An identifier of Kiva's, not a host.",
        example="https://partner-api-stage.kiva.org",
        filled=True,
    )
    journals: KivaJournals = section(KivaJournals)
    timeout: Timeout = section(Timeout)
    proxy: value.Server | None = setting(
        None,
        does="The proxy on the way to Kiva. Without it, HTTPS_PROXY, ALL_PROXY and NO_PROXY of the environment count.",
        example="http://proxy.example.org:3128",
        hidden=True,
    )
    ca: value.ExistingFile | None = setting(
        None,
        does="A file with further certificate authorities (PEM), beside the system's own, where a proxy opens TLS.",
        example="/etc/ssl/certs/ca-certificates.crt",
    )
    drafts_visible: Literal["auto", "never"] = setting(
        "auto",
        does=(
            "Whether GET /loans shows drafts before they are published. auto learns it from Kiva's answers; "
            "never does not settle a draft in doubt because it is missing there."
        ),
    )

    @property
    def own_host(self) -> bool:
        """Whether the Partner API is one of Kiva's own hosts; there the first start is held."""
        return _of_kiva(self.api_url)

    @field_validator("token_url", "api_url", "audience", mode="before")
    @classmethod
    def _fill(cls, written: Any, info: ValidationInfo) -> Any:
        environment = info.data.get("environment", "sandbox")
        return ENVIRONMENTS[environment][str(info.field_name)] if written is None else written

    @field_validator("token_url", "api_url")
    @classmethod
    def _match_environment(cls, url: str, info: ValidationInfo) -> str:
        environment = info.data.get("environment")
        parts = urlsplit(url)
        host = parts.hostname or ""
        if "@" in parts.netloc:
            raise Mismatch("a name or a password has no place in this URL", remedy="write https://HOST, without an @")
        other = "staging" if "staging" in host else "production"
        if environment and _of_kiva(url) and other != environment:
            raise Mismatch(f"{host} is Kiva's {other}, and kiva.environment is {environment}")
        alone = host == "localhost" or host.startswith("127.") or host == "::1"
        if environment in {"staging", "production"} and url.startswith("http:") and not alone:
            raise Mismatch(f"expected https://…, found {concealed.url(url)}", remedy="the secret would travel readable")
        return url


def _of_kiva(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "kiva.org" or host.endswith(".kiva.org")
