"""`kiva-relay review`: what waits for the coordinator, by the day on which it is too late, in her language."""

from collections.abc import Sequence

from kiva_relay.account import standing, task
from kiva_relay.account.rest import rest_of
from kiva_relay.account.standing import Standing
from kiva_relay.account.task import Task, When
from kiva_relay.cli import frame, review_json
from kiva_relay.report import month
from kiva_relay.words import language, report, rest
from kiva_relay.words import task as words
from kiva_relay.words.language import Language


def command(config: frame.Config = None, *, lang: frame.Lang = None, as_json: frame.AsJson = False) -> None:
    """What waits for the coordinator? Drafts, follow-ups, doubts and changes; what to do, and by when."""
    settings = frame.load_to_look(config)
    spoken = language.of(lang or settings.language)
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        facts = standing.gather(tx, settings, now=frame.now())
        of_month = month.read(tx, settings, None, now=facts.now) if facts.report.is_windowed else None
        found = task.tasks(tx, facts, of_month)
    if as_json:
        frame.print_json([review_json.of(one) for one in found])
        return
    frame.header(settings)
    frame.say("   ".join(rest.title(facts, spoken)))
    frame.say()
    _show(found, facts, spoken)
    if of_month is not None and (told := report.of_morning(of_month, spoken, at=facts.today)):
        frame.say(told)
    for line in rest.rest(rest_of(facts), facts, found, spoken):
        frame.say(line)
    _for_the_administrator(found, spoken)


def _show(found: Sequence[Task], facts: Standing, spoken: Language) -> None:
    numbered = list(enumerate(found, start=1))
    for when in When:
        mine = [(number, one) for number, one in numbered if one.when is when]
        if not mine:
            continue
        frame.say(words.heading(when, spoken), style="bold")
        for number, one in mine:
            title, lines = words.said(one, facts, spoken)
            frame.say(f"{number:>2}  {title}")
            if lines:
                frame.say("\n".join(f"    {line}" for line in lines))
        frame.say()


def _for_the_administrator(found: Sequence[Task], spoken: Language) -> None:
    first = next((one.entries[0] for one in found if one.entries), None)
    if first is None:
        return
    frame.say()
    frame.say(spoken.say("task.administrator"))
    frame.say(f"  {spoken.say('task.administrator.show'):<36}   kiva-relay outbox show {first.id}")
    done = next((one.entries[0].id for one in found if one.ended_by_done), None)
    if done is not None:
        frame.say(f"  {spoken.say('task.administrator.done'):<36}   kiva-relay review done {done}")
