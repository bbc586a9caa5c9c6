"""Reads what Kiva answers to a call that creates something: a receipt, its problems, an error. Nothing raises here.

Shapes: Kiva's SDK, "draft loans", "report payments", "post journals". A call was accepted only where all the signs of
it are there and nothing says no; what is not understood is neither a yes nor a no.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from kiva_relay.delivery import document
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.document import Document, NotUnderstood
from kiva_relay.frozen import dataclass

_CODE_LIMIT = 500
_DETAILS_LIMIT = 2_000
_URL_LIMIT = 2_000
_PROBLEMS_LIMIT = 1_000
_A_REFUSAL = 300
"""Numbers from which on a code is an HTTP status that is no success."""
_EMPTY: tuple[Any, ...] = ([], {}, "", False)
"""What a field holds that says nothing; 0 is False, too."""


@dataclass(frozen=True)
class Problem:
    """What Kiva says of one loan of a call, or of the call itself: then `loan_id` is empty.

    `severity` is `warning` when Kiva says just that, else `error`: whoever does not know it must not pass it.
    """

    loan_id: str
    severity: str
    code: str
    details: str

    def kept(self) -> dict[str, str]:
        """As it stands in the outbox."""
        return {"loan_id": self.loan_id, "severity": self.severity, "code": self.code, "details": self.details}


@dataclass(frozen=True)
class Receipt:
    """What shows that Kiva took a call.

    `signs` are `loan_draft_uuid`; or `upload_id`; or `archive_id` and `confirm_url`. `link` is false when `confirm_url`
    is no https address of a host that is known to be Kiva's: then it is text, and nobody is to open it.
    """

    signs: Mapping[str, str | int]
    problems: tuple[Problem, ...] = ()
    link: bool = True

    def kept(self) -> dict[str, Any]:
        """As it stands in the outbox."""
        found: dict[str, Any] = dict(self.signs)
        if not self.link:
            found["confirm_url_is_a_link"] = False
        if self.problems:
            found["problems"] = [problem.kept() for problem in self.problems]
        return found


def read(answer: Answer, resource: str, *, api_url: str) -> Receipt | NotUnderstood:
    """The receipt of a call for `resource`. It has all the signs that Kiva gives for it, and nothing that says no."""
    said = document.one(found := document.read(answer))
    if said is None:
        return document.unread(found, "the answer is no object")
    if says_no(said):
        return NotUnderstood("it comes with an error")
    signs = {name: _SIGNS[name](document.of(said, name)) for name in _MUST_HAVE[resource]}
    there = {name: value for name, value in signs.items() if value is not None}
    if missing := signs.keys() - there.keys():
        return NotUnderstood(f"{' and '.join(sorted(missing))} cannot be read")
    url = there.get("confirm_url")
    return Receipt(there, _problems(document.of(said, "problems")), link=url is None or is_link(str(url), api_url))


_MUST_HAVE = {
    "loan_draft": ("loan_draft_uuid",),
    "repayment": ("upload_id",),
    "journal": ("archive_id", "confirm_url"),
}
_NOTHING = frozenset({"0", "null", "none", "nil", "undefined", "nan", "true", "false", "error"})
_SIGN = re.compile(r"[0-9A-Za-z][0-9A-Za-z._:+/=-]{0,99}")
_NIL = re.compile(r"[0.:/_+=-]+")


def _uuid(value: Any) -> str | None:
    """A text that can be an id: not empty, not a word for nothing, not all zeros."""
    found = value.strip() if isinstance(value, str) else ""
    return found if _SIGN.fullmatch(found) and found.lower() not in _NOTHING and not _NIL.fullmatch(found) else None


def _number(value: Any) -> str | int | None:
    """An id that Kiva may give as a number or as a text."""
    if type(value) is int:
        return value if 0 < value < 2**63 else None
    return _uuid(value)


def _address(value: Any) -> str | None:
    found = value.strip() if isinstance(value, str) else ""
    readable = found and len(found) <= _URL_LIMIT and found.lower() not in _NOTHING
    return document.text(found, _URL_LIMIT) if readable else None


_SIGNS: Mapping[str, Callable[[Any], str | int | None]] = {
    "loan_draft_uuid": _uuid,
    "upload_id": _number,
    "archive_id": _number,
    "confirm_url": _address,
}

_PLAIN_URL = re.compile(r"[!-~]+")


def is_link(url: str, api_url: str) -> bool:
    """Is it https at kiva.org, below it, or at the host of the Partner API in use (and there as that is reached)?"""
    if not _PLAIN_URL.fullmatch(url) or "\\" in url:
        return False
    try:
        there, ours = urlsplit(url), urlsplit(api_url)
        host = (there.hostname or "").lower()
        same = (there.scheme, host, there.port) == (ours.scheme, (ours.hostname or "").lower(), ours.port)
    except ValueError:
        return False
    if "@" in there.netloc:
        return False
    of_kiva = host == "kiva.org" or host.endswith(".kiva.org") or host == (ours.hostname or "").lower()
    return same or (there.scheme == "https" and bool(host) and of_kiva)


# ---------------------------------------------------------------- problems and errors


def _problems(value: Any) -> tuple[Problem, ...]:
    """One object or a list; what cannot be read stays a problem, for it must not vanish."""
    if value is None or (not isinstance(value, NotUnderstood) and value in _EMPTY):
        return ()
    every = value if isinstance(value, list) else [value]
    found = tuple(_problem(each) for each in every[:_PROBLEMS_LIMIT])
    if len(every) > _PROBLEMS_LIMIT:
        more = len(every) - _PROBLEMS_LIMIT
        return (*found, Problem("", "error", "", f"and {more} more problems, which were not kept"))
    return found


def _problem(value: Any) -> Problem:
    if not isinstance(value, dict):
        return Problem("", "error", "", document.text(value, _DETAILS_LIMIT))
    severity = document.of(value, "severity")
    is_warning = isinstance(severity, str) and severity.strip().lower() == "warning"
    return Problem(
        loan_id=document.identifier(document.of(value, "loan_id", "internal_loan_id")) or "",
        severity="warning" if is_warning else "error",
        code=document.text(document.of(value, "code"), _CODE_LIMIT),
        details=document.text(document.of(value, "details", "message"), _DETAILS_LIMIT),
    )


@dataclass(frozen=True)
class KivaError:
    """What Kiva, or whatever answered in its place, says of an error: bounded texts, for people only."""

    code: str
    message: str


def error(answer: Answer) -> KivaError:
    """`{"code", "message"}`, or the text as it came."""
    said = document.one(document.read(answer))
    if said is None:
        return KivaError("", answer.words)
    code = document.text(document.of(said, "code", "error"), _CODE_LIMIT)
    return KivaError(
        code, document.text(document.of(said, "message", "error_description"), _DETAILS_LIMIT) or answer.words
    )


_FLAGS = ("success", "is_success", "succeeded", "successful", "ok", "accepted")
_NO_WORDS = (
    "error", "fail", "invalid", "denied", "refus", "reject", "forbid", "unauthor", "exception", "missing",
    "unavailable", "illegal", "conflict", "timeout", "abort", "cancel", "bad_request", "badrequest", "notfound",
)  # fmt: skip
_NO = re.compile(r"(?:^|[^a-z])(?:no|not|nok|ko|bad|false|err)(?:[^a-z]|$)")


def says_no(said: Document) -> bool:
    """Does a part of the answer that is made for programs say that it is an error? Its message is for people."""
    if any(_is_no_code(document.of(said, name)) for name in ("code", "status")):
        return True
    if any(_is_no_flag(document.of(said, name)) for name in _FLAGS):
        return True
    return any(_is_something(document.of(said, name)) for name in ("error", "errors"))


def _is_no_code(value: Any) -> bool:
    if value is None:
        return False
    number = document.finite(value)
    if number is not None:
        return number < 0 or number >= _A_REFUSAL
    if not isinstance(value, str):
        return True
    words = value.lower()
    return any(word in words for word in _NO_WORDS) or _NO.search(words) is not None


def _is_no_flag(value: Any) -> bool:
    if value is None or value is True:
        return False
    said = str(value).strip().lower() if isinstance(value, str | int | float) else ""
    return said not in ("true", "1", "1.0", "yes", "ok")


def _is_something(value: Any) -> bool:
    return value is not None and (isinstance(value, NotUnderstood) or value not in _EMPTY)
