"""What the MIS says today against what was sent, where Kiva takes no update: for the coordinator."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import mirror, table
from kiva_relay.outbox.entry import Entry
from kiva_relay.resource import body as json_body

_LONG = 200
_NEWER = "a newer difference"
_GONE = "the MIS"
_OURS = (_NEWER, _GONE)


def compare(tx: Connection, sent: Entry, now_owed: str | None, *, now: datetime) -> None:
    """Record, renew or end the divergence of a sent entry against the body that the MIS gives today.

    Nothing is compared for what we did not send ourselves (adopted, or settled by a person), nor when the MIS
    gives no body today (a refusal), nor after the loan was published: from then on PA2's own page is what counts.
    """
    if sent.evidence not in ("receipt", "look_up") or sent.body is None or now_owed is None:
        return
    fields = differences(json_body.decode(sent.body.encode()), json_body.decode(now_owed.encode()))
    if fields and not mirror.is_published(tx, sent):
        _record(tx, sent, "changed", fields, now=now)
    else:
        end(tx, sent.id, by=_GONE, now=now)


def left_scope(tx: Connection, sent: Entry, *, now: datetime) -> None:
    """Record that the MIS cancelled what was sent, unless the loan was published: then leaving is its normal end."""
    if sent.evidence == "adopted" or mirror.is_published(tx, sent):
        return
    _record(tx, sent, "left_scope", [], now=now)


def another(tx: Connection, sent: Entry, was: str, now_is: str, *, now: datetime) -> None:
    """Record that the number of what was sent belongs to another row of the MIS now, which is not sent."""
    _record(tx, sent, "changed", [{"field": "row", "was": was, "is": now_is}], now=now)


def end(tx: Connection, entry_id: int, *, by: str, now: datetime) -> int:
    """End the open divergence of an entry: acknowledged, or no longer true."""
    open_ones = (table.divergence.c.entry_id == entry_id, table.divergence.c.ended_at.is_(None))
    return tx.execute(sa.update(table.divergence).where(*open_ones).values(ended_at=now, ended_by=by)).rowcount


def differences(was: Any, now_is: Any, path: str = "") -> list[dict[str, str]]:
    """`[{field, was, is}]` between two bodies; long texts and images by their length only."""
    if isinstance(was, dict) and isinstance(now_is, dict):
        names = sorted(was.keys() | now_is.keys())
        return [
            difference
            for name in names
            for difference in differences(was.get(name), now_is.get(name), f"{path}.{name}".lstrip("."))
        ]
    if isinstance(was, list) and isinstance(now_is, list) and len(was) == len(now_is):
        return [
            difference
            for number, (left, right) in enumerate(zip(was, now_is, strict=True))
            for difference in differences(left, right, f"{path}[{number}]")
        ]
    return [] if was == now_is else [{"field": path, "was": _short(was), "is": _short(now_is)}]


def _short(value: Any) -> str:
    if value is None:
        return ""
    text = f"{len(value)} rows" if isinstance(value, list) else str(value)
    return text if len(text) <= _LONG else f"{len(text):,} characters"


def _record(tx: Connection, sent: Entry, kind: str, fields: list[dict[str, str]], *, now: datetime) -> None:
    query = sa.select(table.divergence).where(table.divergence.c.entry_id == sent.id)
    last = tx.execute(query.order_by(table.divergence.c.id.desc()).limit(1)).one_or_none()
    if last is not None and (last.kind, last.fields) == (kind, fields) and last.ended_by not in _OURS:
        return  # still open, or a person has seen just this
    end(tx, sent.id, by=_NEWER, now=now)
    tx.execute(sa.insert(table.divergence).values(entry_id=sent.id, kind=kind, fields=fields, reasons=[], since=now))
