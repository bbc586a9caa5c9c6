"""What does not wait for the coordinator, so that silence is no peace; how a message begins and ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from kiva_relay.account import task
from kiva_relay.account.rest import Rest
from kiva_relay.account.standing import Standing
from kiva_relay.account.task import Task
from kiva_relay.words.language import Language

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)


def title(facts: Standing, language: Language) -> tuple[str, str]:
    """The day, and where it points: `partner 123 · production`."""
    kiva = facts.settings.kiva
    code = f"task.environment.{kiva.environment}"
    environment = language.say(code) if language.knows(code) else kiva.environment
    place = language.say("task.title.place", partner=str(kiva.partner_id), environment=environment)
    return language.say("task.title", today=language.today(facts.today)), place


def rest(one: Rest, facts: Standing, found: Sequence[Task], language: Language) -> Iterator[str]:
    """All that is not among the tasks that were found, in lines."""
    if not found and (not one.running or one.kiva_away_since is not None):
        yield language.say("task.rest.nothing")
    if not one.running:
        yield language.say("task.rest.not_running")
    elif one.kiva_away_since is not None:
        yield _away(one, facts, found, language)
    if one.held:
        yield language.say("task.rest.held", what=language.counted(one.held))
    if one.journals_waiting:
        yield language.say("task.rest.journals_wait", n=one.journals_waiting)
    if one.journals_not_taken:
        yield language.say("task.rest.journals_not_taken", n=one.journals_not_taken)
    if told := _under_way(one, language):
        yield told
    if one.running:
        yield _delivered(one, facts, found, language)


def _away(one: Rest, facts: Standing, found: Sequence[Task], language: Language) -> str:
    """Since when Kiva does not answer, and what that means for her."""
    zone = facts.settings.mis.timezone
    since = language.since(one.kiva_away_since or facts.now, zone, at=facts.now)
    parts = [language.say("task.rest.kiva_away", since=since)]
    if drafts := one.under_way.get("loan_draft"):
        parts.append(language.say("task.rest.drafts_wait", n=drafts))
    by_hand = next((each for each in found if isinstance(each, task.TypeByHand)), None)
    if by_hand is not None and by_hand.day is not None and by_hand.day > facts.today:
        parts.append(_except(by_hand, by_hand.day, facts, language))
    elif not found:
        parts.append(language.say("task.rest.do_nothing"))
    return " ".join(parts)


def _except(one: task.TypeByHand, first: date, facts: Standing, language: Language) -> str:
    def named(day: date) -> str:
        return language.weekday(day) if day - facts.today < _WEEK else language.day(day, at=facts.today)

    entries = [entry for entry in one.entries if entry.publish_by == first]
    numbers = ", ".join(language.handle(entry.id) for entry in entries)
    return language.say(
        "task.rest.except", n=len(entries), day=named(first), before=named(first - _DAY), numbers=numbers
    )


def _under_way(one: Rest, language: Language) -> str | None:
    counts = dict(one.under_way)
    away = one.running and one.kiva_away_since is not None
    if away:
        counts.pop("loan_draft", None)  # said already
    if not counts:
        return None
    code = "under_way_later" if away else "under_way" if one.running else "under_way_stopped"
    return language.say(f"task.rest.{code}", what=language.counted(counts))


def _delivered(one: Rest, facts: Standing, found: Sequence[Task], language: Language) -> str:
    """Up to when everything has been delivered; in one breath with `nothing waits` where that is so."""
    nothing = not found and one.kiva_away_since is None
    before = f"{language.say('task.rest.nothing')} " if nothing else ""
    if one.delivered_until is None:
        return before + language.say("task.rest.not_read")
    time, hour = language.hour(one.delivered_until, facts.settings.mis.timezone)
    if facts.day_of(one.delivered_until) != facts.today:
        moment = language.moment(one.delivered_until, facts.settings.mis.timezone, at=facts.now)
        return before + language.say("task.rest.since_long", moment=moment)
    if one.delivered_yesterday:
        what = language.counted(one.delivered_yesterday)
        return before + language.say("task.rest.else_yesterday", n=hour, time=time, what=what)
    is_all = nothing and not (one.held or one.journals_waiting or one.journals_not_taken or one.under_way)
    return before + language.say("task.rest.all" if is_all else "task.rest.else", n=hour, time=time)


def silence(language: Language, *, next_at: str, missing_at: str) -> list[str]:
    """How a message ends: when the next one comes, and what it means when none does. Times as `7:00`."""
    return [
        language.say("task.silence.next", n=int(next_at.partition(":")[0]), time=next_at),
        language.say("task.silence.missing", n=int(missing_at.partition(":")[0]), time=missing_at),
    ]
