"""Whatever command is typed with a configuration of one's own: each command that it says to type next names it, too.

From a trial, `sudo kiva-relay review` read the real one.
"""

from __future__ import annotations

import io
import itertools
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay import cli
from kiva_relay.outbox import hold
from kiva_relay.outbox.reason import REASONS
from kiva_relay.resource.refusal import Refusal
from testbed.rig.full_outbox import FullOutbox
from testbed.rig.office import Office
from testbed.rig.outboxes import on_file

TYPED: dict[str, tuple[str, ...]] = {
    "check": ("check", "check --grants"),
    "mapping list": ("mapping list",),
    "mapping check": ("mapping check",),
    "mapping show": ("mapping show loan_draft", "mapping show nothing"),
    "mapping test": ("mapping test", "mapping test nothing"),
    "mapping preview": (
        "mapping preview loan_draft",
        "mapping preview loan_draft --loan L0",
        "mapping preview nothing",
    ),
    "mapping diff": ("mapping diff", "mapping diff nothing"),
    "mapping edit": ("mapping edit loan_draft", "mapping edit nothing"),
    "mapping new": ("mapping new loan_draft loan", "mapping new repayment nothing"),
    "lists": ("lists", "lists activities", "lists nothing"),
    "rehearse": ("rehearse",),
    "sandbox": ("sandbox --listen nowhere",),
    "run": ("run --once --strict",),
    "migrate": ("migrate",),
    "status": ("status",),
    "report": ("report", "report --exceptions", "report 2020-01", "report --csv", "report --compare nothing.csv"),
    "review": ("review",),
    "review done": ("review done 1 --note seen", "review done 99 --note seen", "review done 1"),
    "report send": ("report send", "report send --note seen"),
    "report decide": ("report decide 1", "report decide 1 --keep --note seen", "report decide 1 --value x --note seen"),
    "report finalised": ("report finalised 2020-01 --note seen", "report finalised"),
    "report reopen": ("report reopen 2020-01 --note seen", "report reopen"),
    "report aliases": ("report aliases", "report aliases --remove X --note seen"),
    "page": ("page --listen nowhere",),
    "page user": ("page user", "page user list", "page user remove awa", "page user add awa", "page user nothing"),
    "outbox list": ("outbox list", "outbox list --since x", "outbox list --loan 9", "outbox list --limit 1"),
    "outbox show": ("outbox show", "outbox show 1", "outbox show 2", "outbox show 99", "outbox show --loan 9"),
    "outbox settle": (
        "outbox settle",
        "outbox settle 3 --resend",
        "outbox settle 3 --resend --note x",
        "outbox settle 1",
    ),
    "outbox adopt": ("outbox adopt", "outbox adopt --csv nothing.csv --note x", "outbox adopt L0 --note x --yes"),
    "outbox backup": ("outbox backup copy.db", "outbox backup copy.db"),
    "outbox recover": ("outbox recover", "outbox recover --witness nothing"),
    "watermark show": ("watermark show",),
    "watermark set": ("watermark set", "watermark set --note x", "watermark set --note x --yes"),
    "watch setup": ("watch setup", "watch setup --apply"),
    "watch drop": ("watch drop", "watch drop --apply"),
    "backfill": ("backfill", "backfill --dry-run", "backfill --json", "backfill --since x"),
    "sweep": ("sweep", "sweep --note x --yes"),
    "hold": ("hold", "hold all", "hold all --note x", "hold nothing --note x"),
    "release": ("release all", "release all --note x", "release mirror --note x", "release nothing --note x"),
    "reload": ("reload",),
    "acts": ("acts", "acts --limit 1"),
    "init": ("init --answers nothing.yaml",),
    "mail test": ("mail test", "mail test --to nobody"),
    "mail failed": ("mail failed kiva-relay.service",),
    "outbox forget": ("outbox forget --client nobody --note x --yes", "outbox forget --client nobody"),
    "reconcile": ("reconcile", "reconcile --suggest", "reconcile --known"),
    "reconcile accept": ("reconcile accept 9 --note x --yes", "reconcile accept 9"),
    "reconcile done": ("reconcile done 9 --note x", "reconcile done 9"),
    "support": ("support kept.tar.gz",),
}
"""Each command, right and wrong; what it is given does not matter, only what it says then."""
_NAMES = sorted({*cli.COMMANDS} - {"config sample", "mapping schema", "fleet status"}, key=len, reverse=True)
_COMMAND = re.compile(rf"(?<![\w/.=-])kiva-relay (?:{'|'.join(_NAMES)})\b(?![\w-]).*?(?=\s\s|\n|[`()]|$)")


def test_every_command_is_typed() -> None:
    assert set(TYPED) == {*_NAMES}


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """An office whose folder has a blank in its name; Kiva is away, and nobody is at the keyboard."""
    folder = tmp_path / "my trial"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KIVA_SECRET", "s")
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.setenv("SUDO_USER", "awa")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    office = Office(folder, "http://127.0.0.1:1")
    office.grant()
    yield office
    office.mis.close()


def untouched(office: Office) -> None:
    """Nothing was made yet but the configuration."""


def full(office: Office) -> None:
    """Everything that a person is asked about has happened, and every hold is there."""
    told = FullOutbox(on_file(office.folder), office.config, datetime.now(UTC))
    told.refuse("L0", Refusal("name_empty", "entreps[0].first_name"))
    told.accept(told.owe("000000872", stream="loan_draft"))
    told.lose(told.owe("000000873", stream="loan_draft"))
    told.owe("000000874", stream="loan_draft", due_at=told.now + timedelta(hours=1))
    told.change("000000872")
    with told.outbox.begin() as tx:
        for reason in REASONS:
            hold.put(tx, "all", reason, now=told.now)
    told.outbox.close()


def of_another_version(office: Office) -> None:
    """The outbox belongs to a relay that is newer."""
    outbox = on_file(office.folder)
    with outbox.begin() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    outbox.close()


def mistaken(office: Office) -> None:
    """The configuration and a mapping hold mistakes."""
    with office.config.open("a", encoding="utf-8") as file:
        file.write("nonsense: 1\n")
    (office.folder / "mappings" / "journal.yaml").write_text("resource: journall\n", encoding="utf-8")


def without_the_mis(office: Office) -> None:
    """The MIS is away."""
    text = office.config.read_text(encoding="utf-8")
    office.config.write_text(
        text.replace(f"sqlite:///{office.folder}/mis.db", "mysql://x@127.0.0.1:1/x"), encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("arranged", "at_least"),
    [
        pytest.param(full, 60, marks=pytest.mark.long),
        (mistaken, 3),
        pytest.param(untouched, 20, marks=pytest.mark.long),
        pytest.param(of_another_version, 10, marks=pytest.mark.long),
        pytest.param(without_the_mis, 20, marks=pytest.mark.long),
    ],
)
def test_what_it_says_to_type_next_acts_on_the_configuration_in_use(
    trial: Office, arranged: Callable[[Office], None], at_least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arranged(trial)
    option, said, without = f"--config {shlex.quote(str(trial.config))}", 0, []
    for typed in itertools.chain.from_iterable(TYPED.values()):
        capsys.readouterr()
        cli.main([*shlex.split(typed), "--config", str(trial.config)])
        printed = "".join(capsys.readouterr())
        assert "Something unexpected" not in printed, (typed, printed)
        found = [one for one in _COMMAND.findall(printed) if "--help" not in one]
        said += len(found)
        without += [(typed, one) for one in found if option not in one]
    assert without == []
    assert said >= at_least
