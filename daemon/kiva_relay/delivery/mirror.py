"""Reads what Kiva says it has: `GET /loans`, every status, every page; and Kiva's lists.

Kiva's SDK, "fetch loans": always with `status`; no order is promised while paging, so loans are counted by their
Kiva id, and a status is complete when the distinct count equals `total_records` afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from kiva_relay import errors
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import answer as answers
from kiva_relay.delivery.answer import KivaList, ListedLoan, LoansPage
from kiva_relay.delivery.client import Answer, Client
from kiva_relay.delivery.document import NotUnderstood
from kiva_relay.delivery.token import Token
from kiva_relay.outbox.mirror import MirroredLoan

STATUSES = (
    "inactive", "reviewed", "issue", "issue_revising", "issue_approving", "fundRaising", "raised", "payingBack",
    "defaulted", "ended", "expired", "inactive_expired", "refunded", "deleted",
)  # fmt: skip
"""Every status that Kiva's SDK and its samples name, in the order of a loan's life: a loan that moves on while
the list is read is met twice rather than never, and the counts tell."""

PAGE = 300
_READINGS = 5
_OK = 200

_Given = TypeVar("_Given")
Params = Mapping[str, str | int]
Read = Callable[[Answer], _Given | NotUnderstood]


class Incomplete(errors.RelayError):
    """The list of loans changed while it was read, or Kiva left something out. It is read again.

    `listing` is what was read: what is in it is at Kiva; what is not in it may be, too.
    """

    def __init__(self, message: str, listing: KivaListing) -> None:
        super().__init__(message)
        self.listing = listing


class NotGiven(errors.RelayError):
    """Kiva did not give what was asked for; `answer` says how."""

    def __init__(self, answer: Answer, what: str, why: NotUnderstood | None = None) -> None:
        said = f"status {answer.status}" if answer.status is not None else answer.words
        if answer.status == _OK and why is not None:
            said += f", which is not understood: {why.why}"
        super().__init__(f"{what} was not given: {said}")
        self.answer = answer


class Ask(Protocol):
    """Asks Kiva something harmless, under the partner's own path; gives what `read` makes of the answer.

    Raises:
        NotGiven: Kiva refused, did not answer, or answered something that is not understood.
    """

    def __call__(self, what: str, path: str, params: Params | None, read: Read[_Given]) -> _Given:
        """`what` names it for people; `path` begins with a slash."""
        ...


@dataclass(frozen=True)
class KivaListing:
    """Every loan of the partner. `unreadable` names those whose loan id cannot be read: they may be any loan."""

    loans: list[MirroredLoan]
    unreadable: tuple[str, ...]


def once(client: Client, kiva: Kiva, token: Token) -> Ask:
    """Asks with this token, once."""

    def ask(what: str, path: str, params: Params | None, read: Read[_Given]) -> _Given:
        answer = client.get(f"/v3/partner/{kiva.partner_id}{path}", token=token.text, params=params)
        return understood(answer, what, read)

    return ask


def understood(answer: Answer, what: str, read: Read[_Given]) -> _Given:
    """What `read` makes of an answer.

    Raises:
        NotGiven: nothing.
    """
    found = read(answer) if answer.status == _OK else NotUnderstood(answer.words)
    if isinstance(found, NotUnderstood):
        raise NotGiven(answer, what, found)
    return found


def loans(ask: Ask) -> KivaListing:
    """Every loan of the partner, in every status.

    A status whose count has changed meanwhile is read again: a loan that moved back would else have been missed.

    Raises:
        Incomplete: the counts do not come to agree.
        NotGiven: Kiva refused, or did not answer.
    """
    by_status: dict[str, dict[str, ListedLoan]] = {}
    changed = list(STATUSES)
    for _ in range(_READINGS):
        for status in changed:
            by_status[status] = _in_status(ask, status)
        changed = [status for status, listed in by_status.items() if total(ask, status) != len(listed)]
        listing = _listing([item for listed in by_status.values() for item in listed.values()])
        if not changed:
            return listing
    raise Incomplete(f"the counts of {', '.join(changed)} changed while they were read, {_READINGS} times", listing)


def total(ask: Ask, status: str) -> int:
    """How many loans Kiva has in a status. The smallest harmless question.

    Raises:
        NotGiven: Kiva refused, or did not answer.
    """
    return _page(ask, status, offset=0, limit=1).total


def one_list(ask: Ask, kind: str) -> KivaList:
    """One of Kiva's own lists.

    Raises:
        NotGiven: Kiva refused, or did not answer.
    """
    return ask(f"config/{kind}", f"/config/{kind}", None, partial(answers.list_of, kind=kind))


def _listing(items: list[ListedLoan]) -> KivaListing:
    """Where no item at all has a key for its loan id, the key is called something else, and each may be any loan."""
    renamed = all(item.id_is_absent or item.loan is None for item in items)
    found: dict[str, MirroredLoan] = {}
    unreadable: list[str] = []
    for item in items:
        if item.loan is None or (renamed and item.id_is_absent):
            unreadable.append(item.called)
        elif item.loan.kiva_id:
            found[item.loan.kiva_id] = item.loan
    return KivaListing([*found.values()], tuple(dict.fromkeys(unreadable)))


def _in_status(ask: Ask, status: str) -> dict[str, ListedLoan]:
    """The items in a status, by what they count as; one that has neither Kiva id nor uuid counts by its place."""
    found: dict[str, ListedLoan] = {}
    place = 0
    for page in _pages(ask, status):
        before = len(found)
        for item in page.items:
            place += 1
            found[item.counts_as or f"#{place}"] = item
        if page.items and len(found) == before:
            break  # a page that brings nothing new: Kiva does not page as it says, and would go on for ever
    return found


def _pages(ask: Ask, status: str) -> Iterator[LoansPage]:
    offset = 0
    while True:
        page = _page(ask, status, offset=offset, limit=PAGE)
        yield page
        offset += len(page.items)
        if not page.items or offset >= page.total:
            return


def _page(ask: Ask, status: str, *, offset: int, limit: int) -> LoansPage:
    params: Params = {"status": status, "offset": offset, "limit": limit}
    return ask("the list of loans", "/loans", params, partial(answers.loans, status=status))
