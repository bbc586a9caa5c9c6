"""The coordinator's page: what it shows, what its buttons do, and whom it does not let in."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay.clock import SystemClock
from kiva_relay.outbox import person, query
from kiva_relay.outbox.person import Person
from kiva_relay.outbox.state import State
from kiva_relay.page import password
from testbed.rig import full_outbox, page_process
from testbed.rig.full_outbox import NAME, FullOutbox
from testbed.rig.page_process import Browser

SECRET = "a long password"
HASH = password.made(SECRET)
BAD = '"><script>alert(1)</script>'


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    for made in full_outbox.configured(tmp_path, monkeypatch):
        text = made.config.read_text()
        made.config.write_text(f"{text}\npage: {{listen: '127.0.0.1:0'}}\n")
        with made.outbox.begin() as tx:
            for name, role, language in (
                ("awa", "coordinator", "fr"),
                ("root", "administrator", "en"),
                ("luz", "coordinator", "es"),
            ):
                person.put(tx, Person(name, role, language), password=HASH, by="test", now=made.now)
        made.runs()
        yield made


@pytest.fixture
def url(told: FullOutbox, tmp_path: Path) -> Iterator[str]:
    with page_process.served(told.config, tmp_path, clock=SystemClock()) as at:
        yield at


def test_as_a_process_of_its_own(told: FullOutbox, tmp_path: Path) -> None:
    with page_process.running(told.config, tmp_path) as at, page_process.browser(at) as awa:
        assert awa.log_in("awa", SECRET).status_code == 200
        assert "Kiva" in awa.open().text


@pytest.fixture
def awa(url: str) -> Iterator[Browser]:
    with page_process.browser(url) as made:
        assert made.log_in("awa", SECRET).status_code == 200
        yield made


def state_of(told: FullOutbox, number: int) -> State:
    with told.outbox.read() as tx:
        found = query.find(tx, number)
    assert found is not None
    return found.state


# ---------------------------------------------------------------- what it shows and does


def test_the_morning_in_her_language_and_no_name(told: FullOutbox, awa: Browser) -> None:
    told.lose(told.owe("000000871"))
    told.accept(
        told.owe("note", resource="journal", loan_id="000000233"), archive_id="a", confirm_url="https://k/1?a=1&b=2"
    )
    shown = awa.open().text
    assert "AUJOURD’HUI" in shown or "AUJOURD&#39;HUI" in shown or "AUJOURD" in shown
    assert "ce projet de prêt y est-il" in shown
    assert 'href="https://k/1?a=1&amp;b=2"' in shown
    assert NAME not in shown
    assert '<html lang="fr">' in shown
    with page_process.browser(str(awa.client.base_url)) as luz:
        luz.log_in("luz", SECRET)
        assert "¿está allí este borrador?" in luz.open().text


@pytest.mark.parametrize(("verb", "becomes"), [("delivered", State.DELIVERED), ("resend", State.READY)])
def test_she_says_what_she_saw_in_pa2_and_it_is_written_down(
    told: FullOutbox, awa: Browser, verb: str, becomes: State
) -> None:
    lost = told.lose(told.owe("000000871"))
    (value,) = [one for one in awa.buttons().values() if one.startswith(f"{verb} ")]
    assert awa.press(value, note="vu dans les Brouillons").status_code == 200
    assert state_of(told, lost.id) is becomes
    assert told.acts()[-1] == ("awa (page)", f"settle --{verb}", "vu dans les Brouillons")
    done = awa.open("/done").text
    assert "<strong>awa</strong>" in done
    assert "(page)" not in done
    assert "vu dans les Brouillons" in done


def test_a_second_click_and_an_old_tab_do_nothing(told: FullOutbox, awa: Browser) -> None:
    lost = told.lose(told.owe("000000871"))
    values = [one for one in awa.buttons().values() if one.startswith(("delivered", "resend"))]
    form = awa.form()
    assert awa.press(values[0], form=form).status_code == 200
    for again in values:
        answer = awa.press(again, form=form)
        assert answer.status_code == 409
        assert "Rien n" in answer.text
    assert state_of(told, lost.id) is State.DELIVERED
    assert len([one for one in told.acts() if one[1].startswith("settle")]) == 1


def test_what_is_done_leaves_the_list(told: FullOutbox, awa: Browser) -> None:
    told.accept(told.owe("note", resource="journal", loan_id="000000233"), archive_id="a", confirm_url="https://k/1")
    ((label, value),) = awa.buttons().items()
    assert label == "Marquer comme fait"
    awa.press(value)
    assert "https://k/1" not in awa.open().text


def test_the_life_of_a_loan(told: FullOutbox, awa: Browser) -> None:
    told.settle(told.lose(told.owe("KV/0001 é")), "resend")
    shown = awa.client.get("/loan", params={"id": "KV/0001 é"}).text
    assert "envoyé\u00a0; la réponse s&#39;est perdue" in shown
    assert "awa\u00a0: a demandé de le renvoyer" in shown
    assert "Le relais n&#39;a jamais rien dû" in awa.client.get("/loan", params={"id": BAD}).text


def test_what_comes_from_outside_is_text(told: FullOutbox, awa: Browser) -> None:
    told.lose(told.owe(BAD))
    told.accept(told.owe("n", resource="journal", loan_id=BAD), archive_id="a", confirm_url=f"javascript:alert(1){BAD}")
    for path in ("/", "/done", f"/loan?id={BAD}"):
        shown = awa.open(path).text
        assert "<script" not in shown
        assert 'href="javascript' not in shown


def test_only_an_administrator_says_that_something_must_not_go_out(told: FullOutbox, awa: Browser, url: str) -> None:
    waits = told.owe("000000917")
    value = f"discard {waits.id}:{waits.row_version}"
    assert awa.press(value).status_code == 403
    assert awa.press(f"delivered {waits.id}:{waits.row_version}").status_code == 403
    assert state_of(told, waits.id) is State.READY
    with page_process.browser(url) as root:
        root.log_in("root", SECRET)
        assert root.press(value).status_code == 200
    assert state_of(told, waits.id) is State.DISCARDED


def test_it_works_while_the_relay_and_kiva_are_away(told: FullOutbox, awa: Browser) -> None:
    with told.outbox.begin() as tx:
        tx.exec_driver_sql("DELETE FROM meta WHERE name LIKE '%heartbeat%'")
    assert awa.open().status_code == 200


# ---------------------------------------------------------------- whom it does not let in


@pytest.mark.parametrize("path", ["/", "/loan?id=1", "/done", "/act", "/nothing", "/style.css/..", "/login/../done"])
def test_without_a_session_nothing_but_the_login_answers(url: str, path: str) -> None:
    with page_process.browser(url, follow=False) as nobody:
        for answer in (nobody.open(path), nobody.client.post(path, data={"form": "x"})):
            assert answer.status_code in (303, 307, 405)
            assert "000000" not in answer.text


def test_a_wrong_name_and_a_wrong_password_look_alike(url: str) -> None:
    with page_process.browser(url) as nobody:
        answers = [nobody.log_in("awa", "wrong"), nobody.log_in("nobody", SECRET)]
    texts = [re.sub('value="[^"]*"', "", one.text) for one in answers]
    assert texts[0] == texts[1]
    assert {one.status_code for one in answers} == {403}


def test_who_guesses_has_to_wait_also_with_the_right_password(url: str) -> None:
    with page_process.browser(url) as nobody:
        codes = [nobody.log_in("luz", f"guess {number}").status_code for number in range(8)]
        assert codes[:5] == [403] * 5
        assert 429 in codes[5:]
        assert nobody.log_in("luz", SECRET).status_code == 429


def test_a_form_from_elsewhere_does_nothing(told: FullOutbox, awa: Browser) -> None:
    lost = told.lose(told.owe("000000871"))
    value = f"delivered {lost.id}:{lost.row_version}"
    form = awa.form()
    assert awa.press(value, form="").status_code == 403
    assert awa.press(value, form=form[:-1]).status_code == 403
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = awa.client.post("/act", data={"form": form, "do": value}, headers=headers)
        assert answer.status_code == 400
    assert state_of(told, lost.id) is State.IN_DOUBT


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost:1", "", "127.0.0.1:{port}.evil.example", "127.0.0.1:{port}@evil"]
)
def test_another_name_for_this_machine_is_not_answered(url: str, host: str) -> None:
    port = url.rpartition(":")[2]
    with page_process.browser(url) as nobody:
        answer = nobody.client.get("/login", headers={"Host": host.format(port=port)})
    assert answer.status_code == 400


def test_a_session_is_new_at_each_login_and_ends(told: FullOutbox, url: str) -> None:
    with page_process.browser(url, follow=False) as one:
        one.client.cookies.set("kiva-relay", "chosen by somebody else")
        one.log_in("awa", SECRET)
        token = one.client.cookies.get("kiva-relay", domain="127.0.0.1")
        assert token not in (None, "chosen by somebody else")
        assert (
            one.client.post("/logout", data={"form": page_process._FORM.findall(one.open().text)[0]}).status_code == 303
        )
        one.client.cookies.clear()
        one.client.cookies.set("kiva-relay", str(token))
        assert one.open().status_code == 303, "the old token is worth nothing"
        one.client.cookies.clear()
        one.log_in("awa", SECRET)
        assert one.open().status_code == 200
        with told.outbox.begin() as tx:
            person.remove(tx, "awa")
        assert one.open().status_code == 303, "who was taken off is out at once"


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/report?period=2026-11&kind=decide", "/report?period=2026-11&kind=decide"),
        ("/loan?id=KV%2F93+%C3%A9%22", "/loan?id=KV%2F93+%C3%A9%22"),
        ("/drafts?said=did", "/drafts"),
        ("/", "/"),
        ("/nothing", "/"),
        ("/report.csv", "/"),
    ],
)
def test_who_logs_in_comes_where_she_wanted_to_be(url: str, path: str, leads: str) -> None:
    """As by the link of a mail, or when the session had ended; also after a mistake in the password."""
    with page_process.browser(url) as one:
        asked = one.open(path)
        assert asked.url.path == "/login"
        hidden = [html.unescape(to) for to in re.findall('name="to" value="([^"]*)"', asked.text)]
        again = one.client.post("/login", data={"name": "awa", "password": "wrong", "to": hidden})
        assert [html.unescape(to) for to in re.findall('name="to" value="([^"]*)"', again.text)] == hidden
        found = one.client.post("/login", data={"name": "awa", "password": SECRET, "to": hidden})
        assert found.status_code == 200
        assert str(found.url) == url + leads


def test_every_answer_forbids_what_we_do_not_use(awa: Browser) -> None:
    for answer in (awa.open(), awa.open("/style.css"), awa.client.get("/", headers={"Host": "evil"})):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
    cookie = next(iter(awa.client.cookies.jar))
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"


def test_too_long_a_form_is_not_read(awa: Browser) -> None:
    assert awa.client.post("/login", content=b"x" * 70_000).status_code == 400
    chunks = (b"x" * 10_000 for _ in range(10))
    assert awa.client.post("/login", content=chunks).status_code == 400


@pytest.mark.parametrize(("here", "leads"), [("drafts", "/drafts"), ("report", "/report"), ("//evil.example", "/")])
def test_who_chooses_a_language_stays_where_she_is(awa: Browser, here: str, leads: str) -> None:
    form = awa.form()
    answer = awa.client.post("/language", data={"form": form, "language": "es", "here": here})
    assert (answer.url.path, answer.url.host) == (leads, "127.0.0.1")
    assert '<html lang="es">' in answer.text
    assert f'name="here" value="{here}"' in answer.text or leads == "/"


def test_an_answer_after_the_session_ended_is_told_to_have_done_nothing(awa: Browser) -> None:
    form = awa.form()
    assert awa.client.post("/logout", data={"form": form}).url.query == b""
    for path in ("/act", "/decide", "/finalised", "/language"):
        answer = awa.client.post(path, data={"form": form, "do": "delivered 1:1"}, headers={"Accept-Language": "fr"})
        assert "rien n'a été fait. Connectez-vous" in html.unescape(answer.text)
    assert "entre-temps" not in awa.client.get("/drafts", headers={"Accept-Language": "fr"}).text
