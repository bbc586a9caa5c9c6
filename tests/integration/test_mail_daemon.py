"""The running relay and its mail: at its hour, once, also after SIGKILL; and whoever watches it from outside."""

from __future__ import annotations

import http.server
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay import meter
from kiva_relay.outbox import hold, mail, mail_table
from kiva_relay.outbox.database import Outbox
from kiva_relay.service import mail_loop, schedule
from testbed.rig import killable, mail_server
from testbed.rig.killable import Death, Life
from testbed.rig.mail_server import Mailbox
from testbed.rig.note_site import NoteSite
from testbed.rig.patience import eventually, seconds

MAIL = """
mail:
  host: 127.0.0.1
  port: {port}
  security: none
  from: relay@example.org
  at: "00:00"
  recipients: [{{address: awa@example.org, language: fr}}, {{address: root@example.org, role: administrator}}]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NoteSite:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    monkeypatch.setitem(schedule.PLAN, "heartbeat", lambda _: schedule.Every(timedelta(seconds=0.2)))
    return NoteSite(tmp_path)


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mail_server.serving() as made:
        yield made


def with_mail(site: NoteSite, port: int, more: str = "") -> None:
    text = site.config.read_text()
    site.config.write_text(text + MAIL.format(port=port) + more)


def rows(site: NoteSite) -> list[tuple[str, str, str, int]]:
    columns = mail_table.mail.c
    outbox = Outbox(f"sqlite:///{site.folder / 'outbox.db'}")
    try:
        with outbox.read() as tx:
            query = sa.select(columns.kind, columns.address, columns.state, columns.attempts).order_by(columns.id)
            return [tuple(row) for row in tx.execute(query)]
    finally:
        outbox.close()


def test_the_morning_comes_by_itself_and_once(site: NoteSite, box: Mailbox) -> None:
    with_mail(site, box.port)
    with site.daemon():
        eventually(lambda: len(box.taken) == 1)
        (morning,) = box.to("awa@example.org")
        assert "Kiva" in morning["Subject"]
    with site.daemon() as running:
        eventually(
            lambda: (beat := site.beat(running)) and any(job.name == "mail" and job.last_run for job in beat.jobs)
        )
    assert len(box.taken) == 1
    assert rows(site) == [("morning", "awa@example.org", "sent", 1)]


def test_without_mail_nothing_is_looked_at_and_no_job_is_planned(site: NoteSite) -> None:
    with site.daemon() as running:
        beat = eventually(lambda: site.beat(running))
        assert not {"mail", "alive"} & {job.name for job in beat.jobs}
    assert rows(site) == []


def test_a_hold_is_told_while_all_is_held(site: NoteSite, box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_loop, "_AT_MOST_EVERY", 0.1)
    with_mail(site, box.port)
    with site.daemon() as running:
        eventually(lambda: len(box.taken) == 1)
        with running.outbox.begin() as tx:
            hold.put(tx, "all", "asked", now=running.time.now())
        eventually(lambda: box.to("root@example.org"))
        assert "HELD" in box.to("root@example.org")[0]["Subject"]


@pytest.mark.long
def test_mail_that_is_switched_on_while_it_runs(site: NoteSite, box: Mailbox) -> None:
    with site.daemon() as running:
        eventually(lambda: site.beat(running))
        with_mail(site, box.port)
        running.ask_reload()
        eventually(lambda: len(box.taken) == 1)


@pytest.mark.long
def test_a_server_that_is_away_stops_nothing(site: NoteSite) -> None:
    with_mail(site, 9)
    with site.daemon() as running:
        number = site.note()
        eventually(lambda: site.body(running, number))
        eventually(lambda: rows(site) == [("morning", "awa@example.org", "due", 1)])
        eventually(lambda: meter.mail_waiting._value.get() == 1)
        assert not (eventually(lambda: site.beat(running))).stuck


@pytest.mark.long
def test_who_watches_from_outside_hears_as_long_as_it_works(
    site: NoteSite, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Watcher(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Nothing on the terminal."""

    monkeypatch.setitem(schedule.PLAN, "alive", lambda _: schedule.Every(timedelta(seconds=0.2)))
    monkeypatch.setattr(mail, "_FIRST_PAUSE", timedelta(seconds=0.2))
    with http.server.HTTPServer(("127.0.0.1", 0), Watcher) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            with_mail(site, box.port, f"  alive_url: http://127.0.0.1:{server.server_port}/ping/secret\n")
            box.answers["MAIL"] = "550 not from you"
            with site.daemon():
                eventually(lambda: [row[2:] for row in rows(site)] > [("due", 0)])
                assert asked == []
                del box.answers["MAIL"]
            with site.daemon():
                eventually(lambda: asked)
            assert {*asked} == {"/ping/secret"}
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.long
def test_killed_between_the_answer_and_our_commit(site: NoteSite, box: Mailbox) -> None:
    with_mail(site, box.port)
    log = site.folder / "relay.log"
    first = killable.start(Life(site.config, log, Death("taken"), environ={"KIVA_SECRET": "s"}))
    first.join(seconds(60))
    assert first.exitcode == -signal.SIGKILL
    assert rows(site) == [("morning", "awa@example.org", "due", 1)]
    second = killable.start(Life(site.config, log, environ={"KIVA_SECRET": "s"}))
    try:
        eventually(lambda: rows(site) == [("morning", "awa@example.org", "sent", 2)])
    finally:
        second.terminate()
        second.join(seconds(60))
    first_mail, again = box.to("awa@example.org")
    assert first_mail["Message-ID"] == again["Message-ID"]
