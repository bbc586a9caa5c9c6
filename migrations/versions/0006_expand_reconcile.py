"""What MIS, outbox and Kiva say differently, and what more is known of a loan to compare it.

Revision 0008: new tables, one for loans that are forgotten, and columns that the version before does not read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table of differences; remember of a loan what is repaid and written off, and since when Kiva has it."""
    op.create_table(
        "discrepancy",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="account/reconcile.py: DiscrepancyKind"),
        sa.Column("subject", sa.Text(), nullable=False, comment="kiva:ID of the loan at Kiva, or entry:NUMBER of ours"),
        sa.Column("kiva_id", sa.Text(), nullable=False, comment="empty: Kiva does not list it"),
        sa.Column("loan_id", sa.Text(), nullable=False, comment="as Kiva spells it, else as we sent it"),
        sa.Column("entry_id", _ID, nullable=True, comment="our draft of it"),
        sa.Column("params", sa.Text(), nullable=False, comment="what each side says; no names"),
        sa.Column("suggested", sa.Text(), nullable=True, comment="the MIS's id of the loan that it probably is"),
        sa.Column("because", sa.Text(), nullable=True, comment="why that one: [amount, client, id, date]"),
        sa.Column("since", sa.Text(), nullable=False, comment="when it was first found as it is"),
        sa.Column("found_by", sa.Text(), nullable=False, comment="the newest comparison that found it"),
        sa.Column("seen_at", sa.Text(), nullable=True, comment="when a person said that nothing is to be done"),
        sa.Column("seen_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("discrepancy_pkey")),
        sa.UniqueConstraint("kind", "subject", name=op.f("discrepancy_kind_subject_key")),
        sa.CheckConstraint("(seen_at IS NULL) = (seen_by IS NULL)", name=op.f("discrepancy_seen_by")),
    )
    op.create_index(
        "discrepancy_suggested",
        "discrepancy",
        ["suggested"],
        sqlite_where=sa.text("suggested IS NOT NULL"),
        postgresql_where=sa.text("suggested IS NOT NULL"),
    )
    op.create_table(
        "forgotten",
        sa.Column("loan", sa.Text(), nullable=False, comment="a keyed hash of the loan's id"),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("loan", name=op.f("forgotten_pkey")),
    )
    op.add_column("captured", sa.Column("repaid", sa.Text(), nullable=True, comment="of a position: principal repaid"))
    op.add_column(
        "captured", sa.Column("written_off", sa.Text(), nullable=True, comment="of a position: principal given up")
    )
    op.add_column("mirror", sa.Column("created_on", sa.Text(), nullable=True, comment="the day on which Kiva got it"))
