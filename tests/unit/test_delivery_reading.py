"""How Kiva's answers are read: bytes into an answer, pages into a list. No server: the transport is played."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpcore
import pytest

from kiva_relay.config import loader
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import client, document, mirror, wire
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.document import NotUnderstood
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


class Played(httpcore.ConnectionPool):
    """Answers by itself."""

    def __init__(self, handler: Callable[[httpcore.Request], httpcore.Response]) -> None:
        super().__init__()
        self._handler = handler

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        return self._handler(request)


def exchanged(handler: Callable[[httpcore.Request], httpcore.Response]) -> Answer:
    return client._exchange(Played(handler), httpcore.Request("POST", "http://kiva/x", content=b"{}"))


def test_an_answer_that_was_read_whole() -> None:
    found = exchanged(lambda _request: httpcore.Response(422, headers={"Retry-After": "5"}, content=b'{"a":1}'))
    assert (found.status, found.read_whole, found.error) == (422, True, None)
    assert document.read(found) == {"a": 1}
    assert found.headers["retry-after"] == "5"
    assert found.body_complete is False, "the played transport has no trace"


def test_a_header_that_came_twice_is_a_list_and_its_name_is_small() -> None:
    headers = [(b"Retry-After", b"5"), (b"X-\xe9", b"\xff"), (b"RETRY-AFTER", b"6")]
    found = exchanged(lambda _request: httpcore.Response(429, headers=headers))
    assert found.headers == {"retry-after": "5, 6", "x-\u00e9": "\u00ff"}


@pytest.mark.parametrize(
    "error",
    [httpcore.ConnectError("refused"), httpcore.ReadTimeout("slow"), OSError("gone"), RuntimeError("whatever it was")],
)
def test_no_answer_at_all(error: Exception) -> None:
    def fails(_request: httpcore.Request) -> httpcore.Response:
        raise error

    found = exchanged(fails)
    assert (found.status, found.content, found.read_whole) == (None, b"", False)
    assert found.error == f"{type(error).__name__}: {error}"
    assert found.words == found.error
    assert isinstance(document.read(found), NotUnderstood)


class _Cut:
    def __iter__(self) -> Iterator[bytes]:
        yield b'{"loan_draft_uuid":'
        raise httpcore.ReadError("reset")


class _Endless:
    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b" " * 1_000_000


def test_an_answer_that_was_cut_is_not_understood() -> None:
    found = exchanged(lambda _request: httpcore.Response(200, content=_Cut()))
    assert (found.status, found.read_whole) == (200, False)
    assert found.error == "ReadError: reset"
    assert isinstance(document.read(found), NotUnderstood)


def test_an_answer_without_end_is_cut() -> None:
    found = exchanged(lambda _request: httpcore.Response(200, content=_Endless()))
    assert (found.status, found.read_whole, len(found.content)) == (200, False, 4_000_000)


def coded(content: bytes, coding: str) -> Answer:
    return exchanged(
        lambda _request: httpcore.Response(200, headers={"Content-Encoding": coding}, content=_Plain(content))
    )


class _Plain:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content


SAID = b'{"a":1}'


@pytest.mark.parametrize(
    ("content", "coding"),
    [
        (SAID, ""),
        (SAID, "identity"),
        (gzip.compress(SAID, mtime=0), "gzip"),
        (gzip.compress(SAID, mtime=0), "x-gzip, identity"),
        (gzip.compress(SAID, mtime=0), "GZIP"),
        (zlib.compress(SAID), "deflate"),
        (zlib.compress(SAID, wbits=-15), "deflate"),
    ],
)
def test_one_layer_is_undone_though_none_was_asked_for(content: bytes, coding: str) -> None:
    assert document.read(coded(content, coding)) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "coding"),
    [
        (gzip.compress(gzip.compress(SAID, mtime=0), mtime=0), "gzip, gzip"),
        (SAID, "br"),
        (SAID, "zstd"),
        (SAID, "gzip"),
        (gzip.compress(SAID, mtime=0)[:-3], "gzip"),
        (gzip.compress(SAID, mtime=0) + b"x", "gzip"),
        (gzip.compress(b" " * 4_000_001, mtime=0), "gzip"),
    ],
)
def test_more_is_not_understood(content: bytes, coding: str) -> None:
    found = coded(content, coding)
    assert (found.status, found.read_whole, found.content) == (200, False, b"")
    assert isinstance(document.read(found), NotUnderstood)


def test_five_kilobytes_do_not_become_gigabytes() -> None:
    """gzip of gzip of 1.8 GB of blanks: the bound counted after decoding."""
    once = gzip.compress(b" " * 30_000_000, mtime=0)
    bomb = gzip.compress(once, mtime=0)
    tracemalloc.start()
    for coding in ("gzip, gzip", "gzip"):
        coded(bomb, coding)
    coded(once, "gzip")
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a":1}', '{"a":1}'),
        (b"<html>", "<html>"),
        (b"", ""),
        (b" \xff\0 ", "\N{REPLACEMENT CHARACTER}" * 2),
        (b"x" * 3_000, "x" * 2_000),
    ],
)
def test_what_a_body_says(content: bytes, words: str) -> None:
    assert Answer(200, {}, content, body_complete=True, read_whole=True).words == words


def test_only_what_left_for_kiva_counts() -> None:
    """A proxy's CONNECT is a request of its own, and not a byte of ours."""
    evidence = wire.Evidence()
    requests = {method: httpcore.Request(method, "http://kiva/x") for method in ("CONNECT", "POST")}
    seen = []
    for event, method in (
        ("http11.send_request_headers.started", "CONNECT"),
        ("http11.send_request_body.started", "CONNECT"),
        ("http11.send_request_body.complete", ""),
        ("http11.receive_response_headers.complete", ""),
        ("http11.send_request_headers.started", "POST"),
        ("http11.send_request_headers.complete", ""),
        ("http11.send_request_body.complete", ""),
        ("http11.receive_response_headers.started", "POST"),
    ):
        evidence(event, {"request": requests[method]} if method else {"return_value": None})
        seen.append(evidence.body_complete)
    assert seen == [False] * 6 + [True] * 2


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


