"""What was tried against the page, and must not work: guessing from everywhere, slowness, odd letters, old sessions."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kiva_relay.clock import SystemClock
from kiva_relay.outbox import person
from kiva_relay.outbox.person import Person
from kiva_relay.page import attempts, brought, house, password
from kiva_relay.page.attempts import Attempts
from kiva_relay.page.impatient import ImpatientProtocol
from testbed.rig import full_outbox, page_process, patience
from testbed.rig.full_outbox import FullOutbox
from testbed.rig.set_clock import SetClock

SECRET = "a long password"
HASH = password.made(SECRET)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    for made in full_outbox.configured(tmp_path, monkeypatch):
        made.config.write_text(f"{made.config.read_text()}\npage: {{listen: '127.0.0.1:0'}}\n")
        with made.outbox.begin() as tx:
            for name in ("awa", "luz"):
                person.put(tx, Person(name, "coordinator", "en"), password=HASH, by="test", now=made.now)
        made.runs()
        yield made


@pytest.fixture
def url(told: FullOutbox, tmp_path: Path) -> Iterator[str]:
    with page_process.served(told.config, tmp_path, clock=SystemClock()) as at:
        yield at


# ---------------------------------------------------------------- guessing


def test_a_hundred_guesses_at_once_are_a_hundred(
    told: FullOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was counted when it had been checked: until then all others were free. All come in the same moment."""
    checked: list[str] = []
    together, most = [0], [0]
    lock = threading.Lock()

    def slow(_kept: str | None, written: str) -> bool:
        with lock:
            checked.append(written)
            together[0] += 1
            most[0] = max(most[0], together[0])
        time.sleep(0.05)  # a real check takes as long: that is when the others come
        with lock:
            together[0] -= 1
        return False

    monkeypatch.setattr(password, "fits", slow)

    def guess(url: str) -> int:
        with page_process.browser(url) as nobody:
            return nobody.log_in("awa", "a guess").status_code

    with page_process.served(told.config, tmp_path, clock=SetClock(told.now)) as at, ThreadPoolExecutor(20) as pool:
        codes = list(pool.map(guess, [at] * 60))
    assert set(codes) == {403, 429}
    assert 5 <= len(checked) <= 6, "five are free, and one more that is looked at with the fifth"
    assert most[0] <= 2, "each takes 64 MB"


def test_who_tries_many_names_does_not_have_one_forgotten() -> None:
    found = Attempts(SystemClock())
    for _ in range(8):
        found.begun(("name awa",))
    for number in range(attempts._MOST_REMEMBERED + 10):
        found.begun((f"name {number}",))
    assert found.wait(("name awa",)) > 0
    assert len(found._failed) == attempts._MOST_REMEMBERED


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("", "", True),
    ],
)
def test_a_household_of_addresses_is_one(one: str, other: str, *, are_one: bool) -> None:
    assert (attempts.network(one) == attempts.network(other)) is are_one


def test_the_right_password_takes_back_its_own_try_and_no_other(url: str) -> None:
    with page_process.browser(url) as one:
        for _ in range(8):
            assert one.log_in("awa", SECRET).status_code == 200, "who logs in often does not guess"
        for _ in range(4):
            one.log_in("nobody", "wrong")
        assert one.log_in("awa", SECRET).status_code == 200


# ---------------------------------------------------------------- sessions


