"""`kiva-relay fleet status`: all partners of a machine, a line each, the gravest first."""

import os
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from kiva_relay import __version__, errors
from kiva_relay.account import health, standing
from kiva_relay.account.finding import HealthFinding, Verdict
from kiva_relay.account.standing import Standing
from kiva_relay.cli import check_finding, figure, frame, words
from kiva_relay.config import loader, partner
from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.words import spoken
from kiva_relay.words.spoken import tr

_AT_ONCE = 8
"""Outboxes that are asked at once: a server that is away is waited for once, not once for each partner."""

Folder = Annotated[
    Path, typer.Option("--folder", metavar="FOLDER", help="Where each partner has a folder with a config.yaml.")
]


@dataclass(frozen=True)
class PartnerStatus:
    """How it is with one partner.

    `facts` and `found` are those of `status`; where nobody can know them, `error` says why. `settings` is None where
    not even they can be read.
    """

    partner: str
    settings: Settings | None
    facts: Standing | None = None
    found: Sequence[HealthFinding] = ()
    error: Exception | None = None

    @property
    def verdict(self) -> Verdict:
        """The first word of its `status`; of an outbox that is away WAITING, of what a person has to mend STOPPED."""
        if self.facts is not None:
            return health.verdict(self.found)
        away = isinstance(self.error, errors.RelayError) and check_finding.is_over_by_itself(self.error)
        return Verdict.WAITING if away else Verdict.STOPPED

    @property
    def machine(self) -> str:
        """Where its relay works; "" where none does."""
        return self.facts.machine if self.facts is not None and self.facts.running is not None else ""

    @property
    def since(self) -> datetime | None:
        """Since when it works there."""
        return self.facts.running.started_at if self.facts is not None and self.facts.running is not None else None

    @property
    def waits(self) -> Mapping[str, int]:
        """Resource → how many are not at Kiva yet."""
        return {} if self.facts is None else self.facts.account.not_there

    @property
    def why(self) -> str:
        """Why nobody knows more, in one line; "" where it is known. Words that are not ours may quote a person."""
        said = str(self.error) if isinstance(self.error, (errors.RelayError, OSError)) else ""
        return "" if self.error is None else (said.splitlines() or [type(self.error).__name__])[0]


def command(folder: Folder = partner.HOME, *, lang: frame.Lang = None, as_json: frame.AsJson = False) -> int:
    """Are they working? All partners of this machine, a line each, the gravest first.

    The first word of its status, the machine on which its relay works and for how long, and what is not at Kiva yet.
    Exit code as that of status, for the gravest: 0 for OK and NOTE; 1 when a person has to act (HELD, STOPPED); 3 while
    a server does not answer.
    """
    read = [_read(file) for file in _configurations(folder)]
    now = frame.now()
    with spoken.speaks(spoken.ENGLISH if as_json else _language(lang, read)):
        with frame.working(tr("asking the outboxes")), ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(lambda one: _looked_at(one, now), read)
            lines = sorted(found, key=lambda one: (-one.verdict, one.partner))
        if as_json:
            frame.print_json([_json(one) for one in lines])
        else:
            _show(folder, lines, now=now)
    return health.EXIT_CODES[lines[0].verdict]


def _configurations(folder: Path) -> list[Path]:
    """Those of the partners, by name.

    Raises:
        UsageError: there is none, or this user cannot know.
    """
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        raise errors.UsageError(f"{folder} cannot be looked into by your user.", hint=frame.with_sudo())
    found = sorted(folder.glob(f"*/{partner.FILE}"))
    if not found:
        single = folder / partner.FILE
        is_one = os.path.isfile(single)  # noqa: PTH113 - pathlib's raises where a folder cannot be looked into
        hint = f"kiva-relay status --config {_named(single)}" if is_one else f"ls {shlex.quote(str(folder))}"
        raise errors.UsageError(f"There is no configuration {folder}/*/{partner.FILE}.", hint=hint)
    return found


def _read(file: Path) -> PartnerStatus:
    """The settings of a partner; mistakes that do not keep its outbox from being found are told beside the lines."""
    name = file.parent.name
    try:
        settings, mistakes = loader.load_to_look(file, environ=os.environ)
    except errors.RelayError as error:
        return PartnerStatus(name, None, error=error)
    if mistakes:
        number = errors.counted(len(mistakes), "mistake")
        frame.notice(f"{file} holds {number}. What runs keeps its settings.   kiva-relay check --config {_named(file)}")
    return PartnerStatus(name, settings)


def _looked_at(one: PartnerStatus, now: datetime) -> PartnerStatus:
    """The same with what its outbox says; in a thread of its own."""
    if one.settings is None:
        return one
    try:
        with frame.outbox(one.settings) as outbox, outbox.read() as tx:
            facts = standing.gather(tx, one.settings, now=now)
    except Exception as error:  # noqa: BLE001 - whatever it is that one outbox holds, the others have their lines
        return PartnerStatus(one.partner, one.settings, error=error)
    return PartnerStatus(one.partner, one.settings, facts, health.findings(facts))


def _language(wanted: str | None, lines: Sequence[PartnerStatus]) -> str:
    """The language that a person asked for, else the one of all configurations, if it is one."""
    known = [one.settings for one in lines if one.settings is not None]
    if wanted is None and len({settings.language for settings in known}) != 1:
        return spoken.ENGLISH
    return frame.language(wanted, known[0]) if known else wanted or spoken.ENGLISH


def _show(folder: Path, lines: Sequence[PartnerStatus], *, now: datetime) -> None:
    number = tr("{n} partner", "{n} partners", n=len(lines))
    frame.say(f"kiva-relay {__version__} · {number} · {folder}", style="bold")
    frame.say()
    columns = (tr("partner"), "", tr("works on"), tr("for"), tr("not at Kiva yet"))
    frame.table(columns, [_row(one, now) for one in lines])
    first = lines[0]
    if first.verdict is not Verdict.OK:
        frame.say()
        config = _named(folder / first.partner / partner.FILE)
        frame.say(f"  {words.to_type(tr('Look closer'), f'kiva-relay status --config {config}')}")


def _row(one: PartnerStatus, now: datetime) -> tuple[str | None, ...]:
    age = None if one.since is None else figure.length(now - one.since)
    waits = one.why or (words.counted(one.waits) if one.waits else None)
    return one.partner, one.verdict.name, one.machine or None, age, waits


def _named(file: Path) -> str:
    """How a command names this configuration."""
    return partner.of(file) or shlex.quote(str(file))


def _json(one: PartnerStatus) -> dict[str, Any]:
    return {
        "partner": one.partner,
        "verdict": one.verdict.name,
        "findings": [found.code for found in one.found if found.verdict is not Verdict.OK],
        "environment": None if one.settings is None else one.settings.kiva.environment,
        "partner_id": None if one.settings is None else one.settings.kiva.partner_id,
        "machine": one.machine,
        "since": one.since,
        "not_at_kiva": one.waits,
        "error": one.why or None,
    }
