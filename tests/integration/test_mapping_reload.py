"""Edits while the relay runs: nothing lost, nothing sent twice, the last valid one in force; much changed is held."""

from __future__ import annotations

import random
import shutil
import threading
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest

from kiva_relay.capture import revision
from kiva_relay.config import shipped
from kiva_relay.mapping.difference import KINDS
from kiva_relay.outbox import hold
from kiva_relay.outbox.meta import ReloadResult
from kiva_relay.service import reload
from kiva_relay.service.relay import Relay
from testbed.institution.branch import KIVA_FUND
from testbed.judge import expected
from testbed.rig.patience import eventually
from testbed.rig.site import Site

NAME = "loan_draft.individual"
FIFTY = [
    pytest.param("on_save", 50, marks=pytest.mark.long),
    # By command, with a reload at the worst moment: tests/integration/test_in_force.py.
    pytest.param("on_command", 50, marks=[pytest.mark.long, pytest.mark.night]),
]


@pytest.fixture
def own(house: Site) -> Path:
    folder = house.folder / "mappings"
    shutil.copytree(shipped.folder("mappings") / "fineract", folder)
    house.changes["mappings"] = str(folder)
    return folder


def edited(text: str, number: int) -> str:
    """A valid edit: another use of the loan."""
    words = f'  loanuse: {{text: "use {number}"}}\n'
    return text.replace("  currency:      currency_code\n", f"  currency:      currency_code\n{words}").replace(
        "left_to_the_coordinator: [description, loanuse,", "left_to_the_coordinator: [description,"
    )


def broken(text: str, rng: random.Random) -> str:
    """Cut in the middle of a line, as a slow copy is; or a mistake of typing."""
    if rng.random() < 0.5:
        return text[: text.index("fields:") + rng.randrange(3, 200)]
    return text.replace("client.lastname", rng.choice(["client.lastname | trimm", "klient.lastname", "'a' ~ : b"]))


def ask(relay: Relay) -> ReloadResult:
    with relay.outbox.begin() as tx:
        asked = reload.ask(tx, now=relay.time.now())

    def answer() -> ReloadResult | None:
        with relay.outbox.read() as tx:
            return reload.answered(tx, asked)

    found: ReloadResult = eventually(answer)
    return found


@pytest.mark.parametrize(("mode", "number_of_edits"), FIFTY)
def test_many_edits_under_load(house: Site, own: Path, mode: str, number_of_edits: int) -> None:
    house.changes["reload"] = mode
    house.changes["mis"] = {"poll_every": "100ms"}
    file = own / f"{NAME}.yaml"
    original = file.read_text()
    rng, pause = random.Random(7), threading.Event()
    edits_made = range(number_of_edits)
    good = [number for number in edits_made if number % 2 == 0]
    if mode == "on_save":  # what is saved over at once was never seen; a command's answer says that it was
        good.append(edits_made[-1])
    answers: list[bool] = []
    with house.daemon() as relay:
        eventually(lambda: len(house.sent("loan_draft")) > 3)
        teller = house.teller(seed=3)
        for number in edits_made:
            text = edited(original, number)
            file.write_text(text if number in good else broken(text, rng))
            for _ in range(2):
                teller.act()
            if mode == "on_command":
                answers.append(ask(relay).ok)
            else:
                pause.wait(rng.choice([0.05, 0.2, 0.4]))
        assert mode == "on_save" or answers == [number in good for number in edits_made]

        def in_force() -> bool:
            with relay.outbox.begin() as tx:
                hold.release(tx, "loan_draft", by="test", note="seen", now=relay.time.now())
                return revision.in_force(tx, NAME) == edited(original, good[-1])

        eventually(in_force)
        for _ in range(10):
            teller.act()

        def everything_sent() -> bool:
            in_force()
            owed_now = expected.expected(house.connection, fund_id=KIVA_FUND, cutoff=date.today(), today=date.today())
            sent = {loan for record in house.kiva.ledger(resource="loan_draft") for loan in record["loan_ids"]}
            return owed_now.drafts.keys() <= sent | {row.identity for row in house.entries(state="refused")}

        eventually(everything_sent)
    drafts = [body.get("internal_loan_id") or body["entreps"][0]["loan_id"] for body in house.sent("loan_draft")]
    assert [loan for loan, times in Counter(drafts).items() if times > 1] == []
    uses = [body["loanuse"] for body in house.sent("loan_draft") if "loanuse" in body]
    assert {int(use.removeprefix("use ")) for use in uses} <= set(good)


def waiting(house: Site) -> list[str]:
    """Let every individual draft wait for its time; their identities."""
    house.mis(
        "UPDATE m_loan SET disbursedon_date = NULL, expected_disbursedon_date = %s"
        " WHERE loan_type_enum IN (1, 3) AND loan_status_id IN (200, 300)",
        date.today() + timedelta(days=3),
    )
    house.changes["delivery"] = {"hold_for": "1h"}
    house.changes["loan_drafts"] = {"since": "all"}
    with house.relay() as relay:
        relay.context.settings = relay.settings.model_copy(update={"first_start": "hold"})
        with relay.outbox.begin() as tx:
            hold.put(tx, hold.ALL, "asked", now=relay.time.now())
        relay.once()
    return [row.identity for row in house.entries(stream=NAME, state="ready")]


