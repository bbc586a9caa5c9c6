"""`kiva-relay review`: what waits for the coordinator, by the day on which it is too late."""

from collections.abc import Sequence

from kiva_relay.account import standing, task
from kiva_relay.account.standing import Standing
from kiva_relay.account.task import Task
from kiva_relay.cli import figure, frame, task_words, words


def command(config: frame.Config = None, *, as_json: frame.AsJson = False) -> None:
    """What waits for the coordinator? Drafts, follow-ups, doubts and changes; what to do, and by when."""
    settings = frame.load_to_look(config)
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        facts = standing.gather(tx, settings, now=frame.now())
        found = task.tasks(tx, facts)
    if as_json:
        frame.print_json([_json(one, facts) for one in found])
        return
    frame.header(settings)
    frame.say(f"What waits for the coordinator, {figure.day(facts.today)}")
    frame.say()
    _show(found, facts)
    for line in task_words.rest(task.rest(facts), facts, tasks=bool(found)):
        frame.say(line)
    _for_the_administrator(found)


def _show(found: Sequence[Task], facts: Standing) -> None:
    numbered = list(enumerate(found, start=1))
    for when, heading in task_words.WHEN.items():
        mine = [(number, one) for number, one in numbered if one.when is when]
        if not mine:
            continue
        frame.say(heading, style="bold")
        for number, one in mine:
            title, lines = task_words.said(one, facts)
            frame.say(f"{number:>2}  {title}")
            for line in lines:
                frame.say(f"    {line}")
        frame.say()


def _for_the_administrator(found: Sequence[Task]) -> None:
    first = next((one.entries[0] for one in found if one.entries), None)
    if first is None:
        return
    frame.say()
    frame.say("For the administrator")
    frame.say(f"  one of them, and what to type:      kiva-relay outbox show {first.id}")
    done = next((one.entries[0].id for one in found if one.ended_by_done), None)
    if done is not None:
        frame.say(f"  when the coordinator says “done”:   kiva-relay review done {done}")


def _json(one: Task, facts: Standing) -> dict[str, object]:
    title, lines = task_words.said(one, facts)
    return {
        "kind": one.kind,
        "when": task_words.WHEN[one.when],
        "day": one.day,
        "title": title,
        "lines": lines,
        "loans": one.loans if isinstance(one, task.FindInMis) else [entry.loan_id for entry in one.entries],
        "entries": [words.entry_json(entry) for entry in one.entries],
    }
