"""What a database's error means to a person."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source.dialect import Dialect

_CANCELLED, _FORBIDDEN = "57014", "42501"


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
    lines = str(error.orig).strip().splitlines()
    cause = lines[0].rstrip(".") if lines else type(error.orig).__name__
    if dialect.lost(error):
        return errors.Unreachable(
            f"The MIS database {_where(url)} does not answer: {cause}. Nothing is lost; it is asked again.",
            hint="Look whether it runs, and at mis.url and mis.password in config.yaml.",
        )
    state = getattr(error.orig, "sqlstate", None)
    if state == _CANCELLED:
        return errors.RelayError(
            f"The MIS ended a query while {doing}: it took longer than {timeout.total_seconds():g} s.",
            hint="An index may be missing, or raise mis.statement_timeout in config.yaml.",
        )
    hint = f"GRANT SELECT on it to {url.username};" if state == _FORBIDDEN else "kiva-relay mapping check"
    return errors.RelayError(f"The MIS refused a query while {doing}: {cause}.", hint=hint)


def _where(url: sa.URL) -> str:
    if url.host is None:
        return str(url.database)
    return f"{url.host}{f':{url.port}' if url.port else ''}/{url.database}"
