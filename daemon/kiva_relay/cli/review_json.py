"""What waits for the coordinator, for programs: codes and parameters, the same in every language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from kiva_relay.account import task
from kiva_relay.account.task import Task
from kiva_relay.cli import report_json, words
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.history import Divergence
from kiva_relay.resource.refusal import Refusal
from kiva_relay.words import personal


def of(one: Task) -> dict[str, Any]:
    """A task: what it is, by when, of which entries, and what its sentence needs."""
    return {
        "kind": one.kind,
        "when": one.when.value,
        "day": one.day,
        "loans": one.loans if isinstance(one, task.FindInMis) else _loans(one),
        "ended_by_done": one.ended_by_done,
        "params": _params(one),
        "entries": [words.entry_json(entry) for entry in one.entries],
    }


def _loans(one: Task) -> list[str]:
    if isinstance(one, task.SettleDifferences):
        return list(dict.fromkeys(each.loan_id for each in one.found))
    lines = one.lines if isinstance(one, task.DecidePositions) else ()
    return list(dict.fromkeys([*(entry.loan_id for entry in one.entries), *(line.loan_id for line in lines)]))


def _params(one: Task) -> dict[str, Any]:  # noqa: C901 - one case a task
    match one:
        case task.LookInPa2() | task.DeleteInPa2():
            return {"resource": one.resource}
        case task.LookAtCall():
            return {"resource": one.resource, "call": one.call.number, "said": one.call.words}
        case task.SameLoan():
            return {"at_kiva": {str(entry.id): ids for entry, ids in one.alike}}
        case task.SameClientAndAmount():
            return {"like": {str(entry.id): others for entry, others in one.alike}}
        case task.PublishSoon() | task.PublishLater():
            return {
                "needed": {str(draft.entry.id): draft.needed for draft in one.drafts},
                "warnings": {str(draft.entry.id): _reasons(draft.warnings) for draft in one.drafts},
            }
        case task.ChangedAfterSending():
            return {"changes": [_change(each) for each in one.divergences]}
        case task.DecidePositions():
            return _before(one.before) | {"closes": one.closes, "lines": [report_json.line(each) for each in one.lines]}
        case task.KnowWhatWasNotDecided():
            return _before(one.before)
        case task.KnowWhatWasReported():
            return {"unknown": {str(each.entry.id): {"sent": each.sent, "before": each.before} for each in one.unknown}}
        case task.FindInMis():
            return {"closes": one.closes, "lines": [report_json.line(each) for each in one.lines]}
        case task.SettleDifferences():
            return {"found": [{"number": each.id, "kind": each.kind, "kiva_id": each.kiva_id} for each in one.found]}
        case task.TooOldToPublish() | task.TypeByHand() | task.ConfirmJournals() | task.CorrectRefused():
            return {}
    assert_never(one)


def _before(before: Mapping[int, Entry]) -> dict[str, Any]:
    return {"before": {str(number): last.amount for number, last in before.items()}}


def _change(one: Divergence) -> dict[str, Any]:
    fields = [{"field": each["field"]} if personal.is_personal(each["field"]) else each for each in one.fields]
    return {"number": one.entry.id, "fields": fields, "reasons": _reasons(one.reasons)}


def _reasons(said: Sequence[Refusal]) -> list[dict[str, Any]]:
    return [personal.safe(each).to_json() for each in said]
