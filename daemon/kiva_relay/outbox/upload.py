"""Uploads: each call of positions that Kiva took becomes one upload in PA2, and stays a row here.

Kiva's SDK, "report payments": `upload_id`, and problems of single loans or of the whole call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import report_table

_upload = report_table.upload


@dataclass(frozen=True)
class Upload:
    """One upload. `upload_id` is as PA2 shows it; `problems` are `{loan_id, severity, code, details}`, Kiva's words."""

    attempt_id: int
    period: str
    upload_id: str
    at: datetime
    loans: int
    problems: Sequence[Mapping[str, str]]


def keep(tx: Connection, upload: Upload) -> None:
    """Write an upload down, in the transaction in which its positions become delivered."""
    tx.execute(
        sa.insert(_upload).values(
            attempt_id=upload.attempt_id,
            period=upload.period,
            upload_id=upload.upload_id,
            at=upload.at,
            loans=upload.loans,
            problems=list(upload.problems),
        )
    )


def of(tx: Connection, period: str) -> list[Upload]:
    """The uploads of a period, oldest first."""
    rows = tx.execute(sa.select(_upload).where(_upload.c.period == period).order_by(_upload.c.at, _upload.c.attempt_id))
    return [Upload(**row) for row in rows.mappings()]
