"""`kiva-relay sandbox`: a stand-in for Kiva on this machine, with the partner that the configuration names."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from kiva_relay.cli import frame
from kiva_relay.config import duration, loader
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.config.settings import Settings
from kiva_relay.errors import UsageError
from kiva_relay.sandbox import server
from kiva_relay.sandbox.config import PARTNER, Delays, SandboxConfig

_USUAL = "127.0.0.1:8765"


def command(
    config: frame.Config = None,
    *,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="ADDRESS:PORT", help="Else where kiva.api_url points; 0: a free port."),
    ] = None,
    partner: Annotated[str | None, typer.Option("--partner", help="The one partner id that exists.")] = None,
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", metavar="FILE", help="Keeps what was accepted, so that a restart knows it."),
    ] = None,
    publish_after: Annotated[
        str | None, typer.Option("--publish-after", metavar="5s", help="The played coordinator publishes drafts then.")
    ] = None,
    fund_after: Annotated[
        str | None, typer.Option("--fund-after", metavar="10s", help="After that long a loan is being paid back.")
    ] = None,
    drafts_visible: Annotated[
        bool, typer.Option("--drafts-visible", help="Drafts stand in the list of loans before they are published.")
    ] = False,
) -> None:
    """Run a stand-in for Kiva on this machine, until Ctrl-C. Nothing leaves the machine.

    With a configuration whose kiva.environment is sandbox it listens where that points to, and knows that partner
    and those credentials. Without one it takes any credentials. What it accepted: /sandbox/ledger
    """
    settings = _settings(config)
    sandbox = SandboxConfig(
        partner=partner or (settings.kiva.partner_id if settings else PARTNER),
        client_id=settings.kiva.client_id if settings else None,
        client_secret=settings.kiva.client_secret.reveal() if settings else None,
        ledger=ledger,
        coordinator=Delays(
            publish_after=_length("--publish-after", publish_after),
            fund_after=_length("--fund-after", fund_after),
        ),
        drafts_visible=drafts_visible,
    )

    def ready(url: str) -> None:
        frame.say(f"Stand-in for Kiva, partner {sandbox.partner}, listens on {url}")
        frame.say(f"  what it accepted     curl {url}/sandbox/ledger")
        frame.say(f"  drafts and loans     curl {url}/sandbox/loans")
        frame.say(f"  every request        curl {url}/sandbox/requests")

    where = listen or (urlsplit(settings.kiva.api_url).netloc if settings else _USUAL)
    server.run(server.plain(sandbox), where, ready=ready)


def _settings(config: Path | None) -> Settings | None:
    """The configuration, if there is one and it means a sandbox; one that was named must be there and right."""
    try:
        settings = loader.load(config, environ=os.environ)
    except UsageError:
        if config is not None or os.environ.get(loader.VARIABLE):
            raise
        return None
    return settings if settings.kiva.environment == "sandbox" else None


def _length(option: str, written: str | None) -> timedelta | None:
    try:
        return None if written is None else duration.parse(written)
    except Mismatch as wrong:
        raise UsageError(f"{option}: {wrong}", hint=wrong.remedy or None) from None
