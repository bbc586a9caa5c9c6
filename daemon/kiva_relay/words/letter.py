"""What a mail says, in the recipient's language: its subject, and its lines. Loan ids and amounts, no names.

The tasks, the report and the rest are those of the page and of `review`; here is only what a mail adds to them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from kiva_relay.account import finding, health, letter, part, task
from kiva_relay.account.finding import HealthFinding, Verdict
from kiva_relay.account.letter import LetterKind
from kiva_relay.account.rest import rest_of
from kiva_relay.account.standing import Standing
from kiva_relay.account.task import Task, When
from kiva_relay.config import partner
from kiva_relay.config.mail import Recipient
from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.report.month import Month
from kiva_relay.terminal import visible
from kiva_relay.words import hold, report, report_head, report_line, rest
from kiva_relay.words import task as words
from kiva_relay.words.language import Language

_MOST_LINES = 40
_HEAD, _END = 30, 5
_PATIENCE = timedelta(minutes=30)
"""So long after the hour of the mail its absence means something."""

_IF_NOBODY = {
    "publish": "mail.if_nobody.publish",
    "expiring": "mail.if_nobody.expiring",
    "changed": "mail.if_nobody.changed",
    "decide": "task.decide.if_nobody",
    "confirm": "mail.if_nobody.confirm",
    "closed_unknown": "mail.if_nobody.known",
    "too_old": "mail.if_nobody.too_old",
}
"""What happens if nobody does a task, by its kind, where its own lines do not say it."""

_OF_THE_REPORT = (task.DecidePositions, task.FindInMis, task.KnowWhatWasNotDecided, task.KnowWhatWasReported)
PAGE_UNIT = "kiva-relay-page"


class LetterStyle(StrEnum):
    """What a line of a mail is."""

    PLACE = "place"
    HEADING = "heading"
    TASK = "task"
    LINE = "line"
    TEXT = "text"


@dataclass(frozen=True)
class LetterText:
    """A mail in words: its subject, and its lines, each with what it is."""

    language: str
    subject: str
    lines: tuple[tuple[LetterStyle, str], ...]


@dataclass(frozen=True)
class LetterFacts:
    """What a mail is made of. `month`: the report that it is about, or that is open; None: there is none."""

    standing: Standing
    tasks: Sequence[Task]
    month: Month | None

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return self.standing.settings


Lines = Iterator[tuple[LetterStyle, str]]


def said(kind: LetterKind, about: str, facts: LetterFacts, language: Language) -> LetterText:
    """A mail of a kind, about something, as things stand now."""
    match kind:
        case LetterKind.MORNING:
            subject, lines = _morning_subject(facts, language), _morning(facts, language)
        case LetterKind.CLOSED:
            subject, lines = _report_subject("closed", facts, language), _closed(facts, language)
        case LetterKind.OPENED:
            subject, lines = _report_subject("opened", facts, language), _report(facts, language)
        case LetterKind.CLOSES:
            subject, lines = _report_subject("closes", facts, language), _report(facts, language)
        case LetterKind.HEALTH:
            subject, lines = _health_subject(about, facts, language), _health(about, facts, language)
    return _letter(subject, [*_place(facts.standing, language), *lines], facts.settings, language)


def failed(
    unit: str, one: Recipient, settings: Settings, language: Language, *, host: str, now: datetime
) -> LetterText:
    """A unit of systemd has ended by an error. Nothing but the configuration is needed to say so."""
    moment = language.moment(now, settings.mis.timezone, at=now)
    subject = _named("mail.subject.failed", settings, language)
    lines = [
        (LetterStyle.TASK, language.say("mail.failed.what", unit=unit, host=host, moment=moment)),
        (LetterStyle.LINE, language.say("mail.failed.page" if unit.startswith(PAGE_UNIT) else "mail.failed.follows")),
    ]
    if one.role == "administrator":
        quoted = shlex.quote(unit)
        lines += [
            (LetterStyle.LINE, language.say("mail.failed.why", command=f"sudo journalctl -u {quoted} -n 50")),
            (LetterStyle.LINE, language.say("mail.failed.check", command=f"sudo kiva-relay check{_config(settings)}")),
            (LetterStyle.LINE, language.say("mail.failed.start", command=f"sudo systemctl start {quoted}")),
        ]
    elif not unit.startswith(PAGE_UNIT):
        lines.append((LetterStyle.LINE, language.say("mail.failed.coordinator")))
    return _letter(subject, lines, settings, language)


def _config(settings: Settings) -> str:
    """What names the configuration of a partner."""
    name = partner.of(settings.file)
    return f" --config {name}" if name else ""


def test(one: Recipient, settings: Settings, language: Language, *, now: datetime) -> LetterText:
    """What `mail test` sends: that mail comes, and when."""
    mail, moment = settings.mail, language.moment(now, settings.mis.timezone, at=now)
    if one.role == "coordinator":
        when = language.say("mail.test.coordinator", n=mail.at.hour, time=f"{mail.at:%H:%M}")
    else:
        when = language.say("mail.test.administrator", command=f"kiva-relay status{_config(settings)}")
    lines = [
        (LetterStyle.TASK, language.say("mail.test.works", command="kiva-relay mail test")),
        (LetterStyle.LINE, when),
        (LetterStyle.LINE, language.say("mail.test.sent", moment=moment, server=f"{mail.host}:{mail.port}")),
    ]
    return _letter(language.say("mail.subject.test"), lines, settings, language)


def _letter(
    subject: str, lines: Sequence[tuple[LetterStyle, str]], settings: Settings, language: Language
) -> LetterText:
    """Where it points to stands in every subject but production's."""
    environment = settings.kiva.environment
    if environment != "production":
        subject = language.say("mail.subject.trial", environment=environment, subject=subject)
    return LetterText(language.name, subject, tuple(lines))


