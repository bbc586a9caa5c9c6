"""A mapping that extends a ready-made one, while the relay works: an upgrade of the base, a copy turned into `extends`."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import cli
from kiva_relay.capture import revision
from kiva_relay.config import shipped
from kiva_relay.outbox import hold, table
from testbed.rig.site import Site

NAME = "loan_draft.individual"
EXTENDS = f"extends: fineract/{NAME}\n"
USE = '{fields}  loanuse: {{text: "{use}"}}\nleft_to_the_coordinator: [description, client_waiver_signed]\n'


@pytest.fixture
def package(house: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mappings of the package, where an upgrade can change them; the institution's own folder is beside config.yaml."""
    folder = house.folder / "package"
    shutil.copytree(shipped.folder("mappings"), folder)
    real = shipped.folder
    monkeypatch.setattr(shipped, "folder", lambda kind: folder if kind == "mappings" else real(kind))
    (house.folder / "mappings").mkdir()
    return folder


@pytest.fixture
def own(house: Site, package: Path) -> Path:
    return house.folder / "mappings" / f"{NAME}.yaml"


@pytest.fixture
def run(house: Site, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def command(*arguments: str) -> tuple[int, str, str]:
        code = cli.main([*arguments, "--config", str(house.config)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def captured(house: Site) -> list[Any]:
    engine = sa.create_engine(f"sqlite:///{house.folder / 'outbox.db'}")
    try:
        with engine.connect() as tx:
            columns = table.captured.c
            rows = sa.select(columns.key, columns.hash, columns.captured_at).where(
                columns.stream == NAME, ~columns.refused
            )
            return list(tx.execute(rows.order_by(columns.key)))
    finally:
        engine.dispose()


def test_a_copy_turned_into_extends_changes_nothing_and_continues_the_stream(
    house: Site, package: Path, own: Path
) -> None:
    shutil.copyfile(package / "fineract" / f"{NAME}.yaml", own)
    house.once()
    before, entries, sent = captured(house), house.entries(stream=NAME), house.sent("loan_draft")
    assert len(sent) > 3
    own.write_text(EXTENDS)
    with house.relay() as relay:
        relay.once()
        with relay.outbox.read() as tx:
            assert hold.in_force(tx) == []
            text = revision.in_force(tx, NAME)
    assert captured(house) == before
    assert house.entries(stream=NAME) == entries
    assert text is not None
    assert "extends:" not in text
    assert "table: m_loan_repayment_schedule" in text
    own.unlink()
    house.once()
    own.write_text(EXTENDS + USE.format(fields="fields:\n", use="a stall"))
    house.once()
    drafts = [body["entreps"][0]["loan_id"] for body in house.sent("loan_draft") if len(body["entreps"]) == 1]
    assert max(Counter(drafts).values()) == 1
    assert len(house.sent("loan_draft")) == len(sent)


@pytest.mark.long
def test_a_base_that_an_upgrade_changed_is_examined_and_named_with_both_versions(
    house: Site, package: Path, own: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    house.mis(
        "UPDATE m_loan SET disbursedon_date = NULL, expected_disbursedon_date = %s"
        " WHERE loan_type_enum IN (1, 3) AND loan_status_id IN (200, 300)",
        date.today() + timedelta(days=3),
    )
    house.changes["loan_drafts"] = {"since": "all"}
    own.write_text(f"{EXTENDS}fields: {{image_encoded: null}}\n")
    monkeypatch.setattr(revision, "__version__", "0.1.0")
    with house.relay() as relay:
        with relay.outbox.begin() as tx:
            hold.put(tx, hold.ALL, "asked", now=relay.time.now())
        relay.once()
    assert len(house.entries(stream=NAME, state="ready")) > 5
    base = package / "fineract" / f"{NAME}.yaml"
    base.write_text(base.read_text() + "# only a comment\n")
    house.once()
    base.write_text(
        base.read_text()
        .replace("  currency:      currency_code\n", '  currency: currency_code\n  loanuse: {text: "for her stall"}\n')
        .replace("[description, loanuse,", "[description,")
    )
    monkeypatch.setattr(revision, "__version__", "0.2.0")
    code, out, _ = run("mapping", "diff", NAME)
    assert code == 1, out
    assert "loanuse" in out
    with house.relay() as relay:
        relay.once()
        with relay.outbox.read() as tx:
            (held,) = (one for one in hold.in_force(tx) if one.reason == "mapping_changes_much")
    assert {name: held.params[name] for name in ("base", "before", "now")} == {
        "base": f"fineract/{NAME}",
        "before": "0.1.0",
        "now": "0.2.0",
    }
    _, out, _ = run("status")
    said = " ".join(out.split())
    assert f"the ready-made fineract/{NAME} changed with the upgrade from version 0.1.0 to 0.2.0." in said
    assert all('"loanuse":"for her stall"' in row.body for row in house.entries(stream=NAME, state="ready"))


@pytest.mark.long
def test_commands_show_what_a_mapping_extends(house: Site, own: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    own.write_text(f"{EXTENDS}fields: {{image_encoded: null, currency: {{from: no_such}}}}\n")
    code, _, err = run("mapping", "check")
    assert code == 2
    assert f"{own}: 1 mistake" in err
    own.write_text(f"{EXTENDS}fields: {{image_encoded: null, currency: {{text: XOF}}}}\n")
    code, out, err = run("mapping", "check")
    assert code == 0, err
    _, out, _ = run("mapping", "list", "--json")
    listed = {one["name"]: one for one in json.loads(out)}
    assert listed[NAME]["extends"] == f"fineract/{NAME}"
    assert listed["journal"]["extends"] is None
    code, out, _ = run("mapping", "test", NAME)
    assert code == 0, out
    assert "differs" not in out
    assert f"of 17 examples of fineract/{NAME}, 17 give the same, 0 differ" in out
    own.write_text(f"{EXTENDS}fields: {{disburse_time: expected_disbursedon_date}}\n")
    code, out, _ = run("mapping", "test", NAME)
    assert code == 0, out
    assert f"differs {NAME}: disbursed on another day than expected (an example of fineract/{NAME})" in out
    code, out, _ = run("mapping", "show", NAME)
    assert code == 0
    own.write_text(out)
    _, out, _ = run("mapping", "list", "--json")
    assert {one["name"]: one for one in json.loads(out)}[NAME]["fingerprint"] != listed[NAME]["fingerprint"]
    code, out, _ = run("mapping", "show", NAME, "--json")
    assert json.loads(out)["extends"] is None


def test_a_column_that_the_database_lacks_is_told_of_the_base(
    house: Site, package: Path, own: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    own.write_text(f"{EXTENDS}fields: {{internal_loan_id: no_such}}\n")
    base = package / "fineract" / f"{NAME}.yaml"
    base.write_text(base.read_text().replace("client.lastname", "client.lastnam"))
    code, _, err = run("mapping", "check")
    assert code == 2
    assert f"{own}: 1 mistake" in err
    assert f"{base}: 1 mistake" in err
    assert 'm_client has no column "lastnam"' in err
