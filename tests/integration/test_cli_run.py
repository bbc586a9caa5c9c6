"""`kiva-relay run`, `reload` and what goes with them, as processes: starts, waits, ends, and exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from kiva_relay import cli
from kiva_relay.config import sample, shipped
from kiva_relay.outbox import heartbeat, table
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.service import reload
from kiva_relay.service.relay import Relay
from testbed.rig import configuration, full_outbox, patience
from testbed.rig.patience import eventually
from testbed.rig.site import Site

AWAY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KIVA_RELAY_CONFIG", raising=False)


Printed = Callable[[], str]


@pytest.fixture
def house(house: Site) -> Site:
    """The same, with little to read."""
    house.changes["resources"] = ["journal"]
    return house


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """Everything that was printed and logged so far."""
    so_far: list[str] = []

    def read() -> str:
        so_far.extend(capsys.readouterr())
        return "".join(so_far)

    return read


@pytest.fixture
def own(house: Site) -> Path:
    """A mapping of the institution's own, in place of the shipped one, to be edited."""
    folder = house.folder / "mappings"
    folder.mkdir()
    mine = folder / "journal.yaml"
    mine.write_text((shipped.folder("mappings") / "fineract" / "journal.yaml").read_text())
    house.changes["mappings"] = str(folder)
    return mine


def log(house: Site) -> str:
    return (house.folder / "daemon.log").read_text()


def well_before_the_grace() -> float:
    """Seconds: `stop_grace` is 150, and the slow answer comes after 20 of a quick machine."""
    return min(patience.seconds(15), 140.0)


def stopped(process: subprocess.Popen[str]) -> tuple[int, float]:
    """Ask it to stop; the exit code, and after how many seconds it came."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    return patience.ended(process), time.monotonic() - began


# ---------------------------------------------------------------- what is wrong is said, and nothing starts


def test_a_mapping_that_does_not_fit_the_mis_is_said_by_once(house: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not read, so exit code 0 would be silence; the other mappings are."""
    house.mis("ALTER TABLE m_note RENAME COLUMN note TO remark")
    assert cli.main(["run", "--once", "--config", str(house.config)]) == 1
    shown = capsys.readouterr().out
    assert "STOPPED" in shown
    assert "journal does not fit the MIS" in shown


def test_without_a_configuration_it_says_where_it_looked(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run"]) == 2
    printed = capsys.readouterr().err
    assert "--config (not given), KIVA_RELAY_CONFIG (not set), /etc/kiva-relay/config.yaml (not there)" in printed
    assert "kiva-relay config sample > /etc/kiva-relay/config.yaml" in printed


def test_every_mistake_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = configuration.WRITTEN.replace("Africa/Dakar", "Dakar").replace("partner_id", "partner")
    assert cli.main(["run", "--config", str(configuration.write(tmp_path, text=text))]) == 2
    printed = capsys.readouterr().err
    assert "nearest: Africa/Dakar" in printed
    assert "kiva.partner: no such setting" in printed
    assert "kiva.partner_id: required" in printed
    assert "Nothing was started" in printed


def test_a_secret_that_is_missing_is_a_wrong_configuration(
    house: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KIVA_SECRET")
    assert cli.main(["run", "--config", str(house.config)]) == 2
    assert "kiva.client_secret is {env: KIVA_SECRET}" in capsys.readouterr().err


def test_a_credential_of_systemd_outside_the_service(
    house: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    house.changes["outbox"] = {"password": {"credential": "outbox-password"}}
    assert cli.main(["run", "--once", "--config", str(house.config)]) == 2
    assert "Credentials of systemd exist inside the service only." in capsys.readouterr().err


def test_strict_belongs_to_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--strict"]) == 2
    assert "kiva-relay run --once --strict" in capsys.readouterr().err


def test_an_outbox_of_another_partner(house: Site) -> None:
    with house.relay():
        pass
    house.changes["kiva"] = {"partner_id": "321"}
    done = house.command("run")
    assert done.returncode == 2
    assert "belongs to kiva.partner_id 123" in done.stderr
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------- signals


def test_it_runs_and_ends_when_asked_to(house: Site) -> None:
    house.changes["resources"] = ["loan_draft"]
    with house.process() as process:
        eventually(lambda: house.sent("loan_draft"))
        code, seconds = stopped(process)
    assert code == 0
    assert seconds < well_before_the_grace()
    lines = log(house).splitlines()
    assert "starts, towards SANDBOX partner=123" in lines[0]
    assert "stopped as asked. Nothing is lost" in lines[-1]
    assert "s3cr3t" not in log(house)


def test_the_answer_under_way_is_awaited_and_a_second_signal_is_not(house: Site) -> None:
    house.changes["resources"] = ["loan_draft"]
    house.kiva.fault("slow", on="loan_draft", seconds=patience.seconds(20))
    with house.process() as process:
        eventually(lambda: " ready " in log(house) and house.entries(state="sending"))
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        code, seconds = stopped(process)
    assert code == -signal.SIGTERM
    assert seconds < well_before_the_grace()


def test_a_hangup_reloads_and_a_second_relay_is_refused(house: Site, own: Path) -> None:
    with house.process() as process:
        eventually(lambda: " ready " in log(house))
        second = house.command("run")
        edit(own)
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "changed=journal" in log(house))
    assert second.returncode == 3
    assert "Another relay is active on this outbox" in second.stderr


# ---------------------------------------------------------------- what is away is waited for


def test_a_mis_that_is_down_at_the_start_is_waited_for(house: Site, printed: Printed) -> None:
    house.changes["mis"] = {"url": "postgresql://nobody@127.0.0.1:1/fineract"}
    with house.daemon() as relay:
        eventually(lambda: "The MIS cannot be read. Nothing is lost; it is asked again" in printed())
        assert not relay.stop.is_set()
    assert printed().count("WARNING") == 1


def test_kiva_that_is_down_is_waited_for(house: Site, printed: Printed) -> None:
    house.changes["kiva"] = {"token_url": f"{AWAY}/t", "api_url": AWAY}
    with house.daemon() as relay:
        eventually(lambda: "Kiva does not answer. Nothing is lost; it is asked again" in printed())
        eventually(lambda: house.entries(resource="journal"))
        assert not relay.stop.is_set()
    assert printed().count("Kiva does not answer") == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"audience": "https://somewhere-else"}, "Look at kiva.client_id, kiva.client_secret and kiva.audience"),
        ({"partner_id": "321"}, "If that is your institution, write partner_id: '123'. Else look at kiva.client_id"),
    ],
)
def test_kiva_that_refuses_us_is_told_with_the_setting(
    house: Site, printed: Printed, changes: dict[str, str], says: str
) -> None:
    house.changes["kiva"] = changes
    with house.daemon() as relay:
        eventually(lambda: says in printed())
        assert not relay.stop.is_set()
    assert printed().count("ERROR") == 1


