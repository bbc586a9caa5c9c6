"""A relay at work in threads of this process."""

from __future__ import annotations

import contextlib
import threading
import unittest.mock
from collections.abc import Iterator

from kiva_relay.service.relay import Relay
from testbed.rig import patience


def readers_are_awaited() -> contextlib.AbstractContextManager[object]:
    """All threads have ended when it is over: one that still runs would keep the lease, and the file of its lock."""
    return unittest.mock.patch("kiva_relay.service.threads._READERS_STOP_WITHIN", patience.seconds(patience.USUAL))


@contextlib.contextmanager
def in_threads(relay: Relay) -> Iterator[None]:
    """An opened relay runs meanwhile; what it could not go on after is raised."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            relay.run()
        except BaseException as error:
            failed.append(error)

    with readers_are_awaited():
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            relay.stop.set()
            thread.join()
    if failed:
        raise failed[0]
