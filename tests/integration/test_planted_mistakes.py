"""Mistakes that people make, planted: each is told with its place, what was expected, what was found, and a remedy.

The remedy works: the test takes it out of what was printed, pastes it, and `check` is content.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pymysql
import pytest
import sqlalchemy as sa

from kiva_relay.source import denied
from testbed.rig import planted
from testbed.rig.planted import PlantedOffice

NBSP = "\u00a0"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedOffice]:
    with planted.office(tmp_path_factory.mktemp("office")) as made:
        yield made


@dataclass(frozen=True)
class Planted:
    """`right` is replaced by `wrong` in config.yaml; `{folder}` is the office's.

    `says` stands in what is printed, in this order. `remedy` is a pattern in it: its group is pasted, which is
    done by replacing `instead` (the wrong text, where nothing else is said).
    """

    name: str
    right: str
    wrong: str
    says: tuple[str, ...]
    remedy: str
    instead: str = ""
    prefix: str = ""
    suffix: str = ""


def P(name: str, right: str, wrong: str, *says: str, remedy: str, **more: str) -> Planted:  # noqa: N802 - a word a line
    return Planted(name, right, wrong, says, remedy, **more)


MIS = "url: sqlite:///{folder}/mis.db"
TEN = 'opens_on: {day: 1, at: "06:00"}'
CONFIG = (
    P("a zone misspelt", "Africa/Dakar", "Africa/Daker", "11:13", "mis.timezone", '"Africa/Daker" is no time zone',
      remedy=r"nearest: ([\w/]+)"),
    P("a zone as an offset", "Africa/Dakar", "GMT+1", "11:13", '"GMT+1" is no time zone', "Etc/GMT-1", "UTC+1",
      remedy=r"as ([\w/]+) or"),
    P("columns", "columns: 2", "columns: 4", "6:12", "kiva.columns", "expected 2 or 3, found 4",
      remedy=r"expected (\d) or", instead="columns: 4", prefix="columns: "),
    P("another environment", "environment: sandbox", "environment: sandbx", "2:16", 'found "sandbx"',
      remedy=r"did you mean: (\w+)", instead="sandbx"),
    P("a tab", "  client_id: relay", "\tclient_id: relay", "4:1", "kiva.client_id", "a tab",
      remedy=r"begin the line with (\d+) blanks", instead="\t"),
    P("a tab behind a colon", "client_id: relay", "client_id:\trelay", "4:", "a tab", remedy=r"→ (client_id: relay)"),
    P("no blank", "environment: sandbox", "environment:sandbox", "2:3", "a blank is missing",
      remedy=r"→ (environment: sandbox)"),
    P("a key twice", "  client_id: relay\n", "  client_id: relay\n  client_id: relay\n", "5:3", "is written twice",
      remedy=r"(delete) one of them", instead="  client_id: relay\n"),
    P("an unknown key", "  hold_for:", "  hold_fr:", "21:3", "delivery.hold_fr", "no such setting",
      remedy=r"did you mean: (\w+)", instead="hold_fr"),
    P("another partner", '"123"', '"124"', "belong to partner 123", "kiva.partner_id is 124",
      remedy=r"write partner_id: ('123')"),
    P("a set that is not there", "mappings: mappings", "mappings: maping", "13:11", "there is no folder",
      remedy=r"(ready-made): ", instead="maping"),
    P("a jdbc address", MIS, "url: jdbc:mariadb://localhost/x", "10:8", "a JDBC address is not understood",
      remedy=r"or (sqlite://)USER", instead="jdbc:mariadb://localhost/x", suffix="/{folder}/mis.db"),
    P("a driver", MIS, "url: sqlite+pysqlite:///{folder}/mis.db", "10:8", 'the driver "pysqlite"',
      remedy=r"write (sqlite:///\S+)", instead="sqlite+pysqlite:///{folder}/mis.db"),
    P("no first day", "loan_drafts: {since: 2026-11-01}", "loan_drafts:", "loan_drafts.since", "required, and not there",
      remedy=r"write under loan_drafts:  (since: \w+) ", instead="loan_drafts:", prefix="loan_drafts: {", suffix="}"),
    P("a day as the French write it", "2026-11-01", "01/11/2026", "14:22", 'found "01/11/2026"',
      remedy=r"a date is written as ([\d-]+)"),
    P("a first day in years", "{since: 2026-11-01}", "{since: 2062-11-01}", "loan_drafts.since is 2062-11-01",
      remedy=r"loan_drafts: (\{since: first_start\})"),
    P("the basis", "cumulative_principal", "cumulative", "17:10", 'found "cumulative"', remedy=r"did you mean: (\w+)"),
    P("the window", '{day: 10, at: "18:00"}', '{day: 1, at: "06:00"}', "repayments.closes_on", "when it opens",
      remedy=r"write (when: continuous)", instead="  basis:", suffix="\n  basis:", prefix="  "),
    P("the outbox is the MIS", "/outbox.db", "/mis.db", "outbox.url is the database of the MIS",
      remedy=r"outbox: \{url: sqlite:////var/lib/kiva-relay(/outbox.db)\}", instead="outbox:\n  url: sqlite:///{folder}/mis.db",
      prefix="outbox:\n  url: sqlite:///{folder}"),
    P("a variable with its dollar", "{file: {folder}/secret}", '{env: "$S3CRET"}', "kiva.client_secret",
      "found a text", remedy=r"only the name, as \{env: (\w+)\}", instead='"$S3CRET"'),
    P("a length without its unit", "poll_every: 10s", "poll_every: 10", "12:15", "with its unit, found 10",
      remedy=r"write (10s) for seconds", instead="poll_every: 10", prefix="poll_every: "),
    P("a unit that is none", "10s", "10 sec", "12:15", '"sec" is no unit of time', remedy=r"write (10s)"),
    P("a negative length", "hold_for: 15m", "hold_for: -15m", "21:13", 'found "-15m"', remedy=r"as \w+, (15m)", instead="-15m"),
    P("a port alone", 'listen: "off"', "listen: 9478", "metrics.listen", 'found "9478"', remedy=r"as ([\d.:]+), or off",
      instead="9478"),
    P("a port that is none", 'listen: "off"', "listen: 127.0.0.1:99999", '"127.0.0.1:99999"', remedy=r"as ([\d.:]+), or off",
      instead="127.0.0.1:99999"),
    P("a word for true", "  columns: 2", "  columns: 2\n  send: yes", "7:9", "expected true or false", remedy=r"write (true)",
      instead="yes"),
    P("a language", "loan_drafts:", "language: fra\nloan_drafts:", "14:11", "expected en, fr or es",
      remedy=r"did you mean: (fr)", instead="fra"),
    P("kept too short", "outbox:", "outbox:\n  keep_payloads: 5h", "outbox.keep_payloads", "expected at least 1d, found",
      remedy=r"as (keep_payloads: \w+)", instead="keep_payloads: 5h"),
    P("a large call", "repayments:", "repayments:\n  batch: 500", "from 1 to 300, found 500", remedy=r"as (batch: \d+)",
      instead="batch: 500"),
    P("visible drafts", "  columns: 2", "  columns: 2\n  drafts_visible: no", "expected auto or never", 'found "no"',
      remedy=r"as (drafts_visible: auto)", instead="drafts_visible: no"),
    P("a day that no month has", "day: 10", "day: 32", "repayments.closes_on.day", "found 32",
      remedy=r"as (day: 1)", instead="day: 32"),
    P("more than all load", "mis:", "mis:\n  max_load: 500", "mis.max_load", "up to 100, found 500",
      remedy=r"as (max_load: \d+)", instead="max_load: 500"),
    P("an hour that no day has", "mis:", "mis:\n  sweep_at: 25:00", "mis.sweep_at", 'found "25:00"',
      remedy=r'to ("23:59")', instead="25:00"),
    P("a way to watch", "mis:", "mis:\n  watch: fast", "mis.watch", 'found "fast"', remedy=r"as (watch: auto)",
      instead="watch: fast"),
    P("a cut-off", "repayments:", "repayments:\n  cutoff: end_of_month", "repayments.cutoff", 'found "end_of_month"',
      remedy=r"did you mean: (\w+)", instead="end_of_month"),
    P("quotes not closed", "client_id: relay", "client_id: 'relay", "4:14", "the quotes are not closed",
      remedy=r"→ (client_id: 'relay')"),
    P("a bracket not closed", TEN, TEN[:-1], "18:13", "is opened and not closed", remedy=r"→ (opens_on: .*)"),
    P("a blank that is none", "client_id: relay", f"client_id:{NBSP}relay", "4:13", "U+00A0", remedy=r"→ (client_id: relay)"),
    P("a second document", "mis:", "---\nmis:", "a second document begins here", remedy=r"(delete) this line", instead="---\n"),
)  # fmt: skip


@pytest.mark.parametrize("one", CONFIG, ids=[one.name for one in CONFIG])
def test_a_mistake_in_the_settings(office: PlantedOffice, monkeypatch: pytest.MonkeyPatch, one: Planted) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    office.restore()

    def here(text: str) -> str:
        return text.replace("{folder}", str(office.folder))

    text = office.config.read_text("utf-8")
    assert here(one.right) in text
    office.config.write_text(text.replace(here(one.right), here(one.wrong), 1), "utf-8")
    code, printed = office.typed("check")
    assert code in (1, 2)
    at = 0
    for said in one.says:
        assert said in printed[at:], printed
        at = printed.index(said, at)
    found = re.search(here(one.remedy).replace("\\{", "\\{"), printed)
    assert found is not None, printed
    text = office.config.read_text("utf-8")
    pasted = {"delete": "", "ready-made": "generic"}.get(found[1], found[1])
    if "begin the line" in found[0]:
        pasted = " " * int(found[1])
    instead = here(one.instead or one.wrong)
    assert instead in text
    office.config.write_text(text.replace(instead, here(one.prefix) + pasted + here(one.suffix), 1), "utf-8")
    code, printed = office.typed("check")
    assert not any(said in printed for said in (one.says[-1], "unexpected")), printed
    assert code in ((0, 1) if found[1] == "ready-made" else (0,)), printed


# ---------------------------------------------------------------- files, folders, commands that are pasted


def pasted(command: str) -> None:
    """Typed as it was printed; who is root needs no sudo, and the service's user is this one."""
    words = [word for word in shlex.split(command) if word != "sudo"]
    if "-o" in words:
        words[words.index("-o") + 1] = str(os.geteuid())
    if "-g" in words:
        words[words.index("-g") + 1] = str(os.getegid())
    subprocess.run(words, check=True, capture_output=True)


