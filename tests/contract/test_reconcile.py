"""MIS, outbox and Kiva compared: a book with planted differences, on a file and on PostgreSQL."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from kiva_relay.account import reconciling
from kiva_relay.account.reconcile import DiscrepancyKind as Kind
from kiva_relay.outbox import act, decision, discrepancy
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.discrepancy import KeptDiscrepancy
from testbed.rig import capturing, reconciled_book
from testbed.rig.outboxes import NOW
from testbed.rig.reconciled_book import BookLoan

SETTINGS = capturing.settings()
EACH = 5
_RETYPED = ("KV/{0}", "{0}", " {0} ", "kv-{0}", "L {0}")


def compared(outbox: Outbox, *, days: float = 0) -> list[KeptDiscrepancy]:
    """What is found now, of which nobody said that nothing is to be done."""
    assert reconciling.run(outbox, SETTINGS, now=NOW + timedelta(days=days)) is not None
    with outbox.read() as tx:
        return discrepancy.every(tx, besides_seen=True)


def planted(book: list[BookLoan]) -> dict[tuple[Kind, str], str | None]:  # noqa: PLR0915 - some lines a kind
    """Plant five differences of each of twelve kinds; kind and loan at Kiva (else ours) → the MIS's loan, if clear."""
    ours = iter([one for one in book if one.draft is not None and one.kiva and one.kiva.status == "payingBack"])
    others = iter([one for one in book if one.draft is None and one.kiva and one.kiva.status == "payingBack"])
    ended = iter([one for one in book if one.kiva and one.kiva.status == "ended"])
    wanted: dict[tuple[Kind, str], str | None] = {}

    def plant(kind: Kind, one: BookLoan, *, suggested: str | None = None) -> None:
        wanted[kind, one.kiva.kiva_id if one.kiva else (one.draft or {})["loan_id"]] = suggested

    for place in range(EACH):
        one = next(ours)  # typed twice: Kiva has a second loan under the same id, with a blank behind it
        assert one.kiva is not None
        book.append(
            BookLoan(replace(one.kiva, kiva_id=f"{one.kiva.kiva_id}b", loan_id=f"{one.kiva.loan_id} "), None, None)
        )
        plant(Kind.TWICE, one)
        one = next(others)  # typed by hand in another way; three of five can be told, for one amount is another
        assert one.kiva is not None
        its = one.kiva.loan_id
        clear = place < EACH - 1
        client = one.kiva.client_id if place % 2 else ""
        one.at_kiva(loan_id=_RETYPED[place].format(its.lstrip("0")), client_id=client)
        one.in_mis(loan_id=its)
        if not clear:
            one.at_kiva(amount="77777")
        plant(Kind.UNKNOWN_HERE, one, suggested=its if clear else None)
        one = next(ours)  # posted long ago, and never listed
        one.of_ours(publish_by=(NOW - timedelta(days=9 + place)).date())
        one.kiva = None
        plant(Kind.NEVER_SEEN, one)
        one = next(ours)  # adopted once, so that Kiva had it, and has it no more
        one.of_ours(evidence="adopted")
        one.kiva = None
        plant(Kind.NO_LONGER_LISTED, one)
        one = next(ours)
        one.in_mis(in_scope=False, gone=True)
        plant(Kind.GONE_HERE, one)
        one = next(others)
        one.in_mis(in_scope=False, gone=False)
        plant(Kind.OUT_OF_SCOPE_HERE, one)
        one = next(ours)
        one.at_kiva(amount="99999.50")
        plant(Kind.OTHER_AMOUNT, one)
        one = next(ours)
        one.at_kiva(currency="USD")
        plant(Kind.OTHER_CURRENCY, one)
        one = next(others)
        one.at_kiva(client_id="C999999")
        plant(Kind.OTHER_CLIENT, one)
        one = next(others)
        one.in_mis(written_off="50000")
        plant(Kind.WRITTEN_OFF_HERE, one)
        one = next(ours)
        assert one.row is not None
        one.in_mis(repaid=one.row["lent"])
        one.told = place % 2 == 0
        if one.told:
            one.in_mis(captured_at=NOW)  # looked at again since
        plant(Kind.PAID_OFF_HERE, one)
        one = next(ended)
        one.in_mis(repaid="40000")
        plant(Kind.ENDED_THERE, one)
    return wanted


