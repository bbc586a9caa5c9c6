"""The tables of the outbox. The database itself refuses illegal states: see the CHECKs and partial indexes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from kiva_relay.outbox import (
    duplicate_table,  # noqa: F401 - its table belongs to this metadata
    forgotten_table,  # noqa: F401 - and so do these
    mail_table,  # noqa: F401 - and this
    mirror_table,  # noqa: F401 - and these
    page_table,  # noqa: F401 - and these
    reconcile_table,  # noqa: F401 - and these
    report_table,  # noqa: F401 - and these
    schema,
    state,
)
from kiva_relay.outbox.column import Day, Json, Moment
from kiva_relay.outbox.schema import Id

metadata = schema.metadata
"""Of all tables, also those of the other files."""


def _one_of(column: str, values: Any) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


RESOURCES = ("journal", "loan_draft", "repayment")
CREATE_ONCE = ("journal", "loan_draft")

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, comment="destination, partner, mis, outbox_id, …"),
    sa.Column("value", sa.Text, nullable=False),
)

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fence", Id, nullable=False, comment="grows with each holder; every write of the daemon checks it"),
    sa.Column("holder", sa.Text, comment="host, pid and a random part; NULL: nobody"),
    sa.Column("expires_at", Moment),
    sa.CheckConstraint("id = 1", name="one_row"),
)

watermark = sa.Table(
    "watermark",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True, comment="a mapping's name"),
    sa.Column("generation", sa.Integer, nullable=False, server_default="1"),
    sa.Column("w", sa.Text, comment="opaque text of the source; NULL: nothing read yet"),
    sa.Column("mode", sa.Text),
    sa.Column("moved_at", Moment),
    sa.Column("scan", sa.Text, comment="backfill, sweep, or leaving: its second half; NULL: none"),
    sa.Column("scan_number", sa.Integer, nullable=False, server_default="0"),
    sa.Column("scan_after", sa.Text, comment="the last key that the scan has read"),
    sa.Column("scan_started_at", Moment),
    sa.Column("backfilled_at", Moment),
    sa.Column("swept_at", Moment),
    sa.CheckConstraint("scan IS NULL OR scan IN ('backfill', 'sweep', 'leaving')", name="scan"),
)

scan = sa.Table(
    "scan",
    metadata,
    sa.Column("stream", sa.Text, sa.ForeignKey("watermark.stream"), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, comment="the watermark's scan_number that it belongs to"),
    sa.Column("kind", sa.Text, nullable=False, comment="backfill, sweep, or edit: a sweep after a mapping was edited"),
    sa.Column("since", Moment, nullable=False),
    sa.Column("total", sa.Integer, nullable=False, comment="rows in scope when it began"),
    sa.Column("done", sa.Integer, nullable=False, comment="rows read"),
    sa.Column("found", sa.Integer, nullable=False, comment="rows that were not as they were known"),
    sa.Column("gone", sa.Integer, nullable=False, comment="of these: left the scope, or deleted"),
    sa.Column("missed", sa.Integer, nullable=False, comment="of these: polling would never have found them"),
    sa.Column("at", Moment, comment="when its latest page was read; NULL before the first"),
    sa.CheckConstraint("kind IN ('backfill', 'sweep', 'edit')", name="kind"),
    sa.CheckConstraint("number > 0 AND total >= 0 AND done >= 0 AND missed >= 0", name="counts"),
    sa.CheckConstraint("gone >= 0 AND found >= gone", name="gone_is_found"),
    sa.CheckConstraint("at IS NOT NULL OR (done = 0 AND found = 0)", name="counted_by_a_page"),
)

# Asked for as they stand here: a database takes `again = 1` for another condition than that of the index.
AGAIN, UNSEEN, LENT = sa.text("again"), sa.text("unseen"), sa.text("lent IS NOT NULL")

captured = sa.Table(
    "captured",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("identity", sa.Text, comment="NULL: it could not be mapped"),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("in_scope", sa.Boolean, nullable=False),
    sa.Column("baselined", sa.Boolean, nullable=False, comment="older than `since`: nothing is owed"),
    sa.Column("refused", sa.Boolean, nullable=False, comment="mapped again at every sweep"),
    sa.Column("again", sa.Boolean, nullable=False, comment="to be read again soon, whatever its hash"),
    sa.Column("created_at", sa.Text, comment="the row's own creation, as the MIS tells it"),
    sa.Column("scan_number", sa.Integer, nullable=False, server_default="0"),
    sa.Column("captured_at", Moment, nullable=False),
    sa.Column("cutoff", sa.Text, comment="up to which day `hash` was read; NULL: of all days"),
    sa.Column("unseen", sa.Boolean, nullable=False, server_default=sa.false(), comment="not there, a person is asked"),
    sa.Column("gone", sa.Boolean, comment="out of scope because it is gone"),
    sa.Column("lent", sa.Text, comment="of a position: the principal"),
    sa.Column("client_id", sa.Text, comment="of a position"),
    sa.Column("repaid", sa.Text, comment="of a position: principal repaid"),
    sa.Column("written_off", sa.Text, comment="of a position: principal given up"),
    sa.Index(None, "resource", "identity"),
    sa.Index("captured_again", "stream", "key", info={"where": AGAIN}),
    sa.Index("captured_unseen", "stream", "key", info={"where": UNSEEN}),
    sa.Index("captured_lent", "lent", info={"where": LENT}),
)

entry = sa.Table(
    "entry",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, comment="why it waits, was withdrawn or discarded: a code"),
    sa.Column("evidence", sa.Text, comment="how we know that it is at Kiva"),
    sa.Column("waits_for", Id, comment="the older version that must be settled first"),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False, comment="the MIS's own key, as text"),
    sa.Column("loan_id", sa.Text, nullable=False, comment="as PA2 shows it"),
    sa.Column("loan_fold", sa.Text, nullable=False, comment="by which it is looked for: resource/loan_id.py"),
    sa.Column("client_id", sa.Text, nullable=False, server_default=""),
    sa.Column("amount", sa.Text, comment="Decimal in plain notation"),
    sa.Column("currency", sa.Text),
    sa.Column("period", sa.Text, nullable=False, server_default="", comment="YYYY-MM of the cut-off; positions only"),
    sa.Column("body_sha256", sa.Text),
    sa.Column("hashes", Json, comment="keyed hashes of the fields of a body that was deleted"),
    sa.Column("fingerprint", sa.Text, comment="of the mapping that made it"),
    sa.Column("origin", sa.Text, nullable=False, comment="poll, backfill, sweep, report, witness or person"),
    sa.Column("refusals", Json, comment="[{code, field, params}]"),
    sa.Column("receipt", Json, comment="what Kiva gave back"),
    sa.Column("publish_by", Day, comment="the last day on which PA2 publishes the draft"),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("batch_cap", sa.Integer, comment="send with at most so many others: its batch was refused as a whole"),
    sa.Column(
        "repeats",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="automatic repeats after a doubt; of a position, all of its period",
    ),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("changed_at", Moment, nullable=False),
    sa.Column("settled_at", Moment),
    sa.Column("done_at", Moment, comment="the coordinator has dealt with it"),
    sa.Column("row_version", sa.Integer, nullable=False, server_default="1"),
    # The last: SQLite reads through a photo of megabytes to come to what stands behind it.
    sa.Column("body", sa.Text, comment="exactly the JSON that is sent; NULL: refused, or purged"),
    sa.UniqueConstraint("resource", "identity", "version"),
    sa.CheckConstraint(_one_of("resource", RESOURCES), name="resource"),
    sa.CheckConstraint(_one_of("state", state.State), name="state"),
    sa.CheckConstraint(
        f"(settled_at IS NOT NULL) = ({_one_of('state', sorted(state.FINAL))})", name="settled_when_final"
    ),
    sa.CheckConstraint(f"evidence IS NULL OR {_one_of('evidence', state.EVIDENCE)}", name="evidence"),
    sa.CheckConstraint("(evidence IS NOT NULL) = (state = 'delivered')", name="delivered_by_evidence"),
    sa.CheckConstraint("state NOT IN ('ready', 'sending') OR body IS NOT NULL", name="sent_with_body"),
    sa.CheckConstraint("state <> 'refused' OR refusals IS NOT NULL", name="refused_with_reasons"),
    sa.CheckConstraint("state <> 'waiting' OR reason IS NOT NULL", name="waiting_for_something"),
    sa.CheckConstraint("resource = 'repayment' OR period = ''", name="period_of_positions"),
)


def _unique_while(name: str, condition: str) -> sa.Index:
    return sa.Index(
        name,
        entry.c.resource,
        entry.c.identity,
        unique=True,
        info={"where": sa.text(condition)},
    )


_unique_while("entry_one_ready", "state = 'ready'")
_unique_while("entry_one_waiting", "state = 'waiting'")
_unique_while("entry_one_in_flight", "state IN ('sending', 'in_doubt')")
_unique_while(
    "entry_once_in_its_life",
    f"{_one_of('resource', CREATE_ONCE)} AND state IN ('sending', 'in_doubt', 'delivered')",
)
WARNED = "evidence = 'warned'"
"""Kiva named a problem of the whole call, and nobody has looked yet: an index's condition, to be asked as it is."""
UNKNOWN_UNSEEN = "reason = 'closed_unknown' AND done_at IS NULL"
"""A report closed while it was unknown what Kiva holds, and nobody has seen that yet."""

