"""`kiva-relay fleet status`: a line for each partner, the gravest first; what is away or broken is a line, no end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import cli
from kiva_relay.account import standing
from kiva_relay.account.standing import Standing
from kiva_relay.config import partner
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import hold, migration, table
from kiva_relay.outbox.database import Outbox
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox

Run = full_outbox.Run
AWAY = "postgresql://kiva_relay@127.0.0.1:1/outbox?options=-csearch_path=east"


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, FullOutbox]]:
    """Three partners that work."""
    monkeypatch.setenv("KIVA_SECRET", "s")
    monkeypatch.delenv("KIVA_RELAY_CONFIG", raising=False)
    told = {}
    for name in ("north", "south", "west"):
        folder = tmp_path / name
        folder.mkdir()
        told[name] = full_outbox.made(folder)
        works(told[name], "relay-a")
    yield told
    for one in told.values():
        one.outbox.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


def works(told: FullOutbox, machine: str) -> None:
    told.runs()
    told.kiva_lists()
    with told.outbox.begin() as tx:
        tx.execute(sa.insert(table.lease).values(id=1, fence=7, holder=f"{machine} pid 4711 0123abcd"))


def status(run: Run, folder: Path, *more: str) -> full_outbox.Printed:
    return run("fleet", "status", "--folder", str(folder), *more)


def rows(out: str) -> list[list[str]]:
    """The cells of each line of a partner."""
    return [re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if re.match(r"  [a-z]+ +[A-Z]{2,}", line)]


def test_all_is_well(fleet: dict[str, FullOutbox], run: Run, tmp_path: Path) -> None:
    done = status(run, tmp_path)
    assert done.code == 0
    assert f"3 partners · {tmp_path}" in done.out.splitlines()[0]
    assert rows(done.out) == [[name, "OK", "relay-a", "9 d"] for name in ("north", "south", "west")]
    assert "kiva-relay status" not in done.out
    assert done.err == ""


def test_the_gravest_stands_first_with_what_is_not_at_kiva(
    fleet: dict[str, FullOutbox], run: Run, tmp_path: Path
) -> None:
    fleet["north"].accept(fleet["north"].owe("000000871"))
    fleet["south"].owe("000000872")
    fleet["south"].refuse("000000873")
    fleet["west"].owe("000000874")
    with fleet["west"].outbox.begin() as tx:
        hold.put(tx, "loan_draft", "asked", now=fleet["west"].now, by="awa", note="wait")
    done = status(run, tmp_path)
    assert done.code == 1
    assert rows(done.out) == [
        ["west", "HELD", "relay-a", "9 d", "1 loan draft"],
        ["south", "NOTE", "relay-a", "9 d", "2 loan drafts"],
        ["north", "OK", "relay-a", "9 d"],
    ]
    assert f"kiva-relay status --config {tmp_path}/west/config.yaml" in done.out


def test_each_says_what_its_own_status_says(fleet: dict[str, FullOutbox], run: Run, tmp_path: Path) -> None:
    fleet["south"].lose(fleet["south"].owe("000000872"))
    with fleet["west"].outbox.begin() as tx:
        hold.put(tx, "all", "first_start", now=fleet["west"].now)
    lines = status(run, tmp_path, "--json").json
    for one in lines:
        own = run("status", "--json", "--config", str(tmp_path / one["partner"] / "config.yaml")).json
        assert one["verdict"] == own["verdict"]
        assert one["findings"] == [finding["code"] for finding in own["findings"]]
        assert (one["partner_id"], one["machine"]) == (own["partner_id"], own["machine"])
        assert one["since"] == own["heartbeat"]["started_at"]


def test_a_relay_that_does_not_run_works_on_no_machine(fleet: dict[str, FullOutbox], run: Run, tmp_path: Path) -> None:
    fleet["south"].runs(ago=timedelta(minutes=3))
    done = status(run, tmp_path)
    assert done.code == 1
    assert rows(done.out)[0] == ["south", "STOPPED"]


def test_what_is_away_or_broken_is_a_line(fleet: dict[str, FullOutbox], run: Run, tmp_path: Path) -> None:
    spoiled = {
        "east": fleet["north"].config.read_text().replace(f"sqlite:///{tmp_path}/north/outbox.db", AWAY),
        "broken": "outbox: {url: 'mongodb://x'}\n",
        "torn": "kiva: {environment: sand",
        "new": fleet["north"].config.read_text().replace(f"{tmp_path}/north/outbox.db", f"{tmp_path}/new/outbox.db"),
    }
    for name, text in spoiled.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
    done = status(run, tmp_path)
    assert done.code == 1
    told = {row[0]: row[1:] for row in rows(done.out)}
    assert [*told] == ["broken", "new", "torn", "east", "north", "south", "west"]
    assert {told[name][0] for name in ("broken", "new", "torn")} == {"STOPPED"}
    assert told["east"][0] == "WAITING"
    assert "127.0.0.1" in told["east"][1]
    assert "mistake" in told["broken"][1]
    assert "no outbox" in told["new"][1]
    assert len([line for line in done.out.splitlines() if line.strip()]) == len(told) + 3


def test_an_outbox_that_nobody_understands_is_a_line_without_its_words(
    fleet: dict[str, FullOutbox], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather = standing.gather

    def fails(tx: Connection, settings: Settings, *, now: datetime) -> Standing:
        if "/south/" in str(settings.file):
            raise ValueError(full_outbox.NAME)
        return gather(tx, settings, now=now)

    monkeypatch.setattr(standing, "gather", fails)
    done = status(run, tmp_path)
    assert [row[:2] for row in rows(done.out)] == [["south", "STOPPED"], ["north", "OK"], ["west", "OK"]]
    assert "ValueError" in done.out
    assert full_outbox.NAME not in done.out + done.err


def test_what_is_said_to_be_typed_in_a_folder_with_a_blank_can_be_pasted(
    fleet: dict[str, FullOutbox], run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "my fleet"
    (folder / "east").mkdir(parents=True)
    assert f"ls '{folder}'" in status(run, folder).err
    (folder / "config.yaml").touch()
    assert f"kiva-relay status --config '{folder}/config.yaml'" in status(run, folder).err
    config = fleet["north"].config.read_text().replace(str(tmp_path / "north" / "outbox.db"), "gone.db")
    (folder / "east" / "config.yaml").write_text(config + "nonsense: 1\n")
    done = status(run, folder)
    for command, said in (("status", done.out), ("check", done.err)):
        assert f"kiva-relay {command} --config '{folder}/east/config.yaml'" in said


def test_one_whose_outbox_is_away_is_the_exit_code_of_waiting(
    fleet: dict[str, FullOutbox], run: Run, tmp_path: Path
) -> None:
    config = fleet["north"].config
    config.write_text(config.read_text().replace(f"sqlite:///{tmp_path}/north/outbox.db", AWAY))
    done = status(run, tmp_path, "--json")
    assert done.code == 3
    first = done.json[0]
    assert (first["partner"], first["verdict"], first["machine"], first["not_at_kiva"]) == ("north", "WAITING", "", {})
    assert first["error"]


def test_a_mistake_elsewhere_is_told_beside_the_lines(fleet: dict[str, FullOutbox], run: Run, tmp_path: Path) -> None:
    config = fleet["north"].config
    config.write_text(config.read_text() + "nonsense: 1\n")
    done = status(run, tmp_path)
    assert (done.code, len(rows(done.out))) == (0, 3)
    assert done.err.strip().endswith(f"kiva-relay check --config {config}")


def test_partners_of_this_machine_are_named(
    fleet: dict[str, FullOutbox], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their outboxes in files are refused there: what is looked at is where the names come from."""
    monkeypatch.setattr(partner, "HOME", tmp_path)
    done = status(run, tmp_path)
    assert {row[1] for row in rows(done.out)} == {"STOPPED"}
    assert "kiva-relay status --config north" in done.out


