"""The request for a batch, and what an answer says of each entry in it."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.config import loader
from kiva_relay.config.settings import Settings
from kiva_relay.delivery import batch
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.outcome import Meaning, Outcome
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import State
from kiva_relay.resource.refusal import Refusal
from testbed.rig import configuration
from testbed.rig.outboxes import NOW, entry
from testbed.rig.scripted_kiva import answer

LATER = timedelta(minutes=5)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return loader.load(configuration.write(tmp_path), environ={"KIVA_SECRET": "s"})


# ---------------------------------------------------------------- the request


def test_how_many_go_in_one_request(settings: Settings) -> None:
    def limit(resource: str, **batches: int) -> int:
        chosen = {
            "repayments": settings.repayments.model_copy(update={"batch": batches.get("repayments", 250)}),
            "journals": settings.journals.model_copy(update={"batch": batches.get("journals", 20)}),
        }
        return batch.limit(resource, settings.model_copy(update=chosen))

    assert limit("loan_draft", repayments=9, journals=9) == 1
    assert limit("repayment", repayments=250) == 250
    assert limit("repayment", repayments=301) == 300
    assert limit("journal", journals=20) == 20
    assert limit("journal", journals=301) == 300


def test_where_each_resource_is_posted(settings: Settings) -> None:
    kiva = settings.kiva
    plural = kiva.model_copy(update={"journals": kiva.journals.model_copy(update={"path": "partners"})})
    assert batch.path("loan_draft", kiva) == "/v3/partner/123/loan_draft"
    assert batch.path("loan_draft", plural) == "/v3/partner/123/loan_draft"
    assert batch.path("repayment", kiva) == "/v3/partner/123/repayments"
    assert batch.path("journal", kiva) == "/v3/partner/123/journals"
    assert batch.path("journal", plural) == "/v3/partners/123/journals"


def test_the_stored_bytes_go_as_they_are(settings: Settings) -> None:
    kiva = settings.kiva
    inside = kiva.model_copy(update={"journals": kiva.journals.model_copy(update={"body": "object"})})
    assert batch.request("loan_draft", ['{"a": 1.50}'], kiva) == b'{"a": 1.50}'
    assert batch.request("repayment", ["{}", '{"é":2}'], kiva) == '{"repayments":[{},{"é":2}]}'.encode()
    assert batch.request("journal", ["{}", "{}"], kiva) == b"[{},{}]"
    assert batch.request("journal", ["{}"], inside) == b'{"journals":[{}]}'


# ---------------------------------------------------------------- the receipt


def test_a_receipt_as_the_outbox_keeps_it(settings: Settings) -> None:
    said = {
        "uploadId": 7,
        "problems": {"loanId": 5, "severity": "critical", "code": "E1", "message": "no", "other": [1]},
    }
    kept = {"upload_id": 7, "problems": [{"loan_id": "5", "severity": "error", "code": "E1", "details": "no"}]}
    assert batch.receipt("repayment", answer(200, said), settings.kiva) == kept
    assert batch.receipt("loan_draft", answer(200, said), settings.kiva) is None


# ---------------------------------------------------------------- accepted, with problems

A, B = entry(1, loan_id="A", resource="repayment"), entry(2, loan_id="B", resource="repayment")


def problem(loan: str | None, severity: str | None = None, **more: str) -> dict[str, Any]:
    said: dict[str, Any] = {"loan_id": loan} if loan is not None else {}
    return said | ({"severity": severity} if severity is not None else {}) | more


def test_all_are_delivered_with_the_same_receipt() -> None:
    delivered = EntryVerdict(State.DELIVERED, receipt={"upload_id": 7})
    assert batch.accepted([A, B], {"upload_id": 7}) == {1: delivered, 2: delivered}


@pytest.mark.parametrize("severity", ["error", "ERROR", "critical", "", None])
def test_an_error_of_one_loan_refuses_just_that(severity: str | None) -> None:
    found = problem("A", severity, details="closed", code="E7")
    assert batch.accepted([A, B], {"upload_id": 7, "problems": [found]}) == {
        1: EntryVerdict(
            State.REFUSED,
            receipt={"upload_id": 7, "problems": [found]},
            refusals=(Refusal("kiva_said_no", "", {"text": "closed", "code": "E7"}),),
        ),
        2: EntryVerdict(State.DELIVERED, receipt={"upload_id": 7}),
    }


def test_a_warning_is_kept_and_the_loan_is_delivered() -> None:
    found = problem("B", "warning", message="late")
    assert batch.accepted([A, B], {"upload_id": 7, "problems": [found]}) == {
        1: EntryVerdict(State.DELIVERED, receipt={"upload_id": 7}),
        2: EntryVerdict(State.DELIVERED, receipt={"upload_id": 7, "problems": [found]}),
    }


def test_of_a_warning_and_two_errors_the_errors_are_the_reasons() -> None:
    found = [problem("A", "warning"), problem("A", "error", details="x" * 600), problem("A", None, details="d")]
    verdicts = batch.accepted([A], {"upload_id": 7, "problems": found})
    assert verdicts[1].refusals == (
        Refusal("kiva_said_no", "", {"text": "x" * 500, "code": ""}),
        Refusal("kiva_said_no", "", {"text": "d", "code": ""}),
    )
    assert verdicts[1].receipt == {"upload_id": 7, "problems": found}


WARNED = EntryVerdict(State.DELIVERED, receipt={"upload_id": 7}, reason="problem_without_loan", evidence="warned")


@pytest.mark.parametrize("severity", ["error", "critical", None])
@pytest.mark.parametrize("loan", [None, "C", ""])
def test_a_problem_that_belongs_to_none_of_them_is_a_question_about_all(loan: str | None, severity: str | None) -> None:
    given = {"upload_id": 7, "problems": [problem(loan, severity)]}
    assert batch.accepted([A, B], given) == {1: WARNED, 2: WARNED}
    assert batch.problems_of_the_call([A, B], given) == given["problems"]


def test_a_null_as_severity_is_no_warning() -> None:
    given = {"upload_id": 7, "problems": [{"loan_id": "A", "severity": None}]}
    assert batch.accepted([A, B], given)[1].target is State.REFUSED


def test_a_warning_of_the_whole_call_is_kept_with_it_and_asks_nobody() -> None:
    given = {"upload_id": 7, "problems": [problem(None, "Warning", details="late")]}
    delivered = EntryVerdict(State.DELIVERED, receipt={"upload_id": 7})
    assert batch.accepted([A, B], given) == {1: delivered, 2: delivered}
    assert batch.problems_of_the_call([A, B], given) == given["problems"]


def test_of_a_call_with_a_problem_of_its_own_the_loan_that_is_named_is_refused_all_the_same() -> None:
    given = {"upload_id": 7, "problems": [problem(None, "error"), problem("B", "error")]}
    verdicts = batch.accepted([A, B], given)
    assert (verdicts[1], verdicts[2].target) == (WARNED, State.REFUSED)


# ---------------------------------------------------------------- refused


def test_one_alone_is_refused_with_kivas_words() -> None:
    expected = Refusal("kiva_said_no", "", {"text": "x" * 500, "status": "422"})
    assert batch.refused([A], status=422, words="x" * 501) == {1: EntryVerdict(State.REFUSED, refusals=(expected,))}


@pytest.mark.parametrize(("number", "cap"), [(2, 1), (3, 1), (4, 2), (5, 2)])
def test_a_batch_is_halved(number: int, cap: int) -> None:
    entries = [entry(each) for each in range(1, number + 1)]
    ready = EntryVerdict(State.READY, batch_cap=cap)
    assert batch.refused(entries, status=400, words="no") == {each.id: ready for each in entries}


# ---------------------------------------------------------------- the whole answer


def judged(decision: Meaning, given: dict[str, Any] | None = None, status: int | None = 200) -> Any:
    said = Answer(status, {}, b"no such amount", body_complete=True, read_whole=True)
    return batch.judged([A, B], said, decision, given, again=LATER)


def test_accepted() -> None:
    delivered = EntryVerdict(State.DELIVERED, receipt={"upload_id": 7})
    found = judged(Meaning(Outcome.ACCEPTED, success_seen=True), {"upload_id": 7})
    assert found == ({1: delivered, 2: delivered}, Outcome.ACCEPTED)


def test_accepted_with_a_problem_of_nobody_makes_no_doubt() -> None:
    given = {"upload_id": 7, "problems": [problem("C")]}
    assert judged(Meaning(Outcome.ACCEPTED, success_seen=True), given) == ({1: WARNED, 2: WARNED}, Outcome.ACCEPTED)


def test_refused() -> None:
    halved = EntryVerdict(State.READY, batch_cap=1)
    assert judged(Meaning(Outcome.REFUSED), status=422) == ({1: halved, 2: halved}, Outcome.REFUSED)


def test_not_processed_is_ready_again_at_its_moment() -> None:
    ready = EntryVerdict(State.READY, due_in=LATER)
    assert judged(Meaning(Outcome.NOT_PROCESSED), status=429) == ({1: ready, 2: ready}, Outcome.NOT_PROCESSED)


@pytest.mark.parametrize(("success_seen", "reason"), [(False, "answer_lost"), (True, "strange_answer")])
def test_in_doubt_says_whether_a_success_was_seen(*, success_seen: bool, reason: str) -> None:
    doubt = EntryVerdict(State.IN_DOUBT, reason=reason)
    found = judged(Meaning(Outcome.IN_DOUBT, success_seen=success_seen))
    assert found == ({1: doubt, 2: doubt}, Outcome.IN_DOUBT)


@pytest.mark.parametrize(("days", "late"), [(None, False), (0, False), (1, False), (-1, True)])
def test_too_late_to_publish(*, days: int | None, late: bool) -> None:
    today = date(2026, 11, 23)
    last = None if days is None else today + timedelta(days=days)
    expected = Refusal("too_late_to_publish", "disburse_time", {"publish_by": str(last)}) if late else None
    assert batch.too_late(dataclasses.replace(A, publish_by=last), today=today) == expected
    assert A.due_at == NOW
