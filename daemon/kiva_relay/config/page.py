"""The coordinator's page: where it listens, and how it is reached."""

# No postponed annotations in this file: pydantic reads them while the classes are made.
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from kiva_relay.config import value
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.config.section import Section, setting


def _address(written: str) -> str:
    parts = urlsplit(written)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.path not in ("", "/"):
        raise Mismatch(
            "expected https:// and the name of a host, nothing behind it", remedy="as https://relay.example.org"
        )
    return written.rstrip("/")


class Page(Section):
    """The coordinator's page (`kiva-relay page`)."""

    listen: value.Listen = setting("127.0.0.1:8770", does="Address and port of the page.")
    url: Annotated[value.Text, AfterValidator(_address)] | None = setting(
        None,
        does=(
            "How people reach it, where that is not page.listen: behind a proxy, or by a name. Only requests for this "
            "name and for this machine itself are answered."
        ),
        example="https://relay.example.org",
    )
    show_names: bool = setting(
        default=False,
        does=(
            "Show the borrowers' names beside the loan numbers. They are read from the MIS for each page and kept "
            "nowhere; the page then needs mis.password. Without the MIS it shows numbers only."
        ),
    )
    certificate: value.File | None = setting(
        None,
        does="The page's certificate, with those that signed it (PEM). Needed where it listens beyond this machine.",
        example="/etc/kiva-relay/page.crt",
    )
    key: value.File | None = setting(
        None,
        does="Its private key (PEM, readable by the relay alone).",
        example="/etc/kiva-relay/page.key",
    )
