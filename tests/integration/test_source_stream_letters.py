"""The stream of a database whose letters are not UTF-8: a byte that is none costs its row, and never the stream."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from testbed.database.postgres import PostgresServer
from testbed.rig import streamed
from testbed.rig.patience import eventually
from testbed.rig.streamed import Streamed

_numbers = itertools.count(1)
_JOSE = {"WIN1252": "José", "SQL_ASCII": ""}
"""What becomes of the name that is no UTF-8; of the second, nobody knows which letters are meant: it is refused."""


@pytest.fixture(params=["WIN1252", "SQL_ASCII"])
def mis(
    request: pytest.FixtureRequest, logical_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Streamed]:
    """A small MIS whose loans are found by their account, in a database of this encoding."""
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")

    def create(name: str) -> str:
        with psycopg.connect(logical_server.url(), autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0").format(
                    sql.Identifier(name), sql.Literal(request.param)
                )
            )
        return logical_server.url(name)

    monkeypatch.setattr(logical_server, "create_database", create)
    made = streamed.create(tmp_path, logical_server, f"letters_{next(_numbers)}")
    draft = tmp_path / "mappings" / "loan_draft.yaml"
    text = draft.read_text().replace("table: loan, key: id", "table: loan, key: account")
    draft.write_text(text.replace("match: {loan_id: id}", "match: {loan_id: id}, optional: true"))
    made.sql("ALTER TABLE loan DROP CONSTRAINT loan_pkey")
    made.sql("ALTER TABLE loan ADD PRIMARY KEY (account)")
    made.sql("SET client_encoding = 'SQL_ASCII'")
    yield made
    made.teller.close()


def test_a_byte_that_is_no_letter_costs_its_row(mis: Streamed) -> None:
    mis.set_up()
    jose = _JOSE[mis.teller.info.parameter_status("server_encoding") or ""]
    with mis.capture() as relay:
        relay.following()
        odd: Any = r"UPDATE loan SET first_name = E'Jos\x81', account = E'L\x81' WHERE id = 2"
        mis.sql(odd)
        mis.sql("UPDATE loan SET first_name = 'Binta' WHERE id = 1")
        mis.sql(r"UPDATE loan SET first_name = E'Jos\xe9' WHERE id = 3")
        eventually(lambda: relay.capture.follow() >= 0 and relay.name("L1") == "Binta")
        assert relay.follow.standing.live
        assert relay.state("L2") == "withdrawn"
        assert relay.capture.stopped == {}
        eventually(lambda: relay.capture.follow() >= 0 and relay.name("L3") == jose)
        mis.sql("UPDATE loan SET account = 'L9', first_name = 'Ibou' WHERE id = 2")
        eventually(lambda: relay.capture.follow() >= 0 and relay.name("L9") == "Ibou")
        assert set(relay.modes()) == {"replication"}
