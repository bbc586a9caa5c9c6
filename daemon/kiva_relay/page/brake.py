"""What an administrator keeps back and lets go: the holds in force, each as it was seen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.account.standing import Standing
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import act, hold
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.listing import Kept
from kiva_relay.outbox.person import Person
from kiva_relay.page.act import Changed, Forbidden
from kiva_relay.page.button import Button
from kiva_relay.terminal import visible
from kiva_relay.words import hold as words
from kiva_relay.words.language import Language

WHAT = (hold.ALL, "loan_draft", "repayment", "journal")
"""What can be kept back from here."""
VERBS = ("hold", "release")
_ASKED = "asked"
_DIGITS = 19


@dataclass(frozen=True)
class HeldShown:
    """A hold, what follows, and its button, where it may be let go from here; else what is typed on the server."""

    sentence: str
    follows: str
    button: Button | None = None
    command: str = ""


@dataclass(frozen=True)
class BrakeShown:
    """All that is held, and what may be held besides."""

    held: tuple[HeldShown, ...]
    holds: tuple[Button, ...]


def show(tx: Connection, facts: Standing, person: Person, language: Language) -> BrakeShown | None:
    """What an administrator sees below the tasks; None for everybody else."""
    if person.role != "administrator":
        return None
    seen = hold.newest(tx)
    asked = {kept.hold.what for kept in facts.kept if kept.hold.reason == _ASKED}
    return BrakeShown(
        held=tuple(_held(kept, facts, language) for kept in facts.kept),
        holds=tuple(
            Button("hold", language.say("page.hold", what=named(what, language)), f"{what}:{seen}")
            for what in WHAT
            if what not in asked
        ),
    )


def _held(kept: Kept, facts: Standing, language: Language) -> HeldShown:
    one = kept.hold
    what = named(one.what, language)
    sentence = language.say(
        "page.held",
        what=what[:1].upper() + what[1:],
        reason=words.words(one.reason, language),
        moment=language.moment(one.since, facts.settings.mis.timezone, at=facts.now),
        ready=language.counted(kept.ready),
    )
    if one.why.lifts_itself:
        return HeldShown(sentence, language.say("page.held_by_itself"))
    if _is_grave(one):
        follows = language.say("page.held_grave" if one.why.grave else "page.held_more")
        return HeldShown(sentence, follows, command=f'sudo kiva-relay release {one.what} --note "…"')
    return HeldShown(sentence, "", Button("release", language.say("page.release", what=what), str(one.id)))


def _is_grave(one: Hold) -> bool:
    """Does more follow from letting it go than that things are sent? The command shows it, and asks."""
    return one.why.grave or bool(one.why.released)


def named(what: str, language: Language) -> str:
    """What is held: `everything`, `drafts`, or what a mapping made."""
    if what in WHAT:
        return language.say(f"page.what.{what}")
    return language.say("page.what.stream", name=visible.text(what.removeprefix(hold.STREAM)))


def do(tx: Connection, person: Person, verb: str, about: str, *, note: str, now: datetime) -> None:
    """Keep something back, or let go what was seen to be held.

    Raises:
        Changed: it is held already, or not held any more.
        Forbidden: only an administrator may.
        UsageError: the note is missing, or there is no such button.
    """
    if person.role != "administrator":
        raise Forbidden
    if not note:
        raise errors.UsageError("The note is missing.", code="note_missing")
    by = act.on_page(person.name)
    what, _, seen = about.partition(":")
    if verb == "hold" and what in WHAT:
        # An old tab knows of no hold that came, and was released, since it was opened.
        if seen != str(hold.newest(tx)) or not hold.put(tx, what, _ASKED, now=now, by=by, note=note):
            raise Changed
        act.record(tx, by=by, verb="hold", about={"what": what}, note=note, now=now)
    elif verb == "release":
        one = _as_seen(hold.in_force(tx), about)
        hold.release(tx, one.what, by=by, note=note, now=now, reason=one.reason)
        told = {"what": one.what, "limit": None, "reasons": [one.reason]}
        act.record(tx, by=by, verb="release", about=told, note=note, now=now)
    else:
        raise errors.UsageError("There is no such button.")


def _as_seen(present: Sequence[Hold], about: str) -> Hold:
    for one in present:
        if str(one.id) == about[:_DIGITS]:
            if one.why.lifts_itself or _is_grave(one):
                raise errors.UsageError("There is no such button.")
            return one
    raise Changed
