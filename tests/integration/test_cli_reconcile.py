"""`kiva-relay reconcile`: what it shows, what a person says about it, and where else it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay.account import standing
from kiva_relay.config import loader
from kiva_relay.outbox import watermark
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.person import Person
from kiva_relay.outbox.watermark import Captured
from kiva_relay.page import act, view
from kiva_relay.words import language
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox, Run


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


@pytest.fixture
def run(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


def test_what_differs_is_shown_everywhere_until_a_person_has_seen_it(told: FullOutbox, run: Run) -> None:
    told.runs()
    told.accept(told.owe("000000702", amount="250000"))
    told.kiva_lists(MirroredLoan("k1", "000000702", "", "payingBack", "300000", "XOF"))
    shown = run("reconcile")
    assert shown.code == 1
    assert "The amount of this loan is another one at Kiva" in shown.out
    assert "000000702   at Kiva: 300 000 XOF · sent: 250 000 XOF" in shown.out
    assert "kiva-relay reconcile done 1 --note" in shown.out
    assert run("reconcile", "--json").json[0]["params"] == {"kiva": "300000", "sent": "250000", "currency": "XOF"}
    assert run("reconcile", "--csv").out.splitlines()[1].startswith("1,other_amount,000000702,k1,")
    assert "say different things of 1 loan: other_amount" in run("status").out
    assert "Les montants" not in run("review", "--lang", "fr").out
    assert "Le montant de ce prêt est différent chez Kiva" in run("review", "--lang", "fr").out
    assert "El monto de este préstamo es otro en Kiva" in run("reconcile", "--lang", "es").out

    assert run("reconcile", "done", 1).code == 2, "a note is asked for"
    assert run("reconcile", "done", 1, "--note", "Kiva corrects it").code == 0
    assert run("reconcile").code == 0
    assert "Nothing differs." in run("reconcile").out
    assert run("reconcile", "--known", "--json").json[0]["done_by"]
    assert ("reconcile done", "Kiva corrects it") in [(verb, note) for _who, verb, note in told.acts()]
    told.kiva_lists(MirroredLoan("k1", "000000702", "", "payingBack", "310000", "XOF"))
    assert run("reconcile").code == 1, "it changed since it was seen"


def test_what_cannot_be_said_is_said(told: FullOutbox, run: Run) -> None:
    told.runs()
    assert run("reconcile").code == 2, "Kiva's list was never read"
    assert "never read whole" in run("reconcile").err
    told.kiva_lists(MirroredLoan("k1", "STRANGE", "", "payingBack"))
    shown = run("reconcile")
    assert shown.code == 0
    assert "The MIS's book of repayments was not read whole" in shown.out
    assert run("reconcile", "done", 7, "--note", "x").code == 2
    assert run("reconcile", "accept", 7, "--note", "x").code == 2
    assert run("reconcile", "--csv", "--json").code == 2


def test_a_cancelled_draft_is_listed_as_gone_and_is_one_task(told: FullOutbox, run: Run) -> None:
    told.runs()
    told.accept(told.owe("000000640"))
    told.cancel("000000640")
    gone = Captured(
        stream="loan_draft.individual",
        key="640",
        resource="loan_draft",
        identity="000000640",
        hash="h",
        in_scope=False,
        baselined=False,
        refused=False,
        again=False,
        created_at=None,
        scan_number=1,
        captured_at=told.now,
        gone=True,
    )
    with told.outbox.begin() as tx:
        watermark.keep(tx, gone)
    told.kiva_lists(MirroredLoan("k9", "000000001", "", "ended"))
    shown = run("reconcile", "--gone")
    assert shown.code == 1
    assert "000000640" in shown.out
    review = run("review").out
    assert "Delete this draft in PA2" in review
    assert "say different things" not in review
    told.accept(told.owe("000000641"))
    assert "000000641" not in run("reconcile", "--gone").out


def test_a_button_ends_one_as_it_was_seen_and_no_second_time(told: FullOutbox, run: Run) -> None:
    told.runs()
    told.accept(told.owe("000000702", amount="250000"))
    told.kiva_lists(MirroredLoan("k1", "000000702", "", "payingBack", "300000", "XOF"))
    assert run("reconcile").code == 1
    awa = Person("awa", "coordinator", "en")
    with told.outbox.begin() as tx:
        facts = standing.gather(tx, loader.load(told.config, environ={"KIVA_SECRET": "s"}), now=told.now)
        shown = view.today(tx, facts, awa, language.of("en"))
        (button,) = [
            one for group in shown.groups for card in group.cards for one in card.buttons if one.verb == "apart"
        ]
        act.do(tx, awa, button.verb, act.read(button.entries), note="Kiva corrects it", now=told.now)
        with pytest.raises(act.Changed):
            act.do(tx, awa, button.verb, act.read(button.entries), note="", now=told.now)
    assert run("reconcile").code == 0
    assert ("awa (page)", "reconcile done", "Kiva corrects it") in told.acts()
