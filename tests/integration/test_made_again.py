"""`mapping diff` without a name: what this version makes of the present book, beside what the outbox holds of it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.mapping import mapper
from testbed.boot import trial_outbox
from testbed.kiva import control, server
from testbed.kiva.config import KivaConfig
from testbed.rig.kept_outbox import FILE
from testbed.rig.office import Office
from testbed.rig.typed import typed


@pytest.fixture
def kiva(monkeypatch: pytest.MonkeyPatch) -> Iterator[control.Sandbox]:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    monkeypatch.setenv("SUDO_USER", "awa")
    with server.start(config=KivaConfig(drafts_visible=True)) as pa2, control.Sandbox(pa2.url) as sandbox:
        sandbox.seed_loans([{"internal_loan_id": "P0"}])
        yield sandbox


@pytest.fixture
def office(kiva: control.Sandbox, tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path, kiva.url)
    yield made
    made.mis.close()


def command(office: Office, *arguments: str) -> subprocess.CompletedProcess[str]:
    return typed(*arguments, KIVA_RELAY_CONFIG=str(office.config))


def once(office: Office, *more: str) -> None:
    done = command(office, "run", "--once", *more)
    assert done.returncode in (0, 1), done.stderr


def told(office: Office) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command(office, "mapping", "diff", "--json").stdout)
    return found


def another(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """This version makes other bodies than the one before."""
    apply = mapper.apply

    def applied(*given: Any, **more: Any) -> mapper.Mapped:
        made = apply(*given, **more)
        return made if made.body is None else dataclasses.replace(made, body={**made.body, **changes})

    monkeypatch.setattr(mapper, "apply", applied)


def test_what_waits_and_what_was_sent_is_made_alike(office: Office, kiva: control.Sandbox) -> None:
    for _ in range(3):
        office.grant()
    office.repay("P0")
    office.tell("P0")
    once(office)
    assert len(kiva.ledger()) == 5
    office.grant()
    once(office, "--set", "kiva.send=false")
    done = command(office, "mapping", "diff")
    assert "bodies of the present book: 0 of 6 differ" in done.stdout
    assert "at Kiva" not in done.stdout
    assert done.returncode == 0


def test_another_body_is_told_with_its_places_and_what_becomes_of_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        office.grant()
    once(office)
    another(monkeypatch, currency="XAF")
    done = command(office, "mapping", "diff")
    assert done.returncode == 1
    assert "bodies of the present book: 5 of 5 differ" in done.stdout
    assert "L0   currency   kiva-relay outbox show 1" in done.stdout
    assert "L4" not in done.stdout
    assert "What is at Kiva stays, and is not sent again." in done.stdout
    assert "L4" in command(office, "mapping", "diff", "--all").stdout
    assert {one["loan_id"]: one["fields"] for one in told(office)["differ"]} == {
        f"L{number}": ["currency"] for number in range(5)
    }


def test_what_the_mis_has_changed_is_no_difference_between_versions(office: Office) -> None:
    for _ in range(3):
        office.grant()
    once(office)
    office.mis.execute("UPDATE instalment SET due = '2030-01-01' WHERE loan = 1")
    assert (told(office)["compared"], told(office)["differ"]) == (2, [])
    assert "1 row that the MIS has changed since the relay read it" in command(office, "mapping", "diff").stdout
    once(office)
    assert (told(office)["compared"], told(office)["differ"]) == (2, []), (
        "what is told as a divergence is not told twice"
    )


def test_a_draft_that_was_published_is_pa2s(office: Office, kiva: control.Sandbox) -> None:
    office.grant()
    once(office)
    assert told(office)["compared"] == 1
    kiva.publish("L0")
    once(office)
    assert told(office)["compared"] == 0


def test_a_mapping_that_became_another_one_is_compared_too(office: Office) -> None:
    office.grant()
    once(office, "--set", "kiva.send=false")
    file = office.folder / "mappings" / "loan_draft.yaml"
    file.write_text(file.read_text().replace('{text: "XOF"}', '{text: "XAF"}'))
    found = told(office)
    assert found["compared"] == 1
    assert [one["mapping"] for one in found["differ"]] == ["loan_draft"]


def test_an_outbox_of_version_0_2_is_brought_up_to_date_and_compared(office: Office, tmp_path: Path) -> None:
    for _ in range(2):
        office.grant()
    once(office, "--set", "kiva.send=false")
    present = office.folder / "outbox.db"
    old = tmp_path / "old.db"
    trial_outbox.make(FILE, present, old)
    for file in tmp_path.glob("outbox.db*"):
        file.unlink()
    old.rename(present)
    present.chmod(0o600)
    assert "from schema 0001" in command(office, "migrate").stdout
    done = command(office, "mapping", "diff")
    assert "bodies of the present book: 0 of 2 differ" in done.stdout, done.stdout + done.stderr


def test_a_mis_that_is_away_is_said(office: Office) -> None:
    office.grant()
    once(office)
    text = office.config.read_text()
    office.config.write_text(text.replace(f"sqlite:///{office.folder}/mis.db", "mysql://x@127.0.0.1:1/x"))
    assert command(office, "mapping", "diff").returncode == 3
    wrong = command(office, "mapping", "diff", "--with", "x.yaml")
    assert wrong.returncode == 2
    assert "mapping diff NAME --with x.yaml" in wrong.stderr
