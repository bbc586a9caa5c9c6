"""What a database's error means to a person."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from datetime import timedelta

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.config import hosts
from kiva_relay.source import denied
from kiva_relay.source.dialect import Dialect


class Replaced(errors.RelayError):
    """A table was truncated or altered under the snapshot; what was read with it is not believed."""


class Quoting(errors.RelayError):
    """What the database said, which may quote what a row holds: for a person who asks, and for no log."""


class OddValue(Exception):
    """Something in the rows of a page cannot be read: by the server, or by the driver. The others can, without it.

    `stream` read `of`, the root or a relation, when `cause` came. In a look for changes they are the two parts of
    `Watched.source`.
    """

    def __init__(self, stream: str, of: str, cause: Exception) -> None:
        super().__init__(stream, of, type(cause).__name__)
        self.stream, self.of, self.cause = stream, of, cause


class Blamed(Exception):
    """What failed concerns some streams only. It is not in words for people yet."""

    def __init__(self, streams: Collection[str], cause: Exception) -> None:
        super().__init__(cause)
        self.streams, self.cause = frozenset(streams), cause


class Stopped(Exception):
    """Some streams cannot be looked at; the others can, when they are asked for without these."""

    def __init__(self, streams: Collection[str], error: errors.RelayError) -> None:
        super().__init__(error)
        self.streams, self.error = frozenset(streams), error


@contextlib.contextmanager
def blamed(streams: Collection[str]) -> Iterator[None]:
    """What fails in here concerns these streams only."""
    try:
        yield
    except (errors.Unreachable, errors.WentBack, OddValue):
        raise
    except Exception as error:  # drivers raise ValueError, UnicodeDecodeError and others for a value that is odd
        raise Blamed(streams, error) from error


@contextlib.contextmanager
def of_a_value(dialect: Dialect, stream: str, of: str) -> Iterator[None]:
    """What fails in here is a value in the rows, unless the server says that it is something else."""
    try:
        yield
    except errors.RelayError:
        raise
    except sa.exc.DBAPIError as error:
        if not dialect.odd(error):
            raise
        raise OddValue(stream, of, error) from error
    except sa.exc.SQLAlchemyError:
        raise
    except Exception as error:
        raise OddValue(stream, of, error) from error


def is_of_the_driver(error: Exception) -> bool:
    """Whether the driver may have stopped in the middle of an answer, whose rest would be read as the next one."""
    cause = error.cause if isinstance(error, Blamed | OddValue) else error
    return not isinstance(cause, errors.RelayError | sa.exc.SQLAlchemyError)


def of_a_driver(error: Exception, *, doing: str) -> errors.RelayError:
    """The sentence for what is neither ours nor the server's; the value stands in no log."""
    return errors.RelayError(
        f"A value of the MIS could not be read while {doing} ({type(error).__name__}).", hint="kiva-relay mapping check"
    )


def explained(
    error: sa.exc.DBAPIError, dialect: Dialect, url: sa.URL, *, doing: str, timeout: timedelta
) -> errors.RelayError:
    """The sentence for it, and what to type next.

    Args:
        error: what the driver said.
        dialect: knows a server that is away from a query that is wrong.
        url: named without its password.
        doing: what was being done, as `reading loan_draft`.
        timeout: `mis.statement_timeout`.
    """
    said = (
        error.orig.args[-1] if error.orig is not None and len(error.orig.args) > 1 else error.orig
    )  # PyMySQL: number, text
    lines = str(said).strip().splitlines()
    cause = lines[0].rstrip(".") if lines else type(error.orig).__name__
    if said_of_a_file := denied.no_file(url):
        return said_of_a_file
    if what := denied.about(error):
        return denied.explained(what, url, cause=cause, where=_where(url))
    if dialect.lost(error):
        about = "Look whether it runs, and at mis.url and mis.password in config.yaml."
        if "certificate" in cause.lower():
            about = (
                "The name in mis.url must stand in the server's certificate, and an authority of mis.tls.ca must have"
                " signed it. See mis.tls in config.yaml."
            )
        return errors.Unreachable(
            f"No connection to the MIS database {_where(url)}: {cause}. Nothing is lost; it is asked again.",
            hint=about,
        )
    if dialect.replaced(error):
        return Replaced(f"A table was replaced in the MIS again and again while {doing}: {cause}.")
    if dialect.cancelled(error):
        return errors.RelayError(
            f"The MIS ended a query while {doing}: it took longer than {timeout.total_seconds():g} s.",
            hint="An index may be missing, or raise mis.statement_timeout in config.yaml.",
        )
    hint = "kiva-relay check --grants" if dialect.forbidden(error) else "kiva-relay mapping check"
    kind = errors.RelayError if dialect.plain(error) else Quoting
    return kind(f"The MIS refused a query while {doing}: {cause}.", hint=hint)


def _where(url: sa.URL) -> str:
    where = hosts.named(url)
    return f"{where}/{url.database}" if where and not where.startswith("/") else str(url.database)
