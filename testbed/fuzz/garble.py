"""Makes odd answers of good ones, by their structure: drop, retype, nest, repeat, rename; then truncate and re-encode."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from typing import Any

from kiva_relay.delivery.client import Answer

_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 1.5, 1e300, float("nan"), float("inf"), -0.0, 2**63, 10**39, "", " ", "0", "79",
    "1.0", "²", "٣", "null", "false", "error", "warning", "no", "nan", "x" * 300, "x" * 5_000, "\0", "\x1b[2J", "\u202egpj",
    "\ud800", "\N{REPLACEMENT CHARACTER}", "é", "😀", "https://kiva.org/", "javascript:1", [], {}, [None], [[]], {"a": {}}, [{}],
    "2026-11-28", "ok", "api.success", "00000000-0000-0000-0000-000000000000", 500, "500", {"": ""},
)  # fmt: skip
"""Values that stand where others should."""

_KEYS = (
    "code", "status", "success", "error", "errors", "problems", "data", "total_records", "kiva_id", "uuid", "severity",
    "internal_loan_id", "loan_id", "loan_draft_uuid", "upload_id", "archive_id", "confirm_url", "scope", "partnerId",
    "expires_in", "access_token", "", "\0", "x" * 200, "__class__",
)  # fmt: skip
_STATUSES = (*[200] * 24, 201, 202, 204, 206, 207, 299, 302, 400, 401, 429, 500, 503)


class _Twice(dict[str, Any]):
    """An object in which a key stands twice; `json` writes its items as they come."""

    def __init__(self, found: dict[str, Any], key: str, value: Any) -> None:
        super().__init__(found)
        self._more = (key, value)

    def items(self) -> Any:
        return [*super().items(), self._more]


def answer(dice: random.Random, said: Any) -> Answer:
    """An odd answer out of a good one."""
    for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        said = _changed(dice, said)
    content = _bytes(dice, said)
    whole = dice.random() > 0.02
    return Answer(dice.choice(_STATUSES), {}, content, body_complete=True, read_whole=whole)


def _changed(dice: random.Random, said: Any) -> Any:
    """The same with one place of it changed, chosen by going down from the top."""
    if isinstance(said, dict) and said and dice.random() < 0.75:
        key = dice.choice([*said])
        return dict(said) | {key: _changed(dice, said[key])}
    if isinstance(said, list) and said and dice.random() < 0.75:
        place = dice.randrange(len(said))
        return [*said[:place], _changed(dice, said[place]), *said[place + 1 :]]
    return dice.choice(_CHANGES)(dice, said)


def _drop(dice: random.Random, said: Any) -> Any:
    if isinstance(said, dict) and said:
        gone = dice.choice([*said])
        return {key: value for key, value in said.items() if key != gone}
    return said[1:] if isinstance(said, list | str) else None


def _retype(dice: random.Random, said: Any) -> Any:
    if dice.random() < 0.3:
        return str(said)
    if isinstance(said, str) and said.isdecimal() and dice.random() < 0.5:
        return int(said)
    return dice.choice(_ODD)


def _nest(dice: random.Random, said: Any) -> Any:
    for _ in range(dice.choice((1, 1, 2, 40))):
        said = [said] if dice.random() < 0.5 else {dice.choice(_KEYS): said}
    return said


def _repeat(dice: random.Random, said: Any) -> Any:
    if isinstance(said, list):
        return said * dice.choice((2, 3, 50))
    if isinstance(said, dict) and said:
        key = dice.choice([*said])
        return _Twice(said, key if dice.random() < 0.7 else key.replace("_", ""), _retype(dice, said[key]))
    return [said, said]


def _rename(dice: random.Random, said: Any) -> Any:
    if not isinstance(said, dict) or not said:
        return _retype(dice, said)
    key = dice.choice([*said])
    first, *rest = key.split("_")
    camel = first + "".join(word.capitalize() for word in rest)
    name = dice.choice((camel, camel.capitalize(), key.upper(), f" {key}", *_KEYS))
    return {name if each == key else each: value for each, value in said.items()}


def _add(dice: random.Random, said: Any) -> Any:
    if not isinstance(said, dict):
        return _nest(dice, said)
    return dict(said) | {dice.choice(_KEYS): dice.choice(_ODD)}


_CHANGES: tuple[Callable[[random.Random, Any], Any], ...] = (_drop, _retype, _retype, _nest, _repeat, _rename, _add)


def _bytes(dice: random.Random, said: Any) -> bytes:
    text = json.dumps(said, ensure_ascii=dice.random() < 0.5)
    content = text.encode("utf-8", "surrogatepass")
    if dice.random() < 0.75:
        return content
    return dice.choice(_CODINGS)(dice, content)


def _cut(dice: random.Random, content: bytes) -> bytes:
    return content[: dice.randrange(len(content) + 1)]


def _flip(dice: random.Random, content: bytes) -> bytes:
    place = dice.randrange(len(content) or 1)
    return content[:place] + bytes([dice.randrange(256)]) + content[place + 1 :]


_CODINGS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _cut,
    _flip,
    _flip,
    lambda _dice, content: b"\xef\xbb\xbf" + content,
    lambda _dice, content: content.decode("utf-8", "replace").encode("utf-16"),
    lambda _dice, content: content.decode("utf-8", "replace").encode("latin-1", "replace"),
    lambda _dice, content: gzip.compress(content, 1),
    lambda _dice, content: b"<html><body>" + content,
    lambda _dice, content: content * 2,
    lambda _dice, content: b"[" * 2_000 + content,
    lambda _dice, content: b" \n" + content + b"\0",
)
