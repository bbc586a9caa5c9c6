from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal

import pytest

from kiva_relay import log

NIGHT = datetime(2026, 11, 30, 2, 14, 31, 120_000, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    log.configure()


def lines(format: Literal["text", "json"] = "text") -> io.StringIO:  # noqa: A002 - as in log.configure
    stream = io.StringIO()
    log.configure(format, stream=stream, now=lambda: NIGHT)
    return stream


def test_a_line_is_a_sentence_with_fields() -> None:
    stream = lines()
    log.get("kiva_relay.delivery").info("draft sent", entry=1042, loan="000000871", took=timedelta(milliseconds=1400))
    assert stream.getvalue() == "2026-11-30T02:14:31.120Z draft sent entry=1042 loan=000000871 took=1.4\n"


def test_what_is_worse_than_news_says_so() -> None:
    stream = lines()
    log.get("delivery").warning("the MIS is not reachable", since=NIGHT)
    log.get("delivery").debug("not shown")
    assert stream.getvalue() == (
        "2026-11-30T02:14:31.120Z WARNING the MIS is not reachable since=2026-11-30T02:14:31.120000+00:00\n"
    )


def test_values_with_spaces_are_quoted_and_nothing_is_left_out_of_the_line() -> None:
    stream = lines()
    log.get("x").info(
        "read", why="no such table", rows=Decimal("2.50"), day=date(2026, 11, 1), states=["a", "b"], none=None
    )
    assert stream.getvalue().rstrip().endswith('read why="no such table" rows=2.50 day=2026-11-01 states=a,b')


def test_json_holds_the_same() -> None:
    stream = lines("json")
    log.get("kiva_relay.delivery").info("draft sent", entry=1042, amount=Decimal("2.50"), late=True)
    assert json.loads(stream.getvalue()) == {
        "time": "2026-11-30T02:14:31.120Z",
        "level": "info",
        "logger": "delivery",
        "message": "draft sent",
        "entry": 1042,
        "amount": "2.50",
        "late": True,
    }


@pytest.mark.parametrize("format", ["text", "json"])
def test_nothing_personal_and_no_secret_comes_through(format: Literal["text", "json"]) -> None:  # noqa: A002 - as in log.configure
    stream = lines(format)
    for key in log.PERSONAL:
        log.get("x").info("mapped", **{key: "Awa Ndiaye", key.upper(): "Awa Ndiaye", "entry": 7})
    log.get("x").info("mapped", row={"a": "Awa Ndiaye"}, picture_bytes=b"Awa Ndiaye", rows=[{"a": "Awa Ndiaye"}])
    assert "Awa" not in stream.getvalue()
    assert "entry" in stream.getvalue()
    assert "picture_bytes,row,rows" in stream.getvalue()


def test_a_bound_field_is_looked_at_too() -> None:
    stream = lines()
    log.get("x").bind(first_name="Awa", stream="repayment").info("mapped")
    assert stream.getvalue().rstrip().endswith("mapped stream=repayment left_out=first_name")


def test_an_exception_is_told_by_its_class_and_places_never_by_its_text() -> None:
    stream = lines()
    try:
        int("Key (firstname)=(Awa) already exists")
    except ValueError:
        log.get("x").exception("a page was not stored", stream="loan_draft")
    line = stream.getvalue()
    assert "Awa" not in line
    assert "error=ValueError" in line
    assert "at=test_log.py:" in line
    assert line.count("\n") == 1


def test_no_value_can_look_like_a_line_of_its_own() -> None:
    stream = lines()
    log.get("x").info("read\n2026 forged", table="a\nb\x1b[31m", long="x" * 1000)
    (line,) = stream.getvalue().splitlines()
    assert "\x1b" not in line
    assert len(line) < 400


def test_warnings_of_libraries_become_lines_of_ours() -> None:
    stream = lines()
    logging.getLogger("some.package").warning("the pool is %s", "full")
    logging.getLogger("some.package").info("chatter")
    logging.getLogger("some.package").log(35, "100%")
    assert stream.getvalue().splitlines() == [
        "2026-11-30T02:14:31.120Z WARNING the pool is full",
        "2026-11-30T02:14:31.120Z WARNING 100%",
    ]


def test_configuring_twice_does_not_double_the_lines() -> None:
    lines()
    stream = lines()
    logging.getLogger("some.package").warning("once")
    assert stream.getvalue().count("once") == 1
    log.configure()
    assert len([handler for handler in logging.getLogger().handlers if type(handler).__module__ == log.__name__]) == 1


def test_a_logger_made_before_follows_what_is_configured_later(capsys: pytest.CaptureFixture[str]) -> None:
    early = log.get("early")
    log.configure()
    early.info("to standard error")
    assert "to standard error" in capsys.readouterr().err
    stream = lines("json")
    early.info("to the stream")
    assert json.loads(stream.getvalue())["message"] == "to the stream"


def test_a_line_that_cannot_be_written_ends_nothing() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        log.configure(stream=full)
        log.get("delivery").info("Kiva accepted it")
        log.configure()
        with contextlib.suppress(OSError):
            full.close()
