"""`python -m testbed.mutation.serve PLAN N`: run the jobs of a plan, N at once; each result is a line of JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

from testbed.mutation import fork


def main() -> None:
    """Read the plan, and write results until it is done."""
    plan, at_once = Path(sys.argv[1]), int(sys.argv[2])
    jobs = [
        fork.Job(**one | {name: tuple(one[name]) for name in ("tests", "traced", "changed") if one[name] is not None})
        for one in json.loads(plan.read_text(encoding="utf-8"))
    ]
    fork.prepare()
    for result in fork.run(jobs, at_once=at_once):
        sys.stdout.write(json.dumps(dataclasses.asdict(result)) + os.linesep)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
