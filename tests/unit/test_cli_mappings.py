"""Which tables mappings name, also inside their SQL: what a role must be allowed to read."""

from __future__ import annotations

from pathlib import Path

import mapping_file
from kiva_relay.cli import mappings

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
    assert mappings.tables([mapping_file.load(tmp_path, text)]) == [
        "books.ledger", "m_client", "m_code_value", "m_loan", "m_loan_repayment_schedule", "payment", "rate",
    ]  # fmt: skip
