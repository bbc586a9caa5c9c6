"""What the MIS says today against what was sent, where Kiva takes no update: for the coordinator."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import mirror, query, table
from kiva_relay.outbox.entry import Entry, Owed
from kiva_relay.resource import body as json_body
from kiva_relay.resource.refusal import Refusal

_LONG = 200
_NEWER = "a newer difference"
_GONE = "the MIS"
_OURS = (_NEWER, _GONE)
_TOO_OLD = "disbursed_too_long_ago"
"""Every draft comes to that in time: no change of the MIS. That it is too late to publish is said elsewhere."""


def compare(tx: Connection, sent: Entry, owed: Entry | Owed, *, now: datetime) -> None:
    """Record, renew or end the divergence of a sent entry against what the MIS gives today.

    A row that no longer maps is a difference, too: the reasons, and the fields that can still be made. Nothing is
    compared for what we did not send ourselves (adopted, or typed by hand), nor after the loan was published: from
    then on PA2's own page is what counts.
    """
    reasons = _reasons(owed)
    if sent.body is None or not _was_sent_by_us(tx, sent) or (owed.body is None and not reasons):
        return
    is_now = owed.body if owed.body is not None else owed.partial if isinstance(owed, Owed) else None
    fields = []
    if is_now is not None:
        found = differences(json_body.decode(sent.body.encode()), json_body.decode(is_now.encode()))
        # What could not be made is empty now; the reason says more than that.
        fields = [one for one in found if one["is"] or not any(_concerns(each, one["field"]) for each in reasons)]
    if (fields or reasons) and not mirror.is_published(tx, sent):
        _record(tx, sent, "changed", fields, reasons, now=now)
    else:
        end(tx, sent.id, by=_GONE, now=now)


def _was_sent_by_us(tx: Connection, sent: Entry) -> bool:
    """Is what Kiva has our body? A person's word may mean one that was typed by hand."""
    if sent.evidence == "person":
        return query.was_tried(tx, sent)
    return sent.evidence in ("receipt", "look_up", "warned")


def _reasons(owed: Entry | Owed) -> list[dict[str, Any]]:
    """Why the row gives no body today: what Kiva's lists lack for a moment is no reason."""
    reasons = owed.reasons if isinstance(owed, Entry) else list(owed.refusals)
    waits = owed.reason if isinstance(owed, Entry) else owed.waits
    if owed.body is None and waits == "incomplete":
        reasons = [*reasons, Refusal("incomplete")]
    return [reason.to_json() for reason in reasons if reason.code != _TOO_OLD]


def _lasting(reasons: list[dict[str, Any]]) -> list[tuple[str, str, dict[str, str]]]:
    """Reasons without what changes every day by itself."""
    return [
        (each["code"], each["field"], {name: value for name, value in each["params"].items() if name != "days"})
        for each in reasons
    ]


def _concerns(reason: dict[str, Any], field: str) -> bool:
    name = str(reason["field"])
    return bool(name) and (field == name or field.startswith((f"{name}.", f"{name}[")))


def left_scope(tx: Connection, sent: Entry, *, now: datetime) -> None:
    """Record that the MIS cancelled what was sent, unless the loan was published: then leaving is its normal end."""
    if sent.evidence == "adopted" or mirror.is_published(tx, sent):
        return
    _record(tx, sent, "left_scope", [], [], now=now)


def another(tx: Connection, sent: Entry, was: str, now_is: str, *, now: datetime) -> None:
    """Record that the number of what was sent belongs to another row of the MIS now, which is not sent."""
    _record(tx, sent, "changed", [{"field": "row", "was": was, "is": now_is}], [], now=now)


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


def _record(
    tx: Connection,
    sent: Entry,
    kind: str,
    fields: list[dict[str, str]],
    reasons: list[dict[str, Any]],
    *,
    now: datetime,
) -> None:
    asked = sa.select(table.divergence).where(table.divergence.c.entry_id == sent.id)
    last = tx.execute(asked.order_by(table.divergence.c.id.desc()).limit(1)).one_or_none()
    same = last is not None and (last.kind, last.fields, _lasting(last.reasons)) == (kind, fields, _lasting(reasons))
    if last is not None and same and last.ended_by not in _OURS:
        return  # still open, or a person has seen just this
    end(tx, sent.id, by=_NEWER, now=now)
    values = {"entry_id": sent.id, "kind": kind, "fields": fields, "reasons": reasons, "since": now}
    tx.execute(sa.insert(table.divergence).values(**values))
