"""What the MIS says today against what was sent, where Kiva takes no update: for the coordinator."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import meta, mirror, query, table
from kiva_relay.outbox.entry import Entry, Owed
from kiva_relay.resource import body as json_body
from kiva_relay.resource.refusal import Refusal

_LONG = 200
_DIGITS = 24
_NEWER = "a newer difference"
_GONE = "the MIS"
_HASH = "hash"
FORGOTTEN = "forgotten"
"""Beside the hashes of a body: its borrower asked to be forgotten."""
_OURS = (_NEWER, _GONE)
_TOO_OLD = "disbursed_too_long_ago"
"""Every draft comes to that in time: no change of the MIS. That it is too late to publish is said elsewhere."""


def compare(tx: Connection, sent: Entry, owed: Entry | Owed, *, now: datetime) -> None:
    """Record, renew or end the divergence of a sent entry against what the MIS gives today.

    A row that no longer maps is a difference, too: the reasons, and the fields that can still be made. Nothing is
    compared for what we did not send ourselves (adopted, or typed by hand), nor of a draft whose loan was published:
    from then on PA2's own page is what counts. A journal's loan is always published: its note is compared for ever.
    """
    reasons = _reasons(owed)
    known = sent.body is not None or sent.hashes is not None
    if not known or not _was_sent_by_us(tx, sent) or (owed.body is None and not reasons):
        return
    is_now = owed.body if owed.body is not None else owed.partial if isinstance(owed, Owed) else None
    fields = []
    if is_now is not None:
        found = _differences(tx, sent, is_now)
        # What could not be made is empty now; the reason says more than that.
        fields = [one for one in found if one["is"] or not any(_concerns(each, one["field"]) for each in reasons)]
    if (fields or reasons) and not _is_over(tx, sent):
        _record(tx, sent, "changed", fields, reasons, now=now)
    else:
        end(tx, sent.id, by=_GONE, now=now)


def _was_sent_by_us(tx: Connection, sent: Entry) -> bool:
    """Is what Kiva has our body? A person's word may mean one that was typed by hand."""
    if sent.evidence == "person":
        return query.was_tried(tx, sent)
    return sent.evidence in ("receipt", "look_up", "warned")


def _is_over(tx: Connection, sent: Entry) -> bool:
    """Is it a draft that a person has published?"""
    return sent.resource != "journal" and mirror.is_published(tx, sent)


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
    """Record that the MIS cancelled what was sent. Of a draft that was published, leaving is the normal end."""
    if sent.evidence == "adopted" or _is_over(tx, sent):
        return
    _record(tx, sent, "left_scope", [], [], now=now)


def back(tx: Connection, doubted: Entry | None, *, now: datetime) -> None:
    """What was cancelled in a doubt is owed again, or is not at Kiva: nobody has to delete it."""
    if doubted is not None:
        end(tx, doubted.id, by=_GONE, now=now)


def another(tx: Connection, sent: Entry, was: str, now_is: str, *, now: datetime) -> None:
    """Record that the number of what was sent belongs to another row of the MIS now, which is not sent."""
    _record(tx, sent, "changed", [{"field": "row", "was": was, "is": now_is}], [], now=now)


def end(tx: Connection, entry_id: int, *, by: str, now: datetime) -> int:
    """End the open divergence of an entry: acknowledged, or no longer true."""
    open_ones = (table.divergence.c.entry_id == entry_id, table.divergence.c.ended_at.is_(None))
    return tx.execute(sa.update(table.divergence).where(*open_ones).values(ended_at=now, ended_by=by)).rowcount


def is_told(tx: Connection, entry_id: int) -> bool:
    """Is there a difference of an entry that did not end by itself: an open one, or one that a person has seen?"""
    columns = table.divergence.c
    stands = sa.or_(columns.ended_at.is_(None), columns.ended_by.not_in(_OURS))
    found = sa.select(columns.id).where(columns.entry_id == entry_id, stands).limit(1)
    return tx.execute(found).first() is not None


def hashes(tx: Connection, body: str, *, now: datetime) -> dict[str, Any]:
    """What stays of a body that is deleted: the hash of each field, keyed so that only this outbox can compare it."""
    fields = _hashed(json_body.decode(body.encode()), hash_key(tx))
    return {"deleted_on": now.date().isoformat(), "fields": fields}


def forget_values(tx: Connection, entry_id: int, *, now: datetime) -> None:
    """Of the divergences of an entry, keep which fields and why; of what stood there, only the hash."""
    columns, key = table.divergence.c, hash_key(tx)
    for row in tx.execute(sa.select(columns.id, columns.fields, columns.reasons).where(columns.entry_id == entry_id)):
        fields = [
            {"field": one["field"], "was": _deleted(now.date().isoformat()), "is": "…", "hash": _digest(one["is"], key)}
            for one in row.fields
        ]
        reasons = without_values(tx, row.reasons)
        where = columns.id == row.id
        tx.execute(sa.update(table.divergence).where(where).values(fields=fields, reasons=reasons))


