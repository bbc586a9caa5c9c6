"""A session on the MIS: nothing in it changes what is read, and nothing of a mapping is written or outlives it."""

from __future__ import annotations

import re
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source import session_mariadb, session_postgresql
from kiva_relay.source.mis import Mis
from kiva_relay.source.stream import Relation, Stream
from testbed.database import mariadb_found
from testbed.rig import small_mis
from testbed.rig.patience import eventually

TODAY = date(2026, 11, 30)
LOANS = Stream(name="loans", resource="loan_draft", table="loan", key=("id",))

ODD = {
    "DateStyle": "SQL, DMY", "IntervalStyle": "iso_8601", "TimeZone": "Asia/Kolkata", "bytea_output": "escape",
    "extra_float_digits": "-5", "lc_numeric": "POSIX", "xmlbinary": "hex", "standard_conforming_strings": "off",
    "transform_null_equals": "on", "row_security": "off", "gin_fuzzy_search_limit": "1", "statement_timeout": "1h",
    "default_transaction_isolation": "serializable", "quote_all_identifiers": "on", "array_nulls": "off",
}  # fmt: skip

# Settings that a database or a role may have and we leave alone, by the reason.
LEFT = {
    "it is how the DBA lets names be found, and who the role is": (
        "search_path|temp_tablespaces|default_tablespace|role|session_authorization|lo_compat_privileges|createrole_.*"
    ),
    "money is cast to a number, by the lc_monetary it was written with; words of errors are for people": "lc_.*",
    "it is what a mapping's own full text search means": "default_text_search_config",
    "speed and memory only": (
        "enable_.*|synchronize_seqscans|.*_cost|.*_mem|work_mem|hash_mem_multiplier|geqo.*|.*_collapse_limit|cursor_tuple_fraction|jit_.*"
        "|constraint_exclusion|parallel_.*|max_parallel_.*|min_parallel_.*|effective_.*|debug_.*|force_parallel_mode"
        "|from_.*|join_.*|plan_cache_mode|default_statistics_target|temp_.*|backend_flush_after|.*_io_concurrency"
        "|recursive_worktable_factor|stats_fetch_consistency|max_stack_depth|vacuum_.*|default_toast_compression"
        "|io_combine_limit|file_copy_method|seq_page_cost"
    ),
    "it is about writing": (
        "synchronous_commit|commit_.*|wal_.*|default_table_access_method|check_function_bodies|session_replication_role"
        "|password_encryption|scram_iterations|event_triggers|md5_.*|deadlock_timeout|gin_pending_list_limit"
        "|ignore_event_trigger|idle_replication_slot_timeout|track_commit_timestamp"
    ),
    "it is about the log, the statistics and the wire": (
        "log_.*|backtrace_functions|track_.*|compute_query_id|client_min_messages|update_process_title|application_name|client_encoding"
        "|tcp_.*|client_connection_check_interval|client_.*|trace_.*|exit_on_error|escape_string_warning|icu_.*|ssl_.*"
        "|post_auth_delay|ignore_system_indexes|unix_.*|logical_decoding_.*|bonjour.*|send_abort.*|.*_logging"
    ),
    "only a superuser may set it, against a broken disk or to load code": (
        "zero_damaged_pages|ignore_checksum_failure|allow_.*|.*_preload_libraries|dynamic_library_path|restrict_.*"
        "|extension_control_path|in_hot_standby_.*"
    ),
    "it is ours for each transaction": "transaction_isolation|transaction_read_only|transaction_deferrable|seed",
}


@pytest.fixture
def mis(postgres_database: str) -> Iterator[Mis]:
    with psycopg.connect(postgres_database, autocommit=True) as teller:
        teller.execute("CREATE TABLE loan (id int PRIMARY KEY, name text); INSERT INTO loan VALUES (1, 'Awa')")
        for name, odd in ODD.items():
            teller.execute(f"ALTER DATABASE {teller.info.dbname} SET \"{name}\" = '{odd}'".encode())
    with closing(small_mis.open_mis(postgres_database)) as mis:
        yield mis


def settings(mis: Mis) -> dict[str, str]:
    return mis._snapshots.once(
        lambda cx: {row.name: row.setting for row in cx.execute(sa.text("SELECT * FROM pg_settings"))}
    )


def test_whatever_a_database_says_the_session_is_ours(mis: Mis) -> None:
    found = settings(mis)
    assert {name: found[name] for name in session_postgresql.PINNED if name in found} == {
        name: given for name, given in session_postgresql.PINNED.items() if name in found
    }


