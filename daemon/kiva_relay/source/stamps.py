"""What the stamps of a stream's tables are worth: how many are missing, and whether their clock is the right one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, tzinfo

import sqlalchemy as sa

from kiva_relay.frozen import dataclass
from kiva_relay.source import schema, statement, value
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.position import CaptureMode
from kiva_relay.source.stream import Stream
from kiva_relay.source.watch import TableFacts, Watched


@dataclass(frozen=True)
class Stamps:
    """Of one table: `absent` rows say nothing about when they changed; `newest` is how long ago the newest stamp is.

    A negative `newest` lies in the future; None: there is no stamp, or only a day. `indexes` would speed it up.
    `further` columns say when, too; those that say when a row was made come first.
    """

    origin: str
    columns: tuple[str, ...]
    mode: CaptureMode
    absent: int
    newest: timedelta | None
    indexes: tuple[str, ...]
    further: tuple[str, ...]


def survey(
    cx: sa.Connection,
    dialect: Dialect,
    stream: Stream,
    plan: Iterable[tuple[Watched, TableFacts]],
    *,
    zone: tzinfo,
    now: datetime,
) -> list[Stamps]:
    """Every table and SELECT of a stream that carries stamps. Reads each of them once, whole.

    Args:
        cx: in a snapshot.
        dialect: of the database.
        stream: whose tables.
        plan: how they are watched.
        zone: how the stream reads times without a zone.
        now: the database's clock.
    """
    found = []
    for one, facts in plan:
        origin = schema.rows_of(dialect, table=one.table, sql=one.sql, known=stream.parameters)
        for columns in one.stamps:
            sql = f"SELECT {_picked(dialect, columns)} FROM {origin} r"  # noqa: S608 - names come quoted
            absent, newest = cx.execute(statement.bind(sql, {**stream.parameters})).one()
            stamp = value.normal(newest, zone)
            indexes = (dialect.index(one.table or "", name) for name in facts.unindexed if name in columns)
            found.append(
                Stamps(
                    origin=one.origin,
                    columns=columns,
                    mode=facts.mode,
                    absent=int(absent or 0),
                    newest=now - stamp if isinstance(stamp, datetime) else None,
                    indexes=tuple(indexes),
                    further=_further(dialect, facts, columns),
                )
            )
    return found


def _further(dialect: Dialect, facts: TableFacts, columns: tuple[str, ...]) -> tuple[str, ...]:
    kinds = {facts.kinds[column] for column in columns}
    alike = (name for name, code in facts.present.items() if name not in columns and dialect.stamp(code) in kinds)
    return tuple(sorted(alike, key=lambda name: (not name.startswith("creat"), name)))


def _picked(dialect: Dialect, columns: tuple[str, ...]) -> str:
    names = [f"r.{statement.plain(dialect.quoted(column))}" for column in columns]
    newest = f"COALESCE({', '.join(names)})" if len(names) > 1 else names[0]
    return f"SUM(CASE WHEN {' AND '.join(map(dialect.absent, names))} THEN 1 ELSE 0 END), MAX({newest})"
