"""The ready-made mappings over a whole book in a real database: nothing raised, sums right, nothing private sent."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.resources
import json
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from kiva_relay import clock
from kiva_relay.config import shipped
from kiva_relay.mapping import document, mapper, survey
from kiva_relay.mapping.lookup import Lists
from kiva_relay.mapping.plan import Document
from kiva_relay.resource import refusal
from kiva_relay.resource.kind import RESOURCES, CheckFacts
from kiva_relay.source.mis import Mis
from kiva_relay.source.reader import Content
from testbed.database import mariadb_found, postgres
from testbed.institution import book, fineract, mariadb_book, remark
from testbed.rig import patience

TODAY = date(2026, 11, 23)
ONE_PERSON = "loan_draft.individual"


@dataclasses.dataclass(frozen=True)
class Institution:
    """A seeded MIS, and the ready-made mappings over it."""

    mis: Mis
    url: str
    mappings: dict[str, Document]
    lists: Lists
    photos: Path

    def contents(self, name: str, *, cutoff: date = TODAY) -> list[Content]:
        stream = self.mappings[name].stream
        return self.mis.read(stream, self.mis.scan(stream, after=None, limit=100_000), cutoff=cutoff)

    def mapped(self, name: str, *, cutoff: date = TODAY) -> list[mapper.Mapped]:
        context = mapper.Context(
            lists=self.lists,
            today=TODAY,
            cutoff=cutoff,
            timezone="UTC",
            facts=CheckFacts(today=TODAY, columns=3),
            photos="sha256",
            photo_folders=(self.photos,),
        )
        mapping = self.mappings[name]
        return [mapper.apply(mapping, content, context=context) for content in self.contents(name, cutoff=cutoff)]


@pytest.fixture(scope="module", params=["postgresql", *(["mariadb"] if mariadb_found.server() else [])])
def institution(
    request: pytest.FixtureRequest, postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Institution]:
    """The same book in both databases; `url` is always PostgreSQL's, to compare with."""
    url = postgres_server.create_database(f"shipped_mappings_{request.param}")
    with psycopg.connect(url) as connection:
        fineract.create(connection)
        photos = tmp_path_factory.mktemp("photos")
        seeded = book.seed(connection, photos, today=TODAY, clients=1500)
    mappings = document.load([shipped.folder("mappings") / "fineract"], parameters={"kiva_fund": seeded.fund_id})
    catalogue = json.loads(
        importlib.resources.files("kiva_relay.sandbox").joinpath("catalogue.json").read_text("utf-8")
    )
    lists = Lists.of({kind: catalogue[kind] for kind in ("activities", "themes", "locations", "locales")})
    with contextlib.ExitStack() as stack:
        where = url
        if request.param == "mariadb":
            found = mariadb_found.server()
            assert found is not None
            where = found.mis_url(stack.enter_context(mariadb_book.copied(url, found)))
        mis = _mis(where)
        stack.callback(mis.close)
        yield Institution(mis, url, {mapping.name: mapping for mapping in mappings}, lists, photos)


def _mis(url: str) -> Mis:
    parts = sa.make_url(url)
    return Mis(
        parts.set(password=None).render_as_string(hide_password=False) if parts.password else url,
        password=parts.password,
        timezone="UTC",
        statement_timeout=timedelta(seconds=patience.seconds(30)),
        watch="auto",
        clock=clock.SystemClock(),
    )


def test_they_fit_the_schema(institution: Institution) -> None:
    for mapping in institution.mappings.values():
        assert document.verify(mapping, institution.mis) == []


@pytest.mark.parametrize("name", [ONE_PERSON, "loan_draft.group", "loan_draft.glim"])
def test_every_draft_is_good_or_says_why(institution: Institution, name: str) -> None:
    mapped = institution.mapped(name)
    assert mapped
    good = [each.body for each in mapped if each.body is not None]
    assert good, Counter((refusal.code, refusal.field) for each in mapped for refusal in each.refusals)
    reasons = Counter(refusal.code for each in mapped for refusal in each.refusals)
    assert set(reasons) <= {
        "disbursed_too_long_ago",
        "activity_unknown",
        "relation_missing",
        "name_empty",
        "missing",
    }, reasons
    for body in good:
        lent = sum((each["amount"] for each in body["entreps"]), Decimal(0))
        assert lent == sum((each["principal"] for each in body["schedule"]), Decimal(0))
        assert ("group_name" in body) == (name != ONE_PERSON)
        assert "None" not in json.dumps(body, default=str).split('"')


@pytest.mark.parametrize("name", [ONE_PERSON, "loan_draft.group", "loan_draft.glim"])
def test_loans_of_every_status_are_a_body_that_passes_or_a_reason(institution: Institution, name: str) -> None:
    mapping = institution.mappings[name]
    every = "loan_status_id IN (100, 200, 300, 400, 500, 600, 601, 700)"
    stream = dataclasses.replace(
        mapping.stream,
        where=mapping.stream.where.replace("loan_status_id IN (200, 300)", every),
    )
    everything = dataclasses.replace(mapping, stream=stream)
    facts = CheckFacts(today=TODAY, columns=3)
    context = mapper.Context(
        lists=institution.lists, today=TODAY, cutoff=TODAY, timezone="UTC", facts=facts, photos="sha256"
    )
    keys = institution.mis.scan(stream, after=None, limit=100_000)
    contents = institution.mis.read(stream, keys, cutoff=TODAY)
    assert len(contents) >= len(institution.contents(name))
    for content in contents:
        found = mapper.apply(everything, content, context=context)
        assert (found.body is not None) + bool(found.refusals) + (found.waiting is not None) == 1
        if found.body is not None:
            assert RESOURCES["loan_draft"].check(found.body, facts) == []
        for reason in (*found.refusals, *found.warnings):
            assert reason.code in refusal.SENTENCES
            assert "?" not in refusal.sentence(reason), reason
            assert refusal.remedy(reason)
            assert reason.code not in ("expression_failed", "wrong_type"), reason