def test_each_setting_of_the_server_has_a_decision(mis: Mis) -> None:
    """A newer server with a new setting makes this ask: pin it, or say why it may be left."""
    asked = "SELECT name FROM pg_settings WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend')"
    names = mis._snapshots.once(lambda cx: set(cx.scalars(sa.text(asked))))
    bounds = {"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"}
    undecided = names - session_postgresql.PINNED.keys() - bounds
    undecided = {one for one in undecided if "." not in one}
    assert sorted(one for one in undecided if not any(re.fullmatch(left, one) for left in LEFT.values())) == []


BROKEN_OUT = (
    "SELECT 1 AS id) r; COMMIT; DELETE FROM loan; SELECT * FROM (SELECT 1 AS id",
    "SELECT E'\\'' AS id) r; COMMIT; DELETE FROM loan; -- '",
    "SELECT 1 AS id) r; ROLLBACK; SET default_transaction_read_only = off; DELETE FROM loan; --",
    "WITH gone AS (DELETE FROM loan RETURNING id) SELECT id FROM gone",
)


@pytest.mark.parametrize("sql", BROKEN_OUT)
def test_a_select_that_was_broken_out_of_writes_nothing_as_a_superuser(
    mis: Mis, postgres_database: str, sql: str
) -> None:
    for ask in (mis.columns, mis.choices):
        with pytest.raises(errors.RelayError):
            ask(sql)
    stream = Stream(
        name="loans", resource="loan_draft", table="loan", key=("id",),
        relations=(Relation(name="odd", sql=sql, match={"id": "id"}, many=True),),
    )  # fmt: skip
    with pytest.raises(errors.RelayError):
        mis.read(stream, ["1"], cutoff=TODAY)
    with psycopg.connect(postgres_database) as teller:
        assert teller.execute("SELECT count(*) FROM loan").fetchone() == (1,)


@pytest.mark.parametrize(
    "sql",
    ["COPY loan TO PROGRAM 'true'", "LISTEN ours", "SET row_security = off", "DO $$ BEGIN END $$", "LOAD 'x'",
     "PREPARE p AS SELECT 1", "DELETE FROM loan", "/* SELECT */ LOCK TABLE loan", "EXPLAIN ANALYZE SELECT 1"],
)  # fmt: skip
def test_choices_are_a_select(mis: Mis, sql: str) -> None:
    with pytest.raises(errors.RelayError, match="begin with SELECT"):
        mis.choices(sql)


def test_nothing_of_a_session_is_left_for_the_next(mis: Mis) -> None:
    """By a view, say, where no reader of a mapping sees it."""
    before = settings(mis)
    leaves = (
        "SELECT set_config('search_path', 'nowhere', false), set_config('statement_timeout', '0', false),"
        " set_config('session_replication_role', 'replica', false), set_config('default_transaction_read_only', 'off', false),"
        " pg_advisory_lock(7)"
    )
    mis._snapshots.once(lambda cx: cx.execute(sa.text(leaves)))
    assert settings(mis) == before
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    assert mis._snapshots.once(lambda cx: cx.scalar(sa.text(locks))) == 0


def test_nothing_of_a_mappings_sql_is_left_for_the_next_question_of_a_cycle(mis: Mis) -> None:
    before = settings(mis)
    leaves = "SELECT set_config('search_path', 'nowhere', false), set_config('statement_timeout', '0', false)"
    with mis.together():
        assert settings(mis) == before
        mis._snapshots.asked("looking", lambda cx: cx.execute(sa.text(leaves)).one())
        assert settings(mis) == before
    assert settings(mis) == before


def test_a_value_that_python_has_not_costs_nothing_else(mis: Mis, postgres_database: str) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as teller:
        teller.execute(
            "ALTER TABLE loan ADD wait interval DEFAULT '1 year 2 mons 3 days', ADD day date DEFAULT 'infinity',"
            " ADD old date DEFAULT '0044-03-15 BC', ADD far timestamp DEFAULT '12026-01-01', ADD night timetz"
            " DEFAULT '24:00+00', ADD spans daterange DEFAULT '[2026-01-01,infinity)', ADD many date[] DEFAULT"
            " '{infinity}', ADD net inet DEFAULT '10.0.0.1/8', ADD odd numeric DEFAULT 'NaN', ADD j jsonb DEFAULT '{}'"
        )
    (content,) = mis.read(LOANS, ["1"], cutoff=TODAY)
    assert content.root is not None
    assert content.root["name"] == "Awa"
    assert content.root["wait"] == "1 year 2 mons 3 days"  # of which Python would make 428 days
    assert content.root["day"] == "infinity"
    assert content.root["old"] == "0044-03-15 BC"
    assert str(content.root["night"]) == "24:00:00+00"


