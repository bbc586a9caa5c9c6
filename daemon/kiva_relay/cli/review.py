"""`kiva-relay review`: what waits for the coordinator, by the day on which it is too late."""

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from kiva_relay.cli import frame, health, task, words
from kiva_relay.cli.health import Health
from kiva_relay.cli.task import Task
from kiva_relay.outbox import listing
from kiva_relay.outbox.state import State


def command(config: frame.Config = None, *, as_json: frame.AsJson = False) -> None:
    """What waits for the coordinator? Drafts, follow-ups, doubts and changes; what to do, and by when."""
    settings = frame.load(config)
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        facts = health.gather(tx, settings, now=frame.now())
        found = task.tasks(tx, facts)
        midnight = datetime.combine(facts.today, time(), tzinfo=ZoneInfo(settings.mis.timezone))
        yesterday = listing.delivered(tx, since=midnight - timedelta(days=1), until=midnight)
    if as_json:
        frame.print_json(
            [
                {
                    "kind": one.kind,
                    "when": one.when.value,
                    "title": one.title,
                    "lines": one.lines,
                    "entries": [words.entry_json(entry) for entry in one.entries],
                }
                for one in found
            ]
        )
        return
    frame.header(settings)
    frame.say(f"What waits for the coordinator, {frame.day(facts.today)}")
    frame.say()
    _show(found)
    for line in _rest(facts, found, yesterday):
        frame.say(line)


def _show(found: list[Task]) -> None:
    for when in task.When:
        mine = [(number, one) for number, one in enumerate(found, start=1) if one.when is when]
        if not mine:
            continue
        frame.say(when.value, style="bold")
        for number, one in mine:
            frame.say(f"{number:>2}  {one.title}")
            for line in one.lines:
                frame.say(f"    {line}")
        frame.say()


def _rest(facts: Health, found: list[Task], yesterday: dict[str, int]) -> Iterator[str]:
    """What does not wait for her: so that silence is never mistaken for peace."""
    if not found:
        yield "Nothing waits for you."
    if not facts.alive:
        yield "The relay is not running: please tell the administrator. Nothing is lost, nothing was sent twice."
    elif facts.heartbeat is not None and facts.heartbeat.kiva.away_since is not None:
        since = frame.moment(facts.heartbeat.kiva.away_since, facts.settings, at=facts.now)
        yield f"Kiva has not answered since {since}. What waits is sent by itself; nothing is lost."
    if facts.held:
        yield f"Kept back until the administrator releases it: {words.counted(facts.held)}. Nothing is lost."
    waiting = facts.counts["journal"][State.WAITING]
    if waiting:
        verb = "waits for its loan" if waiting == 1 else "wait for their loans"
        yield f"{waiting:,} follow-up{'' if waiting == 1 else 's'} {verb} to be published. Nothing to do."
    under_way = {
        resource: count
        for resource, states in facts.counts.items()
        if (count := states[State.READY] + states[State.SENDING] - facts.held.get(resource, 0)) > 0
    }
    last = facts.heartbeat.mis.last_good if facts.heartbeat is not None else None
    until = f" up to {frame.moment(last, facts.settings, at=facts.now)}" if last else ""
    said = f" (yesterday: {words.counted(yesterday)})" if yesterday else ""
    if under_way:
        yield f"On the way by itself: {words.counted(under_way)}."
    if facts.alive:
        yield f"Everything else{until} has been delivered{said}."
    if found:
        yield ""
        yield "For the administrator"
        yield f"  one of them, and what to type:     sudo kiva-relay outbox show {found[0].entries[0].id}"
        done = next((each.entries[0].id for each in found if each.kind in task.ENDED_BY_DONE), None)
        if done is not None:
            yield f"  when the coordinator says “done”:  sudo kiva-relay review done {done}"