UNDECIDED_UNSEEN = "reason IN ('position_exceeds_principal', 'position_fell') AND done_at IS NULL"
"""A person is asked about a position, or was when its report closed, and nobody has seen that yet."""

for _name, _condition in (
    ("entry_warned", WARNED),
    ("entry_closed_unknown", UNKNOWN_UNSEEN),
    ("entry_undecided", UNDECIDED_UNSEEN),
):
    sa.Index(_name, entry.c.id, info={"where": sa.text(_condition)})
READY = sa.text("state = 'ready'")
sa.Index("entry_due", entry.c.resource, entry.c.publish_by, entry.c.id, info={"where": READY})
sa.Index("entry_by_state", entry.c.state, entry.c.resource, entry.c.due_at)
sa.Index("entry_by_loan", entry.c.loan_fold)
sa.Index("entry_by_key", entry.c.stream, entry.c.key)


def _index_where(name: str, condition: str, *columns: sa.Column[Any]) -> sa.Index:
    """Over few rows, for statements that repeat the condition word by word."""
    return sa.Index(name, *columns, info={"where": sa.text(condition)})


OPEN = "settled_at IS NULL"
"""It is not over. As all of these, an index's condition: a database uses the index for just these words only."""
STANDING = "state NOT IN ('delivered', 'superseded', 'withdrawn')"
"""Of an identity's versions those that decide what is owed: a few, however many were replaced."""
AT_KIVA = "state = 'delivered'"
NEWLY_OWED = "version = 1 AND origin <> 'backfill'"
"""What the brake counts, by when it became owed."""
BY_HAND = "origin = 'person' AND state = 'delivered'"
"""What a person typed into PA2 before the MIS owed it."""
LEFT_AT_CLOSING = (
    "state = 'withdrawn' AND reason IN"
    " ('window_closed', 'closed_unknown', 'position_fell', 'position_exceeds_principal', 'position_exceeds_kiva',"
    " 'other_currency', 'id_shared_at_kiva', 'answered_before')"
)
"""Positions that were not surely reported before closing; those that waited for a person keep what was asked."""
OF_A_CLIENT = "resource = 'loan_draft' AND client_id <> ''"
"""Drafts, by their clients: one that is owed twice is looked for there."""
WITH_VALUES = "(body IS NOT NULL OR refusals IS NOT NULL AND hashes IS NULL)"
"""What was not purged yet, by when it was settled: it is asked every hour."""

