"""What an administrator keeps back, lets go and settles on the page; nobody else sees it, or can do it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay.outbox import hold, query
from kiva_relay.outbox.state import State
from testbed.rig import full_outbox, page_process
from testbed.rig.morning import SECRET, Morning
from testbed.rig.page_process import Browser
from testbed.rig.set_clock import SetClock


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
def root(url: str) -> Iterator[Browser]:
    with page_process.browser(url) as made:
        made.log_in("root", SECRET)
        yield made


def held(morning: Morning) -> list[tuple[str, str]]:
    with morning.told.outbox.read() as tx:
        return [(one.what, one.reason) for one in hold.in_force(tx)]


def put(morning: Morning, what: str, reason: str) -> str:
    with morning.told.outbox.begin() as tx:
        hold.put(tx, what, reason, now=morning.told.now)
        return str(hold.in_force(tx)[-1].id)


def test_what_is_kept_back_and_let_go_is_an_act_each(morning: Morning, root: Browser) -> None:
    keep = html.unescape(next(value for value in root.buttons().values() if value.startswith("hold loan_draft")))
    assert root.press(keep, note="the fund is being moved").status_code == 200
    assert held(morning) == [("loan_draft", "asked")]
    shown = html.unescape(root.open().text)
    assert "Drafts: a person asked for it." in shown
    assert "Keep back: drafts" not in shown, "it is"
    (value,) = re.findall(r'value="(release \d+)"', shown)
    form = root.form()
    assert root.press(value, note="it is done", form=form).status_code == 200
    assert held(morning) == []
    assert root.press(value, note="it is done", form=form).status_code == 409, "an old tab"
    assert root.press(keep, note="the fund is being moved", form=form).status_code == 409, "one from before that"
    assert held(morning) == []
    acts = [one for one in morning.told.acts() if one[1] in ("hold", "release")]
    assert acts == [
        ("root (page)", "hold", "the fund is being moved"),
        ("root (page)", "release", "it is done"),
    ]


def test_a_second_click_holds_nothing_twice(morning: Morning, root: Browser) -> None:
    form = root.form()
    answers = [root.press("hold all:0", note="wait", form=form).status_code for _ in range(2)]
    assert answers == [200, 409]
    assert len([one for one in morning.told.acts() if one[1] == "hold"]) == 1


def test_without_a_note_nothing_is_held_or_let_go(morning: Morning, root: Browser) -> None:
    number = put(morning, "repayment", "first_report")
    for value in (f"hold all:{number}", f"release {number}"):
        answer = root.press(value, note="  ")
        assert answer.status_code == 409
        assert "say in a few words why" in answer.text
    assert held(morning) == [("repayment", "first_report")]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("mis_went_back", "may send something twice. It is let go on the server: sudo kiva-relay release all --note"),
        ("many_left", "It is shown, and asked, on the server: sudo kiva-relay release all --note"),
        ("scope_missing", "the relay does so by itself"),
    ],
)
def test_what_asks_for_more_than_a_click_is_not_let_go_by_one(
    morning: Morning, root: Browser, *, reason: str, said: str
) -> None:
    number = put(morning, "all", reason)
    shown = html.unescape(root.open().text)
    assert "?." not in shown
    assert said in " ".join(re.sub("<[^>]*>", " ", shown).split())
    assert f'value="release {number}"' not in shown
    assert root.press(f"release {number}", note="go").status_code == 409
    assert held(morning) == [("all", reason)]


def test_a_coordinator_neither_sees_nor_does_it(morning: Morning, url: str) -> None:
    number = put(morning, "all", "asked")
    waits = morning.owe("000000917")
    with page_process.browser(url) as awa:
        awa.log_in("awa", SECRET)
        assert "Libérer" not in awa.open().text
        assert 'name="do"' not in awa.open("/loan?id=000000917").text
        for value in ("hold loan_draft", f"release {number}", f"discard {waits.id}:{waits.row_version}"):
            assert awa.press(value, note="please").status_code == 403
    assert held(morning) == [("all", "asked")]


@pytest.mark.parametrize(
    "value",
    ["hold", "hold nothing", "hold stream:x", "hold all", "hold all:7", "release", "release 1x", "release 99999"],
)
def test_what_no_button_says_does_nothing(morning: Morning, root: Browser, value: str) -> None:
    assert root.press(value, note="x").status_code == 409
    assert held(morning) == []


def test_an_administrator_settles_a_loan_where_nobody_is_asked(morning: Morning, root: Browser) -> None:
    waits = morning.owe("000000917")
    there = morning.draft("000000918", days=9)
    shown = root.open("/loan?id=000000917").text
    (value,) = re.findall(r'value="(discard [^"]+)"', shown)
    fields = {"form": root.form(), "do": value, "note": "given back", "loan": "000000917"}
    answer = root.client.post("/act", data=fields)
    assert str(answer.url).endswith("/loan?id=000000917&said=did")
    with morning.told.outbox.read() as tx:
        found = query.find(tx, waits.id)
    assert found is not None
    assert found.state is State.DISCARDED
    assert root.client.post("/act", data=fields).status_code == 409
    assert "resend" not in root.open("/loan?id=000000918").text, f"{there.id} is at Kiva: it is deleted there first"
