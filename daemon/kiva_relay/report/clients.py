"""Client ids by the MIS, of loans of which Kiva names none."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import table
from kiva_relay.report.line import ReportLine

_CHUNK = 500


def clients_of(tx: Connection, lines: Sequence[ReportLine]) -> dict[str, str]:
    """The MIS's own id of each loan without a client id at Kiva, and the client id there."""
    ids = sorted({one.identity for one in lines if one.identity is not None and not one.client_id})
    columns, found = table.captured.c, dict[str, str]()
    for start in range(0, len(ids), _CHUNK):
        where = (columns.resource == "repayment", columns.identity.in_(ids[start : start + _CHUNK]))
        for row in tx.execute(sa.select(columns.identity, columns.client_id).where(*where)):
            found[row.identity] = row.client_id or ""
    return found
