"""The words in which the commands speak of what the outbox holds. Sentences are made here, codes are stored.

Nothing personal is said: a parameter or a difference of a name, a story or a photo is shown as `…`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kiva_relay import errors
from kiva_relay.cli import figure
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import State
from kiva_relay.resource import refusal
from kiva_relay.resource.refusal import Refusal
from kiva_relay.terminal import to_type as commands
from kiva_relay.terminal import visible
from kiva_relay.words import personal, spoken
from kiva_relay.words.spoken import marked, tr

_COUNTED = {
    "journal": marked("{n} journal", "{n} journals"),
    "loan_draft": marked("{n} loan draft", "{n} loan drafts"),
    "repayment": marked("{n} position", "{n} positions"),
}
_NOUNS = {"journal": "journal", "loan_draft": "loan draft", "repayment": "position"}

_EVIDENCE = {
    "receipt": "Kiva accepted it",
    "look_up": "found at Kiva",
    "adopted": "was at Kiva already, not sent",
    "person": "a person said so",
    "warned": "Kiva accepted it, and named a problem of the whole call",
}

REASONS = {
    "answer_lost": "the answer was lost",
    "strange_answer": "Kiva answered, and the answer does not say what became of it",
    "process_ended": "the relay ended while it was being sent",
    "problem_without_loan": "Kiva named a problem, and not whose",
    "known_from_witness": "sent before the outbox was restored",
    "older_in_flight": "an older version is being sent, or in doubt",
    "loan_not_at_kiva": "its loan is not at Kiva yet",
    "loan_not_eligible": "its loan has a status at Kiva that takes no journals: journals.statuses",
    "perhaps_at_kiva": "Kiva has a loan id that differs in upper and lower case only: a person decides",
    "probable_duplicate": "another loan has the same client and amount, within ten days: a person decides",
    "incomplete": "not complete in the MIS yet",
    "lists_unknown": "Kiva's lists were not read yet",
    "position_fell": "the amount repaid went down: a person decides",
    "position_exceeds_principal": "more repaid than was lent: a person decides",
    "position_exceeds_kiva": "more than Kiva lists as lent: a person decides",
    "other_currency": "Kiva has the loan in another currency: a person decides",
    "id_shared_at_kiva": "Kiva expects several loans that have this id: a person decides",
    "answered_before": "a person decided about another amount: a person decides again",
    "left_out": "a person left it out of the report",
    "settled": "a person said that it goes as it is",
    "left_scope": "cancelled in the MIS",
    "gone_from_mis": "deleted in the MIS",
    "window_closed": "the report's window closed",
    "closed_unknown": "the report closed while nobody knew whether Kiva had taken it",
    "not_expected": "Kiva expects no report of this loan",
    "at_kiva_already": "the older version is at Kiva",
    "discarded": "a person said that it must not go out",
    "person": "a person said so",
}
"""Why an entry waits, is in doubt, was withdrawn or discarded."""

_LABEL = 19
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_LONGEST = 300


def to_type(about: str, command: str) -> str:
    """A line that says what a command does, and the command, to be copied: `The list:          kiva-relay …`."""
    command = commands.lines(command)
    label = f"{about}{spoken.colon()}"
    return f"{label:<{_LABEL}}{command}" if len(label) < _LABEL - 1 else f"{label}   {command}"


def noun(resource: str, number: int = 1) -> str:
    """`loan draft`, `loan drafts`."""
    return _NOUNS[resource] + ("" if number == 1 else "s")


def number(entry_id: int) -> str:
    """An entry's number, as it is said on the telephone and typed: `#33`."""
    return f"#{entry_id}"


def name(entry: Entry) -> str:
    """`000000871   #33`: the loan id as PA2 shows it, and the entry's number."""
    return f"{loan(entry)}   {number(entry.id)}"


def loan(entry: Entry) -> str:
    """The loan id as PA2 shows it; of a row for which there is none, its key in the MIS."""
    return visible.text(entry.loan_id) or tr("row {key}", key=visible.text(entry.key))


