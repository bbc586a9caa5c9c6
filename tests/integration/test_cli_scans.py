"""`backfill` and `sweep`: with a relay that runs, without one, and the dry run."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import pytest
import sqlalchemy as sa

from kiva_relay import meter
from kiva_relay.outbox import heartbeat, scan, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.service.relay import Relay
from testbed.rig.patience import eventually
from testbed.rig.site import Site

DRAFTS = "loan_draft.individual"
REST = "UPDATE m_loan_repayment_schedule SET interest_amount = 77 WHERE installment = 1 AND loan_id = %s"


def progress(house: Site, stream: str = DRAFTS) -> scan.ScanProgress | None:
    outbox = Outbox(f"sqlite:///{house.folder / 'outbox.db'}")
    try:
        with outbox.read() as tx:
            return scan.of(tx, stream)
    finally:
        outbox.close()


def beat_of(relay: Relay) -> Heartbeat | None:
    with relay.outbox.read() as tx:
        return heartbeat.read(tx)


@pytest.mark.long
def test_a_dry_run_says_what_the_first_start_would_owe_and_writes_nothing(house: Site) -> None:
    house.changes = {"kiva": {"send": True}}
    posted = house.mis("SELECT account_no FROM m_loan WHERE loan_status_id = 300 AND loan_type_enum = 1 LIMIT 1")[0][0]
    house.kiva.seed_loans([{"internal_loan_id": posted, "status": "fundRaising"}])
    done = house.command_apart("backfill", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kiva_was_asked"]
    drafts = told["mappings"][DRAFTS]
    assert drafts["rows"] == sum(drafts[name] for name in ("owed", "at_kiva", "older", "known", "waiting", "refused"))
    assert drafts["refused"] == 0 or drafts["reasons"]
    assert not (house.folder / "outbox.db").exists()
    assert house.kiva.ledger() == []
    house.changes = {"loan_drafts": {"since": date.today().isoformat()}, "kiva": {"send": False}}
    house.once()
    owed = {row.identity for row in house.entries(resource="loan_draft", stream=DRAFTS, state="ready")}
    house.changes = {"loan_drafts": {"since": "all"}, "kiva": {"send": False}}
    again = json.loads(house.command("backfill", "--dry-run", "--json", "--mapping", DRAFTS).stdout)["mappings"][DRAFTS]
    assert again["known"] >= len(owed)
    assert again["older"] == 0
    assert again["owed"] > 0
    # And the real one owes exactly those.
    done = house.command("backfill", "--yes", "--mapping", DRAFTS, "--note", "since the first day")
    assert done.returncode == 0, done.stderr
    ready = {row.identity for row in house.entries(resource="loan_draft", stream=DRAFTS, state="ready")}
    assert len(ready - owed) == again["owed"]


def test_a_sweep_without_a_relay_reads_here_and_counts_what_is_gone(house: Site) -> None:
    house.changes = {"kiva": {"send": False}}
    house.once()
    loans = [int(row.key) for row in house.entries(resource="loan_draft", stream=DRAFTS, state="ready")]
    house.mis("SET session_replication_role = replica")  # its instalments may stay
    house.mis("DELETE FROM m_loan WHERE id = %s", loans[0])
    done = house.command_apart("sweep", "--mapping", DRAFTS)
    assert done.returncode == 0, done.stderr
    assert "1 of them gone" in done.stdout
    found = progress(house)
    assert found is not None
    assert (found.kind, found.gone, found.done) == ("sweep", 1, found.total)
    assert house.entries(key=str(loans[0]))[-1].state == "withdrawn"


@pytest.mark.long
def test_a_relay_that_runs_does_the_sweep_and_tells_what_polls_missed(house: Site) -> None:
    """A change that no poll can show: the row is there, its place below the watermark."""
    house.changes = {"kiva": {"send": False}, "mis": {"watch": "overlap"}}
    missed = meter.sweep_found.labels(stream=DRAFTS, what="missed")._value
    before = missed.get()
    with house.daemon() as relay:
        eventually(lambda: house.entries(resource="loan_draft", state="ready"))
        loan = house.entries(resource="loan_draft", stream=DRAFTS, state="ready")[0]
        eventually(lambda: relay.capture_loop.health.modes.get(DRAFTS) and not relay.capture_loop.capture().scanning())
        house.mis(REST, int(loan.key))  # no stamp is set
        done = house.command("sweep", "--mapping", DRAFTS)
        assert done.returncode == 0, done.stderr
        assert "1 new or different" in done.stdout
        eventually(lambda: missed.get() == before + 1)
    assert '"interest":77' in house.entries(key=loan.key, state="ready")[-1].body
    found = progress(house)
    assert found is not None
    assert (found.found, found.missed) == (1, 1)


def test_a_change_that_the_sweep_only_saw_first_is_no_miss(house: Site) -> None:
    house.changes = {"kiva": {"send": False}, "mis": {"watch": "overlap"}}
    house.once()
    loan = house.entries(resource="loan_draft", stream=DRAFTS, state="ready")[0]
    missed = meter.sweep_found.labels(stream=DRAFTS, what="missed")._value
    before = missed.get()
    with house.relay() as relay:
        capture = relay.capture_loop.capture()
        capture.cycle()
        changes = capture._mis.changes
        capture.sweep()

        def late(*asked: object, **more: object) -> object:
            """The row changes after the poll has looked, and before the sweep does."""
            cycle = changes(*asked, **more)  # type: ignore[arg-type]
            house.mis(REST.replace("SET", "SET last_modified_on_utc = now(),"), int(loan.key))
            return cycle

        capture._mis.changes = late  # type: ignore[assignment,method-assign]
        capture.cycle()
        capture._mis.changes = changes  # type: ignore[method-assign]
        assert capture._scanning._suspects[DRAFTS] == {loan.key}
        capture.cycle()
    assert missed.get() == before


def test_a_scan_that_is_begun_anew_while_a_page_is_read_loses_none_of_its_keys(house: Site) -> None:
    house.changes = {"kiva": {"send": False}}
    house.once()
    with house.relay() as relay:
        with relay.outbox.begin() as tx:
            mark = watermark.watermarks(tx)[DRAFTS]
            watermark.start_scan(tx, DRAFTS, "sweep", now=relay.time.now())
        with relay.outbox.begin() as tx, pytest.raises(Exception, match="moved by somebody else"):
            watermark.scanned(tx, replace(mark, scan="sweep"), "999", now=relay.time.now())


def test_there_is_no_mapping_of_that_name(house: Site) -> None:
    done = house.command("sweep", "--mapping", "loan_draft.individul")
    assert done.returncode == 2
    assert "Did you mean: loan_draft.individual" in done.stderr


def test_a_mapping_that_does_not_fit_is_said_and_the_others_are_read(house: Site) -> None:
    """It was "0 rows" and exit code 0."""
    house.changes = {"resources": ["journal", "repayment"], "kiva": {"send": False}}
    house.mis("ALTER TABLE m_note RENAME COLUMN note TO remark")
    done = house.command("backfill", "--dry-run", "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert [*told["not_read"]] == ["journal"]
    assert "journal" not in told["mappings"]
    assert told["mappings"]
    assert house.command("migrate").returncode == 0
    for command in (("backfill", "--yes"), ("sweep",)):
        done = house.command(*command)
        assert done.returncode == 1, done.stderr
        assert "STOPPED" in done.stdout
        assert "The mapping journal does not fit the MIS, and is not read" in done.stdout


def test_a_mapping_that_the_running_relay_does_not_read_is_not_waited_for(house: Site) -> None:
    house.changes = {"resources": ["journal"], "kiva": {"send": False}}
    house.mis("ALTER TABLE m_note RENAME COLUMN note TO remark")
    with house.daemon() as relay:
        eventually(lambda: (beat := beat_of(relay)) and beat.stopped_streams)
        done = house.command("backfill", "--yes")
    assert done.returncode == 1, done.stderr
    assert "The mapping journal does not fit the MIS" in done.stdout


def test_a_table_that_may_not_be_read_is_said(house: Site) -> None:
    house.changes = {"resources": ["journal"], "kiva": {"send": False}}
    house.mis("CREATE ROLE reader LOGIN PASSWORD 'r' IN ROLE pg_read_all_stats")
    house.mis("GRANT SELECT ON m_loan, m_client TO reader")
    url = sa.make_url(house.url).set(username="reader", password="r")
    house.changes["mis"] = {"url": url.render_as_string(hide_password=False)}
    assert house.command("migrate").returncode == 0
    try:
        for arguments in (("backfill", "--dry-run"), ("backfill", "--yes"), ("check",)):
            done = house.command(*arguments)
            assert done.returncode == 1, (arguments, done.stdout, done.stderr)
            assert "m_note" in done.stdout + done.stderr
    finally:
        house.mis("DROP OWNED BY reader")
        house.mis("DROP ROLE reader")
