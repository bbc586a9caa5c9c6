"""The mail of a morning and of a report, as it arrives at a real server: by its words, and once, whatever happens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.account.letter import LetterKind
from kiva_relay.config import loader
from kiva_relay.config.settings import Settings
from kiva_relay.mail import smtp
from kiva_relay.mail.postman import Postman, Round
from kiva_relay.outbox import heartbeat, hold, mail, report
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.heartbeat import Reachability
from kiva_relay.words import letter
from kiva_relay.words.language import Language
from testbed.rig import full_outbox, mail_server
from testbed.rig.full_outbox import NAME, FullOutbox
from testbed.rig.mail_server import DROPS, Mailbox
from testbed.rig.november import CLOSES, NOW, PERIOD, November
from testbed.rig.set_clock import SetClock

AWA, LUZ, JOE, ROOT = (f"{name}@example.org" for name in ("awa", "luz", "joe", "root"))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MAIL = """\
page: {{url: "https://relay.example.org"}}
mail:
  host: 127.0.0.1
  port: {port}
  security: none
  from: relay@example.org
  recipients:
    - {{address: awa@example.org, language: fr}}
    - {{address: luz@example.org, language: es}}
    - {{address: joe@example.org}}
    - {{address: root@example.org, role: administrator, language: fr}}
