"""What each command loads before it does anything: only what it uses, for a person waits for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kiva_relay import cli
from testbed.rig import configuration

LARGE = (
    *("PIL", "alembic", "apscheduler", "click", "cryptography", "ftfy", "httpcore", "httpx", "jinja2", "mako"),
    *(
        "prometheus_client",
        "psycopg",
        "pygments",
        "pymysql",
        "rich.console",
        "sqlalchemy.dialects.mysql",
        "sqlalchemy.dialects.postgresql",
    ),
    *("sqlglot", "starlette", "structlog", "uvicorn"),
)
"""Libraries that take long to load, or much memory."""

_MAPS = {"jinja2", "prometheus_client"}
"""Whatever maps rows."""
_ASKS = _MAPS | {"httpcore"}
_RELAY = _ASKS | {"apscheduler"}
USED: dict[str, set[str]] = {
    "check": _ASKS | {"sqlglot"},
    "init": _ASKS | {"sqlglot", "sqlalchemy.dialects.mysql", "sqlalchemy.dialects.postgresql"},
    "mapping list": _ASKS,
    "mapping check": _ASKS | {"rich.console"},
    "mapping show": _ASKS,
    "mapping test": _ASKS | {"rich.console"},
    "mapping preview": _ASKS,
    "mapping diff": _ASKS | {"rich.console"},
    "mapping edit": _ASKS | {"rich.console"},
    "mapping new": _MAPS,
    "mapping schema": {"jinja2"},
    "rehearse": _RELAY | {"rich.console", "starlette", "uvicorn", "click"},
    "sandbox": {"starlette", "uvicorn", "click"},
    "run": _RELAY,
    "outbox recover": _RELAY,
    "watermark set": _MAPS,
    "watch setup": _ASKS | {"psycopg"},
    "watch drop": _ASKS | {"psycopg"},
    "backfill": _RELAY | {"rich.console"},
    "sweep": _RELAY | {"rich.console"},
    "reload": _ASKS,
}
"""By command, what it may load of them; those that are not here load none."""

# In one process, for what most of them need takes long: those that load little come first, what is new is told.
_LOOK = """
import importlib, json, sys
before = set()
for name in json.loads(sys.argv[1]):
    importlib.import_module(f"kiva_relay.cli.{name.replace(' ', '_')}")
    found = {each for each in json.loads(sys.argv[2]) if each in sys.modules}
    print(json.dumps([name, sorted(found - before)]))
    before |= found
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """By command, which of LARGE its module brings with it, beside those of the commands before it."""
    ordered = sorted(cli.COMMANDS, key=lambda name: (bool(USED.get(name, set()) - _RELAY), len(USED.get(name, ()))))
    arguments = [json.dumps(ordered), json.dumps(LARGE)]
    told = subprocess.run([sys.executable, "-c", _LOOK, *arguments], capture_output=True, text=True, check=True)
    return {name: set(found) for name, found in map(json.loads, told.stdout.splitlines())}


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_command_loads_what_it_uses(loaded: dict[str, set[str]], command: str) -> None:
    assert loaded[command] <= USED.get(command, set())


_VALIDATORS = """
import json, sys
from pathlib import Path
from kiva_relay.cli import frame, run, status
from kiva_relay.config import loader, section
def all_of(kind):
    for each in kind.__subclasses__():
        yield each
        yield from all_of(each)
before = [each.__name__ for each in all_of(section.Section) if each.__pydantic_complete__]
loader.load(Path(sys.argv[1]), environ={"KIVA_SECRET": "s"})
print(json.dumps([before, sorted({each.__name__ for each in all_of(section.Section) if each.__pydantic_complete__})]))
"""


def test_of_the_settings_only_the_whole_has_a_validator(tmp_path: Path) -> None:
    config = configuration.write(tmp_path)
    told = subprocess.run([sys.executable, "-c", _VALIDATORS, str(config)], capture_output=True, text=True, check=True)
    before, after = json.loads(told.stdout)
    assert before == []
    assert after == ["Settings"]
