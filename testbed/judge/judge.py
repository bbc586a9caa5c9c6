"""The judge: compares what the MIS owes, what the outbox says and what Kiva holds, row by row, contents included.

It trusts none of the three. What is owed comes from SQL of its own (`owed`), what a draft may have said from the
tellers' transactions (`history`), what Kiva holds from the stand-in's ledger, not from the relay's receipts.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from kiva_relay.outbox import duplicate
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import State
from kiva_relay.resource import body as json_body
from kiva_relay.resource.refusal import PERSON_DECIDES, Refusal
from testbed.institution.branch import PURPOSES
from testbed.judge import history
from testbed.judge.case import Case, Judgement, Kind
from testbed.judge.expected import ExpectedDraft, ExpectedNote, ExpectedPosition

EXPECTED = ("payingBack", "defaulted")
"""Statuses at Kiva in which a repayment report is expected."""

_IN_SIGHT = (State.DELIVERED, State.IN_DOUBT)
# Outside delivery a photo is a fingerprint, in the ledger it is its bytes.
_PHOTO = "image_encoded"


def judge(case: Case) -> Judgement:
    """Compare everything."""
    lost = Counter(record["resource"] for record in case.ledger if record["answer"] != "answered")
    verdict = Judgement(lost_answers=lost)
    _drafts(case, verdict)
    _positions(case, verdict)
    _journals(case, verdict)
    _receipts(case, verdict)
    verdict.in_doubt = [entry for entry in case.entries if entry.state is State.IN_DOUBT]
    verdict.differences.sort()
    return verdict


# ---------------------------------------------------------------- loan drafts


def _drafts(case: Case, verdict: Judgement) -> None:
    """Each owed draft is at Kiva exactly once, as the MIS had it; or it is on record why not."""
    resource = "loan_draft"
    posted: dict[str, list[Mapping[str, Any]]] = {}
    for record in case.records(resource):
        posted.setdefault(history.identity_of(record["body"]), []).append(record)
    typed = Counter(loan["internal_loan_id"] for loan in case.loans if not loan["record"])
    versions = case.versions(resource)
    for identity, draft in case.owed.drafts.items():
        times = len(posted.get(identity, ())) + typed[identity]
        if draft.created_at.date() < case.since:
            if identity in posted:
                verdict.add("different", resource, identity, "sent, although it is older than loan_drafts.since")
            continue
        if times:
            verdict.sums[resource].owed += 1
            verdict.sums[resource].held += 1
            verdict.sums[resource].adopted += typed[identity]
        else:
            _missing_draft(draft, versions.get(identity, []), case.owed.drafts.values(), verdict)
    for identity, records in posted.items():
        verdict.sums[resource].postings += len(records)
        for _ in range(len(records) + typed[identity] - 1):
            verdict.add("duplicated", resource, identity, "Kiva has this loan more than once")
        for record in records:
            _posted_draft(case, identity, record, versions.get(identity, []), verdict)


def _missing_draft(
    draft: ExpectedDraft, versions: Sequence[Entry], others: Iterable[ExpectedDraft], verdict: Judgement
) -> None:
    """It is owed and not at Kiva: on record with a reason that the MIS bears out, or lost."""
    newest = versions[-1] if versions else None
    if newest is not None and newest.state is State.REFUSED:
        doubtful = [reason.code for reason in newest.reasons if not _true_of(draft, reason)]
        if not doubtful:
            verdict.refused.append(newest)
            return
        text = f"refused for {', '.join(doubtful)}, which the MIS does not bear out"
        verdict.add("different", "loan_draft", draft.identity, text)
    elif (
        newest is not None and newest.state is State.WAITING and newest.reason == "incomplete" and not draft.complete
    ) or (newest is not None and _is_asked_twice(newest) and any(_is_twin(draft, other) for other in others)):
        verdict.waiting.append(newest)
        return
    verdict.sums["loan_draft"].owed += 1
    verdict.add("lost", "loan_draft", draft.identity, f"owed, and not at Kiva; in the outbox: {_said(newest)}")


def _is_asked_twice(entry: Entry) -> bool:
    """Does it wait until a person says whether it is owed twice?"""
    return entry.state is State.WAITING and entry.reason == duplicate.PROBABLE


def _is_twin(draft: ExpectedDraft, other: ExpectedDraft) -> bool:
    """Are both of one client and one amount, within ten days?"""
    if other.identity == draft.identity or not draft.borrowers or not other.borrowers:
        return False
    same = draft.borrowers[0].client_no == other.borrowers[0].client_no and draft.principal == other.principal
    return same and abs(draft.disbursal - other.disbursal) <= timedelta(days=10)


def _true_of(draft: ExpectedDraft, reason: Refusal) -> bool:
    """Does the MIS show what the refusal says?"""
    match reason.code:
        case "name_empty" | "missing":
            named = [(one.firstname or one.display_name or "").strip() for one in draft.borrowers]
            return not named or not all(named)
        case "activity_unknown" | "no_translation":
            return draft.purpose is not None and PURPOSES.get(draft.purpose) is None
        case "disbursed_too_long_ago" | "too_late_to_publish" | "disbursal_too_far":
            return not draft.publishable
        case "group_field_on_individual":
            return len(draft.borrowers) == 1
        case _:
            return False


def _posted_draft(
    case: Case, identity: str, record: Mapping[str, Any], versions: Sequence[Entry], verdict: Judgement
) -> None:
    resource = "loan_draft"
    if not case.history.knows(identity):
        verdict.add("different", resource, identity, "at Kiva, and the MIS never owed it")
        return
    untrue = case.history.untrue(identity, record["body"])
    if untrue:
        verdict.add("different", resource, identity, f"Kiva got what the MIS never said: {', '.join(untrue)}")
    body = _without_photo(record["body"])
    ours = [entry for entry in versions if entry.state in _IN_SIGHT and _without_photo(_body(entry)) == body]
    if len(ours) != 1:
        verdict.add("different", resource, identity, "no entry of the outbox says just what Kiva got")
    elif ours[0].evidence != "receipt" and record["answer"] == "answered" and ours[0].reason != "process_ended":
        text = f"Kiva's answer arrived, and the outbox says {_said(ours[0])}"
        if ours[0].id not in case.doubted:
            verdict.add("different", resource, identity, text)


# ---------------------------------------------------------------- positions


def _positions(case: Case, verdict: Judgement) -> None:
    """The last position of each loan that Kiva expects is the MIS's; none was repeated without a lost answer."""
    resource = "repayment"
    rows: dict[str, list[tuple[Decimal, bool]]] = {}
    for record in case.records(resource):
        refused = {str(one.get("loan_id")) for one in record["receipt"].get("problems", ()) if _is_error(one)}
        named = Counter(row["loan_id"] for row in record["body"]["repayments"])
        for row in record["body"]["repayments"]:
            verdict.sums[resource].postings += 1
            if row["loan_id"] not in refused:
                answered = record["answer"] == "answered"
                rows.setdefault(row["loan_id"], []).append((Decimal(str(row["amount"])), answered))
        for loan_id, times in named.items():
            if times > 1:
                verdict.add("duplicated", resource, loan_id, "twice in one upload")
    versions = case.versions(resource)
    expected = {loan["internal_loan_id"] for loan in case.loans if loan["status"] in EXPECTED}
    for loan_id in sorted(rows.keys() | (expected & case.owed.positions.keys())):
        mine, entries = rows.get(loan_id, []), versions.get(loan_id, [])
        for text in _posted_positions(mine, entries, case.doubted):
            verdict.add("duplicated" if text.startswith("twice") else "different", resource, loan_id, text)
        position = case.owed.positions.get(loan_id)
        if position is None:
            verdict.add("different", resource, loan_id, "at Kiva, and the MIS has no such position")
        elif loan_id in expected:
            _last_position(position, [amount for amount, _ in mine], entries, verdict)


