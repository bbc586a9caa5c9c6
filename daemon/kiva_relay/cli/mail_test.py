"""`kiva-relay mail test`: send one mail now to each recipient, and say what the server answered."""

from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import frame, mail_words
from kiva_relay.config.mail import Recipient
from kiva_relay.config.settings import Settings
from kiva_relay.mail import message, smtp
from kiva_relay.mail.smtp import MailFailure
from kiva_relay.words import language, letter

To = Annotated[
    str | None, typer.Option("--to", metavar="NAME", help="Only to this one: an address, or what stands before the @.")
]


def command(config: frame.Config = None, *, to: To = None, as_json: frame.AsJson = False) -> int:
    """Send one mail now to each recipient of mail.recipients, and say what the server answered.

    Exit codes: 0 all were taken; 1 one was not; 2 wrong use or configuration; 3 the server was not reached.
    """
    settings = frame.load(config)
    chosen = _chosen(settings, to)
    if not as_json:
        frame.header(settings)
    told, code = [], 0
    for one in chosen:
        answer, failure = _send(settings, one)
        if failure is None:
            told.append({"address": one.address, "role": one.role, "taken": True, "answer": answer})
            if not as_json:
                frame.verdict("ok", f"{one.address}: the server took it: “{answer}”")
            continue
        what, remedy = mail_words.failure(failure, settings.mail, to=one.address)
        row = {"address": one.address, "role": one.role, "taken": False, "answer": failure.words}
        told.append({**row, "fault": failure.fault.value})
        code = max(code, 3 if failure.fault in _AWAY else 1)
        if not as_json:
            frame.verdict("error", f"{one.address}: {what}\n{remedy}")
    if as_json:
        frame.print_json(told)
    elif not code:
        frame.say()
        frame.say("Taken is not read yet: look whether it arrived, and not among unwanted mail.")
    return code


_AWAY = (smtp.Fault.HOST_UNKNOWN, smtp.Fault.NOT_REACHED, smtp.Fault.TOO_SLOW, smtp.Fault.LATER)


def _send(settings: Settings, one: Recipient) -> tuple[str, MailFailure | None]:
    now, mail = frame.now(), settings.mail
    made = message.message(
        letter.test(one, settings, language.of(one.language), now=now),
        sender=mail.sender,
        to=one.address,
        message_id=message.new_id(mail.sender),
        now=now,
    )
    try:
        return smtp.send(mail, made, to=one.address), None
    except MailFailure as failure:
        return "", failure


def _chosen(settings: Settings, to: str | None) -> list[Recipient]:
    mail = settings.mail
    if not mail.is_on:
        hint = "Write mail: {host, from, recipients}, as kiva-relay config sample explains."
        raise errors.UsageError("There is no mail: mail.host is not set.", hint=hint)
    if to is None:
        return [*mail.recipients]
    wanted = to.strip().casefold()
    found = [one for one in mail.recipients if wanted in (one.address.casefold(), _name(one))]
    if not found:
        near = errors.nearest(wanted, [one.address for one in mail.recipients], limit=1)
        known = ", ".join(one.address for one in mail.recipients)
        hint = f"kiva-relay mail test --to {near[0]}" if near else f"There are: {known}"
        raise errors.UsageError(f"Nobody in mail.recipients is called {to}.", hint=hint)
    return found


def _name(one: Recipient) -> str:
    return one.address.partition("@")[0].casefold()
