"""Capture on a real PostgreSQL: what a poller loses, and ours must not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source import dialect_postgresql, position, reader, watch
from kiva_relay.source.mis import Mis
from kiva_relay.source.stream import Relation, Stream
from testbed.database import postgres
from testbed.rig import patience, small_mis
from testbed.rig.small_mis import LOANS, Poller

TODAY = date(2026, 11, 30)
Teller = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(params=["xmin", "horizon"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    # Without it, rows of the last seconds are read again in any case, and these tests would prove nothing.
    monkeypatch.setattr(dialect_postgresql, "CLOCK_TOLERANCE", timedelta(0))
    return str(request.param)


@pytest.fixture
def mis(postgres_database: str, mode: str) -> Iterator[Mis]:
    small_mis.create(postgres_database, indexed=mode == "horizon")
    with closing(small_mis.open_mis(postgres_database)) as mis:
        yield mis


@pytest.fixture
def teller(postgres_database: str, mis: Mis) -> Iterator[Teller]:
    with small_mis.connect(postgres_database) as teller:
        yield teller


class Naive:
    """The poller that everybody writes first."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._last = datetime.min.replace(tzinfo=UTC)
        self.poll()

    def poll(self) -> list[object]:
        rows = self._teller.execute("SELECT id, changed FROM loan WHERE changed > %s", [self._last]).fetchall()
        self._last = max([self._last, *(row[1] for row in rows if isinstance(row[1], datetime))])
        return [row[0] for row in rows]


def test_auto_uses_the_horizon_where_stamps_are_indexed_and_else_xmin(mis: Mis, mode: str) -> None:
    assert mis.changes([LOANS], {"loans": None}).mode == {"loans": mode}


def test_a_late_commit_is_found_where_a_naive_poller_loses_it(mis: Mis, teller: Teller, postgres_database: str) -> None:
    poller, naive = Poller(mis, LOANS), Naive(teller)
    with small_mis.connect(postgres_database) as late, late.transaction():
        late.execute("UPDATE loan SET amount = 1, changed = now() WHERE id = 1")
        for status in (200, 300, 200):
            teller.execute("UPDATE loan SET status = %s, changed = now() WHERE id = 2", [status])
            assert poller.poll() == {"loans": ["2"]}
            assert naive.poll() == [2]
    assert poller.poll() == {"loans": ["1"]}
    assert naive.poll() == []


def test_a_transaction_that_stamped_before_its_first_write_is_found(
    mis: Mis, teller: Teller, postgres_database: str
) -> None:
    poller = Poller(mis, LOANS)
    with small_mis.connect(postgres_database) as late, late.transaction():
        late.execute("SELECT now()")  # no transaction id yet
        teller.execute("UPDATE loan SET changed = now() WHERE id = 2")
        assert poller.poll() == {"loans": ["2"]}
        late.execute("UPDATE loan SET changed = now() WHERE id = 1")
        assert poller.poll() == {"loans": []}
    assert poller.poll() == {"loans": ["1"]}


def test_rows_written_in_a_savepoint_are_found(mis: Mis, teller: Teller, postgres_database: str) -> None:
    poller = Poller(mis, LOANS)
    with small_mis.connect(postgres_database) as late, late.transaction():
        late.execute("SELECT pg_current_xact_id()")
        teller.execute("UPDATE loan SET changed = now() WHERE id = 2")
        with late.transaction():
            late.execute("UPDATE loan SET changed = now() WHERE id = 1")
        assert poller.poll() == {"loans": ["2"]}
        teller.execute("UPDATE loan SET changed = now() WHERE id = 3")
        assert poller.poll() == {"loans": ["3"]}
    assert poller.poll() == {"loans": ["1"]}