def _posted_positions(
    rows: Sequence[tuple[Decimal, bool]], entries: Sequence[Entry], doubted: frozenset[int]
) -> Iterator[str]:
    """What is wrong with the positions that Kiva took of one loan, in their order."""
    known = [Decimal(entry.amount) for entry in entries if entry.amount is not None]
    if any(amount not in known for amount, _ in rows):
        yield "Kiva got a position that the outbox never had"
    lost_before = any(entry.id in doubted for entry in entries)
    for (before, answered), (after, _) in itertools.pairwise(rows):
        if before == after and answered and not lost_before:
            yield "twice the same position, and no answer was lost"


def _last_position(
    position: ExpectedPosition, posted: Sequence[Decimal], entries: Sequence[Entry], verdict: Judgement
) -> None:
    line = verdict.sums["repayment"]
    newest = entries[-1] if entries else None
    if posted and posted[-1] == position.repaid:
        line.owed += 1
        line.held += 1
    elif newest is not None and _awaits_person(newest, position, posted):
        verdict.waiting.append(newest)
    elif newest is not None and _is_sent_again(newest, position):
        line.owed += 1  # and in `in_doubt`
    elif newest is not None and newest.state is State.REFUSED and position.repaid < 0:
        verdict.refused.append(newest)
    else:
        line.owed += 1
        last = f"{posted[-1]:f}" if posted else "none"
        overtaken = position.repaid in posted
        text = f"the MIS says {position.repaid.normalize():f}, the last at Kiva is {last}"
        text += ", an older one that came after it" if overtaken else ""
        kind: Kind = "different" if overtaken else "lost"
        verdict.add(kind, "repayment", position.identity, f"{text}; in the outbox: {_said(newest)}")


def _is_sent_again(entry: Entry, position: ExpectedPosition) -> bool:
    """Is it the present position, whose answer was lost more than once? It goes again by itself, hours later."""
    if entry.state is not State.IN_DOUBT or not entry.repeats or not entry.repeats_itself:
        return False
    return entry.amount is not None and Decimal(entry.amount) == position.repaid


