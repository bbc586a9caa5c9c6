"""Who watches the relay from outside: an address that has to be asked now and then, or it raises an alarm."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from kiva_relay import __version__
from kiva_relay.clock import Clock
from kiva_relay.delivery import proxy, wire

_SECONDS = 10.0


def tell(url: str, *, clock: Clock, environ: Mapping[str, str] = os.environ) -> int:
    """Ask the address once, and read nothing of what it says: the status of the answer.

    Raises:
        UsageError: a proxy or a file of certificates of the environment makes no sense.
        Exception: no answer came, by whatever cause.
    """
    deadline = wire.Deadline(clock)
    way = wire.pool(
        deadline,
        trusts=proxy.trusted(None, environ=environ),
        proxy=proxy.of(url, setting=None, environ=environ),
        keeps=0,
    )
    headers = {"Host": urlsplit(url).netloc.rpartition("@")[2], "User-Agent": f"kiva-relay/{__version__}"}
    each = dict.fromkeys(("connect", "read", "write", "pool"), _SECONDS)
    deadline.begin(_SECONDS)
    with way, way.stream("GET", url, headers=[*headers.items()], extensions={"timeout": each}) as answer:
        return answer.status
