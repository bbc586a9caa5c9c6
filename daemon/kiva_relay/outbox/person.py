"""Who may open the coordinator's page, and who has it open."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import page_table

ROLES = page_table.ROLES
IDLE = timedelta(hours=2)
"""A session in which nothing was asked for so long is over."""

LASTS = timedelta(hours=12)
"""However busy it is, a session is over after so long: a working day."""

_SEEN_EVERY = timedelta(minutes=1)
_person, _session = page_table.person.c, page_table.session.c


@dataclass(frozen=True)
class Person:
    """Somebody who may open the page. `role` is `coordinator` (decides what is hers), or `administrator`."""

    name: str
    role: str
    language: str


@dataclass(frozen=True)
class PageSession:
    """A page that a person has open. A form has to bring back `form`: no other site knows it."""

    person: Person
    form: str


def put(tx: Connection, person: Person, *, password: str, by: str, now: datetime) -> bool:
    """Add a person, or give one another password, role and language; true when there was none of this name.

    All that this person has open ends. `password` is a hash.
    """
    end_sessions(tx, person.name)
    values = {"role": person.role, "language": person.language, "password": password}
    where = _person.name == person.name
    if tx.execute(sa.update(page_table.person).where(where).values(**values)).rowcount:
        return False
    tx.execute(sa.insert(page_table.person).values(name=person.name, added_at=now, added_by=by, **values))
    return True


def remove(tx: Connection, name: str) -> bool:
    """Take a person off; what this person has open ends at once. False when there is none of this name."""
    end_sessions(tx, name)
    return bool(tx.execute(sa.delete(page_table.person).where(_person.name == name)).rowcount)


def everybody(tx: Connection) -> list[tuple[Person, datetime | None]]:
    """All persons by name, each with the moment when she last asked for something."""
    seen = sa.select(sa.func.max(_session.seen_at)).where(_session.name == _person.name).scalar_subquery()
    rows = tx.execute(sa.select(_person.name, _person.role, _person.language, seen).order_by(_person.name))
    return [(Person(*row[:3]), row[3]) for row in rows]


def find(tx: Connection, name: str) -> tuple[Person, str] | None:
    """A person with the hash of the password; None: there is none of this name."""
    columns = (_person.name, _person.role, _person.language, _person.password)
    row = tx.execute(sa.select(*columns).where(_person.name == name)).one_or_none()
    return None if row is None else (Person(row.name, row.role, row.language), row.password)


def begin_session(tx: Connection, name: str, *, now: datetime) -> str:
    """Open a session and return its token, which is kept nowhere else. Sessions that are over are forgotten."""
    over = sa.or_(_session.began_at < now - LASTS, _session.seen_at < now - IDLE)
    tx.execute(sa.delete(page_table.session).where(over))
    token = secrets.token_urlsafe(32)
    values = {"token": _hash(token), "name": name, "form": secrets.token_urlsafe(32), "began_at": now, "seen_at": now}
    tx.execute(sa.insert(page_table.session).values(**values))
    return token


def session(tx: Connection, token: str, *, now: datetime) -> tuple[PageSession, bool] | None:
    """The session of a token, if it is not over, and whether it is time to write down that it was seen."""
    query = (
        sa.select(_person.name, _person.role, _person.language, _session.form, _session.seen_at)
        .join_from(page_table.session, page_table.person)
        .where(_session.token == _hash(token), _session.began_at >= now - LASTS, _session.seen_at >= now - IDLE)
    )
    row = tx.execute(query).one_or_none()
    if row is None:
        return None
    return PageSession(Person(row.name, row.role, row.language), row.form), now - row.seen_at >= _SEEN_EVERY


def seen(tx: Connection, token: str, *, now: datetime) -> None:
    """Something was asked for in this session."""
    tx.execute(sa.update(page_table.session).where(_session.token == _hash(token)).values(seen_at=now))


def end_session(tx: Connection, token: str) -> None:
    """The person has left."""
    tx.execute(sa.delete(page_table.session).where(_session.token == _hash(token)))


def end_sessions(tx: Connection, name: str) -> None:
    """Whatever a person has open ends."""
    tx.execute(sa.delete(page_table.session).where(_session.name == name))


def speaks(tx: Connection, name: str, language: str) -> None:
    """A person chose another language."""
    tx.execute(sa.update(page_table.person).where(_person.name == name).values(language=language))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
