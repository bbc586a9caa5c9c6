"""How Kiva's answers are read: bytes into an answer, pages into a list. No server: the transport is played."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kiva_relay.config import loader
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import client, mirror
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.token import Token
from kiva_relay.outbox.mirror import MirroredLoan
from testbed.rig import configuration
from testbed.rig.scripted_kiva import answer

TOKEN = Token("t", frozenset(), None, 0.0, 1)


@pytest.fixture
def kiva(tmp_path: Path) -> Kiva:
    text = configuration.WRITTEN.replace("{env: KIVA_SECRET}", "'a secret'")
    return loader.load(configuration.write(tmp_path, text=text), environ={}).kiva


# ---------------------------------------------------------------- one request, one answer


def exchanged(handler: Any, method: str = "POST") -> Answer:
    with httpx.Client(transport=httpx.MockTransport(handler)) as there:
        return client._exchange(there, there.build_request(method, "http://kiva/x", content=b"{}"))


def test_an_answer_that_was_read_whole() -> None:
    found = exchanged(lambda _request: httpx.Response(422, headers={"Retry-After": "5"}, json={"a": 1}))
    assert (found.status, found.read_whole, found.error, found.json) == (422, True, None, {"a": 1})
    assert found.headers["retry-after"] == "5"
    assert found.body_complete is False, "the played transport has no trace"


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), OSError("gone")])
def test_no_answer_at_all(error: Exception) -> None:
    def fails(_request: httpx.Request) -> httpx.Response:
        raise error

    found = exchanged(fails)
    assert (found.status, found.content, found.read_whole) == (None, b"", False)
    assert found.error == f"{type(error).__name__}: {error}"
    assert found.words == found.error
    assert found.json is None


class _Cut(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b'{"loan_draft_uuid":'
        raise httpx.ReadError("reset")


class _Endless(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b" " * 1_000_000


def test_an_answer_that_was_cut_is_no_json() -> None:
    found = exchanged(lambda _request: httpx.Response(200, stream=_Cut()))
    assert (found.status, found.read_whole, found.json) == (200, False, None)
    assert found.error == "ReadError: reset"


def test_an_answer_without_end_is_cut() -> None:
    found = exchanged(lambda _request: httpx.Response(200, stream=_Endless()))
    assert (found.status, found.read_whole) == (200, False)
    assert 4_000_000 < len(found.content) <= 5_000_000


@pytest.mark.parametrize(
    ("content", "said", "words"),
    [
        (b'{"a":1}', {"a": 1}, '{"a":1}'),
        (b"<html>", None, "<html>"),
        (b"", None, ""),
        (b" \xff ", None, "\N{REPLACEMENT CHARACTER}"),
        (b"x" * 3_000, None, "x" * 2_000),
    ],
)
def test_what_a_body_says(content: bytes, said: Any, words: str) -> None:
    found = Answer(200, {}, content, body_complete=True, read_whole=True)
    assert (found.json, found.words) == (said, words)


def test_the_last_byte_of_the_last_request_counts() -> None:
    """A proxy's CONNECT is a request of its own."""
    trace = client._Trace()
    seen = []
    for event in (
        "http11.send_request_headers.started",
        "http11.send_request_body.started",
        "http11.send_request_body.complete",
        "http11.send_request_headers.started",
        "http11.send_request_headers.complete",
        "http11.send_request_body.complete",
        "http11.receive_response_headers.started",
    ):
        trace(event, {})
        seen.append(trace.body_complete)
    assert seen == [False, False, True, False, False, True, True]


# ---------------------------------------------------------------- pages


class Lists:
    """GET /loans of a list, by status; `moves` changes it after so many requests."""

    def __init__(self, **loans: list[dict[str, Any]]) -> None:
        self.loans = loans
        self.asked: list[dict[str, Any]] = []
        self.moves: dict[int, Any] = {}
        self.total = "total_records"

    def get(self, path: str, *, token: str, params: dict[str, Any]) -> Answer:
        assert (path, token) == ("/v3/partner/123/loans", "t")
        self.asked.append(params)
        if len(self.asked) in self.moves:
            self.moves[len(self.asked)](self.loans)
        rows = self.loans.get(params["status"], [])
        return answer(200, {self.total: len(rows), "data": rows[params["offset"] : params["offset"] + params["limit"]]})


