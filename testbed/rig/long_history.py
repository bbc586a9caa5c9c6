"""An outbox that has worked for years: what it has settled is many, what is under way is little. Made by SQL, quickly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import column, mirror_table, report_table, tally
from kiva_relay.outbox.database import Outbox

PERIODS = 6
"""Reports in which each loan has had a position."""

BASIS = "cumulative_principal"

_NUMBERS = {
    "sqlite": "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :loans) ",
    "postgresql": "WITH n(n) AS (SELECT * FROM generate_series(1, :loans)) ",
}
_ENTRY = (
    "resource, identity, version, state, evidence, stream, key, loan_id, loan_fold, client_id, period, body,"
    " receipt, origin, due_at, repeats, created_at, changed_at, settled_at, done_at, row_version"
)
_ID = {"sqlite": "printf('%09d', n)", "postgresql": "lpad(n::text, 9, '0')"}


def write(outbox: Outbox, loans: int, *, before: datetime) -> None:
    """Put down `loans` loans whose drafts, journals and positions were delivered a year and more before a moment.

    Each loan has a draft, a journal, a position in each of `PERIODS` reports, their attempts, a line of each report,
    a decision about it, and was paid back to Kiva. Nothing of them is under way.
    """
    with outbox.begin() as tx:
        _write(tx, loans, before=before)
        tally.put_right(tx)


def _write(tx: Connection, loans: int, *, before: datetime) -> None:
    dialect = tx.dialect.name
    periods = [f"2025-{month:02}" for month in range(1, PERIODS + 1)]
    numbers, padded = _NUMBERS[dialect], _ID[dialect]
    long_ago = column.Moment().process_bind_param(before - timedelta(days=400), tx.dialect)
    given = {"loans": loans, "at": long_ago}
    # What Kiva answered: the loans were published, the coordinator has confirmed the journals, and bodies were purged.
    kinds = [
        ("loan_draft", "", """'{"loan_draft_uuid":"k' || n || '"}'""", "NULL"),
        ("journal", "", """'{"confirm_url":"https://kiva.example/' || n || '"}'""", ":at"),
    ]
    kinds += [("repayment", period, "NULL", "NULL") for period in periods]
    for number, (resource, period, receipt, done_at) in enumerate(kinds):
        version = number - 1 if resource == "repayment" else 1
        tx.execute(
            sa.text(
                f"INSERT INTO entry ({_ENTRY}) {numbers}"
                f"SELECT '{resource}', {padded}, {version}, 'delivered', 'receipt', '{resource}', n || '', {padded},"
                f" {padded}, '', '{period}', NULL, {receipt}, 'poll', :at, 0, :at, :at, :at, {done_at}, 1 FROM n"
            ),
            given,
        )
    tx.execute(
        sa.text(
            "INSERT INTO batch (id, resource, created_at) SELECT id, resource, created_at FROM entry"
            " WHERE id NOT IN (SELECT id FROM batch)"
        )
    )
    tx.execute(
        sa.text(
            "INSERT INTO attempt (id, batch_id, resource, fence, request_sha256, started_at, ended_at, outcome)"
            " SELECT id, id, resource, 0, '', :at, :at, 'accepted' FROM entry WHERE id NOT IN (SELECT id FROM attempt)"
        ),
        given,
    )
    tx.execute(
        sa.text(
            "INSERT INTO batch_member (batch_id, entry_id, place) SELECT id, id, 0 FROM entry"
            " WHERE id NOT IN (SELECT entry_id FROM batch_member)"
        )
    )
    if dialect == "postgresql":
        for name in ("batch", "attempt"):
            tx.execute(sa.text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT max(id) FROM {name}))"))
    for stream in ("loan_draft", "journal", "repayment"):
        tx.execute(
            sa.text(
                "INSERT INTO captured (stream, key, resource, identity, hash, in_scope, baselined, refused, again,"
                f" scan_number, captured_at) {numbers}"
                f"SELECT '{stream}', (n + 1000000000) || '', '{stream}', {padded}, 'h', {_TRUE}, {_FALSE}, {_FALSE}, {_FALSE}, 1,"
                " :at FROM n"
            ),
            given,
        )
    reading = tx.execute(
        sa.insert(mirror_table.mirror_refresh).values(
            started_at=before - timedelta(minutes=2),
            ended_at=before - timedelta(minutes=1),
            complete=True,
            listed=loans,
        )
    ).inserted_primary_key
    assert reading is not None
    tx.execute(
        sa.text(
            "INSERT INTO mirror (kiva_id, loan_id, loan_fold, client_id, status, first_seen)"
            f" {numbers}SELECT 'k' || n, {padded}, {padded}, '', 'ended', :reading FROM n"
        ),
        given | {"reading": reading[0]},
    )
    _write_reports(tx, periods, given, numbers=numbers, padded=padded, ended=before - timedelta(days=400))


def _write_reports(
    tx: Connection, periods: Sequence[str], given: Mapping[str, object], *, numbers: str, padded: str, ended: datetime
) -> None:
    """Reports that were finalised: their lines, what was decided and uploaded for them, what became of the loans."""
    for period in periods:
        tx.execute(
            sa.insert(report_table.report).values(
                period=period,
                cutoff=date.fromisoformat(f"{period}-28"),
                basis=BASIS,
                opened_at=ended,
                closed_at=ended,
                finalised_at=ended,
                finalised_by="awa",
            )
        )
        its = {**given, "period": period}
        tx.execute(
            sa.text(
                f"INSERT INTO report_line (period, kiva_id, loan_id, kind, cause, facts) {numbers}"
                f"SELECT :period, 'k' || n, {padded}, 'accepted', '', '{{}}' FROM n"
            ),
            its,
        )
        tx.execute(
            sa.text(
                f"INSERT INTO decision (at, period, kiva_id, loan_id, verb, seen, person, note, late) {numbers}"
                f"SELECT :at, :period, 'k' || n, {padded}, 'send', '{{}}', 'awa', '', {_FALSE} FROM n"
            ),
            its,
        )
    of_history = "FROM entry WHERE resource = 'repayment' AND settled_at IS NOT NULL"
    tx.execute(sa.text(f"INSERT INTO position (entry_id, basis, lent) SELECT id, '{BASIS}', '400.00' {of_history}"))
    tx.execute(
        sa.text(
            "INSERT INTO upload (attempt_id, period, upload_id, at, loans, problems)"
            f" SELECT id, period, id || '', :at, 1, '[]' {of_history}"
        ),
        {"at": given["at"]},
    )
    tx.execute(
        sa.text(
            f"INSERT INTO mirror_event (kiva_id, at, was, became) {numbers}"
            "SELECT 'k' || n, :at, 'payingBack', 'ended' FROM n"
        ),
        given,
    )


_TRUE, _FALSE = "true", "false"