def test_a_byte_that_is_no_utf8_costs_its_value_only(postgres_server: Any) -> None:
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute("CREATE DATABASE ascii_mis ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    url = postgres_server.url("ascii_mis")
    with psycopg.connect(url, autocommit=True) as teller:
        teller.execute("CREATE TABLE loan (id int PRIMARY KEY, name text, amount numeric)")
        teller.execute(r"INSERT INTO loan VALUES (1, E'Jos\xe9', 5), (2, 'Awa', 6)")
    with closing(small_mis.open_mis(url)) as mis:
        contents = mis.read(LOANS, ["1", "2"], cutoff=TODAY)
    assert [one.root for one in contents] == [
        {"id": 1, "name": "Jos\N{REPLACEMENT CHARACTER}", "amount": Decimal(5)},
        {"id": 2, "name": "Awa", "amount": Decimal(6)},
    ]


def test_cursors_have_one_name_in_the_statistics_of_the_dba(mis: Mis, postgres_database: str) -> None:
    poller = small_mis.Poller(mis, LOANS)
    seen: list[str] = []
    sa.event.listen(
        mis._engine, "before_cursor_execute", lambda *given: seen.append(str(getattr(given[1], "name", "")))
    )
    with small_mis.connect(postgres_database) as teller:
        for _ in range(3):  # a look at which nothing was written is left out
            teller.execute("UPDATE loan SET id = id")
            poller.poll()
    assert set(filter(None, seen)) == {"kiva_relay"}


def test_rows_that_a_policy_hides_later_stop_the_mapping_instead_of_leaving(mis: Mis, postgres_database: str) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as teller:
        teller.execute("DROP ROLE IF EXISTS sees_some")
        teller.execute("CREATE ROLE sees_some LOGIN PASSWORD 'x'; GRANT SELECT ON loan TO sees_some")
        url = sa.make_url(postgres_database).set(username="sees_some", password="x")
        try:
            with closing(small_mis.open_mis(url.render_as_string(hide_password=False))) as some:
                assert some.secured([LOANS]) == []
                cycle = some.changes([LOANS], {"loans": None})
                assert not cycle.failed
                teller.execute("ALTER TABLE loan ENABLE ROW LEVEL SECURITY")
                assert some.secured([LOANS]) == ["loan"]
                cycle = some.changes([LOANS], dict(cycle.next), secured=cycle.secured)
                assert "row level security of loan was switched on" in str(cycle.failed["loans"])
            assert mis.secured([LOANS]) == []
        finally:
            teller.execute("DROP OWNED BY sees_some; DROP ROLE sees_some")


# ---------------------------------------------------------------- a pooler


def test_a_pooler_in_transaction_mode_is_refused_and_one_in_session_mode_is_not(
    postgres_database: str,
) -> None:
    pgbouncer = shutil.which("pgbouncer")
    if pgbouncer is None:
        pytest.skip("cannot run here: no pgbouncer is installed")
    with psycopg.connect(postgres_database, autocommit=True) as teller:
        teller.execute("CREATE TABLE loan (id int PRIMARY KEY); INSERT INTO loan VALUES (1)")
    # It runs as nobody, who may not look into the folders of a test.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        _pooled(pgbouncer, Path(folder), sa.make_url(postgres_database))


def _pooled(pgbouncer: str, folder: Path, target: sa.URL) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    entry = f"host={target.host} port={target.port} dbname={target.database} user={target.username}"
    entry += f" password={target.password}"
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\nsession = {entry} pool_mode=session\ntransaction = {entry} pool_mode=transaction\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n"
        "auth_file =\n"
    )
    command = [pgbouncer, str(folder / "pgbouncer.ini")]
    with subprocess.Popen([*command, "-u", "nobody"], stderr=subprocess.DEVNULL) as running:
        try:

            def answers() -> bool:
                try:
                    psycopg.connect(f"postgresql://any@127.0.0.1:{port}/session").close()
                except psycopg.OperationalError:
                    return False
                return True

            eventually(answers)
            with closing(small_mis.open_mis(f"postgresql://any@127.0.0.1:{port}/session")) as mis:
                assert mis.scan(LOANS, after=None, limit=5) == ["1"]
            with closing(small_mis.open_mis(f"postgresql://any@127.0.0.1:{port}/transaction")) as mis:
                with pytest.raises(errors.UsageError, match="PgBouncer"):
                    mis.server()
        finally:
            running.terminate()


