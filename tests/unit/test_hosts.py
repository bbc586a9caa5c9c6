"""Of a URL with several hosts: how PostgreSQL's own form is read, shown and handed on."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from kiva_relay.config import concealed, hosts, loader
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.errors import ConfigurationError
from kiva_relay.source import denied, failure, replication
from testbed.rig import yaml_text

TWO = "postgresql://relay@db1:5433,db2/outbox?target_session_attrs=read-write"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (TWO, [("db1", "5433"), ("db2", "")]),
        ("postgresql://db1,db2/d", [("db1", ""), ("db2", "")]),
        ("postgresql://u@[::1]:5,[fe80::2]/d", [("::1", "5"), ("fe80::2", "")]),
        ("postgresql://u@/d?host=a,b", [("a", ""), ("b", "")]),
        ("postgresql://u@/d?host=a,b&port=5,6", [("a", "5"), ("b", "6")]),
        ("postgresql://u@/d?host=a,b&port=5", [("a", "5"), ("b", "5")]),
        ("postgresql://u@db1:5432/d", []),
        ("postgresql://u@/d?host=/run/postgresql", []),
        ("sqlite:////srv/a,b/outbox.db", []),
        ("mariadb://u@db1,db2/d", []),
    ],
)
def test_the_hosts_of_a_url(url: str, found: list[tuple[str, str]]) -> None:
    assert hosts.of(url) == found


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@db1,/d",
        "postgresql://u@db1:x,db2/d",
        "postgresql://u@db1:70000,db2/d",
        "postgresql://u@/d?host=a,b&port=5,6,7",
    ],
)
def test_a_list_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Mismatch) as caught:
        hosts.checked(url)
    assert "HOST:5432,HOST:5433" in caught.value.remedy


def test_a_kind_of_server_that_there_is_not_is_refused() -> None:
    with pytest.raises(Mismatch, match="known are: any, read-write"):
        hosts.checked("postgresql://u@a,b/d?target_session_attrs=master")


def arguments(url: str, target: str = "read-write") -> dict[str, str]:
    made = hosts.made(url, target=target).set(drivername="postgresql+psycopg")
    return dict(PGDialect_psycopg().create_connect_args(made)[1])  # type: ignore[no-untyped-call]


def test_the_driver_gets_all_of_them() -> None:
    assert arguments(TWO) == {
        "host": "db1,db2",
        "port": "5433,",
        "user": "relay",
        "dbname": "outbox",
        "target_session_attrs": "read-write",
    }
    assert arguments("postgresql://relay:a%40b@db1,db2/outbox")["password"] == "a@b"


def test_where_nothing_is_said_a_standby_is_not_taken() -> None:
    assert arguments("postgresql://a,b/d", "primary")["target_session_attrs"] == "primary"
    assert arguments("postgresql://a,b/d?target_session_attrs=any", "primary")["target_session_attrs"] == "any"
    assert "target_session_attrs" not in arguments("postgresql://a/d", "primary")


def test_one_host_stays_as_it_is() -> None:
    for url in ("postgresql://u@db1:5432/d", "sqlite:////srv/outbox.db", "mariadb://u@db1/d"):
        assert hosts.made(url, target="primary") == sa.make_url(url)
        assert hosts.single(url) == url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (TWO, "db1:5433,db2"),
        ("postgresql://u@/d?host=a,b&port=5,6", "a:5,b:6"),
        ("postgresql://u@db1:5432/d", "db1:5432"),
        ("postgresql://u@/d?host=/run/postgresql", "/run/postgresql"),
        ("sqlite:////srv/outbox.db", ""),
    ],
)
def test_where_it_is_for_a_person(url: str, shown: str) -> None:
    assert hosts.named(hosts.made(url, target="primary")) == shown


def test_messages_name_all_of_them_and_the_client_is_called_with_all() -> None:
    url = hosts.made(TWO, target="primary")
    assert failure._where(url) == "db1:5433,db2/outbox"
    assert denied._client(url) == "psql -h db1,db2 -p 5433, -U relay -d outbox -c 'SELECT 1'"


def test_the_stream_is_asked_of_all_of_them() -> None:
    said = replication.connection(hosts.made(TWO, target="primary"), None, replication="database")
    assert "host=db1,db2" in said
    assert "target_session_attrs=read-write" in said


def test_a_mistake_shows_hosts_and_hides_what_may_be_a_secret() -> None:
    assert concealed.url("postgresql://relay@db1:5433,db2/outbox") == '"postgresql://relay@db1:5433,db2/outbox"'
    assert concealed.url("postgresql://relay:s3cr3t@db1,db2/outbox") == '"postgresql://…"'


def test_a_configuration_takes_them(tmp_path: Path) -> None:
    written = {
        "kiva": {"environment": "sandbox", "partner_id": "1", "client_id": "c", "client_secret": {"env": "S"}},
        "mis": {"url": "postgresql://k@db1,db2:5433/mis", "timezone": "UTC"},
        "outbox": {"url": TWO.replace("relay@", "relay:s3cr3t@")},
        "mappings": "fineract",
        "parameters": {"kiva_fund": 1},
        "loan_drafts": {"since": "all"},
        "journals": {"since": "all"},
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml_text.of(written), encoding="utf-8")
    settings = loader.load(file, environ={})
    assert settings.outbox.url == TWO
    assert settings.outbox.password is not None
    assert settings.outbox.witness.name == "outbox.log"
    file.write_text(file.read_text().replace("db1,db2:5433", "db1,:5433"), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        loader.load(file, environ={})
    assert "s3cr3t" not in str(caught.value)
    assert "a host is missing" in str(caught.value)
