"""The ready-made mappings over every version of Fineract: loans of all types and statuses, every column once empty."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import secrets
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import psycopg
import pytest

from kiva_relay.config import shipped
from kiva_relay.mapping import book as books
from kiva_relay.mapping import document, mapper
from kiva_relay.mapping.lookup import Lists
from kiva_relay.mapping.mapper import Mapped
from kiva_relay.mapping.plan import Document
from kiva_relay.resource import refusal
from kiva_relay.resource.kind import RESOURCES, CheckFacts
from kiva_relay.source.mis import Mis
from testbed.database import mariadb_found, postgres
from testbed.institution import book, fineract, old_fineract
from testbed.institution.branch import KIVA_FUND
from testbed.institution.fineract import Kind, Status
from testbed.rig import engine_mis

TODAY = date(2026, 11, 23)
VERSIONS = {"1.6": "fineract-1.6", "upgraded": "fineract", "1.8": "fineract"}
ENGINES = ["postgresql", *(["mariadb"] if mariadb_found.server() else [])]
CATALOGUE = json.loads(importlib.resources.files("kiva_relay.sandbox").joinpath("catalogue.json").read_text("utf-8"))
LISTS = Lists.of({kind: CATALOGUE[kind] for kind in ("activities", "themes", "locations", "locales")})
FACTS = CheckFacts(today=TODAY, columns=3)
SCOPE = "loan_status_id IN (200, 300)"
EVERY = f"loan_status_id IN ({', '.join(str(int(status)) for status in Status)})"

# What a coordinator understands: about the loan, and what to do in the MIS or in PA2. Others are mistakes of ours.
UNDERSTOOD = {
    "activity_unknown",
    "amount_not_positive",
    "code_unknown",
    "disbursed_too_long_ago",
    "group_field_missing",
    "group_field_on_individual",
    "identity_empty",
    "location_unknown",
    "missing",
    "name_empty",
    "no_translation",
    "relation_missing",
    "schedule_sum",
}


@dataclasses.dataclass(frozen=True)
class Institution:
    """A MIS of one version in one engine, and the mappings for it; `emptied` are the columns that were."""

    mis: Mis
    mappings: dict[str, Document]
    emptied: list[str]

    def mapped(self, name: str, *, today: date = TODAY) -> list[Mapped]:
        mapping = self.mappings[name]
        where = mapping.stream.where.replace(SCOPE, EVERY)
        wide = dataclasses.replace(mapping, stream=dataclasses.replace(mapping.stream, where=where))
        facts = dataclasses.replace(FACTS, today=today)
        context = mapper.Context(lists=LISTS, today=today, cutoff=TODAY, timezone="UTC", facts=facts, photos="sha256")
        pages = books.contents(wide.stream, self.mis, cutoff=TODAY)
        return [mapper.apply(wide, content, context=context) for page in pages for content in page]


# The version that no other test has, in one engine, every day; all of them in both in the long run.
EVERY_DAY = ("postgresql", "1.6")
TRIED = [
    pytest.param(each, id="-".join(each), marks=() if each == EVERY_DAY else pytest.mark.long)
    for each in ((engine, version) for engine in ENGINES for version in VERSIONS)
]


@pytest.fixture(scope="module", params=TRIED)
def institution(
    request: pytest.FixtureRequest, postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Institution]:
    engine, version = request.param
    mappings = document.load([shipped.folder("mappings") / VERSIONS[version]], parameters={"kiva_fund": KIVA_FUND})
    name = f"version_{engine}_{version}_{secrets.token_hex(3)}"
    url = postgres_server.create_database(name.replace(".", "_"))
    with psycopg.connect(url) as connection:
        fineract.create(connection)
        book.seed(connection, tmp_path_factory.mktemp("photos"), today=TODAY, clients=900)
        old_fineract.of_every_kind(connection)
        {"1.6": old_fineract.until_1_6, "upgraded": old_fineract.upgraded}.get(version, lambda _: None)(connection)
        emptied = old_fineract.emptied(connection, mappings)
    with engine_mis.opened(url, engine) as mis:
        yield Institution(mis, {mapping.name: mapping for mapping in mappings}, emptied)


def test_every_mapping_fits_the_schema(institution: Institution) -> None:
    for mapping in institution.mappings.values():
        assert document.verify(mapping, institution.mis) == []
    assert len(institution.emptied) >= 18


@pytest.mark.parametrize("name", ["loan_draft.individual", "loan_draft.group", "loan_draft.glim"])
def test_a_loan_is_a_draft_that_passes_or_a_reason_that_is_understood(institution: Institution, name: str) -> None:
    # On several days: on a single one most loans are refused for their age alone.
    ago = (0, 60, 150) if name == "loan_draft.individual" else range(0, 700, 45)
    outcomes: Counter[str] = Counter()
    for today in (TODAY - timedelta(days=days) for days in ago):
        facts = dataclasses.replace(FACTS, today=today)
        for found in institution.mapped(name, today=today):
            ways = (found.body is not None, bool(found.refusals), found.waiting is not None)
            assert sum(ways) == 1, found
            outcomes.update(["body", "refused", "waiting"][ways.index(True)].split())
            if found.body is not None:
                assert RESOURCES["loan_draft"].check(found.body, facts) == []
                lent = sum((each["amount"] for each in found.body["entreps"]), Decimal(0))
                assert lent == sum((each["principal"] for each in found.body["schedule"]), Decimal(0)) > 0
                assert len({each["loan_id"] for each in found.body["entreps"]}) == len(found.body["entreps"])
                assert "None" not in json.dumps(found.body, default=str)
            for reason in (*found.refusals, *found.warnings):
                assert "?" not in refusal.sentence(reason), reason
                assert refusal.remedy(reason)
            for reason in found.refusals:
                assert reason.code in UNDERSTOOD | {"disbursal_too_far"}, reason
    assert outcomes["body"] >= 4, outcomes
    if name == "loan_draft.individual":
        assert min(outcomes["body"], outcomes["refused"]) > 100


def test_loans_of_all_types_in_all_statuses_were_among_them(institution: Institution) -> None:
    rows = institution.mis.choices(
        f"SELECT loan_type_enum, loan_status_id FROM m_loan WHERE fund_id = {KIVA_FUND} GROUP BY 1, 2"
    )
    assert {(int(kind), int(status)) for kind, status in rows} >= {(k, s) for k in Kind for s in Status}


@pytest.mark.parametrize("name", ["repayment", "repayment.glim", "journal"])
def test_a_position_and_a_note_are_sent_or_say_why_not(institution: Institution, name: str) -> None:
    found = institution.mapped(name)
    assert found
    for each in found:
        assert (each.body is not None) + bool(each.refusals) == 1, each
        for reason in each.refusals:
            assert reason.code in UNDERSTOOD | {"amount_negative"}, reason
    assert sum(each.body is not None for each in found) > len(found) // 2