def test_a_password_that_was_changed_while_it_was_checked_opens_nothing(
    told: FullOutbox, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed_meanwhile(_kept: str | None, _written: str) -> bool:
        with told.outbox.begin() as tx:
            person.put(tx, Person("awa", "coordinator", "en"), password="another", by="root", now=told.now)
        return True

    monkeypatch.setattr(password, "fits", changed_meanwhile)
    with page_process.browser(url) as one:
        assert one.log_in("awa", SECRET).status_code == 403
        assert one.open().url.path == "/login"


def test_a_new_password_and_a_new_role_end_what_is_open(told: FullOutbox, url: str) -> None:
    with page_process.browser(url) as one:
        one.log_in("awa", SECRET)
        assert one.open("/done").status_code == 200
        with told.outbox.begin() as tx:
            person.put(tx, Person("awa", "administrator", "en"), password=HASH, by="root", now=told.now)
        assert one.open("/done").url.path == "/login"


def test_the_session_of_one_is_not_the_form_of_another(told: FullOutbox, url: str) -> None:
    lost = told.lose(told.owe("000000871"))
    with page_process.browser(url) as awa, page_process.browser(url) as luz:
        awa.log_in("awa", SECRET)
        luz.log_in("luz", SECRET)
        value = f"delivered {lost.id}:{lost.row_version}"
        assert luz.press(value, form=awa.form()).status_code == 403


def test_where_it_is_encrypted_no_neighbour_sets_the_cookie() -> None:
    assert house._COOKIE_ENCRYPTED.startswith("__Host-")


# ---------------------------------------------------------------- odd letters


@pytest.mark.parametrize("path", ["/loan?id=a%00b", "/task?name=%00", "/report?period=%00&kind=%00", "/?said=%00%FF"])
def test_the_letter_zero_is_no_fault(url: str, path: str) -> None:
    with page_process.browser(url) as one:
        assert one.log_in("awa%00", "x").status_code == 403
        assert one.client.post("/login", content=b"name=awa%00&password=%00").status_code in (403, 429)
        one.log_in("awa", SECRET)
        assert one.open(path).status_code == 200


@pytest.mark.parametrize(
    "to",
    [
        "//evil.example",
        "https://evil.example/report",
        "/\\evil.example",
        "/report/../../evil",
        "/report\r\nX: y",
        "/logout",
        "/report?a\r\nX: y",
        "/report#@evil",
        "report",
        "/loan?" + "a" * 501,
        "/act?do=x",
        "/loginx",
        "/report?\u202e",
    ],
)
def test_no_log_in_leads_elsewhere(url: str, to: str) -> None:
    with page_process.browser(url, follow=False) as one:
        shown = one.client.get("/login", params={"to": to})
        assert 'name="to"' not in shown.text
        answer = one.client.post("/login", data={"name": "awa", "password": SECRET, "to": to})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "x" not in answer.headers


def test_nothing_that_a_form_brings_holds_the_letter_zero() -> None:
    assert brought.without_zero({"note": "a\0b"}) == {"note": "ab"}


@pytest.mark.parametrize("back", ["/\r\nSet-Cookie: a=b", "/drafts\nX: y", "\\\\evil.example", "/%0d%0aX: y"])
def test_no_header_is_written_by_a_form(told: FullOutbox, url: str, back: str) -> None:
    told.accept(told.owe("n", resource="journal", loan_id="000000233"), archive_id="a", confirm_url="https://k/1")
    with page_process.browser(url, follow=False) as one:
        one.log_in("awa", SECRET)
        (value,) = [each for each in one.buttons().values() if each.startswith("done ")]
        fields = {"form": one.form(), "do": value, "back": back, "loan": ""}
        answer = one.client.post("/act", data=fields)
        assert answer.headers["location"] == "/?said=did"
        fields["loan"] = "x\r\nSet-Cookie: a=b"
        answer = one.client.post("/act", data=fields)
        assert "set-cookie" not in answer.headers


# ---------------------------------------------------------------- slow, and many


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: ",
        b"POST /login HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\nname=",
        b"GET /style.css HTTP/1.1\r\nHost: {host}\r\n\r\nGET /",
    ],
    ids=["nothing", "headers", "body", "second"],
)
def test_who_never_ends_a_request_is_not_waited_for(url: str, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(ImpatientProtocol, "slowest", 0.4)
    host = urlsplit(url).netloc
    with socket.create_connection((host.partition(":")[0], int(host.rpartition(":")[2]))) as slow:
        slow.sendall(begun.replace(b"{host}", host.encode()))
        slow.settimeout(patience.seconds(10))
        with contextlib.suppress(ConnectionError):
            while slow.recv(65_536):
                pass  # until it is closed; else it takes longer than the socket waits
    with page_process.browser(url) as one:
        assert one.log_in("awa", SECRET).status_code == 200, "the others are served"


def test_requests_behind_each_other_are_answered_each_for_itself(url: str) -> None:
    """A second request within the first one's body is no request; two behind each other are two."""
    host = urlsplit(url).netloc
    one = f"GET /done HTTP/1.1\r\nHost: {host}\r\n\r\n"
    hidden = f"POST /login HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(one)}\r\n\r\n{one}"
    with socket.create_connection((host.partition(":")[0], int(host.rpartition(":")[2]))) as raw:
        raw.settimeout(patience.seconds(10))
        raw.sendall(f"{one}{hidden}".encode())
        raw.sendall(one.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode())
        answer = b""
        while part := raw.recv(65_536):
            answer += part
    assert answer.count(b"HTTP/1.1 303") == 2
    assert answer.count(b"HTTP/1.1 403") == 1


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 50\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: +5\r\n",
    ],
)
def test_a_body_of_two_lengths_is_not_read(url: str, headers: str) -> None:
    host = urlsplit(url).netloc
    with socket.create_connection((host.partition(":")[0], int(host.rpartition(":")[2]))) as raw:
        raw.settimeout(patience.seconds(10))
        raw.sendall(f"POST /login HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n0\r\n\r\nGET /done HTTP/1.1\r\n".encode())
        answer = raw.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 400")
