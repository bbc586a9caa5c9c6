"""The way out to Kiva, before anything is sent: which proxy the variables mean, and whose certificates are trusted."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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


def _hashed(name: x509.Name) -> str:
    """The name under which OpenSSL looks for who is called so, where it is in small letters (`openssl x509 -hash`)."""
    content = name.public_bytes()[2:]
    return hashlib.sha1(content, usedforsecurity=False).digest()[3::-1].hex() + ".0"


def _authority(name: str) -> tuple[x509.Name, bytes, bytes]:
    """An authority that is a server, too: its name, its certificate and its key."""
    key, called = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(called, called, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("kiva.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return called, made.public_bytes(pem), key.private_bytes(pem, kind, serialization.NoEncryption())


def _is_trusted(trusts: ssl.SSLContext, certificate: Path) -> bool:
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(certificate)
    one, other = socket.socketpair()
    with one, other, ThreadPoolExecutor(1) as pool:
        there = pool.submit(serves.wrap_socket, other, server_side=True)
        try:
            trusts.wrap_socket(one, server_hostname="kiva.test").close()
        except ssl.SSLCertVerificationError:
            return False
        finally:
            one.close()
            with contextlib.suppress(OSError):
                there.result().close()
    return True


def test_a_folder_of_authorities_is_read_when_one_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file beside it was read at each start, and stood in memory: a megabyte."""
    folder, file = tmp_path / "certs", tmp_path / "all.pem"
    folder.mkdir()
    names = ["the first authority", "the second authority"]
    made = [_authority(name) for name in names]
    for number, (name, certificate, key) in enumerate(made):
        (folder / _hashed(name)).write_bytes(certificate)
        (tmp_path / f"{number}.pem").write_bytes(certificate + key)
    file.write_bytes(b"".join(certificate for _, certificate, _ in made))
    paths = Paths(str(file), str(folder))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    found = proxy.trusted(None, environ={})
    assert found.get_ca_certs() == []
    assert [_is_trusted(found, tmp_path / f"{number}.pem") for number in range(2)] == [True, True]


@pytest.mark.parametrize("alone", ["a third one", "in no folder", "a link to nothing"])
def test_an_authority_that_stands_in_the_file_alone_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: str
) -> None:
    folder, file = tmp_path / "certs", tmp_path / "all.pem"
    folder.mkdir()
    name, certificate, key = _authority("the first authority")
    if alone == "a third one":
        (folder / _hashed(name)).write_bytes(certificate)
        _, certificate, key = _authority("an authority by hand")
        other = _authority("an authority of the folder alone")
        (folder / _hashed(other[0])).write_bytes(other[1])
        file.write_bytes((folder / _hashed(name)).read_bytes() + certificate)
    else:
        file.write_bytes(certificate)
    if alone == "a link to nothing":
        (folder / _hashed(name)).symlink_to(tmp_path / "gone.pem")
    (tmp_path / "server.pem").write_bytes(certificate + key)
    paths = Paths(str(file), str(folder))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    # What OpenSSL itself takes for its own is not ours to move: it is told by the variable that it reads.
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert _is_trusted(proxy.trusted(None, environ={}), tmp_path / "server.pem")
