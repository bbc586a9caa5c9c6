"""Where tellers take their loans and clients from: rows that nobody else has in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from testbed.institution.branch import KIVA_FUND

if TYPE_CHECKING:
    from datetime import date
    from random import Random

    from psycopg import Connection

    from testbed.institution.fineract import Row

LAST_REPAYMENT = """
    SELECT max(transaction_date) FROM m_loan_transaction t
    WHERE t.loan_id = l.id AND NOT is_reversed AND transaction_type_enum = 2
"""
"""The day of the last one, where `l` is the loan."""


class Shelf:
    """Locks what it hands out until the transaction ends; two tellers never get the same row."""

    def __init__(self, connection: Connection, rng: Random, *, today: date, kiva_share: float) -> None:
        self._connection = connection
        self._rng = rng
        self._today = today
        self._kiva_share = kiva_share

    def client(self) -> Row | None:
        """An active client."""
        return self._pick("m_client", "status_enum = 300")

    def group(self) -> tuple[Row | None, list[int]]:
        """A group and its members' ids."""
        members = "EXISTS (SELECT FROM m_group_client m WHERE m.group_id = l.id)"
        group = self._pick("m_group", f"level_id = 2 AND {members}")
        if group is None:
            return None, []
        query = "SELECT client_id FROM m_group_client WHERE group_id = %(id)s ORDER BY client_id"
        return group, [row[0] for row in self._connection.execute(query, {"id": group["id"]})]

    def loan(self, where: str) -> Row | None:
        """A loan for which `where` holds, mostly one of Kiva's. `%(today)s` may be used."""
        fund = f"fund_id = {KIVA_FUND}" if self._rng.random() < self._kiva_share else "true"
        return self._pick("m_loan", f"{where} AND {fund}")

    def together(self, where: str) -> list[Row]:
        """A loan, or all loans of one application in the same state, locked in one order."""
        first = "NOT EXISTS (SELECT FROM m_loan e WHERE e.glim_id = l.glim_id AND e.id < l.id)"
        loan = self.loan(f"{where} AND (glim_id IS NULL OR {first})")
        if loan is None or loan["glim_id"] is None:
            return [loan] if loan else []
        query = b"""
            SELECT * FROM m_loan WHERE glim_id = %(glim)s AND loan_status_id = %(status)s ORDER BY id FOR UPDATE
        """
        with self._connection.cursor(row_factory=dict_row) as cursor:
            asked = {"glim": loan["glim_id"], "status": loan["loan_status_id"]}
            return cursor.execute(query, asked).fetchall()

    def office(self, loan: Row) -> int:
        """The branch of a loan; it is stored at the borrower only."""
        table, key = ("m_client", loan["client_id"]) if loan["client_id"] else ("m_group", loan["group_id"])
        return int(self.value(f"SELECT office_id FROM {table} WHERE id = %(id)s", id=key))

    def last_repayment(self, loan: Row) -> date:
        """The day of it; the loan has one."""
        query = f"SELECT ({LAST_REPAYMENT}) AS day FROM m_loan l WHERE id = %(id)s"
        day: date = self.value(query, id=loan["id"])
        return day

    def row(self, query: str, **asked: Any) -> Row:
        """The one row of a query."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute(query.encode(), asked).fetchone()
        if found is None:
            raise LookupError(query)
        return found

    def value(self, query: str, **asked: Any) -> Any:
        """The one value of a query."""
        return next(iter(self.row(query, **asked).values()))

    def _pick(self, table: str, where: str) -> Row | None:
        """The next free row from a place that the dice name."""
        highest = self.value(f"SELECT coalesce(max(id), 0) FROM {table}")
        start = self._rng.randint(1, max(1, int(highest)))
        for side in (">=", "<"):
            query = f"""
                SELECT * FROM {table} l WHERE {where} AND l.id {side} %(start)s
                ORDER BY l.id LIMIT 1 FOR UPDATE SKIP LOCKED
            """
            with self._connection.cursor(row_factory=dict_row) as cursor:
                found = cursor.execute(query.encode(), {"start": start, "today": self._today}).fetchone()
            if found is not None:
                return found
        return None