def test_a_survey_says_what_the_rows_say(institution: Institution) -> None:
    context = mapper.Context(
        lists=institution.lists,
        today=TODAY,
        cutoff=TODAY,
        timezone="UTC",
        facts=CheckFacts(today=TODAY),
        photos="sha256",
    )
    found = survey.look(institution.mappings[ONE_PERSON], institution.mis, context=context)
    assert all(mistake.severity == "warning" for mistake in found)
    assert any("in scope" in mistake.message for mistake in found)
    none = survey.look(institution.mappings[ONE_PERSON], institution.mis, context=context, is_ours=lambda _one: False)
    assert none == [], "of rows that nobody owes nothing has to be put right"


def test_a_position_is_what_the_mis_says_itself(institution: Institution) -> None:
    with psycopg.connect(institution.url) as connection:
        rows = connection.execute(
            f"SELECT account_no, {fineract.REPAID}, principal_disbursed_derived FROM m_loan l".encode()
        )
        repaid = {row[0]: (row[1] or Decimal(0), row[2]) for row in rows}
    positions = institution.mapped("repayment")
    assert len(positions) > 100
    for position in positions:
        assert position.identity is not None
        assert position.body is not None, position.refusals
        assert (position.body["amount"], position.bounds["principal"]) == repaid[position.identity]


def test_a_position_at_an_earlier_cut_off_is_never_more(institution: Institution) -> None:
    now = {each.identity: each.body["amount"] for each in institution.mapped("repayment") if each.body}
    before = institution.mapped("repayment", cutoff=TODAY.replace(day=1) - timedelta(days=1))
    earlier = {each.identity: each.body["amount"] for each in before if each.body}
    assert sum(earlier.values()) < sum(now.values())


def test_a_group_application_is_the_sum_of_its_members(institution: Institution) -> None:
    with psycopg.connect(institution.url) as connection:
        rows = connection.execute(
            f"SELECT g.account_number, sum({fineract.REPAID}) FROM glim_accounts g"
            " JOIN m_loan l ON l.glim_id = g.id GROUP BY g.account_number".encode()
        )
        repaid = {row[0]: row[1] or Decimal(0) for row in rows}
    positions = institution.mapped("repayment.glim")
    assert positions
    for position in positions:
        assert position.body is not None, position.refusals
        assert position.body["amount"] == repaid[position.identity or ""]


@pytest.mark.parametrize(
    ("name", "whose", "account"),
    [("repayment", "m_loan l", "l.account_no"), ("repayment.glim", "glim_accounts g JOIN m_loan l ON l.glim_id = g.id", "g.account_number")],
)  # fmt: skip
def test_what_falls_due_is_what_the_schedules_say(
    institution: Institution, name: str, whose: str, account: str
) -> None:
    """The price of leaving a loan out: of the month of the cut-off, from its first day to its last."""
    last = TODAY.replace(day=1) - timedelta(days=1)
    with psycopg.connect(institution.url) as connection:
        rows = connection.execute(
            f"SELECT {account}, sum(s.principal_amount) FILTER (WHERE s.duedate BETWEEN %s AND %s)"
            f" FROM {whose} JOIN m_loan_repayment_schedule s ON s.loan_id = l.id GROUP BY 1".encode(),
            (last.replace(day=1), last),
        )
        due = {row[0]: row[1] or Decimal(0) for row in rows}
    positions = institution.mapped(name, cutoff=last)
    found = {each.identity: each.bounds.get("scheduled") for each in positions}
    assert found == {identity: due.get(identity or "") for identity in found}
    assert any(found.values())


def test_only_marked_notes_leave(institution: Institution) -> None:
    journals = institution.mapped("journal")
    assert journals
    for journal in journals:
        assert journal.body is not None, journal.refusals
        assert not journal.body["body"].startswith("KIVA:")
        assert not any(private in journal.body["body"] for private in remark.PRIVATE if len(private) > 1)
    with psycopg.connect(institution.url) as connection:
        marked = connection.execute("SELECT count(*) FROM m_note WHERE note LIKE 'KIVA:%' AND note_type_enum = 200")
        assert len(journals) <= (marked.fetchone() or (0,))[0]


def test_a_photo_goes_along_upright_and_bare(institution: Institution) -> None:
    mapping = institution.mappings[ONE_PERSON]
    content = next(each for each in institution.contents(ONE_PERSON) if each.related["photo"] is not None)
    facts = CheckFacts(today=TODAY)
    context = mapper.Context(
        lists=institution.lists,
        today=TODAY,
        cutoff=TODAY,
        timezone="UTC",
        facts=facts,
        photo_folders=(institution.photos,),
    )
    photos = mapper.photos(mapping, content, context=context)
    assert len(photos) == 1
    assert photos[0].startswith("sha256:")
    photo = content.related["photo"]
    assert isinstance(photo, dict)
    location = Path(str(photo["location"]))
    location.write_bytes(location.read_bytes() + b"\0")
    assert mapper.photos(mapping, content, context=context) != photos
    body = mapper.apply(mapping, content, context=context).body
    assert body is None or body["image_encoded"].startswith("data:image/jpeg;base64,")