def _awaits_person(entry: Entry, position: ExpectedPosition, posted: Sequence[Decimal]) -> bool:
    """Is it the present position, kept back because it fell, or is more than was lent?"""
    if entry.state is not State.WAITING or entry.reason not in PERSON_DECIDES:
        return False
    if entry.amount is None or Decimal(entry.amount) != position.repaid:
        return False
    fell = bool(posted) and position.repaid < posted[-1]
    return fell if entry.reason == "position_fell" else position.repaid > position.principal


# ---------------------------------------------------------------- journals


def _journals(case: Case, verdict: Judgement) -> None:
    """Exactly the notes that were marked for Kiva, each once; nothing else that was ever written about a borrower."""
    resource = "journal"
    line = verdict.sums[resource]
    posted: Counter[tuple[str, str]] = Counter()
    answers: dict[tuple[str, str], str] = {}
    for record in case.records(resource):
        body = record["body"]
        for row in body if isinstance(body, list) else body["journals"]:
            what = (row["internal_loan_id"], row["body"])
            posted[what] += 1
            answers[what] = record["answer"]
    line.postings = posted.total()
    at_kiva = {loan["internal_loan_id"] for loan in case.loans}
    versions = case.versions(resource)
    for note in case.owed.notes.values():
        if note.created_at.date() < case.since:
            continue
        what = (note.identity, note.body)
        of_note = versions.get(note.id, [])
        times, newest = posted.pop(what, 0), of_note[-1] if of_note else None
        if times:
            line.owed += 1
            line.held += 1
            if newest is None or newest.state not in _IN_SIGHT:
                text = f"at Kiva, and in the outbox: {_said(newest)}"
                verdict.add("different", resource, note.identity, text)
            elif newest.state is State.IN_DOUBT and answers[what] == "answered" and newest.reason != "process_ended":
                verdict.add("different", resource, note.identity, "in doubt, and its answer was not lost")
        else:
            _missing_journal(note, newest, at_kiva, case.owed.drafts.get(note.identity), verdict)
        for _ in range(times - 1):
            verdict.add("duplicated", resource, note.identity, f"note {note.id} is at Kiva more than once")
    for loan_id, _ in posted:
        verdict.add("different", resource, loan_id, "Kiva got a text that nobody marked for it, or an altered one")


_WITHOUT_A_LOAN = ("loan_not_at_kiva", "loan_not_eligible")


def _missing_journal(
    note: ExpectedNote, newest: Entry | None, at_kiva: set[str], draft: ExpectedDraft | None, verdict: Judgement
) -> None:
    kept = newest is not None and newest.state is State.WAITING and newest.reason in _WITHOUT_A_LOAN
    if newest is not None and kept and (newest.reason == "loan_not_eligible" or note.identity not in at_kiva):
        verdict.waiting.append(newest)
        return
    if newest is not None and newest.state is State.REFUSED:
        # Its subject is the borrower's name.
        nameless = draft is not None and all(_true_of(draft, reason) for reason in newest.reasons)
        if nameless or not note.body:
            verdict.refused.append(newest)
            return
    verdict.sums["journal"].owed += 1
    text = f"note {note.id} is owed, and not at Kiva; in the outbox: {_said(newest)}"
    verdict.add("lost", "journal", note.identity, text)


# ---------------------------------------------------------------- the outbox's own word


def _receipts(case: Case, verdict: Judgement) -> None:
    """What the outbox calls delivered is at Kiva, by the very receipt; what it calls adopted was there."""
    sign = {"loan_draft": "loan_draft_uuid", "repayment": "upload_id", "journal": "archive_id"}
    given = {(record["resource"], str(record["receipt"].get(sign[record["resource"]]))) for record in case.ledger}
    listed = {loan["internal_loan_id"] for loan in case.loans}
    for entry in case.entries:
        if entry.state is not State.DELIVERED:
            continue
        if entry.evidence == "receipt":
            receipt = str((entry.receipt or {}).get(sign[entry.resource]))
            if (entry.resource, receipt) not in given:
                text = f"entry {entry.id} has a receipt that Kiva never gave"
                verdict.add("lost", entry.resource, entry.loan_id, text)
        elif entry.identity not in listed:
            text = f"entry {entry.id} is delivered by {entry.evidence}, and Kiva does not have the loan"
            verdict.add("lost", entry.resource, entry.loan_id, text)


def _said(entry: Entry | None) -> str:
    if entry is None:
        return "nothing"
    why = entry.reason or entry.evidence
    return f"entry {entry.id}, {entry.state.value}" + (f" ({why})" if why else "")


def _body(entry: Entry) -> Mapping[str, Any]:
    return {} if entry.body is None else json_body.decode(entry.body.encode())


def _without_photo(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _exact(value) for name, value in body.items() if name != _PHOTO}


def _exact(value: Any) -> Any:
    """Numbers as Decimal, however they were written."""
    if isinstance(value, Mapping):
        return {name: _exact(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_exact(inner) for inner in value]
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _is_error(problem: Mapping[str, Any]) -> bool:
    return str(problem.get("severity", "error")).lower() == "error"