def test_an_edit_that_changes_much_of_what_waits_is_held(house: Site, own: Path) -> None:
    before = waiting(house)
    assert len(before) > 5
    file = own / f"{NAME}.yaml"
    original = file.read_text()
    file.write_text(edited(original, 1))
    with house.relay() as relay:
        relay.once()
        with relay.outbox.read() as tx:
            held = {one.reason: one for one in hold.in_force(tx)}
    assert held["mapping_changes_much"].what == "loan_draft"
    assert held["mapping_changes_much"].params["changed"] == held["mapping_changes_much"].params["waiting"]
    assert "mapping_examined" not in held
    now = house.entries(stream=NAME, state="ready")
    assert {row.identity for row in now} == set(before)
    assert all('"loanuse":"use 1"' in row.body for row in now)
    assert house.sent("loan_draft") == []


def test_an_edit_that_changes_little_or_that_a_person_has_seen_is_not_held(house: Site, own: Path) -> None:
    before = waiting(house)
    file = own / f"{NAME}.yaml"
    original = file.read_text()
    few = f"loanuse: \"'other' if account_no == '{before[0]}' else none\""
    file.write_text(edited(original, 1).replace('loanuse: {text: "use 1"}', few))
    with house.relay() as relay:
        relay.once()
        with relay.outbox.read() as tx:
            assert {one.reason for one in hold.in_force(tx)} == {"asked"}
    file.write_text(edited(original, 2))
    with house.relay() as relay:
        with relay.outbox.begin() as tx:
            revision.seen(tx, next(each for each in relay.in_force.configuration.documents if each.name == NAME))
        relay.once()
        with relay.outbox.read() as tx:
            assert {one.reason for one in hold.in_force(tx)} == {"asked"}
    assert all('"loanuse":"use 2"' in row.body for row in house.entries(stream=NAME, state="ready"))


def test_a_refused_loan_goes_out_when_the_mapping_is_corrected_and_nothing_else_again(house: Site, own: Path) -> None:
    file = own / f"{NAME}.yaml"
    original = file.read_text()
    file.write_text(original.replace("choose: {Female: female,", "choose: {Weiblich: female,"))
    house.once()
    refused = {
        row.identity for row in house.entries(stream=NAME, state="refused") if "code_unknown" in str(row.refusals)
    }
    sent = len(house.sent("loan_draft"))
    assert refused
    file.write_text(original)
    house.once()
    drafts = [body["entreps"][0]["loan_id"] for body in house.sent("loan_draft")]
    assert len(drafts) > sent
    assert max(Counter(drafts).values()) == 1


def test_a_mapping_that_vanishes_from_the_disk_stays_in_force(house: Site, own: Path) -> None:
    house.changes["reload"] = "on_save"
    file = own / f"{NAME}.yaml"
    with house.daemon() as relay:
        eventually(lambda: len(house.sent("loan_draft")) > 3)
        file.unlink()

        def told() -> str | None:
            with relay.outbox.read() as tx:
                return tx.exec_driver_sql("SELECT value FROM meta WHERE name = 'reload_result'").scalar()

        assert "Gone from the disk" in str(eventually(told))
        assert NAME in {each.name for each in relay.in_force.configuration.documents}


# On command alone every day: what is read is the same, and a mistake on save is tried in test_cli_run.
@pytest.mark.parametrize("mode", ["on_command", pytest.param("on_save", marks=pytest.mark.long)])
def test_an_edit_that_does_not_fit_the_database_changes_nothing(house: Site, own: Path, mode: str) -> None:
    house.changes["reload"] = mode
    file = own / f"{NAME}.yaml"
    before = file.read_text()
    with house.daemon() as relay:
        eventually(lambda: len(house.sent("loan_draft")) > 3)
        file.write_text(before.replace("{from: principal_amount, money", "{from: principal_amont, money"))
        if mode == "on_command":
            relay.ask_reload()  # as systemctl reload does

        def told() -> str | None:
            with relay.outbox.read() as tx:
                return tx.exec_driver_sql("SELECT value FROM meta WHERE name = 'reload_result'").scalar()

        assert 'no column \\"principal_amont\\"' in str(eventually(told))
        with relay.outbox.read() as tx:
            assert revision.in_force(tx, NAME) == before
        assert NAME in house.command("status").stdout
        file.write_text(before)


def test_an_id_typed_by_hand_is_matched_by_the_csv(house: Site, own: Path) -> None:
    rows = house.mis(
        "SELECT account_no FROM m_loan WHERE fund_id = %s AND loan_status_id = 300 AND loan_type_enum = 1 ORDER BY id",
        KIVA_FUND,
    )
    first, second = rows[0][0], rows[1][0]
    typed = {first: f"KV/{int(first)}", second: f"{int(second)} bis"}
    house.kiva.seed_loans([{"internal_loan_id": loan, "status": "payingBack"} for loan in typed.values()])
    house.once()
    assert house.positions() == {}
    (own / "lookup" / "loan_ids.csv").write_text(
        "at_kiva,in_the_mis\n" + "".join(f"{at_kiva},{mine}\n" for mine, at_kiva in typed.items())
    )
    house.once()
    assert set(house.positions()) == set(typed.values())
    derived = dict(
        house.mis("SELECT account_no, principal_repaid_derived FROM m_loan WHERE account_no = ANY(%s)", [first, second])
    )
    assert house.positions() == {typed[loan]: amount for loan, amount in derived.items()}


def test_every_kind_of_change_has_its_words() -> None:
    assert all(words for words in KINDS.values())
