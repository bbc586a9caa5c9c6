"""What `status` says of that which waits for a person, in one line; the list is in `review`."""

from __future__ import annotations

from collections.abc import Sequence

from kiva_relay.account import finding
from kiva_relay.cli import words
from kiva_relay.words import spoken
from kiva_relay.words.spoken import marked, tr

_FEW = 5
Said = tuple[str, Sequence[str]]
"""A sentence, and the lines below it."""

_FOR_PERSONS = (
    marked("{n} in doubt ({few})", "{n} in doubt ({few})"),
    marked("{n} position to decide", "{n} positions to decide"),
    marked("{n} perhaps at Kiva in other letters", "{n} perhaps at Kiva in other letters"),
    marked("{n} draft that may be owed twice", "{n} drafts that may be owed twice"),
    marked("{n} change in the MIS after sending", "{n} changes in the MIS after sending"),
    marked("{n} refused", "{n} refused"),
    marked("{n} call of which Kiva named a problem", "{n} calls of which Kiva named a problem"),
    marked("{n} position unknown when the report closed", "{n} positions unknown when the report closed"),
    marked(
        "{n} loan that Kiva expects and the MIS does not give", "{n} loans that Kiva expects and the MIS does not give"
    ),
    marked("{n} position not sent before the report closed", "{n} positions not sent before the report closed"),
    marked("{n} position not decided before the report closed", "{n} positions not decided before the report closed"),
    marked("{n} more to look at", "{n} more to look at"),
)


def _numbers(one: finding.ForPersons) -> tuple[int, ...]:
    """In the order of `_FOR_PERSONS`."""
    return (
        one.in_doubt,
        one.decisions,
        one.perhaps,
        one.duplicates,
        one.divergences,
        one.refused,
        one.warned,
        one.closed_unknown,
        one.missing,
        one.left_at_closing,
        one.undecided_at_closing,
        one.others,
    )


def for_persons(one: finding.ForPersons) -> Said:
    """What waits for a person, in one line; the list is in `review`."""
    few = ", ".join([*map(words.number, one.doubts[:_FEW]), *(["…"] if len(one.doubts) > _FEW else [])])
    parts = [tr(*forms, n=number, few=few) for number, forms in zip(_numbers(one), _FOR_PERSONS, strict=True) if number]
    sentence = tr("For a person: {what}. Nothing is lost, nothing was sent twice.", what=spoken.joined(parts))
    return sentence, (
        tr("Nothing of this ends until somebody has looked."),
        words.to_type(tr("The list"), "kiva-relay review"),
    )
