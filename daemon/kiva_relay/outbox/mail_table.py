"""The table of mail, beside those of `outbox/table.py`: what was written to whom, and what became of it."""

from __future__ import annotations

import sqlalchemy as sa

from kiva_relay.outbox.column import Moment
from kiva_relay.outbox.schema import Id, metadata

STATES = ("due", "sent", "refused", "missed")
"""`due`: it is sent, or sent again, at `due_at`. `refused`: the server does not take it for this address. `missed`:
it could not be sent while it was worth it."""

DUE = sa.text("state = 'due'")
"""What is still to be sent: to be asked as it stands here, for only then the index is used."""

mail = sa.Table(
    "mail",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False, comment="account/letter.py: LetterKind"),
    sa.Column(
        "about", sa.Text, nullable=False, comment="the day, the report, or the first word of status and its moment"
    ),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False, comment="the same whenever it is sent again"),
    sa.Column("made_at", Moment, nullable=False),
    sa.Column("until", Moment, nullable=False, comment="afterwards it is worth nothing"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, comment="how often it was begun to be sent"),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("settled_at", Moment),
    sa.Column("words", sa.Text, nullable=False, comment="what came back last"),
    sa.UniqueConstraint("kind", "about", "address"),
    sa.CheckConstraint(f"state IN ({', '.join(map(repr, STATES))})", name="state"),
    sa.CheckConstraint("(state = 'due') = (settled_at IS NULL)", name="settled_at"),
    sa.Index("mail_due", "due_at", info={"where": DUE}),
)
