"""The real `kiva-relay` with short waits: `python -m testbed.fuzz.hurried run …`.

What it waits for minutes or a day in earnest (Kiva's own lists, a renewed token, a fault of Kiva's) it waits for
half a second here, so that thousands of answers fit into minutes. Nothing else is different.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from types import ModuleType

from kiva_relay import cli
from kiva_relay.delivery import access, backoff, refresher, token

_SHORT: dict[tuple[ModuleType, str], timedelta | float] = {
    (access, "TRY_AGAIN_AFTER"): timedelta(seconds=0.5),
    (backoff, "FIRST"): timedelta(seconds=0.1),
    (backoff, "CAP"): timedelta(seconds=0.5),
    (refresher, "TRY_AGAIN_AFTER"): timedelta(seconds=0.5),
    (refresher, "_LISTS_EVERY"): timedelta(seconds=0.1),
    (refresher, "_FIRST_PAUSE"): 0.02,
    (token, "_SLOWEST"): 0.5,
}


def main() -> int:
    """Shorten the waits, and begin."""
    for (module, name), short in _SHORT.items():
        assert type(getattr(module, name)) is type(short), name
        setattr(module, name, short)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
