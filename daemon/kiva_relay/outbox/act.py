"""What persons did: every settle, hold, release and reload, with who and why. Never deleted."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import table


def person(environ: Mapping[str, str] = os.environ) -> str:
    """Who is at the keyboard: the one who called sudo, not root."""
    return environ.get("SUDO_USER") or getpass.getuser()


_ON_PAGE = " (page)"


def on_page(name: str) -> str:
    """Who is at the page, as it is written down: another who than the one at the keyboard of that name."""
    return f"{name}{_ON_PAGE}"


def who(written: str) -> str:
    """The person alone, to be shown to a person."""
    return written.removesuffix(_ON_PAGE)


@dataclass(frozen=True)
class Done:
    """What somebody did: the verb as it is typed, the note, and what it was about, in ids and codes."""

    at: datetime
    person: str
    verb: str
    note: str
    about: Any = None


def latest(tx: Connection, *, most: int | None, by: str | None = None) -> list[Done]:
    """The newest acts, the newest first; `by`: of this person only, at the keyboard or on the page."""
    query = _DONE if by is None else _DONE.where(table.act.c.person.in_([by, on_page(by)]))
    return [Done(*row) for row in tx.execute(query if most is None else query.limit(most))]


def last(tx: Connection, verb: str, *, what: str) -> Done | None:
    """The newest act of this verb that was about `what`."""
    about = sa.type_coerce(table.act.c.about, sa.Text).contains(f'"what":"{what}"')
    row = tx.execute(_DONE.where(table.act.c.verb == verb, about).limit(1)).one_or_none()
    return None if row is None else Done(*row)


def of_period(tx: Connection, period: str, *, verbs: Sequence[str]) -> list[Done]:
    """The acts with these verbs that were about the report of a period, the oldest first."""
    about = sa.type_coerce(table.act.c.about, sa.Text).contains(f'"period":"{period}"')
    found = tx.execute(_DONE.where(table.act.c.verb.in_(verbs), about)).all()
    return [Done(*row) for row in reversed(found)]


def newest(tx: Connection, *verbs: str) -> int:
    """The number of the act of these verbs that was done last; 0: there was none."""
    mine = sa.select(table.act.c.id).where(table.act.c.verb.in_(verbs))
    return tx.execute(mine.order_by(table.act.c.id.desc()).limit(1)).scalar() or 0


_DONE = sa.select(*(table.act.c[name] for name in Done.__dataclass_fields__)).order_by(table.act.c.id.desc())


def record(tx: Connection, *, by: str, verb: str, about: Any, note: str, now: datetime) -> None:
    """Write down an act. `about` is ids and codes, nothing personal."""
    tx.execute(sa.insert(table.act).values(at=now, person=by, verb=verb, about=about, note=note))
