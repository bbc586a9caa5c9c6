from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kiva_relay.config import loader
from kiva_relay.errors import ConfigurationError, Mistake, UsageError
from testbed.rig import configuration

FIVE_MISTAKES = """\
kiva:
  environment: sandbox
  partner_id: 123
  client_id: abc
  client_secret: {file: secret}
  columns: 4
mis:
  url: mariadb://kiva_relay@localhost/fineract_default
  urll: x
  timezone: Dakar
mappings: fineract
loan_drafts: {since: first_start}
journals: {since: first_start}
repayments:
  opens_on: {day: 5, at: "06:00"}
  closes_on: {day: 5, at: "06:00"}
"""


def mistakes(folder: Path, *more: str, text: str = configuration.WRITTEN, **environ: str) -> list[Mistake]:
    file = configuration.write(folder, *more, text=text)
    with pytest.raises(ConfigurationError) as wrong:
        loader.load(file, environ=environ)
    return wrong.value.mistakes


def only(folder: Path, *more: str, text: str = configuration.WRITTEN, **environ: str) -> Mistake:
    (mistake,) = mistakes(folder, *more, text=text, **environ)
    return mistake


def spoilt(right: str, wrong: str) -> str:
    assert right in configuration.WRITTEN
    return configuration.WRITTEN.replace(right, wrong)


