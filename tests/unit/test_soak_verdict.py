"""The verdict of a soak: what grew from the second third to the last, and by more than it may."""

from __future__ import annotations

import pytest

from testbed.soak import verdict
from testbed.soak.sample import Sample


def sample(at: int, **changes: int) -> Sample:
    """A relay at rest, but for so many changes a second and a line for each."""
    usual = {"resident": 100_000_000, "private": 80_000_000, "descriptors": 20, "threads": 12, "wal": 4_000_000}
    usual |= {
        "outbox": 1_000_000,
        "entries": 1_000,
        "calls": at,
        "connections": 1,
        "of_outbox": 3,
        "kept": 1_000,
        "lines": at,
        "log": 90 * at,
        "changes": at,
    }
    return Sample(float(at), **(usual | changes))


def grew(samples: list[Sample]) -> list[str]:
    return [line.what for line in verdict.compared(samples) if line.grew]


def test_what_stays_the_same_has_not_grown() -> None:
    assert grew([sample(at) for at in range(90)]) == []


def test_what_a_start_brings_with_it_is_no_growth() -> None:
    assert grew([sample(at, resident=at * 1_000_000 if at < 30 else 30_000_000) for at in range(90)]) == []


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("memory resident, MB", lambda at: {"resident": 100_000_000 + 200_000 * at}),
        ("memory of its own, MB", lambda at: {"private": 80_000_000 + 200_000 * at}),
        ("open descriptors", lambda at: {"descriptors": 20 + at // 9}),
        ("threads", lambda at: {"threads": 12 + at // 45}),
        ("connections at the MIS", lambda at: {"connections": 1 + at // 60}),
        ("connections at the outbox", lambda at: {"of_outbox": 3 + at // 12}),
        ("kept for a stream at most, MB", lambda at: {"kept": 300_000 * at}),
        ("outbox-wal at its largest, MB", lambda at: {"wal": 300_000 * at}),
        ("outbox, bytes an entry", lambda at: {"outbox": 1_000_000 + 5_000 * at}),
        ("lines of log a change", lambda at: {"lines": 11 * at // 10}),
        ("lines of log a call", lambda at: {"lines": at * at // 1_000}),
        ("bytes of log a call", lambda at: {"log": at * at}),
    ],
)
def test_what_grows_is_named(what: str, changes: object) -> None:
    assert callable(changes)
    assert grew([sample(at, **changes(at)) for at in range(90)]) == [what]


def test_at_rest_ten_lines_an_hour_are_enough() -> None:
    assert not verdict.idle(30, hours=3.0).grew
    assert verdict.idle(31, hours=3.0).grew


def test_a_row_of_the_table_says_what_it_may_be() -> None:
    (row,) = (line.words() for line in verdict.compared([sample(at) for at in range(90)]) if line.what == "threads")
    assert row.split() == ["threads", "12.00", "12.00", "<=", "+", "0", "flat"]