def commands(printed: str) -> list[str]:
    return [
        line.strip().removeprefix("→ ") for line in printed.splitlines() if "sudo " in line and line.strip()[0] in "s→"
    ]


def test_a_folder_that_is_not_there(office: PlantedOffice) -> None:
    office.restore()
    shutil.rmtree(office.folder / "state", ignore_errors=True)
    text = office.config.read_text()
    office.config.write_text(text.replace("/outbox.db", "/state/outbox.db"))
    code, printed = office.typed("check")
    assert code == 1
    assert f"The folder {office.folder}/state does not exist" in printed
    pasted(commands(printed)[0])
    assert office.typed("check")[0] == 0


def test_a_mapping_of_another_ending(office: PlantedOffice) -> None:
    office.restore()
    own = office.folder / "mappings"
    (own / "journal.yaml").rename(own / "journal.yml")
    for command in ("check", "mapping check"):
        _, printed = office.typed(*command.split())
        assert f"{own}/journal.yml" in printed
        assert "is not read: a mapping is called NAME.yaml" in printed
    pasted(commands(printed)[0])
    assert (own / "journal.yaml").exists()
    assert "is not read" not in office.typed("check")[1]


def test_an_outbox_that_belongs_to_another(office: PlantedOffice) -> None:
    if os.geteuid() != 0:
        pytest.skip("cannot run here: only root gives files away")
    office.restore()
    folder = office.folder / "of-root"
    folder.mkdir(exist_ok=True)
    (folder / "outbox.db").touch()
    os.chown(folder / "outbox.db", 65534, 65534)
    office.config.write_text(office.config.read_text().replace("/outbox.db", "/of-root/outbox.db"))
    code, printed = office.typed("check")
    assert code == 1
    assert "belongs to another user: the service cannot write it" in printed
    pasted(commands(printed)[0])
    assert office.typed("check")[0] == 0