def test_what_was_processed_is_not_given_again_while_an_old_transaction_pins_the_watermark(
    mis: Mis, teller: Teller, postgres_database: str
) -> None:
    poller = Poller(mis, LOANS)
    with small_mis.connect(postgres_database) as old, old.transaction():
        old.execute("SELECT pg_current_xact_id()")
        teller.execute("UPDATE loan SET changed = now() WHERE id = 1")
        assert poller.poll() == {"loans": ["1"]}
        assert poller.poll() == {"loans": []}
        teller.execute("UPDATE loan SET changed = now() WHERE id = 1")
        cycle = mis.changes([LOANS], poller.watermarks)
        assert cycle.keys == {"loans": ["1"]}
        # Not called processed: its content was not committed.
        assert mis.changes([LOANS], poller.watermarks).keys == {"loans": ["1"]}
        assert poller.poll() == {"loans": ["1"]}
        # A relay that was restarted sees it all again.
        with closing(small_mis.open_mis(postgres_database)) as restarted:
            assert restarted.changes([LOANS], poller.watermarks).keys == {"loans": ["1"]}
        assert cycle.horizon_age > timedelta(0)
    assert poller.poll() == {"loans": []}
    assert poller.poll() == {"loans": []}
    assert mis._done is not None
    assert not any(mis._done.remembered.values())


def test_a_watermark_that_was_set_back_shows_again_what_was_processed(mis: Mis, teller: Teller) -> None:
    poller = Poller(mis, LOANS)
    before = dict(poller.watermarks)
    teller.execute("UPDATE loan SET changed = now() WHERE id = 1")
    assert poller.poll() == {"loans": ["1"]}
    poller.watermarks = before
    assert poller.poll() == {"loans": ["1"]}


def test_a_stream_that_joins_later_is_not_silenced_by_what_others_processed(
    mis: Mis, teller: Teller, postgres_database: str
) -> None:
    poller = Poller(mis, LOANS)
    with small_mis.connect(postgres_database) as old, old.transaction():
        old.execute("SELECT pg_current_xact_id()")
        teller.execute("UPDATE loan SET changed = now() WHERE id = 1")
        poller.poll()
        poller.streams += (replace(LOANS, name="repayments"),)
        assert poller.poll() == {"loans": [], "repayments": []}
        assert poller.poll() == {"loans": [], "repayments": ["1"]}
        assert poller.poll() == {"loans": [], "repayments": []}


def test_relations_lead_to_their_roots(mis: Mis, teller: Teller) -> None:
    poller = Poller(mis, LOANS)
    teller.execute("UPDATE instalment SET principal = 51, changed = now() WHERE loan_id = 1 AND number = 2")
    assert poller.poll() == {"loans": ["1"]}
    teller.execute("UPDATE client SET name = 'Awa', changed = now() WHERE id = 2")
    assert poller.poll() == {"loans": ["2"]}


def test_a_table_without_a_stamp_leads_to_its_root_over_two_hops(mis: Mis, teller: Teller) -> None:
    poller = Poller(mis, LOANS)
    teller.execute("UPDATE gender SET name = 'Femme' WHERE id = 2")
    assert poller.poll() == {"loans": ["1", "3"]}


def test_touched_by_may_be_chained_and_may_be_a_select(mis: Mis, teller: Teller) -> None:
    teller.execute("CREATE TABLE glim (id int PRIMARY KEY); INSERT INTO glim VALUES (7), (8)")
    teller.execute("ALTER TABLE loan ADD glim_id int; UPDATE loan SET glim_id = 7 WHERE id IN (1, 2)")
    teller.execute("CREATE VIEW signed AS SELECT 8 AS glim, now() AS at")
    glims = Stream(
        name="glims",
        resource="loan_draft",
        table="glim",
        key=("id",),
        touched_by=(
            Relation(name="member", table="loan", match={"glim_id": "id"}, changed_at=("changed",)),
            Relation(table="instalment", match={"loan_id": "member.id"}, changed_at=("changed",)),
            Relation(sql="SELECT glim, at FROM signed", match={"glim": "id"}, changed_at=("at",)),
        ),
    )
    poller = Poller(mis, glims)
    assert poller.poll() == {"glims": ["8"]}
    teller.execute("CREATE OR REPLACE VIEW signed AS SELECT 8 AS glim, timestamptz '2020-01-01' AS at")
    poller.poll()
    assert poller.poll() == {"glims": []}
    teller.execute("UPDATE instalment SET changed = now() WHERE loan_id = 2")
    assert poller.poll() == {"glims": ["7"]}
    teller.execute("UPDATE loan SET changed = now() WHERE id = 1")
    assert poller.poll() == {"glims": ["7"]}
    teller.execute("UPDATE loan SET changed = now() WHERE id = 3")
    assert poller.poll() == {"glims": []}
    teller.execute("INSERT INTO glim VALUES (9)")
    assert poller.poll() == {"glims": ["9"]}