def test_five_mistakes_are_told_as_five(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("geheim")
    (tmp_path / "secret").chmod(0o644)
    found = [(at.line, at.column, at.path, at.message, at.remedy) for at in mistakes(tmp_path, text=FIVE_MISTAKES)]
    assert found == [
        (
            *(5, 25, "kiva.client_secret"),
            f"the file {tmp_path}/secret can be read by everybody (mode 644)",
            f"sudo chmod o= {tmp_path}/secret",
        ),
        (6, 12, "kiva.columns", "expected 2 or 3, found 4", "PA2 → Account → Profile → CSV upload format"),
        (9, 3, "mis.urll", "no such setting", "did you mean: url"),
        (10, 13, "mis.timezone", '"Dakar" is no time zone', "nearest: Africa/Dakar"),
        (
            *(16, 14, "repayments.closes_on"),
            "the window closes when it opens (day 5, 06:00)",
            "for a window that is always open, write when: continuous",
        ),
    ]


def test_the_message_is_one_that_can_be_read(tmp_path: Path) -> None:
    file = configuration.write(tmp_path, text=spoilt("sandbox", "Production"))
    with pytest.raises(ConfigurationError) as wrong:
        loader.load(file, environ={})
    assert str(wrong.value).splitlines() == [
        f"{file}: 1 mistake",
        '  2:16    error  kiva.environment: expected sandbox, staging or production, found "Production"',
        "          → did you mean: production",
    ]
    assert wrong.value.exit_code == 2


@pytest.mark.parametrize(
    ("right", "wrong", "place", "path", "message", "remedy"),
    [
        ("mis:", "miss:", "6:1", "miss", "no such setting", "did you mean: mis"),
        ("partner_id: 123", "partner_id:", "3:3", "kiva.partner_id", "expected text, found nothing", "PA2 → Account"),
        ("client_id: abc", "client_id: 1.5", "4:14", "kiva.client_id", "expected text, found 1.5", "write it in quo"),
        ("abc", "abc\n  send: no", "5:9", "kiva.send", 'expected true or false, found "no"', "write false"),
        ("abc", "abc\n  proxy: proxy:3128", "5:10", "kiva.proxy", "expected https://…, found", ""),
        ("abc", "abc\n  ca: none.pem", "5:7", "kiva.ca", "the file /", ""),
        ("abc", "abc\n  timeout: 60s", "5:12", "kiva.timeout", 'expected settings, found "60s"', "known here: conn"),
        (
            "abc",
            "abc\n  timeout: {read: 60}",
            "5:19",
            "kiva.timeout.read",
            "expected a length of time with",
            "write 60s",
        ),
        ("postgresql://", "postgresql+psycopg://", "7:8", "mis.url", 'the driver "psycopg" is chosen', "write postgr"),
        ("postgresql://", "postgres://", "7:8", "mis.url", '"postgres://" is not known', "write postgresql://kiva_rel"),
        ("postgresql://", "mssql://", "7:8", "mis.url", "expected postgresql:// or mariadb:// or", "postgresql://USE"),
        ("postgresql://", "jdbc:mariadb://", "7:8", "mis.url", "a JDBC address is not understood", "write postgres"),
        ("/fineract_default", "", "7:8", "mis.url", "the name of the database is missing", "postgresql://USER"),
        ("kiva_relay@localhost", "me:p/w@localhost:x", "7:8", "mis.url", "the URL cannot be read", "leave the pas"),
        ("Africa/Dakar", "Africa", "8:13", "mis.timezone", '"Africa" is no time zone', ""),
        ("Africa/Dakar", "/etc/localtime", "8:13", "mis.timezone", '"/etc/localtime" is no time zone', "nearest: "),
        ("Africa/Dakar", "Dakar/Senegal\n  max_load: 0", "9:13", "mis.max_load", "expected a number above 0", ""),
        (
            "Dakar\n",
            'Dakar\n  sweep_at: ["02:30", "24:00"]\n',
            "9:23",
            "mis.sweep_at[2]",
            "expected a time of day",
            "two",
        ),
        ("Dakar\n", "Dakar\n  poll_every: 0\n", "9:15", "mis.poll_every", "expected at least 10ms, found 0", ""),
        (
            "mappings: fineract",
            "mappings: finerakt",
            "9:11",
            "mappings",
            "there is no folder",
            "did you mean: fineract",
        ),
        (
            "mappings: fineract",
            "mappings: [fineract, ./x]",
            "9:22",
            "mappings[2]",
            "there is no folder",
            "ready-made: ",
        ),
        ("mappings: fineract", "mappings: []", "9:11", "mappings", "expected at least one, found an empty list", ""),
        (
            "{since: first_start}",
            "{since: today}",
            "10:22",
            "loan_drafts.since",
            "expected first_start, all or a d",
            "",
        ),
        (
            "{since: first_start}",
            "{since: 1.11.2026}",
            "10:22",
            "loan_drafts.since",
            "expected first_start, all",
            "a da",
        ),
        (
            "2026-11-01",
            "2026-11-31",
            "11:19",
            "journals.since",
            'expected first_start, all or a date, found "2026-11-31',
            "",
        ),
        (
            "journals: {since: 2026-11-01}",
            "journals: all",
            "11:11",
            "journals",
            'expected settings, found "all"',
            "known",
        ),
    ],
)
def test_a_wrong_value_is_told_with_its_place_and_what_to_write(  # noqa: PLR0917 - the columns of a table
    tmp_path: Path, right: str, wrong: str, place: str, path: str, message: str, remedy: str
) -> None:
    found = mistakes(tmp_path, text=spoilt(right, wrong))
    at = next(mistake for mistake in found if mistake.path == path)
    assert f"{at.line}:{at.column}" == place
    assert at.message.startswith(message)
    assert at.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("line", "path", "message", "remedy"),
    [
        (
            "resources: [loan_draft, repayments]",
            "resources[2]",
            "expected loan_draft, repayment or j",
            "did you mean: repa",
        ),
        ("poll_every: 5s", "poll_every", "no such setting", "poll_every belongs under mis:"),
        ("mis.poll_every: 5s", "mis.poll_every", "no such setting", "poll_every belongs under mis:"),
        ("zzz: 1", "zzz", "no such setting", "known here: kiva, mis, mappings"),
        ("parameters: {kiva_fund: [3]}", "parameters.kiva_fund", "expected text, a number, a date", ""),
        ("repayments: {batch: 301}", "repayments.batch", "expected a whole number from 1 to 300, found 301", ""),
        ("repayments: {opens_on: {day: 32, at: '06:00'}}", "repayments.opens_on.day", "expected a whole number", ""),
        (
            "repayments: {opens_on: {day: 10, at: '17:00'}}",
            "repayments.closes_on",
            "the window closes",
            "let it be open",
        ),
        ("repayments: {opens_on: {day: 1}}", "repayments.opens_on.at", "required, and not there", "write under"),
        ("repayments: {cutoff: yesterday}", "repayments.cutoff", "expected end_of_previous_month, today or a", ""),
        ("mirror: {refresh_every: 2d}", "mirror.refresh_every", "the mirror would be too old", "shorter than"),
        ("metrics: {listen: 9478}", "metrics.listen", 'expected an address and a port, found "9478"', "as 127.0.0.1"),
        ("outbox: {url: 'sqlite://'}", "outbox.url", "expected the path of a file", "sqlite:////var/lib"),
        ("outbox: {url: 'mysql://x/y'}", "outbox.url", "expected sqlite:// or postgresql://…, found", ""),
        ("first_start: maybe", "first_start", 'expected hold or send, found "maybe"', ""),
        ("repayments: {batch: true}", "repayments.batch", "expected a whole number from 1 to 300, found true", ""),
        ("repayments: {batch: '9'}", "repayments.batch", 'expected a whole number from 1 to 300, found "9"', ""),
        ("repayments: {cutoff: 20261101}", "repayments.cutoff", "expected end_of_previous_month, today or a", "a date"),
        (
            "repayments: {opens_on: {day: 1, at: 0600}}",
            "repayments.opens_on.at",
            "expected a time of day, found 0600",
            "two digits",
        ),
        ("parameters: 3", "parameters", "expected names and values, found 3", ""),
        ("parameters: {a: }", "parameters.a", "expected text, a number, a date, true or false, found nothing", ""),
        ("resources: []", "resources", "expected at least one, found an empty list", ""),
        ("resources: repayments", "resources", 'expected loan_draft, repayment or journal, found "rep', "did you mean"),
        ("stop_grace: [1s]", "stop_grace", "expected a length of time, found a list", "a whole number and its unit"),
        ("log: {format: jsn}", "log.format", 'expected text or json, found "jsn"', "did you mean: json"),
    ],
)
def test_a_wrong_line_is_told_with_what_to_write(
    tmp_path: Path, line: str, path: str, message: str, remedy: str
) -> None:
    at = only(tmp_path, line + "\n")
    assert (at.line, at.path) == (12, path)
    assert at.message.startswith(message)
    assert at.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("GMT+1", "Etc/GMT-1: there the sign is turned around, and it means UTC+1"),
        ("UTC-05:00", "Etc/GMT+5: there the sign is turned around, and it means UTC-5"),
        ("UTC+0", "without a summer time also UTC"),
    ],
)
def test_an_offset_is_never_answered_with_its_opposite(tmp_path: Path, written: str, said: str) -> None:
    at = only(tmp_path, text=spoilt("Africa/Dakar", f'"{written}"'))
    assert at.message == f'"{written}" is no time zone'
    assert at.remedy.endswith(said)