def test_a_secret_that_is_not_there_is_made_as_it_is_said(office: PlantedOffice) -> None:
    office.restore()
    (office.folder / "secret").unlink()
    code, printed = office.typed("check")
    assert code == 2
    assert "kiva.client_secret" in printed
    command = next(one for one in commands(printed) if "install" in one).split(", then ")[0]
    pasted(command.replace("/etc/kiva-relay/secret/NAME", str(office.folder / "secret")))
    code, printed = office.typed("check")
    assert "and this file is empty" in printed
    assert f"sudoedit {office.folder}/secret" in printed
    (office.folder / "secret").write_text("s3cr3t")
    assert office.typed("check")[0] == 0


def test_no_configuration_at_all(office: PlantedOffice) -> None:
    office.restore()
    office.config.unlink()
    code, printed = office.typed("check")
    assert code == 2
    assert "There is no configuration" in printed
    subprocess.run(
        [
            "sh",
            "-c",
            printed.splitlines()[1].strip().replace("kiva-relay", f"{shlex.quote(sys.executable)} -m kiva_relay", 1),
        ],
        check=True,
    )
    code, printed = office.typed("check")
    assert "no mistakes" in printed or code == 2
    assert "There is no configuration" not in printed


def test_a_column_that_was_renamed(office: PlantedOffice) -> None:
    office.restore()
    file = office.folder / "mappings" / "loan_draft.yaml"
    file.write_text(file.read_text().replace("disburse_time: given", "disburse_time: gven"))
    code, printed = office.typed("check")
    assert code in (1, 2)
    assert "loan_draft.yaml" in printed
    found = re.search(r"nearest: (\w+)", printed)
    assert found is not None, printed
    file.write_text(file.read_text().replace("gven", found[1]))
    assert office.typed("check")[0] == 0


