from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from kiva_relay import errors
from kiva_relay.sandbox.event_file import EventFile

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_appended_is_replayed_with_its_digits(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.jsonl"
    file = EventFile(path)
    file.append({"event": "accepted", "body": orjson.Fragment(b'{"amount": 123.40, "name": "Thi\xc3\xa8s"}')})
    file.close()
    again = EventFile(path)
    (event,) = again.replay()
    assert orjson.dumps(event["body"]) == '{"amount":123.40,"name":"Thiès"}'.encode()
    again.close()


def test_half_a_line_of_a_killed_process_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"event":"a"}\n{"event":"b","body":"' + b"x" * 200_000)
    file = EventFile(path)
    file.append({"event": "c"})
    assert [event["event"] for event in file.replay()] == ["a", "c"]
    file.close()


def test_a_file_of_something_else_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"event":"a"}\nnonsense\n')
    file = EventFile(path)
    with pytest.raises(errors.UsageError, match=r"ledger\.jsonl:2"):
        list(file.replay())
    file.close()


def test_two_sandboxes_do_not_share_a_ledger(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "ledger.jsonl")
    with pytest.raises(errors.UsageError, match="in use"):
        EventFile(tmp_path / "ledger.jsonl")
    file.close()
