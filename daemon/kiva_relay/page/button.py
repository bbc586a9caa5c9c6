"""What may be answered to a task: its buttons, or the page where it is answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy.engine import Connection

from kiva_relay.account import task
from kiva_relay.account.task import Task
from kiva_relay.frozen import dataclass
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.person import Person
from kiva_relay.page import act
from kiva_relay.words import reconcile
from kiva_relay.words.language import Language


@dataclass(frozen=True)
class Button:
    """One answer. `entries` is what the form carries back, `verb` what is done then. `grave`: it opens first."""

    verb: str
    label: str
    entries: str
    grave: bool = False


@dataclass(frozen=True)
class Leads:
    """Where a task is answered, or seen whole."""

    to: str
    label: str


def leads(one: Task, language: Language) -> Leads | None:
    """The page where a task is answered; None where it is answered on the spot."""
    match one:
        case task.DecidePositions() | task.FindInMis():
            return Leads("/report", language.say("page.to_report"))
        case task.PublishSoon() | task.PublishLater():
            return Leads("/drafts", language.say("page.to_drafts"))
        case task.ConfirmJournals():
            return Leads("/journals", language.say("page.to_journals"))
        case _:
            return None


def buttons(tx: Connection, one: Task, person: Person, language: Language) -> list[Button]:
    """The answers to a task, an entry at a time; of a call of Kiva's all at once."""
    if isinstance(one, task.SettleDifferences):  # it is about no entry
        done = language.say("page.apart")
        return [
            Button("apart", language.label(reconcile.handle(each.id, language), done), act.seen_apart([each]))
            for each in one.found
        ]
    if isinstance(one, task.LookAtCall):
        return _of(tx, [one.entries], person, verbs_of(type(one)), language)
    verbs = verbs_of(type(one))
    found = _of(tx, [[entry] for entry in one.entries], person, verbs, language)
    if verbs == ("done",) and len(one.entries) > 1:
        found.append(Button("done", language.say("page.done_all"), act.seen(one.entries)))
    return found


def of_entry(
    tx: Connection, entry: Entry, person: Person, verbs: Sequence[str], language: Language
) -> tuple[Button, ...]:  # fmt: skip
    """Those of these answers that a person may give about one entry."""
    return tuple(_of(tx, [[entry]], person, verbs, language))


_VERBS: Mapping[type[Task], tuple[str, ...]] = {
    task.LookInPa2: ("delivered", "resend"),
    task.LookAtCall: ("delivered", "resend"),
    task.SameLoan: ("is_same", "is_other"),
    task.SameClientAndAmount: ("another", "same"),
    task.DeleteInPa2: ("deleted",),
    task.TypeByHand: ("typed",),
    task.ChangedAfterSending: ("corrected", "again"),
    task.PublishSoon: (),
    task.PublishLater: (),
    task.SettleDifferences: ("apart",),
}

OF_DRAFTS = ("published", "deleted", "again")
"""What may be answered about a draft that is in PA2."""
OF_TWINS = _VERBS[task.SameClientAndAmount]
"""What may be answered about one that may be owed twice."""


def verbs_of(kind: type[Task]) -> tuple[str, ...]:
    """What may be answered on the spot to a task of this kind; nothing where it is answered elsewhere."""
    return _VERBS.get(kind, ("done",) if kind.ended_by_done else ())


MEANS = {"is_same": "delivered", "is_other": "resend", "published": "done"}
"""Labels of their own for what is done by a verb."""
_OF_OTHER_CASE = ("is_same", "is_other")
_GRAVE = ("again",)


def _of(
    tx: Connection, groups: Sequence[Sequence[Entry]], person: Person, verbs: Sequence[str], language: Language
) -> list[Button]:
    return list(_each(tx, groups, person, verbs, language))


def _each(
    tx: Connection, groups: Sequence[Sequence[Entry]], person: Person, verbs: Sequence[str], language: Language
) -> Iterator[Button]:
    for entries in groups:
        for verb in verbs:
            does = MEANS.get(verb, verb)
            if verb in _OF_OTHER_CASE and not all(act.is_in_other_case(entry) for entry in entries):
                continue
            if all(act.may(tx, person, does, entry) for entry in entries):
                label = _label(verb, entries, several=len(groups) > 1, language=language)
                yield Button(does, label, act.seen(entries), grave=verb in _GRAVE)


def _label(verb: str, entries: Sequence[Entry], *, several: bool, language: Language) -> str:
    said = language.say(f"page.{verb}")
    return f"{language.handle(entries[0].id)} {said}" if several else said
