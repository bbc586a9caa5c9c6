"""Since when the transactions of a MariaDB have been open, as far back as what they stamped may lie."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

_PREPARED = timedelta(hours=1)
"""How long a transaction may have taken until it was prepared, and was left behind by a server that ended."""

_WAITED = timedelta(minutes=5)
"""How long one may have waited for a table that is open when the relay looks for the first time."""


class Began:
    """Since when each transaction may have stamped rows: at the latest since it was first seen, and mostly before.

    InnoDB's own start is that of the first row that was touched: behind a wait for the table, which LOCK TABLES or an
    ALTER makes long, while the row carries the NOW() of before the wait.
    """

    def __init__(self) -> None:
        self._at: datetime | None = None
        self._running: Mapping[int, datetime] = {}
        self._known: dict[tuple[int, str], datetime] = {}

    def look(
        self, clock: datetime, running: Mapping[int, datetime], transactions: Mapping[tuple[int, str], int]
    ) -> dict[int, datetime]:
        """Since when, by session.

        Args:
            clock: what the server's clock showed before everything else was asked.
            running: since when the statements of sessions run.
            transactions: ages in seconds, by session and start.
        """
        known = {}
        for one, age in transactions.items():
            thread = one[0]
            # What was neither at work nor open at the last look began after it; what an XA left behind, long ago.
            unseen = clock - _PREPARED if not thread else self._at or clock - _WAITED
            first = self._known.get(one) or min(unseen, self._running.get(thread, clock))
            known[one] = min(first, clock - timedelta(seconds=age))
        self._at, self._running, self._known = clock, running, known
        began = dict(running)
        for (thread, _), since in known.items():
            began[thread] = min(since, began.get(thread, clock))
        return began
