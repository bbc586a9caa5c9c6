"""The outbox: what we owe Kiva, what was tried, and what Kiva told us.

Revision 0001: every table, as version 0.2 has them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:  # noqa: PLR0915 - a statement for each table and index
    """Make every table."""
    op.create_table(
        "act",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("act_pkey")),
    )
    op.create_table(
        "batch",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("batch_pkey")),
    )
    op.create_table(
        "captured",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=True, comment="NULL: it could not be mapped"),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("in_scope", sa.Boolean(), nullable=False),
        sa.Column("baselined", sa.Boolean(), nullable=False, comment="older than `since`: nothing is owed"),
        sa.Column("refused", sa.Boolean(), nullable=False, comment="mapped again at every sweep"),
        sa.Column("again", sa.Boolean(), nullable=False, comment="to be read again soon, whatever its hash"),
        sa.Column("created_at", sa.Text(), nullable=True, comment="the row's own creation, as the MIS tells it"),
        sa.Column("scan_number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("captured_at", sa.Text(), nullable=False),
        sa.Column("cutoff", sa.Text(), nullable=True, comment="up to which day `hash` was read; NULL: of all days"),
        sa.Column(
            "unseen",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="not there, a person is asked",
        ),
        sa.PrimaryKeyConstraint("stream", "key", name=op.f("captured_pkey")),
    )
    op.create_index(
        "captured_unseen",
        "captured",
        ["stream", "key"],
        unique=False,
        sqlite_where=sa.text("unseen"),
        postgresql_where=sa.text("unseen"),
    )
    op.create_index(
        "captured_again",
        "captured",
        ["stream", "key"],
        unique=False,
        sqlite_where=sa.text("again"),
        postgresql_where=sa.text("again"),
    )
    op.create_index(op.f("captured_resource_identity"), "captured", ["resource", "identity"], unique=False)
    op.create_table(
        "catalogue",
        sa.Column("kind", sa.Text(), nullable=False, comment="activities, locales, locations or themes"),
        sa.Column("items", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("refreshed_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("catalogue_pkey")),
    )
    op.create_table(
        "entry",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it waits, was withdrawn or discarded: a code"),
        sa.Column("evidence", sa.Text(), nullable=True, comment="how we know that it is at Kiva"),
        sa.Column(
            "waits_for",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="the older version that must be settled first",
        ),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="the MIS's own key, as text"),
        sa.Column("loan_id", sa.Text(), nullable=False, comment="as PA2 shows it"),
        sa.Column("loan_fold", sa.Text(), nullable=False, comment="by which it is looked for: resource/loan_id.py"),
        sa.Column("client_id", sa.Text(), server_default="", nullable=False),
        sa.Column("amount", sa.Text(), nullable=True, comment="Decimal in plain notation"),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column(
            "period", sa.Text(), server_default="", nullable=False, comment="YYYY-MM of the cut-off; positions only"
        ),
        sa.Column("body_sha256", sa.Text(), nullable=True),
        sa.Column("hashes", sa.Text(), nullable=True, comment="keyed hashes of the fields of a body that was deleted"),
        sa.Column("fingerprint", sa.Text(), nullable=True, comment="of the mapping that made it"),
        sa.Column("origin", sa.Text(), nullable=False, comment="poll, backfill, sweep, report, witness or person"),
        sa.Column("refusals", sa.Text(), nullable=True, comment="[{code, field, params}]"),
        sa.Column("receipt", sa.Text(), nullable=True, comment="what Kiva gave back"),
        sa.Column("publish_by", sa.Text(), nullable=True, comment="the last day on which PA2 publishes the draft"),
        sa.Column("due_at", sa.Text(), nullable=False),
        sa.Column(
            "batch_cap",
            sa.Integer(),
            nullable=True,
            comment="send with at most so many others: its batch was refused as a whole",
        ),
        sa.Column(
            "repeats",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="automatic repeats after a doubt; of a position, all of its period",
        ),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Text(), nullable=False),
        sa.Column("settled_at", sa.Text(), nullable=True),
        sa.Column("done_at", sa.Text(), nullable=True, comment="the coordinator has dealt with it"),
        sa.Column("row_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("body", sa.Text(), nullable=True, comment="exactly the JSON that is sent; NULL: refused, or purged"),
        sa.CheckConstraint("(evidence IS NOT NULL) = (state = 'delivered')", name=op.f("entry_delivered_by_evidence")),
        sa.CheckConstraint(
            "(settled_at IS NOT NULL) = (state IN ('delivered', 'discarded', 'superseded', 'withdrawn'))",
            name=op.f("entry_settled_when_final"),
        ),
        sa.CheckConstraint(
            "evidence IS NULL OR evidence IN ('receipt', 'look_up', 'adopted', 'person', 'warned')",
            name=op.f("entry_evidence"),
        ),
        sa.CheckConstraint("resource = 'repayment' OR period = ''", name=op.f("entry_period_of_positions")),
        sa.CheckConstraint("resource IN ('journal', 'loan_draft', 'repayment')", name=op.f("entry_resource")),
        sa.CheckConstraint("state <> 'refused' OR refusals IS NOT NULL", name=op.f("entry_refused_with_reasons")),
        sa.CheckConstraint("state <> 'waiting' OR reason IS NOT NULL", name=op.f("entry_waiting_for_something")),
        sa.CheckConstraint(
            "state IN ('ready', 'waiting', 'refused', 'sending', 'in_doubt', 'delivered', 'superseded', 'withdrawn',"
            " 'discarded')",
            name=op.f("entry_state"),
        ),
        sa.CheckConstraint("state NOT IN ('ready', 'sending') OR body IS NOT NULL", name=op.f("entry_sent_with_body")),
        sa.PrimaryKeyConstraint("id", name=op.f("entry_pkey")),
        sa.UniqueConstraint("resource", "identity", "version", name=op.f("entry_resource_identity_version_key")),
    )
    op.create_index("entry_by_key", "entry", ["stream", "key"], unique=False)
    op.create_index("entry_by_loan", "entry", ["loan_fold"], unique=False)
    op.create_index("entry_by_state", "entry", ["state", "resource", "due_at"], unique=False)
    op.create_index(
        "entry_standing",
        "entry",
        ["resource", "identity", "version"],
        unique=False,
        sqlite_where=sa.text("state NOT IN ('delivered', 'superseded', 'withdrawn')"),
        postgresql_where=sa.text("state NOT IN ('delivered', 'superseded', 'withdrawn')"),
    )
    op.create_index(
        "entry_at_kiva",
        "entry",
        ["resource", "identity", "version", "period"],
        unique=False,
        sqlite_where=sa.text("state = 'delivered'"),
        postgresql_where=sa.text("state = 'delivered'"),
    )
    op.create_index(
        "entry_with_values",
        "entry",
        ["settled_at"],
        unique=False,
        sqlite_where=sa.text("(body IS NOT NULL OR refusals IS NOT NULL AND hashes IS NULL)"),
        postgresql_where=sa.text("(body IS NOT NULL OR refusals IS NOT NULL AND hashes IS NULL)"),
    )
    op.create_index(
        "entry_by_hand",
        "entry",
        ["loan_fold"],
        unique=False,
        sqlite_where=sa.text("origin = 'person' AND state = 'delivered'"),
        postgresql_where=sa.text("origin = 'person' AND state = 'delivered'"),
    )
    op.create_index(
        "entry_newly_owed",
        "entry",
        ["resource", "created_at"],
        unique=False,
        sqlite_where=sa.text("version = 1 AND origin <> 'backfill'"),
        postgresql_where=sa.text("version = 1 AND origin <> 'backfill'"),
    )
    op.create_index(
        "entry_closed_unknown",
        "entry",
        ["id"],
        unique=False,
        sqlite_where=sa.text("reason = 'closed_unknown' AND done_at IS NULL"),
        postgresql_where=sa.text("reason = 'closed_unknown' AND done_at IS NULL"),
    )
    undecided = "reason IN ('position_exceeds_principal', 'position_fell') AND done_at IS NULL"
    op.create_index(
        "entry_undecided",
        "entry",
        ["id"],
        unique=False,
        sqlite_where=sa.text(undecided),
        postgresql_where=sa.text(undecided),
    )
    op.create_index(
        "entry_warned",
        "entry",
        ["id"],
        unique=False,
        sqlite_where=sa.text("evidence = 'warned'"),
        postgresql_where=sa.text("evidence = 'warned'"),
    )
    op.create_index(
        "entry_open",
        "entry",
        [
            "resource",
            "state",
            "stream",
            "reason",
            "waits_for",
            "due_at",
            "changed_at",
            "created_at",
            "publish_by",
            "done_at",
            "loan_id",
            "identity",
            "version",
            "settled_at",
        ],
        unique=False,
        sqlite_where=sa.text("settled_at IS NULL"),
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_index(
        "entry_due",
        "entry",
        ["resource", "publish_by", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.create_index(
        "entry_ended",
        "entry",
        ["settled_at", "state", "evidence", "resource"],
        unique=False,
        sqlite_where=sa.text("settled_at IS NOT NULL"),
        postgresql_where=sa.text("settled_at IS NOT NULL"),
    )
    op.create_index(
        "entry_position",
        "entry",
        ["loan_id", "period", "state", "reason"],
        unique=False,
        sqlite_where=sa.text("resource = 'repayment' AND state <> 'superseded'"),
        postgresql_where=sa.text("resource = 'repayment' AND state <> 'superseded'"),
    )
    op.create_index(
        "entry_left_at_closing",
        "entry",
        ["period", "loan_id"],
        unique=False,
        sqlite_where=sa.text(
            "state = 'withdrawn' AND reason IN"
            " ('window_closed', 'closed_unknown', 'position_fell', 'position_exceeds_principal')"
        ),
        postgresql_where=sa.text(
            "state = 'withdrawn' AND reason IN"
            " ('window_closed', 'closed_unknown', 'position_fell', 'position_exceeds_principal')"
        ),
    )
    op.create_index(
        "entry_once_in_its_life",
        "entry",
        ["resource", "identity"],
        unique=True,
        sqlite_where=sa.text("resource IN ('journal', 'loan_draft') AND state IN ('sending', 'in_doubt', 'delivered')"),
        postgresql_where=sa.text(
            "resource IN ('journal', 'loan_draft') AND state IN ('sending', 'in_doubt', 'delivered')"
        ),
    )
    op.create_index(
        "entry_one_in_flight",
        "entry",
        ["resource", "identity"],
        unique=True,
        sqlite_where=sa.text("state IN ('sending', 'in_doubt')"),
        postgresql_where=sa.text("state IN ('sending', 'in_doubt')"),
    )
    op.create_index(
        "entry_one_ready",
        "entry",
        ["resource", "identity"],
        unique=True,
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.create_index(
        "entry_one_waiting",
        "entry",
        ["resource", "identity"],
        unique=True,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "hold",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("what", sa.Text(), nullable=False, comment="all, a resource, or stream:NAME"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("held_by", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "allowance", sa.Integer(), server_default="0", nullable=False, comment="so many may pass although held"
        ),
        sa.Column("released_at", sa.Text(), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("release_note", sa.Text(), nullable=True),
        sa.CheckConstraint("allowance >= 0", name=op.f("hold_allowance")),
        sa.PrimaryKeyConstraint("id", name=op.f("hold_pkey")),
    )
    op.create_index(
        "hold_in_force",
        "hold",
        ["what", "reason"],
        unique=True,
        sqlite_where=sa.text("released_at IS NULL"),
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "fence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="grows with each holder; every write of the daemon checks it",
        ),
        sa.Column("holder", sa.Text(), nullable=True, comment="host, pid and a random part; NULL: nobody"),
        sa.Column("expires_at", sa.Text(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("lease_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("lease_pkey")),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False, comment="destination, partner, mis, outbox_id, …"),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("meta_pkey")),
    )
    op.create_table(
        "mirror_refresh",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("listed", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("mirror_refresh_pkey")),
    )
    op.create_table(
        "tally",
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False, comment="YYYY-MM; empty but for positions"),
        sa.Column("line", sa.Text(), nullable=False, comment="delivered, or adopted"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.CheckConstraint("resource IN ('journal', 'loan_draft', 'repayment')", name=op.f("tally_resource")),
        sa.CheckConstraint("line IN ('delivered', 'adopted')", name=op.f("tally_line")),
        sa.PrimaryKeyConstraint("resource", "period", "line", name=op.f("tally_pkey")),
    )
    op.create_table(
        "watermark",
        sa.Column("stream", sa.Text(), nullable=False, comment="a mapping's name"),
        sa.Column("generation", sa.Integer(), server_default="1", nullable=False),
        sa.Column("w", sa.Text(), nullable=True, comment="opaque text of the source; NULL: nothing read yet"),
        sa.Column("mode", sa.Text(), nullable=True),
        sa.Column("moved_at", sa.Text(), nullable=True),
        sa.Column("scan", sa.Text(), nullable=True, comment="backfill, sweep, or leaving: its second half; NULL: none"),
        sa.Column("scan_number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("scan_after", sa.Text(), nullable=True, comment="the last key that the scan has read"),
        sa.Column("scan_started_at", sa.Text(), nullable=True),
        sa.Column("backfilled_at", sa.Text(), nullable=True),
        sa.Column("swept_at", sa.Text(), nullable=True),
        sa.CheckConstraint("scan IS NULL OR scan IN ('backfill', 'sweep', 'leaving')", name=op.f("watermark_scan")),
        sa.PrimaryKeyConstraint("stream", name=op.f("watermark_pkey")),
    )
    op.create_table(
        "attempt",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
            comment="the number that the witness knows",
        ),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("request_sha256", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True, comment="NULL: under way, or the process ended"),
        sa.Column("body_complete", sa.Boolean(), nullable=True, comment="was the whole request handed to the network?"),
        sa.Column("status", sa.Integer(), nullable=True, comment="HTTP status, when a status line came"),
        sa.Column(
            "detail",
            sa.Text(),
            nullable=True,
            comment="Kiva's own words, or what the network said; at most 2,000 characters",
        ),
        sa.Column(
            "problems", sa.Text(), nullable=True, comment="what Kiva said of the call, and of none of its entries"
        ),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('accepted', 'refused', 'not_processed', 'in_doubt')",
            name=op.f("attempt_outcome"),
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name=op.f("attempt_ended_with_outcome")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("attempt_batch_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("attempt_pkey")),
    )
    op.create_index(op.f("attempt_batch_id"), "attempt", ["batch_id"], unique=False)
    op.create_index("attempt_by_outcome", "attempt", ["resource", "outcome", "id"], unique=False)
    op.create_index(
        "attempt_open",
        "attempt",
        ["id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "attempt_with_words",
        "attempt",
        ["ended_at"],
        unique=False,
        sqlite_where=sa.text("(detail IS NOT NULL OR problems IS NOT NULL)"),
        postgresql_where=sa.text("(detail IS NOT NULL OR problems IS NOT NULL)"),
    )
    op.create_table(
        "batch_member",
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False, comment="its place in the request, from 0"),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("batch_member_batch_id_fkey")),
        sa.ForeignKeyConstraint(["entry_id"], ["entry.id"], name=op.f("batch_member_entry_id_fkey")),
        sa.PrimaryKeyConstraint("batch_id", "entry_id", name=op.f("batch_member_pkey")),
    )
    op.create_index(op.f("batch_member_entry_id"), "batch_member", ["entry_id"], unique=False)
    op.create_table(
        "divergence",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="changed, or left_scope"),
        sa.Column("fields", sa.Text(), nullable=False, comment="[{field, was, is}]"),
        sa.Column("reasons", sa.Text(), nullable=False, comment="why the row no longer maps: [{code, field, params}]"),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True, comment="acknowledged, or no longer true"),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('changed', 'left_scope')", name=op.f("divergence_kind")),
        sa.ForeignKeyConstraint(["entry_id"], ["entry.id"], name=op.f("divergence_entry_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("divergence_pkey")),
    )
    op.create_index(
        "divergence_open",
        "divergence",
        ["entry_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("divergence_by_entry", "divergence", ["entry_id", "id"], unique=False)
    op.create_index(
        "divergence_seen",
        "divergence",
        ["entry_id", "id"],
        unique=False,
        sqlite_where=sa.text("ended_by NOT IN ('a newer difference', 'the MIS')"),
        postgresql_where=sa.text("ended_by NOT IN ('a newer difference', 'the MIS')"),
    )
    op.create_table(
        "mirror",
        sa.Column("kiva_id", sa.Text(), nullable=False),
        sa.Column("loan_id", sa.Text(), nullable=False, comment="internal_loan_id, exactly as Kiva spells it"),
        sa.Column("loan_fold", sa.Text(), nullable=False, comment="by which it is looked for: resource/loan_id.py"),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("amount", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("first_seen", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "missed_by",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="a reading that did not list it",
        ),
        sa.ForeignKeyConstraint(["first_seen"], ["mirror_refresh.id"], name=op.f("mirror_first_seen_fkey")),
        sa.ForeignKeyConstraint(["missed_by"], ["mirror_refresh.id"], name=op.f("mirror_missed_by_fkey")),
        sa.PrimaryKeyConstraint("kiva_id", name=op.f("mirror_pkey")),
    )
    op.create_index(op.f("mirror_loan_fold"), "mirror", ["loan_fold"], unique=False)
    op.create_index(
        "mirror_missed",
        "mirror",
        ["missed_by"],
        unique=False,
        sqlite_where=sa.text("missed_by IS NOT NULL"),
        postgresql_where=sa.text("missed_by IS NOT NULL"),
    )
    op.create_index(op.f("mirror_status"), "mirror", ["status"], unique=False)
    op.create_table(
        "scan",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="the watermark's scan_number that it belongs to"),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="backfill, sweep, or edit: a sweep after a mapping was edited"
        ),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False, comment="rows in scope when it began"),
        sa.Column("done", sa.Integer(), nullable=False, comment="rows read"),
        sa.Column("found", sa.Integer(), nullable=False, comment="rows that were not as they were known"),
        sa.Column("gone", sa.Integer(), nullable=False, comment="of these: left the scope, or deleted"),
        sa.Column("missed", sa.Integer(), nullable=False, comment="of these: polling would never have found them"),
        sa.Column("at", sa.Text(), nullable=True, comment="when its latest page was read; NULL before the first"),
        sa.CheckConstraint("kind IN ('backfill', 'sweep', 'edit')", name=op.f("scan_kind")),
        sa.CheckConstraint("number > 0 AND total >= 0 AND done >= 0 AND missed >= 0", name=op.f("scan_counts")),
        sa.CheckConstraint("gone >= 0 AND found >= gone", name=op.f("scan_gone_is_found")),
        sa.CheckConstraint("at IS NOT NULL OR (done = 0 AND found = 0)", name=op.f("scan_counted_by_a_page")),
        sa.ForeignKeyConstraint(["stream"], ["watermark.stream"], name=op.f("scan_stream_fkey")),
        sa.PrimaryKeyConstraint("stream", name=op.f("scan_pkey")),
    )
