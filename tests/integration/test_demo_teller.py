from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from testbed.institution import till
from testbed.institution.branch import KIVA_FUND
from testbed.institution.fineract import Status
from testbed.institution.loan import Stamp
from testbed.institution.teller import Action, Teller
from testbed.judge import expected
from testbed.rig.small_book import CUTOFF, DERIVED_IS_WRONG, TODAY, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testbed.database import postgres

NUMBERS = itertools.count(1)
NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)


class Noon:
    """A clock that stands."""

    def now(self) -> datetime:
        return NOON

    def monotonic(self) -> float:
        return 0.0

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(0)


@pytest.fixture(scope="module")
def template(postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    fill(postgres_server.create_database("demo_teller"), tmp_path_factory.mktemp("photos"))
    return "demo_teller"


@pytest.fixture
def mis(postgres_server: postgres.PostgresServer, template: str) -> Iterator[psycopg.Connection]:
    url = postgres_server.create_database(f"mis_{next(NUMBERS)}", template)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def teller(mis: psycopg.Connection, tmp_path: Path) -> Teller:
    return Teller(mis, Random(7), today=TODAY, photos=tmp_path, clock=Noon(), kiva_share=1)


def rows(mis: psycopg.Connection, query: str, **asked: Any) -> list[dict[str, Any]]:
    with mis.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), asked).fetchall()


def loan_of(mis: psycopg.Connection, act: Action) -> dict[str, Any]:
    return rows(mis, "SELECT * FROM m_loan WHERE id = %(id)s", id=act.loans[0])[0]


def done(act: Action | None) -> Action:
    assert act is not None
    return act


@contextmanager
def all_rows_hold(mis: psycopg.Connection) -> Iterator[None]:
    yield
    assert rows(mis, DERIVED_IS_WRONG) == []


@pytest.mark.parametrize("kind", ["individual", "jlg", "group", "glim"])
def test_a_granted_loan_is_owed_at_once(mis: psycopg.Connection, teller: Teller, kind: str) -> None:
    grant: Callable[[], Action | None] = getattr(teller, f"grant_{kind}")
    with all_rows_hold(mis):
        act = done(grant())
    draft = expected.expected(mis, fund_id=KIVA_FUND, cutoff=CUTOFF, today=TODAY).drafts[act.identity]
    assert draft.created_at == NOON
    assert draft.schedule_principal == draft.principal
    if kind in {"individual", "jlg"}:
        assert [borrower.loan_no for borrower in draft.borrowers] == [act.identity]
    elif kind == "glim" and draft.complete:
        assert [b.loan_no for b in draft.borrowers] == [f"{act.identity}{n}" for n in range(1, len(act.loans) + 1)]


def test_a_passing_number_is_never_committed(mis: psycopg.Connection, teller: Teller) -> None:
    act = done(teller.grant_individual())
    assert loan_of(mis, act)["account_no"] == act.identity == f"{act.loans[0]:09}"


def test_disbursal_on_another_day_makes_the_schedule_anew(mis: psycopg.Connection, teller: Teller) -> None:
    ids = "SELECT array_agg(id) AS ids, min(fromdate) AS start FROM m_loan_repayment_schedule WHERE loan_id = %(id)s"
    before = {row["id"]: row for row in rows(mis, "SELECT * FROM m_loan WHERE loan_status_id = 200")}
    old = {key: rows(mis, ids, id=key)[0] for key in before}
    moved = 0
    while (act := teller.disburse()) is not None:
        for key in act.loans:
            (row,) = rows(mis, "SELECT * FROM m_loan WHERE id = %(id)s", id=key)
            (new,) = rows(mis, ids, id=key)
            assert row["loan_status_id"] == Status.ACTIVE
            assert row["version"] == before[key]["version"] + 1
            assert new["start"] == row["disbursedon_date"]
            if row["disbursedon_date"] != before[key]["expected_disbursedon_date"]:
                assert not set(new["ids"]) & set(old[key]["ids"])
                assert len(new["ids"]) == len(old[key]["ids"])
                moved += 1
    assert moved
    assert rows(mis, DERIVED_IS_WRONG) == []


def test_a_rejected_loan_leaves_the_scope(mis: psycopg.Connection, teller: Teller) -> None:
    act = done(teller.reject())
    assert loan_of(mis, act)["loan_status_id"] == Status.REJECTED
    assert act.identity not in expected.expected(mis, fund_id=KIVA_FUND, cutoff=CUTOFF, today=TODAY).drafts


def test_a_reversal_changes_the_row_itself(mis: psycopg.Connection, teller: Teller) -> None:
    count = "SELECT count(*) AS n FROM m_loan_transaction WHERE loan_id = %(id)s AND manually_adjusted_or_reversed"
    act = done(teller.reverse())
    (row,) = rows(mis, "SELECT * FROM m_loan_transaction WHERE id = %(id)s", id=int(act.detail))
    assert row["is_reversed"]
    assert row["reversed_on_date"] == TODAY
    assert row["last_modified_on_utc"] == NOON
    assert row["created_on_utc"] < NOON
    assert row["principal_portion_derived"] or row["interest_portion_derived"]
    assert rows(mis, count, id=act.loans[0])[0]["n"] >= 1
    assert rows(mis, DERIVED_IS_WRONG) == []


