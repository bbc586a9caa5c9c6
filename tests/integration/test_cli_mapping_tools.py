"""`mapping diff|edit|new|schema|test --record`, `rehearse`: on a live book, with a relay's own outbox beside it."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kiva_relay import cli
from kiva_relay.config import shipped
from kiva_relay.mapping import document
from testbed.rig import patience
from testbed.rig.patience import eventually
from testbed.rig.site import Site

Run = Callable[..., tuple[int, str, str]]
NAME = "loan_draft.individual"


@pytest.fixture
def run(house: Site, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        code = cli.main([*arguments, "--config", str(house.config)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


@pytest.fixture
def own(house: Site) -> Path:
    folder = house.folder / "mappings"
    shutil.copytree(shipped.folder("mappings") / "fineract", folder)
    house.changes["mappings"] = str(folder)
    return folder


@pytest.fixture
def good(house: Site) -> list[str]:
    """The individual loans in scope, all made publishable; their ids."""
    house.mis(
        "UPDATE m_loan SET disbursedon_date = NULL, expected_disbursedon_date = current_date + 3"
        " WHERE loan_type_enum IN (1, 3) AND loan_status_id IN (200, 300)"
    )
    rows = house.mis(
        "SELECT account_no FROM m_loan WHERE fund_id = 2 AND loan_type_enum IN (1, 3) AND loan_status_id IN (200, 300)"
    )
    return sorted(row[0] for row in rows)


def test_diff_is_exactly_the_bodies_that_change(run: Run, house: Site, own: Path, good: list[str]) -> None:
    edited = house.folder / "edited.yaml"
    text = (own / f"{NAME}.yaml").read_text()
    edited.write_text(
        text.replace(
            "disburse_time: disbursedon_date or",
            'theme_type_id: "48 if principal_amount > 200000 else none"\n  disburse_time: disbursedon_date or',
        )
    )
    code, out, _ = run("mapping", "diff", NAME, "--with", str(edited), "--json")
    assert code == 1
    found = json.loads(out)
    changed = {one["loan_id"] for one in found["changes"] if one["kind"] == "changed"}
    expected = set()
    for loan in good:
        amount = house.mis("SELECT principal_amount FROM m_loan WHERE account_no = %s", loan)[0][0]
        if amount > 200000:
            expected.add(loan)
    assert changed <= expected
    refused = expected - changed
    for loan in refused:  # what is refused before and after has no body to change
        assert run("mapping", "preview", NAME, "--loan", loan)[0] == 1
    assert found["fields"] == {"theme_type_id": len(changed)}
    assert found["rows"] == len(good)
    code, out, _ = run("mapping", "diff", NAME, "--with", str(own / f"{NAME}.yaml"))
    assert code == 0
    assert "nothing would change" in out


def test_diff_tells_what_comes_into_scope_and_what_leaves_it(run: Run, house: Site, own: Path) -> None:
    edited = house.folder / "edited.yaml"
    text = (own / f"{NAME}.yaml").read_text()
    edited.write_text(text.replace("loan_status_id IN (200, 300)", "loan_status_id IN (300, 600)"))
    _, out, _ = run("mapping", "diff", NAME, "--with", str(edited), "--json")
    kinds = [one["kind"] for one in json.loads(out)["changes"]]

    def scope(status: int) -> int:
        sql = "SELECT count(*) FROM m_loan WHERE fund_id = 2 AND loan_type_enum IN (1, 3) AND loan_status_id = %s"
        return int(house.mis(sql, status)[0][0])

    assert kinds.count("in_scope") == scope(600)
    assert kinds.count("out_of_scope") == scope(200)


def test_diff_with_what_is_in_force(run: Run, house: Site, own: Path, good: list[str]) -> None:
    code, _, err = run("mapping", "diff", NAME)
    assert code == 2
    house.once()
    code, out, _ = run("mapping", "diff", NAME)
    assert (code, "nothing would change" in out) == (0, True)
    file = own / f"{NAME}.yaml"
    file.write_text(
        file.read_text().replace("first_name: {from: client.firstname", "first_name: {from: client.lastname")
    )
    code, out, _ = run("mapping", "diff", NAME)
    assert code == 1
    assert "entreps.first_name" in out
    assert "are at Kiva already" in out
    assert "… → …" in out


def edit(house: Site, script: str, answers: list[str], *arguments: str) -> tuple[int, str]:
    """`mapping edit` on a terminal of its own, with an editor that does what `script` says."""
    editor = house.folder / "editor.sh"
    editor.write_text(f"#!/bin/sh\nset -e\n{script}\n")
    editor.chmod(0o755)
    leader, follower = pty.openpty()
    environ = {**os.environ, "EDITOR": shlex.quote(str(editor)), "KIVA_RELAY_CONFIG": str(house.config)}
    environ.pop("VISUAL", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "kiva_relay", "mapping", "edit", NAME, *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environ,
        close_fds=True,
    )
    os.close(follower)
    os.write(leader, "".join(f"{answer}\n" for answer in answers).encode())
    printed = bytearray()

    def read() -> None:
        while True:
            try:
                data = os.read(leader, 4096)
            except OSError:
                return
            if not data:
                return
            printed.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    code = patience.ended(process, within=60)
    reader.join()
    os.close(leader)
    return code, printed.decode()


def test_edit_puts_in_force_what_a_person_says_yes_to(house: Site, own: Path, good: list[str]) -> None:
    file = own / f"{NAME}.yaml"
    before = file.read_text()
    script = "sed -i 's/disburse_time: disbursedon_date or/theme_type_id: {text: 48, lookup: themes}\\n  disburse_time: disbursedon_date or/; s/text: 48/text: General/' $1"
    code, out = edit(house, script, ["n"])
    assert code == 1, out
    assert "check      ok" in out
    assert "examples" in out
    assert "theme_type_id" in out
    assert file.read_text() == before
    draft = own / f"{NAME}.yaml.draft"
    assert "theme_type_id" in draft.read_text()
    code, out = edit(house, "true", ["y"])
    assert code == 0, out
    assert "theme_type_id" in file.read_text()
    assert not draft.exists()
    assert {each.name for each in own.glob("*edit*")} == set()


@pytest.mark.long
def test_edit_is_live_at_once(house: Site, own: Path, good: list[str]) -> None:
    with house.process():
        eventually(lambda: len(house.sent("loan_draft")) > 0)
        script = "sed -i 's/disburse_time: disbursedon_date or/theme_type_id: {text: General, lookup: themes}\\n  disburse_time: disbursedon_date or/' $1"
        code, out = edit(house, script, ["y"])
        assert code == 0, out
        assert "changed: loan_draft.individual" in out


def test_edit_of_a_broken_file_changes_nothing(house: Site, own: Path) -> None:
    file = own / f"{NAME}.yaml"
    before = file.read_text()
    code, out = edit(house, "sed -i 's/client.lastname/client.lastnam/' $1", ["y"])
    assert code == 1
    assert 'm_client has no column "lastnam"' in out
    assert file.read_text() == before


def test_edit_of_a_ready_made_mapping_needs_a_folder_of_ones_own(run: Run) -> None:
    code, _, said = run("mapping", "edit", NAME)
    assert code == 2
    assert "is ready-made" in said


def test_record_writes_an_example_without_names_that_passes(run: Run, house: Site, own: Path, good: list[str]) -> None:
    loan = good[0]
    ((name, last),) = house.mis(
        "SELECT firstname, lastname FROM m_client WHERE id = (SELECT client_id FROM m_loan WHERE account_no = %s)", loan
    )
    code, out, err = run("mapping", "test", NAME, "--record", "--loan", loan)
    assert code == 0, err
    text = (own / f"{NAME}.test.yaml").read_text()
    assert loan in text
    for written in filter(None, (name, last)):
        assert written not in out
    code, out, err = run("mapping", "test", NAME)
    assert code == 0, out + err
    assert "recorded" in out


def test_update_writes_what_comes_out_now(run: Run, own: Path) -> None:
    file = own / f"{NAME}.yaml"
    file.write_text(
        file.read_text().replace(
            "amount:     {from: principal_amount, money", "amount:     {from: approved_principal, money"
        )
    )
    code, out, _ = run("mapping", "test", NAME)
    assert code == 1
    code, out, _ = run("mapping", "test", NAME, "--update", "--yes")
    assert code == 0
    assert "+++ found" in out
    code, out, _ = run("mapping", "test", NAME)
    assert code == 0, out


def test_new_begins_a_mapping_that_can_be_read(run: Run, house: Site, tmp_path: Path) -> None:
    house.mis(
        "CREATE TABLE loans (id int primary key, loan_no text, client_no text, first_name text, updated_at timestamptz, loan_amount numeric, currency text)"
    )
    file = tmp_path / "loans.yaml"
    code, out, err = run("mapping", "new", "loan_draft", "loans", "--out", str(file))
    assert code == 0, err
    mapping, mistakes = document.read(file, folders=[tmp_path], parameters={})
    assert mapping is not None
    assert mapping.stream.changed_at == ("updated_at",)
    assert mapping.identity.source == "loan_no"
    missing = {each.path for each in mistakes if each.severity == "error"}
    assert missing == {"fields.disburse_time", "fields.schedule"}
    assert run("mapping", "new", "loan_draft", "loans", "--out", str(file))[0] == 2


def test_new_takes_what_belongs_to_the_loan_out_of_its_neighbours(
    run: Run, house: Site, good: list[str], own: Path
) -> None:
    for file in own.glob("*.yaml"):
        file.unlink()
    file = own / "loan_draft.mine.yaml"
    code, _, err = run("mapping", "new", "loan_draft", "m_loan", "--out", str(file))
    assert code == 0, err
    text = file.read_text()
    file.write_text(
        text.replace("  # where: kiva = 1 ", f"  where: account_no = '{good[0]}' ")
        .replace("disburse_time: disbursedon_date", "disburse_time: expected_disbursedon_date")
        .replace("amount: principal_amount", "amount: {from: principal_amount, money: currency_digits}")
    )
    code, out, err = run("mapping", "preview", "loan_draft", "--loan", good[0], "--json")
    assert code == 0, out + err
    body = json.loads(out)
    assert body["entreps"][0]["loan_id"] == good[0]
    assert body["entreps"][0]["first_name"]
    assert sum(row["principal"] for row in body["schedule"]) == body["entreps"][0]["amount"]
    assert "internal_loan_id" not in body


def test_schema_is_json(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["mapping", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "A mapping of kiva-relay"


@pytest.mark.long
def test_rehearse_sends_the_book_to_a_stand_in_and_counts_the_reasons(run: Run, house: Site, good: list[str]) -> None:
    house.mis(
        "UPDATE m_client SET firstname = NULL, fullname = '' WHERE id = (SELECT client_id FROM m_loan WHERE account_no = %s)",
        good[0],
    )
    code, out, err = run("rehearse", "--json")
    assert code == 1, err
    found = json.loads(out)
    drafts = found["loan_draft"]
    assert drafts["good"] + drafts["refused"] + drafts["waiting"] == drafts["in_scope"]
    assert drafts["in_the_stand_in"]["delivered"] == drafts["good"]
    assert any(reason["code"] == "name_empty" and good[0] in reason["loans"] for reason in drafts["reasons"])
    assert house.kiva.ledger() == []
    assert not (house.folder / "outbox.db").exists()
    folder = house.folder / "bodies"
    code, out, err = run("rehearse", "--out", str(folder))
    assert (code, err) == (1, "")
    assert "in scope" in out
    photos = drafts["filled"]["image_encoded"]
    assert 0 < photos < drafts["good"] == drafts["filled"]["entreps"]
    assert "always: entreps, currency," in out
    assert f"{round(100 * photos / drafts['good'])} %: image_encoded" in out
    assert len(list(folder.glob("loan_draft*"))) == drafts["good"]
    assert folder.stat().st_mode & 0o077 == 0


def test_rehearse_with_a_mapping_that_does_not_fit_tells_all_its_mistakes(run: Run, house: Site) -> None:
    house.mis("ALTER TABLE m_client RENAME COLUMN firstname TO first_names")
    house.mis("ALTER TABLE m_client RENAME COLUMN lastname TO last_names")
    code, _, err = run("rehearse")
    assert code == 2
    assert 'm_client has no column "firstname"' in err
    assert 'm_client has no column "lastname"' in err
    assert "nearest: first_names" in err
