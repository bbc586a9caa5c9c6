"""Of mis.url: what may stand behind the "?", and how mis.tls reaches the drivers."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.config import url_parameters
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.source import tls


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("mysql://k@h/d?useSSL=false&serverTimezone=UTC", "mis.tls"),
        ("mysql://k@h/d?serverTimezone=UTC", "mis.timezone"),
        ("mariadb://k@h/d?autoReconnect=true", "by itself"),
        ("mariadb://k@h/d?ssl=true", "mis.tls"),
        ("mysql://k@h/d?ssl-mode=REQUIRED", "mis.tls"),
        ("mysql://k@h/d?characterEncoding=utf8", "UTF-8"),
        ("mysql://k@h/d?charset=utf8mb4", "UTF-8"),
        ("postgresql://k@h/d?sslmode=require", "mis.tls"),
        ("postgresql://k@h/d?currentSchema=tenant", "search_path"),
        ("postgresql://k@h/d?connect_timeout=3", "by itself"),
        ("postgresql://k@h/d?statement_timeout=3", "mis.statement_timeout"),
        ("postgresql://k@h/d?hst=/run/postgresql", "did you mean host?"),
        ("mysql://k@h/d?unix_sockt=/x", "did you mean unix_socket?"),
        ("mysql://k@h/d?odd=1", "known are: unix_socket"),
    ],
)
def test_a_foreign_parameter_is_refused_by_name_with_what_replaces_it(url: str, remedy: str) -> None:
    with pytest.raises(Mismatch) as caught:
        url_parameters.checked(url)
    assert url.partition("?")[2].partition("=")[0] in str(caught.value)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://k@/d?host=/run/postgresql",
        "postgresql://k@h/d?options=-csearch_path%3Dtenant",
        "mariadb://k@localhost/d?unix_socket=/run/mysqld/mysqld.sock",
        "sqlite:////srv/mis.db",
    ],
)
def test_what_only_a_url_can_say_stays(url: str) -> None:
    assert url_parameters.checked(url) == url


def test_tls_is_told_to_each_driver_in_its_own_words() -> None:
    url, ca = sa.make_url("postgresql://k@h/d"), Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/cert.pem")
    assert dict(tls.added(url, verify="full", ca=None, cert=None).query) == {
        "sslmode": "verify-full",
        "sslrootcert": "system",
    }
    assert dict(tls.added(url, verify="ca", ca=ca, cert=Path("/c.pem")).query) == {
        "sslmode": "verify-ca",
        "sslrootcert": str(ca),
        "sslcert": "/c.pem",
        "sslkey": "/c.pem",
    }
    assert tls.added(url, verify="off", ca=None, cert=None) == url
    modes = {
        "full": (True, ssl.CERT_REQUIRED),
        "ca": (False, ssl.CERT_REQUIRED),
        "encrypt": (False, ssl.CERT_NONE),
    }
    mysql = sa.make_url("mysql://k@h/d?unix_socket=/s")
    for verify, (names, mode) in modes.items():
        bare, context = tls.context(tls.added(mysql, verify=verify, ca=None, cert=None))
        assert bare == mysql
        assert context is not None
        assert (context.check_hostname, context.verify_mode) == (names, mode)
    assert tls.context(mysql) == (mysql, None)
