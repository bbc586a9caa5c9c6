"""What a configuration names, opened: its MIS, and what follows it. For the daemon and for the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from kiva_relay import clock, errors
from kiva_relay.capture import follow
from kiva_relay.config import hosts
from kiva_relay.config import settings as config
from kiva_relay.mapping import document
from kiva_relay.mapping.document import Document
from kiva_relay.outbox.database import Outbox
from kiva_relay.source import slot, tls
from kiva_relay.source.mis import Mis


def mis_url(settings: config.Settings, url: str = "") -> sa.URL:
    """The URL of the MIS, or another to the same server, with what `mis.tls` says."""
    chosen = settings.mis.tls
    return tls.added(
        hosts.made(url or settings.mis.url, target="primary"),
        verify=chosen.verify or "off",
        ca=chosen.ca,
        cert=chosen.cert,
    )


def open_mis(settings: config.Settings, *, clock: clock.Clock) -> Mis:
    """The MIS of a configuration."""
    mis = settings.mis
    return Mis(
        mis_url(settings),
        password=None if mis.password is None else mis.password.reveal(),
        timezone=mis.timezone,
        statement_timeout=mis.statement_timeout,
        watch=mis.watch,
        clock=clock,
    )


def open_follow(
    settings: config.Settings, mis: Mis, outbox: Outbox, *, clock: clock.Clock, news: Callable[[], None]
) -> follow.StreamFollower | None:
    """What follows the stream of a configuration's MIS; None where none is wanted, or the database has none."""
    chosen = settings.mis
    if not chosen.url.startswith("postgresql:") or chosen.watch not in ("auto", "replication"):
        if chosen.watch == "replication":
            raise errors.UsageError(
                f"mis.watch is replication, which only PostgreSQL has; found {chosen.url.partition(':')[0]}://.",
                hint="Write watch: auto in config.yaml; nothing is lost by it.",
            )
        return None
    return follow.StreamFollower(
        mis=mis,
        outbox=outbox,
        clock=clock,
        url=mis_url(settings),
        password=None if chosen.password is None else chosen.password.reveal(),
        name=stream_name(settings),
        required=chosen.watch == "replication",
        share=float(chosen.max_load) / 100,
        news=news,
    )


def stream_name(settings: config.Settings) -> str:
    """What slot and publication of a configuration are called."""
    return slot.name(hosts.made(settings.mis.url, target="primary").database or "", settings.kiva.environment)


def must_fit(settings: config.Settings, documents: Sequence[Document], *, clock: clock.Clock) -> None:
    """Compare mappings with the live database before they come into force; while it is away, that waits.

    Raises:
        ConfigurationError: a column or a SELECT that the database does not have or does not take.
    """
    mis = open_mis(settings, clock=clock)
    try:
        mistakes = [mistake for each in documents for mistake in document.verify(each, mis)]
    except errors.RelayError:  # it is away, or refuses us: the loops say so
        return
    finally:
        mis.close()
    if any(mistake.severity == "error" for mistake in mistakes):
        raise errors.ConfigurationError(mistakes)
