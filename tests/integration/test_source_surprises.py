"""What a MIS may hold or do that nobody thought of: it costs a row or a look, never the stream, and nothing is missed."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path

import psycopg
import pytest

from kiva_relay import errors
from kiva_relay.capture import page
from kiva_relay.source.gap import Gap
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import Relation, Stream
from testbed.rig import patience, small_mis
from testbed.rig.patience import eventually
from testbed.rig.small_mis import LOANS, Poller
from testbed.rig.streamed import Streamed

TODAY = date(2026, 11, 30)
PLAIN = Stream(name="loans", resource="loan_draft", table="loan", key=("id",))


@pytest.mark.parametrize("zone", ["America/Lima", "Asia/Kolkata"])
def test_moments_that_another_zone_has_no_day_for(postgres_database: str, zone: str) -> None:
    small_mis.create(postgres_database)
    with small_mis.connect(postgres_database) as teller:
        teller.execute("ALTER TABLE loan ADD valid_from timestamp DEFAULT '0001-01-01', ADD valid_to timestamp")
        teller.execute("UPDATE loan SET valid_to = '9999-12-31 23:59:59'")
        teller.execute("ALTER TABLE loan ADD opens time DEFAULT '24:00', ADD more json, ADD others jsonb")
        teller.execute(
            """UPDATE loan SET more = '{"a": "\\ud83d"}', others = ('{"a": ' || repeat('9', 5000) || '}')::jsonb"""
        )
    with closing(small_mis.open_mis(postgres_database, timezone=zone)) as mis:
        (content,) = mis.read(PLAIN, ["1"], cutoff=TODAY)
    assert content.root is not None
    from_, to = content.root["valid_from"], content.root["valid_to"]
    assert {str(from_)[:10], str(to)[:10]} >= {"0001-01-01" if zone == "Asia/Kolkata" else "9999-12-31"}
    assert content.root["opens"] == "24:00:00"
    assert content.root["more"] == '{"a": "\\ud83d"}'
    assert len(str(content.root["others"])) == 5007


def test_an_accident_with_one_row_costs_its_mapping_and_not_the_relay(
    streamed_mis: Streamed, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = page._digest

    def bad(content: object, look: object) -> str:
        if look.document.name == "loan_draft":  # type: ignore[attr-defined]
            raise OverflowError("date value out of range")
        return digest(content, look)  # type: ignore[arg-type]

    with streamed_mis.capture() as relay:
        for _ in range(3):
            relay.capture.cycle()
        monkeypatch.setattr(page, "_digest", bad)
        streamed_mis.sql("UPDATE loan SET first_name = 'Zoe' WHERE id = 1")
        streamed_mis.sql("INSERT INTO note (id, account, body) VALUES (1, 'L1', 'KIVA: x')")
        relay.capture.cycle()
        assert relay.capture.stopped == {"loan_draft": "a row that is not understood (OverflowError, see the log)"}
        monkeypatch.setattr(page, "_digest", digest)
        relay.capture._fit._next_look.clear()
        relay.capture.cycle()
        assert relay.capture.stopped == {}
        assert relay.name("L1") == "Zoe"


def test_what_a_page_that_failed_did_not_put_down_is_found_again_while_an_old_transaction_pins_w(
    streamed_mis: Streamed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with streamed_mis.capture() as relay, streamed_mis.another() as old:
        for _ in range(4):
            relay.capture.cycle()
        old.execute("BEGIN")
        old.execute("SELECT pg_current_xact_id()")
        relay.capture.cycle()
        streamed_mis.sql("UPDATE loan SET first_name = 'Zoe' WHERE id = 1")
        read = relay.mis.read

        def interrupted(stream: Stream, keys: list[str], *, cutoff: date) -> object:
            if stream.name == "loan_draft":
                raise errors.RelayError("it took longer than 30 s")
            return read(stream, keys, cutoff=cutoff)

        monkeypatch.setattr(relay.mis, "read", interrupted)
        relay.capture.cycle()
        assert set(relay.capture.stopped) == {"loan_draft"}
        monkeypatch.setattr(relay.mis, "read", read)
        relay.capture._fit._next_look.clear()  # as a reload does, or a poll that is rare
        relay.capture.cycle()
        assert relay.name("L1") == "Zoe"
        old.execute("ROLLBACK")


def _drop_and_create(work: psycopg.Connection[object]) -> None:
    work.execute("CREATE TABLE copied AS SELECT * FROM loan")
    work.execute("DROP TABLE loan")
    work.execute("CREATE TABLE loan (LIKE copied)")
    work.execute("INSERT INTO loan SELECT * FROM copied")


def _swap(work: psycopg.Connection[object]) -> None:
    work.execute("CREATE TABLE loan_new AS SELECT * FROM loan")
    work.execute("ALTER TABLE loan RENAME TO loan_old")
    work.execute("ALTER TABLE loan_new RENAME TO loan")


def _swap_for_one_that_was_there(work: psycopg.Connection[object]) -> None:
    work.execute("INSERT INTO spare SELECT * FROM loan")
    work.execute("DROP TABLE loan")
    work.execute("ALTER TABLE spare RENAME TO loan")


def _swap_a_child(work: psycopg.Connection[object]) -> None:
    work.execute("CREATE TABLE i2 AS SELECT * FROM instalment")
    work.execute("DROP TABLE instalment")
    work.execute("ALTER TABLE i2 RENAME TO instalment")


@pytest.mark.parametrize("rebuild", [_drop_and_create, _swap, _swap_for_one_that_was_there, _swap_a_child])
def test_a_table_that_is_replaced_while_it_is_waited_for_is_not_believed_to_be_empty(
    postgres_database: str, rebuild: Callable[[psycopg.Connection[object]], None]
) -> None:
    small_mis.create(postgres_database)
    with small_mis.connect(postgres_database) as teller:
        teller.execute("CREATE TABLE spare (LIKE loan)")
    with small_mis.connect(postgres_database) as work, closing(small_mis.open_mis(postgres_database)) as mis:
        work.execute("BEGIN")
        rebuild(work)
        read: list[Content] = []
        reading = threading.Thread(target=lambda: read.extend(mis.read(LOANS, ["1", "2"], cutoff=TODAY)))
        reading.start()
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        eventually(lambda: work.execute(waits).fetchone() == (1,))
        work.execute("COMMIT")
        patience.joined(reading)
        assert [(one.key, one.in_scope, len(one.related["schedule"] or ())) for one in read] == [
            ("1", True, 2),
            ("2", True, 2),
        ]


def test_a_view_with_a_stamp_is_watched_by_it(postgres_database: str) -> None:
    small_mis.create(postgres_database)
    with small_mis.connect(postgres_database) as teller, closing(small_mis.open_mis(postgres_database)) as mis:
        teller.execute("CREATE VIEW owed AS SELECT * FROM loan")
        stream = Stream(name="loans", resource="loan_draft", table="owed", key=("id",), changed_at=("changed",))
        poller = Poller(mis, stream)
        poller.poll()
        teller.execute("UPDATE loan SET amount = 5, changed = now() WHERE id = 2")
        assert poller.poll() == {"loans": ["2"]}
        assert poller.poll() == {"loans": []}


# ---------------------------------------------------------------- SQLite


def _export(file: Path, *, types: bool, amount: int = 100, digits: str = "") -> None:
    with closing(sqlite3.connect(file)) as made:
        columns = "id INTEGER PRIMARY KEY, client INT, amount NUMERIC" if types else "id, client, amount"
        made.execute(f"CREATE TABLE loan ({columns})")
        made.execute("CREATE TABLE client (id, name TEXT)")
        made.executemany("INSERT INTO loan VALUES (?, ?, ?)", [(n, n, amount) for n in range(1, 6)])
        made.executemany("INSERT INTO client VALUES (?, ?)", [(n, f"Awa {n}") for n in range(1, 6)])
        if digits:
            made.execute("UPDATE loan SET id = CAST(id AS TEXT)")
        made.commit()


CLIENTS = Relation(name="client", table="client", match={"id": "client"})
EXPORT = Stream(name="loans", resource="loan_draft", table="loan", key=("id",), relations=(CLIENTS,))


def test_a_file_that_was_renamed_over_the_old_one_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mis.db"
    _export(file, types=True)
    with closing(small_mis.open_mis(f"sqlite:///{file}")) as mis:
        poller = Poller(mis, EXPORT)
        assert len(poller.poll()["loans"]) == 5
        _export(tmp_path / "new.db", types=True, amount=200)
        (tmp_path / "new.db").replace(file)
        poller.poll()
        assert [one.root and one.root["amount"] for one in mis.read(EXPORT, ["1", "5"], cutoff=TODAY)] == [200, 200]
        file.unlink()
        with pytest.raises(errors.Unreachable):
            poller.poll()
        _export(file, types=True, amount=300)
        poller.poll()
        assert [one.root and one.root["amount"] for one in mis.read(EXPORT, ["2"], cutoff=TODAY)] == [300]


def test_columns_without_a_type_are_keys_too(tmp_path: Path) -> None:
    _export(tmp_path / "mis.db", types=False)
    with closing(small_mis.open_mis(f"sqlite:///{tmp_path}/mis.db")) as mis:
        assert mis.scan(EXPORT, after=None, limit=3) == ["1", "2", "3"]
        assert mis.scan(EXPORT, after="3", limit=3) == ["4", "5"]
        contents = mis.read(EXPORT, ["1", "4"], cutoff=TODAY)
        assert [(one.root and one.root["id"], one.related["client"]) for one in contents] == [
            (1, {"id": 1, "name": "Awa 1"}), (4, {"id": 4, "name": "Awa 4"}),
        ]  # fmt: skip


def test_digits_as_text_without_a_type_are_keys_and_both_together_have_no_order(tmp_path: Path) -> None:
    _export(tmp_path / "mis.db", types=False, digits="text")
    with closing(small_mis.open_mis(f"sqlite:///{tmp_path}/mis.db")) as mis:
        assert [one.root and one.root["id"] for one in mis.read(EXPORT, ["1", "4"], cutoff=TODAY)] == ["1", "4"]
        assert mis.scan(EXPORT, after="3", limit=3) == ["4", "5"]
        with closing(sqlite3.connect(tmp_path / "mis.db")) as teller:
            teller.execute("INSERT INTO loan VALUES (3, 3, 100)")
            teller.commit()
        with pytest.raises(errors.RelayError, match="has no type that would give an order"):
            mis.scan(EXPORT, after="3", limit=3)


def test_ids_of_twenty_digits_are_text(tmp_path: Path) -> None:
    _export(tmp_path / "mis.db", types=True)
    with closing(sqlite3.connect(tmp_path / "mis.db")) as teller:
        teller.execute("CREATE TABLE note (id TEXT PRIMARY KEY)")
        teller.executemany("INSERT INTO note VALUES (?)", [("12345678901234567890",), ("98765432109876543210",)])
        teller.commit()
    notes = Stream(name="notes", resource="journal", table="note", key=("id",))
    with closing(small_mis.open_mis(f"sqlite:///{tmp_path}/mis.db")) as mis:
        assert mis.scan(notes, after="12345678901234567890", limit=3) == ["98765432109876543210"]
        assert [one.in_scope for one in mis.read(notes, ["12345678901234567890", "7" * 5000], cutoff=TODAY)] == [
            True,
            False,
        ]


def test_a_related_row_belongs_to_the_root_that_is_written_alike_before_the_one_without_accents(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mis.db")) as teller:
        teller.execute("CREATE TABLE loan (id INTEGER PRIMARY KEY, client TEXT)")
        teller.execute("CREATE TABLE client (id TEXT COLLATE NOCASE, name TEXT)")
        teller.execute("INSERT INTO loan VALUES (1, 'jose'), (2, 'jos\N{LATIN SMALL LETTER E WITH ACUTE}')")
        teller.execute("INSERT INTO client VALUES ('JOSE', 'Jose Alpha')")
        teller.commit()
    with closing(small_mis.open_mis(f"sqlite:///{tmp_path}/mis.db")) as mis:
        contents = mis.read(EXPORT, ["1", "2"], cutoff=TODAY)
        assert [one.related["client"] for one in contents] == [{"id": "JOSE", "name": "Jose Alpha"}, None]


def test_text_that_is_no_utf8(tmp_path: Path) -> None:
    _export(tmp_path / "mis.db", types=True)
    with closing(sqlite3.connect(tmp_path / "mis.db")) as teller:
        teller.execute("UPDATE client SET name = CAST(X'4a6f73e9' AS TEXT) WHERE id = 2")
        teller.commit()
    with closing(small_mis.open_mis(f"sqlite:///{tmp_path}/mis.db")) as mis:
        (content,) = mis.read(EXPORT, ["2"], cutoff=TODAY)
        assert content.related["client"] == {"id": 2, "name": "Jos\N{REPLACEMENT CHARACTER}"}
        with closing(sqlite3.connect(tmp_path / "mis.db")) as teller:
            teller.execute("CREATE TABLE note (id TEXT)")
            teller.execute("INSERT INTO note VALUES (CAST(X'4a6f73e9' AS TEXT))")
            teller.commit()
        notes = Stream(name="notes", resource="journal", table="note", key=("id",))
        assert mis.scan(notes, after=None, limit=3) == []
        assert mis.gaps(notes) == (Gap(1),)
