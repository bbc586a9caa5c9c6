"""The commands about mail, on a real server: each failure with its remedy; and a relay that is dead, told without it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from kiva_relay.cli import mail_failed
from kiva_relay.config import partner
from kiva_relay.outbox import mail
from kiva_relay.outbox.mail import MailKey
from testbed.rig import full_outbox, mail_server
from testbed.rig.full_outbox import FullOutbox, Run
from testbed.rig.mail_server import Certificates, Mailbox

MAIL = """
mail:
  host: 127.0.0.1
  port: {port}
  security: {security}
  from: relay@example.org
  recipients:
    - {{address: awa@example.org, language: fr}}
    - {{address: root@example.org, role: administrator}}
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mail_server.serving() as made:
        yield made


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return mail_server.certificates(tmp_path_factory.mktemp("tls"))


def with_mail(told: FullOutbox, port: int, more: str = "", *, security: str = "none") -> None:
    told.config.write_text(told.config.read_text() + MAIL.format(port=port, security=security) + more)


def body(message: EmailMessage) -> str:
    text = message.get_body(("plain",))
    assert text is not None
    return str(text.get_content())


# ---------------------------------------------------------------- mail test


def test_a_test_goes_to_each_and_says_what_the_server_answered(told: FullOutbox, run: Run, box: Mailbox) -> None:
    with_mail(told, box.port)
    done = run("mail", "test")
    assert done.code == 0
    assert "awa@example.org: the server took it: “250 taken”" in done.out
    assert "root@example.org: the server took it" in done.out
    (awa,), (root,) = box.to("awa@example.org"), box.to("root@example.org")
    assert awa["Subject"] == "[sandbox] kiva-relay : un essai de son courrier"
    assert "chaque matin à 07:30" in body(awa)
    assert "STOPPED or HELD" in body(root)


@pytest.mark.parametrize("name", ["root", "ROOT@example.org"])
def test_a_test_to_one(told: FullOutbox, run: Run, box: Mailbox, name: str) -> None:
    with_mail(told, box.port)
    assert [one["address"] for one in run("mail", "test", "--to", name, "--json").json] == ["root@example.org"]
    assert box.to("awa@example.org") == []


def test_a_test_to_nobody_names_the_nearest(told: FullOutbox, run: Run, box: Mailbox) -> None:
    with_mail(told, box.port)
    done = run("mail", "test", "--to", "ava@example.org")
    assert done.code == 2
    assert "kiva-relay mail test --to awa@example.org" in done.err


def test_without_mail_there_is_nothing_to_test(told: FullOutbox, run: Run) -> None:
    done = run("mail", "test")
    assert (done.code, "mail.host is not set" in done.err) == (2, True)


REFUSED = [
    ("RCPT", "550 no such user", 1, "Correct the address in mail.recipients"),
    ("MAIL", "553 not from you", 1, "Write an address as mail.from that this login may send as."),
    ("RCPT", "451 later", 3, "It is tried again by itself."),
]


@pytest.mark.parametrize("refused", REFUSED)
def test_what_is_refused_has_its_remedy(
    told: FullOutbox, run: Run, box: Mailbox, refused: tuple[str, str, int, str]
) -> None:
    command, answer, code, said = refused
    with_mail(told, box.port)
    box.answers[command] = answer
    done = run("mail", "test")
    assert done.code == code
    assert f"“{answer}”" in done.out
    assert said in done.out


def test_a_wrong_certificate_and_a_wrong_port(told: FullOutbox, run: Run, ours: Certificates) -> None:
    with mail_server.serving(starttls=ours) as box:
        with_mail(told, box.port, security="starttls")
        done = run("mail", "test")
        assert done.code == 1
        assert "The server's certificate is not good for this name" in done.out
        told.config.write_text(told.config.read_text().replace(f"port: {box.port}", "port: 9"))
        done = run("mail", "test")
    assert done.code == 3
    assert "The server does not answer at this port (127.0.0.1:9, starttls)" in done.out
    assert "587 for starttls, 465 for tls" in done.out


# ---------------------------------------------------------------- check and status


def test_check_connects_and_sends_nothing(told: FullOutbox, run: Run, ours: Certificates) -> None:
    with mail_server.serving(starttls=ours, users={"relay": "s"}) as box:
        with_mail(told, box.port, f"  ca: {ours.authority}\n  user: relay\n  password: s\n", security="starttls")
        done = run("check")
        (line,) = re.findall(r"ok +mail .*", done.out)
        assert f"127.0.0.1:{box.port}, starttls, as relay; to 2 addresses, each morning at 07:30" in line
        assert (box.taken, box.logins) == ([], [("relay", "s")])
        told.config.write_text(told.config.read_text().replace("  password: s\n", "  password: wrong\n"))
        done = run("check")
        assert re.search(r"error +mail +The server refuses the login", done.out)
        assert "Correct mail.user and what mail.password points to" in done.out


