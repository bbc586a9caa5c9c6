"""`kiva-relay check`: what is good, what is not, and what to type; nothing is changed by looking."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay import cli
from kiva_relay.cli import check_changes
from kiva_relay.outbox import heartbeat
from kiva_relay.outbox.heartbeat import Heartbeat
from testbed.rig.site import Site

Check = Callable[..., tuple[int, dict[str, list[tuple[str, str]]]]]


@pytest.fixture
def check(house: Site, capsys: pytest.CaptureFixture[str]) -> Check:
    def look(*, without: str = "", **changes: Any) -> tuple[int, dict[str, list[tuple[str, str]]]]:
        house.changes = changes
        config = house.config
        lines = config.read_text().splitlines(keepends=True)
        config.write_text("".join(line for line in lines if not without or without not in line))
        code = cli.main(["check", "--json", "--config", str(config)])
        said = json.loads(capsys.readouterr().out)
        assert said["exit_code"] == code
        found: dict[str, list[tuple[str, str]]] = {}
        for finding in said["findings"]:
            found.setdefault(finding["about"], []).append((finding["word"], finding["text"]))
        return code, found

    return look


def test_a_good_beginning(check: Check, house: Site) -> None:
    code, found = check()
    assert code == 0
    assert {word for about in found.values() for word, _ in about} == {"ok", "warning", "off"}
    assert "PostgreSQL" in found["MIS"][0][1]
    assert found["Kiva"][0] == ("ok", f"{house.server.url}; token, 4 of 4 scopes")
    assert "150 activities" in found["Kiva"][1][1]
    assert any("loan_draft.individual" in text and "xmin" in text for _, text in found["changes"])
    assert found["outbox"][0][1].startswith("new, will be ")
    assert not (house.folder / "outbox.db").exists()
    assert not list(house.folder.glob("*witness*"))
    assert house.kiva.ledger() == []


def test_the_screen(house: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--config", str(house.config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"· SANDBOX, partner 123 · {house.folder}/config.yaml")
    assert "  ok      clocks" in "\n".join(lines)
    assert lines[-1].endswith(f"It can start.     kiva-relay run --config {house.folder}/config.yaml")


def test_a_role_that_could_write_is_a_warning(check: Check) -> None:
    _, found = check()
    word, text = found["grants"][0]
    assert word == "warning"
    assert "kiva-relay check --grants" in text


def test_servers_that_are_away_are_waited_for(check: Check) -> None:
    code, found = check(
        mis={"url": "postgresql://nobody@127.0.0.1:1/fineract"},
        kiva={"token_url": "http://127.0.0.1:1/oauth/token", "api_url": "http://127.0.0.1:1"},
    )
    assert code == 3
    assert "No connection to the MIS database 127.0.0.1:1/fineract: " in found["MIS"][0][1]
    assert "kiva-relay sandbox" in found["Kiva"][0][1]


def test_a_partner_that_kiva_does_not_know(check: Check) -> None:
    code, found = check(kiva={"partner_id": "321"})
    assert code == 1
    assert ("error", "Kiva knows no partner 321") in [(word, text[:25]) for word, text in found["Kiva"]]


def test_the_credentials_of_another_partner(check: Check) -> None:
    code, found = check(kiva={"partner_id": "321"})
    assert code == 1
    assert "belong to partner 123; kiva.partner_id is 321" in found["Kiva"][0][1]


@pytest.mark.parametrize(
    ("variable", "value"), [("ALL_PROXY", "socks5h://127.0.0.1:1"), ("SSL_CERT_FILE", "/gone/ca.pem")]
)
def test_a_variable_that_makes_no_sense_is_named_and_nothing_starts(house: Site, variable: str, value: str) -> None:
    """Something unexpected happened, said the relay, and was started for ever."""
    for command in (("run", "--once"), ("check",)):
        found = house.command(*command, **{variable: value})
        assert variable in found.stdout + found.stderr
        assert "unexpected" not in found.stdout + found.stderr
        assert found.returncode == (2 if command[0] == "run" else 1)


def test_a_variable_that_names_what_needs_no_proxy_is_understood(house: Site) -> None:
    house.changes["resources"] = ["loan_draft"]
    environ = {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "[::1],fe80::/10,127.0.0.1"}
    assert house.command_apart("run", "--once", **environ).returncode == 0


def test_credentials_that_kiva_refuses(check: Check) -> None:
    code, found = check(kiva={"audience": "https://somewhere-else"})
    assert code == 1
    assert "kiva.client_id, kiva.client_secret and kiva.audience" in found["Kiva"][0][1]


def test_a_parameter_that_is_none_of_the_choices_is_a_mistake_and_names_them(check: Check, house: Site) -> None:
    code, found = check(parameters={"kiva_fund": 99})
    assert code == 1
    (said,) = [text for word, text in found["columns"] if word == "error"]
    assert said.count("99 is none") == 1
    assert "In your database: " in said
    assert "Kiva" in said


def test_a_first_day_that_is_years_away_is_a_mistake(check: Check, house: Site) -> None:
    code, found = check(loan_drafts={"since": date(2062, 11, 1)})
    assert code == 1
    assert [text for word, text in found["configuration"] if word == "error" and "since is 2062-11-01" in text]


def test_a_missing_parameter_is_asked_for_once_with_its_choices(check: Check, house: Site) -> None:
    code, found = check(parameters={"another": 3}, without="kiva_fund")
    assert code == 1
    assert len(found["mappings"]) == 1
    text = found["mappings"][0][1]
    assert text.count("parameters.kiva_fund") == 1
    assert "In your database: 1 " in text
    assert "6 mappings ask for it" in text


def test_a_column_that_is_not_there(check: Check, house: Site) -> None:
    house.mis("ALTER TABLE m_client RENAME COLUMN firstname TO first_names")
    code, found = check()
    assert code == 1
    assert 'm_client has no column "firstname"' in found["columns"][0][1]
    assert "nearest: first_names" in found["columns"][0][1]


def test_an_outbox_of_another_destination(check: Check, house: Site) -> None:
    with house.relay():
        pass
    code, found = check(kiva={"partner_id": "321"})
    assert code == 1
    assert "belongs to kiva.partner_id 123" in found["outbox"][0][1]


def test_an_outbox_that_is_in_use(check: Check, house: Site) -> None:
    with house.relay():
        pass
    code, found = check()
    assert code == 0
    assert "entries" in found["outbox"][0][1]


def test_a_mapping_that_the_running_relay_does_not_read(check: Check, house: Site) -> None:
    """Its columns may fit, and a row that nobody thought of keep it where it is."""
    with house.relay() as relay:
        now = relay.time.now()
        beat = Heartbeat(now, "1", 1, now, stopped_streams={"journal": "a row that is not understood"})
        with relay.outbox.begin() as tx:
            heartbeat.write(tx, beat)
        code, found = check()
    assert code == 1
    assert "does not read the mapping journal: a row that is not understood" in found["relay"][0][1]


def test_a_folder_that_must_be_made(check: Check, house: Site) -> None:
    missing = house.folder / "var" / "outbox.db"
    code, found = check(outbox={"url": f"sqlite:///{missing}"})
    assert code == 1
    assert f"sudo install -d -o kiva-relay -m 0700 {missing.parent}" in found["outbox"][0][1]


def test_sending_that_is_switched_off_is_said(check: Check) -> None:
    code, found = check(kiva={"send": False})
    assert code == 0
    assert found["sending"][0][0] == "off"


def test_the_grants_that_the_mappings_need_and_no_more(house: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--grants", "--config", str(house.config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "GRANT SELECT ON public.m_loan TO postgres;" in lines
    assert "GRANT SELECT ON public.m_fund TO postgres;" in lines, "which a parameter's choices come from"
    statements = [line for line in lines if not line.startswith("--")]
    assert {line.split(" ON ")[0] for line in statements[:-1]} == {"GRANT USAGE", "GRANT SELECT"}
    assert statements[-1] == "GRANT pg_read_all_stats TO postgres;"
    assert not (house.folder / "outbox.db").exists()


def test_what_is_printed_is_what_a_new_role_needs(
    check: Check, house: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    house.mis("CREATE ROLE newcomer LOGIN PASSWORD 'r'")
    house.mis("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    role = sa.make_url(house.url).set(username="newcomer", password="r").render_as_string(hide_password=False)
    try:
        code, found = check(mis={"url": role})
        assert code == 1
        assert "columns" not in found, "one error, not one of each column"
        word, text = found["grants"][-1]
        assert word == "error"
        assert re.match(
            r"newcomer may not read (\d+) of the \1 tables that the mappings name: .* and \d+ more\.\n", text
        )
        assert text.endswith("kiva-relay check --grants")
        assert cli.main(["check", "--grants", "--config", str(house.config)]) == 0
        for statement in capsys.readouterr().out.splitlines():
            house.mis(statement)
        code, found = check(mis={"url": role})
        assert code == 0
        assert found["grants"] == [("ok", "cannot write to the MIS")]
        house.mis("REVOKE SELECT ON m_note FROM newcomer")
        code, found = check(mis={"url": role})
        assert "newcomer may not read 1 of the" in found["grants"][-1][1]
        assert "name: m_note." in found["grants"][-1][1]
        # They are printed also before the parameters are set.
        assert check(mis={"url": role}, without="kiva_fund")[0] == 1
        assert cli.main(["check", "--grants", "--config", str(house.config)]) == 0
        out = capsys.readouterr().out
        assert "GRANT SELECT ON public.m_note TO newcomer;" in out
        assert "mistakes" not in out
        house.mis("GRANT UPDATE (note) ON m_note TO newcomer")
        assert "could write to m_note." in check(mis={"url": role})[1]["grants"][0][1]
    finally:
        house.mis("DROP OWNED BY newcomer")
        house.mis("REVOKE pg_read_all_stats FROM newcomer")
        house.mis("DROP ROLE newcomer")


def test_it_says_what_a_look_costs_and_which_sql_would_better_it(
    check: Check, house: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_changes, "_DEAR", timedelta(0))
    house.mis("CREATE ROLE reader LOGIN PASSWORD 'r'")
    house.mis("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    reader = sa.make_url(house.url).set(username="reader", password="r").render_as_string(hide_password=False)
    try:
        _, found = check(mis={"url": reader, "watch": "overlap"})
        word, text = next(one for one in found["changes"] if "loan_draft.individual" in one[1])
        assert word == "ok", "somebody asked for it"
        assert re.search(r"noticed by overlap, \d+ ms a look", text)
        told = "\n".join(text for _, text in found["changes"])
        assert told.count("stamped in the last 10 min is looked at again") == 1
        assert told.count("CREATE INDEX CONCURRENTLY ON m_loan (last_modified_on_utc);") == 1
        assert "GRANT" not in told, "it would change nothing"
        assert found["grants"] == [("ok", "cannot write to the MIS")]
        _, found = check(mis={"url": reader})
        word, text = next(one for one in found["changes"] if "loan_draft.individual" in one[1])
        assert (word, "noticed by xmin" in text) == ("ok", True)
        _, found = check(mis={"url": reader, "watch": "horizon"})
        told = "\n".join(text for _, text in found["changes"])
        assert "no horizon for m_loan, " in told
        assert told.count("GRANT pg_read_all_stats TO reader;") == 1
    finally:
        house.mis("DROP OWNED BY reader")
        house.mis("DROP ROLE reader")


def test_stamps_that_are_missing_or_of_another_clock(check: Check, house: Site) -> None:
    house.mis("ALTER TABLE m_loan ALTER last_modified_on_utc DROP NOT NULL")
    house.mis("UPDATE m_loan SET last_modified_on_utc = NULL WHERE id IN (SELECT id FROM m_loan ORDER BY id LIMIT 2)")
    house.mis("UPDATE m_client SET last_modified_on_utc = now() + interval '181 minutes' WHERE id = 1")
    code, found = check(mis={"watch": "horizon"})
    assert code == 1
    assert any(
        word == "warning" and "m_loan.last_modified_on_utc is empty in 2 rows" in text for word, text in found["stamps"]
    )
    assert any(word == "error" and "m_client" in text and "3 h" in text for word, text in found["stamps"])
    assert "stamps" not in check()[1], "xmin needs none"
