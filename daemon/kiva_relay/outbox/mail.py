"""The mail that is to be sent, and what became of it. All functions take an open transaction.

Mail is no entry: no hold keeps it, nothing of it goes to Kiva. A row is made once of each kind, of what it is about,
and of each address; its Message-ID stays the same, so that what is sent twice (the relay was killed between the
server's answer and our commit) is one message to whoever reads it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import mail_table

KEPT_FOR = timedelta(days=90)
"""An address is somebody's: afterwards it goes."""

_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=1)
_MOST_DOUBLINGS = 6
_LONGEST_WORDS = 300

_mail = mail_table.mail.c


@dataclass(frozen=True)
class MailKey:
    """Which mail it is: its kind, what it is about, and to whom."""

    kind: str
    about: str
    address: str


@dataclass(frozen=True)
class KeptMail:
    """A mail that waits to be sent. `attempts`: how often that was begun; `until`: then it is worth nothing."""

    id: int
    kind: str
    about: str
    address: str
    message_id: str
    attempts: int
    until: datetime
    due_at: datetime


@dataclass(frozen=True)
class MailStanding:
    """How it is with the mail.

    `waiting`: how many are due; `since`, `words`: since when the oldest of them could not be sent, and what came back
    last; None and empty while there is none of these. `refused`: by address, what the server says of it, where it took
    nothing for it since. `sent_at`: when the server last took one.
    """

    waiting: int = 0
    since: datetime | None = None
    words: str = ""
    refused: tuple[tuple[str, str], ...] = ()
    sent_at: datetime | None = None


_KEPT = sa.select(*(_mail[name] for name in KeptMail.__dataclass_fields__)).where(mail_table.DUE)
_BY_ID = _mail.id == sa.bindparam("its_id")


def add(tx: Connection, keys: Iterable[MailKey], *, until: datetime, domain: str, now: datetime) -> int:
    """Note down mail that is to be sent, each once; how many of them are new. What is old is forgotten.

    `until`: when it is worth nothing any more. `domain`: that of the sender, for its Message-ID.
    """
    tx.execute(sa.delete(mail_table.mail).where(_mail.settled_at < now - KEPT_FOR))
    new = 0
    for key in keys:
        same = (_mail.kind == key.kind, _mail.about == key.about, _mail.address == key.address)
        if tx.execute(sa.select(_mail.id).where(*same)).first() is not None:
            continue
        row = {"kind": key.kind, "about": key.about, "address": key.address, "made_at": now, "until": until}
        message_id = f"<{secrets.token_hex(16)}@{domain}>"
        rest = {"message_id": message_id, "state": "due", "attempts": 0, "due_at": now, "words": ""}
        tx.execute(sa.insert(mail_table.mail).values(**row, **rest))
        new += 1
    return new


def known(tx: Connection, several: Iterable[tuple[str, str]]) -> set[MailKey]:
    """What was noted down already, of each kind and what it is about."""
    found: set[MailKey] = set()
    for kind, about in several:
        rows = tx.execute(sa.select(_mail.address).where(_mail.kind == kind, _mail.about == about))
        found |= {MailKey(kind, about, address) for (address,) in rows}
    return found


def due(tx: Connection) -> list[KeptMail]:
    """All that is still to be sent, also what waits for its next attempt; what was tried least comes first."""
    return [KeptMail(*row) for row in tx.execute(_KEPT.order_by(_mail.attempts, _mail.id))]


def begun(tx: Connection, one: KeptMail, *, now: datetime) -> None:
    """It is being sent. Whoever finds it due again soon, and several times, waits: a relay may be ended by it."""
    again = now + back_off(one.attempts + 1) - _FIRST_PAUSE
    _change(tx, one, attempts=one.attempts + 1, due_at=again)


def sent(tx: Connection, one: KeptMail, *, words: str, now: datetime) -> None:
    """The server took it."""
    _change(tx, one, state="sent", settled_at=now, words=words)


def refused(tx: Connection, one: KeptMail, *, words: str, now: datetime) -> None:
    """The server does not take it for this address."""
    _change(tx, one, state="refused", settled_at=now, words=words)


def missed(tx: Connection, one: KeptMail, *, now: datetime) -> None:
    """It is worth nothing any more."""
    _change(tx, one, state="missed", settled_at=now)


def failed(tx: Connection, several: Sequence[KeptMail], *, words: str, now: datetime) -> None:
    """It could not be sent, and is sent again later: the longer it could not, the later."""
    for one in several:
        _change(tx, one, attempts=one.attempts + 1, due_at=now + back_off(one.attempts + 1), words=words)


def back_off(attempts: int) -> timedelta:
    """How long after so many attempts the next one comes: a minute, two, four, … an hour."""
    doubled: int = 1 << min(max(attempts - 1, 0), _MOST_DOUBLINGS)
    return min(_FIRST_PAUSE * doubled, _LONGEST_PAUSE)


def last_about(tx: Connection, kind: str) -> str | None:
    """What the newest mail of a kind was about; None: there was none."""
    query = sa.select(_mail.about).where(_mail.kind == kind).order_by(_mail.id.desc()).limit(1)
    return tx.execute(query).scalar_one_or_none()


def standing(tx: Connection) -> MailStanding:
    """How it is with the mail."""
    waiting = tx.execute(
        sa.select(_mail.made_at, _mail.words).where(mail_table.DUE, _mail.words != "").order_by(_mail.id)
    ).all()
    newest = sa.select(sa.func.max(_mail.id)).where(_mail.state.in_(("sent", "refused"))).group_by(_mail.address)
    last = tx.execute(
        sa.select(_mail.address, _mail.state, _mail.words).where(_mail.id.in_(newest)).order_by(_mail.address)
    )
    return MailStanding(
        waiting=len(waiting),
        since=waiting[0][0] if waiting else None,
        words=waiting[-1][1] if waiting else "",
        refused=tuple((address, words) for address, state, words in last if state == "refused"),
        sent_at=tx.execute(sa.select(sa.func.max(_mail.settled_at)).where(_mail.state == "sent")).scalar_one(),
    )


def _change(tx: Connection, one: KeptMail, **values: object) -> None:
    if "words" in values:
        values["words"] = " ".join(str(values["words"]).split())[:_LONGEST_WORDS]
    tx.execute(sa.update(mail_table.mail).where(_BY_ID, mail_table.DUE).values(**values), {"its_id": one.id})
