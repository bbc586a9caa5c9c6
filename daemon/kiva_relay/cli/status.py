"""`kiva-relay status`: one word, what differs from normal, what to type; then the small table."""

from datetime import datetime, timedelta
from typing import Any

from kiva_relay.cli import frame, health, scans
from kiva_relay.cli.health import Health, HealthFinding, Verdict
from kiva_relay.outbox import catalogue
from kiva_relay.outbox.state import State

_COLUMNS = ("", "waiting", "in doubt", "refused", "held", "delivered today", "this month")
_ABOUT = 16
_PINNED = 600.0
"""Seconds from which on an open transaction of the MIS is worth a line."""


def command(config: frame.Config = None, *, as_json: frame.AsJson = False) -> int:
    """Is it working? The first word says it: OK, NOTE, WAITING, HELD or STOPPED.

    Exit code: 0 for OK and NOTE; 1 when a person has to act (HELD, STOPPED); 3 while a server does not answer.
    """
    settings = frame.load(config)
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            facts = health.gather(tx, settings, now=frame.now())
        size = outbox.size()
    found = health.findings(facts)
    if as_json:
        frame.print_json(_json(facts, found))
    else:
        frame.header(settings)
        _show(facts, found, size=size)
    return health.EXIT_CODES[health.verdict(found)]


def _show(facts: Health, found: list[HealthFinding], *, size: int | None) -> None:
    for finding in found:
        frame.verdict(finding.verdict.name, "\n".join([finding.sentence, *finding.further]))
    frame.say()
    frame.table(_COLUMNS, [_row(facts, resource) for resource in facts.settings.resources], right=_COLUMNS[1:])
    frame.say()
    for name, lines in (("Deadlines", health.deadlines(facts)), ("MIS", _mis(facts)), ("Kiva", _kiva(facts))):
        for number, line in enumerate(lines):
            frame.say(f"  {name if number == 0 else '':<{_ABOUT}}{line}")
    if facts.alive and facts.heartbeat is not None:
        up = frame.length(facts.now - facts.heartbeat.started_at)
        frame.say(f"  {'Relay':<{_ABOUT}}running for {up}, process {facts.heartbeat.pid}")
    place = facts.settings.outbox.url if size is None else f"{_megabytes(size)}, {facts.settings.outbox.file}"
    frame.say(f"  {'Outbox':<{_ABOUT}}{place}")


def _row(facts: Health, resource: str) -> list[object]:
    states, held = facts.counts[resource], facts.held.get(resource, 0)
    waiting = states[State.READY] + states[State.WAITING] + states[State.SENDING] - held
    return [
        resource,
        waiting,
        states[State.IN_DOUBT],
        states[State.REFUSED],
        held,
        facts.delivered_today.get(resource, 0),
        facts.delivered_this_month.get(resource, 0),
    ]


def _mis(facts: Health) -> list[str]:
    beat, lines = facts.heartbeat, []
    if beat is not None and beat.mis.last_good is not None:
        lines.append(f"read {frame.length(facts.now - beat.mis.last_good)} ago")
    elif facts.marks:
        moved = [mark.moved_at for mark in facts.marks.values() if mark.moved_at]
        lines.append(f"last change read {_moment(facts, max(moved))}" if moved else "not read yet")
    else:
        lines.append("not read yet")
    modes = beat.modes if beat is not None else {}
    if modes:
        kinds = sorted(set(modes.values()))
        names = {kind: [stream for stream in sorted(modes) if modes[stream] == kind] for kind in kinds}
        lines[0] += ", " + ", ".join(f"watched by {kind}: {' '.join(names[kind])}" for kind in kinds)
    stream = beat.replication if beat is not None else None
    if stream is not None and stream.live:
        lines.append(f"its stream is followed; it keeps {_megabytes(stream.kept or 0)} of its log for the relay")
        if set(modes.values()) - {"replication"}:
            lines.append("polled besides, until what was open before the stream was followed has ended")
    if beat is not None and beat.horizon_age > _PINNED:
        who = beat.pinned_by or "whose, shows a grant: kiva-relay check --grants"
        age = frame.length(timedelta(seconds=beat.horizon_age))
        lines.append(f"a transaction of the MIS is open for {age} ({who}); nothing is lost by it")
    for mark in facts.marks.values():
        if mark.scan is not None:
            since = "" if mark.scan_started_at is None else f", since {_moment(facts, mark.scan_started_at)}"
            progress = facts.scans.get(mark.stream)
            how_far = "" if progress is None else f": {scans.under_way(progress)}"
            lines.append(f"{mark.scan} of {mark.stream} under way{since}{how_far}")
    return lines


def _kiva(facts: Health) -> list[str]:
    if facts.refresh is None:
        return ["its list of loans was not read whole yet"]
    lines = [f"its list of loans was read whole {frame.length(facts.now - facts.refresh.started_at)} ago"]
    if not facts.lists_read:
        lines.append(f"its lists ({', '.join(catalogue.KINDS)}) were not given yet: drafts that need them wait")
    return lines


def _moment(facts: Health, when: datetime) -> str:
    return frame.moment(when, facts.settings, at=facts.now)


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"


def _json(facts: Health, found: list[HealthFinding]) -> dict[str, Any]:
    return {
        "verdict": health.verdict(found).name,
        "findings": [
            {"verdict": one.verdict.name, "sentence": one.sentence, "further": one.further}
            for one in found
            if one.verdict is not Verdict.OK
        ],
        "environment": facts.settings.kiva.environment,
        "partner_id": facts.settings.kiva.partner_id,
        "at": facts.now,
        "running": facts.alive,
        "heartbeat": facts.heartbeat,
        "resources": {
            resource: {
                "states": {state.value: facts.counts[resource][state] for state in State},
                "held": facts.held.get(resource, 0),
                "adopted": facts.adopted.get(resource, 0),
                "delivered_today": facts.delivered_today.get(resource, 0),
                "delivered_this_month": facts.delivered_this_month.get(resource, 0),
            }
            for resource in facts.settings.resources
        },
        "holds": [
            {
                "what": kept.hold.what,
                "reason": kept.hold.reason,
                "params": kept.hold.params,
                "since": kept.hold.since,
                "held_by": kept.hold.held_by,
                "note": kept.hold.note,
                "allowance": kept.hold.allowance,
                "ready": kept.ready,
            }
            for kept in facts.kept
        ],
        "in_doubt": [entry.id for entry in facts.doubts],
        "deadlines": health.deadlines(facts),
        "report": {"period": facts.report.period, "open": facts.report.is_open, "closes": facts.report.closes},
        "mirror_read_at": None if facts.refresh is None else facts.refresh.started_at,
        "streams": {
            name: {
                "mode": mark.mode,
                "moved_at": mark.moved_at,
                "scan": mark.scan,
                "progress": facts.scans.get(name),
            }
            for name, mark in facts.marks.items()
        },
    }
