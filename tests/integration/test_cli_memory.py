"""What stays known outside the outbox, as commands: a copy of it, drafts typed by hand, how far the MIS was read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import query, store, table
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import State
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox, Run
from testbed.rig.outboxes import migrated
from testbed.rig.outboxes import owed as owed_in_a_test


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


@pytest.fixture
def run(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


def state(told: FullOutbox, entry: Entry) -> State:
    with told.outbox.read() as tx:
        found = query.find(tx, entry.id)
    assert found is not None
    return found.state


# ---------------------------------------------------------------- backup


def test_a_copy_of_a_live_outbox_is_whole_and_private(told: FullOutbox, run: Run, tmp_path: Path) -> None:
    told.accept(told.owe("000000871"))
    copy = tmp_path / "copy.db"
    copy.write_text("an older copy", encoding="utf-8")
    with told.outbox.begin() as tx:  # what is not committed is not in it
        tx.execute(sa.update(table.entry).values(client_id="half done"))
        assert run("outbox", "backup", copy).code == 0
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as opened:
        assert opened.execute("SELECT state, client_id FROM entry").fetchall() == [("delivered", "")]
    assert not list(tmp_path.glob("*.part"))


def test_it_says_how_a_copy_is_put_back(run: Run, tmp_path: Path) -> None:
    out = run("outbox", "backup", tmp_path / "copy.db").out
    assert "outbox.db-wal" in out, "what is left of the newer one would spoil the older"
    assert "outbox recover" in out


@pytest.mark.parametrize("name", ["outbox.db", "outbox.db-wal", "witness.log"])
def test_a_copy_never_replaces_what_it_copies(run: Run, tmp_path: Path, name: str) -> None:
    printed = run("outbox", "backup", tmp_path / name)
    assert (printed.code, "in use" in printed.err) == (2, True)


def test_a_place_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    printed = run("outbox", "backup", tmp_path / "nowhere" / "copy.db")
    assert printed.code == 1
    assert "could not be copied" in printed.err


def test_on_postgresql_its_own_tool_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], postgres_database: str
) -> None:
    told = full_outbox.made(tmp_path, outbox=migrated(postgres_database), url=postgres_database)
    monkeypatch.setenv("KIVA_RELAY_CONFIG", str(told.config))
    monkeypatch.setenv("KIVA_SECRET", "s")
    printed = full_outbox.runner(capsys)("outbox", "backup", tmp_path / "copy")
    told.outbox.close()
    assert printed.code == 2
    assert "pg_dump --format=custom" in printed.err
    password = postgres_database.partition("//")[2].partition("@")[0].partition(":")[2]
    assert password not in printed.err


# ---------------------------------------------------------------- adopt


def listed(folder: Path, *lines: str) -> Path:
    file = folder / "in-pa2.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def adopt(run: Run, file: Path) -> full_outbox.Printed:
    return run("outbox", "adopt", "--csv", file, "--note", "typed by hand", "--yes")


def test_drafts_typed_by_hand_are_never_sent(told: FullOutbox, run: Run, tmp_path: Path) -> None:
    ready, waiting = told.owe("000000871"), told.owe("000000872", waits="incomplete")
    refused, doubt = told.refuse("000000873"), told.lose(told.owe("000000874"))
    other = told.owe("000000999")
    printed = adopt(run, listed(tmp_path, "000000871", "000000872", "000000873", "000000874", "000000875"))
    assert printed.code == 0
    assert [state(told, entry) for entry in (ready, waiting, refused, doubt)] == [State.DELIVERED] * 4
    assert state(told, other) is State.READY
    assert ("awa", "adopt", "typed by hand") in told.acts()
    with told.outbox.begin() as tx:
        assert store.owe(tx, owed_in_a_test("000000875"), now=told.now) is None


@pytest.mark.parametrize("head", ["loan_id,name", "name;at_kiva", "internal_loan_id\tsum"])
def test_a_table_with_a_column_of_ids(told: FullOutbox, run: Run, tmp_path: Path, head: str) -> None:
    entry = told.owe("000000871")
    mark = next(one for one in ",;\t" if one in head)
    cells = ["000000871" if "id" in name or "kiva" in name else "x" for name in head.split(mark)]
    assert adopt(run, listed(tmp_path, "\ufeff" + head, mark.join(cells))).code == 0
    assert state(told, entry) is State.DELIVERED


def test_an_id_whose_zeros_a_spreadsheet_took_changes_nothing(told: FullOutbox, run: Run, tmp_path: Path) -> None:
    entry = told.owe("000000871")
    printed = adopt(run, listed(tmp_path, "871", "000000875"))
    assert printed.code == 2
    assert "871: expected 000000871" in printed.err
    assert state(told, entry) is State.READY
    assert not told.acts()


@pytest.mark.parametrize("lines", [[""], ["first,second", "1,2"]])
def test_a_file_without_ids_is_told(run: Run, tmp_path: Path, lines: list[str]) -> None:
    assert adopt(run, listed(tmp_path, *lines)).code == 2


def test_a_draft_that_was_taken_as_typed_by_mistake_goes_out_after_all(
    told: FullOutbox, run: Run, tmp_path: Path
) -> None:
    adopt(run, listed(tmp_path, "000000875"))
    with told.outbox.read() as tx:
        (noted,) = query.versions(tx, "loan_draft", "000000875")
    assert run("outbox", "settle", noted.id, "--resend", "--note", "not in PA2", "--yes").code == 0
    with told.outbox.begin() as tx:
        assert store.owe(tx, owed_in_a_test("000000875"), now=told.now) is not None


def test_to_adopt_twice_changes_nothing(told: FullOutbox, run: Run, tmp_path: Path) -> None:
    file = listed(tmp_path, "000000875")
    adopt(run, file)
    assert "Known to be at Kiva already:       1 loan" in adopt(run, file).out
    assert len(told.acts()) == 2


# ---------------------------------------------------------------- recover, watermark


def test_nothing_to_recover(told: FullOutbox, run: Run) -> None:
    printed = run("outbox", "recover")
    assert (printed.code, "OK" in printed.out) == (0, True)


def test_how_far_the_mis_was_read(told: FullOutbox, run: Run) -> None:
    out = run("watermark", "show").out
    assert "loan_draft.individual" in out
    assert "the beginning" in out
    assert run("watermark", "show", "--json").json[0]["generation"] == 1
