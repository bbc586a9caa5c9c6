"""Names on the page: only where the settings say so, read live, kept nowhere; numbers while the MIS is away."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay.clock import SystemClock
from kiva_relay.config import loader
from kiva_relay.outbox import person, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.person import Person
from kiva_relay.page import password, server
from kiva_relay.page.names import MisNames
from kiva_relay.service import opening
from kiva_relay.service.relay import Relay
from testbed.kiva import server as kiva_server
from testbed.rig import configuration, page_process
from testbed.rig.morning import SECRET
from testbed.rig.office import Office
from testbed.rig.set_clock import SetClock

BORROWER = "ZoL0"


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    with kiva_server.start() as kiva:
        changes = {"page.listen": "127.0.0.1:0", "page.show_names": True}
        made = Office(tmp_path, kiva.url, changes=changes)
        mapping = tmp_path / "mappings" / "loan_draft.yaml"
        mapping.write_text(mapping.read_text().replace('{text: "Ada"}', "\"'Zo' ~ account\""))
        made.grant()
        settings = loader.load(made.config, environ={})
        relay = Relay(settings, configuration.documents(settings))
        relay.open()
        relay.once()
        relay.close()
        outbox = Outbox(made.outbox)
        with outbox.begin() as tx:
            who = Person("ann", "coordinator", "en")
            person.put(tx, who, password=password.made(SECRET), by="test", now=SystemClock().now())
        outbox.close()
        yield made


def names(office: Office, clock: SetClock | SystemClock | None = None) -> MisNames:
    settings = loader.load(office.config, environ={})
    chosen = clock or SystemClock()
    documents = configuration.documents(settings)
    return MisNames(settings, documents, opens=lambda: opening.open_mis(settings, clock=chosen), clock=chosen)


def test_the_process_shows_them_and_nothing_keeps_them(office: Office, tmp_path: Path) -> None:
    outbox = Outbox(office.outbox)
    with outbox.begin() as tx:
        tx.execute(table.entry.update().values(body=None, body_sha256=None))
    outbox.close()
    with page_process.running(office.config, tmp_path) as url, page_process.browser(url) as ann:
        ann.log_in("ann", SECRET)
        for path in ("/drafts", "/loan?id=L0", "/"):
            assert BORROWER in ann.open(path).text, path
        office.mis.execute("UPDATE loan SET given = given")
        assert BORROWER not in (tmp_path / "page.log").read_text()
    with sqlite3.connect(tmp_path / "outbox.db") as raw:
        assert BORROWER not in "\n".join(raw.iterdump())


def test_without_the_setting_there_are_none(office: Office, tmp_path: Path) -> None:
    shown_at_first = office.config.read_text()
    office.config.write_text(re.sub(r"(show_names\W+)true", r"\1false", shown_at_first))
    assert office.config.read_text() != shown_at_first
    with page_process.running(office.config, tmp_path) as url, page_process.browser(url) as ann:
        ann.log_in("ann", SECRET)
        shown = ann.open("/drafts").text
        assert "L0" in shown
        assert BORROWER not in shown


def test_while_the_mis_is_away_it_works_by_numbers_and_does_not_ask_at_each_click(
    office: Office, tmp_path: Path
) -> None:
    clock = SetClock(SystemClock().now())
    asked = []
    known = names(office, clock)
    opens = known._opens
    known._opens = lambda: (asked.append(1), opens())[1]  # type: ignore[func-returns-value]
    outbox = Outbox(office.outbox)
    settings = loader.load(office.config, environ={})
    with server.in_a_thread(settings, outbox, clock=clock, names=known) as url, page_process.browser(url) as ann:
        ann.log_in("ann", SECRET)
        assert BORROWER in ann.open("/drafts").text
        before = len(asked)
        (tmp_path / "mis.db").rename(tmp_path / "away.db")
        for _ in range(3):
            shown = ann.open("/drafts")
            assert shown.status_code == 200
            assert "L0" in shown.text
            assert BORROWER not in shown.text
        assert len(asked) == before + 1
    outbox.close()


def test_ids_that_are_no_loan_are_asked_of_nobody(office: Office) -> None:
    outbox = Outbox(office.outbox)
    known = names(office)
    assert known.of(outbox, ["L0", "", "nothing", "' OR 1=1 --"]) == {"L0": BORROWER}
    assert known.of(outbox, []) == {}
    outbox.close()
