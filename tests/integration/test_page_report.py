"""The report on the coordinator's page: what she reads, and what her answers do."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay.config import loader
from kiva_relay.outbox import decision, hold, person, report
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.decision import Decision
from kiva_relay.outbox.person import Person
from kiva_relay.page import password, server
from testbed.rig import full_outbox, page_process
from testbed.rig.november import NOW, PERIOD, November
from testbed.rig.page_process import Browser
from testbed.rig.set_clock import SetClock

SECRET = "a long password"
HASH = password.made(SECRET)
FELL = "000000412"
_FIELD = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')
_DO = re.compile(r'<button[^>]* name="do" value="([^"]+)">([^<]+)</button>')


@pytest.fixture
def november(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[November]:
    for told in full_outbox.configured(tmp_path, monkeypatch):
        told.config.write_text(f"{told.config.read_text()}\npage: {{listen: '127.0.0.1:0'}}\n")
        made = November(told)
        with told.outbox.begin() as tx:
            for name, role, language in (("awa", "coordinator", "fr"), ("root", "administrator", "en")):
                person.put(tx, Person(name, role, language), password=HASH, by="test", now=NOW)
        made.kiva_expects(FELL, "000000413", "KV/93")
        made.accepted("000000413", "100000")
        made.position(FELL, "150000", waits="position_fell")
        yield made


@pytest.fixture
def url(november: November, tmp_path: Path) -> Iterator[str]:
    outbox = Outbox(f"sqlite:///{tmp_path / 'outbox.db'}")
    settings = loader.load(november.told.config, environ={"KIVA_SECRET": "s"})
    with server.in_a_thread(settings, outbox, clock=SetClock(NOW)) as at:
        yield at
    outbox.close()


@pytest.fixture
def awa(url: str) -> Iterator[Browser]:
    with page_process.browser(url) as made:
        made.log_in("awa", SECRET)
        yield made


def line(shown: str, loan: str) -> tuple[dict[str, str], dict[str, str]]:
    """The hidden fields of a loan's form, and its buttons: label → what it carries."""
    (article,) = [one for one in re.findall(r"<article.*?</article>", shown, flags=re.DOTALL) if loan in one]
    fields = {name: html.unescape(value) for name, value in _FIELD.findall(article)}
    return fields, {html.unescape(label).strip(): html.unescape(value) for value, label in _DO.findall(article)}


def whole(shown: str) -> dict[str, str]:
    """The hidden fields of the form about the report as a whole."""
    (form,) = re.findall(r'<form method="post" action="/finalised">.*?</form>', shown, flags=re.DOTALL)
    return {name: html.unescape(value) for name, value in _FIELD.findall(form)}


def decisions(november: November) -> list[Decision]:
    with november.told.outbox.read() as tx:
        return decision.all_of(tx, PERIOD)


def test_she_reads_the_month_in_her_language(awa: Browser) -> None:
    shown = html.unescape(awa.open("/report").text)
    assert "Rapport de remboursements de novembre" in shown
    assert "Kiva attend 3 prêts" in shown
    assert FELL in shown
    assert "KV/93" in shown
    assert "000000413" not in shown, "what is accepted is not asked about"
    assert "000000413" in awa.open("/report?kind=accepted").text


def test_an_answer_is_one_row_about_what_she_saw(november: November, awa: Browser) -> None:
    fields, buttons = line(awa.open("/report").text, FELL)
    answer = awa.client.post("/decide", data=fields | {"do": buttons["Envoyer 150\u00a0000"], "note": "reversé"})
    assert answer.status_code == 200
    (made,) = decisions(november)
    assert (made.verb, made.person, made.note) == ("send", "awa (page)", "reversé")
    again = awa.client.post("/decide", data=fields | {"do": "leave_out", "note": ""})
    assert again.status_code == 409, "an old tab"
    assert decisions(november) == [made]


def test_an_amount_that_she_types_is_checked(november: November, awa: Browser) -> None:
    fields, _buttons = line(awa.open("/report").text, FELL)
    for amount in ("", "abc", "-5", "1e400", "1e-9", "NaN", "Infinity", "99999999999999"):
        assert awa.client.post("/decide", data=fields | {"do": "value", "amount": amount}).status_code == 409
    assert decisions(november) == []
    assert awa.client.post("/decide", data=fields | {"do": "value", "amount": "120000"}).status_code == 200
    assert [(one.verb, one.value) for one in decisions(november)] == [("value", "120000")]


@pytest.mark.parametrize("typed", ["150 000", "150\u202f000", "150.000", "150,000", "150 000 XOF", "150000"])
def test_an_amount_is_taken_as_the_page_or_her_country_writes_it(november: November, awa: Browser, typed: str) -> None:
    fields, _buttons = line(awa.open("/report").text, FELL)
    assert awa.client.post("/decide", data=fields | {"do": "value", "amount": typed}).status_code == 200
    assert [(one.verb, one.value) for one in decisions(november)] == [("value", "150000")]


