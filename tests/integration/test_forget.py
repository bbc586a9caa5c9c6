"""A borrower is forgotten: nothing of the person is left in any file; what protects money and promise still works."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import divergence, query, store, table
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox, Run

CLIENT, LIVE, OVER = "C000311", "000000871", "000000102"
PERSON = ("Awa-Fatoumata", "Sow-Diallo", "sells millet in Kaffrine", "her daughter goes to school")
PHOTO = base64.b64encode(bytes(range(256)) * 200).decode()


def body(loan: str, *, first_name: str = PERSON[0], amount: str = "250000") -> str:
    return (
        f'{{"currency":"XOF","description":"{PERSON[2]}","entreps":[{{"amount":{amount},"client_id":"{CLIENT}",'
        f'"first_name":"{first_name}","last_name":"{PERSON[1]}","loan_id":"{loan}"}}],"image_encoded":"{PHOTO}"}}'
    )


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


@pytest.fixture
def run(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


def known(told: FullOutbox) -> None:
    """Two loans of one client: one is paid back at Kiva, one has ended; a follow-up, a doubt, a refusal, a change."""
    for loan in (LIVE, OVER):
        told.accept(told.owe(loan, body=body(loan), client_id=CLIENT))
    told.owe(f"p{LIVE}", resource="repayment", loan_id=LIVE, client_id=CLIENT, amount="150000", period="2026-10")
    told.accept(_ready(told, f"p{LIVE}"))
    news = f'{{"body":"{PERSON[3]}","internal_loan_id":"{LIVE}","subject":"News of {PERSON[0]}"}}'
    told.accept(
        told.owe("n1", resource="journal", loan_id=LIVE, client_id=CLIENT, body=news), confirm_url="https://k/1"
    )
    told.lose(told.owe("n2", resource="journal", loan_id=LIVE, client_id=CLIENT, body=news.replace("School", "x")))
    told.owe("n3", resource="journal", loan_id=LIVE, client_id=CLIENT, body=news)
    told.kiva_lists(
        MirroredLoan("k871", LIVE, "", "payingBack", "250000", "XOF"),
        MirroredLoan("k102", OVER, "", "ended", "250000", "XOF"),
    )
    with told.outbox.begin() as tx:  # Kiva quoted a name
        tx.execute(sa.update(table.attempt).values(detail=f"{PERSON[1]} is known already"))
        sent = query.versions(tx, "loan_draft", LIVE)[0]
        divergence._record(
            tx, sent, "changed", [{"field": "entreps[0].last_name", "was": PERSON[1], "is": "Ba"}], [], now=told.now
        )


def _ready(told: FullOutbox, identity: str) -> Entry:
    with told.outbox.read() as tx:
        return query.versions(tx, "repayment", identity)[0]


def found(folder: Path, *texts: str) -> dict[str, list[str]]:
    """Which of these bytes stand in which file of a folder, and below it."""
    files = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.suffix != ".yaml"}
    assert any(files.values())
    return {
        text: names for text in texts if (names := [file.name for file, raw in files.items() if text.encode() in raw])
    }


def test_nothing_of_the_person_is_left_in_any_file(told: FullOutbox, run: Run, tmp_path: Path) -> None:
    known(told)
    traces = (*PERSON, PHOTO[100:160], CLIENT)
    assert found(tmp_path, *traces).keys() == set(traces), "before, all of it is there"
    shown = run("outbox", "forget", "--client", CLIENT, "--note", "asked in writing", "--yes")
    assert shown.code == 0, shown.err
    assert f"{OVER}   ended at Kiva" in shown.out
    assert f"for {LIVE}: its number and amounts" in shown.out
    assert run("outbox", "backup", tmp_path / "copy.db").code == 0
    assert run("outbox", "show", "--loan", LIVE).code == 0
    assert found(tmp_path, *traces) == {}
    assert "outbox.db" in found(tmp_path, LIVE)[LIVE], "what Kiva bills by stays"
    with told.outbox.read() as tx:
        assert OVER not in {row[0] for row in tx.execute(sa.select(table.entry.c.loan_id))}
    assert run("outbox", "forget", "--client", CLIENT, "--note", "again", "--yes").code == 2


def test_what_protects_money_and_promise_still_works(told: FullOutbox, run: Run) -> None:
    known(told)
    assert run("outbox", "forget", "--client", CLIENT, "--note", "asked", "--yes").code == 0
    for loan in (LIVE, OVER):
        owed = full_outbox.owed(loan, resource="loan_draft", loan_id=loan, body=body(loan), now=told.now)
        with told.outbox.begin() as tx:
            assert store.owe(tx, owed, now=told.now) is None, "it is never sent a second time"
    again = full_outbox.owed("n9", resource="journal", loan_id=LIVE, body='{"body":"new"}', now=told.now)
    other = full_outbox.owed("000000999", resource="loan_draft", loan_id="000000999", body='{"a":1}', now=told.now)
    with told.outbox.begin() as tx:
        assert store.owe(tx, again, now=told.now) is None, "nothing new goes out of a forgotten loan"
        assert store.owe(tx, other, now=told.now) is not None, "another loan is another loan"
        last = query.last_delivered(tx, "repayment", f"p{LIVE}", before=99)
        assert last is not None
        assert last.amount == "150000", "the next fall is measured against it"


def test_a_change_after_it_is_told_by_its_field_alone(told: FullOutbox, run: Run, tmp_path: Path) -> None:
    told.accept(told.owe(LIVE, body=body(LIVE), client_id=CLIENT))
    assert run("outbox", "forget", "--client", CLIENT, "--note", "asked", "--yes").code == 0
    changed = body(LIVE, first_name="Binta-Maimouna")
    owed = full_outbox.owed(LIVE, resource="loan_draft", loan_id=LIVE, body=changed, now=told.now)
    with told.outbox.begin() as tx:
        store.owe(tx, owed, now=told.now)
        found_ = tx.execute(sa.select(table.divergence.c.fields).where(table.divergence.c.ended_at.is_(None))).scalars()
        assert [[each["field"] for each in fields] for fields in found_] == [["entreps[0].first_name"]]
    assert found(tmp_path, "Binta-Maimouna") == {}


def test_purge_alone_leaves_no_body_in_the_file(told: FullOutbox, tmp_path: Path) -> None:
    told.accept(told.owe(LIVE, body=body(LIVE), client_id=CLIENT))
    with told.outbox.begin() as tx:
        assert store.purge(tx, before=told.now + timedelta(days=2), now=told.now) == 1
    assert told.outbox.scrub()
    assert found(tmp_path, *PERSON[:3], PHOTO[100:160]) == {}


def test_what_is_not_known_or_being_sent_is_said(told: FullOutbox, run: Run) -> None:
    assert run("outbox", "forget", "--client", "C9", "--note", "x").code == 2
    told.accept(told.owe(LIVE, body=body(LIVE), client_id=CLIENT))
    assert run("outbox", "forget", "--client", CLIENT, "--yes").code == 2, "a note is asked for"
    told.kiva_lists(MirroredLoan("k871", LIVE, "", "payingBack"))
    letters = {name: run("outbox", "forget", "--client", CLIENT, "--letter", name).out for name in ("en", "fr", "es")}
    assert all("k871" in text for text in letters.values())
    assert len(set(letters.values())) == 3