def test_leaving_the_scope_is_a_change(mis: Mis, teller: Teller) -> None:
    poller = Poller(mis, LOANS)
    teller.execute("UPDATE loan SET status = 500, changed = now() WHERE id = 1")
    assert poller.poll() == {"loans": ["1"]}
    (content,) = mis.read(LOANS, ["1"], cutoff=TODAY)
    assert (content.in_scope, content.root is None) == (False, False)


def test_six_thousand_changes_at_once(mis: Mis, teller: Teller) -> None:
    teller.execute("INSERT INTO client SELECT n, 'C', 1 FROM generate_series(10, 6009) n")
    teller.execute("INSERT INTO loan SELECT n, n, n FROM generate_series(10, 6009) n")
    poller = Poller(mis, LOANS)
    teller.execute("UPDATE client SET changed = now() WHERE id >= 10")
    keys = poller.poll()["loans"]
    assert len(keys) == 6000
    contents = mis.read(LOANS, keys, cutoff=TODAY)
    assert [content.key for content in contents] == keys
    assert all(content.related["client"] for content in contents)


def test_a_watermark_too_old_for_the_width_of_a_transaction_id_means_everything(mis: Mis, teller: Teller) -> None:
    poller = Poller(mis, LOANS)
    stands = position.parse(str(poller.watermarks["loans"]))
    assert stands.xid is not None
    ahead = position.Position(stands.server, stands.xid + 2**32, stands.moment)
    dialect = dialect_postgresql.PostgreSQL()
    facts = watch.TableFacts("xmin", {})
    one = watch.Watched(("table", "loan"), "loan", "loan", sql=None, routes=(), stamps=())
    sql, _ = dialect.since(one, facts, at=stands, now=ahead, zones=[], prefix="p")
    assert sql == "TRUE"


def test_another_database_or_an_older_one_is_noticed(mis: Mis, teller: Teller) -> None:
    poller = Poller(mis, LOANS)
    watermark = str(poller.watermarks["loans"])
    stands = position.parse(watermark)
    assert stands.xid is not None
    assert not mis.went_back(watermark)
    other = replace(stands, server="postgresql:1/other").text()
    newer = replace(stands, xid=stands.xid + 1000).text()
    future = replace(stands, moment=stands.moment + timedelta(days=1)).text()
    assert all(mis.went_back(text) for text in (other, newer, future))
    for text in (other, newer):
        with pytest.raises(errors.RelayError, match=r"other|older"):
            mis.changes([LOANS], {"loans": text})


def test_a_page_costs_a_query_a_relation_and_a_look_one_a_table(postgres_database: str) -> None:
    small_mis.create(postgres_database, loans=400)
    with closing(small_mis.open_mis(postgres_database)) as mis, small_mis.connect(postgres_database) as teller:
        poller, asked = Poller(mis, LOANS), list[str]()
        poller.poll()
        sa.event.listen(mis._engine, "before_cursor_execute", lambda *given: asked.append(given[2]))

        def queries(look: Callable[[], object]) -> dict[str, int]:
            asked.clear()
            look()
            tables = Counter(re.findall(r"FROM (\w+)", statement)[0] for statement in asked if " FROM " in statement)
            return {name: tables[name] for name in ("loan", "client", "gender", "instalment") if tables[name]}

        one = dict.fromkeys(("loan", "client", "gender", "instalment"), 1)
        assert queries(lambda: mis.read(LOANS, ["1"], cutoff=TODAY)) == one
        assert queries(lambda: mis.read(LOANS, [str(number) for number in range(1, 301)], cutoff=TODAY)) == one
        teller.execute("CREATE TABLE unrelated (id int)")
        assert queries(poller.poll) == one
        teller.execute("UPDATE loan SET amount = amount + 1")
        assert queries(poller.poll) == one
        teller.execute("UPDATE instalment SET principal = 1")
        assert queries(poller.poll) == one | {"loan": 2}, "to route them to their roots"


