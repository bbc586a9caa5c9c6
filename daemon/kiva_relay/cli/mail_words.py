"""What came of a mail, for the administrator: what went wrong, and what to do about each."""

from collections.abc import Mapping

from kiva_relay.config.mail import PORTS, Mail
from kiva_relay.mail.smtp import Fault, MailFailure
from kiva_relay.terminal import visible

_USUAL = ", ".join(f"{port} for {security}" for security, port in PORTS.items())

WENT_WRONG: Mapping[Fault, tuple[str, str]] = {
    Fault.HOST_UNKNOWN: (
        "There is no server of this name",
        "Correct mail.host; is the name known here?   getent hosts {host}",
    ),
    Fault.NOT_REACHED: (
        "The server does not answer at this port",
        f"Correct mail.host or mail.port (as a rule {_USUAL}); may this machine connect there (firewall)?",
    ),
    Fault.TOO_SLOW: (
        "The server took too long",
        f"A wrong port or security looks like this, too: as a rule {_USUAL}. Else it is tried again by itself.",
    ),
    Fault.NOT_SMTP: (
        "What answers there does not speak SMTP as expected",
        f"Correct mail.port and mail.security, as a rule {_USUAL}.",
    ),
    Fault.WRONG_CERTIFICATE: (
        "The server's certificate is not good for this name",
        "Write the name that stands in the certificate as mail.host; an authority of your own as mail.ca.",
    ),
    Fault.TLS: (
        "The server and this machine find no common TLS",
        f"Correct mail.port and mail.security, as a rule {_USUAL}; and mail.ca, where it is set.",
    ),
    Fault.STARTTLS_NOT_OFFERED: (
        "The server offers no STARTTLS: nothing was said to it",
        f"Write security: tls if it is encrypted from the first byte on; as a rule {_USUAL}.",
    ),
    Fault.LOGIN_NOT_OFFERED: (
        "The server offers no way to log in that the relay has",
        "Leave out mail.user and mail.password if it asks for none; else another mail.port or mail.security.",
    ),
    Fault.LOGIN_REFUSED: (
        "The server refuses the login",
        "Correct mail.user and what mail.password points to; some servers want a password made for programs.",
    ),
    Fault.SENDER_REFUSED: (
        "The server does not take mail from {sender}",
        "Write an address as mail.from that this login may send as.",
    ),
    Fault.RECIPIENT_REFUSED: (
        "The server does not take mail for {to}",
        "Correct the address in mail.recipients. The others get theirs.",
    ),
    Fault.CONTENT_REFUSED: (
        "The server does not take what the mail says",
        "Ask whoever runs the server why; its words stand above.",
    ),
    Fault.LATER: ("The server cannot take it now", "It is tried again by itself."),
    Fault.BROKEN_OFF: (
        "The server hung up in the middle",
        "It is tried again by itself. Was it already taken, it comes twice with the same Message-ID.",
    ),
}
"""What each fault is, and the remedy."""


def failure(one: MailFailure, mail: Mail, *, to: str = "") -> tuple[str, str]:
    """What went wrong in a sentence, with the server's own words; and what to do."""
    what, remedy = (text.format(host=mail.host, sender=mail.sender, to=to) for text in WENT_WRONG[one.fault])
    return f"{what} ({server(mail)}): “{visible.text(one.words)}”", remedy


def server(mail: Mail) -> str:
    """`smtp.example.org:587, starttls`."""
    return f"{mail.host}:{mail.port}, {mail.security}"
