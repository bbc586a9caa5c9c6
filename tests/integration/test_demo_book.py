from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from PIL import Image

from testbed.institution import fineract, remark
from testbed.institution.branch import BRANCHES, KIVA_FUND, PURPOSES
from testbed.institution.fineract import Status
from testbed.judge import expected
from testbed.rig.small_book import CUTOFF, DERIVED_IS_WRONG, TODAY, fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testbed.database import postgres
    from testbed.judge.expected import Expected


@pytest.fixture(scope="module")
def mis(
    postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[psycopg.Connection]:
    url = postgres_server.create_database("demo_book")
    fill(url, tmp_path_factory.mktemp("photos"), clients=1200)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def what_is_owed(mis: psycopg.Connection) -> Expected:
    return expected.expected(mis, fund_id=KIVA_FUND, cutoff=CUTOFF, today=TODAY)


def all_of(mis: psycopg.Connection, query: str) -> list[tuple[Any, ...]]:
    return mis.execute(query.encode()).fetchall()


def test_sums_follow_from_transactions_and_schedules(mis: psycopg.Connection) -> None:
    assert all_of(mis, DERIVED_IS_WRONG) == []


def test_every_kind_of_loan_and_every_status_is_there(mis: psycopg.Connection) -> None:
    assert {row[0] for row in all_of(mis, "SELECT DISTINCT loan_status_id FROM m_loan")} == set(Status)
    shapes = "SELECT DISTINCT loan_type_enum, client_id IS NULL, group_id IS NULL, glim_id IS NULL FROM m_loan"
    assert sorted(all_of(mis, shapes)) == [
        (1, False, True, True),
        (2, True, False, True),
        (3, False, False, True),
        (4, False, False, False),
    ]


def test_the_traps_of_transactions_are_there(mis: psycopg.Connection) -> None:
    kinds = {row[0] for row in all_of(mis, "SELECT DISTINCT transaction_type_enum FROM m_loan_transaction")}
    assert {1, 2, 6, 10, 21} <= kinds
    reversals = "SELECT DISTINCT manually_adjusted_or_reversed FROM m_loan_transaction WHERE is_reversed"
    assert {row[0] for row in all_of(mis, reversals)} == {True, False}


def test_nothing_happened_after_today(mis: psycopg.Connection) -> None:
    money = "SELECT max(transaction_date), max(created_on_utc) FROM m_loan_transaction"
    day, created = all_of(mis, money)[0]
    modified = all_of(mis, "SELECT max(last_modified_on_utc) FROM m_loan")[0][0]
    assert day < TODAY
    assert created.date() < TODAY
    assert modified.date() < TODAY


def test_names_are_in_the_scripts_of_their_places(mis: psycopg.Connection) -> None:
    letters = {
        letter for (name,) in all_of(mis, "SELECT display_name FROM m_client") for letter in name if letter.isalpha()
    }
    scripts = {unicodedata.name(letter).split()[0] for letter in letters}
    assert {"LATIN", "ARABIC", "CYRILLIC", "GEORGIAN", "KHMER", "CJK"} <= scripts
    assert all(unicodedata.is_normalized("NFC", letter) for letter in letters)


def test_some_borrowers_have_one_text_for_a_name(mis: psycopg.Connection) -> None:
    query = "SELECT count(*), bool_and(fullname IS NOT NULL AND lastname IS NULL) FROM m_client WHERE firstname IS NULL"
    ((count, in_one_text),) = all_of(mis, query)
    assert count > 0
    assert in_one_text


def test_photos_are_pictures_where_the_database_says(mis: psycopg.Connection) -> None:
    locations = [row[0] for row in all_of(mis, "SELECT location FROM m_image")]
    assert len(locations) > 100
    for location in locations[:20]:
        with Image.open(location) as picture:
            assert picture.format == "JPEG"
        assert Path(location).stat().st_size < 10_000


def test_ids_go_on_after_the_loaded_ones(mis: psycopg.Connection) -> None:
    with mis.transaction(force_rollback=True):
        inserted = mis.execute("INSERT INTO m_fund (name) VALUES ('another') RETURNING id").fetchone()
    assert inserted == (4,)


def test_the_same_seed_makes_the_same_book(postgres_server: postgres.PostgresServer, tmp_path: Path) -> None:
    seen = []
    for name in ("demo_once", "demo_twice"):
        url = postgres_server.create_database(name)
        fill(url, tmp_path / "photos", clients=60)
        with psycopg.connect(url) as connection:
            tables = ("m_client", "m_loan", "m_loan_repayment_schedule", "m_loan_transaction", "m_note", "m_image")
            seen.append([all_of(connection, f"SELECT * FROM {table} ORDER BY id") for table in tables])
    assert seen[0] == seen[1]


def test_positions_of_today_are_what_fineract_itself_derives(mis: psycopg.Connection) -> None:
    today = expected.expected(mis, fund_id=KIVA_FUND, cutoff=TODAY, today=TODAY)
    derived = f"""
        SELECT coalesce(g.account_number, l.account_no), sum({fineract.REPAID}), sum(principal_disbursed_derived)
        FROM m_loan l LEFT JOIN glim_accounts g ON g.id = l.glim_id
        WHERE l.fund_id = 2 AND l.disbursedon_date IS NOT NULL GROUP BY 1
    """
    assert {(p.identity, p.repaid, p.principal) for p in today.positions.values()} == set(all_of(mis, derived))


def test_the_cutoff_makes_a_difference(mis: psycopg.Connection, what_is_owed: Expected) -> None:
    today = expected.expected(mis, fund_id=KIVA_FUND, cutoff=TODAY, today=TODAY)
    moved = [i for i, position in today.positions.items() if what_is_owed.positions[i].repaid != position.repaid]
    assert moved


def test_drafts_add_up(what_is_owed: Expected) -> None:
    assert {draft.kind for draft in what_is_owed.drafts.values()} == {1, 2, 3, 4}
    for draft in what_is_owed.drafts.values():
        assert draft.schedule_principal == draft.principal
        assert draft.borrowers
        assert draft.kind in {1, 3} or not draft.complete or len(draft.borrowers) >= 5
        if draft.kind != 2:
            assert sum(borrower.amount or 0 for borrower in draft.borrowers) == draft.principal
    assert any(draft.publishable for draft in what_is_owed.drafts.values())
    assert {draft.office for draft in what_is_owed.drafts.values()} == {branch.name for branch in BRANCHES}
    assert {draft.purpose for draft in what_is_owed.drafts.values()} <= {*PURPOSES, None}


def test_internal_remarks_are_not_among_the_notes_for_kiva(mis: psycopg.Connection, what_is_owed: Expected) -> None:
    assert what_is_owed.notes
    assert what_is_owed.internal_notes
    everything = [row[0] for row in all_of(mis, "SELECT note FROM m_note")]
    for private in remark.PRIVATE:
        assert private in everything
        assert not private.startswith(remark.MARK)
        assert private not in {note.body for note in what_is_owed.notes.values()}