def test_reversing_what_closed_a_loan_opens_it_again(mis: psycopg.Connection) -> None:
    closed = """
        SELECT l.id, max(t.id) AS last FROM m_loan l JOIN m_loan_transaction t ON t.loan_id = l.id
        WHERE l.loan_status_id = 600 AND t.transaction_type_enum = 2 AND NOT t.is_reversed GROUP BY 1 LIMIT 1
    """
    (found,) = rows(mis, closed)
    with mis.transaction():
        till.reverse(mis, found["id"], found["last"], today=TODAY, stamp=Stamp(2, NOON))
    (row,) = rows(mis, "SELECT * FROM m_loan WHERE id = %(id)s", id=found["id"])
    assert (row["loan_status_id"], row["closedon_date"]) == (Status.ACTIVE, None)
    assert row["principal_outstanding_derived"] + row["interest_outstanding_derived"] > 0


def test_a_late_entry_replays_what_follows_and_moves_external_ids(mis: psycopg.Connection) -> None:
    with_three = """
        SELECT loan_id, array_agg(id ORDER BY transaction_date, id) AS ids, min(transaction_date) AS first
        FROM m_loan_transaction t WHERE transaction_type_enum = 2 AND NOT is_reversed
        AND (SELECT loan_status_id FROM m_loan WHERE id = loan_id) = 300 GROUP BY 1 HAVING count(*) >= 3 LIMIT 1
    """
    (found,) = rows(mis, with_three)
    last = found["ids"][-1]
    mis.execute("UPDATE m_loan_transaction SET external_id = 'MPESA-1' WHERE id = %s", [last])
    on = found["first"] - timedelta(days=1)
    with mis.transaction():
        amount = till.due(mis, found["loan_id"])[0]
        till.post(mis, found["loan_id"], on=on, amount=amount, today=TODAY, stamp=Stamp(2, NOON))

    (old,) = rows(mis, "SELECT * FROM m_loan_transaction WHERE id = %(id)s", id=last)
    relation = "SELECT * FROM m_loan_transaction_relation WHERE to_loan_transaction_id = %(id)s"
    (relation_row,) = rows(mis, relation, id=last)
    (new,) = rows(
        mis, "SELECT * FROM m_loan_transaction WHERE id = %(id)s", id=relation_row["from_loan_transaction_id"]
    )
    assert (old["is_reversed"], old["manually_adjusted_or_reversed"], old["external_id"]) == (True, False, None)
    assert (new["is_reversed"], new["external_id"]) == (False, "MPESA-1")
    assert (new["amount"], new["transaction_date"]) == (old["amount"], old["transaction_date"])
    assert relation_row["relation_type_enum"] == 3
    assert rows(mis, DERIVED_IS_WRONG) == []


def test_an_action_is_seen_when_the_caller_commits(
    mis: psycopg.Connection, teller: Teller, postgres_server: postgres.PostgresServer
) -> None:
    with psycopg.connect(postgres_server.url(mis.info.dbname), autocommit=True) as onlooker:
        query = "SELECT count(*) AS n FROM m_loan"
        (before,) = rows(onlooker, query)
        with mis.transaction():
            done(teller.grant_individual())
            assert rows(onlooker, query) == [before]
        assert rows(onlooker, query) == [{"n": before["n"] + 1}]


def test_another_photo_moves_no_stamp(mis: psycopg.Connection, teller: Teller) -> None:
    stamps = "SELECT max(last_modified_on_utc) AS at FROM m_client WHERE id = %(id)s"
    for _ in range(200):
        act = done(teller.change_client())
        if act.what == "photographed":
            break
    client = loan_of(mis, act)["client_id"]
    image = "SELECT i.location FROM m_image i JOIN m_client c ON c.image_id = i.id WHERE c.id = %(id)s"
    assert act.what == "photographed"
    assert str(teller.photos) in rows(mis, image, id=client)[0]["location"]
    assert rows(mis, stamps, id=client)[0]["at"] <= NOON


def test_internal_and_marked_notes_are_both_loan_notes(mis: psycopg.Connection, teller: Teller) -> None:
    marked, internal = done(teller.note_for_kiva()), done(teller.note_internally())
    notes = expected.expected(mis, fund_id=KIVA_FUND, cutoff=CUTOFF, today=TODAY).notes
    assert notes[marked.detail].identity == marked.identity
    assert internal.detail not in notes


def test_three_tellers_at_once_leave_a_book_that_adds_up(
    mis: psycopg.Connection, postgres_server: postgres.PostgresServer, tmp_path: Path
) -> None:
    url, acts, failures = postgres_server.url(mis.info.dbname), list[Action](), list[Exception]()

    def work(number: int) -> None:
        try:
            with psycopg.connect(url) as connection:
                teller = Teller(connection, Random(number), today=TODAY, photos=tmp_path)
                acts.extend(act for _ in range(80) if (act := teller.act()) is not None)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(acts) > 200
    assert rows(mis, DERIVED_IS_WRONG) == []
    parents = """
        SELECT g.id FROM glim_accounts g JOIN m_loan l ON l.glim_id = g.id GROUP BY g.id
        HAVING sum(l.principal_amount) <> g.principal_amount OR count(*) <> g.child_accounts_count
    """
    assert rows(mis, parents) == []