def listing(kiva: Kiva, lists: Any, *, others: mirror.Others = lambda page: page) -> mirror.KivaListing:
    return mirror.loans(mirror.once(lists, kiva, TOKEN), others=others)


def loans(kiva: Kiva, lists: Any) -> list[MirroredLoan]:
    found = listing(kiva, lists)
    assert not found.unreadable
    return list(found.others)


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
    lists = Lists(issue=[said, {"kivaId": 8, "status": "reviewed"}])
    lists.total = "totalRecords"
    assert loans(kiva, lists) == [
        MirroredLoan("u", "7", "c", "issue", "10.5", "XOF", uuid="u"),
        MirroredLoan("8", "", "", "reviewed", None, None),
    ]


def test_a_loan_that_moves_on_is_met_once_or_twice_never_not_at_all(kiva: Kiva) -> None:
    lists = Lists(issue=[row(1)], raised=[row(2)])
    statuses = len(mirror.STATUSES)
    lists.moves[statuses + 1] = lambda all_: all_["issue"].append(row(3))
    assert sorted(loan.loan_id for loan in loans(kiva, lists)) == ["L1", "L2", "L3"]


def test_of_what_is_known_just_so_no_loan_is_kept(kiva: Kiva) -> None:
    """Of 100,000 loans a reading held 72 MB, to find that none of them had changed."""
    asked: list[int] = []

    def others(page: Sequence[MirroredLoan]) -> list[MirroredLoan]:
        asked.append(len(page))
        return [loan for loan in page if loan.loan_id in {"L3", "L7"}]

    lists = Lists(payingBack=[row(number) for number in range(1, 402)], ended=[row(3)])
    found = listing(kiva, lists, others=others)
    assert set(found.listed) == {str(number) for number in range(1, 402)}
    assert [(loan.loan_id, loan.status) for loan in found.others] == [("L3", "ended"), ("L7", "payingBack")]
    assert [number for number in asked if number] == [300, 101, 1]