def _place(facts: Standing, language: Language) -> Lines:
    yield LetterStyle.PLACE, " · ".join(rest.title(facts, language))


def _link(facts: LetterFacts, language: Language, path: str = "/") -> Lines:
    if facts.settings.page.url is not None:
        yield LetterStyle.TEXT, language.say("mail.link", url=f"{facts.settings.page.url}{path}")


def _named(code: str, settings: Settings, language: Language, **params: str) -> str:
    kiva = settings.kiva
    return language.say(code, environment=kiva.environment, partner=str(kiva.partner_id), **params)


# ---------------------------------------------------------------- each morning


def _morning_subject(facts: LetterFacts, language: Language) -> str:
    standing = facts.standing
    today, number = language.day(standing.today, at=standing.today), len(facts.tasks)
    if not number:
        return language.say("mail.subject.nothing", today=today)
    days = [one.day for one in facts.tasks if one.day is not None]
    if not days:
        return language.say("mail.subject.waits", today=today, n=number)
    first = language.day(min(days), at=standing.today)
    return language.say("mail.subject.waits_by", today=today, n=number, day=first)


def _morning(facts: LetterFacts, language: Language) -> Lines:
    standing, numbered = facts.standing, list(enumerate(facts.tasks, start=1))
    for when in When:
        mine = [(number, one) for number, one in numbered if one.when is when]
        if mine:
            yield LetterStyle.HEADING, words.heading(when, language)
        for number, one in mine:
            yield from _task(number, one, facts, language)
    if facts.month is not None and (told := report.of_morning(facts.month, language, at=standing.today)):
        yield LetterStyle.TEXT, told
    yield from ((LetterStyle.TEXT, line) for line in rest.rest(rest_of(standing), standing, facts.tasks, language))
    yield from _link(facts, language)
    hour = datetime.combine(standing.today, facts.settings.mail.at)
    ends = rest.silence(language, next_at=f"{hour:%H:%M}", missing_at=f"{hour + _PATIENCE:%H:%M}")
    yield from ((LetterStyle.TEXT, line) for line in ends)


def _task(number: int, one: Task, facts: LetterFacts, language: Language) -> Lines:
    title, lines = words.said(one, facts.standing, language)
    yield LetterStyle.TASK, f"{number}. {title}"
    if len(lines) > _MOST_LINES:  # a mail of thousands of lines arrives nowhere; what to do stands at the end
        where = facts.settings.page.url or "kiva-relay review"
        cut = language.say("mail.cut", n=len(lines) - _HEAD - _END, where=where)
        lines = [*lines[:_HEAD], cut, *lines[-_END:]]
    yield from ((LetterStyle.LINE, line) for line in lines)
    code = "mail.if_nobody.later" if isinstance(one, task.PublishLater) else _IF_NOBODY.get(one.kind)
    if code is not None and (told := language.say(code, n=part.how_many(one))) not in lines:
        yield LetterStyle.LINE, told


# ---------------------------------------------------------------- the report


def _report_subject(what: str, facts: LetterFacts, language: Language) -> str:
    """How many loans need somebody, and by when."""
    standing, month = facts.standing, facts.month
    if month is None or month.report.closes_at is None:
        return language.say("mail.subject.nothing", today=language.day(standing.today, at=standing.today))
    closes, zone = month.report.closes_at, facts.settings.mis.timezone
    number = len(month.exceptions)
    code = f"mail.subject.{what}" if number else f"mail.subject.{what}_nothing"
    return language.say(
        code,
        n=number,
        of_month=language.of_month(month.period, at=standing.today),
        closes=language.deadline(closes, zone),
        left=report.time_left(closes - standing.now, language),
    )


