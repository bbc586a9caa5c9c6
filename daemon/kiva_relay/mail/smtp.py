"""A server that takes mail, by smtplib: with one deadline over all of a conversation, and a bound on what is read.

Everything that goes wrong is a `MailFailure`: what it was, and the server's own words.
"""

from __future__ import annotations

import base64
import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from enum import StrEnum
from typing import IO, Any, cast

from kiva_relay.config.mail import Mail
from kiva_relay.terminal import visible

DEADLINE = 60.0
"""Seconds for one conversation: to connect, to log in, and to give one mail."""

_TO_CONNECT = 20.0
_TO_PART = 5.0
_LONGER = 10.0
_MOST_READ = 64 * 1024
_LONGEST_WORDS = 300
_GOOD = range(200, 300)
_LATER = range(400, 500)
_GOES_ON = 334
_NEVER = 500


class Fault(StrEnum):
    """What went wrong."""

    HOST_UNKNOWN = "host_unknown"
    NOT_REACHED = "not_reached"
    TOO_SLOW = "too_slow"
    NOT_SMTP = "not_smtp"
    WRONG_CERTIFICATE = "wrong_certificate"
    TLS = "tls"
    STARTTLS_NOT_OFFERED = "starttls_not_offered"
    LOGIN_NOT_OFFERED = "login_not_offered"
    LOGIN_REFUSED = "login_refused"
    SENDER_REFUSED = "sender_refused"
    RECIPIENT_REFUSED = "recipient_refused"
    CONTENT_REFUSED = "content_refused"
    LATER = "later"
    BROKEN_OFF = "broken_off"


OF_THE_SERVER = (
    Fault.HOST_UNKNOWN,
    Fault.NOT_REACHED,
    Fault.TOO_SLOW,
    Fault.NOT_SMTP,
    Fault.WRONG_CERTIFICATE,
    Fault.TLS,
    Fault.STARTTLS_NOT_OFFERED,
    Fault.LOGIN_NOT_OFFERED,
    Fault.LOGIN_REFUSED,
    Fault.SENDER_REFUSED,
)
"""What keeps every mail from going; the rest may be of one mail, or of one recipient."""


class MailFailure(Exception):
    """Why a mail was not taken. `words`: the server's, or the network's."""

    def __init__(self, fault: Fault, words: str) -> None:
        super().__init__(words)
        self.fault, self.words = fault, words


class _BoundedAnswers:
    """What a server says, up to a bound: it may not fill our memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, _MOST_READ

    def readline(self, most: int) -> bytes:
        """A line."""
        line = self._file.readline(min(most, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise smtplib.SMTPServerDisconnected("the server says too much")
        return line

    def close(self) -> None:
        """Read no more."""
        self._file.close()


class _Talk(smtplib.SMTP):
    """A conversation whose answers are bounded, and that can be ended from outside."""

    lifeline: socket.socket | None = None
    """The same connection, below TLS."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connected: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]  # not in typeshed
        self.lifeline = connected.dup()
        connected.settimeout(DEADLINE + _LONGER)  # the deadline over all of it comes first
        return connected

    def getreply(self) -> tuple[int, bytes]:
        """The server's next answer."""
        if self.file is None:
            # smtplib asks it for lines, and closes it.
            self.file = cast("Any", _BoundedAnswers(cast("socket.socket", self.sock).makefile("rb")))
        return super().getreply()

    def cut(self) -> None:
        """End it now, whoever is waiting for what."""
        if self.lifeline is not None:
            with contextlib.suppress(OSError):
                self.lifeline.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            super().close()
        if self.lifeline is not None:
            self.lifeline.close()
            self.lifeline = None


class _TalkInTls(smtplib.SMTP_SSL, _Talk):
    """The same, encrypted from the first byte on."""


def send(mail: Mail, message: EmailMessage, *, to: str) -> str:
    """Give one mail to the server of the settings, in a conversation of its own; what it answered.

    Raises:
        MailFailure: it did not take it, or nobody knows.
        RelayError: the password is not where the settings say.
    """
    with _talking(mail) as talk:
        code, words = talk.mail(mail.sender)
        if code not in _GOOD:
            raise _refused(Fault.SENDER_REFUSED, code, words)
        code, words = talk.rcpt(to)
        if code not in _GOOD:
            raise _refused(Fault.RECIPIENT_REFUSED, code, words)
        try:
            code, words = talk.data(message.as_bytes())
        except smtplib.SMTPDataError as error:
            code, words = error.smtp_code, cast("bytes", error.smtp_error)
        if code not in _GOOD:
            raise _refused(Fault.CONTENT_REFUSED, code, words)
        return _said(code, words)


def look(mail: Mail) -> str:
    """Connect, encrypt and log in, and send nothing; what the server answered.

    Raises:
        MailFailure: it did not go so far.
        RelayError: the password is not where the settings say.
    """
    with _talking(mail) as talk:
        return _said(*talk.noop())


