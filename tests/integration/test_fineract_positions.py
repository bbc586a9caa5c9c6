"""The ready-made repayment mappings over the transaction tables of Fineract's own tests, in real databases.

Every table is loaded twice over: with the overpaid parts left out, where Fineract's tests do not tell them, and worked
out; and each as the loan of one person and as a group application's. `-s` prints which are not equal, and why.
"""

from __future__ import annotations

import dataclasses
import secrets
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from kiva_relay.config import shipped
from kiva_relay.mapping import book as books
from kiva_relay.mapping import document, mapper
from kiva_relay.mapping.lookup import Lists
from kiva_relay.mapping.mapper import Mapped
from kiva_relay.mapping.plan import Document
from kiva_relay.resource.kind import CheckFacts
from kiva_relay.source.mis import Mis
from testbed.database import mariadb_found, postgres
from testbed.institution import book, fineract, ledger, old_fineract
from testbed.institution.branch import KIVA_FUND
from testbed.institution.ledger import Ledger
from testbed.rig import engine_mis
from tests.integration import fineract_cases

TODAY = date(2026, 11, 23)
TABLES = ledger.read(Path(__file__).parents[1] / "data" / "fineract-transactions.csv")
VERSIONS = {"1.6": "fineract-1.6", "upgraded": "fineract", "1.8": "fineract"}
ENGINES = ["postgresql", *(["mariadb"] if mariadb_found.server() else [])]
EVERY_DAY = ("postgresql", "1.8")
TRIED = [
    pytest.param(each, id="-".join(each), marks=() if each == EVERY_DAY else pytest.mark.long)
    for each in ((engine, version) for engine in ENGINES for version in VERSIONS)
]

# The tables that count and are not equal: the line of Fineract's that explains each.
EXPLAINED: dict[str, str] = {}


def _told(one: Ledger) -> Ledger:
    """The table with what was overpaid worked out, as newer versions of Fineract write it at once."""
    rows, before = [], Decimal(0)
    for row in one.rows:
        overpaid = row.overpaid
        if overpaid is None and row.type in ledger.REPAY_LIKE:
            overpaid = row.amount - row.principal - row.interest - row.fees - row.penalties
        if overpaid is None and row.type in ledger.LEND and row.balance is not None:
            overpaid = row.amount - (row.balance - before)
        if overpaid is None and row.type in ledger.GIVE_BACK:
            overpaid = row.amount - row.principal - row.interest - row.fees - row.penalties
        if row.moves:
            before = row.balance or Decimal(0)
        rows.append(dataclasses.replace(row, overpaid=overpaid))
    return dataclasses.replace(one, rows=tuple(rows))


LOADED = [*TABLES, *map(_told, TABLES), *(case.ledger for case in fineract_cases.CASES)]


@dataclasses.dataclass(frozen=True)
class Institution:
    """A MIS with a loan of each kind for every table, and the mappings over it."""

    mis: Mis
    mappings: dict[str, Document]
    known: dict[tuple[str, date], dict[str, Mapped]] = dataclasses.field(default_factory=dict)

    def positions(self, name: str, *, cutoff: date = TODAY) -> dict[str, Mapped]:
        if (name, cutoff) not in self.known:
            self.known[name, cutoff] = self._positions(name, cutoff)
        return self.known[name, cutoff]

    def _positions(self, name: str, cutoff: date) -> dict[str, Mapped]:
        mapping = self.mappings[name]
        facts = CheckFacts(today=TODAY)
        context = mapper.Context(lists=Lists.of({}), today=TODAY, cutoff=cutoff, timezone="UTC", facts=facts)
        pages = books.contents(mapping.stream, self.mis, cutoff=cutoff)
        found = [mapper.apply(mapping, content, context=context) for page in pages for content in page]
        return {each.identity or "": each for each in found}


@pytest.fixture(scope="module", params=TRIED)
def institution(
    request: pytest.FixtureRequest, postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Institution]:
    engine, version = request.param
    mappings = document.load([shipped.folder("mappings") / VERSIONS[version]], parameters={"kiva_fund": KIVA_FUND})
    name = f"positions_{engine}_{version}_{secrets.token_hex(3)}".replace(".", "_")
    url = postgres_server.create_database(name)
    with psycopg.connect(url) as connection:
        fineract.create(connection)
        book.seed(connection, tmp_path_factory.mktemp("photos"), today=TODAY, clients=60)
        like = connection.execute("SELECT min(id) FROM m_loan WHERE loan_type_enum = 1").fetchone()
        assert like is not None
        ledger.load(connection, LOADED, like=like[0])
        {"1.6": old_fineract.until_1_6, "upgraded": old_fineract.upgraded}.get(version, lambda _: None)(connection)
    with engine_mis.opened(url, engine) as mis:
        yield Institution(mis, {mapping.name: mapping for mapping in mappings})


def _said(found: Mapped) -> Decimal | None:
    return None if found.body is None else found.body["amount"]


@pytest.mark.parametrize(("name", "prefix"), [("repayment", "T"), ("repayment.glim", "G")])
def test_tables_of_fineracts_own_tests(institution: Institution, name: str, prefix: str) -> None:
    positions = institution.positions(name)
    counted, different = 0, []
    for number, table in enumerate([*TABLES, *map(_told, TABLES)]):
        said = positions[f"{prefix}{number}"]
        # A table that does not say which rows were undone counts only where its balances follow from one another.
        if not table.tells_reversals and table.breaks():
            continue
        counted += 1
        if _said(said) != table.repaid:
            different.append((table, said))
    for table, said in different:
        words = [f"{table.name}: {_said(said)} {said.refusals}, expected {table.repaid}", *map(str, table.rows)]
        sys.stdout.write("\n  ".join([*words, f"because: {EXPLAINED.get(table.name, '?')}"]) + "\n")
    assert counted > 2 * 400
    assert {table.name for table, _ in different} == set(EXPLAINED)
    assert len(different) <= counted * 2 // 100


@pytest.mark.parametrize(("name", "prefix"), [("repayment", "T"), ("repayment.glim", "G")])
def test_a_table_that_does_not_add_up_is_shown_to_a_person(institution: Institution, name: str, prefix: str) -> None:
    positions = institution.positions(name)
    broken = [number for number, table in enumerate(TABLES) if not table.tells_reversals and table.breaks()]
    assert broken
    for number in broken:
        said = positions[f"{prefix}{number}"]
        # What a charge-off followed cannot be compared: its balance is none.
        told = said.body is None or any(row.type == 27 for row in TABLES[number].rows)
        assert told or _said(said) == TABLES[number].repaid, TABLES[number].name


@pytest.mark.parametrize(("name", "prefix"), [("repayment", "T"), ("repayment.glim", "G")])
@pytest.mark.parametrize("case", fineract_cases.CASES, ids=lambda case: case.ledger.name)
def test_what_fineracts_tests_do_not_have(
    institution: Institution, name: str, prefix: str, case: fineract_cases.Case
) -> None:
    number = LOADED.index(case.ledger)
    said = institution.positions(name, cutoff=case.cutoff)[f"{prefix}{number}"]
    if case.person:
        assert said.body is None
        assert [(reason.code, reason.params["value"]) for reason in said.refusals] == [("to_a_person", case.person)]
    else:
        assert _said(said) == case.repaid, said
