"""How `check` says in which way each mapping notices changes, what that costs, and what would better it."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Literal

from kiva_relay import errors
from kiva_relay.cli import frame
from kiva_relay.cli.finding import Finding
from kiva_relay.source.mis import Mis
from kiva_relay.source.position import OVERLAP, Cycle
from kiva_relay.source.stamps import Stamps
from kiva_relay.source.stream import Stream
from kiva_relay.source.watch import Followed

_IN_THE_FUTURE = timedelta(minutes=1)
"""Clocks of a MIS's servers differ by seconds; a wrong zone by a quarter of an hour or more."""

_DEAR = timedelta(milliseconds=100)
"""From this on a look at the MIS is worth an index."""

_BY_STAMP = ("horizon", "overlap")


def findings(mis: Mis, streams: Sequence[Stream], cycle: Cycle, followed: Followed, *, asked: str) -> Iterator[Finding]:
    """A line for each mapping of a cycle, what would better them, and what is wrong with the stamps behind them.

    `asked` is `mis.watch`.

    Raises:
        Unreachable: the MIS is away.
    """
    told: set[tuple[str, tuple[str, ...]]] = set()
    horizon = mis.horizon()
    better: dict[str, None] = {}
    for stream in streams:
        if stream.name in cycle.failed:
            yield Finding("error", "changes", f"{stream.name}: {cycle.failed[stream.name]}\nkiva-relay mapping check")
            continue
        mode, reason = cycle.mode[stream.name], cycle.reasons.get(stream.name, "")
        cost, stamps = _cost(mis, stream, cycle, followed), mis.stamps(stream)
        yield _watched(mis, stream, mode, reason, cost, asked=asked)
        indexes = [sql for one in stamps for sql in one.indexes] if cost > _DEAR else []
        # With xmin the grant is of use only where an index is, or will be; what was asked for stays.
        grant = asked != "overlap" and (mode == "overlap" or "horizon" in reason or indexes)
        better |= dict.fromkeys([*([horizon.remedy] if horizon.remedy and grant else []), *indexes])
        for one in stamps:
            if one.mode in _BY_STAMP and (one.origin, one.columns) not in told:
                told.add((one.origin, one.columns))
                yield from _stamps(one, stream)
    overlaps = [name for name, mode in cycle.mode.items() if mode == "overlap"]
    if overlaps:
        yield _overlap(asked)
    if better:
        lines = "\n".join(better)
        yield Finding("warning" if overlaps else "off", "changes", f"Changes would be found better with:\n{lines}")


def _cost(mis: Mis, stream: Stream, cycle: Cycle, followed: Followed) -> timedelta:
    """What a look for changes costs the MIS when there are none; the first one only learns the tables."""
    at: dict[str, str | None] = {stream.name: cycle.next[stream.name]}
    mis.changes([stream], at, followed=followed)
    before = mis.busy_seconds
    mis.changes([stream], at, followed=followed)
    return timedelta(seconds=mis.busy_seconds - before)


def _watched(mis: Mis, stream: Stream, mode: str, reason: str, cost: timedelta, *, asked: str) -> Finding:
    worse: Literal["ok", "warning"] = "warning" if mode in ("overlap", "sweep") and mode != asked else "ok"
    milliseconds = cost / timedelta(milliseconds=1)
    line = (
        f"{stream.name}: {mis.count(stream):,} in scope; changes are noticed by {mode}, {milliseconds:,.0f} ms a look"
    )
    return Finding(worse, "changes", "\n".join(filter(None, (line, reason))))


def _overlap(asked: str) -> Finding:
    minutes = frame.length(OVERLAP)
    text = f"overlap: what was stamped in the last {minutes} is looked at again each time. What was written by a"
    text += f"\ntransaction of more than {minutes}, and deleted rows, are found by the sweep. Nothing is lost."
    return Finding("ok" if asked == "overlap" else "warning", "changes", text)


def _stamps(one: Stamps, stream: Stream) -> Iterator[Finding]:
    name = f"{one.origin}.{' or '.join(one.columns)}"
    if one.absent:
        text = f"{name} is empty in {errors.counted(one.absent, 'row')}: changes of these are found by the sweep only."
        if one.further:
            text += f"\nA further column helps:   changed_at: [{', '.join([*one.columns, one.further[0]])}]"
        yield Finding("warning", "stamps", text)
    if one.newest is not None and one.newest < -_IN_THE_FUTURE:
        zone = stream.changed_at_zone or "that of the MIS (mis.timezone)"
        yield Finding(
            "error",
            "stamps",
            f"{name}: the newest stamp lies {frame.length(-one.newest)} in the future, read in the zone {zone}."
            " In a wrong zone changes are found late, or by the sweep only."
            "\nsource: {changed_at_zone: utc}   or server, or a name as Africa/Dakar",
        )
