"""Mail over real servers: encrypted, logged in, refused, slow, broken off; each failure is named, and has a remedy."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.cli import mail_words
from kiva_relay.config.mail import Mail
from kiva_relay.config.secret import Secret
from kiva_relay.mail import message, smtp
from kiva_relay.mail.smtp import Fault, MailFailure
from kiva_relay.words.letter import LetterStyle, LetterText
from testbed.rig import mail_server
from testbed.rig.mail_server import DROPS, HANGS, Certificates, Mailbox

NOW = datetime(2026, 12, 1, 7, 30, tzinfo=UTC)
TO = "awa@example.org"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return mail_server.certificates(tmp_path_factory.mktemp("tls"))


def to_server(port: int, **changes: Any) -> Mail:
    values = {"host": "127.0.0.1", "port": port, "security": "none", "from": "relay@example.org"}
    return Mail(**{**values, "recipients": [{"address": TO}], **changes})


def made(subject: str = "Kiva: 3 things wait for you") -> EmailMessage:
    lines = ((LetterStyle.TASK, "1  À vérifier"), (LetterStyle.LINE, "Prêt 000000871 · 250 000 XOF · https://k.org/1"))
    text = LetterText("fr", subject, lines)
    return message.message(text, sender="relay@example.org", to=TO, message_id="<1@example.org>", now=NOW)


def fails(mail: Mail) -> MailFailure:
    with pytest.raises(MailFailure) as caught:
        smtp.send(mail, made(), to=TO)
    what, remedy = mail_words.failure(caught.value, mail, to=TO)
    assert caught.value.words in what
    assert remedy.endswith((".", "?", "127.0.0.1"))
    return caught.value


# ---------------------------------------------------------------- what arrives


def test_a_mail_arrives_as_text_and_as_html() -> None:
    with mail_server.serving() as box:
        assert smtp.send(to_server(box.port), made(), to=TO) == "250 taken"
        (mail,) = box.to(TO)
    assert mail["Subject"] == "Kiva: 3 things wait for you"
    assert (mail["From"], mail["To"], mail["Message-ID"]) == ("kiva-relay <relay@example.org>", TO, "<1@example.org>")
    assert (mail["Auto-Submitted"], mail["Content-Language"]) == ("auto-generated", "fr")
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert "    Prêt 000000871 · 250 000 XOF · https://k.org/1" in text.get_content()
    assert '<a href="https://k.org/1">https://k.org/1</a>' in html.get_content()
    assert "http" not in html.get_content().replace("https://k.org/1", "")


@pytest.mark.parametrize("password", ["s3cret", "mot de passe é"])
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_encrypted_and_logged_in(ours: Certificates, security: str, password: str) -> None:
    how: dict[str, Any] = {security: ours, "users": {"relay": password}}
    with mail_server.serving(**how) as box:
        mail = to_server(
            box.port, security=security, ca=ours.authority, user="relay", password=Secret("literal", password)
        )
        assert smtp.look(mail).startswith("250")
        smtp.send(mail, made(), to=TO)
    assert (box.encrypted, box.logins[-1]) == ([True], ("relay", password))


# ---------------------------------------------------------------- what does not


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_nobody_we_know_and_nothing_was_said(ours: Certificates, security: str) -> None:
    how: dict[str, Any] = {security: ours, "users": {"relay": "s"}}
    with mail_server.serving(**how) as box:
        mail = to_server(box.port, security=security, user="relay", password=Secret("literal", "s"))
        assert fails(mail).fault is Fault.WRONG_CERTIFICATE
    assert (box.logins, box.taken) == ([], [])


@pytest.mark.parametrize(
    ("host", "days", "said"), [("mail.example.org", 2, "IP address mismatch"), ("127.0.0.1", -1, "expired")]
)
def test_a_certificate_of_another_name_or_of_yesterday(tmp_path: Path, host: str, days: int, said: str) -> None:
    wrong = mail_server.certificates(tmp_path / "tls", host=host, days=days)
    with mail_server.serving(starttls=wrong) as box:
        failure = fails(to_server(box.port, security="starttls", ca=wrong.authority))
    assert failure.fault is Fault.WRONG_CERTIFICATE
    assert said in failure.words


def test_no_starttls_and_no_password_is_said_aloud() -> None:
    with mail_server.serving(users={"relay": "s"}) as box:
        mail = to_server(box.port, security="starttls", user="relay", password=Secret("literal", "s"))
        assert fails(mail).fault is Fault.STARTTLS_NOT_OFFERED
    assert box.logins == []


def test_tls_where_there_is_none() -> None:
    with mail_server.serving() as box:
        assert fails(to_server(box.port, security="tls")).fault is Fault.TLS


def test_a_wrong_password(ours: Certificates) -> None:
    with mail_server.serving(starttls=ours, users={"relay": "right"}) as box:
        mail = to_server(
            box.port, security="starttls", ca=ours.authority, user="relay", password=Secret("literal", "wrong")
        )
        failure = fails(mail)
    assert failure.fault is Fault.LOGIN_REFUSED
    assert "535" in failure.words


def test_a_login_that_is_not_offered() -> None:
    for offers in (b"250 mail.test\r\n", b"250-mail.test\r\n250 AUTH GSSAPI\r\n"):
        with mail_server.talking(b"220 mail.test\r\n", offers) as port:
            failure = fails(to_server(port, user="relay", password=Secret("literal", "s")))
        assert failure.fault is Fault.LOGIN_NOT_OFFERED


@pytest.mark.parametrize(
    ("command", "answer", "fault"),
    [
        ("MAIL", "550 not from you", Fault.SENDER_REFUSED),
        ("RCPT", "550 no such user", Fault.RECIPIENT_REFUSED),
        ("RCPT", "450 greylisted", Fault.LATER),
        ("DATA", "554 spam", Fault.CONTENT_REFUSED),
        ("TAKEN", "452 no room", Fault.LATER),
        ("MAIL", "421 too busy", Fault.LATER),
        ("DATA", DROPS, Fault.BROKEN_OFF),
        ("TAKEN", DROPS, Fault.BROKEN_OFF),
        ("RCPT", DROPS, Fault.BROKEN_OFF),
    ],
)
def test_what_the_server_does_not_take(command: str, answer: str, fault: Fault) -> None:
    with mail_server.serving(mailbox=Mailbox(answers={command: answer})) as box:
        assert fails(to_server(box.port)).fault is fault


@pytest.mark.parametrize("command", ["MAIL", "TAKEN"])
def test_a_server_that_hangs_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(smtp, "DEADLINE", 0.3)
    with mail_server.serving(mailbox=Mailbox(answers={command: HANGS})) as box:
        assert fails(to_server(box.port)).fault is Fault.TOO_SLOW


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_a_server_that_says_nothing_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch, security: str) -> None:
    monkeypatch.setattr(smtp, "DEADLINE", 0.3)
    with mail_server.talking() as port:
        assert fails(to_server(port, security=security)).fault is Fault.TOO_SLOW


def test_a_server_that_trickles_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "DEADLINE", 0.3)
    with mail_server.talking(endless=b"2") as port:
        assert fails(to_server(port)).fault is Fault.TOO_SLOW


def test_a_server_that_never_stops_talking_fills_no_memory() -> None:
    with mail_server.talking(b"220 hello\r\n", endless=b"250-more of it\r\n" * 1_000) as port:
        failure = fails(to_server(port))
    assert failure.fault is Fault.BROKEN_OFF
    assert "the server says too much" in failure.words


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b"554 go away\r\n"])
def test_what_is_no_mail_server(said: bytes) -> None:
    with mail_server.talking(said) as port:
        assert fails(to_server(port)).fault is Fault.NOT_SMTP


def test_nothing_listens_and_nothing_has_this_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert fails(to_server(port)).fault is Fault.NOT_REACHED
    with pytest.raises(MailFailure) as caught:
        smtp.send(to_server(25, host="nobody.invalid", security="starttls"), made(), to=TO)
    assert caught.value.fault is Fault.HOST_UNKNOWN


# ---------------------------------------------------------------- nothing becomes a header


def test_nothing_breaks_out_of_a_header() -> None:
    for subject in ("Kiva\r\nBcc: eve@example.org", "Kiva\nBcc: eve@example.org", "Kiva\rBcc: eve@example.org"):
        with pytest.raises(ValueError, match="linefeed or carriage return"):
            made(subject)


def test_an_amount_and_a_day_are_not_torn_apart_on_a_telephone() -> None:
    lines = ((LetterStyle.LINE, "41 667 XOF, le 4 déc. (n° 10) : https://x/a b"),)
    shown = message.as_html(LetterText("fr", "x", lines))
    assert "41\u00a0667\u00a0XOF, le 4\u00a0déc.\u00a0(n°\u00a010)\u00a0:" in shown
    assert '<a href="https://x/a">' in shown


def test_html_of_the_mis_stays_text() -> None:
    bad = '"><script>alert(1)</script> https://k.org/"onload=alert(1)'
    text = LetterText("en", bad, ((LetterStyle.LINE, bad),))
    html = message.as_html(text)
    assert "<script" not in html
    assert '"onload' not in html