def test_without_the_grant_it_falls_back_and_says_which_grant(postgres_database: str) -> None:
    small_mis.create(postgres_database, indexed=True)
    with small_mis.connect(postgres_database) as admin:
        admin.execute("DROP ROLE IF EXISTS relay_without")
        admin.execute("CREATE ROLE relay_without LOGIN PASSWORD 'it''s @secret'")
        admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO relay_without")
        plain = f"postgresql://relay_without@{admin.info.host}:{admin.info.port}/{admin.info.dbname}"
        with closing(small_mis.open_mis(plain, password="it's @secret")) as mis:
            cycle = mis.changes([LOANS], {"loans": None})
            assert cycle.mode == {"loans": "xmin"}
            assert "relay_without" in cycle.reasons["loans"]
            assert mis.horizon().remedy == "GRANT pg_read_all_stats TO relay_without;"
            assert mis.can_write() == []
            admin.execute("GRANT UPDATE (amount) ON loan TO relay_without")
            assert mis.can_write() == ["loan"]
            admin.execute("REVOKE UPDATE (amount) ON loan FROM relay_without")
            poller = Poller(mis, LOANS)
            admin.execute("UPDATE loan SET amount = 7 WHERE id = 1")  # not stamped: only xmin can see it
            assert poller.poll() == {"loans": ["1"]}
            admin.execute("GRANT pg_read_all_stats TO relay_without")
            assert mis.changes([LOANS], {"loans": None}).mode == {"loans": "horizon"}
        admin.execute("DROP OWNED BY relay_without")
        admin.execute("REVOKE pg_read_all_stats FROM relay_without")
        admin.execute("DROP ROLE relay_without")


def test_a_session_that_hides_its_transactions_ends_the_trust_in_the_horizon(postgres_database: str) -> None:
    small_mis.create(postgres_database, indexed=True)
    with small_mis.connect(postgres_database) as hidden, closing(small_mis.open_mis(postgres_database)) as mis:
        assert mis.horizon().blind == ""
        hidden.execute("SET track_activities = off")
        with hidden.transaction():
            hidden.execute("UPDATE loan SET changed = now() WHERE id = 1")
            assert "track_activities" in mis.horizon().blind
            assert mis.changes([LOANS], {"loans": None}).mode == {"loans": "xmin"}


def test_overlap_reads_the_last_minutes_again_but_gives_each_row_version_once(postgres_database: str) -> None:
    small_mis.create(postgres_database)
    with (
        small_mis.connect(postgres_database) as teller,
        closing(small_mis.open_mis(postgres_database, watch="overlap")) as mis,
    ):
        poller = Poller(mis, LOANS)
        teller.execute("UPDATE loan SET changed = now() - interval '5 minutes' WHERE id = 1")
        assert "1" in poller.poll()["loans"]
        assert poller.poll() == {"loans": []}
        assert mis.changes([LOANS], poller.watermarks).mode == {"loans": "overlap"}