@pytest.mark.parametrize(
    ("environment", "url", "message"),
    [
        ("staging", "https://partner-api.k1.kiva.org", "partner-api.k1.kiva.org is Kiva's production"),
        ("production", "https://partnerapi.staging.kiva.org", "partnerapi.staging.kiva.org is Kiva's staging"),
        ("sandbox", "https://partner-api.k1.kiva.org", "partner-api.k1.kiva.org is Kiva's production"),
        ("production", "http://proxy.example.org/kiva", "expected https://…, found"),
    ],
)
def test_one_environment_never_meets_the_urls_of_another(
    tmp_path: Path, environment: str, url: str, message: str
) -> None:
    at = only(tmp_path, text=spoilt("sandbox", f"{environment}\n  api_url: {url}"))
    assert at.path == "kiva.api_url"
    assert at.message.startswith(message)


@pytest.mark.parametrize(
    "url", ["https://k\u00efva.example.org", "https://kiva.example.org/a b", "https://kiva\u200b.example.org"]
)
def test_the_address_of_a_server_is_taken_as_it_is_written_or_refused(tmp_path: Path, url: str) -> None:
    """It was changed silently into what it might mean."""
    at = only(tmp_path, text=spoilt("sandbox", f"sandbox\n  api_url: {url}"))
    assert at.path == "kiva.api_url"
    assert at.message.startswith("a server's address has no blanks and no accents, found ")


