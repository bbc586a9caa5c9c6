"""Reads what Kiva says it has: `GET /loans`, every status, every page; and Kiva's lists.

Kiva's SDK, "fetch loans": always with `status`; no order is promised while paging, so loans are counted by their
Kiva id, and a status is complete when the distinct count equals `total_records` afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, field
from functools import partial
from typing import Protocol, TypeVar

import orjson

from kiva_relay import errors
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import answer as answers
from kiva_relay.delivery.answer import KivaList, ListedLoan, LoansPage
from kiva_relay.delivery.client import Answer, Client
from kiva_relay.delivery.document import NotUnderstood
from kiva_relay.delivery.outcome import JUDGES_THE_BODY, JUDGES_US
from kiva_relay.delivery.token import Token
from kiva_relay.frozen import dataclass
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
_UNAUTHORIZED = 401

_Given = TypeVar("_Given")
Params = Mapping[str, str | int]
Read = Callable[[Answer], _Given | NotUnderstood]
Others = Callable[[Sequence[MirroredLoan]], Collection[MirroredLoan]]
"""Of the loans of a page, those that are not known just so."""


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

    @property
    def is_refusal(self) -> bool:
        """Did Kiva say no? Not: it is away, asks for patience or for another token, or is not understood."""
        status = self.answer.status
        return status != _UNAUTHORIZED and (status in JUDGES_THE_BODY or status in JUDGES_US)


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
    """Every loan of the partner, each in a short text: there may be a hundred thousand, and most are known just so.

    Attributes:
        listed: by `kiva_id`, the loan as text; None where it is known just so.
        unreadable: names of those whose loan id cannot be read: they may be any loan.
    """

    listed: Mapping[str, str | None]
    unreadable: tuple[str, ...]

    @property
    def others(self) -> Iterator[MirroredLoan]:
        """Those that are not known just so."""
        return (MirroredLoan(*orjson.loads(loan)) for loan in self.listed.values() if loan is not None)


@dataclass
class _Listed:
    """What was listed in one status, by what each item counts as.

    `loans` as of KivaListing. `odd`: how those are called that are no loan. `has_ids`: some item has a loan id.
    """

    loans: dict[str, str | None] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)
    has_ids: bool = False
    _place: int = 0

    def __len__(self) -> int:
        return len(self.loans) + len(self.odd)

    def add(self, items: Sequence[ListedLoan], others: Others) -> None:
        """The items of a page; one that has neither Kiva id nor uuid counts by its place."""
        called = {item.counts_as or f"#{place}": item for place, item in enumerate(items, start=self._place + 1)}
        self._place += len(items)
        loans = {counts_as: item.loan for counts_as, item in called.items() if item.loan is not None}
        not_known = {loan.kiva_id for loan in others([*loans.values()])}
        for counts_as, item in called.items():
            if item.loan is None:
                self.loans.pop(counts_as, None)
                self.odd[counts_as] = item.called
                continue
            self.odd.pop(counts_as, None)
            self.has_ids = self.has_ids or not item.id_is_absent
            is_known = item.counts_as and item.loan.kiva_id not in not_known
            self.loans[counts_as] = None if is_known else _packed(item.loan)


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


def loans(ask: Ask, *, others: Others = lambda loans: loans) -> KivaListing:
    """Every loan of the partner, in every status; `others` is asked once a page, and only what it gives is kept whole.

    A status whose count has changed meanwhile is read again: a loan that moved back would else have been missed. One
    that Kiva refuses while it gives others costs only what would have stood in it: nobody knows what that is.

    Raises:
        Incomplete: the counts do not come to agree, or a status was refused.
        NotGiven: Kiva refused, or did not answer.
    """
    by_status: dict[str, _Listed] = {}
    refused: dict[str, NotGiven] = {}

    def given(status: str, read: Callable[[], _Given]) -> _Given | None:
        """What Kiva gives of a status; None where it refuses. Who is refused twice at once is refused himself."""
        try:
            return read()
        except NotGiven as error:
            if not error.is_refusal or (refused and not by_status):
                raise
            refused[status] = error
            return None

    changed = list(STATUSES)
    for _ in range(_READINGS):
        for status in changed:
            if (listed := given(status, partial(_in_status, ask, status, others))) is not None:
                by_status[status] = listed
        counts = {status: given(status, partial(total, ask, status)) for status in by_status}
        changed = [status for status, count in counts.items() if count not in (None, len(by_status[status]))]
        if not changed:
            break
    else:
        apart = ", ".join(f"{status} by {(counts[status] or 0) - len(by_status[status]):+,}" for status in changed)
        # By how much, so that a person who takes the list as it is has said it of these loans only.
        said = f"the counts of {', '.join(changed)} changed while they were read, {_READINGS} times ({apart})"
        raise Incomplete(said, _listing(by_status.values()))
    listing = _listing(by_status.values())
    if refused:
        raise Incomplete("; ".join(f"{error} for {status}" for status, error in refused.items()), listing)
    return listing


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


def _listing(statuses: Collection[_Listed]) -> KivaListing:
    """Where no item at all has a key for its loan id, the key is called something else, and each may be any loan."""
    renamed = not any(status.has_ids for status in statuses)
    found: dict[str, str | None] = {}
    unreadable: dict[str, None] = {}
    for status in statuses:
        unreadable |= dict.fromkeys(status.odd.values())
        if renamed:
            unreadable |= dict.fromkeys(map(_called, status.loans))
            continue
        for counts_as, loan in status.loans.items():
            kiva_id = counts_as if loan is None else orjson.loads(loan)[0]
            if kiva_id:
                found[kiva_id] = loan
    return KivaListing(found, tuple(unreadable))


def _called(counts_as: str) -> str:
    return ListedLoan("" if counts_as.startswith("#") else counts_as, None).called


def _packed(loan: MirroredLoan) -> str:
    """As text: the bytes that orjson gives keep the room that it began with, of four kilobytes each."""
    return orjson.dumps(astuple(loan)).decode()


def _in_status(ask: Ask, status: str, others: Others) -> _Listed:
    """What is in a status."""
    found = _Listed()
    for page in _pages(ask, status):
        before = len(found)
        found.add(page.items, others)
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