def test_stamps_of_several_columns_and_without_a_zone(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect_postgresql, "CLOCK_TOLERANCE", timedelta(0))
    with small_mis.connect(postgres_database) as teller:
        teller.execute("CREATE TABLE note (id int PRIMARY KEY, created timestamp, modified timestamp, day date)")
        local = "now() AT TIME ZONE 'Asia/Kolkata'"
        teller.execute("INSERT INTO note VALUES (1, timestamp '2020-01-01', NULL, NULL)")
        stream = Stream(
            name="notes",
            resource="journal",
            table="note",
            key=("id",),
            changed_at=("modified", "created"),
            changed_at_zone="Asia/Kolkata",
        )
        with closing(small_mis.open_mis(postgres_database, watch="horizon")) as mis:
            poller = Poller(mis, stream)
            teller.execute(f"INSERT INTO note VALUES (2, {local}, NULL, NULL)")
            assert poller.poll() == {"notes": ["2"]}
            teller.execute(f"UPDATE note SET modified = {local} WHERE id = 1")
            assert poller.poll() == {"notes": ["1"]}
            (content,) = mis.read(stream, ["2"], cutoff=TODAY)
            assert content.root is not None
            created = content.root["created"]
            assert isinstance(created, datetime)
            assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)
            days = replace(stream, changed_at=("day",))
            poller = Poller(mis, days)
            teller.execute("UPDATE note SET day = (now() AT TIME ZONE 'Asia/Kolkata')::date WHERE id = 1")
            assert poller.poll() == {"notes": ["1"]}
            assert poller.poll() == {"notes": []}


def test_the_session_is_named_bounded_read_only_in_utc_and_leaves_nothing_open(postgres_database: str) -> None:
    small_mis.create(postgres_database)
    with closing(small_mis.open_mis(postgres_database, seconds=0.3)) as mis:
        asked = "SELECT name, setting FROM pg_settings WHERE name IN ("
        asked += "'application_name', 'statement_timeout', 'TimeZone', 'default_transaction_read_only',"
        asked += " 'transaction_read_only', 'transaction_isolation')"
        assert dict(mis.choices(asked)) == {
            "application_name": "kiva-relay",
            "statement_timeout": "300",
            "TimeZone": "UTC",
            "default_transaction_read_only": "on",
            "transaction_read_only": "on",
            "transaction_isolation": "repeatable read",
        }
        with pytest.raises(errors.RelayError, match=r"took longer than 0\.3 s") as caught:
            mis.choices("SELECT pg_sleep(10)")
        assert not isinstance(caught.value, errors.Unreachable)
        with pytest.raises(errors.RelayError, match="read-only"):
            mis.choices(
                "WITH new AS (INSERT INTO gender VALUES (3, 'Other') RETURNING id, name) SELECT id, name FROM new"
            )
        mis.read(LOANS, ["1"], cutoff=TODAY)
        Poller(mis, LOANS).poll()
        with small_mis.connect(postgres_database) as other:
            states = other.execute(
                "SELECT state, xact_start FROM pg_stat_activity WHERE application_name = 'kiva-relay'"
                " AND datname = current_database()"
            ).fetchall()
        assert states == [("idle", None)]


def test_a_restarted_server_is_no_error_and_one_that_is_away_is_said_so(tmp_path: Path) -> None:
    with postgres.start(tmp_path / "pg") as server:
        url = server.create_database("mis")
        small_mis.create(url)
        with closing(small_mis.open_mis(url)) as mis:
            poller = Poller(mis, LOANS)
            server.restart()
            with small_mis.connect(url) as teller:
                teller.execute("UPDATE loan SET status = 300 WHERE id = 2")
            assert poller.poll() == {"loans": ["2"]}
            server.stop()
            with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:\d+/mis: ") as caught:
                poller.poll()
            assert server.password not in str(caught.value)
            server.start()
            assert poller.poll() == {"loans": []}