@pytest.mark.parametrize(("lang", "says"), [("fr", "3 partenaires"), ("es", "3 socios")])
def test_in_the_language_of_all_or_as_asked(
    fleet: dict[str, FullOutbox], run: Run, tmp_path: Path, lang: str, says: str
) -> None:
    assert says in status(run, tmp_path, "--lang", lang).out
    for told in fleet.values():
        told.config.write_text(told.config.read_text() + f"language: {lang}\n")
    assert says in status(run, tmp_path).out
    told = fleet["north"]
    told.config.write_text(told.config.read_text().replace(f"language: {lang}", "language: en"))
    assert "3 partners" in status(run, tmp_path).out


def test_a_folder_without_partners_is_told_with_what_is_there(run: Run, tmp_path: Path) -> None:
    done = status(run, tmp_path)
    assert done.code == 2
    assert f"There is no configuration {tmp_path}/*/config.yaml." in done.err
    (tmp_path / "config.yaml").touch()
    assert f"kiva-relay status --config {tmp_path}/config.yaml" in status(run, tmp_path).err


def test_partners_in_schemas_of_one_database(
    postgres_database: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s")
    with psycopg.connect(postgres_database, autocommit=True) as admin:
        for name in ("north", "south"):
            admin.execute(f"CREATE SCHEMA {name}".encode())
    for name, machine in (("north", "relay-a"), ("south", "relay-b")):
        url = f"{postgres_database}?options=-csearch_path={name}"
        outbox = Outbox(url)
        migration.upgrade(outbox)
        (tmp_path / name).mkdir()
        told = full_outbox.made(tmp_path / name, outbox=outbox, url=url)
        works(told, machine)
        if name == "south":
            told.owe("000000872")
        outbox.close()
    done = status(run, tmp_path)
    assert (done.code, done.err) == (0, "")
    assert rows(done.out) == [["north", "OK", "relay-a", "9 d"], ["south", "OK", "relay-b", "9 d", "1 loan draft"]]


def test_json_is_a_list(fleet: dict[str, FullOutbox], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    capsys.readouterr()
    assert cli.main(["fleet", "status", "--folder", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [set(one) for one in found] == [
        {"partner", "verdict", "findings", "environment", "partner_id", "machine", "since", "not_at_kiva", "error"}
    ] * 3
