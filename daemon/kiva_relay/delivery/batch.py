"""The request for a batch, and what Kiva's answer says of each entry in it.

Shapes: Kiva's SDK, "draft loans", "report payments", "post journals". What an answer is, is read in `receipt.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from kiva_relay.config import settings as config
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import receipt as receipts
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.document import NotUnderstood
from kiva_relay.delivery.outcome import Meaning, Outcome
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.sending import Batch, EntryVerdict
from kiva_relay.outbox.state import State
from kiva_relay.outbox.upload import Upload
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.resource.refusal import Refusal


def limit(resource: str, settings: config.Settings) -> int:
    """How many entries of a resource go in one request."""
    chosen = {"repayment": settings.repayments.batch, "journal": settings.journals.batch}
    return min(chosen.get(resource, 1), RESOURCES[resource].batch_limit)


def path(resource: str, kiva: Kiva) -> str:
    """Where a resource is posted, under the API base."""
    partner = kiva.journals.path if resource == "journal" else "partner"
    return f"/v3/{partner}/{kiva.partner_id}/{RESOURCES[resource].path}"


def key(outbox_id: str, attempt_id: int) -> str:
    """By which Kiva could tell a repeat: of one attempt, whoever asks."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{outbox_id}/{attempt_id}"))


def request(resource: str, bodies: Sequence[str], kiva: Kiva) -> bytes:
    """The exact bytes to send: the stored bodies as they are, in the wrapping of the resource."""
    if resource == "loan_draft":
        return bodies[0].encode()
    items = "[" + ",".join(bodies) + "]"
    if resource == "repayment":
        return f'{{"repayments":{items}}}'.encode()
    return (items if kiva.journals.body == "list" else f'{{"journals":{items}}}').encode()


def receipt(resource: str, answer: Answer, kiva: Kiva) -> dict[str, Any] | None:
    """What Kiva gave back, as the outbox keeps it; None when it is no receipt for this resource.

    `problems`, if there are any, is a list of `{loan_id, severity, code, details}`, each a text.
    """
    found = receipts.read(answer, resource, api_url=kiva.api_url)
    return None if isinstance(found, NotUnderstood) else found.kept()


def accepted(entries: Sequence[Entry], given: Mapping[str, Any]) -> dict[int, EntryVerdict]:
    """The verdict on each entry of an accepted request.

    A 200 can carry problems of single loans: an error means that Kiva did not take that loan, a warning that it did.
    After an error without a loan, or of a loan that was not in the call, nobody knows of which entries Kiva speaks:
    they are delivered by the evidence `warned`, and a person looks.
    """
    common = {name: value for name, value in given.items() if name != "problems"}
    by_loan: dict[str, list[dict[str, Any]]] = {}
    for problem in given.get("problems", ()):
        by_loan.setdefault(_loan(problem), []).append(problem)
    warned = any(map(_is_error, problems_of_the_call(entries, given)))
    verdicts = {}
    for entry in entries:
        problems = by_loan.get(spelled.key(entry.loan_id), [])
        mine = common | ({"problems": problems} if problems else {})
        errors = [problem for problem in problems if _is_error(problem)]
        if errors:
            verdicts[entry.id] = EntryVerdict(State.REFUSED, receipt=mine, refusals=tuple(map(_said_no, errors)))
        elif warned:
            verdicts[entry.id] = EntryVerdict(
                State.DELIVERED, receipt=mine, evidence="warned", reason="problem_without_loan"
            )
        else:
            verdicts[entry.id] = EntryVerdict(State.DELIVERED, receipt=mine)
    return verdicts


def problems_of_the_call(entries: Sequence[Entry], given: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Problems that Kiva named without a loan, or of a loan that was not in the call: they stay with the attempt."""
    loans = {spelled.key(entry.loan_id) for entry in entries}
    return [problem for problem in (given or {}).get("problems", ()) if _loan(problem) not in loans]


def upload(batch: Batch, given: Mapping[str, Any], *, now: datetime) -> Upload:
    """What PA2 shows of an accepted call of positions."""
    return Upload(
        attempt_id=batch.attempt_id,
        period=batch.entries[0].period,
        upload_id=str(given.get("upload_id", "")),
        at=now,
        loans=len(batch.entries),
        problems=tuple(given.get("problems", ())),
    )


def refused(entries: Sequence[Entry], *, status: int | None, words: str) -> dict[int, EntryVerdict]:
    """Kiva judged the body. One entry is refused; a batch is halved, so that the others need not wait for it."""
    if len(entries) == 1:
        params = {"text": words[:500], "status": str(status)}
        return {entries[0].id: EntryVerdict(State.REFUSED, refusals=(Refusal("kiva_said_no", "", params),))}
    cap = len(entries) // 2
    return {entry.id: EntryVerdict(State.READY, batch_cap=cap) for entry in entries}


def judged(
    entries: Sequence[Entry],
    answer: Answer,
    decision: Meaning,
    given: Mapping[str, Any] | None,
    *,
    again: timedelta | None,
) -> tuple[dict[int, EntryVerdict], Outcome]:
    """The verdict on each entry of a request, and as what its attempt ends.

    `given` is the receipt, None without one; `again` is how long until what was surely not processed is sent again.
    """
    ids = [entry.id for entry in entries]
    match decision.outcome:
        case Outcome.ACCEPTED:
            return accepted(entries, given or {}), Outcome.ACCEPTED
        case Outcome.REFUSED:
            return refused(entries, status=answer.status, words=answer.words), Outcome.REFUSED
        case Outcome.NOT_PROCESSED:
            return dict.fromkeys(ids, EntryVerdict(State.READY, due_in=again)), Outcome.NOT_PROCESSED
        case Outcome.IN_DOUBT:
            reason = "strange_answer" if decision.success_seen else "answer_lost"
            return dict.fromkeys(ids, EntryVerdict(State.IN_DOUBT, reason=reason)), Outcome.IN_DOUBT


def too_late(entry: Entry, *, today: date) -> Refusal | None:
    """Why an entry is not sent any more: its last day to be published has passed; None: it may go."""
    if entry.publish_by is None or entry.publish_by >= today:
        return None
    return Refusal("too_late_to_publish", "disburse_time", {"publish_by": str(entry.publish_by)})


def _loan(problem: Mapping[str, Any]) -> str:
    return spelled.key(str(problem.get("loan_id") or ""))


def _is_error(problem: Mapping[str, Any]) -> bool:
    """Whatever is not clearly a warning: Kiva's lists of words may grow."""
    return str(problem.get("severity")).strip().lower() != "warning"


def _said_no(problem: Mapping[str, Any]) -> Refusal:
    words = str(problem.get("details") or "")[:500]
    return Refusal("kiva_said_no", "", {"text": words, "code": str(problem.get("code", ""))})