@contextlib.contextmanager
def _talking(mail: Mail) -> Iterator[smtplib.SMTP]:
    """A conversation: connected, encrypted, logged in; all of it before the deadline."""
    password = "" if mail.password is None else mail.password.reveal()
    talk = _made(mail)
    try:
        with _explained(), _within(talk, DEADLINE):
            code, words = talk.connect(cast("str", mail.host), mail.port)
            if code not in _GOOD:
                raise _refused(Fault.NOT_SMTP, code, words)
            talk.ehlo_or_helo_if_needed()
            if mail.security == "starttls":
                _encrypt(talk, mail)
            if mail.user is not None:
                _log_in(talk, mail.user, password)
            yield talk
            with contextlib.suppress(smtplib.SMTPException, OSError):  # it was taken, whatever comes now
                cast("socket.socket", talk.sock).settimeout(_TO_PART)
                talk.quit()
    finally:
        talk.close()


def _made(mail: Mail) -> _Talk:
    name = socket.gethostname()
    name = name if "." in name and name.isascii() else "[127.0.0.1]"
    talk = (
        _TalkInTls(local_hostname=name, timeout=_TO_CONNECT, context=_context(mail))
        if mail.security == "tls"
        else _Talk(local_hostname=name, timeout=_TO_CONNECT)
    )
    talk._host = mail.host  # type: ignore[attr-defined]  # noqa: SLF001 - whose certificate it is; given to the constructor, it connects
    return talk


def _encrypt(talk: smtplib.SMTP, mail: Mail) -> None:
    if not talk.has_extn("starttls"):
        raise MailFailure(Fault.STARTTLS_NOT_OFFERED, "the server offers no STARTTLS")
    try:
        talk.starttls(context=_context(mail))
    except smtplib.SMTPResponseException as error:
        raise _refused(Fault.STARTTLS_NOT_OFFERED, error.smtp_code, error.smtp_error) from None
    talk.ehlo_or_helo_if_needed()


def _log_in(talk: smtplib.SMTP, user: str, password: str) -> None:
    """By PLAIN or LOGIN. Those of smtplib take no letter beyond ASCII in a password."""
    ways = str(talk.esmtp_features.get("auth", "")).upper().split()
    if "PLAIN" in ways:
        code, words = talk.docmd("AUTH", f"PLAIN {_base64(f'{chr(0)}{user}{chr(0)}{password}')}")
    elif "LOGIN" in ways:
        code, words = talk.docmd("AUTH", f"LOGIN {_base64(user)}")
        if code == _GOES_ON:
            code, words = talk.docmd(_base64(password))
    else:
        offered = ", ".join(ways) or "no login"
        raise MailFailure(Fault.LOGIN_NOT_OFFERED, f"the server offers {offered}; PLAIN or LOGIN is needed")
    if code not in _GOOD:
        raise _refused(Fault.LOGIN_REFUSED, code, words)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _context(mail: Mail) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if mail.ca is not None:
        try:
            context.load_verify_locations(mail.ca)
        except (OSError, ssl.SSLError) as error:
            raise MailFailure(Fault.TLS, f"{mail.ca}: {error.strerror or 'no certificate in it'}") from None
    return context


@contextlib.contextmanager
def _within(talk: _Talk, seconds: float) -> Iterator[None]:
    """However slowly a server answers: after so many seconds the connection ends."""
    over = threading.Event()

    def end() -> None:
        over.set()
        talk.cut()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (smtplib.SMTPException, OSError, ValueError):
        if over.is_set():
            raise MailFailure(Fault.TOO_SLOW, f"no end within {seconds:g} seconds") from None
        raise
    finally:
        timer.cancel()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """What smtplib, TLS and the network raise, as what it was."""
    try:
        yield
    except smtplib.SMTPResponseException as error:
        raise _refused(Fault.NOT_SMTP, error.smtp_code, error.smtp_error) from None
    except smtplib.SMTPException as error:
        raise MailFailure(Fault.BROKEN_OFF, _short(str(error))) from None
    except ssl.SSLCertVerificationError as error:
        raise MailFailure(Fault.WRONG_CERTIFICATE, _short(error.verify_message or str(error))) from None
    except ssl.SSLError as error:
        raise MailFailure(Fault.TLS, _short(error.reason or str(error))) from None
    except socket.gaierror as error:
        raise MailFailure(Fault.HOST_UNKNOWN, _short(error.strerror or str(error))) from None
    except TimeoutError:
        raise MailFailure(Fault.NOT_REACHED, f"no connection within {_TO_CONNECT:g} seconds") from None
    except OSError as error:
        raise MailFailure(Fault.NOT_REACHED, _short(error.strerror or str(error))) from None
    except ValueError as error:
        raise MailFailure(Fault.NOT_SMTP, _short(str(error))) from None


def _refused(fault: Fault, code: int, words: bytes | str) -> MailFailure:
    """What a code of the server's means: below 500 it may take it later; what is none is no mail server's."""
    if code in _LATER:
        fault = Fault.LATER
    elif code < _NEVER:
        fault = Fault.NOT_SMTP
    return MailFailure(fault, _said(code, words))


def _said(code: int, words: bytes | str) -> str:
    told = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return _short(f"{code} {told}")


def _short(told: str) -> str:
    return " ".join(visible.text(told).split())[:_LONGEST_WORDS]
