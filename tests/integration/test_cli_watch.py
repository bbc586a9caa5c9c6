"""`watch setup` and `watch drop`, and what `check` and `status` say of the stream."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from kiva_relay import cli, errors
from kiva_relay.cli import watched_mis
from kiva_relay.clock import SystemClock
from kiva_relay.outbox import heartbeat
from kiva_relay.outbox.heartbeat import Heartbeat, Reachability
from kiva_relay.source import replication
from testbed.rig import patience
from testbed.rig.patience import eventually
from testbed.rig.streamed import Streamed, Turned

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(streamed_mis: Streamed, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str]:
        code = cli.main([*arguments, "--config", str(streamed_mis.folder / "config.yaml")])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def changes(command: Command, *more: str) -> list[tuple[str, str]]:
    """What `check` says about changes."""
    _, said = command("check", "--json", *more)
    return [(one["word"], one["text"]) for one in json.loads(said)["findings"] if one["about"] == "changes"]


def test_what_setup_prints_makes_it_and_then_nothing_is_missing(streamed_mis: Streamed, command: Command) -> None:
    name = streamed_mis.name
    streamed_mis.sql("ALTER SYSTEM RESET max_slot_wal_keep_size")
    streamed_mis.sql("SELECT pg_reload_conf()")
    eventually(lambda: streamed_mis.sql("SHOW max_slot_wal_keep_size") == [("-1",)])
    code, said = command("watch", "setup")
    assert code == 0
    assert "-- " in said
    statements = [line for line in said.splitlines() if not line.startswith("--")]
    tables = "public.instalment, public.loan, public.note"
    version = int(streamed_mis.sql("SHOW server_version_num")[0][0])
    survives = ", failover => true" if version >= 170_000 else ""
    options = "WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
    assert statements == [
        "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB';",
        "SELECT pg_reload_conf();",
        "ALTER TABLE public.instalment REPLICA IDENTITY FULL;",
        f"CREATE PUBLICATION {name} FOR TABLE {tables} {options};",
        f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput'{survives});",
    ]
    assert "public.instalment: loan_id" in said
    for statement in statements:
        streamed_mis.sql(statement)
    try:
        _, said = command("watch", "setup")
        assert said == f"-- Nothing is missing: publication and slot {name} are there.\n"
        streamed_mis.sql(f"ALTER PUBLICATION {name} DROP TABLE note")
        _, said = command("watch", "setup", "--json")
        assert json.loads(said) == [f"ALTER PUBLICATION {name} SET TABLE public.instalment, public.loan, public.note;"]
    finally:
        streamed_mis.sql("ALTER SYSTEM RESET max_slot_wal_keep_size")
        streamed_mis.sql("SELECT pg_reload_conf()")


def test_apply_runs_it_and_drop_undoes_it(streamed_mis: Streamed, command: Command) -> None:
    code, said = command("watch", "setup", "--apply")
    try:
        assert code == 0, said
        assert streamed_mis.sql("SELECT plugin FROM pg_replication_slots WHERE slot_name = %s", streamed_mis.name)
        code, said = command("watch", "setup", "--apply")
        assert "Nothing was missing." in said
        code, said = command("watch", "drop")
        assert "pg_drop_replication_slot" in said
        assert "REPLICA IDENTITY DEFAULT" in said
        assert streamed_mis.sql("SELECT FROM pg_publication WHERE pubname = %s", streamed_mis.name)
        code, said = command("watch", "drop", "--apply")
        assert code == 0, said
        assert not streamed_mis.sql("SELECT FROM pg_publication WHERE pubname = %s", streamed_mis.name)
        assert not streamed_mis.active()
        _, said = command("watch", "drop")
        assert said.startswith("-- Nothing is there")
    finally:
        streamed_mis.sql("ALTER SYSTEM RESET max_slot_wal_keep_size")
        streamed_mis.sql("SELECT pg_reload_conf()")


def test_drop_waits_until_the_relay_that_runs_lets_go(streamed_mis: Streamed, command: Command) -> None:
    streamed_mis.set_up()
    with streamed_mis.capture() as relay:
        relay.following()
        said = command("watch", "drop")[1]
        assert re.match(r"-- Process \d+ reads the slot; a relay lets go of it at its next look\.\n", said)
        gone: list[tuple[int, str]] = []
        dropping = threading.Thread(target=lambda: gone.append(command("watch", "drop", "--apply")))
        dropping.start()
        eventually(lambda: not streamed_mis.sql("SELECT FROM pg_publication WHERE pubname = %s", streamed_mis.name))
        assert streamed_mis.active()
        relay.capture.cycle()
        patience.joined(dropping)
        assert gone[0][0] == 0, gone
        assert not streamed_mis.active()
        assert set(relay.capture.modes.values()) == {"xmin"}
        assert not relay.follow.standing.live


def test_a_slot_that_somebody_else_reads_is_named(
    streamed_mis: Streamed, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_mis, "_LETS_GO_WITHIN", timedelta(0))
    streamed_mis.set_up()
    other = replication.Tail(sa.make_url(streamed_mis.url), password=None, name=streamed_mis.name, news=lambda: None)
    other.start()
    try:
        eventually(streamed_mis.active)
        code, said = command("watch", "drop", "--apply")
        assert code == 1
        assert "is active for PID" in said
        assert "SELECT active_pid FROM pg_replication_slots;" in said
    finally:
        other.close()


def test_who_may_not_is_told_who_could(streamed_mis: Streamed, command: Command) -> None:
    streamed_mis.sql("DROP ROLE IF EXISTS nobody_much")
    streamed_mis.sql("CREATE ROLE nobody_much LOGIN PASSWORD 'x'")
    admin = streamed_mis.url.replace(f"postgres:{streamed_mis.server.password}", "nobody_much:x")
    code, said = command("watch", "setup", "--apply", "--admin", admin)
    assert code == 1
    assert re.search("The MIS refused after 0 statements: (permission denied|must be owner of table)", said)
    assert re.search("kiva-relay watch setup --apply --admin postgresql://(SUPERUSER|OWNER)@HOST/DATABASE", said)
    assert admin not in said


def test_only_postgresql_has_a_stream(tmp_path: object, streamed_mis: Streamed, command: Command) -> None:
    file = streamed_mis.folder / "config.yaml"
    file.write_text(file.read_text().replace(streamed_mis.url, f"sqlite:///{streamed_mis.folder}/mis.db"))
    code, said = command("watch", "setup")
    assert code == 2
    assert "Only PostgreSQL" in said


def test_check_says_the_way_what_it_costs_and_what_would_better_it(streamed_mis: Streamed, command: Command) -> None:
    found = changes(command)
    # On a slow machine a look costs so much that an index is worth naming, too.
    by_stream = next(text for word, text in found if word == "off" and "PostgreSQL's stream" in text)
    assert by_stream.startswith("By PostgreSQL's stream they would come within milliseconds, deletes included.")
    assert by_stream.endswith("kiva-relay watch setup")
    assert any("noticed by xmin" in text for _, text in found)
    assert any("of the MIS's time, every" in text for _, text in found)
    words = [word for word, text in changes(command, "--set", "mis.watch=replication") if "is replication, but" in text]
    assert words == ["error"]
    streamed_mis.set_up()
    streamed_mis.sql("ALTER TABLE instalment REPLICA IDENTITY DEFAULT")
    found = changes(command)
    assert any("loan_draft: 3 in scope; changes are noticed by replication" in text for _, text in found)
    assert any(word == "ok" and "nobody reads it now" in text for word, text in found)
    assert any(word == "warning" and "public.instalment: loan_id" in text for word, text in found)
    left = [text for word, text in changes(command, "--set", "mis.watch=poll") if word == "warning"]
    assert any("nobody reads it" in text and text.endswith("kiva-relay watch drop") for text in left)


def beats(relay: Turned) -> None:
    now = SystemClock().now()
    beat = Heartbeat(now, "1", 1, now, mis=Reachability(last_good=now), replication=relay.follow.standing)
    with relay.outbox.begin() as tx:
        heartbeat.write(tx, beat)


def test_status_says_when_the_stream_is_followed_and_when_it_is_not(streamed_mis: Streamed, command: Command) -> None:
    streamed_mis.set_up()
    with streamed_mis.capture() as relay:
        relay.following()
        beats(relay)
        assert "its stream is followed" in command("status")[1]
        streamed_mis.drop_slot()
        eventually(lambda: relay.capture.cycle() is not None and not relay.follow.standing.live)
        beats(relay)
        said = command("status")[1]
        assert "Changes do not come by the MIS's stream; it is polled instead. Nothing is lost." in said
        assert f"there is no slot {streamed_mis.name}" in said
        assert "kiva-relay watch setup" in said


def test_an_installation_without_a_stream_hears_nothing_of_it(streamed_mis: Streamed, command: Command) -> None:
    with streamed_mis.capture() as relay:
        relay.capture.cycle()
        beats(relay)
        assert "stream" not in command("status")[1].replace(str(streamed_mis.folder), "")


def test_another_database_than_postgresql_refuses_replication(streamed_mis: Streamed) -> None:
    mis = streamed_mis.settings.mis.model_copy(update={"url": "sqlite:///x.db", "watch": "replication"})
    settings = streamed_mis.settings.model_copy(update={"mis": mis})
    changed = Streamed(**{**streamed_mis.__dict__, "settings": settings})
    with pytest.raises(errors.UsageError, match="only PostgreSQL has"), changed.capture():
        pass
