"""`python -m kiva_relay`: the same as the command `kiva-relay`."""

from __future__ import annotations

import sys

from kiva_relay.cli import main

if __name__ == "__main__":
    sys.exit(main())
