"""The table of what persons said about drafts that look like another one, beside those of `outbox/table.py`."""

from __future__ import annotations

import sqlalchemy as sa

from kiva_relay.outbox.column import Json, Moment
from kiva_relay.outbox.schema import Id, metadata

IN_FORCE = sa.text("undone_at IS NULL")

duplicate = sa.Table(
    "duplicate",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("identity", sa.Text, nullable=False, comment="of the draft that is another loan all the same"),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("amount", sa.Text, nullable=False, comment="Decimal in plain notation: the answer binds to it"),
    sa.Column("others", Json, nullable=False, comment="keys of the loan ids that it looked like"),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("undone_at", Moment, comment="a newer answer took its place"),
    sa.Index("duplicate_in_force", "identity", unique=True, info={"where": IN_FORCE}),
)
