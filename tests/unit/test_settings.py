from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from kiva_relay.config import loader, settings, shipped
from kiva_relay.config.kiva import ENVIRONMENTS
from kiva_relay.config.settings import Settings
from testbed.rig import configuration


def load(folder: Path, *more: str, text: str = configuration.WRITTEN) -> Settings:
    return loader.load(configuration.write(folder, *more, text=text), environ={})


def test_the_defaults(tmp_path: Path) -> None:
    read = load(tmp_path)
    assert read.mis.poll_every == timedelta(seconds=10)
    assert (read.mis.watch, read.mis.max_load, read.mis.sweep_at) == ("auto", 5.0, (time(2, 30),))
    assert read.outbox.url == "sqlite:////var/lib/kiva-relay/outbox.db"
    assert read.outbox.witness == Path("/var/lib/kiva-relay-witness/outbox.log")
    assert (read.kiva.columns, read.kiva.send, read.kiva.drafts_visible) == (2, True, "auto")
    assert (read.kiva.journals.path, read.kiva.journals.body) == ("partner", "list")
    assert read.kiva.timeout.read == timedelta(seconds=150)
    assert (read.repayments.when, read.repayments.cutoff, read.repayments.batch) == (
        "window",
        "end_of_previous_month",
        250,
    )
    assert (read.repayments.closes_on.day, read.repayments.closes_on.at) == (10, time(18))
    assert read.resources == ("loan_draft", "repayment", "journal")
    assert (read.delivery.hold_for, read.delivery.brake) == (timedelta(minutes=15), 50)
    assert (read.reload, read.log.format, read.metrics.listen) == ("on_command", "text", "127.0.0.1:9478")
    assert read.stop_grace == timedelta(seconds=150)


def test_the_clock_of_the_window_is_the_institutions_unless_said_otherwise(tmp_path: Path) -> None:
    assert load(tmp_path).repayments.timezone == "Africa/Dakar"
    assert load(tmp_path, "repayments: {timezone: America/Los_Angeles}").repayments.timezone == "America/Los_Angeles"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_environment_fills_the_three_urls(tmp_path: Path, environment: str) -> None:
    kiva = load(tmp_path, text=configuration.WRITTEN.replace("sandbox", environment)).kiva
    assert all((kiva.token_url, kiva.api_url, kiva.audience))
    assert kiva.own_host is (environment != "sandbox")


def test_each_url_can_be_set_alone(tmp_path: Path) -> None:
    text = configuration.WRITTEN.replace("sandbox", "staging\n  audience: https://partner-api-stage.kiva.org")
    kiva = load(tmp_path, text=text).kiva
    assert kiva.audience == "https://partner-api-stage.kiva.org"
    assert kiva.api_url == "https://partnerapi.staging.kiva.org"


@pytest.mark.parametrize(
    ("environment", "first_start", "holds"),
    [
        ("sandbox", "", False),
        ("sandbox", "first_start: hold", True),
        ("staging", "", True),
        ("production", "", True),
        ("production", "first_start: send", False),
    ],
)
def test_the_first_start_is_held_towards_kivas_own_hosts(
    tmp_path: Path, environment: str, first_start: str, *, holds: bool
) -> None:
    read = load(tmp_path, first_start, text=configuration.WRITTEN.replace("sandbox", environment))
    assert read.first_start_holds is holds


def test_an_id_keeps_its_leading_zeros(tmp_path: Path) -> None:
    text = configuration.WRITTEN.replace("partner_id: 123", "partner_id: 0123").replace("abc", "007")
    kiva = load(tmp_path, text=text).kiva
    assert (kiva.partner_id, kiva.client_id) == ("0123", "007")


def test_parameters_keep_their_types_and_money_is_no_float(tmp_path: Path) -> None:
    read = load(tmp_path, "parameters: {a: 3, b: 2.50, c: 2026-11-01, d: true, e: Kiva, f: 010}")
    assert read.parameters == {"a": 3, "b": Decimal("2.50"), "c": date(2026, 11, 1), "d": True, "e": "Kiva", "f": 10}
    assert {key: type(value) for key, value in read.parameters.items()}["a"] is int


def test_a_password_in_a_url_is_taken_out_of_it(tmp_path: Path) -> None:
    read = load(tmp_path, text=configuration.WRITTEN.replace("kiva_relay@", "kiva_relay:p%40ss@"))
    assert read.mis.url == "postgresql://kiva_relay@localhost/fineract_default"
    assert read.mis.password is not None
    assert read.mis.password.reveal({}) == "p@ss"
    assert "p@ss" not in repr(read)
    assert "p%40ss" not in repr(read)
    assert [warning.path for warning in read.warnings] == ["mis.url"]


def test_a_literal_secret_works_and_warns(tmp_path: Path) -> None:
    read = load(tmp_path, text=configuration.WRITTEN.replace("{env: KIVA_SECRET}", "geheim"))
    assert read.kiva.client_secret.reveal({}) == "geheim"
    (warning,) = read.warnings
    assert (warning.line, warning.column, warning.path, warning.severity) == (5, 18, "kiva.client_secret", "warning")


def test_nothing_that_may_hold_a_password_is_printed(tmp_path: Path) -> None:
    text = configuration.WRITTEN.replace("{env: KIVA_SECRET}", "geheim\n  proxy: http://me:geheim@proxy:3128")
    assert "geheim" not in repr(load(tmp_path, text=text))


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    text = configuration.WRITTEN.replace("mappings: fineract", "mappings: [fineract, own]")
    read = load(tmp_path, "outbox: {url: sqlite:///outbox.db}", text=text)
    assert read.outbox.file == tmp_path / "outbox.db"
    assert read.outbox.url == f"sqlite:///{tmp_path}/outbox.db"
    assert read.outbox.witness == tmp_path / "outbox.witness.log"
    assert read.mapping_folders == (shipped.folder("mappings") / "fineract", tmp_path / "own")
    assert read.file == tmp_path / "config.yaml"


@pytest.mark.parametrize(
    ("url", "witness"),
    [
        ("sqlite:////var/lib/kiva-relay/production.db", "/var/lib/kiva-relay-witness/production.log"),
        ("postgresql://relay@db/kiva_outbox", "/var/lib/kiva-relay-witness/kiva_outbox.log"),
        ("postgresql://relay@db/all?options=-csearch_path=north", "/var/lib/kiva-relay-witness/all.north.log"),
    ],
)
def test_each_outbox_has_a_witness_of_its_own(tmp_path: Path, url: str, witness: str) -> None:
    assert load(tmp_path, f"outbox: {{url: '{url}'}}").outbox.witness == Path(witness)


def test_settings_do_not_change(tmp_path: Path) -> None:
    read = load(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        read.kiva.send = False


def test_every_setting_says_what_it_does() -> None:
    for key, field in settings.every():
        assert field.description, key
        assert field.description.endswith("."), key
        assert field.description[0] not in " .", key


def test_every_setting_that_shows_no_value_has_an_example() -> None:
    for key, field in settings.every():
        extra = field.json_schema_extra
        assert isinstance(extra, dict), key
        if field.is_required() or field.default is None:
            assert extra["example"], key


def test_shipped_files_are_found() -> None:
    assert (shipped.folder("mappings") / "fineract").is_dir()
    assert (shipped.folder("migrations") / "env.py").is_file()
    assert "fineract" in shipped.mappings()
