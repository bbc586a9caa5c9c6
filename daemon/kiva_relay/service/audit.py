"""At night: is what was counted what is there, and does each row that is owed stand somewhere?"""

from __future__ import annotations

from kiva_relay import log
from kiva_relay.outbox import table, tally, unread, watermark
from kiva_relay.outbox.database import Outbox

_log = log.get("account")


def run(outbox: Outbox) -> None:
    """Put right what differs, and say so: it is a mistake of ours.

    Raises:
        OutboxAway: the outbox cannot be read or written.
    """
    with outbox.read() as tx:
        differs, lost = bool(tally.differences(tx)), bool(unread.lost_keys(tx))
    if differs:
        with outbox.begin() as tx:
            found = tally.put_right(tx)
        for what, number, right in found:
            _log.error("The account counted wrong, and was put right", **vars(what), counted=number, found=right)
    if lost:
        with outbox.begin() as tx:
            keys = unread.lost_keys(tx)
            columns = table.captured.c
            for stream, key in keys:
                watermark.read_again(tx, columns.stream == stream, columns.key == key)
        _log.error("Rows that are owed stood nowhere; they are read again", rows=len(keys))