def test_dates_that_only_postgresql_knows_spoil_one_row_and_not_the_page(postgres_database: str) -> None:
    small_mis.create(postgres_database)
    with small_mis.connect(postgres_database) as teller, closing(small_mis.open_mis(postgres_database)) as mis:
        teller.execute("UPDATE instalment SET due = 'infinity', changed = '-infinity' WHERE loan_id = 1")
        one, two = mis.read(LOANS, ["1", "2"], cutoff=TODAY)
    assert isinstance(one.related["schedule"], list)
    assert isinstance(two.related["schedule"], list)
    assert (one.related["schedule"][0]["due"], one.related["schedule"][0]["changed"]) == ("infinity", "-infinity")
    assert two.related["schedule"][0]["due"] == date(2026, 12, 2)


def test_names_that_are_not_there_are_named_with_the_nearest(postgres_database: str) -> None:
    small_mis.create(postgres_database)
    with closing(small_mis.open_mis(postgres_database)) as mis:
        for wrong, told in (
            (replace(LOANS, table="lone"), "no table lone; did you mean loan"),
            (replace(LOANS, changed_at=("chnged",)), "loans: loan has no column chnged; did you mean changed"),
            (replace(LOANS, changed_at=("account",)), "changed_at needs a timestamp"),
        ):
            cycle = mis.changes([wrong], {"loans": None})
            assert told in str(cycle.failed["loans"])
            assert cycle.next == {}
        with pytest.raises(errors.RelayError, match=r"reading loans: column \"stat\" does not exist"):
            mis.read(replace(LOANS, where="stat = 1"), ["1"], cutoff=TODAY)
        assert mis.columns("loan")["amount"] == "number"
        assert mis.columns("SELECT id, changed AS at FROM loan WHERE changed::date <= :cutoff -- so far") == {
            "id": "integer",
            "at": "datetime",
        }


