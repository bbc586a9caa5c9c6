"""A little of the fuzzer every day; and that it would notice a reader that believes too much."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.receipt import Receipt
from testbed.fuzz import answers, oracle
from testbed.fuzz.sample import KINDS, UUID


@pytest.mark.parametrize("kind", [*KINDS])
def test_some_hundred_odd_answers_of_each_kind(kind: str) -> None:
    result = answers.run(KINDS[kind], seed=1_000_000, number=400)
    assert result.wrong == []
    assert len(result.read) > 1, "some are understood, some are not"


def test_a_seed_makes_the_same_answer_again() -> None:
    kind = KINDS["journal"]
    assert answers.made(kind, 17) == answers.made(kind, 17) != answers.made(kind, 18)


@pytest.mark.parametrize(
    ("resource", "said", "why"),
    [
        ("loan_draft", {"loan_draft_uuid": ""}, "loandraftuuid is ''"),
        ("loan_draft", {"loan_draft_uuid": False}, "loandraftuuid is False"),
        ("loan_draft", {"loan_draft_uuid": UUID, "code": "error"}, "code is 'error'"),
        ("repayment", {"upload_id": 7, "success": False}, "success is False"),
        ("repayment", {"problems": []}, "uploadid is not there"),
        ("journal", {"archive_id": 5}, "confirmurl is not there"),
        ("journal", [{"archive_id": 5}] * 2, "it is no object"),
        ("loan_draft", {"loan_draft_uuid": UUID, "loanDraftUuid": "v"}, "loandraftuuid stands there twice"),
    ],
)
def test_the_oracle_notices_a_reader_that_errs_towards_yes(resource: str, said: Any, why: str) -> None:
    answer = Answer(200, {}, json.dumps(said).encode(), body_complete=True, read_whole=True)
    assert oracle.wrong(answer, resource, Receipt({})) == why


def test_the_oracle_agrees_with_what_is_right() -> None:
    answer = Answer(200, {}, b'[{"uploadId": 5, "code": "api.success"}]', body_complete=True, read_whole=True)
    assert oracle.wrong(answer, "repayment", Receipt({"upload_id": 5})) == ""
