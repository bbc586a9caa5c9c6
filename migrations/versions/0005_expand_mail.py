"""The mail: what was written to whom, and what became of it.

Revision 0007: a new table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of mail."""
    op.create_table(
        "mail",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="account/letter.py: LetterKind"),
        sa.Column(
            "about",
            sa.Text(),
            nullable=False,
            comment="the day, the report, or the first word of status and its moment",
        ),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False, comment="the same whenever it is sent again"),
        sa.Column("made_at", sa.Text(), nullable=False),
        sa.Column("until", sa.Text(), nullable=False, comment="afterwards it is worth nothing"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="how often it was begun to be sent"),
        sa.Column("due_at", sa.Text(), nullable=False),
        sa.Column("settled_at", sa.Text()),
        sa.Column("words", sa.Text(), nullable=False, comment="what came back last"),
        sa.PrimaryKeyConstraint("id", name=op.f("mail_pkey")),
        sa.UniqueConstraint("kind", "about", "address", name=op.f("mail_kind_about_address_key")),
        sa.CheckConstraint("state IN ('due', 'sent', 'refused', 'missed')", name=op.f("mail_state")),
        sa.CheckConstraint("(state = 'due') = (settled_at IS NULL)", name=op.f("mail_settled_at")),
    )
    op.execute("CREATE INDEX mail_due ON mail (due_at) WHERE state = 'due'")
