"""The tables of the month: the report of a period, its lines, decisions, uploads; beside those of `outbox/table.py`."""

from __future__ import annotations

import sqlalchemy as sa

from kiva_relay.outbox.column import Day, Json, Moment
from kiva_relay.outbox.schema import Id, metadata

VERBS = ("send", "keep", "leave_out", "value", "is")
"""What a person may say of a line: report/decision.py."""

report = sa.Table(
    "report",
    metadata,
    sa.Column("period", sa.Text, primary_key=True, comment="YYYY-MM, named by the window"),
    sa.Column("cutoff", Day, nullable=False, comment="repayments count up to this day"),
    sa.Column("basis", sa.Text, nullable=False),
    sa.Column("opens_at", Moment, comment="NULL: it has no window"),
    sa.Column("closes_at", Moment),
    sa.Column("opened_at", Moment, nullable=False),
    sa.Column("looked_at", Moment, comment="when the last look before closing began"),
    sa.Column("closed_at", Moment, comment="its lines are frozen since then"),
    sa.Column("finalised_at", Moment, comment="a person finalised it in PA2"),
    sa.Column("finalised_by", sa.Text),
    sa.CheckConstraint("(finalised_at IS NULL) = (finalised_by IS NULL)", name="finalised_by"),
)

report_line = sa.Table(
    "report_line",
    metadata,
    sa.Column("period", sa.Text, sa.ForeignKey("report.period"), primary_key=True),
    sa.Column("kiva_id", sa.Text, primary_key=True),
    sa.Column("loan_id", sa.Text, nullable=False, comment="as Kiva spells it"),
    sa.Column("kind", sa.Text, nullable=False, comment="report/line.py: LineKind"),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("facts", Json, nullable=False, comment="the amounts and parameters of the line; no names"),
)

IN_FORCE = sa.text("undone_at IS NULL")
STILL_IN_FORCE = sa.text("undone_at || '' IS NULL")
"""The same, for who asks by the period alone: by the index of decisions in force, which begins with the loan, a
server without statistics goes through those of all months."""
FOR_LIFE = sa.text("undone_at IS NULL AND period = ''")
"""Whose loan of Kiva's is which of the MIS's: to be asked as it stands here, for only then the index is used."""

decision = sa.Table(
    "decision",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("period", sa.Text, nullable=False, comment="YYYY-MM; empty: for the loan's whole life"),
    sa.Column("kiva_id", sa.Text, nullable=False),
    sa.Column("loan_id", sa.Text, nullable=False, comment="as Kiva spells it"),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("value", sa.Text, comment="the amount of `value`, the MIS's id of `is`"),
    sa.Column("seen", Json, nullable=False, comment="what was decided about: it binds to these amounts"),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("late", sa.Boolean, nullable=False, comment="it is sent although its report is closed"),
    sa.Column("undone_at", Moment, comment="another decision took its place, or a person undid it"),
    sa.Column("undone_by", sa.Text),
    sa.CheckConstraint(f"verb IN ({', '.join(map(repr, VERBS))})", name="verb"),
    sa.CheckConstraint("(verb = 'is') = (period = '')", name="for_life"),
    sa.CheckConstraint("(verb IN ('value', 'is')) = (value IS NOT NULL)", name="with_value"),
    sa.CheckConstraint("NOT late OR verb IN ('send', 'keep', 'value')", name="late_sends"),
    sa.Index("decision_in_force", "kiva_id", "period", unique=True, info={"where": IN_FORCE}),
    sa.Index("decision_of_period", "period", "id"),
    sa.Index("decision_for_life", "loan_id", info={"where": FOR_LIFE}),
)

position = sa.Table(
    "position",
    metadata,
    sa.Column("entry_id", Id, sa.ForeignKey("entry.id"), primary_key=True, autoincrement=False),
    sa.Column("basis", sa.Text, nullable=False, comment="what its amount means"),
    sa.Column("mis", sa.Text, comment="what the MIS gives, where a person decided on another amount; empty: nothing"),
    sa.Column("lent", sa.Text, comment="the principal, by the MIS"),
    sa.Column("scheduled", sa.Text, comment="principal due in the period, by the MIS's schedule"),
)

upload = sa.Table(
    "upload",
    metadata,
    sa.Column("attempt_id", Id, sa.ForeignKey("attempt.id"), primary_key=True, autoincrement=False),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("upload_id", sa.Text, nullable=False, comment="as PA2 shows it"),
    sa.Column("at", Moment, nullable=False),
    sa.Column("loans", sa.Integer, nullable=False),
    sa.Column("problems", Json, nullable=False, comment="[{loan_id, severity, code, details}], in Kiva's words"),
    sa.Index(None, "period", "at"),
)
