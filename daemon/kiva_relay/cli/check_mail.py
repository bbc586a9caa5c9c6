"""What `check` finds of the mail: the server is reached and takes the login; nothing is sent."""

from collections.abc import Iterator

from kiva_relay import errors
from kiva_relay.cli.check_finding import CheckFinding
from kiva_relay.config.settings import Settings
from kiva_relay.words.spoken import marked, tr

_TOLD = {
    "coordinator": marked(
        "Nobody in mail.recipients has the role coordinator: nobody is told each morning what waits, nor when a report"
        " opens or closes."
    ),
    "administrator": marked(
        "Nobody in mail.recipients has the role administrator: nobody is told when the relay is STOPPED or HELD."
    ),
}


def mail(settings: Settings) -> Iterator[CheckFinding]:
    """The server, and who gets mail."""
    if not settings.mail.is_on:
        yield CheckFinding("off", "mail", tr("There is none: mail.host is not set."))
        return
    from kiva_relay.cli import mail_words  # noqa: PLC0415 - ssl and smtplib, not without mail
    from kiva_relay.mail import smtp  # noqa: PLC0415 - as above

    number = len({one.address for one in settings.mail.recipients})
    try:
        smtp.look(settings.mail)
    except smtp.MailFailure as failure:
        what, remedy = mail_words.failure(failure, settings.mail)
        is_away = failure.fault in (smtp.Fault.NOT_REACHED, smtp.Fault.TOO_SLOW, smtp.Fault.LATER)
        yield CheckFinding("error", "mail", f"{what}\n{remedy}", unreachable=is_away)
    except errors.RelayError:
        return  # the password: said of the secrets
    else:
        server = mail_words.server(settings.mail)
        if settings.mail.user is not None:
            server = tr("{server}, as {user}", server=server, user=settings.mail.user)
        text = tr(
            "{server}; to {n} address, each morning at {time}",
            "{server}; to {n} addresses, each morning at {time}",
            n=number,
            server=server,
            time=f"{settings.mail.at:%H:%M}",
        )
        yield CheckFinding("ok", "mail", text)
    for role, nobody in _TOLD.items():
        if not any(one.role == role for one in settings.mail.recipients):
            yield CheckFinding("warning", "mail", tr(*nobody))
