"""The settings of mail: what they fill in, and every mistake with what to write instead."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.config import loader
from kiva_relay.config.mail import Recipient
from kiva_relay.config.settings import Settings
from kiva_relay.errors import Mistake
from testbed.rig import configuration

ENVIRON = {"KIVA_SECRET": "s"}
TO = "recipients: [{address: awa@example.org}]"


def load(folder: Path, mail: str, environ: dict[str, str] | None = None) -> Settings:
    return loader.load(configuration.write(folder, f"mail: {{{mail}}}\n"), environ=ENVIRON | (environ or {}))


def mistakes(folder: Path, mail: str) -> list[Mistake]:
    with pytest.raises(errors.ConfigurationError) as caught:
        load(folder, mail)
    return [*caught.value.mistakes]


def test_without_mail_there_is_none(tmp_path: Path) -> None:
    assert not loader.load(configuration.write(tmp_path), environ=ENVIRON).mail.is_on
    assert not loader.load(configuration.write(tmp_path, "mail:\n"), environ=ENVIRON).mail.is_on


def test_what_is_enough(tmp_path: Path) -> None:
    mail = load(tmp_path, f"host: mail.example.org, from: relay@example.org, {TO}").mail
    assert (mail.is_on, mail.sender, mail.at) == (True, "relay@example.org", time(7, 30))
    assert (mail.security, mail.port) == ("starttls", 587)
    assert mail.recipients == (Recipient(address="awa@example.org", role="coordinator", language="en"),)


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465)])
def test_the_port_follows_from_security(tmp_path: Path, security: str, port: int) -> None:
    assert load(tmp_path, f"host: h, security: {security}, from: r@x, {TO}").mail.port == port
    assert load(tmp_path, f"host: h, security: {security}, port: 2525, from: r@x, {TO}").mail.port == 2525


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "'::1'", "'[::1]'"])
def test_a_server_on_this_machine_needs_no_tls(tmp_path: Path, host: str) -> None:
    mail = load(tmp_path, f"host: {host}, security: none, from: r@x, {TO}").mail
    assert (mail.port, mail.host) == (25, host.strip("'[]"))


def test_one_recipient_needs_no_list_and_the_environment_lays_over(tmp_path: Path) -> None:
    mail = "host: h, from: r@x, recipients: {address: awa@example.org, language: fr}"
    found = load(tmp_path, mail, {"KIVA_RELAY_MAIL__FROM": "other@example.org", "KIVA_RELAY_MAIL__AT": "06:15"}).mail
    assert (found.recipients[0].language, found.sender, found.at) == ("fr", "other@example.org", time(6, 15))


WRONG = [
    ("sekurity: tls", "mail.sekurity", "no such setting", "did you mean: security"),
    ("host: mail.example.org, security: none", "mail.security", "readable by all", "starttls, or tls"),
    ("host: 10.0.0.7, security: none", "mail.security", "readable by all", "starttls, or tls"),
    ("host: 'mail.example.org:587'", "mail.host", "expected the name of a host", "the port apart"),
    ("port: 70000", "mail.port", "expected a whole number from 1 to 65535", ""),
    ("at: 7", "mail.at", "expected a time of day, found 7", "two digits"),
    ("password: '{file: /x}'", "mail.password", "a password, and no user", "mail.user"),
    (f"host: h, {TO}", "mail.recipients", "mail.from is not", "from: kiva-relay@example.org"),
    ("host: h, from: r@x", "mail.recipients", "nobody gets mail", "recipients: ["),
    (TO, "mail.recipients", "mail.host is not", "host: smtp.example.org"),
    ("recipients: [{address: awa}]", "mail.recipients[1].address", 'found "awa"', "the address alone"),
    ("recipients: [{address: 'Awa <awa@x.org>'}]", "mail.recipients[1].address", "expected an address", "alone"),
    ('from: "r@x.org\\nBcc: eve@x.org"', "mail.from", "expected an address", "the address alone"),
    ("recipients: [{address: a@x.org, rolle: x}]", "mail.recipients[1].rolle", "no such setting", "did you mean: role"),
    (
        "recipients: [{address: a@x.org, role: coordinater}]",
        "mail.recipients[1].role",
        "expected coordinator or administrator",
        "did you mean: coordinator",
    ),
    ("recipients: [{address: a@x.org, language: de}]", "mail.recipients[1].language", "expected en, fr or es", ""),
    ("recipients: {address: a@x.org, langage: fr}", "mail.recipients.langage", "no such setting", "language"),
    (
        "host: h, from: r@x, recipients: [{address: a@x.org}, {address: A@x.org}]",
        "mail.recipients",
        "A@x.org is there twice",
        "",
    ),
    ("recipients: [hello]", "mail.recipients[1]", 'expected settings, found "hello"', "known here: address, role"),
    ("alive_url: http://watch.example.org/secret", "mail.alive_url", "expected https://", "as https://"),
    ("alive_url: 'https://x.org/é'", "mail.alive_url", "expected https://", "as https://"),
]


@pytest.mark.parametrize("wrong", WRONG, ids=[f"{each[1]}: {each[0]}" for each in WRONG])
def test_what_is_wrong_is_said_with_what_to_write(tmp_path: Path, wrong: tuple[str, str, str, str]) -> None:
    mail, path, said, remedy = wrong
    found = [each for each in mistakes(tmp_path, mail) if each.path == path]
    assert len(found) == 1
    assert said in found[0].message
    assert remedy in found[0].remedy
    assert "secret" not in found[0].message


# ---------------------------------------------------------------- a command that only looks


def look(folder: Path, mail: str) -> tuple[list[str], list[str]]:
    file = configuration.write(folder, f"mail: {{{mail}}}\n")
    settings, found = loader.load_to_look(file, environ=ENVIRON)
    return [one.address for one in settings.mail.recipients], [each.path for each in found]


def test_a_wrong_recipient_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    wrong = "{address: b}, {address: c@x.org, role: coordinater}"
    addresses, paths = look(
        tmp_path, f"host: h, from: r@x, recipients: [{{address: a@x.org}}, {wrong}, {{address: d@x.org}}]"
    )
    assert addresses == ["a@x.org", "d@x.org"]
    assert paths == ["mail.recipients[2].address", "mail.recipients[3].role"]


def test_a_default_that_is_wrong_beside_the_rest_leaves_out_its_group(tmp_path: Path) -> None:
    assert look(tmp_path, "host: h") == ([], ["mail.recipients"])
    file = configuration.write(tmp_path, "mirror: {max_age: 30m}\n")
    settings, found = loader.load_to_look(file, environ=ENVIRON)
    assert [each.path for each in found] == ["mirror.refresh_every"]
    assert settings.mirror.refresh_every < settings.mirror.max_age
