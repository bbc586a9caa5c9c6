"""`kiva-relay init`: asks what has to be known, tries each answer, and writes configuration, secrets and mappings."""

import getpass
import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from kiva_relay import errors
from kiva_relay.cli import check, frame, init_file, init_trial
from kiva_relay.cli.init_question import QUESTIONS, Question
from kiva_relay.cli.init_trial import AskedParameter
from kiva_relay.config import loader
from kiva_relay.terminal import to_type
from kiva_relay.words import language
from kiva_relay.words.language import Language

_TRIALS: Mapping[str, Callable[..., str]] = {"kiva": init_trial.kiva, "mis": init_trial.mis}
_LANGUAGES = ("LC_ALL", "LC_MESSAGES", "LANG")

Answers = Annotated[
    Path | None,
    typer.Option("--answers", metavar="FILE", help="Ask nothing: FILE is written like config.yaml, with the secrets."),
]


def command(
    config: frame.Config = None, *, answers: Answers = None, lang: frame.Lang = None, yes: frame.Yes = False
) -> int:
    """Ask for what the relay has to know, try each answer, and write /etc/kiva-relay. Ends with a check.

    The configuration goes where --config says. What is there already is replaced only after a question, and is kept
    beside itself. Nothing is written before all answers are good.
    """
    place = _place(config)
    spoken = language.of(lang) if lang is not None else _of_environment()
    if os.path.lexists(place) and not _may_replace([place], spoken, yes=yes):
        return 1
    data = init_file.apart(_answered(answers, place) if answers is not None else _dialogue(place, spoken))
    others = [file for file in init_file.replaced(place, data) if file != place]
    if others and not _may_replace(others, spoken, yes=yes):
        return 1
    try:
        written = init_file.write(place, data)
    except OSError as error:
        said = f"{error.filename or place} cannot be written: {error.strerror}."
        raise errors.UsageError(said, hint=to_type.again()) from None
    frame.say(spoken.say("init.written", files=", ".join(map(str, written))))
    for code in ("init.consent", "init.management"):
        frame.say(spoken.say(code))
    frame.say()
    return check.command(place)


def _place(config: Path | None) -> Path:
    named = os.environ.get(loader.VARIABLE)
    chosen = config or (Path(named) if named else None)
    return (loader.meant(chosen) if chosen else loader.USUAL_PLACE).absolute()


def _of_environment() -> Language:
    """The language of the terminal, where it is one of the three."""
    for name in _LANGUAGES:
        spoken = os.environ.get(name, "")[:2].lower()
        if spoken:
            return language.of(spoken if spoken in ("en", "fr", "es") else "en")
    return language.of("en")


def _may_replace(files: list[Path], spoken: Language, *, yes: bool) -> bool:
    if frame.agreed(spoken.say("init.replace", files=", ".join(map(str, files))), yes=yes):
        return True
    frame.say(spoken.say("init.kept"))
    return False


# ---------------------------------------------------------------- answers out of a file


def _answered(file: Path, place: Path) -> dict[str, Any]:
    """The answers of a file, all tried.

    Raises:
        RelayError: one of them is not good; nothing was written.
    """
    data = init_file.apart(init_trial.plain(loader.find(file, environ={}), home=place.parent))
    chosen = init_trial.read(data, home=place.parent)
    init_trial.mis(chosen)
    init_trial.kiva(chosen)
    for one in init_trial.asked(chosen):
        name = one.parameter.name
        found = f" In your database: {'; '.join(one.choices)}." if one.choices else ""
        raise errors.UsageError(
            f"{file}: parameters.{name} is missing: {one.parameter.ask}.{found}", hint=f"parameters: {{{name}: …}}"
        )
    return data


# ---------------------------------------------------------------- the dialogue


def _dialogue(place: Path, spoken: Language) -> dict[str, Any]:
    """Ask one question after the other, in the order of the sheet; each answer is tried before the next is asked."""
    frame.say(spoken.say("init.head"))
    frame.say()
    data: dict[str, Any] = {}
    for question in QUESTIONS:
        data = _asked(question, data, place, spoken)
        if question.key == "mis.timezone":
            zone = data["mis.timezone"]
            now = datetime.now(ZoneInfo(zone))
            frame.say("  " + spoken.say("init.there", n=now.hour, zone=zone, time=f"{now:%H:%M}"))
        if question.trial:
            data = _tried(question, data, place, spoken)
    parameters = dict(data.get("parameters", {}))
    for one in _parameters(data, place):
        parameters[one.parameter.name] = _parameter(one, spoken)
    return {**data, "parameters": parameters} if parameters else data