def test_check_says_who_is_told_nothing(told: FullOutbox, run: Run, box: Mailbox) -> None:
    with_mail(told, box.port)
    told.config.write_text(told.config.read_text().replace(", role: administrator", ", role: coordinator"))
    assert "Nobody in mail.recipients has the role administrator" in run("check").out


def test_check_without_mail(told: FullOutbox, run: Run) -> None:
    assert re.search(r"off +mail +There is none", run("check").out)


def test_status_says_when_mail_went_and_that_it_does_not(told: FullOutbox, run: Run) -> None:
    with_mail(told, 25)
    told.kiva_lists()
    told.runs()
    assert "Mail            none was sent yet; each morning at 07:30, to 2 addresses" in run("status").out
    with told.outbox.begin() as tx:
        key = MailKey("morning", "2026-12-01", "awa@example.org")
        mail.add(tx, [key], until=told.now, domain="example.org", now=told.now)
        mail.failed(tx, mail.due(tx), words="Connection refused", now=told.now)
    done = run("status")
    assert re.search(r"NOTE +1 mail could not be sent, since [\d:]+\. Nothing else waits for it\.", done.out)
    assert "What came back:    “Connection refused”" in done.out
    assert "kiva-relay mail test" in done.out
    (found,) = [one for one in run("status", "--json").json["findings"] if one["code"] == "mail_not_sent"]
    assert found["params"]["waiting"] == 1


# ---------------------------------------------------------------- a relay that is dead


def test_a_unit_that_failed_is_told_to_all_in_their_language(told: FullOutbox, run: Run, box: Mailbox) -> None:
    with_mail(told, box.port)
    assert run("mail", "failed", "kiva-relay.service").code == 0
    awa, root = (body(box.to(f"{name}@example.org")[0]) for name in ("awa", "root"))
    assert f"kiva-relay.service sur {socket.gethostname()} s'est arrêté sur une erreur" in awa
    assert "Rien n'est perdu, rien n'a été envoyé deux fois." in awa
    assert "L'administrateur a reçu ce message aussi." in awa
    assert "systemctl" not in awa
    assert "Why: sudo journalctl -u kiva-relay.service -n 50" in root
    assert "Then: sudo systemctl start kiva-relay.service" in root


def test_the_unit_of_a_partner_is_told_by_the_configuration_of_that_partner(
    told: FullOutbox, run: Run, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one that does not start because its outbox is a file."""
    with_mail(told, box.port)
    monkeypatch.setattr(partner, "HOME", told.config.parent.parent)
    monkeypatch.delenv("KIVA_RELAY_CONFIG")
    name = told.config.parent.name
    assert run("mail", "failed", f"kiva-relay@{name}.service").code == 0
    (root,) = (body(one) for one in box.to("root@example.org"))
    assert f"sudo kiva-relay check --config {name}" in root
    assert f"Then: sudo systemctl start kiva-relay@{name}.service" in root


def test_it_needs_neither_the_outbox_nor_what_else_is_wrong(told: FullOutbox, run: Run, box: Mailbox) -> None:
    with_mail(told, box.port, "outbax: 3\nmirror: {max_age: never}\n")
    text = re.sub(r"^outbox: .*$", "outbox: {url: 'mongodb://x'}", told.config.read_text(), flags=re.MULTILINE)
    told.config.write_text(
        text.replace("    - {address: root", "    - {address: nobody, role: x}\n    - {address: root")
    )
    assert run("check").code == 2
    assert run("mail", "failed", "kiva-relay.service").code == 0
    assert {address for address, _ in box.taken} == {"awa@example.org", "root@example.org"}


def test_it_tries_again_and_tells_who_was_not_told(
    told: FullOutbox, run: Run, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_failed, "_PAUSE", 0.01)
    with_mail(told, box.port)
    box.answers["awa@example.org"] = "550 no such user"
    done = run("mail", "failed", "kiva-relay.service")
    assert done.code == 1
    assert "awa@example.org was not told" in done.out
    assert "root@example.org was told" in done.out


@pytest.mark.parametrize("unit", ["a b", "x\r\nBcc: eve@example.org", "$(reboot)", "a" * 300])
def test_a_unit_is_the_name_of_one(told: FullOutbox, run: Run, box: Mailbox, unit: str) -> None:
    with_mail(told, box.port)
    assert run("mail", "failed", unit).code == 2
    assert box.taken == []


def test_without_mail_nobody_is_told_and_systemd_does_not_mind(told: FullOutbox, run: Run) -> None:
    done = run("mail", "failed", "kiva-relay.service")
    assert (done.code, "Nobody was told" in done.out) == (0, True)
