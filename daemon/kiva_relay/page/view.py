"""What a page shows: values that a template only prints. Every sentence comes from `words/`."""

from __future__ import annotations

import re
from datetime import date

from sqlalchemy.engine import Connection

from kiva_relay.account import part, task
from kiva_relay.account.rest import rest_of
from kiva_relay.account.standing import Standing
from kiva_relay.account.task import Task, When
from kiva_relay.frozen import dataclass
from kiva_relay.outbox.person import Person
from kiva_relay.page import button
from kiva_relay.page.button import Button, Leads
from kiva_relay.terminal import visible
from kiva_relay.words import rest
from kiva_relay.words import task as words
from kiva_relay.words.language import Language
from kiva_relay.words.on_page import PageLanguage

AT_ONCE = 10
"""Things of one task that are shown at once, each with its answers."""
_LINK = re.compile(r"https://[^\s<>\"']+")


@dataclass(frozen=True)
class Piece:
    """A piece of a line; `link` is where it leads, empty where it is text."""

    text: str
    link: str = ""


@dataclass(frozen=True)
class CardLine:
    """A line of a card. `under`: it tells more of the line above."""

    pieces: tuple[Piece, ...]
    under: bool


@dataclass(frozen=True)
class Card:
    """A task: its number on the page, its title, its lines, and the answers. `loans` are those that it names."""

    number: int
    name: str
    title: str
    lines: tuple[CardLine, ...]
    buttons: tuple[Button, ...]
    leads: Leads | None
    loans: tuple[str, ...]
    urgent: bool
    page: int
    pages: int
    more: str = ""


@dataclass(frozen=True)
class Group:
    """The tasks of one urgency."""

    heading: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Today:
    """The first page."""

    title: str
    place: str
    groups: tuple[Group, ...]
    rest: tuple[str, ...]
    day: date


def today(tx: Connection, facts: Standing, person: Person, language: Language) -> Today:
    """What waits for her, the first to be too late first."""
    found, spoken = task.tasks(tx, facts, in_parts=True), PageLanguage(language.name)
    numbered = list(enumerate(found, start=1))
    groups = []
    for when in When:
        cards = [
            _card(tx, one, number=number, facts=facts, person=person, spoken=spoken)
            for number, one in numbered
            if one.when is when
        ]
        if cards:
            groups.append(Group(words.heading(when, spoken), tuple(cards)))
    title, place = rest.title(facts, spoken)
    return Today(title, place, tuple(groups), tuple(rest.rest(rest_of(facts), facts, found, spoken)), facts.today)


def one(
    tx: Connection, facts: Standing, person: Person, language: Language, *, name: str, page: int
) -> Card | None:  # fmt: skip
    """A page of one task, by its name; None when it is over."""
    for number, found in enumerate(task.tasks(tx, facts, in_parts=True), start=1):
        if name_of(found) == name:
            return _card(
                tx, found, number=number, facts=facts, person=person, spoken=PageLanguage(language.name), page=page
            )
    return None


def name_of(found: Task) -> str:
    """What a task is called in an address: there is one of each at a time, or one a resource or call."""
    parts = [found.kind, getattr(found, "resource", ""), "later" if isinstance(found, task.PublishLater) else ""]
    if isinstance(found, task.LookAtCall | task.ConfirmJournals):
        parts.append(str(found.entries[0].id))
    return ".".join(filter(None, parts))


def _card(
    tx: Connection, whole: Task, *, number: int, facts: Standing, person: Person, spoken: Language, page: int = 1
) -> Card:
    many = part.how_many(whole)
    pages = max(1, -(-many // AT_ONCE))
    page = min(max(page, 1), pages)
    is_whole = isinstance(whole, (task.LookAtCall, task.FindInMis))
    shown = whole if is_whole else part.some(whole, (page - 1) * AT_ONCE, AT_ONCE)
    found = tuple(button.buttons(tx, shown, person, spoken))
    leads = button.leads(whole, spoken)
    # Where she cannot answer, the sentence stays that says whom to tell.
    said = spoken if found or leads else Language(spoken.name)
    title, lines = words.said(shown, facts, said)
    return Card(
        number,
        name_of(whole),
        title,
        tuple(CardLine(pieces(line.strip()), under=line.startswith(" ")) for line in lines),
        found,
        leads,
        tuple(dict.fromkeys(visible.text(entry.loan_id) for entry in shown.entries if entry.loan_id))[:AT_ONCE],
        urgent=whole.when is When.TODAY,
        page=page,
        pages=1 if is_whole else pages,
        more="" if is_whole or pages == 1 else spoken.say("page.all_of_them", n=many),
    )


def pieces(line: str) -> tuple[Piece, ...]:
    """A line, with what is a link in it. Foreign text was made visible before: only https is followed."""
    found, last = [], 0
    for link in _LINK.finditer(line):
        found += [Piece(line[last : link.start()]), Piece(link.group(), link.group())]
        last = link.end()
    return tuple(one for one in (*found, Piece(line[last:])) if one.text)
