"""The drafts that are in PA2, each with what is missing, and those that may be owed twice."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from kiva_relay.account.standing import Standing
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import listing
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.listing import Unpublished
from kiva_relay.outbox.person import Person
from kiva_relay.page import button
from kiva_relay.page.button import Button
from kiva_relay.terminal import visible
from kiva_relay.words import refusal
from kiva_relay.words.language import Language

A_PAGE = 25


@dataclass(frozen=True)
class DraftShown:
    """One draft. `ready`: nothing is missing for it to be published; `late`: its last day has passed."""

    loan_id: str
    client_id: str
    number: str
    amount: str
    by: str
    late: bool
    ready: bool
    lines: tuple[str, ...]
    buttons: tuple[Button, ...]
    grave: tuple[Button, ...]


@dataclass(frozen=True)
class DraftsShown:
    """The page of drafts. `asked` are those about which she is asked, `drafts` those that are in PA2."""

    asked: tuple[DraftShown, ...]
    drafts: tuple[DraftShown, ...]
    about: str
    page: int
    pages: int


def show(tx: Connection, facts: Standing, person: Person, language: Language, *, page: int) -> DraftsShown:
    """All drafts that wait for a person; those in PA2 a page at a time, the first to expire first."""
    found = listing.to_publish(tx)
    pages = max(1, -(-len(found) // A_PAGE))
    page = min(max(page, 1), pages)
    ready = sum(not draft.needed for draft in found)
    return DraftsShown(
        asked=tuple(
            _asked(tx, entry, others=others, facts=facts, person=person, language=language)
            for entry, others in facts.twins[:A_PAGE]
        ),
        drafts=tuple(
            _draft(tx, draft, facts, person, language) for draft in found[(page - 1) * A_PAGE : page * A_PAGE]
        ),
        about=f"{language.say('page.drafts_about', n=len(found))} {language.say('page.drafts_ready', n=ready)}",
        page=page,
        pages=pages,
    )


def _asked(
    tx: Connection, entry: Entry, *, others: tuple[str, ...], facts: Standing, person: Person, language: Language
) -> DraftShown:
    like = language.joined(map(visible.text, others))
    lines = (language.say("task.twin.like", loans=like), language.say("task.twin.until", n=1))
    answers = button.of_entry(tx, entry, person, button.OF_TWINS, language)
    return _shown(entry, facts, language, ready=False, lines=lines, answers=answers)


def _draft(tx: Connection, draft: Unpublished, facts: Standing, person: Person, language: Language) -> DraftShown:
    missing = dict.fromkeys(refusal.field(field, language) for field in draft.needed)
    lines = [language.say("task.publish.add", fields=", ".join(missing))] if missing else []
    lines += [refusal.sentence(warning, language, currency=draft.entry.currency) for warning in draft.warnings]
    answers = button.of_entry(tx, draft.entry, person, button.OF_DRAFTS, language)
    return _shown(draft.entry, facts, language, ready=not missing, lines=tuple(lines), answers=answers)


def _shown(
    entry: Entry,
    facts: Standing,
    language: Language,
    *,
    ready: bool,
    lines: tuple[str, ...],
    answers: tuple[Button, ...],
) -> DraftShown:
    last = entry.publish_by
    late = last is not None and last < facts.today
    code = "task.too_old.last_day" if late else "task.publish.by"
    return DraftShown(
        loan_id=visible.text(entry.loan_id),
        client_id=visible.text(entry.client_id),
        number=language.handle(entry.id),
        amount=language.amount(entry.amount, entry.currency),
        by="" if last is None else language.say(code, day=language.day(last, at=facts.today)),
        late=late,
        ready=ready and not late,
        lines=lines,
        buttons=tuple(one for one in answers if not one.grave),
        grave=tuple(one for one in answers if one.grave),
    )