def test_a_loan_that_moved_on_to_what_is_known_of_it_is_no_other(kiva: Kiva) -> None:
    """While it moves it may be met twice: it stands where it was met last."""

    def others(page: Sequence[MirroredLoan]) -> list[MirroredLoan]:
        return [loan for loan in page if loan.status != "ended"]

    assert list(listing(kiva, Lists(payingBack=[row(3)], ended=[row(3)]), others=others).others) == []


def test_a_reading_takes_little_room_a_loan(kiva: Kiva) -> None:
    rows = [
        row(number) | {"uuid": f"{number:032}", "internal_client_id": f"c{number}", "loan_local_price": 500000}
        for number in range(3_000)
    ]
    lists = Lists(payingBack=rows)
    tracemalloc.start()
    try:
        found = listing(kiva, lists)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.listed) == len(rows)
    assert kept / len(rows) < 400, "bytes, all of a loan included"


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
        (answer(200, []), "the list of loans was not given: status 200, which is not understood"),
        (Answer(None, {}, b"", body_complete=True, read_whole=False, error="ReadTimeout"), "not given: ReadTimeout"),
        (answer(200, {"data": [None]}), "total_records is no number"),
        (answer(200, {"total_records": 1, "data": {"kiva_id": 1}}), "data is no list"),
        (answer(200, {"total_records": 1, "data": 5}), "data is no list"),
    ],
)
def test_a_list_that_is_not_given(kiva: Kiva, said: Answer, words: str) -> None:
    class Refuses:
        def get(self, _path: str, **_more: Any) -> Answer:
            return said

    with pytest.raises(mirror.NotGiven, match=words) as refused:
        listing(kiva, Refuses())
    assert refused.value.answer is said


def test_an_item_that_cannot_be_read_is_named_and_the_others_serve(kiva: Kiva) -> None:
    odd: list[Any] = [None, {"kiva_id": 9, "internal_loan_id": {}}, {"kiva_id": 9, "internal_loan_id": []}]
    found = listing(kiva, Lists(issue=[row(1), odd[0]], raised=[odd[1], row(2)]))
    assert [loan.loan_id for loan in found.others] == ["L1", "L2"]
    assert found.unreadable == ("an item that is no object", "kiva_id 9")


def test_loans_without_an_id_count_by_their_uuid(kiva: Kiva) -> None:
    """Rows with a Kiva id of "" or 0 counted as one, so the list was never complete."""
    rows = [
        {"kiva_id": none, "uuid": f"u{number}", "internal_loan_id": none} for number, none in enumerate(["", 0, None])
    ]
    assert sorted(loan.kiva_id for loan in loans(kiva, Lists(issue=[*rows, row(1)]))) == ["1", "u0", "u1", "u2"]


def test_a_loan_that_has_only_its_loan_id_serves(kiva: Kiva) -> None:
    assert loans(kiva, Lists(issue=[{"internal_loan_id": "L1"}, {"internal_loan_id": "L2"}])) == [
        MirroredLoan("loan L1", "L1", "", "issue"),
        MirroredLoan("loan L2", "L2", "", "issue"),
    ]


def test_a_key_that_is_called_something_else_everywhere_proves_no_absence(kiva: Kiva) -> None:
    renamed = [{"kiva_id": number, "internal_number": f"L{number}"} for number in (1, 2)]
    assert listing(kiva, Lists(issue=renamed)).unreadable == ("kiva_id 1", "kiva_id 2")
    assert listing(kiva, Lists(issue=[*renamed, row(3)])).unreadable == (), "Kiva leaves out what is null"


