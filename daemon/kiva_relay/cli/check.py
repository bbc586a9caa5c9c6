"""`kiva-relay check`: everything that the relay needs, looked at once; nothing is changed anywhere."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from kiva_relay import opening
from kiva_relay.cli import examination, frame, mappings
from kiva_relay.cli.finding import Finding
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.errors import ConfigurationError, counted

_ABOUT = 15


def command(
    config: frame.Config = None,
    *,
    grants: Annotated[bool, typer.Option("--grants", help="Only print the SQL that grants what is needed.")] = False,
    as_json: frame.AsJson = False,
    override: frame.Override = None,
) -> int:
    """Look at everything the relay needs: settings, mappings, MIS, Kiva, outbox. Change nothing.

    Exit codes: 0 good (warnings are good), 1 an error that needs a person, 2 the configuration is wrong,
    3 nothing is wrong but that a server did not answer.
    """
    settings = frame.load(config, override)
    if grants:
        return _print_grants(settings, as_json=as_json)
    if not as_json:
        frame.header(settings)
    findings = []
    for finding in _findings(settings):
        findings.append(finding)
        if not as_json:
            first, *further = finding.text.splitlines()
            indented = "\n".join([f"{finding.about:<{_ABOUT}}{first}", *(" " * _ABOUT + line for line in further)])
            frame.verdict(finding.word, indented)
    mistakes = [finding for finding in findings if finding.word == "error"]
    warnings = [finding for finding in findings if finding.word == "warning"]
    code = 0 if not mistakes else 3 if all(mistake.unreachable for mistake in mistakes) else 1
    if as_json:
        frame.print_json({"exit_code": code, "findings": [asdict(finding) for finding in findings]})
        return code
    frame.say()
    frame.say(f"{counted(len(mistakes), 'error')}, {counted(len(warnings), 'warning')}. {_what_next(settings, code)}")
    return code


def _print_grants(settings: Settings, *, as_json: bool) -> int:
    """The SQL for the role of mis.url, and nothing around it, so that it can be piped; it is not run."""
    opened = opening.open_mis(settings, clock=SystemClock())
    try:
        statements = opened.grants(mappings.tables(mappings.load(settings)))
    finally:
        opened.close()
    if as_json:
        frame.print_json(statements)
        return 0
    for statement in statements:
        frame.say(statement)
    return 0


def _findings(settings: Settings) -> Iterator[Finding]:
    yield from examination.configuration(settings)
    try:
        found = mappings.load(settings)
    except ConfigurationError as error:
        yield Finding("error", "mappings", str(error))
        found = []
    else:
        yield from examination.documents(found)
    with frame.working("asking the MIS"):
        yield from examination.mis(settings, found)
    with frame.working("asking Kiva"):
        yield from examination.kiva(settings)
    yield from examination.outbox(settings)


def _what_next(settings: Settings, code: int) -> str:
    if code == 1:
        return "Correct what is marked as error, and run it again."
    if code:
        return "It can start: a server that is away is waited for.     kiva-relay run"
    held = " The first things to be sent wait for a person." if settings.first_start_holds else ""
    return f"It can start.{held}     kiva-relay run"