# ---------------------------------------------------------------- once


def test_once_sends_what_is_due_and_strict_says_when_a_person_is_needed(house: Site) -> None:
    house.changes["resources"] = ["loan_draft"]
    done = house.command("run", "--once", "--strict")
    assert house.sent("loan_draft")
    assert "SANDBOX, partner 123" in done.stdout
    assert "due now 0" in done.stdout
    refused = house.entries(state="refused")
    assert done.returncode == (1 if refused else 0)
    assert ("a person decides" in done.stdout) is bool(refused)


def test_once_without_kiva_says_so(house: Site) -> None:
    house.changes["kiva"] = {"token_url": f"{AWAY}/t", "api_url": AWAY}
    done = house.command("run", "--once")
    assert done.returncode == 3
    assert "Kiva does not answer" in done.stderr
    assert "othing is lost" in done.stderr


# ---------------------------------------------------------------- reload


def edit(mine: Path) -> None:
    mine.write_text(mine.read_text().replace("'News from '", "'News of '"))


def spoil(mine: Path) -> None:
    mine.write_text(mine.read_text().replace("  subject: ", "  sujbect: "))


def beat_of(relay: Relay) -> Heartbeat | None:
    with relay.outbox.read() as tx:
        return heartbeat.read(tx)


def reload_by_command(house: Site, *arguments: str) -> int:
    return cli.main(["reload", "--config", str(house.config), *arguments])


def test_reload_puts_an_edit_into_force(house: Site, own: Path, printed: Printed) -> None:
    with house.daemon() as relay:
        edit(own)
        eventually(lambda: (beat := beat_of(relay)) and beat.edited == ("journal.yaml",))
        assert "reloaded" not in printed()
        assert reload_by_command(house) == 0
        assert "In force: 1 mapping; changed: journal." in printed()
        assert (beat := beat_of(relay)) is not None
        assert beat.edited == ()
        with relay.outbox.read() as tx:
            assert reload.wanted(tx) is None


def test_reload_with_a_mistake_changes_nothing(house: Site, own: Path, printed: Printed) -> None:
    good = own.read_text()
    with house.daemon() as relay:
        eventually(lambda: beat_of(relay))
        spoil(own)
        assert reload_by_command(house) == 2
        assert "sujbect" in printed()
        assert "what was in force stays in force" in printed()
        own.write_text(good.replace("client.firstname", "client.firstnam"))
        assert reload_by_command(house) == 2
        assert 'm_client has no column "firstnam"' in printed()
        spoil(own)
        relay.ask_reload()
        eventually(lambda: "The edited files hold mistakes; what was in force stays in force" in printed())
    assert "reloaded" not in printed()


