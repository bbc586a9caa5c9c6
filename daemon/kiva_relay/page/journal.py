"""The follow-ups that somebody has to confirm in PA2: one task for each page of PA2's on which that is done."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from kiva_relay.account.rest import rest_of
from kiva_relay.account.standing import Standing
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import listing
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.person import Person
from kiva_relay.page import act
from kiva_relay.page.button import Button
from kiva_relay.terminal import visible
from kiva_relay.words import task as words
from kiva_relay.words.language import Language

A_PAGE = 25


@dataclass(frozen=True)
class ArchiveShown:
    """One page of PA2's on which follow-ups are confirmed. `link` is empty where Kiva gave no address of its own."""

    title: str
    sent: str
    link: str
    link_said: str
    loans: tuple[tuple[str, str], ...]
    button: Button


@dataclass(frozen=True)
class JournalsShown:
    """The page of follow-ups, `page` of `pages`; `waiting` says what waits for its loan."""

    archives: tuple[ArchiveShown, ...]
    waiting: str
    page: int
    pages: int


def show(tx: Connection, facts: Standing, _person: Person, language: Language, *, page: int) -> JournalsShown:
    """All that is to be confirmed, the oldest first."""
    archives: dict[str, list[Entry]] = {}
    for entry in listing.to_confirm(tx):
        archives.setdefault(str((entry.receipt or {}).get("confirm_url")), []).append(entry)
    found = list(archives.items())
    pages = max(1, -(-len(found) // A_PAGE))
    page = min(max(page, 1), pages)
    waits = rest_of(facts).journals_waiting
    return JournalsShown(
        tuple(_archive(entries, facts, language) for _, entries in found[(page - 1) * A_PAGE : page * A_PAGE]),
        waiting=language.say("task.rest.journals_wait", n=waits) if waits else "",
        page=page,
        pages=pages,
    )


def _archive(entries: list[Entry], facts: Standing, language: Language) -> ArchiveShown:
    receipt = entries[0].receipt or {}
    url, follows = str(receipt.get("confirm_url")), receipt.get("confirm_url_is_a_link") is not False
    # The sandbox is a stand-in on this very machine.
    here = facts.settings.kiva.environment == "sandbox" and url.startswith("http://127.0.0.1:")
    is_link = follows and (url.startswith("https://") or here)
    zone = facts.settings.mis.timezone
    sent = language.moment(entries[0].settled_at or facts.now, zone, at=facts.now)
    label = language.say("page.done" if len(entries) == 1 else "page.done_all")
    place = words.place("journal", language)
    return ArchiveShown(
        title=language.say("page.archive", n=len(entries)),
        sent=language.say("page.sent_at", moment=sent),
        link=url if is_link else "",
        link_said=language.say("page.open_confirm") if is_link else language.say("task.confirm.no_link", place=place),
        loans=tuple((visible.text(entry.loan_id), language.handle(entry.id)) for entry in entries),
        button=Button("done", label, act.seen(entries)),
    )
