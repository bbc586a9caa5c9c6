"""Drafts that may be owed twice: what persons said about them, and how they are found.

Revision 0006: a new table, and two indexes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table, and the indexes by clients."""
    op.create_table(
        "duplicate",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False, comment="of the draft that is another loan all the same"),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.Text(), nullable=False, comment="Decimal in plain notation: the answer binds to it"),
        sa.Column("others", sa.Text(), nullable=False, comment="keys of the loan ids that it looked like"),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("undone_at", sa.Text(), nullable=True, comment="a newer answer took its place"),
        sa.PrimaryKeyConstraint("id", name=op.f("duplicate_pkey")),
    )
    in_force = sa.text("undone_at IS NULL")
    op.create_index(
        "duplicate_in_force",
        "duplicate",
        ["identity"],
        unique=True,
        sqlite_where=in_force,
        postgresql_where=in_force,
    )
    of_a_client = sa.text("resource = 'loan_draft' AND client_id <> ''")
    op.create_index("entry_of_a_client", "entry", ["client_id"], sqlite_where=of_a_client, postgresql_where=of_a_client)
    op.create_index(op.f("mirror_client_id"), "mirror", ["client_id"])
