"""The way out to Kiva, before anything is sent: which proxy the variables mean, and whose certificates are trusted."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

import certifi
import pytest

from kiva_relay import errors
from kiva_relay.config import loader
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import proxy
from kiva_relay.delivery.client import Client
from testbed.rig import configuration


@pytest.fixture
def kiva(tmp_path: Path) -> Kiva:
    text = configuration.WRITTEN.replace("{env: KIVA_SECRET}", "'a secret'")
    return loader.load(configuration.write(tmp_path, text=text), environ={}).kiva.model_copy(update={"api_url": KIVA})


KIVA = "https://partner-api.k1.kiva.org"
PROXY = "http://p.example:3128"


@pytest.mark.parametrize(
    ("environ", "way"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": "p.example:3128"}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "socks5h://p:1"}, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "[::1], fe80::/10 ,10.0.0.0/8"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "[::1],.kiva.org"}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*.k1.kiva.org"}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "kiva.org:443"}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "kiva.org:8443,notkiva.org,[,],fe80::/999,::,:²,http://"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "*"}, None),
        ({"ALL_PROXY": "socks5h://p:1", "NO_PROXY": "kiva.org"}, None),
    ],
)
def test_variables_that_are_understood(environ: dict[str, str], way: str | None) -> None:
    assert proxy.of(KIVA, setting=None, environ=environ) == way
    assert proxy.of(KIVA, setting="http://mine:1", environ=environ) == "http://mine:1"


@pytest.mark.parametrize(
    ("url", "no_proxy", "exempt"),
    [
        ("http://[::1]:8765", "[::1]", True),
        ("http://[::1]:8765", "::1", True),
        ("http://[::1]:8765", "[::1]:8765", True),
        ("http://[::1]:8765", "[::1]:1", False),
        ("http://[fe80::7]", "fe80::/10", True),
        ("http://10.1.2.3", "10.0.0.0/8", True),
        ("http://10.1.2.3", "10.1.2.3/33", False),
        ("http://127.0.0.1", "localhost", False),
        ("http://localhost", "localhost", True),
    ],
)
def test_who_needs_no_proxy(url: str, no_proxy: str, *, exempt: bool) -> None:
    way = proxy.of(url, setting=None, environ={"HTTP_PROXY": PROXY, "NO_PROXY": no_proxy})
    assert way == (None if exempt else PROXY)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5h://user:s3cret@p.example:1080"),
        ("HTTPS_PROXY", "ftp://p.example"),
        ("https_proxy", "http://"),
        ("HTTPS_PROXY", "http://user:s3cret@p.example:x"),
        ("HTTPS_PROXY", "http://[::1"),
        ("HTTPS_PROXY", "http://p.example :3128"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named_and_nothing_starts(kiva: Kiva, variable: str, value: str) -> None:
    with pytest.raises(errors.UsageError, match=variable) as named:
        Client(kiva, environ={variable: value})
    assert named.value.exit_code == 2
    assert "s3cret" not in f"{named.value} {named.value.hint}"


# ---------------------------------------------------------------- certificates


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_store_that_is_gone_is_named(kiva: Kiva, tmp_path: Path, variable: str) -> None:
    with pytest.raises(errors.UsageError, match=variable):
        Client(kiva, environ={variable: str(tmp_path / "gone.pem")})


@pytest.mark.parametrize(
    "content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"]
)
def test_an_authority_that_is_no_pem_is_a_mistake_of_the_configuration(
    kiva: Kiva, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(content)
    with pytest.raises(errors.UsageError, match=r"kiva.ca is .*ca.pem, which holds no certificate in PEM"):
        Client(kiva.model_copy(update={"ca": file}), environ={})


def test_further_authorities_are_added_to_the_systems_own(tmp_path: Path) -> None:
    """They replaced all others."""
    every = ssl.create_default_context(cafile=certifi.where())
    one, two = (ssl.DER_cert_to_PEM_cert(each) for each in every.get_ca_certs(binary_form=True)[:2])
    (tmp_path / "system.pem").write_text(one)
    (tmp_path / "ca.pem").write_text(two)
    found = proxy.trusted(tmp_path / "ca.pem", environ={"SSL_CERT_FILE": str(tmp_path / "system.pem")})
    assert sorted(map(ssl.DER_cert_to_PEM_cert, found.get_ca_certs(binary_form=True))) == sorted([one, two])
    assert found.verify_mode is ssl.CERT_REQUIRED
    assert found.check_hostname


def test_without_variables_the_systems_store_is_trusted() -> None:
    found = proxy.trusted(None, environ={})
    assert found.get_ca_certs() or ssl.get_default_verify_paths().capath


class Paths(NamedTuple):
    """Where a Python looks for certificates; this one was built to look where there is nothing."""

    cafile: str | None = None
    capath: str | None = None


def test_a_python_that_looks_elsewhere_finds_the_stores_of_systems_and_at_last_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssl, "get_default_verify_paths", Paths)
    every = ssl.create_default_context(cafile=certifi.where()).get_ca_certs(binary_form=True)
    bundle = tmp_path / "ca-bundle.crt"
    monkeypatch.setattr(proxy, "_STORES", (str(tmp_path), str(tmp_path / "gone"), str(bundle)))
    assert proxy.trusted(None, environ={}).get_ca_certs(binary_form=True) == every
    bundle.write_text(ssl.DER_cert_to_PEM_cert(every[0]))
    assert proxy.trusted(None, environ={}).get_ca_certs(binary_form=True) == every[:1]