def test_a_command_that_is_none(office: PlantedOffice) -> None:
    office.restore()
    code, printed = office.typed("chek")
    assert code == 2
    found = re.search(r"Did you mean: (\w+)", printed)
    assert found is not None, printed
    assert office.typed(found[1])[0] == 0


# ---------------------------------------------------------------- servers that answer, and say no


@pytest.mark.parametrize(
    ("number", "about"), [(1045, "password"), (1698, "password"), (1049, "database"), (1044, "database"), (2003, None)]
)
def test_mariadb_that_says_no_is_not_away(number: int, about: str | None) -> None:
    error = sa.exc.OperationalError("", {}, pymysql.err.OperationalError(number, "said"))
    assert denied.about(error) == about


def test_postgresql_that_says_no_is_not_away(office: PlantedOffice, postgres_database: str) -> None:
    """`It can start: a server that is away is waited for`, said check of a wrong password."""
    office.restore()
    right = sa.make_url(postgres_database)
    text = office.config.read_text()
    for wrong, said in (
        (right.set(password="wrong"), "answers, and refuses the user"),
        (right.set(database="no_such"), "does not give no_such of mis.url"),
    ):
        url = wrong.render_as_string(hide_password=False)
        office.config.write_text(text.replace(f"sqlite:///{office.folder}/mis.db", url))
        code, printed = office.typed("check")
        assert code == 1
        assert said in printed
        assert "It can start" not in printed
        assert "psql " in printed
        assert "wrong" not in printed
    away = right.set(port=1).render_as_string(hide_password=False)
    office.config.write_text(text.replace(f"sqlite:///{office.folder}/mis.db", away))
    code, printed = office.typed("check")
    assert code == 3
    assert "It can start" in printed


def test_grants_need_no_secret_and_no_server(office: PlantedOffice) -> None:
    office.restore()
    text = office.config.read_text()
    (office.folder / "secret").unlink()
    for url, said in (
        ("postgresql://relay@127.0.0.1:1/mis", "GRANT SELECT ON public.loan TO relay;"),
        ("mariadb://relay@127.0.0.1:1/mis", "GRANT SELECT ON mis.loan TO 'relay'@'%';"),
    ):
        office.config.write_text(text.replace(f"sqlite:///{office.folder}/mis.db", url))
        code, printed = office.typed("check", "--grants")
        assert code == 0, printed
        assert said in re.sub(r'[`"]', "", printed)
    office.restore()
    with contextlib.closing(sqlite3.connect(office.folder / "mis.db")) as mis:
        assert mis.execute("SELECT count(*) FROM loan").fetchone() == (0,)
