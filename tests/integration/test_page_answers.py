"""Each task has its answer on the page, each answer is one act, and what an old tab says is no act at all."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import duplicate_table, query, table
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import State
from testbed.rig import full_outbox, page_process
from testbed.rig.full_outbox import NAME, Run
from testbed.rig.morning import EVIL, SECRET, Morning
from testbed.rig.page_process import Browser
from testbed.rig.set_clock import SetClock

_BUTTON = re.compile(r'<button name="do" value="([^"]+)">([^<]+)</button>')


@pytest.fixture
def morning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Morning]:
    for told in full_outbox.configured(tmp_path, monkeypatch):
        told.config.write_text(f"{told.config.read_text()}\npage: {{listen: '127.0.0.1:0'}}\n")
        yield Morning(told)


@pytest.fixture
def url(morning: Morning, tmp_path: Path) -> Iterator[str]:
    with page_process.served(morning.told.config, tmp_path, clock=SetClock(morning.told.now)) as at:
        yield at


@pytest.fixture
def ann(url: str) -> Iterator[Browser]:
    with page_process.browser(url) as made:
        made.log_in("ann", SECRET)
        yield made


def buttons(shown: str) -> dict[str, list[str]]:
    """Verb → what its buttons carry, of a page."""
    found: dict[str, list[str]] = {}
    for value, _label in _BUTTON.findall(shown):
        found.setdefault(value.partition(" ")[0], []).append(html.unescape(value))
    return found


def fresh(morning: Morning, entry: Entry) -> Entry:
    with morning.told.outbox.read() as tx:
        found = query.find(tx, entry.id)
    assert found is not None
    return found


def test_no_task_sends_her_to_the_administrator(morning: Morning, ann: Browser) -> None:
    morning.whole()
    shown = html.unescape(ann.open().text)
    assert shown.count("<article") >= 11
    assert "administrator" not in re.sub(r"The administrator adds it to the list", "", shown)
    for article in re.findall(r"<article.*?</article>", shown, flags=re.DOTALL):
        assert 'name="do"' in article or 'class="button"' in article or "by itself when it is corrected" in article
    for page in ("/report", "/drafts", "/journals"):
        assert f'href="{page}"' in shown


def test_the_price_of_not_deciding_stands_at_the_task(morning: Morning, ann: Browser) -> None:
    morning.decisions()
    shown = html.unescape(ann.open().text)
    assert "Kiva bills 41\u00a0667\u00a0XOF for November" in shown
    assert "[Send" not in shown, "what cannot be pressed does not look like a button"


def test_drafts_say_what_is_missing(morning: Morning, ann: Browser) -> None:
    morning.draft("000000702", days=2, complete=False)
    morning.draft("000000713", days=3)
    shown = html.unescape(ann.open("/drafts").text)
    first, second = re.findall(r"<article.*?</article>", shown, flags=re.DOTALL)
    assert "still to add in PA2: " in first
    assert "photo" in first
    assert "Ready to be published" not in first
    assert "Ready to be published" in second
    assert "2 drafts wait in PA2. 1 is ready to be published." in shown
    assert NAME not in shown


def test_it_is_another_loan_is_one_row_and_no_move(morning: Morning, ann: Browser) -> None:
    entry = morning.twins("000000902", "000000903")
    for path in ("/", "/drafts"):
        found = buttons(ann.open(path).text)
        assert found["another"] == [f"another {entry.id}:{entry.row_version}"]
        assert found["same"] == [f"same {entry.id}:{entry.row_version}"]
    form = ann.form()
    assert ann.press(found["another"][0], note="two stalls", form=form).status_code == 200
    assert fresh(morning, entry) == entry, "the relay moves it, nobody else"
    with morning.told.outbox.read() as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(duplicate_table.duplicate)).scalar() == 1
        assert tx.execute(sa.select(table.captured.c.again)).scalars().all() == [True]
    assert morning.told.acts()[-1] == ("ann (page)", "draft another", "two stalls")
    assert ann.press(found["another"][0], form=form).status_code == 409, "a second click"
    assert "duplicate" not in ann.open().text, "she has answered"
    assert "said that it is another loan" in ann.open("/done").text


def test_it_is_the_same_loan_never_goes_out(morning: Morning, ann: Browser) -> None:
    entry = morning.twins("000000902", "000000903")
    (value,) = buttons(ann.open("/drafts").text)["same"]
    form = ann.form()
    assert ann.press(value, form=form).status_code == 200
    assert fresh(morning, entry).state is State.DISCARDED
    assert ann.press(value, form=form).status_code == 409
    assert ann.press(f"another {entry.id}:{entry.row_version + 1}", form=form).status_code == 403


def test_i_corrected_it_and_i_deleted_it(morning: Morning, ann: Browser) -> None:
    changed, cancelled = morning.changed("000000650"), morning.cancelled("000000640")
    found = buttons(ann.open().text)
    assert found["corrected"] == [f"corrected {changed.id}:{fresh(morning, changed).row_version}"]
    ann.press(found["corrected"][0])
    ann.press(found["deleted"][0], note="deleted at nine")
    assert [verb for _, verb, _ in morning.told.acts()][-2:] == ["review corrected", "review deleted"]
    shown = ann.open().text
    assert "corrected " not in str(buttons(shown))
    assert "000000640" not in shown
    assert fresh(morning, cancelled).done_at is not None
    done = ann.open("/done").text
    assert "corrected in PA2" in done
    assert "deleted in PA2" in done


def test_deleted_there_and_sent_again(morning: Morning, ann: Browser) -> None:
    entry = morning.draft("000000713", days=3)
    (value,) = buttons(ann.open("/drafts").text)["again"]
    form = ann.form()
    assert ann.press(value, form=form).status_code == 200
    assert fresh(morning, entry).state is State.WITHDRAWN, "the MIS is read again"
    assert ann.press(value, form=form).status_code == 409


def test_what_is_published_is_never_sent_again_from_here(morning: Morning, ann: Browser) -> None:
    entry = morning.draft("000000713", days=3)
    (value,) = buttons(ann.open("/drafts").text)["again"]
    morning.told.kiva_lists(MirroredLoan("1", "000000713", "", "fundRaising"))
    assert ann.press(value).status_code == 403
    assert fresh(morning, entry).state is State.DELIVERED


def test_typed_by_hand_while_kiva_is_away(morning: Morning, ann: Browser) -> None:
    entry = morning.owe("000000800", days=3)
    with morning.told.outbox.begin() as tx:
        tx.exec_driver_sql("DELETE FROM meta WHERE name LIKE '%heartbeat%'")
    (value,) = buttons(ann.open().text)["typed"]
    assert ann.press(value).status_code == 200
    assert (fresh(morning, entry).state, fresh(morning, entry).evidence) == (State.DELIVERED, "person")


def test_an_id_in_other_letters_is_hers_to_say(morning: Morning, ann: Browser) -> None:
    entry = morning.owe("kv/93", waits="perhaps_at_kiva")
    morning.told.kiva_lists(MirroredLoan("1", "KV/93", "", "payingBack"))
    shown = ann.open().text
    assert "It is the same loan" in shown
    (same,) = buttons(shown)["delivered"]
    ann.press(same)
    assert fresh(morning, entry).state is State.DELIVERED


def test_one_page_of_pa2_is_one_task(morning: Morning, ann: Browser) -> None:
    morning.journals()
    shown = ann.open("/journals").text
    articles = re.findall(r"<article.*?</article>", shown, flags=re.DOTALL)
    assert [len(re.findall(r"<li>", one)) for one in articles] == [2, 1]
    assert 'href="https://pa2.example/confirm/a1?x=1&amp;y=2"' in articles[0]
    both, one = buttons(shown)["done"]
    answer = ann.client.post("/act", data={"form": ann.form(), "do": both, "back": "/journals"})
    assert str(answer.url).endswith("/journals?said=did")
    assert buttons(answer.text)["done"] == [one]


def test_a_button_leads_back_to_our_pages_only(morning: Morning, ann: Browser) -> None:
    for number, back in enumerate(
        ("//evil.example", "https://evil.example", "/logout", "/drafts/../x", "javascript:x")
    ):
        entry = morning.cancelled(f"{number + 6000:09}")
        value = f"deleted {entry.id}:{fresh(morning, entry).row_version}"
        answer = ann.client.post("/act", data={"form": ann.form(), "do": value, "back": back}, follow_redirects=False)
        assert answer.headers["location"] == "/?said=did"


def test_there_is_no_other_button(morning: Morning, ann: Browser) -> None:
    entry = morning.doubt("000000871")
    for verb in ("deleted_everything", "", "settle", "DONE"):
        assert ann.press(f"{verb} {entry.id}:{fresh(morning, entry).row_version}").status_code == 409
    assert fresh(morning, entry).state is State.IN_DOUBT


def test_a_long_list_is_shown_in_pages(morning: Morning, ann: Browser) -> None:
    for number in range(30):
        morning.doubt(f"{7000 + number:09}")
    shown = ann.open().text
    assert "are these 30 drafts there?" in shown
    assert len(buttons(shown)["delivered"]) == 10
    assert "Show all 30" in shown
    (more,) = re.findall(r'<a href="(/task[^"]+)">', shown)
    seen = set()
    for page in (1, 2, 3):
        seen |= set(buttons(ann.open(f"{more}&page={page}").text)["delivered"])
    assert len(seen) == 30
    assert ann.open("/task?name=nothing").url.path == "/"


def test_what_was_done_is_told_in_her_words(morning: Morning, url: str) -> None:
    morning.november.kiva_expects("000000412")
    entry = morning.november.position("000000412", "150000", waits="position_fell")
    assert entry is not None
    morning.november.decided("00001", "000000412", "leave_out")
    with page_process.browser(url) as awa:
        awa.log_in("awa", SECRET)
        shown = html.unescape(awa.open("/loan?id=000000412").text)
        assert "awa\u00a0: a décidé de ne pas le rapporter" in shown
        assert "asked the branch" in shown


def test_what_was_typed_elsewhere_is_text_on_every_page(morning: Morning, ann: Browser) -> None:
    morning.whole()
    morning.draft(EVIL, days=1, client_id=EVIL)
    given: dict[str, Any] = {"loan_id": EVIL, "amount": None, "currency": None}
    owed = morning.told.owe("evil note", resource="journal", **given)
    morning.told.accept(owed, archive_id=EVIL, confirm_url=f"https://x/{EVIL}")
    morning.november.kiva_expects(EVIL)
    for path in ("/", "/drafts", "/journals", "/report", "/loan?id=000001204", "/done"):
        shown = ann.open(path).text
        assert "<script" not in shown, path
        assert "<img" not in shown, path


def test_status_and_review_say_it_too(morning: Morning, capsys: pytest.CaptureFixture[str]) -> None:
    run: Run = full_outbox.runner(capsys)
    entry = morning.twins("000000902", "000000903")
    assert "1 draft that may be owed twice" in run("status").out
    told = run("review", "--lang", "fr").out
    assert "est peut-être un doublon" in told
    assert f"« le {entry.id} est un autre prêt »" in told
    (task,) = [one for one in run("review", "--json").json if one["kind"] == "duplicate"]
    assert task["params"] == {"like": {str(entry.id): ["000000902"]}}
    shown = run("outbox", "show", entry.id).out
    assert f"outbox settle {entry.id} --resend" in shown
    assert f"outbox settle {entry.id} --discard" in shown


def test_corrected_twice_is_one_act_and_the_draft_stays_to_be_published(morning: Morning, ann: Browser) -> None:
    entry = morning.changed("000000650")
    value = ann.buttons()["I corrected it in PA2"]
    assert ann.press(value).status_code == 200
    assert ann.press(value).status_code == 409, "a second click, or an old tab"
    assert [verb for _, verb, _ in morning.told.acts()] == ["review corrected"]
    with morning.told.outbox.read() as tx:
        found = query.find(tx, entry.id)
    assert found is not None
    assert found.done_at is None


def test_a_note_of_any_letters_stays_beside_its_own_line(morning: Morning, ann: Browser) -> None:
    """A letter that turns the direction of a line around turns no more than the note; what is too long is cut."""
    lost = morning.doubt("000000871")
    note = "👩🏽‍🌾 déjà vu \u202eשלום مرحبا " + "x" * 2_000
    assert ann.press(f"delivered {lost.id}:{lost.row_version}", note=note).status_code == 200
    (kept,) = [one for _, verb, one in morning.told.acts() if verb == "settle --delivered"]
    assert kept == note[:1_000]
    for path in ("/done", "/loan?id=000000871"):
        assert f"<q><bdi>{kept}</bdi></q>" in ann.open(path).text
