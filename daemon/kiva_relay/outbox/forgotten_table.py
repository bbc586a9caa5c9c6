"""The table of loans of which nothing more is sent, for their borrower asked to be forgotten."""

from __future__ import annotations

import sqlalchemy as sa

from kiva_relay.outbox.column import Moment
from kiva_relay.outbox.schema import metadata

forgotten = sa.Table(
    "forgotten",
    metadata,
    sa.Column("loan", sa.Text, primary_key=True, comment="a keyed hash of the loan's id"),
    sa.Column("at", Moment, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
)
