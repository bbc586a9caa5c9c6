"""Odd answers, by name: a whole answer to a good request, that means something else than it looks like, or nothing at all.

Each is made of the good answer, so that a test can say which part of it is odd; `garbled` draws the oddity by chance.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from testbed.fuzz import garble, oracle, sample
from testbed.kiva.reply import Answer

_CREATE = ("loan_draft", "repayments", "journals")
_ANY = ("token", *_CREATE, "loans", "config")


@dataclass(frozen=True)
class OddAnswer:
    """What is odd about an answer. `on` are the calls that it makes sense for; `applied`: whether the call takes effect."""

    on: tuple[str, ...]
    make: Callable[[Answer], Answer]
    applied: bool = True


def _said(answer: Answer, change: Callable[[Any], Any]) -> Answer:
    return replace(answer, body=orjson.dumps(change(orjson.loads(answer.body or b"{}"))))


def _with(**changes: Any) -> Callable[[Answer], Answer]:
    """The same object with some keys changed."""
    return lambda answer: _said(answer, lambda said: {**said, **changes})


def _without(*keys: str) -> Callable[[Answer], Answer]:
    return lambda answer: _said(answer, lambda said: {key: value for key, value in said.items() if key not in keys})


def _instead(said: Any, status: int = 200, **headers: str) -> Callable[[Answer], Answer]:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    body = said if isinstance(said, bytes) else orjson.dumps(said)
    return lambda _answer: Answer(status, body, headers=named)


def _bytes(change: Callable[[bytes], bytes], **headers: str) -> Callable[[Answer], Answer]:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return lambda answer: replace(answer, body=change(answer.body), headers=(*answer.headers, *named))


def _items(change: Callable[[list[Any]], list[Any]]) -> Callable[[Answer], Answer]:
    """The items of one of Kiva's lists changed."""

    def changed(said: Any) -> Any:
        return {key: change(value) if isinstance(value, list) else value for key, value in said.items()}

    return lambda answer: _said(answer, changed)


def _ids_as_text(items: list[Any]) -> list[Any]:
    return [{key: str(value) if isinstance(value, int) else value for key, value in item.items()} for item in items]


def _camel(items: list[Any]) -> list[Any]:
    def key(name: str) -> str:
        first, *rest = name.split("_")
        return first + "".join(map(str.capitalize, rest))

    return [{key(name): value for name, value in item.items()} for item in items]


def _loans(change: Callable[[Any], Any]) -> Callable[[Answer], Answer]:
    """Each item of `GET /loans` changed."""
    return lambda answer: _said(answer, lambda said: {**said, "data": [change(item) for item in said["data"]]})


_NO_CONTENT = 204
_NOT_APPLIED = (400, 401, 429)
_NO = {"code": "error", "message": "no"}
_STATUSES = (200, 200, 200, 200, 400, 400, 401, 403, 404, 408, 409, 413, 422, 425, 429, 429, 500, 502, 503, 503, 504)
_COME_BACK = (425, 429, 503)
_RETRY_AFTER = ("", "0", "1", "-1", "\u00b2", "soon", "nan", "1.5", "Sat, 28 Nov 2020 06:00:00 GMT", "9 9", "1, 2")
_SIGNS = {"loan_draft_uuid": "x1", "upload_id": 1, "archive_id": 1, "confirm_url": "https://kiva.org/x1"}
_PROBLEM = {"code": "E7", "details": "closed"}

