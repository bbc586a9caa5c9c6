"""How long to wait before the next try: exponential, capped, with full jitter.

"Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): drawing the whole wait at random keeps many
clients from coming back at the same moment. A floor keeps a lucky draw from becoming a busy loop.
"""

from __future__ import annotations

import random
from datetime import timedelta

FIRST = timedelta(seconds=1)
CAP = timedelta(minutes=15)


def wait(failures: int, *, dice: random.Random) -> timedelta:
    """The wait after a number of failures in a row (1: the first): between half and all of min(cap, 2^(n-1) s)."""
    doublings = min(max(failures, 1) - 1, 20)
    ceiling = min(CAP, FIRST * int(1 << doublings))
    return ceiling * dice.uniform(0.5, 1)
