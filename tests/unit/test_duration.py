from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiva_relay.config import duration
from kiva_relay.config.mismatch import Mismatch


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("10s", timedelta(seconds=10)),
        ("15m", timedelta(minutes=15)),
        ("6h", timedelta(hours=6)),
        ("2d", timedelta(days=2)),
        ("10 s", timedelta(seconds=10)),
        ("0", timedelta(0)),
        (0, timedelta(0)),
    ],
)
def test_a_number_and_its_unit(written: object, meant: timedelta) -> None:
    assert duration.parse(written) == meant


@pytest.mark.parametrize(
    ("written", "message", "remedy"),
    [
        (10, "expected a length of time with its unit, found 10", "write 10s for seconds"),
        ("30", "expected a length of time with its unit, found 30", "write 30s for seconds"),
        ("5min", '"min" is no unit of time', "write 5m"),
        ("2 hours", '"hours" is no unit of time', "write 2h"),
        ("3y", '"y" is no unit of time', "the units are ms, s, m (minutes), h and d"),
        ("-5s", 'expected a length of time, found "-5s"', "a whole number and its unit"),
        ("1.5h", 'expected a length of time, found "1.5h"', "a whole number and its unit"),
        ("soon", 'expected a length of time, found "soon"', "a whole number and its unit"),
        (True, "expected a length of time, found true", "a whole number and its unit"),
        (None, "expected a length of time, found nothing", "a whole number and its unit"),
    ],
)
def test_anything_else_is_told_what_to_write(written: object, message: str, remedy: str) -> None:
    with pytest.raises(Mismatch) as wrong:
        duration.parse(written)
    assert str(wrong.value) == message
    assert wrong.value.remedy.startswith(remedy)


@given(st.integers(min_value=0, max_value=10**8))
def test_what_is_formatted_is_read_back(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert duration.parse(duration.format(length)) == length


def test_the_largest_unit_that_fits_is_shown() -> None:
    assert [duration.format(timedelta(minutes=n)) for n in (0, 15, 90, 120, 2880)] == ["0", "15m", "90m", "2h", "2d"]