# ---------------------------------------------------------------- MariaDB, MySQL and SQLite


def test_a_mariadb_session_is_ours_and_leaves_nothing(mariadb_url: str) -> None:
    with closing(small_mis.open_mis(mariadb_url)) as mis:

        def shown(cx: sa.Connection) -> dict[str, str]:
            return {row[0].lower(): row[1] for row in cx.execute(sa.text("SHOW SESSION VARIABLES"))}

        before = mis._snapshots.once(shown)
        assert {before[f"character_set_{of}"] for of in ("client", "connection", "results")} == {"utf8mb4"}
        for name, given in session_mariadb.PINNED.items():
            off = {0: {"0", "OFF", "NO_CHAIN"}, 1: {"1", "ON"}}.get(
                given if isinstance(given, int) else -1, {str(given)}
            )
            assert name not in before or before[name] in off, name
        mis._snapshots.once(
            lambda cx: [cx.exec_driver_sql(one) for one in (
                "SET SESSION sql_mode = 'ANSI_QUOTES', sql_select_limit = 1, time_zone = '+05:30'",
                "SELECT GET_LOCK('ours', 0), @left := 7",
            )]
        )  # fmt: skip
        changing = {
            "timestamp",
            "pseudo_thread_id",
            "rand_seed1",
            "rand_seed2",
            "last_insert_id",
            "identity",
            "statement_id",
        }
        after = mis._snapshots.once(shown)
        assert {name for name in after if after[name] != before.get(name)} <= changing
        assert mis._snapshots.once(lambda cx: cx.exec_driver_sql("SELECT IS_FREE_LOCK('ours'), @left").one()) == (
            1,
            None,
        )


MARIADB_LEFT = {
    "the transaction is begun by us, read only, and what we say after each reset is in force": (
        "autocommit|tx_isolation|tx_read_only|transaction_.*|in_transaction|identity|last_insert_id|last_gtid|timestamp|rand_seed."
        "|error_count|warning_count|insert_id|external_user|proxy_user|pseudo_.*|profiling.*|default_master_connection"
    ),
    "SET NAMES sets it": "character_set_(?:client|connection|results)|collation_connection",
    "it follows the character set, and a column's own collation counts before it": (
        "character_set_(?:database|filesystem|server)|collation_.*|character_set_collations|default_collation_.*"
    ),
    "it is what a mapping's own SQL of that kind means": "block_encryption_mode|max_points_in_geometry",
    "it is about a group of servers, and waits": "group_replication_consistency",
    "it is about writing and making tables": (
        "alter_algorithm|default_table_encryption|enable_cascade_triggers|external_table_.*|generated_random_.*|rbr_exec_mode"
        "|require_row_format|restrict_fk_.*|select_into_disk_.*|sql_generate_invisible_primary_key|sql_require_primary_key"
        "|xa_detach_on_prepare|original_.*_version|original_commit_timestamp|immediate_server_version|innodb_ddl_threads|auto_increment_.*|big_tables|binlog_.*|bulk_insert_.*|check_constraint_checks|column_compression_.*"
        "|default_.*storage_engine|storage_engine|enforce_storage_engine|explicit_defaults_.*|foreign_key_checks|unique_checks|gtid_.*"
        "|innodb_(?:compression|default|strict|table_locks|tmpdir|ft_).*|keep_files_.*|low_priority_updates|max_insert_.*|max_delayed_.*"
        "|old_alter_table|old_passwords|sql_if_exists|sql_log_bin|sql_safe_updates|system_versioning_(?:alter|insert)_history"
        "|updatable_views_.*|.*_repair_threads|myisam_sort_.*|aria_sort_.*|skip_.*replication|wsrep_.*|server_id|sql_slave_.*"
        "|max_relay_.*|max_binlog_.*|sql_quote_show_create|net_retry_count"
    ),
    "speed and memory only": (
        "connection_memory_.*|global_connection_memory_tracking|enable_secondary_engine_.*|secondary_engine_cost_.*"
        "|innodb_parallel_read_threads|internal_tmp_.*|parser_max_mem_size|optimizer_.*|.*_buffer_size|.*_buff_size|.*_block_size|.*_prealloc_size|join_.*|mrr_.*|eq_range_.*|expensive_subquery_limit"
        "|histogram_.*|use_stat_tables|analyze_.*|.*_stats_method|max_heap_.*|max_length_for_sort_data|max_rowid_.*|max_seeks_.*"
        "|max_session_mem_used|max_tmp_.*|max_tmp_session_space_usage|tmp_.*|query_cache_.*|sql_buffer_result|deadlock_.*"
        "|net_buffer_length|thread_pool_.*|innodb_lock_wait_timeout|mhnsw_.*|old|slow_query.*"
    ),
    "it is about what SHOW and EXPLAIN say, which we do not ask": (
        "end_markers_in_json|explain_.*|print_identified_.*|show_create_table_.*|show_gipk_.*|statement_id|terminology_.*"
    ),
    "it is about the log, the warnings and the wire": (
        "log_.*|long_query_time|min_examined_.*|lc_messages|max_error_count|note_verbosity|sql_notes|sql_warnings|sql_log_off"
        "|progress_report_time|session_track_.*|tcp_nodelay|net_read_timeout|interactive_timeout|wait_timeout|max_allowed_packet"
        "|max_user_connections|redirect_url"
    ),
    "it lets SQL through, or not, and changes no answer": "standard_compliant_cte|max_sp_recursion_depth|secure_.*",
}


