"""No message about the configuration repeats a letter of a password, however it was written."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from kiva_relay import cli
from kiva_relay.config import complaint, loader, settings
from kiva_relay.config.secret import Secret
from kiva_relay.errors import RelayError
from testbed.rig import configuration
from testbed.rig.typed import typed

PLANTED = "Zq7xKKWv9w"
# What must not be seen: the secret, and the parts of it that a sign inside of it makes.
_PARTS = ("Zq7x", "v9w", "KKW")

EMPTY: Mapping[str, str] = MappingProxyType({})
SECRETS = [key for key, field in settings.every() if Secret in complaint.kinds(field)]
URLS = [key for key, field in settings.every() if complaint.concealed_at(tuple(key.split("."))) and key not in SECRETS]

PASSWORDS = [PLANTED.replace("KKW", sign) for sign in ("@", "/", "@/", "/@", ":", "#", "?", "%", "[", "\\", "@@")]
PASSWORDS += ["Zq7x12/v9w", "12#v9wZq7x", "12/Zq7xv9w", "12?v9wZq7x", PLANTED]

AS_SECRETS = [
    *("{S3CRET: %s}", "{%s: x}", "{%s: x, %s: y}", "{%s:x}", "{%s, %s}", "{env: $%s}", '{env: "$%s"}', "{env: %s}"),
    *("{file: %s}", "{file: /%s}", "{file: ./%s}", "{credential: %s}", '{credential: "%s/x"}', "{env %s}", "{env:%s}"),
    *("{file: {%s: x}}", "[%s]", "[%s, %s]", "%s: x", "@%s", "*%s", "&%s", "!%s x", "%%%s", "`%s`", '"%s', "'%s"),
    *("“%s”", "{env: %s", "{env: %s}}", '"%s" x', "\t%s", "- %s", "|\n    %s\n  %s", "%s\n    %s: x", "%s #{"),
    *(
        "\n    %s: x",
        "\n    - %s",
        "\n    %s",
        "%s\n  %s",
        "\n    env:%s",
        "\n    env: {%s: y",
        '"\\q%s"',
        "{env: \n%s}",
    ),
    *("\u00a0%s", "%s\u00a0", "{env: a: %s}", "{env: a #%s}", "2026-11-01 %s", "1.5", "true", "{file: %s\0}", "? %s"),
]


def _shown(folder: Path, text: str, *, environ: Mapping[str, str] = EMPTY, overrides: Mapping[str, str] = EMPTY) -> str:
    """All that loader and `check` say of a configuration, and what a traceback of it holds."""
    file = folder / "config.yaml"
    file.write_text(text, "utf-8")
    said = []
    try:
        read = loader.load(file, environ=environ, overrides=overrides)
    except RelayError as error:
        said += [str(error), str(error.hint), "".join(traceback.format_exception(error, chain=True))]
    else:
        said += [repr(read), str(read)]
        for held in (read.kiva.client_secret, read.mis.password, read.outbox.password, read.mail.password):
            try:
                said.append(f"{held!r} {held}")
                if held is not None and not held.literal:
                    held.reveal(environ)
            except RelayError as error:
                said += [str(error), str(error.hint)]
    return "\n".join(said)


def _leaks(text: str) -> list[str]:
    # Python shows lines of its own source in a traceback, and none of ours.
    return [line for line in text.splitlines() if any(part in line for part in _PARTS) and "_PARTS" not in line]


def _with(key: str, written: str) -> str:
    group, name = key.split(".")
    text = configuration.WRITTEN
    lines = [line for line in text.splitlines() if not (line.strip().startswith(f"{name}:") and name != "password")]
    at = next((number for number, line in enumerate(lines) if line.startswith(f"{group}:")), None)
    if at is None:
        lines, at = [*lines, f"{group}:"], len(lines)
    lines.insert(at + 1, f"  {name}: {written}" if not written.startswith("\n") else f"  {name}:{written}")
    return "\n".join(lines) + "\n"


def test_the_walk_knows_the_settings_it_is_about() -> None:
    assert SECRETS == ["kiva.client_secret", "mis.password", "outbox.password", "mail.password"]
    assert URLS == ["kiva.token_url", "kiva.api_url", "kiva.proxy", "mis.url", "outbox.url", "mail.alive_url"]


@pytest.mark.parametrize("written", AS_SECRETS)
@pytest.mark.parametrize("key", [*SECRETS, *URLS])
def test_no_way_of_writing_a_secret_wrongly_repeats_it(tmp_path: Path, key: str, written: str) -> None:
    planted = written.replace("%s", PLANTED).replace("%%", "%")
    group, name = key.split(".")
    assert not _leaks(_shown(tmp_path, _with(key, planted)))
    assert not _leaks(_shown(tmp_path, f"{group}: {{{name}: {planted}, {name}: {planted}}}\n"))
    assert not _leaks(_shown(tmp_path, f"{group}: {{{name}:{planted}, x}}\n"))


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("key", URLS)
def test_no_password_in_a_url_is_repeated(tmp_path: Path, key: str, password: str) -> None:
    scheme = {"mis": "postgresql", "outbox": "postgresql"}.get(key.split(".", maxsplit=1)[0], "http")
    for url in (
        f"{scheme}://relay:{password}@127.0.0.1:1/db",
        f"{scheme}://relay:{password}@127.0.0.1",
        f"{scheme}+x://relay:{password}@127.0.0.1/db",
        f"postgres://relay:{password}@127.0.0.1/db",
        f"oracle://relay:{password}@127.0.0.1/db",
        f"jdbc:{scheme}://relay:{password}@127.0.0.1/db",
        f"{scheme}:relay:{password}@127.0.0.1/db",
        f"{scheme}://127.0.0.1/db?password={password}",
        f"relay:{password}@127.0.0.1/db",
        password,
    ):
        for written in (json.dumps(url), url):
            assert not _leaks(_shown(tmp_path, _with(key, written))), url


@pytest.mark.parametrize("key", [*SECRETS, *URLS])
def test_nor_is_one_of_the_environment_or_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    variable = f"KIVA_RELAY_{key.upper().replace('.', '__')}"
    for written in (f"{{{PLANTED}: x}}", f'{{env: "${PLANTED}"}}', f"x://a:{PLANTED}@h"):
        assert not _leaks(_shown(tmp_path, configuration.WRITTEN, environ={variable: written}))
        assert not _leaks(_shown(tmp_path, configuration.WRITTEN, overrides={key: written}))
    for change in (f"{key}:{PLANTED}", PLANTED):
        assert cli.main(["check", "--config", str(tmp_path / "config.yaml"), "--set", change]) == 2
        assert not _leaks("".join(capsys.readouterr()))


def test_check_and_status_and_the_log_say_nothing_of_a_password_that_is_right(tmp_path: Path) -> None:
    text = _with("mis.url", f"postgresql://relay:{PLANTED}%40x@127.0.0.1:1/db")
    text = text.replace("{env: KIVA_SECRET}", f"{PLANTED}\n  proxy: http://me:{PLANTED}@127.0.0.1:1")
    text += f"outbox: {{url: 'sqlite:///{tmp_path}/outbox.db'}}\nmetrics: {{listen: 'off'}}\n"
    file = configuration.write(tmp_path, text=text)
    for arguments in (["check"], ["run", "--once"], ["status", "--json"]):
        ended = typed(*arguments, "--config", str(file))
        said = ended.stdout + ended.stderr
        assert said
        assert not _leaks(said), arguments