def test_what_was_read_of_a_list_whose_totals_do_not_agree_is_kept(kiva: Kiva) -> None:
    class Wrong(Lists):
        def get(self, path: str, *, token: str, params: dict[str, Any]) -> Answer:
            said = json.loads(super().get(path, token=token, params=params).content)
            return answer(200, said | {"total_records": 3})

    lists = Wrong(issue=[row(1)])
    with pytest.raises(mirror.Incomplete) as incomplete:
        listing(kiva, lists)
    assert [loan.loan_id for loan in incomplete.value.listing.others] == ["L1"]


def test_a_server_that_gives_the_same_page_for_ever_is_not_asked_for_ever(kiva: Kiva) -> None:
    class Same(Lists):
        def get(self, path: str, *, token: str, params: dict[str, Any]) -> Answer:
            self.asked.append(params)
            return answer(200, {"total_records": 10**12, "data": [row(1)]})

    lists = Same()
    with pytest.raises(mirror.Incomplete):
        listing(kiva, lists)
    assert len(lists.asked) <= 5 * 3 * len(mirror.STATUSES)


@pytest.mark.parametrize("spoiled", [answer(404), answer(200, []), answer(200, {"themes": {}}), answer(200, {})])
def test_one_of_kivas_lists(kiva: Kiva, spoiled: Answer) -> None:
    class There:
        spoil = False

        def get(self, path: str, *, token: str, params: None) -> Answer:
            assert (path, token) == ("/v3/partner/123/config/themes", "t")
            return spoiled if self.spoil else answer(200, {"themes": [{"theme_type_id": 1, "theme_type": "G"}, "odd"]})

    there: Any = There()
    found = mirror.one_list(mirror.once(there, kiva, TOKEN), "themes")
    assert (found.items, found.left_out) == (({"theme_type_id": 1, "theme_type": "G"},), 1)
    there.spoil = True
    with pytest.raises(mirror.NotGiven, match="config/themes"):
        mirror.one_list(mirror.once(there, kiva, TOKEN), "themes")


class OneRefused(Lists):
    """Kiva refuses one status, in its pages or only in its count."""

    status, said = "inactive_expired", 404
    limits: tuple[int, ...] = (1, 300)

    def get(self, path: str, *, token: str, params: dict[str, Any]) -> Answer:
        found = super().get(path, token=token, params=params)
        refuses = params["status"] == self.status and params["limit"] in self.limits
        return answer(self.said, {"code": "no"}) if refuses else found


@pytest.mark.parametrize("said", [400, 403, 404, 410, 422])
@pytest.mark.parametrize("status", [mirror.STATUSES[0], "payingBack", mirror.STATUSES[-1]])
@pytest.mark.parametrize("limits", [(1, 300), (1,)])
def test_a_status_that_kiva_refuses_costs_that_status_only(
    kiva: Kiva, status: str, said: int, limits: tuple[int, ...]
) -> None:
    """It held everything: loans, positions and notes, for a word that Kiva no longer knows."""
    lists = OneRefused(issue=[row(1)], raised=[row(2)])
    lists.status, lists.said, lists.limits = status, said, limits
    with pytest.raises(mirror.Incomplete, match=rf"not given: status {said} for {status}") as incomplete:
        listing(kiva, lists)
    assert sorted(loan.loan_id for loan in incomplete.value.listing.others) == ["L1", "L2"]


@pytest.mark.parametrize("said", [400, 401, 403, 404])
def test_who_is_refused_twice_at_once_is_refused_himself(kiva: Kiva, said: int) -> None:
    class Refuses:
        asked = 0

        def get(self, _path: str, **_more: Any) -> Answer:
            self.asked += 1
            return answer(said, {"code": "no"})

    refuses = Refuses()
    with pytest.raises(mirror.NotGiven):
        listing(kiva, refuses)
    assert refuses.asked <= 2


def test_an_outage_in_the_middle_of_the_list_is_no_refusal(kiva: Kiva) -> None:
    lists = OneRefused(issue=[row(1)])
    lists.said = 503
    with pytest.raises(mirror.NotGiven):
        listing(kiva, lists)
