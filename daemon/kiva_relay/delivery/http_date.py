"""The moments that HTTP headers name (RFC 9110, 5.6.7): the one reader of `Date` and `Retry-After`."""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime

_LONGEST = 64
_YEARS = range(2000, 2200)


def read(written: str | None) -> datetime | None:
    """The moment, in UTC where no zone is named; None for whatever else stands there."""
    if written is None or not written.isascii() or len(written) > _LONGEST:
        return None
    try:
        moment = email.utils.parsedate_to_datetime(written)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        # At the ends of the calendar every sum with it overflows.
        return moment.astimezone(UTC) if moment.year in _YEARS else None
    except Exception:  # noqa: BLE001 - the library names no bound to what it raises: what it cannot read is no date
        return None