def _report(facts: LetterFacts, language: Language) -> Lines:
    """The report while it is open: how far it is, what of it waits for her, what happens if nobody decides."""
    standing, month = facts.standing, facts.month
    if month is None:
        return
    yield LetterStyle.HEADING, report_head.title(month, language)
    yield LetterStyle.TEXT, " · ".join(report_head.verdict(month, language))
    yield LetterStyle.TEXT, report.expected(sum(month.expected.values()), language)
    mine = [one for one in facts.tasks if isinstance(one, _OF_THE_REPORT) or _is_about_positions(one)]
    for number, one in enumerate(mine, start=1):
        yield from _task(number, one, facts, language)
    yield LetterStyle.TEXT, report.finalise(month.period, language, at=standing.today)
    yield from _link(facts, language, f"/report?period={month.period}")


def _closed(facts: LetterFacts, language: Language) -> Lines:
    """The report after its closing: what is not reported as it should be, what that costs, what can still be done."""
    standing, month = facts.standing, facts.month
    if month is None:
        return
    yield LetterStyle.HEADING, report_head.title(month, language)
    yield LetterStyle.TEXT, " · ".join(report_head.verdict(month, language))
    lines = [*month.exceptions, *_left_out(month)]
    for one in lines[:_MOST_LINES]:
        yield LetterStyle.TASK, f"{visible.text(one.loan_id)}   {language.handle(one.number)}"
        yield from ((LetterStyle.LINE, told) for told in report_line.line(one, language, at=standing.today))
        if one.price is not None:
            price = report.price(one.price, one.currency, month.period, language, at=standing.today)
            yield LetterStyle.LINE, price
    if len(lines) > _MOST_LINES:
        yield LetterStyle.LINE, language.say("task.more", n=len(lines) - _MOST_LINES)
    if lines and month.report.takes_late:
        page = facts.settings.page.url
        how = "kiva-relay report decide" if page is None else f"{page}/report?period={month.period}"
        yield LetterStyle.TEXT, report.late(how, language)
    else:
        yield from _link(facts, language, f"/report?period={month.period}")
    yield LetterStyle.TEXT, report.finalise(month.period, language, at=standing.today)


def _left_out(month: Month) -> list[ReportLine]:
    return [one for one in month.lines if one.kind is ReportLineKind.LEFT_OUT]


def _is_about_positions(one: Task) -> bool:
    return isinstance(one, task.LookInPa2 | task.LookAtCall) and one.resource == "repayment"


# ---------------------------------------------------------------- the first word of `status`


def _health_subject(about: str, facts: LetterFacts, language: Language) -> str:
    word = letter.word(about)
    code = "mail.subject.health" if letter.is_grave_word(about) else "mail.subject.well"
    return _named(code, facts.settings, language, word=word)


def _health(about: str, facts: LetterFacts, language: Language) -> Lines:
    """What is wrong, each in a sentence; lost or not lost; what to type."""
    if letter.is_grave_word(about):
        for one in health.findings(facts.standing):
            if told := _finding(one, facts.standing, language):
                yield LetterStyle.TASK, told
        code = "mail.health.held" if letter.word(about) == Verdict.HELD.name else "mail.health.stopped"
        yield LetterStyle.TEXT, language.say(code)
    else:
        yield LetterStyle.TASK, language.say("mail.health.well")
    yield LetterStyle.TEXT, language.say("mail.health.look", command=f"sudo kiva-relay status{_config(facts.settings)}")
    yield from _link(facts, language)


def _finding(one: HealthFinding, facts: Standing, language: Language) -> str:
    """What makes the first word HELD or STOPPED; of anything else nothing."""
    match one:
        case finding.DiskFull():
            return language.say("mail.finding.disk_full", free=one.free)
        case finding.MappingUnfit():
            return language.say("mail.finding.mapping_unfit", mapping=one.mapping, why=one.mistake)
        case finding.LoopStuck():
            return language.say("mail.finding.loop_stuck", loop=one.loop, why=one.why)
        case finding.HeldBack():
            held = one.kept.hold
            moment = language.moment(held.since, facts.settings.mis.timezone, at=facts.now)
            code = "mail.finding.held" if one.kept.total else "mail.finding.held_nothing"
            reason = hold.words(held.reason, language)
            return language.say(code, moment=moment, what=language.counted(one.kept.ready), reason=reason)
    return ""
