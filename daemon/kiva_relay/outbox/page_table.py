"""The tables of the coordinator's page, beside those of `outbox/table.py`."""

from __future__ import annotations

import sqlalchemy as sa

from kiva_relay.outbox.column import Moment
from kiva_relay.outbox.schema import metadata

ROLES = ("coordinator", "administrator")

person = sa.Table(
    "person",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False, comment="coordinator, or administrator"),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("password", sa.Text, nullable=False, comment="its hash, by argon2"),
    sa.Column("added_at", Moment, nullable=False),
    sa.Column("added_by", sa.Text, nullable=False),
    sa.CheckConstraint(f"role IN ({', '.join(map(repr, ROLES))})", name="role"),
)

session = sa.Table(
    "session",
    metadata,
    sa.Column("token", sa.Text, primary_key=True, comment="a hash of what the browser holds"),
    sa.Column("name", sa.Text, sa.ForeignKey("person.name"), nullable=False),
    sa.Column("form", sa.Text, nullable=False, comment="what a form of this session has to bring back"),
    sa.Column("began_at", Moment, nullable=False),
    sa.Column("seen_at", Moment, nullable=False),
    sa.Index(None, "name"),
)