def test_every_required_key_is_asked_for_at_once(tmp_path: Path) -> None:
    found = mistakes(tmp_path, text="mis:\nkiva: {}\n")
    assert [(at.path, at.line) for at in sorted(found, key=lambda at: at.path)] == [
        ("journals.since", 1),
        ("kiva.client_id", 2),
        ("kiva.client_secret", 2),
        ("kiva.environment", 2),
        ("kiva.partner_id", 2),
        ("loan_drafts.since", 1),
        ("mappings", 1),
        ("mis.timezone", 1),
        ("mis.url", 1),
    ]
    assert {at.message for at in found} == {"required, and not there"}
    assert next(at for at in found if at.path == "mis.timezone").remedy == (
        "write under mis:  timezone: Africa/Dakar   (the time zone of the institution, as Africa/Dakar)"
    )


def test_an_empty_file_asks_for_the_same(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, text="")) == 9


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    at = only(tmp_path, text=spoilt("client_id: abc", "client_id: abc\n  client_id: abd"))
    assert (at.line, at.column, at.path) == (5, 3, "kiva.client_id")
    assert at.message == "is written twice"
    assert at.remedy == "the first one stands on line 4; delete one of them"


def test_tabs_are_told_and_the_rest_is_looked_at_all_the_same(tmp_path: Path) -> None:
    found = mistakes(tmp_path, text=spoilt("  partner_id: 123", "\tpartner_id: 123\n\tcolumns: 5"))
    assert [(at.line, at.path, at.message) for at in found] == [
        (3, "kiva.partner_id", "a tab; YAML wants blanks at the beginning of a line"),
        (4, "kiva.columns", "a tab; YAML wants blanks at the beginning of a line"),
        (4, "kiva.columns", "expected 2 or 3, found 5"),
    ]


@pytest.mark.parametrize(
    ("right", "wrong", "line", "path", "remedy"),
    [
        ("client_id: abc", "client_id: a: b", 4, "kiva.client_id", 'client_id: "a: b"'),
        ("client_id: abc", "client_id: @abc", 4, "kiva.client_id", 'client_id: "@abc"'),
        ("client_id: abc", 'client_id: "abc', 4, "kiva.client_id", 'client_id: "abc"'),
        ("  client_id: abc", " client_id: abc", 4, "kiva.client_id", "begin the line with 2 blanks"),
        ("loan_drafts: {since: first_start}", "loan_drafts: {since: first_start}\n---", 11, "", "delete this line"),
    ],
)
def test_broken_yaml_is_told_with_its_line(  # noqa: PLR0917 - the columns of a table
    tmp_path: Path, right: str, wrong: str, line: int, path: str, remedy: str
) -> None:
    at = only(tmp_path, text=spoilt(right, wrong))
    assert (at.line, at.path, at.remedy) == (line, path, remedy)


def test_a_file_that_is_no_mapping(tmp_path: Path) -> None:
    assert only(tmp_path, text="- a\n").message == "expected settings, found a list"