def test_each_setting_of_a_mariadb_session_has_a_decision(mariadb_url: str) -> None:
    """A newer server with a new setting makes this ask: pin it, or say why it may be left."""
    with closing(small_mis.open_mis(mariadb_url)) as mis:
        of_mysql = mis.server().startswith("MySQL")
        where = "performance_schema.variables_metadata" if of_mysql else "information_schema.system_variables"
        asked = f"SELECT LOWER(variable_name) FROM {where} WHERE variable_scope LIKE 'SESSION%'"
        names = mis._snapshots.once(lambda cx: set(cx.scalars(sa.text(asked))))
    assert len(names) > 150
    undecided = names - session_mariadb.PINNED.keys() - session_mariadb._bounds(1).keys()
    assert sorted(one for one in undecided if not any(re.fullmatch(left, one) for left in MARIADB_LEFT.values())) == []


def test_a_day_of_the_past_is_not_read_for_today(mariadb_url: str) -> None:
    """By system_versioning_asof, which my.cnf or a mapping's view may set."""
    server = mariadb_found.server()
    assert server is not None
    with server.connect(database=sa.make_url(mariadb_url).database) as teller, teller.cursor() as cursor:
        cursor.execute("CREATE TABLE loan (id int PRIMARY KEY, name text) WITH SYSTEM VERSIONING")
        cursor.execute("INSERT INTO loan VALUES (1, 'Awa')")
    with closing(small_mis.open_mis(mariadb_url)) as mis:
        connects = "SET SESSION system_versioning_asof = '2020-01-01 00:00:00'"
        sa.event.listen(
            mis._engine,
            "connect",
            lambda raw, _record: (raw.cursor().execute(connects), raw.cursor().execute(raw.pins)),
        )
        assert mis.read(LOANS, ["1"], cutoff=TODAY)[0].root == {"id": 1, "name": "Awa"}


@pytest.fixture
def mariadb_url() -> Iterator[str]:
    server = mariadb_found.server()
    if server is None:
        pytest.skip("this machine has no MariaDB")
    with server.database() as name:
        yield server.mis_url(name)


@pytest.mark.parametrize(
    "sql",
    ["ATTACH '{folder}/made.db' AS made", "PRAGMA query_only = OFF", "SELECT load_extension('x')",
     "SELECT * FROM (SELECT 1) r; DELETE FROM loan", "WITH x AS (SELECT 1) DELETE FROM loan"],
)  # fmt: skip
def test_sqlite_shows_and_does_nothing_else(tmp_path: Path, sql: str) -> None:
    _file(tmp_path)
    with closing(small_mis.open_mis(f"sqlite:///{tmp_path}/mis.db")) as mis:
        with pytest.raises((errors.RelayError, sa.exc.SQLAlchemyError, sqlite3.Error)):
            mis._snapshots.once(lambda cx: cx.exec_driver_sql(sql.format(folder=tmp_path)).all())
        assert mis.scan(LOANS, after=None, limit=5) == ["1"]
    assert [one.name for one in tmp_path.iterdir()] == ["mis.db"]


def test_a_statement_on_a_file_ends_after_its_time(tmp_path: Path) -> None:
    _file(tmp_path)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) AS id, '' AS name FROM n"
    with closing(small_mis.open_mis(f"sqlite:///{tmp_path}/mis.db", seconds=0.3)) as mis:
        with pytest.raises(errors.RelayError, match="took longer"):
            mis.choices(endless)


def _file(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "mis.db")) as teller:
        teller.execute("CREATE TABLE loan (id INTEGER PRIMARY KEY)")
        teller.execute("INSERT INTO loan VALUES (1)")
        teller.commit()
