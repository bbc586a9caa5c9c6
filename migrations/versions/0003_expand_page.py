"""The coordinator's page: who may open it, and who has it open.

Revision 0003: two new tables.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the page."""
    op.create_table(
        "person",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False, comment="coordinator, or administrator"),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False, comment="its hash, by argon2"),
        sa.Column("added_at", sa.Text(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("person_pkey")),
        sa.CheckConstraint("role IN ('coordinator', 'administrator')", name=op.f("person_role")),
    )
    op.create_table(
        "session",
        sa.Column("token", sa.Text(), nullable=False, comment="a hash of what the browser holds"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False, comment="what a form of this session has to bring back"),
        sa.Column("began_at", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("session_pkey")),
        sa.ForeignKeyConstraint(["name"], ["person.name"], name=op.f("session_name_fkey")),
    )
    op.create_index(op.f("session_name"), "session", ["name"])
