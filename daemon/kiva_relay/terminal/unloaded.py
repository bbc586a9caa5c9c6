"""What other libraries load beside themselves if they find it, and of which nothing here is used.

structlog and Alembic look for rich, greenlet and pygments: 10 MB and a tenth of a second at each start.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Within this block these cannot be imported, as if they were not installed; what is loaded already stays so.

    By the rule of Python's import system that None in `sys.modules` is a module that is not there.
    """
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is what hides one
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
