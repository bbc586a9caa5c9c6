"""The table of what MIS, outbox and Kiva say differently of one loan; beside those of `outbox/table.py`."""

from __future__ import annotations

import sqlalchemy as sa

from kiva_relay.outbox.column import Json, Moment
from kiva_relay.outbox.schema import Id, metadata

SUGGESTED, UNSEEN = sa.text("suggested IS NOT NULL"), sa.text("seen_at IS NULL")
"""An index's condition, to be asked as it stands here."""

discrepancy = sa.Table(
    "discrepancy",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False, comment="account/reconcile.py: DiscrepancyKind"),
    sa.Column("subject", sa.Text, nullable=False, comment="kiva:ID of the loan at Kiva, or entry:NUMBER of ours"),
    sa.Column("kiva_id", sa.Text, nullable=False, comment="empty: Kiva does not list it"),
    sa.Column("loan_id", sa.Text, nullable=False, comment="as Kiva spells it, else as we sent it"),
    sa.Column("entry_id", Id, comment="our draft of it"),
    sa.Column("params", Json, nullable=False, comment="what each side says; no names"),
    sa.Column("suggested", sa.Text, comment="the MIS's id of the loan that it probably is"),
    sa.Column("because", Json, comment="why that one: [amount, client, id, date]"),
    sa.Column("since", Moment, nullable=False, comment="when it was first found as it is"),
    sa.Column("found_by", sa.Text, nullable=False, comment="the newest comparison that found it"),
    sa.Column("seen_at", Moment, comment="when a person said that nothing is to be done"),
    sa.Column("seen_by", sa.Text),
    sa.UniqueConstraint("kind", "subject"),
    sa.CheckConstraint("(seen_at IS NULL) = (seen_by IS NULL)", name="seen_by"),
    sa.Index("discrepancy_suggested", "suggested", info={"where": SUGGESTED}),
    sa.Index("discrepancy_unseen", "kind", info={"where": UNSEEN}),
)
