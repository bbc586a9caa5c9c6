"""`python -m testbed.year`; see `run.py`."""

import sys

from testbed.year import run

if __name__ == "__main__":
    sys.exit(run.main())