def _asked(question: Question, data: dict[str, Any], place: Path, spoken: Language) -> dict[str, Any]:
    """One question, until its answer is good."""
    if not question.only(data):
        return data
    while True:
        answer = question.becomes(_typed(question, spoken))
        given = init_file.apart({**data, question.key: answer}) if answer != "" else dict(data)
        mistakes = init_trial.wrong(given, question.key, home=place.parent) if answer != "" else []
        if not mistakes:
            return given
        for mistake in mistakes:
            frame.say(f"  {mistake.message}" + (f"\n  → {mistake.remedy}" if mistake.remedy else ""), style="yellow")


def _tried(question: Question, data: dict[str, Any], place: Path, spoken: Language) -> dict[str, Any]:
    """The answers so far on the server that they are about; asked again while it does not take them."""
    while True:
        try:
            found = _TRIALS[question.trial](init_trial.read(data, home=place.parent))
        except errors.RelayError as error:
            for line in [str(error), *(error.hint or "").splitlines()]:
                frame.say(f"  {line}", style="yellow")
            if isinstance(error, errors.Unreachable) and _agreed(spoken.say("init.untried")):
                return data
            data = {key: one for key, one in data.items() if key not in question.group}
            for again in QUESTIONS:
                if again.key in question.group:
                    data = _asked(again, data, place, spoken)
        else:
            frame.say("  " + spoken.say("init.tried", found=found), style="green")
            return data


def _parameters(data: Mapping[str, Any], place: Path) -> list[AskedParameter]:
    try:
        return init_trial.asked(init_trial.read(data, home=place.parent))
    except errors.Unreachable:  # taken untried: check asks for it, with the choices, once the MIS answers
        return []


def _parameter(one: AskedParameter, spoken: Language) -> Any:
    """What a mapping asks for, out of what the MIS has to choose from."""
    if one.choices:
        frame.say(f"{spoken.say('init.choices')}")
        frame.say("\n".join(f"    {choice}" for choice in one.choices))
    values = [choice.partition(" ")[0] for choice in one.choices]
    while True:
        answer = _line(f"{one.parameter.ask}: ", one.parameter.name, spoken)
        like = answer.casefold()
        named = [choice for choice in one.choices if like and like in choice.partition(" ")[2].casefold()]
        if answer not in values and len(named) == 1:
            answer = named[0].partition(" ")[0]
        if answer and (answer in values or not values):
            return int(answer) if one.parameter.type == "integer" and answer.isdecimal() else answer
        frame.say("  " + spoken.say("init.one_of", choices=", ".join(values)) if values else spoken.say("init.needed"))


def _typed(question: Question, spoken: Language) -> str:
    """An answer as it was typed; the number of a choice is the choice, nothing is what is usual."""
    asked = spoken.say(f"init.ask.{question.key}")
    for number, choice in enumerate(question.choices if question.told else (), start=1):
        frame.say(f"    {number}  {choice}: {spoken.say(f'init.choice.{question.key}.{choice}')}")
    offered = f" ({', '.join(question.choices)})" if question.choices and not question.told else ""
    usual = f" [{question.usual}]" if question.usual else ""
    while True:
        answer = _line(f"{asked}{offered}{usual}: ", asked, spoken, hidden=question.hidden)
        if not answer and question.usual is None:
            frame.say("  " + spoken.say("init.needed"))
            continue
        if question.told and answer.isdecimal() and 0 < int(answer) <= len(question.choices):
            return question.choices[int(answer) - 1]
        return answer or str(question.usual)


def _line(prompt: str, asked: str, spoken: Language, *, hidden: bool = False) -> str:
    """A line of what is typed. A secret is not shown on a terminal.

    Raises:
        UsageError: there is no more.
    """
    if hidden and sys.stdin.isatty():
        return getpass.getpass(prompt).strip()
    sys.stdout.write(prompt)
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer:
        raise errors.UsageError(spoken.say("init.ended", question=asked), hint="kiva-relay init --answers FILE")
    return answer.strip()


def _agreed(question: str) -> bool:
    """As `frame.agreed`; whoever answers by a pipe answers this, too."""
    sys.stdout.write(f"  {question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in frame.YES
