"""The tables of what Kiva lists: its loans, and what it has to choose from; beside those of `outbox/table.py`."""

from __future__ import annotations

import sqlalchemy as sa

from kiva_relay.outbox.column import Json, Moment
from kiva_relay.outbox.schema import Id, metadata

mirror_refresh = sa.Table(
    "mirror_refresh",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    sa.Column("complete", sa.Boolean, nullable=False),
    sa.Column("listed", sa.Integer),
    sa.Column("detail", sa.Text),
)

_MISSED = sa.text("missed_by IS NOT NULL")
mirror = sa.Table(
    "mirror",
    metadata,
    sa.Column("kiva_id", sa.Text, primary_key=True),
    sa.Column("loan_id", sa.Text, nullable=False, comment="internal_loan_id, exactly as Kiva spells it"),
    sa.Column("loan_fold", sa.Text, nullable=False, comment="by which it is looked for: resource/loan_id.py"),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("amount", sa.Text),
    sa.Column("currency", sa.Text),
    sa.Column("first_seen", Id, sa.ForeignKey("mirror_refresh.id"), nullable=False),
    # Written by nobody now: docs/decisions/0075-forgotten-in-parts.md.
    sa.Column("missed_by", Id, sa.ForeignKey("mirror_refresh.id"), comment="a reading that did not list it"),
    sa.Column("uuid", sa.Text),
    sa.Column("status_detail", sa.Text),
    sa.Column("delinquent", sa.Boolean),
    sa.Column("borrower_count", sa.Integer),
    sa.Column("created_on", sa.Text, comment="the day on which Kiva got it"),
    sa.Index(None, "loan_fold"),
    sa.Index(None, "client_id"),
    sa.Index("mirror_missed", "missed_by", info={"where": _MISSED}),
    sa.Index(None, "status"),
)

catalogue = sa.Table(
    "catalogue",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True, comment="activities, locales, locations or themes"),
    sa.Column("items", Json, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("refreshed_at", Moment, nullable=False),
)

mirror_event = sa.Table(
    "mirror_event",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("kiva_id", sa.Text, nullable=False),
    sa.Column("at", Moment, nullable=False, comment="when a reading of Kiva's list showed it"),
    sa.Column("was", sa.Text, nullable=False, comment="the status before"),
    sa.Column("became", sa.Text, comment="the status now; NULL: no longer listed"),
    sa.Index(None, "kiva_id", "id"),
)
