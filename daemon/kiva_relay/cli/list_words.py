"""What `status` says of Kiva's lists: how old they are, and what follows."""

from __future__ import annotations

from collections.abc import Sequence

from kiva_relay.account import finding
from kiva_relay.account.standing import Standing
from kiva_relay.cli import figure, words
from kiva_relay.outbox import catalogue
from kiva_relay.words.spoken import tr

Said = tuple[str, Sequence[str]]
"""A sentence, and the lines below it."""


def list_being_read(one: finding.ListBeingRead) -> Said:
    """It is being read."""
    if not one.drafts:
        sentence = tr("Kiva's list of loans has not been read yet. Nothing is lost.")
        further = [tr("Without it nobody knows what Kiva has, and what it expects. It is asked for again and again.")]
    else:
        sentence = tr(
            "{n} loan draft ready; Kiva's list of loans is being read first. Nothing is lost.",
            "{n} loan drafts ready; Kiva's list of loans is being read first. Nothing is lost.",
            n=one.drafts,
        )
        further = [tr("That way no loan is posted that Kiva already has. It continues by itself.")]
    return sentence, (*further, *_last_time(one.why), *_take_it(one))


def list_old(one: finding.ListOld) -> Said:
    """It is too old."""
    age = figure.length(one.age)
    return tr("Kiva's list of loans was last read completely {age} ago. Nothing is lost.", age=age), (
        tr("That is too old to say what Kiva expects.")
        if one.settles
        else tr("That is too old to settle what is in doubt, and to say what Kiva expects."),
        *_last_time(one.why),
        *_take_it(one),
        words.to_type(tr("Why"), "kiva-relay check"),
    )


def _take_it(one: finding.ListBeingRead | finding.ListOld) -> tuple[str, ...]:
    if not one.may_be_taken:
        return ()
    return (words.to_type(tr("If PA2 shows all"), 'kiva-relay release mirror --note "…"'),)


def list_taken(one: finding.ListTaken, facts: Standing) -> Said:
    """A person takes it as it is."""
    since = figure.moment(one.since, facts.settings, at=facts.now)
    sentence = tr(
        "Kiva's list of loans is not whole: {why}. {person} takes it as it is, since {since}.",
        why=one.why,
        person=one.by,
        since=since,
    )
    return sentence, (
        tr(
            "The note: “{note}”. Drafts go by what it lists; that something is not listed proves nothing.",
            note=one.note,
        ),
        tr("It is taken so as long as it lacks just that. What is in doubt waits for a person."),
    )


def _last_time(why: str) -> tuple[str, ...]:
    return (words.to_type(tr("The last time"), words.quoted(why)),) if why else ()


def lists_not_given(one: finding.ListsNotGiven) -> Said:
    """Kiva's other lists."""
    kinds = ", ".join(catalogue.KINDS)
    if one.age is None:
        sentence = tr("Kiva's lists ({kinds}) have not been given yet. Nothing is lost.", kinds=kinds)
    else:
        age = figure.length(one.age)
        sentence = tr("Kiva's lists ({kinds}) were last given {age} ago. Nothing is lost.", kinds=kinds, age=age)
    return sentence, (
        tr("Drafts that look something up there wait, or go by the old list. They are asked for again by themselves."),
        words.to_type(tr("Why"), "kiva-relay check"),
    )
