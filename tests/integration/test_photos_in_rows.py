"""Photos that stand in the rows themselves: few rows are held at once, in capture, in a trial, in a comparison."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.capture import page
from kiva_relay.mapping import book
from kiva_relay.source.mis import Mis
from testbed.rig import capturing, mapping_file, small_mis

ROWS = 3 * page.SIZE_WITH_PHOTOS + 1
BORROWER = """\
resource: loan_draft
identity: account_no
source: {table: loan, key: id}
relations:
  client: {table: client, match: {id: client_id}}
fields:
  entreps: [{client_id: client.no, loan_id: account_no, first_name: "'Awa'", last_name: "'Ndiaye'", amount: amount}]
  image_encoded: {from: client.photo, image: true, else: leave_out}
  currency: "'XOF'"
  disburse_time: "'2026-11-20'"
  schedule: [{date: "'2026-12-20'", principal: amount, interest: "0"}]
"""


def mis(folder: Path, kind: str, photo: object = b"\xff\xd8" * 9) -> Mis:
    """A book of loans with a client each, whose photo, or its path, is of this kind."""
    folder.mkdir(exist_ok=True)
    file = folder / "mis.db"
    with closing(sqlite3.connect(file)) as db:
        db.executescript(f"""
            CREATE TABLE client (id INTEGER PRIMARY KEY, no TEXT, photo {kind});
            CREATE TABLE loan (id INTEGER PRIMARY KEY, account_no TEXT, client_id INTEGER, amount INTEGER);
        """)
        db.executemany("INSERT INTO client VALUES (?, ?, ?)", [(n, f"C{n}", photo) for n in range(ROWS)])
        db.executemany("INSERT INTO loan VALUES (?, ?, ?, 100)", [(n, f"L{n}", n) for n in range(ROWS)])
        db.commit()
    return small_mis.open_mis(f"sqlite:///{file}")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were read at once, each time."""
    numbers: list[int] = []
    own = Mis.read

    def counted(self: Mis, stream: Any, keys: Any, **more: Any) -> Any:
        numbers.append(len(keys))
        return own(self, stream, keys, **more)

    monkeypatch.setattr(Mis, "read", counted)
    return numbers


def test_a_page_of_capture_holds_few_photos(tmp_path: Path, read: list[int]) -> None:
    rig = capturing.rig(tmp_path)
    rig.documents = [mapping_file.load(tmp_path, BORROWER)]
    rig.mis = mis(tmp_path, "BLOB")  # type: ignore[assignment]
    capture = rig.capture()
    capture.cycle()
    while capture.scanning():
        capture.cycle()
    assert sum(read) >= ROWS
    assert max(read) == page.SIZE_WITH_PHOTOS


def test_a_trial_holds_few_photos(tmp_path: Path, read: list[int]) -> None:
    document = mapping_file.load(tmp_path, BORROWER)
    pages = list(book.contents(document.stream, mis(tmp_path, "BLOB"), cutoff=date(2026, 11, 30)))
    assert [len(one) for one in pages] == read == [book.PAGE_WITH_PHOTOS] * 3 + [1]


def test_paths_of_photos_are_read_as_any_other_text(tmp_path: Path) -> None:
    document = mapping_file.load(tmp_path, BORROWER)
    of_client = {"id": "integer", "photo": "text"}
    assert document.stream.pictures == {("client", "photo")}
    assert not document.stream.brings_photos({"client": of_client}, 40)
    assert document.stream.brings_photos({"client": of_client}, 4_097), "this is no path"
    assert document.stream.brings_photos({"client": of_client | {"photo": "bytes"}}, 40)
    assert document.stream.brings_photos({}, None), "nobody knows yet"
    assert document.stream.brings_photos({"client": of_client}, None), "nobody knows yet"
    without = replace(document.stream, pictures=frozenset())
    assert not without.brings_photos({"client": of_client | {"photo": "bytes"}}, 5_000)


@pytest.mark.parametrize(
    ("photo", "sizes"),
    [("/9j/" * 2_000, [10, 10, 10, 1]), ("photos/1.jpg", [10, 21]), (None, [10, 10, 10, 1])],
    ids=["base64", "paths", "no photo at all"],
)
def test_a_text_is_known_for_a_photo_once_it_is_read(
    tmp_path: Path, read: list[int], photo: str | None, sizes: list[int]
) -> None:
    """200 rows of base64 texts with a megabyte each were held at once."""
    document = mapping_file.load(tmp_path, BORROWER)
    pages = list(book.contents(document.stream, mis(tmp_path / "trial", "TEXT", photo), cutoff=date(2026, 11, 30)))
    assert [len(one) for one in pages] == read == sizes
    read.clear()
    rig = capturing.rig(tmp_path)
    rig.documents = [document]
    rig.mis = mis(tmp_path / "capture", "TEXT", photo)  # type: ignore[assignment]
    capture = rig.capture()
    capture.cycle()
    while capture.scanning():
        capture.cycle()
    assert sum(read) >= ROWS
    assert max(read) == max(sizes)
