"""What a database's error means to a person."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source.dialect import Dialect


def explained(
    error: sa.exc.DBAPIError, dialect: Dialect, url: sa.URL, *, doing: str, timeout: timedelta
) -> errors.RelayError:
    """The sentence for it, and what to type next.

    Args:
        error: what the driver said.
        dialect: tells a server that is away from a query that is wrong.
        url: named without its password.
        doing: what was being done, as `reading loan_draft`.
        timeout: `mis.statement_timeout`.
    """
    said = error.orig.args[-1] if error.orig is not None and len(error.orig.args) > 1 else error.orig  # PyMySQL: number, text
    lines = str(said).strip().splitlines()
    cause = lines[0].rstrip(".") if lines else type(error.orig).__name__
    if dialect.lost(error):
        return errors.Unreachable(
            f"The MIS database {_where(url)} does not answer: {cause}. Nothing is lost; it is asked again.",
            hint="Look whether it runs, and at mis.url and mis.password in config.yaml.",
        )
    if dialect.cancelled(error):
        return errors.RelayError(
            f"The MIS ended a query while {doing}: it took longer than {timeout.total_seconds():g} s.",
            hint="An index may be missing, or raise mis.statement_timeout in config.yaml.",
        )
    hint = f"GRANT SELECT on it to {url.username};" if dialect.forbidden(error) else "kiva-relay mapping check"
    return errors.RelayError(f"The MIS refused a query while {doing}: {cause}.", hint=hint)


def _where(url: sa.URL) -> str:
    if url.host is None:
        return str(url.database)
    return f"{url.host}{f':{url.port}' if url.port else ''}/{url.database}"
