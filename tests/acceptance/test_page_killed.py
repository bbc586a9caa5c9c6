"""All buttons once, in each language, in a browser, while the relay runs and is killed: no act is lost, none is double."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.clock import SystemClock
from kiva_relay.outbox import person, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.person import Person
from kiva_relay.page import password
from testbed.kiva import server as kiva_server
from testbed.kiva.control import Sandbox
from testbed.rig import chromium, page_process, patience
from testbed.rig.chromium import Window
from testbed.rig.office import Office
from testbed.rig.relay_process import RelayProcess

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing() or "")]

SECRET = "a long password"
WORDS = {
    "en": ("It is another loan: send it", "It is the same loan: do not send it", "Mark as done", "I published it in PA2"),
    "fr": ("C'est un autre prêt : l'envoyer", "C'est le même prêt : ne pas l'envoyer", "Marquer comme fait",
           "Je l'ai publié dans PA2"),
    "es": ("Es otro préstamo: enviarlo", "Es el mismo préstamo: no enviarlo", "Marcar como hecho", "Lo publiqué en PA2"),
}  # fmt: skip


class Branch:
    """An office whose loans are all of one client and amount, so that each but the first is asked about."""

    def __init__(self, folder: Path, kiva: Sandbox, url: str, outbox: str) -> None:
        changes = {"page.listen": "127.0.0.1:0", "journals.batch": 1} | ({"outbox.url": outbox} if outbox else {})
        self.office = Office(folder, url, changes=changes)
        self.kiva = kiva
        mapping = folder / "mappings" / "loan_draft.yaml"
        mapping.write_text(mapping.read_text().replace("\"'C' ~ account\"", '{text: "C1"}'))
        self.relay = RelayProcess(self.office.config)
        self.kills = 0
        self._over = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The relay, which is killed again and again until the block ends, and then runs."""
        self.relay.begin()
        killer = threading.Thread(target=self._kill, daemon=True)
        try:
            patience.eventually(lambda: Path(self.office.folder / "relay.log").exists() and " ready " in self.relay.log)
            killer.start()
            yield
        finally:
            self._over.set()
            if killer.ident is not None:
                patience.joined(killer)
            self.relay.end()

    def is_left_alone(self) -> None:
        """Nobody kills it any more."""
        self._over.set()

    def _kill(self) -> None:
        while not self._over.wait(2):
            if self.relay.log.count(" ready ") <= self.kills:
                continue  # this life has not begun yet
            process = self.relay.process
            assert process is not None
            process.kill()
            process.wait()
            self.kills += 1
            self.relay.begin()

    def rows(self, *columns: str, **where: str) -> list[tuple[object, ...]]:
        """Entries."""
        with self.outbox.read() as tx:
            query = sa.select(*(table.entry.c[name] for name in columns)).order_by(table.entry.c.id)
            for name, value in where.items():
                query = query.where(table.entry.c[name] == value)
            return [tuple(row) for row in tx.execute(query)]

    def acts(self) -> Counter[str]:
        """What persons did on the page."""
        with self.outbox.read() as tx:
            acts = table.act.c
            return Counter(tx.execute(sa.select(acts.verb).where(acts.person.contains("(page)"))).scalars())

    @property
    def outbox(self) -> Outbox:
        """As the page sees it."""
        if not hasattr(self, "_outbox"):
            self._outbox = Outbox(self.office.changes.get("outbox.url", self.office.outbox))
        return self._outbox


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.night)])
def branch(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Branch]:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    outbox = "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_outbox"))
    with kiva_server.start() as pa2, Sandbox(pa2.url) as kiva:
        made = Branch(tmp_path, kiva, pa2.url, outbox)
        yield made
        made.outbox.close()


def press(branch: Branch, window: Window, path: str, label: str) -> None:
    """The first button of that name on a page, pressed until it is written down.

    Two clicks at once are tried in `test_page_in_browser.py`, where the button is named by its number: here the second
    would be on the next draft.
    """
    from playwright import sync_api as playwright  # noqa: PLC0415 - where there is no browser, none of it is needed

    before = branch.acts().total()
    words = re.escape(label).replace(r"\ ", r"\s")  # before a colon stands a blank that no line ends at
    button = window.page.get_by_role("button", name=re.compile(f"{words}$"))

    def is_done() -> bool:
        if branch.acts().total() > before:
            return True
        try:
            window.open(path)
            if button.count():
                button.first.click()
                window.page.wait_for_load_state("networkidle")
        except playwright.Error:
            return False  # an answer came in between
        return branch.acts().total() > before

    patience.eventually(is_done, within=60)
    assert branch.acts().total() == before + 1, "one press is one act"


@pytest.mark.timeout(600)
def test_no_act_is_lost_and_none_is_double(branch: Branch, tmp_path: Path) -> None:
    office, kiva = branch.office, branch.kiva
    kiva.seed_loans([{"internal_loan_id": "K1"}])
    loans = [office.grant() for _ in range(10)]
    for _ in range(3):
        office.tell("K1")
    with branch.running():
        patience.eventually(lambda: len(branch.rows("id", reason="probable_duplicate")) == 9, within=60)
        patience.eventually(lambda: len(branch.rows("id", resource="journal", state="delivered")) == 3, within=60)
        with branch.outbox.begin() as tx:
            for language in WORDS:
                who = Person(language, "coordinator", language)
                person.put(tx, who, password=password.made(SECRET), by="test", now=SystemClock().now())
        with page_process.running(office.config, tmp_path) as url, chromium.running() as browser:
            for language, (another, same, done, published) in WORDS.items():
                with browser.window(url) as window:
                    window.log_in(language, SECRET)
                    press(branch, window, "/drafts", another)
                    press(branch, window, "/", same)
                    press(branch, window, "/journals", done)
                    press(branch, window, "/drafts", published)
            branch.is_left_alone()
            patience.eventually(lambda: branch.rows("id", state="ready") == [] and len(drafts(kiva)) >= 3, within=90)
    assert branch.acts() == {"draft another": 3, "settle --discard": 3, "review done": 6}
    assert branch.kills > 0
    sent = Counter(drafts(kiva))
    assert set(sent.values()) == {1}, "nothing went twice"
    refused = {str(loan) for (loan,) in branch.rows("loan_id", state="discarded")}
    assert len(refused) == 3
    assert not refused & set(sent), "what is the same loan never goes out"
    asked = {str(loan) for (loan,) in branch.rows("loan_id", state="waiting", reason="probable_duplicate")}
    assert set(sent) | refused | asked == set(loans), "each is there, discarded, or still asked about"


def drafts(kiva: Sandbox) -> list[str]:
    """The loans that Kiva took drafts of, once for each time."""
    return [loan for record in kiva.ledger(resource="loan_draft", bodies=False) for loan in record["loan_ids"]]
