"""Snapshots of the MIS: each is one read-only transaction, and what goes wrong in it is said in words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source import failure
from kiva_relay.source.dialect import Dialect

_SNAPSHOTS = 5

_Answer = TypeVar("_Answer")


class Snapshots:
    """Of one database. `failed` is called when one of them ended with an error."""

    def __init__(
        self, url: sa.URL, engine: sa.Engine, dialect: Dialect, *, timeout: timedelta, failed: Callable[[], object]
    ) -> None:
        self._url, self._engine, self._dialect, self._timeout, self._failed = url, engine, dialect, timeout, failed
        self._is_together = False
        self._kept: sa.Connection | None = None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Of the snapshots that are taken in here, those up to the first that may ask SQL of others share a session.

        Each is a transaction of its own all the same. A session is tried before it is used, and what others may have
        left in it is taken back afterwards: that is more than what our own questions cost.
        """
        self._is_together = True
        try:
            yield
        finally:
            self._is_together = False
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    def once(self, ask: Callable[[sa.Connection], _Answer]) -> _Answer:
        """The answer out of one snapshot, to a question about the server: all of its SQL is ours."""
        with self.taken("asking the server", ours=True) as cx:
            return ask(cx)

    def asked(self, doing: str, ask: Callable[[sa.Connection], _Answer]) -> _Answer:
        """The answer out of one snapshot; out of a new one when a table was emptied or altered under it."""
        for left in reversed(range(_SNAPSHOTS)):
            with contextlib.nullcontext() if not left else contextlib.suppress(failure.Replaced):
                with self.taken(doing) as cx:
                    answer = ask(cx)
                    torn = self._dialect.torn(cx)
                if not torn:
                    return answer
                raise failure.Replaced(f"{torn} was emptied or replaced in the MIS again and again while {doing}.")
        raise AssertionError("the last snapshot answers or raises")

    @contextlib.contextmanager
    def taken(self, doing: str, engine: sa.Engine | None = None, *, ours: bool = False) -> Iterator[sa.Connection]:
        """A snapshot; `engine`: of another one than the MIS's own. `ours`: nobody else's SQL is asked.

        Raises:
            Unreachable: the MIS is away.
            Stopped: it failed for the streams that were blamed.
        """
        try:
            with self._session(ours=ours) if engine is None else engine.connect() as cx, cx.begin():
                try:
                    yield cx
                except Exception as error:
                    if failure.is_of_the_driver(error):
                        cx.invalidate()
                    raise
        except failure.Blamed as blamed:
            self._failed()
            cause = blamed.cause
            explained = self.said_of(cause, doing)
            if isinstance(explained, errors.Unreachable | failure.Replaced):
                raise explained from cause
            raise failure.Stopped(blamed.streams, explained) from cause
        except sa.exc.DBAPIError as error:
            self._failed()
            raise self._explained(error, doing) from error

    @contextlib.contextmanager
    def _session(self, *, ours: bool) -> Iterator[sa.Connection]:
        cx, self._kept = self._kept or self._engine.connect(), None
        stays = False
        try:
            yield cx
            stays = ours and self._is_together
        finally:
            if stays:
                self._kept = cx
            else:
                cx.close()

    def said_of(self, cause: Exception, doing: str) -> errors.RelayError:
        """What a person is told of an error."""
        if isinstance(cause, errors.RelayError):
            return cause
        if isinstance(cause, sa.exc.DBAPIError):
            return self._explained(cause, doing)
        return failure.of_a_driver(cause, doing=doing)

    def _explained(self, error: sa.exc.DBAPIError, doing: str) -> errors.RelayError:
        return failure.explained(error, self._dialect, self._url, doing=doing, timeout=self._timeout)
