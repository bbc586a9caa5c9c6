"""The daemon as a process, when something around it is wrong: a clear line, nothing lost, no heap of refusals."""

from __future__ import annotations

import signal
import socket

import psycopg
import pytest

from testbed.database import postgres
from testbed.institution import remark
from testbed.kiva import server
from testbed.kiva.config import KivaConfig
from testbed.kiva.control import Sandbox
from testbed.rig import patience
from testbed.rig.patience import eventually
from testbed.rig.site import Site


def log(house: Site) -> str:
    return (house.folder / "daemon.log").read_text(encoding="utf-8")


def states(house: Site) -> set[str]:
    if not (house.folder / "outbox.db").exists():
        return set()
    return {row.state for row in house.entries()}


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.long
def test_an_api_that_is_down_is_waited_for(house: Site, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    house.changes = {"kiva": {"token_url": f"{url}/oauth/token", "api_url": url}}
    with house.process() as process:
        eventually(lambda: "Kiva does not answer. Nothing is lost" in log(house))
        eventually(lambda: house.entries())
        assert not house.entries(state="in_doubt")
        eventually(lambda: "WAITING" in house.command("status").stdout)
        with server.start(f"127.0.0.1:{free_port}", config=KivaConfig()) as pa2, Sandbox(pa2.url) as kiva:
            eventually(lambda: kiva.ledger(resource="loan_draft"), within=60)
            eventually(lambda: not house.entries(state="ready"), within=60)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            patience.ended(process)
    assert process.returncode == 0
    assert "Traceback" not in log(house)


@pytest.mark.long
def test_refused_credentials_say_which_setting_and_lose_nothing(house: Site) -> None:
    with server.start(config=KivaConfig(client_id="relay", client_secret="another")) as pa2:
        house.changes = {"kiva": {"token_url": f"{pa2.url}/oauth/token", "api_url": pa2.url}}
        with house.process():
            eventually(lambda: "refuses the credentials" in log(house))
            eventually(lambda: house.entries())
            shown = house.command("status").stdout
            assert "kiva.client_secret" in shown
            assert states(house) <= {"ready", "refused", "waiting"}
        with house.relay() as relay:  # the same outbox, with the right secret at the same place
            assert relay.outbox is not None
    assert "another" not in log(house)


@pytest.mark.long
def test_a_wrong_partner_id_is_one_line_and_no_heap_of_refusals(house: Site) -> None:
    house.changes = {"kiva": {"partner_id": "999"}}
    with house.process():
        eventually(lambda: "Kiva refuses the relay itself" in log(house))
        eventually(lambda: house.entries())
        shown = house.command("status").stdout
        assert "kiva.partner_id" in shown
    assert "kiva_said_no" not in str([row.refusals for row in house.entries()])
    assert not house.kiva.ledger()


@pytest.mark.long
def test_a_mis_that_is_down_at_the_start_is_waited_for(house: Site, postgres_server: postgres.PostgresServer) -> None:
    name = house.url.rpartition("/")[2]
    house.connection.close()
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        with house.process():
            eventually(lambda: "The MIS cannot be read. Nothing is lost" in log(house))
            eventually(lambda: "WAITING" in house.command("status").stdout)
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            eventually(lambda: "The MIS answers again" in log(house))
            eventually(lambda: house.kiva.ledger(resource="loan_draft"))


def test_a_configuration_with_five_mistakes_starts_nothing(house: Site) -> None:
    house.changes = {
        "kiva": {"columns": 4},
        "mis": {"timezone": "Dakar", "urll": "x", "poll_every": 10},
        "repayments": {"closes_on": {"day": 32, "at": "05:00"}},
    }
    done = house.command("run")
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert "5 mistakes" in said
    for setting in ("kiva.columns", "mis.timezone", "mis.urll", "mis.poll_every", "repayments.closes_on"):
        assert setting in said
    assert "Africa/Dakar" in said
    assert not (house.folder / "outbox.db").exists()


@pytest.mark.long
def test_no_log_and_no_listing_holds_a_name_a_story_or_a_secret(house: Site) -> None:
    house.mis("UPDATE m_note SET note_type_enum = 200")
    with house.process():
        eventually(lambda: house.kiva.ledger(resource="loan_draft"))
        eventually(lambda: not house.entries(state="ready"))
    listings = [
        house.command(*command).stdout
        for command in (
            ("status",),
            ("status", "--json"),
            ("review",),
            ("outbox", "list"),
            ("outbox", "list", "--json"),
        )
    ]
    text = "\n".join([log(house), *listings])
    names = house.mis(
        "SELECT firstname, lastname, fullname FROM m_client WHERE length(firstname) > 4 OR length(fullname) > 6"
    )
    seeded = {part for row in names for part in row if part and len(part) > 4} | {
        remark_ for remark_ in remark.PRIVATE if len(remark_) > 4
    }
    assert len(seeded) > 50
    assert not [word for word in seeded if word in text]
    assert "s3cr3t-of-the-relay" not in text
    assert "data:image" not in text
