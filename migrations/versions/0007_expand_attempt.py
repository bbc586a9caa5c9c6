"""By which server and which machine an attempt was made.

Revision 0007: columns that the version before does not read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; of attempts from before nobody knows."""
    op.add_column(
        "attempt", sa.Column("server", sa.Text(), nullable=True, comment="PostgreSQL's system identifier and timeline")
    )
    op.add_column(
        "attempt", sa.Column("witness", sa.Text(), nullable=True, comment="number of the sender's witness file")
    )
    op.add_column(
        "attempt", sa.Column("outbox", sa.Text(), nullable=True, comment="the outbox's own number in that file")
    )