def counted(counts: Mapping[str, int]) -> str:
    """`2 loan drafts and 1 journal`; `nothing` without any."""
    order = [resource for resource in ("loan_draft", "repayment", "journal") if counts.get(resource)]
    parts = [tr(*_COUNTED[resource], n=counts[resource]) for resource in order]
    return spoken.joined(parts) if parts else tr("nothing")


def joined(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *head, last = [*parts] or [""]
    return f"{', '.join(head)} and {last}" if head else last


def either(parts: Iterable[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *head, last = [*parts] or [""]
    return f"{', '.join(head)} or {last}" if head else last


def capital(text: str) -> str:
    """With a capital first letter; names in it keep their letters."""
    return text[:1].upper() + text[1:]


def quoted(said: str) -> str:
    """Somebody else's words, in one line."""
    return tr("“{said}”", said=visible.text(" ".join(said.split()))[:_LONGEST])


def state(written: str) -> State:
    """The state that was written with `-`, `_` or a blank.

    Raises:
        UsageError: there is no such state.
    """
    name = re.sub(r"[\s-]+", "_", written.strip().lower())
    if name in [*State]:
        return State(name)
    raise errors.UsageError(
        f"There is no state “{written}”: expected {joined(said_of(one) for one in State)}.", hint=_meant(name, State)
    )


def said_of(state: State) -> str:
    """`in doubt`."""
    return state.value.replace("_", " ")


def why(entry: Entry) -> str:
    """Why an entry is where it is, in one line; empty when its state says it all."""
    if entry.state is State.REFUSED:
        return " ".join(sentence(one) for one in entry.reasons)
    if entry.state is State.DELIVERED:
        return _EVIDENCE[entry.evidence] if entry.evidence else ""
    return reason(entry.reason)


def reason(code: str | None) -> str:
    """A reason's sentence; an unknown code (a newer version's) as it is."""
    return "" if code is None else REASONS.get(code, code)


def sentence(said: Refusal) -> str:
    """A refusal's sentence, without what is personal."""
    return refusal.sentence(personal.safe(said))


def remedy(said: Refusal) -> str:
    """What to do about a refusal, without what is personal."""
    return refusal.remedy(personal.safe(said))


def difference(one: Mapping[str, str], currency: str | None) -> str:
    """`amount   sent: 250 000 XOF   now in the MIS: 300 000 XOF`; of a name only that it differs."""
    field = one["field"]
    if personal.is_personal(field):
        return f"{field} is different in the MIS now"
    is_amount = personal.last(field) == "amount"
    was, now_is = (
        # Of a body that was deleted, the day is known and no amount.
        figure.amount(one[side], currency) if is_amount and _NUMBER.fullmatch(one[side]) else one[side] or "(nothing)"
        for side in ("was", "is")
    )
    return f"{field}   sent: {was}   now in the MIS: {now_is}"


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry for machines: everything but its body, in codes; nothing personal, no sentence."""
    shown = {
        name: getattr(entry, name)
        for name in Entry.__dataclass_fields__
        if name not in ("body", "row_version", "refusals", "batch_cap")
    }
    return {
        "number": shown.pop("id"),
        **shown,
        "state": entry.state.value,
        "refusals": [personal.safe(one).to_json() for one in entry.reasons],
    }


def why_is_said(note: str) -> str:
    """The note that a person gave.

    Raises:
        UsageError: there is none; what changes what is sent is written down with its reason.
    """
    if not note.strip():
        raise errors.UsageError(
            "--note is missing: say in a few words why, for the record. Nothing was changed.",
            hint=f'{commands.again(sudo=False)} --note "…"',
        )
    return note.strip()


def _meant(written: str, known: Iterable[str]) -> str | None:
    near = errors.nearest(written, known, limit=1)
    return f"Did you mean {near[0]}?" if near else None
