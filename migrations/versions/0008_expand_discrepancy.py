"""How many differences nobody has seen, counted by an index: where Kiva lists nothing there is one of each loan.

Revision 0008: an index, which the version before keeps up without knowing it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it."""
    op.create_index(
        "discrepancy_unseen",
        "discrepancy",
        ["kind"],
        sqlite_where=sa.text("seen_at IS NULL"),
        postgresql_where=sa.text("seen_at IS NULL"),
    )
