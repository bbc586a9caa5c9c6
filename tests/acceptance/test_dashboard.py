"""Every panel of the dashboard shows something: asked of a real Prometheus that scraped a relay at work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from testbed.kiva import server
from testbed.kiva.config import KivaConfig
from testbed.kiva.control import Sandbox
from testbed.rig import prometheus
from testbed.rig.office import Office
from testbed.rig.patience import eventually
from testbed.rig.prometheus import Prometheus
from testbed.rig.typed import typed

pytestmark = [
    pytest.mark.long,
    pytest.mark.night,
    pytest.mark.skipif(prometheus.missing() is not None, reason=prometheus.missing() or ""),
]

MONITORING = Path(__file__).parents[2] / "packaging" / "monitoring"
PANELS = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))["panels"]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """What there is to see: something delivered, refused, held, read again; nothing of it is made up."""
    folder = tmp_path_factory.mktemp("office")
    listens = f"127.0.0.1:{prometheus.free_port()}"
    with server.start(config=KivaConfig(drafts_visible=True)) as kiva, Sandbox(kiva.url) as control:
        control.seed_loans([{"internal_loan_id": "P0"}])
        office = Office(folder, kiva.url, metrics=listens)
        office.grant(date.today() - timedelta(days=60))  # too long ago: refused
        with (
            office.process(),
            prometheus.scraping(
                listens, tmp_path_factory.mktemp("prometheus"), rules=MONITORING / "alerts.yml"
            ) as made,
        ):
            office.grant()
            office.repay("P0")
            office.tell("P0")
            eventually(lambda: control.ledger(resource="repayment"), within=60)
            eventually(lambda: control.ledger(resource="loan_draft"), within=60)
            environ = {"KIVA_RELAY_CONFIG": str(office.config), "KIVA_SECRET": "s3cr3t", "SUDO_USER": "awa"}
            assert typed("hold", "journal", "--note", "to be seen", **environ).returncode == 0
            eventually(lambda: made.asked("kiva_relay_held == 1"), within=90)
            yield made
        office.mis.close()


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_a_panel_shows_something(scraped: Prometheus, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        found = eventually(lambda: scraped.asked(target["expr"]), within=90)  # noqa: B023 - asked before the next
        assert all(series["value"][1] not in ("NaN", "+Inf") for series in found), found


def test_prometheus_takes_every_rule_and_sees_the_hold(scraped: Prometheus) -> None:
    rules = eventually(lambda: all(rule["health"] == "ok" for rule in scraped.rules()) and scraped.rules(), within=60)
    states = {rule["name"]: rule["state"] for rule in rules}
    assert states["KivaRelayDown"] == "inactive"
    eventually(
        lambda: {rule["name"]: rule["state"] for rule in scraped.rules()}["KivaRelayHeld"] != "inactive", within=60
    )
