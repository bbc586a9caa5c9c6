"""What the mapping's tools cost: bodies a second on one core, twelve mistakes in a file, and `mapping diff`.

    .venv/bin/python benchmarks/mapping.py [LOANS]

The book is made in a PostgreSQL of our own, read through the generic mapping, and nothing leaves the machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import psycopg

from kiva_relay import clock, errors
from kiva_relay.capture import trial
from kiva_relay.config import shipped
from kiva_relay.mapping import book, document, mapper
from kiva_relay.mapping.lookup import Lists
from kiva_relay.mapping.plan import Document
from kiva_relay.resource import body as bodies
from kiva_relay.resource.kind import CheckFacts
from kiva_relay.source.mis import Mis
from kiva_relay.source.reader import Content
from testbed.database import postgres

TODAY = date(2026, 11, 23)
LOANS = 20_000

TABLES = """
CREATE TABLE donors (id int PRIMARY KEY, name text);
CREATE TABLE branches (id int PRIMARY KEY, town text);
CREATE TABLE clients (id int PRIMARY KEY, client_no text, first_name text, last_name text, sex text,
    language text, branch_id int, photo text, mobile text, updated_at timestamptz DEFAULT now());
CREATE TABLE loans (id int PRIMARY KEY, loan_no text UNIQUE, client_id int, donor_id int, status text,
    amount numeric(19, 2), currency text, activity_code text,
    disbursed_on date, planned_on date, purpose text, story text, waiver_signed boolean,
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
CREATE TABLE instalments (loan_id int, number int, due_on date, principal numeric(19, 2), interest numeric(19, 2),
    PRIMARY KEY (loan_id, number));
INSERT INTO donors VALUES (1, 'Kiva');
INSERT INTO branches VALUES (1, 'Kisumu');
"""
ROWS = (
    """
    INSERT INTO clients (id, client_no, first_name, last_name, sex, language, branch_id)
    SELECT n, 'C-' || n, 'ACHIENG', 'OTIENO', CASE n % 2 WHEN 0 THEN 'F' ELSE 'M' END, 'en', 1
    FROM generate_series(1, {loans}) n
    """,
    """
    INSERT INTO loans (id, loan_no, client_id, donor_id, status, amount, currency, activity_code, disbursed_on,
                       planned_on, purpose, story, waiver_signed)
    SELECT n, 'KV/' || n, n, 1, 'APPROVED', 12000 + n % 100 * 120, 'KES', '011', NULL, date '2026-12-01', 'two goats',
           'She sells milk in the morning and vegetables in the afternoon.', true
    FROM generate_series(1, {loans}) n
    """,
    """
    INSERT INTO instalments
    SELECT n, i, date '2026-12-01' + 30 * i, (12000 + n % 100 * 120) / 12, 100
    FROM generate_series(1, {loans}) n, generate_series(1, 12) i
    """,
)
LISTS = Lists.of(
    {
        "activities": [{"activity": "Livestock", "activity_id": 79}],
        "themes": [{"theme_type": "General", "theme_type_id": 48}],
        "locations": [{"full_name": "Kisumu: Kenya"}],
        "locales": [{"currency": "KES", "language_code": "en", "language_name": "English", "language_id": 1}],
    }
)


# What stands in the generic mapping, and what somebody writes.
MISTAKES = {
    "resource: loan_draft": "resource: loan_draft\nsurce: {table: loans}",
    "gender:     {from: client.sex, choose: {F: female, M: male}, else: refuse}": (
        "gender:     client.sex | choose({'F': 'female'})"
    ),
    "client_id:  client.client_no": "client_id:  000123",
    "from: client.last_name,": "from: cliant.last_name,",
    "from: branch.town, translate: locations.csv, lookup: locations}": "from: branch.town, lookup: towns}",
    "loanuse:\n": "loanuse: 'to buy seeds'\n  not_a_field:\n",
    "description:             {from: story, text: true}": "description:             'to buy ' ~ purpose",
    "client_waiver_signed:    waiver_signed": "client_waiver_signed:    yes",
    "amount:     {from: amount, money: currency}": "amount:     amount * 2",
    "image_encoded:           {from: client.photo, image: true, else: leave_out}": (
        "image_encoded:           {from: client.photo | default(0, true)}"
    ),
    "where: donor_id = :kiva_donor": "where: donor_id = :kiva_doner",
    "many: true": "many: yes",
}


def mistakes(folder: Path) -> None:
    """A file with all of them: how long until they are told."""
    generic = shipped.folder("mappings") / "generic"
    text = (generic / "loan_draft.yaml").read_text("utf-8")
    for stood, written in MISTAKES.items():
        assert stood in text, stood
        text = text.replace(stood, written, 1)
    file = folder / "wrong.yaml"
    file.write_text(text, encoding="utf-8")
    began = time.perf_counter()
    _, found = document.read(file, folders=[generic], parameters={"kiva_donor": 1})
    lines = list(errors.listed(found))
    took = time.perf_counter() - began
    print(f"mistakes   {errors.counted(len(found), 'mistake')} of one file told in {1000 * took:.0f} ms")
    assert len(found) >= len(MISTAKES), "\n".join(lines)


def fill(url: str, loans: int) -> None:
    """A book of so many loans."""
    with psycopg.connect(url) as connection:
        connection.execute(TABLES)
        for statement in ROWS:
            connection.execute(statement.format(loans=loans).encode())
        connection.execute("ANALYZE")


def context() -> mapper.Context:
    """As a relay would tell the mapper."""
    facts = CheckFacts(today=TODAY)
    return mapper.Context(
        lists=LISTS, today=TODAY, cutoff=TODAY, timezone="Africa/Nairobi", facts=facts, photos="sha256"
    )


def mapped(mapping: Document, contents: Sequence[Content]) -> int:
    """Bodies made and written out."""
    made = 0
    for content in contents:
        found = mapper.apply(mapping, content, context=context())
        if found.body is not None:
            bodies.encode(found.body)
            made += 1
    return made


def main() -> None:
    """Measure, and print."""
    loans = int(sys.argv[1]) if len(sys.argv) > 1 else LOANS
    with tempfile.TemporaryDirectory() as folder:
        mistakes(Path(folder))
    with tempfile.TemporaryDirectory() as folder, postgres.start(Path(folder)) as server:
        url = server.create_database("benchmark")
        fill(url, loans)
        mis = Mis(
            url,
            password=None,
            timezone="Africa/Nairobi",
            statement_timeout=timedelta(seconds=60),
            watch="auto",
            clock=clock.SystemClock(),
        )
        found = document.load([shipped.folder("mappings") / "generic"], parameters={"kiva_donor": 1})
        mapping = next(each for each in found if each.name == "loan_draft")

        contents = [one for page in book.contents(mapping.stream, mis, cutoff=TODAY) for one in page]
        began = time.process_time()
        made = mapped(mapping, contents)
        took = time.process_time() - began
        print(f"mapping    {made:,} bodies on one core: {took:.1f} s, {made / took:,.0f} a second")

        text = mapping.text.replace(
            "description:             {from: story",
            'description:             {from: "story if amount > 18000 else none"',
        )
        file = Path(folder) / "loan_draft.yaml"
        file.write_text(text, encoding="utf-8")
        edited, _ = document.read(file, folders=[shipped.folder("mappings") / "generic"], parameters={"kiva_donor": 1})
        assert edited is not None
        began, cpu = time.perf_counter(), time.process_time()
        difference = trial.MappingDifference()
        for page in trial.compare(mapping, edited, mis, context=context()):
            difference.add(page)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        mis.close()
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT count(*) FROM loans WHERE amount <= 18000").fetchone()
        assert row is not None
        print(f"diff       {difference.rows:,} loans: {took:.1f} s ({cpu:.1f} s of it ours)")
        print(f"             {len(difference.bodies):,} bodies would change; SQL says {row[0]:,}")
        assert row[0] == len(difference.bodies)
        assert difference.rows == loans


if __name__ == "__main__":
    main()