_index_where("entry_standing", STANDING, entry.c.resource, entry.c.identity, entry.c.version)
_index_where("entry_at_kiva", AT_KIVA, entry.c.resource, entry.c.identity, entry.c.version, entry.c.period)
_index_where("entry_with_values", WITH_VALUES, entry.c.settled_at)
_index_where("entry_by_hand", BY_HAND, entry.c.loan_fold)
_index_where("entry_of_a_client", OF_A_CLIENT, entry.c.client_id)
_index_where("entry_newly_owed", NEWLY_OWED, entry.c.resource, entry.c.created_at)
# With all that the account asks of what is not settled: a row behind it may hold a photo of megabytes.
_index_where(
    "entry_open",
    OPEN,
    entry.c.resource,
    entry.c.state,
    entry.c.stream,
    entry.c.reason,
    entry.c.waits_for,
    entry.c.due_at,
    entry.c.changed_at,
    entry.c.created_at,
    entry.c.publish_by,
    entry.c.done_at,
    entry.c.loan_id,
    entry.c.identity,
    entry.c.version,
    entry.c.settled_at,
)
_index_where(
    "entry_ended",
    "settled_at IS NOT NULL",
    entry.c.settled_at,
    entry.c.state,
    entry.c.evidence,
    entry.c.resource,
)
_index_where(
    "entry_position",
    "resource = 'repayment' AND state <> 'superseded'",
    entry.c.loan_id,
    entry.c.period,
    entry.c.state,
    entry.c.reason,
)
_index_where(
    "entry_left_at_closing",
    LEFT_AT_CLOSING,
    entry.c.period,
    entry.c.loan_id,
)

