"""The words in which the commands speak of what the outbox holds. Sentences are made here, codes are stored.

Nothing personal is said: a parameter or a difference of a name, a story or a photo is shown as `…`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kiva_relay import errors, log, visible
from kiva_relay import to_type as commands
from kiva_relay.cli import figure
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import State
from kiva_relay.resource import refusal
from kiva_relay.resource.refusal import Refusal

HIDDEN = "…"
_SHOWN_ANYWAY = ("gender",)
_VALUES = ("value", "found", "values", "reason", "identity", "other")

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
    "perhaps_at_kiva": "Kiva has a loan id that differs in upper and lower case only: a person decides",
    "incomplete": "not complete in the MIS yet",
    "lists_unknown": "Kiva's lists were not read yet",
    "position_fell": "the amount repaid went down: a person decides",
    "position_exceeds_principal": "more repaid than was lent: a person decides",
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
_LONGEST = 300


def to_type(about: str, command: str) -> str:
    """A line that says what a command does, and the command, to be copied: `The list:          kiva-relay …`."""
    command = commands.lines(command)
    return f"{f'{about}:':<{_LABEL}}{command}" if len(about) < _LABEL - 2 else f"{about}:   {command}"


def noun(resource: str, number: int = 1) -> str:
    """`loan draft`, `loan drafts`."""
    return _NOUNS[resource] + ("" if number == 1 else "s")


def number(entry_id: int) -> str:
    """An entry's number, as it is said on the telephone and typed: `#33`."""
    return f"#{entry_id}"


def name(entry: Entry) -> str:
    """`000000871   #33`: the loan id as PA2 shows it, and the entry's number."""
    return f"{visible.text(entry.loan_id)}   {number(entry.id)}"


def counted(counts: Mapping[str, int]) -> str:
    """`2 loan drafts and 1 journal`; `nothing` without any."""
    order = [resource for resource in ("loan_draft", "repayment", "journal") if counts.get(resource)]
    return joined(f"{counts[resource]:,} {noun(resource, counts[resource])}" for resource in order) or "nothing"


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
    return f"“{visible.text(' '.join(said.split()))[:_LONGEST]}”"


def state(written: str) -> State:
    """The state that was written with `-`, `_` or a blank.

    Raises:
        UsageError: there is no such state.
    """
    name = re.sub(r"[\s-]+", "_", written.strip().lower())
    if name in [*State]:
        return State(name)
    raise errors.UsageError(
        f"There is no state “{written}”: expected {joined(spoken(one) for one in State)}.", hint=_meant(name, State)
    )


def spoken(state: State) -> str:
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
    return refusal.sentence(_safe(said))


def remedy(said: Refusal) -> str:
    """What to do about a refusal, without what is personal."""
    return refusal.remedy(_safe(said))


def difference(one: Mapping[str, str], currency: str | None) -> str:
    """`amount   sent: 250 000 XOF   now in the MIS: 300 000 XOF`; of a name only that it differs."""
    field = one["field"]
    if is_personal(field):
        return f"{field} is different in the MIS now"
    is_amount = _last(field) == "amount"
    was, now_is = (
        figure.amount(one[side], currency) if is_amount else one[side] or "(nothing)" for side in ("was", "is")
    )
    return f"{field}   sent: {was}   now in the MIS: {now_is}"


def is_personal(field: str) -> bool:
    """Does a field of a body hold a name, a story or a photo?"""
    return _last(field) in log.PERSONAL and _last(field) not in _SHOWN_ANYWAY


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry for machines: everything but its body, and nothing personal."""
    shown = {
        name: getattr(entry, name)
        for name in Entry.__dataclass_fields__
        if name not in ("body", "row_version", "refusals", "batch_cap")
    }
    safe = [_safe(one) for one in entry.reasons]
    return {
        "number": shown.pop("id"),
        **shown,
        "state": entry.state.value,
        "why": why(entry),
        "refusals": [{**one.to_json(), "sentence": refusal.sentence(one)} for one in safe],
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


def _safe(said: Refusal) -> Refusal:
    if not is_personal(said.field) or said.code.startswith("photo_"):
        return said
    params = {name: HIDDEN if name in _VALUES and not value.isdigit() else value for name, value in said.params.items()}
    return Refusal(said.code, said.field, params)


def _last(field: str) -> str:
    return re.sub(r"\[\d+\]", "", field).rsplit(".", 1)[-1]


def _meant(written: str, known: Iterable[str]) -> str | None:
    near = errors.nearest(written, known, limit=1)
    return f"Did you mean {near[0]}?" if near else None