def loans(kiva: Kiva, lists: Any) -> list[MirroredLoan]:
    return mirror.loans(lists, kiva, TOKEN)


def row(number: int) -> dict[str, Any]:
    return {"kiva_id": number, "internal_loan_id": f"L{number}"}


@pytest.mark.parametrize("number", [0, 1, 299, 300, 301, 601])
def test_every_page_is_read(kiva: Kiva, number: int) -> None:
    lists = Lists(payingBack=[row(each) for each in range(number)])
    assert len(loans(kiva, lists)) == number
    read = [params["offset"] for params in lists.asked if params["status"] == "payingBack"]
    assert read[:-1] == list(range(0, max(number, 1), 300))
    assert {params["status"] for params in lists.asked} == set(mirror.STATUSES)


def test_the_other_spelling_is_read_as_well(kiva: Kiva) -> None:
    said = {
        "uuid": "u",
        "internalLoanId": 7,
        "internalClientId": "c",
        "loanLocalPrice": 10.5,
        "loanCurrency": "XOF",
    }
    lists = Lists(issue=[said, {"kivaId": 8, "status": "reviewed"}, {}])
    lists.total = "totalRecords"
    assert loans(kiva, lists) == [
        MirroredLoan("u", "7", "c", "issue", "10.5", "XOF"),
        MirroredLoan("8", "", "", "reviewed", None, None),
        MirroredLoan("", "", "", "issue", None, None),
    ]


def test_a_loan_that_moves_on_is_met_once_or_twice_never_not_at_all(kiva: Kiva) -> None:
    lists = Lists(issue=[row(1)], raised=[row(2)])
    statuses = len(mirror.STATUSES)
    lists.moves[statuses + 1] = lambda all_: all_["issue"].append(row(3))
    assert sorted(loan.loan_id for loan in loans(kiva, lists)) == ["L1", "L2", "L3"]


def test_a_list_that_never_stands_still_is_incomplete(kiva: Kiva) -> None:
    class Restless(Lists):
        def get(self, path: str, *, token: str, params: dict[str, Any]) -> Answer:
            if params["status"] == "issue" and params["limit"] == 1:
                self.loans["issue"].append(row(len(self.asked)))
            return super().get(path, token=token, params=params)

    lists = Restless(issue=[row(1)])
    with pytest.raises(mirror.Incomplete, match="counts of issue changed while they were read, 5 times"):
        loans(kiva, lists)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(500), "the list of loans was not given: status 500"),
        (answer(200, []), "the list of loans was not given: status 200"),
        (Answer(None, {}, b"", body_complete=True, read_whole=False, error="ReadTimeout"), "not given: ReadTimeout"),
    ],
)
def test_a_list_that_is_not_given(kiva: Kiva, said: Answer, words: str) -> None:
    class Refuses:
        def get(self, _path: str, **_more: Any) -> Answer:
            return said

    there: Any = Refuses()
    with pytest.raises(mirror.NotGiven, match=words) as refused:
        mirror.loans(there, kiva, TOKEN)
    assert refused.value.answer is said


@pytest.mark.parametrize("spoiled", [answer(404), answer(200, []), answer(200, {"themes": {}}), answer(200, {})])
def test_kivas_four_lists(kiva: Kiva, spoiled: Answer) -> None:
    class There:
        spoil = False

        def get(self, path: str, *, token: str) -> Answer:
            assert token == "t"
            kind = path.removeprefix("/v3/partner/123/config/")
            return spoiled if self.spoil and kind == "themes" else answer(200, {kind: [{"id": 1}, "odd"]})

    there: Any = There()
    assert mirror.lists(there, kiva, TOKEN) == {
        kind: [{"id": 1}] for kind in ("activities", "locales", "locations", "themes")
    }
    there.spoil = True
    with pytest.raises(mirror.NotGiven, match="config/themes"):
        mirror.lists(there, kiva, TOKEN)