ODD: Mapping[str, OddAnswer] = {
    # a yes that is none
    "no_with_200": OddAnswer(("loan_draft",), _instead({**_NO, "loan_draft_uuid": ""}), applied=False),
    "uuid_false": OddAnswer(("loan_draft",), _instead({"loan_draft_uuid": False}), applied=False),
    "code_says_error": OddAnswer(_CREATE, _instead({**_SIGNS, "code": "api.error"}), applied=False),
    "success_false": OddAnswer(_CREATE, _instead({**_SIGNS, "success": False}), applied=False),
    "no_confirm_url": OddAnswer(("journals",), _without("confirm_url")),
    "confirm_url_elsewhere": OddAnswer(("journals",), _with(confirm_url="https://kiva.org.evil.example/\u202ex")),
    "no_upload_id": OddAnswer(("repayments",), _without("upload_id")),
    "problem_is_one_object": OddAnswer(("repayments",), _with(problems={**_PROBLEM, "severity": "error"})),
    "problem_is_critical": OddAnswer(("repayments",), _with(problems=[{**_PROBLEM, "severity": "critical"}])),
    "problem_without_severity": OddAnswer(("repayments",), _with(problems=[{**_PROBLEM, "severity": None}])),
    # lists
    "data_of_null": OddAnswer(("loans",), _with(data=[None])),
    "data_an_object": OddAnswer(("loans",), _with(data={})),
    "data_a_number": OddAnswer(("loans",), _with(data=5)),
    "total_as_text": OddAnswer(("loans",), lambda answer: _said(answer, lambda said: {**said, "total_records": f"{said['total_records']}.0"})),
    "item_left_out": OddAnswer(("loans",), lambda answer: _said(answer, lambda said: {**said, **({"data": said["data"][1:]} if "data" in said else {})})),
    "total_too_high": OddAnswer(("loans",), lambda answer: _said(answer, lambda said: {**said, "total_records": said["total_records"] + 3})),
    "kiva_id_zero": OddAnswer(("loans",), _loans(lambda item: {**item, "kiva_id": 0})),
    "loan_id_an_object": OddAnswer(("loans",), _loans(lambda item: {**item, "internal_loan_id": {}})),
    "loan_id_null": OddAnswer(("loans",), _loans(lambda item: {**item, "internal_loan_id": None})),
    "items_without_id": OddAnswer(("config",), _items(lambda items: [*items, {"activity": "New one", "theme_type": "New"}])),
    "ids_as_text": OddAnswer(("config",), _items(_ids_as_text)),
    "items_in_camel_case": OddAnswer(("config",), _items(_camel)),
    # tokens
    "token_beyond_ascii": OddAnswer(("token",), _with(access_token="t\u00f6ken")),
    "token_of_another_partner": OddAnswer(("token",), _with(partnerId="999")),
    "expires_never": OddAnswer(("token",), _bytes(lambda body: body.replace(b'"expires_in":', b'"expires_in":1e999,"was":'))),
    "expires_before": OddAnswer(("token",), _with(expires_in=-5)),
    "scope_as_list": OddAnswer(("token",), lambda answer: _said(answer, lambda said: {**said, "scope": said["scope"].split()})),
    # everywhere
    "retry_after_superscript": OddAnswer(_ANY, _instead(_NO, 429, retry_after="\u00b2"), applied=False),
    "retry_after_huge": OddAnswer(_ANY, _instead(_NO, 429, retry_after="9" * 400), applied=False),
    "error_with_json": OddAnswer(_ANY, lambda answer: replace(answer, status=500)),
    "byte_order_mark": OddAnswer(_ANY, _bytes(lambda body: b"\xef\xbb\xbf" + body)),
    "latin_1_letter": OddAnswer(_ANY, _bytes(lambda body: body.replace(b"{", b'{"note":"pr\xeat",', 1))),
    "gzip_once": OddAnswer(_ANY, _bytes(gzip.compress, content_encoding="gzip")),
    "gzip_twice": OddAnswer(_ANY, _bytes(lambda body: gzip.compress(gzip.compress(body)), content_encoding="gzip, gzip")),
    "bomb": OddAnswer(_ANY, lambda answer: replace(answer, body=gzip.compress(gzip.compress(b" " * 50_000_000)), headers=(("content-encoding", "gzip, gzip"),))),
    "too_deep": OddAnswer(_ANY, _bytes(lambda body: b"[" * 100_000 + body)),
    "cookies": OddAnswer(_ANY, lambda answer: replace(answer, headers=(*answer.headers, ("set-cookie", "a=b; Path=/")))),
    "redirect": OddAnswer(_ANY, _instead(_NO, 308, location="/elsewhere"), applied=False),
    "garbled": OddAnswer(_ANY, lambda answer: answer),
    "garbled_no": OddAnswer(_ANY, lambda answer: answer, applied=False),
}  # fmt: skip
"""Every odd answer."""


def of(name: str, good: Answer, dice: random.Random) -> Answer:
    """The odd answer of this name, made of the good one."""
    if name == "garbled_no":
        return _garbled_no(dice)
    if name == "garbled":
        made = garble.answer(dice, orjson.loads(good.body or b"{}"))
        # The call was applied, so a status that says that it was not would be a lie; and HTTP gives a 204 no body.
        status = good.status if made.status in _NOT_APPLIED else made.status or good.status
        return replace(good, status=status, body=b"" if status == _NO_CONTENT else made.content)
    return ODD[name].make(good)


def _garbled_no(dice: random.Random) -> Answer:
    """A refusal or a fault of Kiva's, garbled; also as a success that is none. It must not be what it denies: a receipt."""
    status = dice.choice(_STATUSES)
    made = garble.answer(dice, dice.choice(sample.NOES))
    is_receipt = any(not oracle.why_not(made, resource) for resource in ("loan_draft", "repayment", "journal"))
    if status in range(200, 300) and is_receipt:
        status = 500
    wait = dice.choice(_RETRY_AFTER) if status in _COME_BACK else ""
    return Answer(status, made.content, headers=(("retry-after", wait),) if wait else ())