tally = sa.Table(
    "tally",
    metadata,
    sa.Column("resource", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True, comment="YYYY-MM; empty but for positions"),
    sa.Column("line", sa.Text, primary_key=True, comment="delivered, or adopted"),
    sa.Column("number", sa.Integer, nullable=False),
    sa.CheckConstraint(_one_of("resource", RESOURCES), name="resource"),
    sa.CheckConstraint("line IN ('delivered', 'adopted')", name="line"),
)

batch = sa.Table(
    "batch",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

batch_member = sa.Table(
    "batch_member",
    metadata,
    sa.Column("batch_id", Id, sa.ForeignKey("batch.id"), primary_key=True),
    sa.Column("entry_id", Id, sa.ForeignKey("entry.id"), primary_key=True),
    sa.Column("place", sa.Integer, nullable=False, comment="its place in the request, from 0"),
    sa.Index(None, "entry_id"),
)

UNDER_WAY = sa.text("ended_at IS NULL")
WITH_WORDS = "(detail IS NOT NULL OR problems IS NOT NULL)"
"""What somebody said of it, who may have quoted a value, was not purged yet."""

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True, comment="the number that the witness knows"),
    sa.Column("batch_id", Id, sa.ForeignKey("batch.id"), nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("fence", Id, nullable=False),
    sa.Column("request_sha256", sa.Text, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    sa.Column("outcome", sa.Text, comment="NULL: under way, or the process ended"),
    sa.Column("body_complete", sa.Boolean, comment="was the whole request handed to the network?"),
    sa.Column("status", sa.Integer, comment="HTTP status, when a status line came"),
    sa.Column("detail", sa.Text, comment="Kiva's own words, or what the network said; at most 2,000 characters"),
    sa.Column("problems", Json, comment="what Kiva said of the call, and of none of its entries"),
    sa.Column("server", sa.Text, comment="PostgreSQL's system identifier and timeline"),
    sa.Column("witness", sa.Text, comment="number of the sender's witness file"),
    sa.Column("outbox", sa.Text, comment="the outbox's own number in that file"),
    sa.CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="ended_with_outcome"),
    sa.CheckConstraint(
        "outcome IS NULL OR outcome IN ('accepted', 'refused', 'not_processed', 'in_doubt')", name="outcome"
    ),
    sa.Index(None, "batch_id"),
    sa.Index("attempt_by_outcome", "resource", "outcome", "id"),
    sa.Index(
        "attempt_open",
        "id",
        info={"where": UNDER_WAY},
    ),
    sa.Index("attempt_with_words", "ended_at", info={"where": sa.text(WITH_WORDS)}),
)

hold = sa.Table(
    "hold",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("what", sa.Text, nullable=False, comment="all, a resource, or stream:NAME"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("since", Moment, nullable=False),
    sa.Column("held_by", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("allowance", sa.Integer, nullable=False, server_default="0", comment="so many may pass although held"),
    sa.Column("released_at", Moment),
    sa.Column("released_by", sa.Text),
    sa.Column("release_note", sa.Text),
    sa.CheckConstraint("allowance >= 0", name="allowance"),
    sa.Index(
        "hold_in_force",
        "what",
        "reason",
        unique=True,
        info={"where": sa.text("released_at IS NULL")},
    ),
)

divergence = sa.Table(
    "divergence",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("entry_id", Id, sa.ForeignKey("entry.id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False, comment="changed, or left_scope"),
    sa.Column("fields", Json, nullable=False, comment="[{field, was, is}]"),
    sa.Column("reasons", Json, nullable=False, comment="why the row no longer maps: [{code, field, params}]"),
    sa.Column("since", Moment, nullable=False),
    sa.Column("ended_at", Moment, comment="acknowledged, or no longer true"),
    sa.Column("ended_by", sa.Text),
    sa.CheckConstraint("kind IN ('changed', 'left_scope')", name="kind"),
    sa.Index(
        "divergence_open",
        "entry_id",
        unique=True,
        info={"where": sa.text("ended_at IS NULL")},
    ),
    sa.Index("divergence_by_entry", "entry_id", "id"),
)
_index_where(
    "divergence_seen",
    "ended_by NOT IN ('a newer difference', 'the MIS')",
    divergence.c.entry_id,
    divergence.c.id,
)

act = sa.Table(
    "act",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("about", Json, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)
