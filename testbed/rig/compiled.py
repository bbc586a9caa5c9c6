"""What Python compiled, kept in one folder: a relay that is installed is compiled, and one that is measured must be, too.

Where the environment forbids Python to write beside its source, each process compiles the relay anew, and the libraries
that it is measured beside as well, unless their installer has done it: more than half of what a command takes.
"""

from __future__ import annotations

import compileall
import os
import re
import sys
import sysconfig
import tempfile
from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]
_TESTS = re.compile(r"/(tests?|lib2to3)/")


def forbidden() -> bool:
    """Does the environment forbid Python to keep what it compiles?"""
    return bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))


def of_the_checkout() -> str | None:
    """A folder of its own, which git ignores; None where it has none, or it cannot be written."""
    if not (_CHECKOUT / ".git").exists():
        return None
    folder = _CHECKOUT / ".bytecode"
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    return str(folder) if os.access(folder, os.W_OK) else None


def keep_in(folder: str) -> None:
    """Let this process, and all that it starts, keep it there."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = folder
    sys.dont_write_bytecode = False


def before_measuring() -> None:
    """Compile Python's library, the relay's and the relay, where that was not done: none of it is to be counted.

    The processes that are started afterwards share it.
    """
    if forbidden():
        keep_in(of_the_checkout() or tempfile.mkdtemp(prefix="kiva-relay-bytecode-"))
    for place in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(_CHECKOUT / "daemon")):
        compileall.compile_dir(place, rx=_TESTS, quiet=2, workers=0)
