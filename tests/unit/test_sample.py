from __future__ import annotations

import re
from pathlib import Path

import pytest

from kiva_relay.config import loader, sample, settings

REPOSITORY = Path(__file__).parents[2]


MAIL = sample.render().partition("\nmail:\n")[2].partition("\n\n")[0]


def test_the_committed_file_is_the_rendered_one() -> None:
    assert (REPOSITORY / "config.yaml").read_text(encoding="utf-8") == sample.render()


def test_it_holds_every_setting() -> None:
    written = sample.render()
    for key, _ in settings.every():
        name = key.rpartition(".")[2]
        assert re.search(rf"^ *#?{name}: \S", written, re.MULTILINE), key


def test_it_is_a_valid_configuration_that_points_to_the_sandbox(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(sample.render(), encoding="utf-8")
    read = loader.load(file, environ={})
    assert read.kiva.environment == "sandbox"
    assert not read.warnings


def test_what_is_commented_out_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(sample.render(), encoding="utf-8")
    plain = loader.load(file, environ={})
    defaults = re.sub(r"^( *)#(\w+: (?!.*an example).*)$", r"\1\2", sample.render(), flags=re.MULTILINE)
    assert defaults != sample.render()
    file.write_text(defaults, encoding="utf-8")
    assert loader.load(file, environ={}) == plain


@pytest.mark.parametrize("line", re.findall(r"^ *#\w+: .*an example.*$", sample.render(), re.MULTILINE))
def test_each_example_is_accepted(tmp_path: Path, line: str) -> None:
    text = sample.render().replace(line, line.replace("#", "", 1))
    if line in MAIL:  # without a server nobody gets mail, and without somebody to write to no server is needed
        for needed in re.findall(r"^ *#(?:host|user|from|recipients): .*an example.*$", MAIL, re.MULTILINE):
            text = text.replace(needed, needed.replace("#", "", 1))
    if "staging" in line or "partner-api-stage" in line:
        text = text.replace("environment: sandbox", "environment: staging")
    pem = tmp_path / "ca.crt"
    pem.touch()
    file = tmp_path / "config.yaml"
    file.write_text(text.replace("/etc/ssl/certs/ca-certificates.crt", str(pem)), encoding="utf-8")
    loader.load(file, environ={})


def test_no_line_is_too_wide_for_a_terminal() -> None:
    assert not [line for line in sample.render().splitlines() if len(line) > 110]