def innocent(book: list[BookLoan]) -> None:
    """What looks odd and is not: nothing of it may be found."""
    ours = iter([one for one in book if one.draft is not None and one.kiva and one.kiva.status == "payingBack"])
    fresh, deleted, young, raised, tranche, posted, hand = (next(ours) for _ in range(7))
    fresh.kiva = None  # a draft that nobody has published yet
    fresh.of_ours(publish_by=(NOW + timedelta(days=9)).date())
    deleted.kiva = None  # a person said that it is dealt with
    deleted.of_ours(publish_by=(NOW - timedelta(days=90)).date(), done_at=NOW)
    assert young.row is not None
    young.in_mis(repaid=young.row["lent"], captured_at=NOW)  # paid off since the last report
    raised.at_kiva(client_id=raised.kiva.client_id.lower() if raised.kiva else "")  # the same but for its case
    assert tranche.row is not None
    tranche.in_mis(lent="50000")  # the first of two tranches; what was posted is what Kiva has
    posted.at_kiva(status="expired", amount="1")  # over in vain: it may be posted once more
    hand.of_ours(client_id="")
    old = (
        BookLoan(replace(hand.kiva, kiva_id="old1", loan_id="ANCIENT-1", status="ended"), None, None)
        if hand.kiva
        else None
    )
    assert old is not None
    book.append(old)  # of years before the MIS


def check_the_book(outbox: Outbox, number: int) -> None:
    book = list(reconciled_book.loans(number))
    without, rest = book[: number // 2], book[number // 2 :]
    innocent(without)
    wanted = planted(rest)
    reconciled_book.write(outbox, [*without, *rest])
    found = compared(outbox)
    assert Counter((one.kind, one.kiva_id or one.loan_id) for one in found) == Counter(
        (kind.value, subject) for kind, subject in wanted
    )
    assert len(wanted) == 12 * EACH

    suggested = {one.kiva_id: one.suggested for one in found if one.kind == Kind.UNKNOWN_HERE}
    assert suggested == {subject: right for (kind, subject), right in wanted.items() if kind is Kind.UNKNOWN_HERE}
    with outbox.begin() as tx:
        for one in found:
            if one.suggested is not None:
                reconciling.accept(tx, one, by="awa", note="compared in PA2", now=NOW)
    left = compared(outbox, days=1)
    assert {one.id for one in left} == {one.id for one in found if one.suggested is None}
    with outbox.read() as tx:
        assert {each.person for each in act.latest(tx, most=9)} == {"awa"}
        assert len(decision.for_life(tx)) == EACH - 1
    with outbox.begin() as tx:
        for one in left:
            discrepancy.seen(tx, one, by="awa", note="told the branch", now=NOW)
    assert compared(outbox, days=2) == [], "what a person has seen counts no more until it changes"


def test_differences_of_every_kind_are_found_and_none_is_invented(outbox: Outbox) -> None:
    check_the_book(outbox, 700)


@pytest.mark.long
def test_a_book_of_five_thousand(outbox: Outbox) -> None:
    check_the_book(outbox, 5_000)


def test_what_differs_in_a_part_is_written_at_once(outbox: Outbox) -> None:
    """One INSERT a difference took more than a minute where Kiva lists nothing of a large book."""
    found = [discrepancy.FoundApart("not_listed", f"entry:{n}", "", f"{n:09}", None, {"n": "1"}) for n in range(20)]
    asked: list[str] = []
    sa.event.listen(outbox.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    for params, run in (({"n": "1"}, "a"), ({"n": "2"}, "b")):
        with outbox.begin() as tx:
            discrepancy.keep(tx, [replace(one, params=params) for one in found], run=run, now=NOW)
    with outbox.read() as tx:
        kept = discrepancy.every(tx)
    assert [(one.loan_id, one.params, one.found_by) for one in kept] == [
        (one.loan_id, {"n": "2"}, "b") for one in found
    ]
    assert [text.split()[0] for text in asked if text.startswith(("INSERT", "UPDATE discrepancy"))] == [
        "INSERT",
        "UPDATE",
    ]