def emptied(
    tx: Connection, body: str | None, refusals: Any, receipt: Any, *, kept: Any, now: datetime
) -> dict[str, Any]:
    """What stays of an entry whose body goes: hashes instead of values. `kept`: those of a body that went before."""
    return {
        "body": None,
        "refusals": None if refusals is None else without_values(tx, refusals),
        "receipt": _without_words(receipt),
        "hashes": kept if body is None and kept else hashes(tx, body or "{}", now=now),
    }


def _without_words(receipt: dict[str, Any] | None) -> dict[str, Any] | None:
    """A receipt, and of the problems that came with it only their codes."""
    if not receipt or not receipt.get("problems"):
        return receipt
    problems = [
        {name: value for name, value in problem.items() if name in ("code", "severity")}
        for problem in receipt["problems"]
    ]
    return {**receipt, "problems": problems}


def without_values(tx: Connection, reasons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reasons by code and field; of what they quote, only a hash."""
    key = hash_key(tx)
    return [
        reason if _is_hashed(reason) else {**reason, "params": {_HASH: _digest(_lasting([reason]), key)}}
        for reason in reasons
    ]


def same_reasons(tx: Connection, known: list[dict[str, Any]], reasons: list[dict[str, Any]]) -> bool:
    """Are these the reasons that are known? Of those only hashes may be left."""
    if not any(map(_is_hashed, known)):
        return known == reasons
    return known == without_values(tx, reasons)


def _is_hashed(reason: dict[str, Any]) -> bool:
    return [*reason["params"]] == [_HASH]


def _differences(tx: Connection, sent: Entry, is_now: str) -> list[dict[str, str]]:
    """`[{field, was, is}]`; where only hashes of what was sent are left, with the hash of what is there now."""
    present = json_body.decode(is_now.encode())
    if sent.body is not None:
        found = _walk(json_body.decode(sent.body.encode()), present)
        return [{"field": path, "was": _short(was), "is": _short(now_is)} for path, was, now_is in found]
    key = hash_key(tx)
    values = {path: now_is for path, _was, now_is in _walk(None, present, everywhere=True)}
    was = _deleted(sent.hashes["deleted_on"])
    changed = [path for path, _was, _is in _walk(sent.hashes["fields"], _hashed(present, key))]
    shown = {path: _short(values.get(path)) for path in changed}
    # Of a person who is forgotten, only that a field is another one is told: what it is now is the person's, too.
    hidden = bool(sent.hashes.get(FORGOTTEN))
    return [
        {"field": path, "was": was, "is": "…" if hidden else text, "hash": _digest(text, key)}
        for path, text in shown.items()
    ]


def _walk(was: Any, now_is: Any, path: str = "", *, everywhere: bool = False) -> Iterator[tuple[str, Any, Any]]:
    """Each place where two bodies differ, with what stands there; `everywhere`: each place of the second."""
    if everywhere:
        yield path, was, now_is
    if isinstance(now_is, dict) and (isinstance(was, dict) or everywhere):
        before = was if isinstance(was, dict) else {}
        for name in sorted(before.keys() | now_is.keys()):
            place = f"{path}.{name}".lstrip(".")
            yield from _walk(before.get(name), now_is.get(name), place, everywhere=everywhere)
    elif isinstance(now_is, list) and (everywhere or (isinstance(was, list) and len(was) == len(now_is))):
        for number, right in enumerate(now_is):
            left = was[number] if isinstance(was, list) else None
            yield from _walk(left, right, f"{path}[{number}]", everywhere=everywhere)
    elif was != now_is and not everywhere:
        yield path, was, now_is


def _hashed(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _hashed(item, key) for name, item in value.items()}
    if isinstance(value, list):
        return [_hashed(item, key) for item in value]
    return _digest(value, key)


def _digest(value: Any, key: str) -> str:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        value = f"{Decimal(value).normalize():f}"  # 100.50 is 100.5
    return hmac.new(key.encode(), repr(value).encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def hash_key(tx: Connection) -> str:
    """With which this outbox hashes: nobody without it can tell a value from its hash."""
    known = meta.HASH_KEY.get(tx)
    if known is None:
        known = secrets.token_hex(32)
        meta.HASH_KEY.put(tx, known)
    return known


def _deleted(on: str) -> str:
    return f"deleted on {on}"


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
    same = last is not None and last.kind == kind and _alike(tx, last, fields, reasons)
    if last is not None and same and last.ended_by not in _OURS:
        return  # still open, or a person has seen just this
    end(tx, sent.id, by=_NEWER, now=now)
    values = {"entry_id": sent.id, "kind": kind, "fields": fields, "reasons": reasons, "since": now}
    tx.execute(sa.insert(table.divergence).values(**values))


def _alike(tx: Connection, last: Any, fields: list[dict[str, str]], reasons: list[dict[str, Any]]) -> bool:
    """Is this the difference that is on record? Of that one only hashes may be left."""
    if _lasting(last.reasons) != _lasting(reasons) and last.reasons != without_values(tx, reasons):
        return False
    names = [(one["field"], one.get("hash", one["is"])) for one in last.fields]
    return names == [(one["field"], one.get("hash", one["is"])) for one in fields]
