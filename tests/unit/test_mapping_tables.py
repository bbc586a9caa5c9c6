"""Which tables mappings name, also inside their SQL: what a role must be allowed to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.mapping import tables
from kiva_relay.source import named
from testbed.rig import mapping_file

SQL = """\
relations:
  paid:
    sql: >-
      WITH recent AS (SELECT loan_id, amount, 'sent FROM nowhere' AS note FROM payment p JOIN books.ledger l USING (id)
      WHERE EXTRACT(YEAR FROM day) > 2020) SELECT loan_id, SUM(amount) AS total FROM recent, LATERAL (SELECT 1 FROM rate) r
      JOIN generate_series(1, 2) n ON true GROUP BY loan_id
    match: {loan_id: id}
    optional: true
"""


def test_tables_inside_a_select(tmp_path: Path) -> None:
    text = mapping_file.changed("relations:\n", SQL)
    found = tables.read_by([mapping_file.load(tmp_path, text)], dialect="postgresql")
    assert found.unclear == []
    assert found.tables == {
        "books.ledger": False, "m_client": True, "m_code_value": True, "m_loan": True, "m_loan_repayment_schedule": True,
        "payment": False, "rate": False,
    }  # fmt: skip


def test_sql_that_is_not_understood_is_said(tmp_path: Path) -> None:
    text = mapping_file.changed("relations:\n", SQL.replace("WITH recent AS (", "WITH recent AS (("))
    found = tables.read_by([mapping_file.load(tmp_path, text)], dialect="postgresql")
    assert "m_loan" in found.tables
    assert len(found.unclear) == 1
    assert "WITH recent AS ((SELECT" in found.unclear[0]


@pytest.mark.parametrize(
    ("dialect", "sql", "tables"),
    [
        ("postgresql", "SELECT l.id FROM m_loan l, M_Fund f WHERE f.name = :kiva_fund", ["m_fund", "m_loan"]),
        ("postgresql", 'SELECT * FROM "Loan" WHERE id IN (SELECT id FROM a.b) AND c -> \'x\' ? \'y\'', ["Loan", "a.b"]),
        ("postgresql", "WITH loan AS (SELECT * FROM loan) SELECT * FROM loan", ["loan"]),
        ("postgresql", "WITH RECURSIVE t AS (SELECT id FROM o UNION SELECT t.id FROM t) SELECT * FROM t", ["o"]),
        ("postgresql", "SELECT (SELECT max(d.x) FROM d) FROM (a JOIN b USING (id)) j UNION SELECT 1 FROM u", ["a", "b", "d", "u"]),
        ("postgresql", "SELECT * FROM loan WHERE day > CAST(:cutoff AS date) - interval '3 months'", ["loan"]),
        ("mariadb", "SELECT a.`x y` FROM `m loan` a JOIN fin.M_Client c ON c.id <=> a.c", ["fin.M_Client", "m loan"]),
        ("mariadb", "SELECT n FROM l STRAIGHT_JOIN c USE INDEX (a) WHERE d > DATE_SUB(:cutoff, INTERVAL 3 MONTH)", ["c", "l"]),
        ("mariadb", "SELECT GROUP_CONCAT(n ORDER BY n SEPARATOR ', ') FROM note -- FROM nothing", ["note"]),
        ("mariadb", "SELECT (SELECT max(x) FROM information_schema.tables) FROM DUAL", []),
        ("sqlite", "SELECT value FROM loan, json_each(loan.more) WHERE id GLOB '1*'", ["loan"]),
    ],
)  # fmt: skip
def test_what_a_select_reads(dialect: str, sql: str, tables: list[str]) -> None:
    assert named.tables(sql, dialect=dialect) == tables


def test_what_is_no_select() -> None:
    with pytest.raises(errors.RelayError, match="not understood: SELECT 1 FRM"):
        named.tables("SELECT 1 FRM x (", dialect="mariadb")
