"""What an answer means: every line of the table, every status, and both sides of every boundary."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kiva_relay.delivery import outcome
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.outcome import Meaning, Outcome

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
IN_DOUBT = Meaning(Outcome.IN_DOUBT)
BLAME = Meaning(Outcome.NOT_PROCESSED, blame=True)


def answer(status: int | None, *, complete: bool = True, **headers: str) -> Answer:
    return Answer(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, b"", complete, read_whole=True
    )


def decided(said: Answer, *, shape: bool = False) -> Meaning:
    return outcome.decide(said, shape=shape, now=NOW)


@pytest.mark.parametrize("shape", [True, False])
def test_without_a_status_only_what_left_counts(*, shape: bool) -> None:
    assert decided(answer(None, complete=True), shape=shape) == IN_DOUBT
    assert decided(answer(None, complete=False), shape=shape) == Meaning(Outcome.NOT_PROCESSED, unreachable=True)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 250, 299])
def test_a_success_is_accepted_by_its_shape_and_never_sent_again(status: int) -> None:
    assert decided(answer(status), shape=True) == Meaning(Outcome.ACCEPTED, success_seen=True)
    assert decided(answer(status), shape=False) == Meaning(Outcome.IN_DOUBT, success_seen=True)
    assert decided(answer(status, retry_after="5"), shape=False) == Meaning(Outcome.IN_DOUBT, success_seen=True)


EXPECTED: dict[int, Meaning] = (
    dict.fromkeys((400, 411, 413, 414, 422, 431), Meaning(Outcome.REFUSED))
    | dict.fromkeys((401, 403, 404, 405, 407, 410, 415, 426, 501), BLAME)
    | dict.fromkeys((425, 429), Meaning(Outcome.NOT_PROCESSED))
)


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("shape", [True, False])
def test_every_other_status(*, shape: bool, complete: bool) -> None:
    """What came back counts, not what left: also a request that was cut was judged if a status line came."""
    for status in (*range(100, 200), *range(300, 600)):
        expected = EXPECTED.get(status, IN_DOUBT)
        assert decided(answer(status, complete=complete), shape=shape) == expected, status


@pytest.mark.parametrize("status", [425, 429, 503])
def test_come_back_later_with_a_moment(status: int) -> None:
    found = decided(answer(status, retry_after="90"))
    assert found == Meaning(Outcome.NOT_PROCESSED, retry_after=timedelta(seconds=90))


@pytest.mark.parametrize("value", ["soon", "-5", ""])
def test_an_unreadable_moment_is_none(value: str) -> None:
    assert decided(answer(503, retry_after=value)) == IN_DOUBT
    assert decided(answer(429, retry_after=value)) == Meaning(Outcome.NOT_PROCESSED)


@pytest.mark.parametrize("status", [400, 404, 408, 409, 500, 502, 504])
def test_a_moment_with_another_status_changes_nothing(status: int) -> None:
    assert decided(answer(status, retry_after="90")) == decided(answer(status))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 17 ", 17),
        ("21599", 21_599),
        ("21600", 21_600),
        ("21601", 21_600),
        ("99999999999999999999", 21_600),
        ("1.5", None),
        ("²", None),
        ("٣", None),
        ("9" * 5_000, 21_600),
        ("-" * 5_000, None),
        ("\ud800", None),
        ("Mon, 23 Nov 2026 09:01:30 +999999999999", None),
        ("Mon, 23 Nov 99999 09:01:30 GMT", None),
        ("Mon, 23 Nov 2026 09:01:30 +9999", None),
        ("Mon, 23 Nov 2026 09:01:30 GMT", 90),
        ("Mon, 23 Nov 2026 09:01:30 -0000", 90),
        ("Mon, 23 Nov 2026 10:01:30 +0100", 90),
        ("Mon, 23 Nov 2026 08:59:00 GMT", 0),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 21_600),
        ("tomorrow", None),
    ],
)
def test_retry_after(value: str | None, seconds: int | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert outcome.retry_after(value, now=NOW) == expected


def test_the_printed_table_has_a_line_for_each_kind_of_answer() -> None:
    assert [line[1] for line in outcome.TABLE] == [
        Outcome.ACCEPTED,
        Outcome.IN_DOUBT,
        Outcome.REFUSED,
        Outcome.NOT_PROCESSED,
        Outcome.NOT_PROCESSED,
        Outcome.IN_DOUBT,
        Outcome.NOT_PROCESSED,
        Outcome.IN_DOUBT,
    ]
    printed = {text: meaning for text, meaning, _then in outcome.TABLE}
    assert printed[", ".join(map(str, sorted(outcome.JUDGES_THE_BODY)))] is Outcome.REFUSED
    assert printed[", ".join(map(str, sorted(outcome.JUDGES_US)))] is Outcome.NOT_PROCESSED
