"""`kiva-relay page`: the coordinator's page, until Ctrl-C or a stop."""

from typing import TYPE_CHECKING

from kiva_relay import errors
from kiva_relay.cli import frame
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import person

if TYPE_CHECKING:
    from kiva_relay.page.names import MisNames


def command(config: frame.Config = None) -> None:
    """Serve the coordinator's page: what waits for her, and the buttons to answer. A process beside the relay.

    It needs the outbox and nothing else: it works while the MIS and Kiva are down, and while the relay is stopped.
    """
    from kiva_relay.page import server  # noqa: PLC0415 - a web server, which no other command needs

    settings = frame.load_to_look(config)
    if settings.page.listen == "off":
        raise errors.UsageError("page.listen is off.", hint="page: {listen: 127.0.0.1:8770}")
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            nobody = not person.everybody(tx)
        frame.header(settings)
        if nobody:
            frame.say("Nobody can log in yet:   kiva-relay page user add NAME --role coordinator --lang fr")
        names = _names(settings) if settings.page.show_names else None
        server.run(settings, outbox, ready=lambda url: frame.say(f"The page is at {url}"), names=names)


def _names(settings: Settings) -> "MisNames | None":
    """What tells the borrowers' names; without it the page works by numbers."""
    from kiva_relay.cli import mappings  # noqa: PLC0415 - as all here: needed for names only
    from kiva_relay.clock import SystemClock  # noqa: PLC0415
    from kiva_relay.page.names import MisNames  # noqa: PLC0415
    from kiva_relay.service import opening  # noqa: PLC0415

    clock = SystemClock()
    try:
        documents = mappings.load(settings)
    except errors.ConfigurationError as error:
        frame.notice(f"Names are not shown: the mappings hold a mistake.   kiva-relay check\n{error}")
        return None
    return MisNames(settings, documents, opens=lambda: opening.open_mis(settings, clock=clock), clock=clock)