"""


class Killed(BaseException):
    """In the place of SIGKILL."""


@dataclass
class Office:
    """An outbox, a postman over it, and the server that he gives the mail to."""

    told: FullOutbox
    box: Mailbox
    clock: SetClock
    dies_at: str = ""

    def __post_init__(self) -> None:
        self.comes_up()

    def comes_up(self) -> None:
        """A new process."""

        def at(step: str) -> None:
            if step == self.dies_at:
                raise Killed

        self.postman = Postman(self.told.outbox, clock=self.clock, at=at)

    @property
    def settings(self) -> Settings:
        return loader.load(self.told.config, environ={"KIVA_SECRET": "s"})

    def round(self, *, later: timedelta = timedelta(0), **changes: Any) -> Round:
        """One round; the relay lives, and its MIS was read just now."""
        self.clock.passes(later.total_seconds())
        self.told.now = self.clock.now()
        self.told.runs(**changes)
        return self.postman.round(self.settings)

    def letters(self, address: str, about: str = "") -> list[EmailMessage]:
        """What came for somebody."""
        return [one for one in self.box.to(address) if re.search(about, subject(one))]


@contextmanager
def opened(folder: Path, url: str = "") -> Iterator[Office]:
    """An office in a folder; its outbox a file, or on a server."""
    with ExitStack() as stack:
        box = stack.enter_context(mail_server.serving())
        told = full_outbox.made(folder, outbox=Outbox(url) if url else None, url=url)
        stack.callback(told.outbox.close)
        told.config.write_text(told.config.read_text() + MAIL.format(port=box.port))
        told.config.chmod(0o640)
        yield Office(told, box, SetClock(NOW))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path) as made:
        yield made


def subject(message: EmailMessage) -> str:
    """A long one begins on a line of its own."""
    return str(message["Subject"]).strip()


def words(message: EmailMessage) -> str:
    """What a person reads; the same in text and in HTML, and never a name."""
    text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    told = str(text.get_content())
    plain = re.sub(r"<[^>]+>", "", re.sub(r"<title>.*?</title>", "", str(html.get_content())))
    for sign, entity in (("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;"), ("&", "&amp;")):
        plain = plain.replace(entity, sign)
    assert plain.split() == told.split()
    assert NAME not in f"{message['Subject']}{told}{html.get_content()}"
    return told


# ---------------------------------------------------------------- each morning


def test_nothing_waits_is_said_too(office: Office) -> None:
    office.told.kiva_lists()
    assert office.round().sent == 3
    (awa,), (luz,), (joe,) = (office.box.to(one) for one in (AWA, LUZ, JOE))
    assert subject(awa) == "[sandbox] Kiva, mer. 2 déc. : rien ne vous attend"
    assert subject(luz) == "[sandbox] Kiva, mié. 2 dic.: no hay nada pendiente"
    assert subject(joe) == "[sandbox] Kiva, Wed 2 Dec: nothing waits for you"
    assert "Rien ne vous attend. Tout est arrivé chez Kiva jusqu'à 08:59." in words(awa)
    assert "Pas de message à 08:00 ?" in words(awa)
    assert "No hay nada pendiente. Todo llegó a Kiva hasta las 08:59." in words(luz)
    assert "Nothing waits for you. Everything up to 08:59 has been delivered." in words(joe)
    assert "The next message comes tomorrow at 07:30." in words(joe)
    assert "https://relay.example.org/" in words(joe)
    assert office.box.to(ROOT) == []


def test_what_waits_by_when_and_what_happens_if_nobody_acts(office: Office) -> None:
    told = office.told
    told.kiva_lists()
    lost = told.lose(told.owe("000000871"))
    told.accept(told.owe("000000702", publish_by=date(2026, 12, 4)))
    told.accept(
        told.owe("note", resource="journal", loan_id="000000233"), archive_id="a", confirm_url="https://k.org/1?a=1&b=2"
    )
    told.change("000000702")
    told.refuse("000000498")
    office.round()
    (joe,), (awa,) = office.box.to(JOE), office.box.to(AWA)
    assert subject(joe) == "[sandbox] Kiva, Wed 2 Dec: 5 things wait for you, the first by Wed 2 Dec"
    text = words(joe)
    assert f"000000871   #{lost.id}   250 000 XOF" in text
    assert "Until then it is not sent again, so that there are not two." in text
    assert "by Fri 4 Dec" in text
    assert "If nobody does by its day, PA2 no longer takes the loan, and Kiva does not fund it." in text
    assert "If nobody does, PA2 keeps what was sent." in text
    assert "If nobody does, the lenders do not see it." in text
    assert "Each is tried again by itself when it is corrected. Until then it is not sent." in text
    assert "https://k.org/1?a=1&b=2" in text
    assert "5 choses vous attendent" in subject(awa)
    assert "Si personne ne le fait avant ce jour, PA2 n'accepte plus le prêt" in words(awa)


def test_a_mail_is_never_thousands_of_lines_long(office: Office) -> None:
    office.told.kiva_lists()
    lost = [office.told.lose(office.told.owe(f"{number:09d}")) for number in range(1, 61)]
    office.round()
    (joe,) = office.box.to(JOE)
    text = words(joe)
    assert f"   #{lost[29].id}   " in text
    assert f"   #{lost[30].id}   " not in text
    assert "… and 27 more lines: https://relay.example.org" in text
    assert "Until then they are not sent again" in text


def test_a_morning_comes_once_a_day_also_late_and_never_twice(office: Office) -> None:
    office.clock.is_set(-2 * HOUR)  # seven o'clock
    assert office.round().sent == 0
    assert office.round(later=HOUR).sent == 3
    assert office.round(later=HOUR).sent == 0
    office.comes_up()
    assert office.round().sent == 0
    office.clock.is_set(-HOUR)
    assert office.round().sent == 0
    assert office.round(later=DAY + 15 * HOUR).sent == 3  # it was down until the evening
    assert len(office.letters(AWA)) == 2
    assert {len(office.letters(one)) for one in (LUZ, JOE)} == {2}


def test_production_stands_in_no_subject(office: Office) -> None:
    text = office.told.config.read_text().replace("environment: sandbox", "environment: production")
    office.told.config.write_text(text)
    office.round()
    (joe,) = office.box.to(JOE)
    assert subject(joe) == "Kiva, Wed 2 Dec: nothing waits for you"
    assert "partner 123 · production" in words(joe)


def test_a_relay_that_has_just_begun_knows_something_before_it_writes(office: Office) -> None:
    assert office.postman.round(office.settings).next_at == NOW + timedelta(seconds=5)  # no heartbeat yet
    begun: dict[str, Any] = {"started_at": NOW, "mis": Reachability(away_since=NOW, words="refused")}
    office.told.now = NOW
    beat = replace(office.told.runs(), **begun)
    with office.told.outbox.begin() as tx:
        heartbeat.write(tx, beat)
    assert office.postman.round(office.settings).sent == 0
    office.clock.passes(600)
    with office.told.outbox.begin() as tx:
        heartbeat.write(tx, replace(beat, beats_at=office.clock.now()))
    assert office.postman.round(office.settings).sent == 3
    assert "not running" not in words(office.box.to(JOE)[0])


def test_a_mail_that_cannot_be_written_costs_no_other(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    said = letter.said

    def odd(kind: LetterKind, about: str, facts: letter.LetterFacts, language: Language) -> letter.LetterText:
        if language.name == "es":
            raise LookupError(NAME)
        return said(kind, about, facts, language)

    monkeypatch.setattr(letter, "said", odd)
    done = office.round()
    assert (done.sent, done.next_at) == (2, office.clock.now() + timedelta(minutes=1))
    assert office.box.to(LUZ) == []


# ---------------------------------------------------------------- the report


def test_a_report_from_its_opening_to_its_closing(office: Office) -> None:
    november = November(office.told)
    november.kiva_expects("000000412", "000000377", "KV/93")
    november.accepted("000000412", "150000")
    november.position("000000377", "520000", waits="position_exceeds_kiva", scheduled="41667")
    office.clock.is_set(-26 * HOUR)
    office.round()
    (joe,), (awa,) = office.letters(JOE), office.letters(AWA)
    closes = "Thursday 10 December, 18:00"
    assert subject(joe) == f"[sandbox] Kiva: November's repayment report is open, 2 loans need you, by {closes}"
    assert "rapport de remboursements de novembre est ouvert, 2 prêts vous attendent" in subject(awa)
    text = words(joe)
    assert "Kiva expects 3 loans." in text
    assert "as if repaid on schedule for November: unknown, at most what is still open: 500 000 XOF." in text
    assert "If nobody decides, it is not sent, and Kiva bills the loan as if repaid on schedule." in text
    assert "If nobody does, Kiva bills it as if repaid on schedule." in text
    assert f"https://relay.example.org/report?period={PERIOD}" in text

    for now, left in ((datetime(2026, 12, 7, 7, 30, tzinfo=UTC), "3 days"), (CLOSES - 34 * HOUR, "34 hours")):
        office.clock.is_set(now - office.clock.now())
        office.round()
        found = office.letters(JOE, f"closes in {left}, {closes}; 2 loans still need you")
        assert len(found) == 1, [subject(one) for one in office.letters(JOE)]
        assert "Kiva bills" in words(found[0])

    office.clock.is_set(CLOSES + HOUR - office.clock.now())
    with office.told.outbox.begin() as tx:
        from kiva_relay.report import calendar  # noqa: PLC0415 - only here

        opened = report.of(tx, PERIOD)
        assert opened is not None
        calendar.close(tx, office.settings, opened, now=CLOSES)
    office.round()
    (closed,) = office.letters(JOE, "is closed")
    assert subject(closed) == (
        "[sandbox] Kiva: November's repayment report is closed; 2 loans are not reported as they should be"
    )
    assert "000000377" in words(closed)
    assert "KV/93" in words(closed)
    assert "at most what is still open: 500 000 XOF" in words(closed)
    assert "It can still be sent with this period until you have finalised" in words(closed)
    assert len(office.letters(JOE, "repayment report")) == 4
    assert len(office.letters(LUZ, "reporte de reembolsos de noviembre")) == 4


# ---------------------------------------------------------------- HELD, and OK again


def test_a_hold_is_told_while_all_is_held_and_its_end_too(office: Office) -> None:
    office.clock.is_set(-3 * HOUR)
    office.told.owe("000000871")
    with office.told.outbox.begin() as tx:
        assert hold.put(tx, "all", "asked", now=office.clock.now())
    office.round()
    (held,) = office.letters(ROOT)
    assert subject(held) == "[sandbox] kiva-relay est HELD (sandbox, partenaire 123)"
    assert "1 projet de prêt : une personne l'a demandé" in words(held)
    assert "Tant que personne ne décide, ceci n'est pas envoyé. Rien n'est perdu" in words(held)
    assert "sudo kiva-relay status" in words(held)
    office.round(later=HOUR)
    with office.told.outbox.begin() as tx:
        hold.release(tx, "all", by="awa", note="seen", now=office.clock.now())
    looks_again = office.round().next_at
    assert looks_again == office.clock.now() + timedelta(minutes=5)
    assert len(office.letters(ROOT)) == 1
    office.round(later=timedelta(minutes=5))
    office.round(later=HOUR)
    (_, over) = office.letters(ROOT)
    assert "kiva-relay continue, il est" in subject(over)
    assert office.letters(AWA, "kiva-relay") == []


def test_stopped_by_a_full_disk_a_mapping_and_a_loop(office: Office) -> None:
    office.round(no_room="12 MB free", stopped_streams={"loan_draft": "no table m_loan"}, stuck={"capture": "it hangs"})
    (found,) = office.letters(ROOT)
    text = words(found)
    assert "STOPPED" in subject(found)
    assert "Le disque est presque plein : 12 MB free." in text
    assert "loan_draft ne correspond pas au SIG, et n'est pas lu : no table m_loan" in text
    assert "(capture) n'avance plus depuis dix minutes : it hangs" in text


# ---------------------------------------------------------------- once, whatever happens


def test_killed_between_the_answer_and_our_commit_it_comes_again_with_the_same_message_id(office: Office) -> None:
    office.dies_at = "taken"
    with pytest.raises(Killed):
        office.round()
    office.dies_at = ""
    office.comes_up()
    assert office.round().sent == 3
    ids = [str(one["Message-ID"]) for _, one in office.box.taken]
    assert len(ids) == 4
    assert len({*ids}) == 3
    assert office.round().sent == 0


def test_killed_on_an_outbox_on_a_server(tmp_path: Path, postgres_outbox: str) -> None:
    with opened(tmp_path, postgres_outbox) as office:
        office.told.lose(office.told.owe("000000871"))
        office.dies_at = "taken"
        with pytest.raises(Killed):
            office.round()
        office.dies_at = ""
        office.comes_up()
        assert office.round().sent == 3
        assert office.round().sent == 0
        assert len({str(one["Message-ID"]) for _, one in office.box.taken}) == 3
        assert "000000871" in words(office.box.to(JOE)[0])


def test_an_answer_that_was_lost_is_asked_again_with_the_same_message_id(office: Office) -> None:
    office.box.answers["TAKEN"] = DROPS
    assert office.round() == Round(0, office.clock.now() + timedelta(minutes=1), is_well=False)
    assert len(office.box.taken) == 3
    office.box.answers.clear()
    assert office.round(later=timedelta(minutes=1)).sent == 3
    assert len({str(one["Message-ID"]) for _, one in office.box.taken}) == 3


def test_a_recipient_that_is_refused_is_his_own_and_the_next_day_is_tried(office: Office) -> None:
    office.box.answers[AWA] = "550 no such user"
    done = office.round()
    assert (done.sent, done.next_at, done.is_well) == (2, None, True)
    with office.told.outbox.read() as tx:
        assert mail.standing(tx).refused == ((AWA, "550 no such user"),)
    assert office.round(later=HOUR).sent == 0
    del office.box.answers[AWA]
    assert office.round(later=DAY).sent == 3
    with office.told.outbox.read() as tx:
        assert mail.standing(tx).refused == ()


def test_a_server_that_is_away_is_asked_again_and_is_not_asked_for_each(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def away(_mail: object, _message: object, *, to: str) -> str:
        asked.append(to)
        raise smtp.MailFailure(smtp.Fault.NOT_REACHED, "Connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(smtp, "send", away)
        office.round()
        office.round(later=timedelta(minutes=1))
        office.round(later=timedelta(minutes=2))
    assert len(asked) == 3
    assert office.round(later=timedelta(minutes=4)).sent == 3


def test_what_could_not_be_sent_on_its_day_is_not_sent_the_next(office: Office) -> None:
    office.box.answers["MAIL"] = "550 not from you"
    office.round()
    del office.box.answers["MAIL"]
    assert office.round(later=DAY).sent == 3
    assert {subject(one) for one in office.letters(JOE)} == {"[sandbox] Kiva, Thu 3 Dec: nothing waits for you"}


def test_who_is_no_longer_a_recipient_gets_nothing(office: Office) -> None:
    office.box.answers[AWA] = "450 later"
    office.round()
    del office.box.answers[AWA]
    text = office.told.config.read_text()
    office.told.config.write_text(text.replace("    - {address: awa@example.org, language: fr}\n", ""))
    assert office.round(later=HOUR).sent == 0
    assert office.box.to(AWA) == []


def test_without_the_lease_nothing_is_sent(office: Office) -> None:
    def stolen(_tx: object) -> None:
        raise Killed

    office.told.now = office.clock.now()
    office.told.runs()
    office.told.outbox.guard = stolen
    with pytest.raises(Killed):
        office.postman.round(office.settings)
    assert office.box.taken == []