def test_reload_asks_when_an_example_does_not_pass(house: Site, own: Path, printed: Printed) -> None:
    (own.parent / "journal.test.yaml").write_text(
        "examples:\n  - name: nobody\n    rows: {root: {id: 1}}\n    identity: '2'\n"
    )
    assert reload_by_command(house) == 2
    assert "journal: nobody" in printed()
    assert "Put it in force all the same?" in printed()


def test_reload_without_a_relay(house: Site, printed: Printed) -> None:
    assert cli.main(["migrate", "--config", str(house.config)]) == 0
    assert reload_by_command(house) == 0
    assert "they take effect when it starts" in printed()


def test_reload_says_what_needs_a_restart(house: Site, printed: Printed) -> None:
    with house.daemon() as relay:
        eventually(lambda: beat_of(relay))
        house.changes["kiva"] = {"columns": 3}
        house.changes["delivery"] = {"brake": 7}
        assert reload_by_command(house) == 0
        assert relay.settings.delivery.brake == 7
        assert relay.settings.kiva.columns == 2
    assert "Not in force yet: kiva." in printed()
    assert "kiva-relay run --config" in printed()


def test_a_relay_that_does_not_answer_is_not_waited_for_long(
    house: Site, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kiva_relay.cli.reload._PATIENCE", timedelta(seconds=0.3))
    with house.relay() as relay:
        with relay.outbox.begin() as tx:
            heartbeat.write(tx, Heartbeat(relay.time.now(), "1", 1, relay.time.now()))
        assert reload_by_command(house) == 1
        with relay.outbox.read() as tx:
            assert reload.wanted(tx) is None
    assert "did not answer within 0.3 s" in printed()


def test_on_save_an_edit_takes_effect_by_itself(house: Site, own: Path, printed: Printed) -> None:
    good = own.read_text()
    house.changes["reload"] = "on_save"
    with house.daemon() as relay:
        eventually(lambda: beat_of(relay))
        spoil(own)
        eventually(lambda: "hold mistakes" in printed())
        own.write_text(good)
        edit(own)
        eventually(lambda: "changed=journal" in printed())
    assert printed().count("hold mistakes") == 1


# ---------------------------------------------------------------- the small ones


def test_the_sample_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "sample"]) == 0
    assert capsys.readouterr().out == sample.render()


def test_migrate_makes_the_outbox_once(house: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["migrate", "--config", str(house.config)]) == 0
    assert "The outbox is made: schema" in capsys.readouterr().out
    assert cli.main(["migrate", "--config", str(house.config)]) == 0
    assert "up to date" in capsys.readouterr().out


def test_migrate_touches_nothing_of_a_newer_outbox_and_takes_no_lease(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s")
    told = full_outbox.made(tmp_path)
    with told.outbox.begin() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        before = tx.execute(sa.select(table.lease)).all()
    assert cli.main(["migrate", "--config", str(told.config)]) == 2
    assert "It was not touched." in capsys.readouterr().err
    with told.outbox.read() as tx:
        assert tx.execute(sa.select(table.lease)).all() == before
    told.outbox.close()


def test_a_sandbox_that_knows_the_configuration(tmp_path: Path) -> None:
    config = configuration.write(tmp_path)
    command = [
        "-m",
        "kiva_relay",
        "sandbox",
        "--listen",
        "127.0.0.1:0",
        "--publish-after",
        "1h",
        "--config",
        str(config),
    ]
    with (tmp_path / "log").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=output,
            env={**os.environ, "KIVA_SECRET": "s"},
        )
    try:
        line = eventually(lambda: "listens on" in (tmp_path / "log").read_text() and (tmp_path / "log").read_text())
        url = line.split("listens on ")[1].split()[0]
        fields = {"grant_type": "client_credentials", "audience": "kiva-sandbox", "client_id": "abc"}
        assert httpx.post(f"{url}/oauth/token", data=fields | {"client_secret": "s"}).status_code == 200
        assert httpx.post(f"{url}/oauth/token", data=fields | {"client_secret": "x"}).status_code == 401
    finally:
        process.send_signal(signal.SIGTERM)
        assert patience.ended(process) == 0


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--publish-after", "5", "write 5s"),
        ("--listen", "8765", "expected ADDRESS:PORT"),
    ],
)
def test_a_sandbox_with_a_wrong_option(option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sandbox", option, value]) == 2
    assert says in capsys.readouterr().err