WHY = {
    "": "Aucun montant n'a été saisi.",
    "12 34": "« 12 34 » ne se lit pas comme un montant.",
    "900 000": "C'est plus que le prêt : on peut rapporter 500 000 XOF au plus.",
}


@pytest.mark.parametrize("typed", WHY)
def test_why_an_answer_is_none_is_said_in_her_language(november: November, awa: Browser, typed: str) -> None:
    fields, _buttons = line(awa.open("/report").text, FELL)
    answer = awa.client.post("/decide", data=fields | {"do": "value", "amount": typed})
    shown = html.unescape(answer.text).replace("\u00a0", " ")
    assert WHY[typed] in shown
    assert "kiva-relay" not in shown
    assert "--" not in shown
    assert decisions(november) == []


def test_an_answer_in_a_tab_from_before_it_was_finalised_is_told_why(november: November, awa: Browser) -> None:
    shown = awa.open("/report").text
    fields, buttons = line(shown, FELL)
    assert awa.client.post("/finalised", data=whole(shown) | {"do": "finalised"}).status_code == 200
    answer = awa.client.post("/decide", data=fields | {"do": buttons["Ne pas rapporter"]})
    assert answer.status_code == 409
    again = awa.client.post("/finalised", data=whole(shown) | {"do": "finalised"})
    assert "a été finalisé par awa" in html.unescape(again.text)
    for one in (answer, again):
        assert "Rien n'a" in html.unescape(one.text)
        assert 'lang="en"' not in one.text.replace('value="en" lang="en"', ""), "nothing is English"


def test_a_form_that_was_tampered_with_decides_nothing(november: November, awa: Browser) -> None:
    fields, buttons = line(awa.open("/report").text, FELL)
    send = buttons["Envoyer 150\u00a0000"]
    for change in ({"seen": "0" * 12}, {"kiva_id": "99999"}, {"period": "2020-01"}, {"do": "drop"}, {"form": "x"}):
        assert awa.client.post("/decide", data=fields | {"do": send} | change).status_code in (403, 409)
    assert decisions(november) == []


def test_the_file_is_the_one_that_the_command_writes(november: November, awa: Browser) -> None:
    found = awa.open("/report.csv")
    assert found.headers["content-disposition"] == 'attachment; filename="kiva-report-2026-11.csv"'
    assert "000000413,100000" in found.text
    assert FELL not in found.text, "a person has to decide first"
    assert november.told.config.exists()


def test_she_finalises_it_and_takes_that_back(november: November, awa: Browser) -> None:
    def finalised() -> bool:
        with november.told.outbox.read() as tx:
            found = report.of(tx, PERIOD)
        assert found is not None
        return found.finalised_at is not None

    before = whole(awa.open("/report").text)
    assert awa.client.post("/finalised", data=before | {"do": "finalised"}).status_code == 200
    assert finalised()
    shown = awa.open("/report").text
    assert "<article" not in shown or not _DO.findall(
        "".join(re.findall(r"<article.*?</article>", shown, flags=re.DOTALL))
    ), "nothing more is decided"
    assert awa.client.post("/finalised", data=whole(shown) | {"do": "reopen"}).status_code == 200
    assert not finalised()
    again = awa.client.post("/finalised", data=before | {"do": "finalised"})
    assert again.status_code == 409, "a tab from before all that"
    assert "Rien n'a été fait" in html.unescape(again.text)
    assert not finalised()
    assert awa.client.post("/finalised", data=whole(awa.open("/report").text) | {"do": "finalised"}).status_code == 200
    assert awa.client.post("/finalised", data=whole(shown) | {"do": "reopen"}).status_code == 409
    assert finalised()


def test_only_an_administrator_lets_the_first_report_go(november: November, awa: Browser, url: str) -> None:
    with november.told.outbox.begin() as tx:
        hold.put(tx, "repayment", "first_report", now=NOW)
    fields = whole(awa.open("/report").text) | {"do": "send"}
    assert awa.client.post("/finalised", data=fields).status_code == 403
    with page_process.browser(url) as root:
        root.log_in("root", SECRET)
        shown = root.open("/report").text
        assert "send the report" in shown
        fields = whole(shown) | {"do": "send"}
        assert root.client.post("/finalised", data=fields).status_code == 200
        with november.told.outbox.begin() as tx:
            assert not hold.in_force(tx)
            hold.put(tx, "repayment", "basis_changed", now=NOW)
        assert root.client.post("/finalised", data=fields).status_code == 409, "a tab from before"
    with november.told.outbox.read() as tx:
        assert [one.reason for one in hold.in_force(tx)] == ["basis_changed"]


@pytest.mark.parametrize("query", ["period=2020-01", "period=..", "kind=nothing", "page=0", "page=999999", "page=²"])
def test_an_odd_address_is_no_fault(awa: Browser, query: str) -> None:
    assert awa.open(f"/report?{query}").status_code in (200, 404, 409)
