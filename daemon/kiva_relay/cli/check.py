"""`kiva-relay check`: everything that the relay needs, looked at once; nothing is changed anywhere."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kiva_relay.cli import (
    as_service,
    check_files,
    check_machine,
    check_mail,
    check_outbox,
    check_surroundings,
    frame,
    mappings,
)
from kiva_relay.cli.check_finding import ABOUT, CheckFinding, failed
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.errors import ConfigurationError, RelayError
from kiva_relay.mapping import document
from kiva_relay.mapping.tables import read_by
from kiva_relay.service import opening
from kiva_relay.source import dialect, grants
from kiva_relay.source.grants import Grants
from kiva_relay.words import spoken
from kiva_relay.words.spoken import tr

_ABOUT = 15


def command(
    config: frame.Config = None,
    *,
    only_grants: Annotated[
        bool, typer.Option("--grants", help="Only print the SQL that grants what is needed.")
    ] = False,
    staging: Annotated[
        bool, typer.Option("--staging", help="Ask staging what only Kiva can say: sends one draft, position, journal.")
    ] = False,
    file: Annotated[
        Path, typer.Option("--file", metavar="FILE", help="Where --staging keeps what Kiva answered.")
    ] = Path("kiva-relay-staging.json"),
    yes: frame.Yes = False,
    lang: frame.Lang = None,
    as_json: frame.AsJson = False,
    override: frame.Override = None,
) -> int:
    """Check everything the relay needs: settings, mappings, MIS, Kiva, outbox. Change nothing.

    Exit codes: 0 good, perhaps with warnings; 1 an error that needs a person; 2 the configuration is wrong;
    3 all that is wrong is that a server did not answer.
    """
    settings = frame.load_to_look(config) if only_grants else frame.load(config, override)
    with spoken.speaks(spoken.ENGLISH if as_json else frame.language(lang, settings)):
        if only_grants:
            return _print_grants(settings, as_json=as_json)
        if staging:
            from kiva_relay.cli import check_staging  # noqa: PLC0415 - only this needs it

            return check_staging.run(settings, file, yes=yes, as_json=as_json)
        if not as_json:
            frame.header(settings)
        return _looked_at(settings, as_json=as_json)


def _looked_at(settings: Settings, *, as_json: bool) -> int:
    findings = []
    for finding in _findings(settings):
        findings.append(finding)
        if not as_json:
            first, *further = finding.text.splitlines()
            about = tr(*ABOUT[finding.about]) if finding.about in ABOUT else finding.about
            indented = "\n".join([f"{about:<{_ABOUT}}{first}", *(" " * _ABOUT + line for line in further)])
            frame.verdict(finding.word, indented)
    mistakes = [finding for finding in findings if finding.word == "error"]
    warnings = [finding for finding in findings if finding.word == "warning"]
    code = 0 if not mistakes else 3 if all(mistake.unreachable for mistake in mistakes) else 1
    if as_json:
        frame.print_json({"exit_code": code, "findings": [asdict(finding) for finding in findings]})
        return code
    frame.say()
    wrong = tr("{n} error", "{n} errors", n=len(mistakes))
    warned = tr("{n} warning", "{n} warnings", n=len(warnings))
    frame.say(f"{wrong}, {warned}. {_what_next(settings, code)}")
    return code


def _print_grants(settings: Settings, *, as_json: bool) -> int:
    """The SQL for the role of mis.url, which may have no right yet; it can be piped, and is not run."""
    found, mistakes = mappings.read(settings)
    if not found:
        raise ConfigurationError(mistakes)
    read = read_by(found, dialect=dialect.of(opening.mis_url(settings)).name)
    told, needed = _needed(settings, [*read.tables])
    if told:
        frame.notice(told)
    see = [needed.see] if needed.see else []
    if as_json:
        frame.print_json([*needed.read, *see])
        return 0
    # A parameter that is not set yet changes no table.
    if any(mistake.severity == "error" and not mistake.path.startswith("parameters.") for mistake in mistakes):
        wrong = tr("The mappings have mistakes, so that tables may be missing here.")
        frame.say(f"-- {wrong}   kiva-relay mapping check")
    for unclear in read.unclear:
        frame.say(f"-- {tr('Add the tables of {unclear}', unclear=unclear)}")
    tables, named = tr("{n} table", "{n} tables", n=len(read.tables)), tr("{n} mapping", "{n} mappings", n=len(found))
    frame.say(f"-- {tr('To read {tables}, for {mappings}:', tables=tables, mappings=named)}")
    for statement in needed.read:
        frame.say(statement)
    if see:
        frame.say(
            f"-- {tr('To see whose transactions are open, no rows. Without it nothing is lost; with it fewer rows')}"
        )
        frame.say(f"-- {tr('are read twice, and `status` names who holds up the reading:')}")
        frame.say(needed.see)
    return 0


def _needed(settings: Settings, tables: list[str]) -> tuple[str, Grants]:
    """The grants; for a server that does not let us in they go by the URL alone, and why is told."""
    try:
        opened = opening.open_mis(settings, clock=SystemClock())
        try:
            return "", opened.grants(tables)
        finally:
            opened.close()
    except RelayError as error:
        url = opening.mis_url(settings)
        return tr("By mis.url alone, schemas not looked up: {error}", error=error), grants.by_url(url, tables)


def _findings(settings: Settings) -> Iterator[CheckFinding]:
    """Everything, with the eyes of the service; the unit and its backups are root's to look at."""
    try:
        seen = as_service.with_credentials(settings)
    except RelayError as error:
        yield failed("secrets", error)
        seen = settings
    with as_service.eyes(settings):
        yield from _seen(seen)
    now = SystemClock().now()
    yield from check_machine.backups(settings, now=now)
    yield from check_machine.preferred(settings)
    yield from check_machine.unit(settings)


def _seen(settings: Settings) -> Iterator[CheckFinding]:
    yield from check_surroundings.configuration(settings)
    yield from check_files.open_to_all(settings)
    yield from check_files.secrets(settings)
    try:
        found = mappings.load(settings)
    except ConfigurationError as error:
        yield CheckFinding("error", "mappings", str(error))
        found = []
    else:
        yield from check_surroundings.documents(found)
        for passed_over in document.of_another_ending(settings.mapping_folders):
            yield CheckFinding("warning", "mappings", f"{passed_over.file} {passed_over.message}\n{passed_over.remedy}")
    with frame.working(tr("asking the MIS")):
        yield from check_surroundings.mis(settings, found)
    with frame.working(tr("asking Kiva")):
        yield from check_surroundings.kiva(settings)
    yield from check_machine.certificates(settings, now=SystemClock().now())
    yield from check_outbox.outbox(settings)
    yield from check_files.witness(settings)
    with frame.working(tr("asking the mail server")):
        yield from check_mail.mail(settings)


def _what_next(settings: Settings, code: int) -> str:
    if code == 1:
        return tr("Correct what is marked as error, and run this again.")
    if code:
        return f"{tr('It can start: a server that is away is waited for.')}     kiva-relay run"
    said = tr("It can start.")
    if settings.first_start_holds:
        said = tr("It can start. The first things to be sent wait for a person.")
    return f"{said}     kiva-relay run"
