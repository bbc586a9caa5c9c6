from __future__ import annotations

from pathlib import Path

import psycopg

from testbed.database import postgres
from testbed.torture import run
from testbed.torture.branch import Branch

_TWICE = """
    SELECT client_id, principal_amount FROM m_loan WHERE account_no = ANY(%s) GROUP BY 1, 2 HAVING count(*) > 1
"""


def test_no_client_gets_the_same_amount_twice(postgres_server: postgres.PostgresServer, tmp_path: Path) -> None:
    """The relay asks a person about such a draft; nobody answers in a torture, and the judge would call it lost."""
    with run.book_of(postgres_server, tmp_path, clients=60) as book:
        with psycopg.connect(postgres_server.url(book), autocommit=True) as connection:
            branch = Branch(connection, tmp_path, loans=20)
            before = branch._dice.getstate()
            branch.grant()
            branch._dice.setstate(before)
            branch.grant()  # the same again
            assert len(branch.drafts) == 1
            for _ in range(30):
                branch.grant()
            assert len(branch.drafts) > 20
            assert connection.execute(_TWICE, [[*branch.drafts]]).fetchall() == []