def test_a_file_that_holds_itself(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "parameters: &p {a: *p}\n")
    assert [(at.line, at.column, at.message) for at in found] == [
        (12, 13, "an anchor (& or *) is not known here"),
        (12, 20, "an anchor (& or *) is not known here"),
    ]


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes("kiva:\n  client_id: Thiès\n".encode("latin-1"))
    with pytest.raises(ConfigurationError) as wrong:
        loader.load(file, environ={})
    (at,) = wrong.value.mistakes
    assert (at.line, at.column, at.message) == (2, 17, "expected text in UTF-8, found the byte 0xe8")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    read = loader.load(configuration.write(tmp_path, text="\ufeff" + configuration.WRITTEN), environ={})
    assert read.kiva.client_id == "abc"


def test_a_password_does_not_stand_in_a_message(tmp_path: Path) -> None:
    for wrong in ("postgresql+x://me:geheim@localhost/db", "oracle://me:geheim@h/d", "postgresql://me:geheim@h"):
        text = spoilt("postgresql://kiva_relay@localhost/fineract_default", wrong)
        assert "geheim" not in str(only(tmp_path, text=text))


def test_two_passwords_are_one_too_many(tmp_path: Path) -> None:
    text = spoilt("kiva_relay@localhost/fineract_default", "me:geheim@localhost/db\n  password: {env: X}")
    at = only(tmp_path, text=text)
    assert (at.path, at.message) == ("mis.url", "the password stands here and under password")


def test_the_environment_lies_over_the_file_and_the_command_line_over_both(tmp_path: Path) -> None:
    file = configuration.write(tmp_path, "metrics: {listen: 'off'}\n")
    environ = {"KIVA_RELAY_MIS__POLL_EVERY": "5s", "KIVA_RELAY_METRICS__LISTEN": "127.0.0.1:1", "PATH": "/bin"}
    read = loader.load(file, environ=environ, overrides={"mis.poll_every": "1s", "kiva.send": "false"})
    assert (read.mis.poll_every.seconds, read.metrics.listen, read.kiva.send) == (1, "127.0.0.1:1", False)


def test_values_of_the_environment_may_be_of_every_kind(tmp_path: Path) -> None:
    environ = {
        "KIVA_RELAY_KIVA__CLIENT_SECRET": "#null: {x",
        "KIVA_RELAY_KIVA__CLIENT_ID": "null",
        "KIVA_RELAY_KIVA__PARTNER_ID": "0123",
        "KIVA_RELAY_MIS__PASSWORD": "{env: MIS_PASSWORD}",
        "KIVA_RELAY_KIVA__TIMEOUT__READ": "60s",
        "KIVA_RELAY_RESOURCES": "[repayment]",
        "KIVA_RELAY_PARAMETERS__KIVA_FUND": "3",
        "KIVA_RELAY_REPAYMENTS__OPENS_ON__DAY": "2",
        "KIVA_RELAY_REPAYMENTS__OPENS_ON__AT": "07:00",
        "KIVA_RELAY_LOAN_DRAFTS__SINCE": "2026-11-01",
    }
    read = loader.load(configuration.write(tmp_path), environ=environ)
    assert read.kiva.client_secret.reveal({}) == "#null: {x"
    assert (read.kiva.client_id, read.kiva.partner_id) == ("null", "0123")
    assert str(read.mis.password) == "{env: MIS_PASSWORD}"
    assert read.kiva.timeout.read.seconds == 60
    assert read.resources == ("repayment",)
    assert read.parameters == {"kiva_fund": 3}
    assert read.repayments.opens_on.day == 2
    assert str(read.loan_drafts.since) == "2026-11-01"


def test_a_literal_secret_of_the_environment_stands_in_no_file_and_warns_of_none(tmp_path: Path) -> None:
    read = loader.load(configuration.write(tmp_path), environ={"KIVA_RELAY_KIVA__CLIENT_SECRET": "geheim"})
    assert read.warnings == ()


