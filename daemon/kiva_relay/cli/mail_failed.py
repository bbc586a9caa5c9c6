"""`kiva-relay mail failed UNIT`: tell everybody that a unit of systemd has ended by an error.

systemd runs it (`OnFailure=`). It needs the configuration alone: neither the relay, nor the outbox, nor the MIS.
"""

import re
import socket
import time
from pathlib import Path
from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import frame, mail_words
from kiva_relay.config import partner
from kiva_relay.config.mail import Recipient
from kiva_relay.config.settings import Settings
from kiva_relay.mail import message, smtp
from kiva_relay.mail.smtp import MailFailure
from kiva_relay.words import language, letter

Unit = Annotated[str, typer.Argument(metavar="UNIT", help="As systemd names it: kiva-relay.service.")]

_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]{1,200}", re.ASCII)
_TIMES = 3
_PAUSE = 20.0
"""Seconds. A network that has just come up may not know names yet."""


def command(unit: Unit, config: frame.Config = None) -> int:
    """Tell all of mail.recipients that a unit has ended by an error; what works of the configuration is enough.

    Of the unit of a partner, as kiva-relay@north.service, it is the configuration of that partner.
    Exit codes: 0 everybody was told, or there is no mail; 1 somebody was not; 2 the configuration cannot be read.
    """
    if not _UNIT.fullmatch(unit):
        raise errors.UsageError(
            "Expected the name of a unit, as systemd writes it.", hint="kiva-relay mail failed kiva-relay.service"
        )
    theirs = partner.of_unit(unit)
    settings = frame.load_to_look(config or (Path(theirs) if theirs else None), needs="")
    frame.header(settings)
    if not settings.mail.is_on:
        frame.say("There is no mail: mail.host is not set. Nobody was told.")
        return 0
    code = 0
    for one in settings.mail.recipients:
        failure = _tell(settings, one, unit)
        if failure is None:
            frame.verdict("ok", f"{one.address} was told")
        else:
            what, remedy = mail_words.failure(failure, settings.mail, to=one.address)
            frame.verdict("error", f"{one.address} was not told. {what}\n{remedy}")
            code = 1
    return code


def _tell(settings: Settings, one: Recipient, unit: str) -> MailFailure | None:
    """Try some times, with the same Message-ID; what kept it from going, if anything did."""
    now, mail = frame.now(), settings.mail
    made = message.message(
        letter.failed(unit, one, settings, language.of(one.language), host=socket.gethostname(), now=now),
        sender=mail.sender,
        to=one.address,
        message_id=message.new_id(mail.sender),
        now=now,
    )
    last: MailFailure | None = None
    for attempt in range(_TIMES):
        if attempt:
            time.sleep(_PAUSE)
        try:
            smtp.send(mail, made, to=one.address)
        except MailFailure as failure:
            last = failure
            if failure.fault in _IN_VAIN:
                return last
        else:
            return None
    return last


_IN_VAIN = (smtp.Fault.RECIPIENT_REFUSED, smtp.Fault.CONTENT_REFUSED, smtp.Fault.SENDER_REFUSED)
