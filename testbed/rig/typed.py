"""A command of the administrator's, typed in this process: a process of its own takes a second to begin."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import unittest.mock
from collections.abc import Iterator

from kiva_relay import cli, log


def typed(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """What it printed, as of a process. `environ`: variables that it finds beside those of the test."""
    out, err = io.StringIO(), io.StringIO()
    with (
        unittest.mock.patch.dict(os.environ, environ),
        _signals_stay(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = cli.main(list(arguments))
    log.configure()
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _signals_stay() -> Iterator[None]:
    """`run` obeys signals; the test does so again when it is over."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
