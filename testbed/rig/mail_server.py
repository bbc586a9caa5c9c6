"""A real mail server (aiosmtpd) on this machine, with its certificates, and with whatever may go wrong at one."""

from __future__ import annotations

import asyncio
import contextlib
import email
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HANGS, DROPS = "hangs", "drops"
"""Instead of an answer: none at all, or the end of the connection."""


@dataclass
class Certificates:
    """An authority and the certificate it gave; files of a folder."""

    authority: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """What a server needs."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.certificate, self.key)
        return made


def certificates(folder: Path, *, host: str = "127.0.0.1", days: int = 2) -> Certificates:
    """An authority, and what it gave to a host; with days below 0 what is over."""
    folder.mkdir(parents=True, exist_ok=True)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _signed("authority", root_key, issuer="authority", by=root_key, days=2, host=None)
    mine = _signed("mail", key, issuer="authority", by=root_key, days=days, host=host)
    made = Certificates(folder / "authority.pem", folder / "mail.crt", folder / "mail.key")
    made.authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(mine.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    made.key.write_bytes(key.private_bytes(pem, pkcs8, plain))
    return made


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: str,
    by: ec.EllipticCurvePrivateKey,
    days: int,
    host: str | None,
) -> x509.Certificate:
    now = datetime.now(UTC)
    called = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer)]
    made = (
        x509.CertificateBuilder()
        .subject_name(called[0])
        .issuer_name(called[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if host is not None:
        try:
            names: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            names = x509.DNSName(host)
        made = made.add_extension(x509.SubjectAlternativeName([names]), critical=False)
    return made.sign(by, hashes.SHA256())


@dataclass
class Mailbox:
    """What the server took, and how it answers: `answers` by command (`MAIL`, `RCPT`, `DATA`, `TAKEN`) and, for RCPT,
    by address. TAKEN comes when the mail is in, instead of 250.
    """

    port: int = 0
    taken: list[tuple[str, EmailMessage]] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    logins: list[tuple[str, str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)

    def to(self, address: str) -> list[EmailMessage]:
        """What came for an address."""
        return [message for recipient, message in self.taken if recipient == address]

    async def _answer(self, server: SMTP, what: str) -> str | None:
        answer = self.answers.get(what)
        if answer == HANGS:
            await asyncio.sleep(3_600)
        if answer == DROPS:
            cast("asyncio.Transport", server.transport).abort()
            return "421 bye"
        return answer

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's names
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return await self._answer(server, "MAIL") or "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's names
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        said = await self._answer(server, address) or await self._answer(server, "RCPT") or "250 OK"
        if said.startswith("2"):
            envelope.rcpt_tos.append(address)
        return said

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's names
        said = await self._answer(server, "DATA")
        if said is not None:
            return said
        message = email.message_from_bytes(cast("bytes", envelope.content), policy=policy.default)
        transport = cast("asyncio.Transport", server.transport)
        self.encrypted.append(session.ssl is not None or transport.get_extra_info("sslcontext") is not None)
        self.taken += [(address, message) for address in envelope.rcpt_tos]
        return await self._answer(server, "TAKEN") or "250 taken"


@contextlib.contextmanager
def serving(
    *,
    starttls: Certificates | None = None,
    tls: Certificates | None = None,
    users: Mapping[str, str] | None = None,
    mailbox: Mailbox | None = None,
) -> Iterator[Mailbox]:
    """A server, encrypted as told, with users who have to log in."""
    box = mailbox or Mailbox()

    def log_in(_server: SMTP, _session: Session, _envelope: Envelope, _way: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        name, password = given.login.decode(), given.password.decode()
        box.logins.append((name, password))
        return AuthResult(success=(users or {}).get(name) == password, handled=False)

    def made() -> SMTP:
        return SMTP(
            box,
            hostname="mail.test",
            tls_context=None if starttls is None else starttls.context(),
            require_starttls=starttls is not None,
            authenticator=None if users is None else log_in,
            auth_require_tls=False,
            loop=loop,
        )

    loop, started = asyncio.new_event_loop(), threading.Event()

    async def listen() -> asyncio.Server:
        context = None if tls is None else tls.context()
        return await loop.create_server(made, "127.0.0.1", box.port, ssl=context)

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(lambda *_: None)  # connections are broken off here on purpose
        server = loop.run_until_complete(listen())
        box.port = server.sockets[0].getsockname()[1]
        started.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run, name="mail server", daemon=True)
    thread.start()
    started.wait()
    try:
        yield box
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextlib.contextmanager
def talking(*lines: bytes, endless: bytes = b"") -> Iterator[int]:
    """A server that says these bytes one after another, one before each command, and `endless` for ever; its port."""
    over = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            connection, _address = listening.accept()
            with connection:
                for line in lines:
                    connection.sendall(line)
                    connection.recv(65_536)
                while endless and not over.wait(0.01):
                    connection.sendall(endless)
                over.wait()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        over.set()
        listening.close()
        thread.join(5)
