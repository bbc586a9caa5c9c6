"""The month: the report of a period, its lines, what persons decided about them, and Kiva's uploads.

Revision 0002: new tables, and columns that the version before does not read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LEFT_AT_CLOSING = (
    "state = 'withdrawn' AND reason IN"
    " ('window_closed', 'closed_unknown', 'position_fell', 'position_exceeds_principal', 'position_exceeds_kiva',"
    " 'other_currency', 'id_shared_at_kiva', 'answered_before')"
)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables of the report, and tell more of Kiva's loans and of the MIS's."""
    op.create_table(
        "report",
        sa.Column("period", sa.Text(), nullable=False, comment="YYYY-MM, named by the window"),
        sa.Column("cutoff", sa.Text(), nullable=False, comment="repayments count up to this day"),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("opens_at", sa.Text(), nullable=True, comment="NULL: it has no window"),
        sa.Column("closes_at", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.Text(), nullable=False),
        sa.Column("looked_at", sa.Text(), nullable=True, comment="when the last look before closing began"),
        sa.Column("closed_at", sa.Text(), nullable=True, comment="its lines are frozen since then"),
        sa.Column("finalised_at", sa.Text(), nullable=True, comment="a person finalised it in PA2"),
        sa.Column("finalised_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("period", name=op.f("report_pkey")),
        sa.CheckConstraint("(finalised_at IS NULL) = (finalised_by IS NULL)", name=op.f("report_finalised_by")),
    )
    op.create_table(
        "report_line",
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("kiva_id", sa.Text(), nullable=False),
        sa.Column("loan_id", sa.Text(), nullable=False, comment="as Kiva spells it"),
        sa.Column("kind", sa.Text(), nullable=False, comment="report/line.py: LineKind"),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False, comment="the amounts and parameters of the line; no names"),
        sa.PrimaryKeyConstraint("period", "kiva_id", name=op.f("report_line_pkey")),
        sa.ForeignKeyConstraint(["period"], ["report.period"], name=op.f("report_line_period_fkey")),
    )
    op.create_table(
        "decision",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False, comment="YYYY-MM; empty: for the loan's whole life"),
        sa.Column("kiva_id", sa.Text(), nullable=False),
        sa.Column("loan_id", sa.Text(), nullable=False, comment="as Kiva spells it"),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True, comment="the amount of `value`, the MIS's id of `is`"),
        sa.Column("seen", sa.Text(), nullable=False, comment="what was decided about: it binds to these amounts"),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False, comment="it is sent although its report is closed"),
        sa.Column(
            "undone_at", sa.Text(), nullable=True, comment="another decision took its place, or a person undid it"
        ),
        sa.Column("undone_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("decision_pkey")),
        sa.CheckConstraint("verb IN ('send', 'keep', 'leave_out', 'value', 'is')", name=op.f("decision_verb")),
        sa.CheckConstraint("(verb = 'is') = (period = '')", name=op.f("decision_for_life")),
        sa.CheckConstraint("(verb IN ('value', 'is')) = (value IS NOT NULL)", name=op.f("decision_with_value")),
        sa.CheckConstraint("NOT late OR verb IN ('send', 'keep', 'value')", name=op.f("decision_late_sends")),
    )
    op.create_index(
        "decision_in_force",
        "decision",
        ["kiva_id", "period"],
        unique=True,
        sqlite_where=sa.text("undone_at IS NULL"),
        postgresql_where=sa.text("undone_at IS NULL"),
    )
    op.create_index("decision_of_period", "decision", ["period", "id"])
    op.create_index(
        "decision_for_life",
        "decision",
        ["loan_id"],
        sqlite_where=sa.text("undone_at IS NULL AND period = ''"),
        postgresql_where=sa.text("undone_at IS NULL AND period = ''"),
    )
    op.create_table(
        "position",
        sa.Column("entry_id", _ID, autoincrement=False, nullable=False),
        sa.Column("basis", sa.Text(), nullable=False, comment="what its amount means"),
        sa.Column(
            "mis",
            sa.Text(),
            nullable=True,
            comment="what the MIS gives, where a person decided on another amount; empty: nothing",
        ),
        sa.Column("lent", sa.Text(), nullable=True, comment="the principal, by the MIS"),
        sa.Column("scheduled", sa.Text(), nullable=True, comment="principal due in the period, by the MIS's schedule"),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("position_pkey")),
        sa.ForeignKeyConstraint(["entry_id"], ["entry.id"], name=op.f("position_entry_id_fkey")),
    )
    op.create_table(
        "upload",
        sa.Column("attempt_id", _ID, autoincrement=False, nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=False, comment="as PA2 shows it"),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("loans", sa.Integer(), nullable=False),
        sa.Column(
            "problems", sa.Text(), nullable=False, comment="[{loan_id, severity, code, details}], in Kiva's words"
        ),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("upload_pkey")),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("upload_attempt_id_fkey")),
    )
    op.create_index(op.f("upload_period_at"), "upload", ["period", "at"])
    op.create_table(
        "mirror_event",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("kiva_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False, comment="when a reading of Kiva's list showed it"),
        sa.Column("was", sa.Text(), nullable=False, comment="the status before"),
        sa.Column("became", sa.Text(), nullable=True, comment="the status now; NULL: no longer listed"),
        sa.PrimaryKeyConstraint("id", name=op.f("mirror_event_pkey")),
    )
    op.create_index(op.f("mirror_event_kiva_id_id"), "mirror_event", ["kiva_id", "id"])
    op.add_column("mirror", sa.Column("uuid", sa.Text(), nullable=True))
    op.add_column("mirror", sa.Column("status_detail", sa.Text(), nullable=True))
    op.add_column("mirror", sa.Column("delinquent", sa.Boolean(), nullable=True))
    op.add_column("mirror", sa.Column("borrower_count", sa.Integer(), nullable=True))
    op.add_column("captured", sa.Column("gone", sa.Boolean(), nullable=True, comment="out of scope because it is gone"))
    op.add_column("captured", sa.Column("lent", sa.Text(), nullable=True, comment="of a position: the principal"))
    op.add_column("captured", sa.Column("client_id", sa.Text(), nullable=True, comment="of a position"))
    op.create_index(
        "captured_lent",
        "captured",
        ["lent"],
        sqlite_where=sa.text("lent IS NOT NULL"),
        postgresql_where=sa.text("lent IS NOT NULL"),
    )
    op.drop_index("entry_left_at_closing", "entry")
    op.create_index(
        "entry_left_at_closing",
        "entry",
        ["period", "loan_id"],
        sqlite_where=sa.text(_LEFT_AT_CLOSING),
        postgresql_where=sa.text(_LEFT_AT_CLOSING),
    )
