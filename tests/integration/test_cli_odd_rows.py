"""Rows of the MIS without a key, with a text that cannot be read, and gone by the dozen: what the commands say of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kiva_relay import cli
from testbed.kiva import server
from testbed.rig.note_site import NoteSite

Run = Callable[..., tuple[int, str]]

NULL = "2 rows without a key (NULL)"
QUERY = "SELECT * FROM shown WHERE id IS NULL;"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NoteSite]:
    """A site that has a stand-in for Kiva to talk to."""
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t-of-the-relay")
    monkeypatch.delenv("KIVA_RELAY_CONFIG", raising=False)
    made = NoteSite(tmp_path, tables=("shown",))
    with server.start() as kiva:
        text = made.config.read_text().replace("/token\n", "/oauth/token\n")
        made.config.write_text(text.replace("http://127.0.0.1:9", kiva.url).replace("abc", "relay"))
        yield made


@pytest.fixture
def run(site: NoteSite, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command; its exit code, and what it printed."""

    def typed(*command: str) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main([*command, "--config", str(site.config)])
        return code, " ".join("".join(capsys.readouterr()).split())

    return typed


def change(site: NoteSite, *statements: str) -> None:
    with closing(sqlite3.connect(site.folder / "mis.db")) as mis, mis:
        for statement in statements:
            mis.execute(statement)


def test_all_commands_say_it_until_the_rows_have_a_key(site: NoteSite, run: Run) -> None:
    site.note("shown", times=5)
    change(
        site,
        "ALTER TABLE shown RENAME TO held",
        "CREATE VIEW shown AS SELECT CASE WHEN id IN (2, 4) THEN NULL ELSE id END AS id, account, body, changed FROM held",
    )
    code, printed = run("mapping", "check")
    assert code == 0
    assert NULL in printed
    assert "keeps two rows of shown from having one id" in printed
    assert "SELECT id, COUNT(*) FROM shown GROUP BY id HAVING COUNT(*) > 1;" in printed
    for command in (("backfill", "--dry-run"), ("run", "--once"), ("run", "--once")):
        code, printed = run(*command)
        assert (code, NULL in printed, QUERY in printed) == (1, True, True), (command, printed)
    code, printed = run("check")
    assert code == 1
    assert NULL in printed
    _, printed = run("status")
    assert NULL in printed
    with site.relay() as relay:
        assert [site.body(relay, number) != "" for number in (1, 2, 3, 4, 5)] == [True, False, True, False, True]
    change(site, "DROP VIEW shown", "CREATE VIEW shown AS SELECT * FROM held")
    code, printed = run("sweep")
    assert (code, NULL in printed) == (0, False)
    code, printed = run("run", "--once")
    assert (code, NULL in printed) == (0, False)
    assert NULL not in run("status")[1]
    with site.relay() as relay:
        assert site.body(relay, 2)


def test_a_table_with_a_key_of_its_own_is_not_warned_of(site: NoteSite, run: Run) -> None:
    site.note("shown", times=5)
    code, printed = run("mapping", "check")
    assert code == 0
    assert "from having one" not in printed


def test_a_text_that_cannot_be_read_is_one_reason_and_its_row_has_a_name(site: NoteSite, run: Run) -> None:
    site.note("shown", times=3)
    mapping = site.folder / "mappings" / "journal.shown.yaml"
    mapping.write_text(mapping.read_text().replace("identity: id", "identity: account ~ id"))
    change(site, "UPDATE shown SET account = CAST(X'4ce9' AS TEXT) WHERE id = 2")
    reason = "shown.account"
    code, printed = run("run", "--once")
    assert code == 0, printed
    for command in (("outbox", "list", "--state", "refused"), ("review",), ("mapping", "check")):
        _, printed = run(*command)
        assert printed.count(reason) == 1, (command, printed)
        assert "cannot be read" in printed, (command, printed)
        assert "row 2" in printed, (command, printed)


def test_rows_that_left_by_the_dozen_are_a_question_on_each_screen(site: NoteSite, run: Run) -> None:
    site.note("shown", times=60)
    assert run("run", "--once")[0] == 0
    change(site, "DELETE FROM shown WHERE id <= 40")
    why = "many of its rows are not in the MIS any more"
    left = "40 of the 60 rows in scope left within a day. Nothing was withdrawn for them."
    code, printed = run("sweep")
    assert (code, why in printed, left in printed) == (1, True, True), printed
    _, printed = run("status")
    assert left in printed
    assert "the relay lifts this by itself" in printed
    assert "They really left: kiva-relay release stream:journal.shown" in printed
    _, printed = run("outbox", "show", "3")
    assert "Its row was not there when it was last looked for" in printed
    assert "nothing needs you" not in printed
    code, printed = run("release", "stream:journal.shown", "--note", "they left", "--yes")
    assert "what was not sent of it is withdrawn" in printed
    assert code == 0
    assert run("run", "--once")[0] == 0
    assert "withdrawn: deleted in the MIS" in run("outbox", "show", "3")[1]
    assert why not in run("status")[1]
