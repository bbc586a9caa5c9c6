"""The file outside the outbox that knows what may have been sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.outbox import witness as witnesses
from kiva_relay.outbox.witness import Witness


def opened(folder: Path, *, api_url: str = "http://kiva") -> Witness:
    return Witness(folder / "witness.log", api_url=api_url, partner_id="123")


def tell(witness: Witness, attempt: int, *identities: str) -> None:
    witness.testify(outbox_id="o", attempt=attempt, resource="loan_draft", identities=identities)


def test_it_remembers_what_left_and_what_was_answered(tmp_path: Path) -> None:
    witness = opened(tmp_path)
    witness.testify(outbox_id="o", attempt=1, resource="journal", identities=["7", "8"], loans=["A", "B"])
    witness.ended(outbox_id="o", attempt=1, ended={"7": {"archive_id": "9"}, "8": None})
    tell(witness, 2, "000000871")
    witness.started_first("2026-11-23T09:00:00Z")
    witness.close()
    again = opened(tmp_path)
    memory = again.memory()
    again.close()
    assert again.id == witness.id
    assert memory.sent == (
        witnesses.Testimony("o", 1, "journal", ("7", "8"), ("A", "B")),
        witnesses.Testimony("o", 2, "loan_draft", ("000000871",), ("000000871",)),
    )
    assert memory.answers == {("o", 1): {"7": {"archive_id": "9"}, "8": None}}
    assert memory.first_start == "2026-11-23T09:00:00Z"


def test_lines_about_another_destination_are_not_ours(tmp_path: Path) -> None:
    staging = opened(tmp_path, api_url="http://staging")
    tell(staging, 1, "000000871")
    staging.close()
    production = opened(tmp_path)
    assert production.memory().sent == ()
    production.close()


@pytest.mark.parametrize("torn", [b'{"to":"ab', b"\x00\x00\x00", b'{"to":"ab"}\n{"to'])
def test_after_a_torn_last_line_nothing_of_the_next_one_is_lost(tmp_path: Path, torn: bytes) -> None:
    witness = opened(tmp_path)
    tell(witness, 1, "000000871")
    witness.close()
    with witness.path.open("ab") as file:
        file.write(torn)
    again = opened(tmp_path)
    tell(again, 2, "000000872")
    attempts = [told.attempt for told in again.memory().sent]
    again.close()
    assert attempts == [1, 2]


def test_a_part_of_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = opened(tmp_path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, text: write(descriptor, text[:9]))
    with pytest.raises(OSError, match="a part of a line"):
        tell(witness, 1, "000000871")
    monkeypatch.undo()
    tell(witness, 2, "000000872")
    attempts = [told.attempt for told in witness.memory().sent]
    witness.close()
    assert attempts == [2]


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    witness = opened(tmp_path)
    witness.close()
    assert witness.path.stat().st_mode & 0o777 == 0o600


def test_where_it_cannot_be_kept_the_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match=r"outbox\.witness: .* cannot be written") as refused:
        opened(tmp_path / "no")
    assert refused.value.hint == f"sudo install -d -o kiva-relay -m 0700 {tmp_path / 'no'}"


# ---------------------------------------------------------------- from a place on


def test_only_what_came_behind_a_place_is_read(tmp_path: Path) -> None:
    witness = opened(tmp_path)
    tell(witness, 1, "000000871")
    place = witness.place()
    assert witness.has(place)
    assert witness.memory(since=place) == witnesses.Memory()
    tell(witness, 2, "000000872")
    assert [told.attempt for told in witness.memory(since=place).sent] == [2]
    assert [told.attempt for told in witness.memory().sent] == [1, 2]
    witness.close()


def test_a_file_that_lost_its_end_or_is_another_does_not_have_the_place(tmp_path: Path) -> None:
    witness = opened(tmp_path)
    for attempt in range(100):
        tell(witness, attempt, "000000871")
    place, whole = witness.place(), witness.path.read_bytes()
    for spoilt in (whole[:-1], whole[:-80] + b"x" * 80, whole[:4000], whole[5:] + b"12345"):
        witness.path.write_bytes(spoilt)
        assert not witness.has(place)
    witness.path.write_bytes(whole + b"{}\n")
    assert witness.has(place)
    witness.close()