def test_a_table_that_is_truncated_under_the_snapshot_is_read_again(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_mis.create(postgres_database)
    read = reader.read
    cut: list[object] = []
    with small_mis.connect(postgres_database) as teller, closing(small_mis.open_mis(postgres_database)) as mis:

        def interrupted(page: reader.RowPage, keys: list[str]) -> list[reader.Content]:
            if not cut:
                cut.append(True)
                teller.execute("TRUNCATE instalment")
                teller.execute("INSERT INTO instalment VALUES (1, 1, date '2026-12-01', 99)")
            return read(page, keys)

        monkeypatch.setattr(reader, "read", interrupted)
        (content,) = mis.read(LOANS, ["1"], cutoff=TODAY)
        assert isinstance(content.related["schedule"], list)
        assert [row["principal"] for row in content.related["schedule"]] == [99]


# ---------------------------------------------------------------- a look that can show nothing is left out


def quiet(poller: Poller) -> bool:
    """Is a look left out at last? The server itself writes now and then."""
    deadline = patience.Deadline()
    while not deadline.over:
        cycle = poller.mis.changes(poller.streams, poller.watermarks)
        assert not any(cycle.keys.values())
        poller.watermarks.update(cycle.next)
        poller.mis.processed(cycle)
        if cycle.left_out:
            return True
    return False


def test_a_look_is_left_out_while_nothing_is_written_and_no_longer(mis: Mis, teller: Teller, mode: str) -> None:
    teller.execute("CREATE UNLOGGED TABLE scrap (loan_id bigint PRIMARY KEY, note text)")
    scraps = Stream(name="scraps", resource="journal", table="scrap", key=("loan_id",))
    poller = Poller(mis, LOANS, scraps)
    assert quiet(poller)
    asked: list[str] = []
    sa.event.listen(mis._engine, "before_cursor_execute", lambda _cx, _cursor, sql, *_: asked.append(sql))
    assert quiet(poller)
    assert not [sql for sql in asked if "FROM" in sql and '"loan"' in sql]
    teller.execute("UPDATE loan SET amount = 1, changed = now() WHERE id = 1")
    assert poller.poll() == {"loans": ["1"], "scraps": []}
    assert quiet(poller)
    teller.execute("INSERT INTO scrap VALUES (2, 'x')")
    assert poller.poll() == {"loans": [], "scraps": ["2"]}


def test_no_look_is_left_out_while_a_transaction_is_open(mis: Mis, teller: Teller, postgres_database: str) -> None:
    """Its commit may be in the log already while it waits for a standby: nothing is written when it can be seen."""
    poller = Poller(mis, LOANS)
    with small_mis.connect(postgres_database) as other, other.transaction():
        other.execute("UPDATE loan SET amount = 1, changed = now() WHERE id = 1")
        for _ in range(20):
            cycle = mis.changes(poller.streams, poller.watermarks)
            poller.watermarks.update(cycle.next)
            mis.processed(cycle)
            assert not cycle.left_out
    assert poller.poll() == {"loans": ["1"]}


def test_no_look_is_left_out_that_was_not_captured_or_that_asks_from_elsewhere(mis: Mis, teller: Teller) -> None:
    poller = Poller(mis, LOANS)
    assert quiet(poller)
    assert not mis.changes(poller.streams, {"loans": None}).left_out
    assert quiet(poller)
    teller.execute("UPDATE loan SET amount = 1, changed = now() WHERE id = 1")
    for _ in range(3):  # what was found was not written
        assert mis.changes(poller.streams, poller.watermarks).keys == {"loans": ["1"]}
    cycle = mis.changes(poller.streams, poller.watermarks)
    mis.processed(cycle, but={"loans"})
    assert mis.changes(poller.streams, poller.watermarks).keys == {"loans": ["1"]}


def test_what_a_cycle_asks_before_its_look_shares_a_session_but_no_snapshot(mis: Mis, teller: Teller) -> None:
    """Each question had a session of its own: tried before, and all that others may leave in one taken back after."""
    poller = Poller(mis, LOANS)
    used: list[object] = []
    sa.event.listen(mis._engine, "checkout", lambda *given: used.append(given[0]))
    with mis.together():
        mis.horizon()
        teller.execute("UPDATE loan SET amount = 1, changed = now() WHERE id = 1")
        assert poller.poll() == {"loans": ["1"]}
        assert len(used) == 1
        teller.execute("UPDATE loan SET amount = 2, changed = now() WHERE id = 2")
        mis.horizon()
        assert poller.poll() == {"loans": ["2"]}
        assert len(used) == 2, "what others left in the session was taken back"
    mis.horizon()
    mis.horizon()
    assert len(used) == 4


def test_a_session_that_ends_in_the_middle_of_a_cycle_is_another_one_for_the_next_question(
    mis: Mis, teller: Teller
) -> None:
    ours = "FROM pg_stat_activity WHERE application_name = 'kiva-relay' AND datname = current_database()"
    with mis.together():
        mis.horizon()
        teller.execute(f"SELECT pg_terminate_backend(pid) {ours}".encode())
        patience.eventually(lambda: not teller.execute(f"SELECT 1 {ours}".encode()).fetchall())
        with pytest.raises(errors.Unreachable):
            mis.horizon()
        mis.horizon()


FOREIGN = (
    "CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER there FOREIGN DATA WRAPPER elsewhere;"
    " CREATE FOREIGN TABLE far (id int) SERVER there"
)
SHOWN = "CREATE VIEW shown AS SELECT id, account, current_date AS day FROM loan"
BY_SQL = Relation(sql="SELECT id, current_date AS day FROM loan", match={"id": "id"}, changed_at=("day",))


@pytest.mark.parametrize(
    ("made", "stream"),
    [
        (FOREIGN, LOANS),
        (SHOWN, Stream(name="shown", resource="journal", table="shown", key=("id",))),
        ("SELECT 1", replace(LOANS, touched_by=(BY_SQL,))),
    ],
    ids=["foreign", "view", "sql"],
)
def test_where_something_may_change_without_a_write_every_look_is_taken(
    mis: Mis, teller: Teller, made: str, stream: Stream
) -> None:
    teller.execute(made)
    poller = Poller(mis, stream)
    for _ in range(20):
        cycle = mis.changes(poller.streams, poller.watermarks)
        poller.watermarks.update(cycle.next)
        mis.processed(cycle)
        assert not cycle.left_out