def test_mistakes_of_environment_and_command_line_are_told_as_theirs(tmp_path: Path) -> None:
    file = configuration.write(tmp_path)
    environ = {"KIVA_RELAY_MIS__POL_EVERY": "5s", "KIVA_RELAY_KIVA__COLUMNS": "4", "KIVA_RELAY_KIVA_SEND": "false"}
    with pytest.raises(ConfigurationError) as wrong:
        loader.load(file, environ=environ, overrides={"mis.poll_every": "5"})
    assert {(at.file.name, at.line, at.path) for at in wrong.value.mistakes} == {
        ("environment variable KIVA_RELAY_MIS__POL_EVERY", 0, "mis.pol_every"),
        ("environment variable KIVA_RELAY_KIVA__COLUMNS", 0, "kiva.columns"),
        ("environment variable KIVA_RELAY_KIVA_SEND", 0, "kiva_send"),
        ("command line", 0, "mis.poll_every"),
    }


def test_a_variable_that_a_secret_names_is_no_setting(tmp_path: Path) -> None:
    text = spoilt("KIVA_SECRET", "KIVA_RELAY_SECRET")
    read = loader.load(configuration.write(tmp_path, text=text), environ={"KIVA_RELAY_SECRET": "geheim"})
    assert read.kiva.client_secret.reveal({"KIVA_RELAY_SECRET": "geheim"}) == "geheim"


def test_the_file_is_the_argument_then_the_variable(tmp_path: Path) -> None:
    file = configuration.write(tmp_path)
    environ = {"KIVA_RELAY_CONFIG": str(file)}
    assert loader.load(environ=environ).file == file
    (tmp_path / "other").mkdir()
    other = configuration.write(tmp_path / "other")
    assert loader.load(other, environ=environ).file == other


def test_no_file_names_the_places_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "USUAL_PLACE", tmp_path / "config.yaml")
    with pytest.raises(UsageError) as wrong:
        loader.load(environ={})
    for place in ("--config", "KIVA_RELAY_CONFIG", str(tmp_path / "config.yaml")):
        assert place in str(wrong.value)
    assert wrong.value.hint == f"kiva-relay config sample > {tmp_path}/config.yaml"


def test_a_file_that_is_named_and_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no configuration .*nowhere\.yaml \(--config\)\."):
        loader.load(tmp_path / "nowhere.yaml", environ={})
    with pytest.raises(UsageError, match=r"\(KIVA_RELAY_CONFIG\)\."):
        loader.load(environ={"KIVA_RELAY_CONFIG": str(tmp_path / "nowhere.yaml")})


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder") as wrong:
        loader.load(tmp_path, environ={})
    assert wrong.value.hint == f"kiva-relay config sample > {tmp_path}/config.yaml"
    (tmp_path / "config.yaml").touch()
    with pytest.raises(UsageError, match="is a folder") as wrong:
        loader.load(tmp_path, environ={})
    assert wrong.value.hint == f"kiva-relay check --config {tmp_path}/config.yaml"


def test_a_file_of_the_service_is_read_with_sudo(tmp_path: Path) -> None:
    file = configuration.write(tmp_path)
    file.chmod(0)
    program = (
        "import os, sys; from pathlib import Path; from kiva_relay.config import loader\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "try: loader.load(Path(sys.argv.pop()), environ={})\n"
        "except loader.UsageError as wrong: print(wrong, wrong.hint, sep='\\n')"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program, "status", str(file)], capture_output=True, text=True, check=True, env=os.environ
    ).stdout
    assert printed.splitlines() == [
        f"The configuration {file} belongs to the service and cannot be read by your user.",
        "sudo kiva-relay status",
    ]


def test_a_secret_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    at = only(tmp_path, text=spoilt("{env: KIVA_SECRET}", "{file: secret/nowhere}"))
    assert at.message == f"the file {tmp_path}/secret/nowhere does not exist"
    assert at.remedy.endswith(f"then sudoedit {tmp_path}/secret/nowhere")


def test_what_may_be_the_secret_itself_in_the_place_of_a_path(tmp_path: Path) -> None:
    at = only(tmp_path, text=spoilt("{env: KIVA_SECRET}", "{file: geheim}"))
    assert at.message == "there is no such file"
    assert "geheim" not in at.remedy
