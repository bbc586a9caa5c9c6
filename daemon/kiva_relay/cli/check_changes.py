"""What `check` says about how changes are noticed: in which way, what that costs the MIS, what would improve it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from kiva_relay.account import slot_kept
from kiva_relay.cli import figure
from kiva_relay.cli.check_finding import CheckFinding
from kiva_relay.config import hosts
from kiva_relay.config.settings import Settings
from kiva_relay.service import opening
from kiva_relay.source import slot
from kiva_relay.source.mis import Mis
from kiva_relay.source.position import OVERLAP, Cycle
from kiva_relay.source.stamps import Stamps
from kiva_relay.source.stream import Stream
from kiva_relay.source.watch import Followed
from kiva_relay.words.spoken import tr

_HORIZON_IS_OLD = timedelta(minutes=10)
_IN_THE_FUTURE = timedelta(minutes=1)
"""Clocks of a MIS's servers differ by seconds; a wrong zone by a quarter of an hour or more."""

_DEAR = timedelta(milliseconds=100)
"""From this on a look at the MIS is worth an index."""

_BY_STAMP = ("horizon", "overlap")
_FOLLOWS = ("auto", "replication")
_ABOUT = "changes"


def changes(settings: Settings, opened: Mis, streams: Sequence[Stream]) -> Iterator[CheckFinding]:
    """Each mapping, the stream that the MIS has or could have, and what a look costs.

    Raises:
        Unreachable: the MIS is away.
    """
    found = None
    if settings.mis.url.startswith("postgresql:"):
        found = opened.slot(opening.stream_name(settings), streams)
    follows = found is not None and settings.mis.watch in _FOLLOWS and not slot.lacks(found)
    followed = slot.covered(found, streams) if found is not None and follows else {}
    cycle = opened.changes(streams, {stream.name: None for stream in streams}, followed=followed)
    yield from _mappings(opened, streams, cycle, followed, asked=settings.mis.watch)
    if secured := opened.secured(streams):
        text = tr(
            "Row level security may hide rows of {tables} from this role: only what it sees is in scope.",
            tables=", ".join(secured),
        )
        where = tr("where it is to see all of them")
        yield CheckFinding("warning", _ABOUT, f"{text}\nALTER ROLE … BYPASSRLS;   {where}")
    busy = opened.busy_seconds
    opened.changes(streams, dict(cycle.next), followed=followed)
    yield _cost(settings, opened.busy_seconds - busy)
    if found is not None:
        yield from _harm(found)
        yield from _stream(settings, found, streams)
    if cycle.horizon_age > _HORIZON_IS_OLD:
        text = tr(
            "A transaction has been open in the MIS for {age}{who}. Nothing is lost; the same rows are looked at again"
            " until it ends.",
            age=figure.length(cycle.horizon_age),
            who=f" ({cycle.pinned_by})" if cycle.pinned_by else "",
        )
        yield CheckFinding("warning", _ABOUT, text)


def _mappings(
    mis: Mis, streams: Sequence[Stream], cycle: Cycle, followed: Followed, *, asked: str
) -> Iterator[CheckFinding]:
    """A line for each mapping of a cycle, what would improve them, and what is wrong with the stamps behind them.

    `asked` is `mis.watch`.
    """
    said: set[tuple[str, tuple[str, ...]]] = set()
    horizon = mis.horizon()
    better: dict[str, None] = {}
    for stream in streams:
        if stream.name in cycle.failed:
            yield CheckFinding("error", _ABOUT, f"{stream.name}: {cycle.failed[stream.name]}\nkiva-relay mapping check")
            continue
        mode, reason = cycle.mode[stream.name], cycle.reasons.get(stream.name, "")
        cost, stamps = _cost_of_mapping(mis, stream, cycle, followed), mis.stamps(stream)
        yield _watched(mis, stream, mode, reason, cost, asked=asked)
        indexes = [sql for one in stamps for sql in one.indexes] if cost > _DEAR else []
        # With xmin the grant is of use only where an index is, or will be; what was asked for stays.
        grant = asked != "overlap" and (mode == "overlap" or "horizon" in reason or indexes)
        better |= dict.fromkeys([*([horizon.remedy] if horizon.remedy and grant else []), *indexes])
        for one in stamps:
            if one.mode in _BY_STAMP and (one.origin, one.columns) not in said:
                said.add((one.origin, one.columns))
                yield from _stamps(one, stream)
    overlaps = [name for name, mode in cycle.mode.items() if mode == "overlap"]
    if overlaps:
        yield _overlap(asked)
    if better:
        lines = "\n".join(better)
        yield CheckFinding(
            "warning" if overlaps else "off", _ABOUT, f"{tr('Changes would be found better with:')}\n{lines}"
        )


def _cost_of_mapping(mis: Mis, stream: Stream, cycle: Cycle, followed: Followed) -> timedelta:
    """What a look for changes costs the MIS when there are none; the first one only learns the tables."""
    at: dict[str, str | None] = {stream.name: cycle.next[stream.name]}
    mis.changes([stream], at, followed=followed)
    before = mis.busy_seconds
    mis.changes([stream], at, followed=followed)
    return timedelta(seconds=mis.busy_seconds - before)


def _watched(mis: Mis, stream: Stream, mode: str, reason: str, cost: timedelta, *, asked: str) -> CheckFinding:
    worse: Literal["ok", "warning"] = "warning" if mode in ("overlap", "sweep") and mode != asked else "ok"
    milliseconds = cost / timedelta(milliseconds=1)
    line = tr(
        "{name}: {number} in scope; changes are noticed by {mode}, {cost} ms a look",
        name=stream.name,
        number=mis.count(stream),
        mode=mode,
        cost=round(milliseconds),
    )
    return CheckFinding(worse, _ABOUT, "\n".join(filter(None, (line, reason))))


def _overlap(asked: str) -> CheckFinding:
    minutes = figure.length(OVERLAP)
    text = tr("overlap: what was stamped in the last {time} is looked at again each time.", time=minutes) + "\n"
    text += tr(
        "What a transaction of more than {time} wrote, and deleted rows, are found by the sweep. Nothing is lost.",
        time=minutes,
    )
    return CheckFinding("ok" if asked == "overlap" else "warning", _ABOUT, text)


def _stamps(one: Stamps, stream: Stream) -> Iterator[CheckFinding]:
    name = f"{one.origin}.{tr(' or ').join(one.columns)}"
    if one.absent:
        text = tr(
            "{name} is empty in {n} row: its changes are found by the sweep only.",
            "{name} is empty in {n} rows: changes of these are found by the sweep only.",
            n=one.absent,
            name=name,
        )
        if one.further:
            helps = tr("A further column helps:")
            text += f"\n{helps}   changed_at: [{', '.join([*one.columns, one.further[0]])}]"
        yield CheckFinding("warning", "stamps", text)
    if one.newest is not None and one.newest < -_IN_THE_FUTURE:
        text = tr(
            "{name}: the newest stamp lies {by} in the future, read in the zone {zone}. In a wrong zone changes are"
            " found late, or by the sweep only.",
            name=name,
            by=figure.length(-one.newest),
            zone=stream.changed_at_zone or tr("that of the MIS (mis.timezone)"),
        )
        other = tr("or server, or a name like Africa/Dakar")
        yield CheckFinding("error", "stamps", f"{text}\nsource: {{changed_at_zone: utc}}   {other}")


def _cost(settings: Settings, busy: float) -> CheckFinding:
    """What one look takes of the MIS's time; a look comes later where it would take more than its share."""
    mis = settings.mis
    every = max(mis.poll_every.total_seconds(), busy * 100 / float(mis.max_load))
    text = tr(
        "a look takes {busy} ms of the MIS's time, every {every} s: {share} of it",
        busy=round(busy * 1000),
        every=f"{every:.3g}",
        share=f"{busy / every:.1%}",
    )
    if every > mis.poll_every.total_seconds():
        asked = f"{mis.poll_every.total_seconds():g} s"
        text += "\n" + tr(
            "Not every {asked}, as mis.poll_every says, because it keeps to mis.max_load, {most} %.",
            asked=asked,
            most=f"{mis.max_load:g}",
        )
    return CheckFinding("ok", _ABOUT, text)


def _stream(settings: Settings, found: slot.SlotFacts, streams: Sequence[Stream]) -> Iterator[CheckFinding]:
    lacks = slot.lacks(found)
    if found.there and settings.mis.watch not in _FOLLOWS:
        text = tr(
            "The slot {name} is there and mis.watch is {watch}: nobody reads it, and the server keeps its log for it"
            " ({size} so far).",
            name=found.name,
            watch=settings.mis.watch,
            size=figure.megabytes(found.kept),
        )
        yield CheckFinding("warning", _ABOUT, f"{text}\nkiva-relay watch drop")
    elif lacks and settings.mis.watch == "replication":
        yield CheckFinding(
            "error", _ABOUT, f"{tr('mis.watch is replication, but {lacks}.', lacks=lacks)}\n{slot.SETUP}"
        )
    elif lacks and found.made:
        yield CheckFinding(
            "warning", _ABOUT, f"{tr('It is polled, because {lacks}. Nothing is lost.', lacks=lacks)}\n{slot.SETUP}"
        )
    elif lacks and settings.mis.watch == "auto":
        text = tr(
            "By PostgreSQL's stream they would come within milliseconds, deletes included. What that takes, as SQL:"
        )
        yield CheckFinding("off", _ABOUT, f"{text}\n{slot.SETUP}")
    elif not lacks and settings.mis.watch in _FOLLOWS:
        yield from _followed(found, streams)
        if hosts.of(settings.mis.url) and not found.survives:
            yield _left_behind(found)


def _left_behind(found: slot.SlotFacts) -> CheckFinding:
    text = (
        f"A failover of the MIS leaves the slot {found.name} behind: it is polled until the relay made it anew there."
    )
    if slot.creation(found) == slot.creation(replace(found, version=0)):
        return CheckFinding("off", _ABOUT, text)
    text += " A slot that the standbys keep in step:"
    return CheckFinding("warning", _ABOUT, f"{text}\nkiva-relay watch drop --apply\n{slot.SETUP} --apply")


def _harm(found: slot.SlotFacts) -> Iterator[CheckFinding]:
    """Tables that the MIS itself cannot change while they are published: that comes before everything else."""
    refusing = slot.refusing(found)
    if refusing:
        text = tr(
            "The MIS's own UPDATE and DELETE fail on {tables}: published in {name}, and without a replica identity that"
            " PostgreSQL takes. A key was dropped, or a partition came, since it was set up.",
            tables=", ".join(refusing),
            name=found.name,
        )
        yield CheckFinding("error", _ABOUT, f"{text}\n{slot.SETUP} --apply")


def _followed(found: slot.SlotFacts, streams: Sequence[Stream]) -> Iterator[CheckFinding]:
    """How the slot is, and which tables it does not say everything about."""
    reader = tr("read by process {pid}", pid=str(found.reader)) if found.reader else tr("nobody reads it now")
    text = tr(
        "slot {name}: {reader}; the server keeps {size} of its log for it",
        name=found.name,
        reader=reader,
        size=figure.megabytes(found.kept),
    )
    grave = slot_kept.is_much(found.kept, found.wal_status)
    if grave:
        text += f"\n{tr('It fills the disk of the MIS until the relay has read it: kiva-relay status')}"
    yield CheckFinding("warning" if grave else "ok", _ABOUT, text)
    if found.keep == "-1":
        text = tr("Nothing bounds what the server keeps for a relay that is away (max_slot_wal_keep_size is -1).")
        yield CheckFinding("warning", _ABOUT, f"{text}\n{slot.SETUP}")
    silent = slot.silent(found, streams)
    if silent:
        listed = "\n".join(f"{table}: {', '.join(columns)}" for table, columns in sorted(silent.items()))
        text = tr(
            "Deleted and moved rows of {n} table wait for the sweep, others for a poll: the REPLICA IDENTITY lacks"
            " columns:",
            "Deleted and moved rows of {n} tables wait for the sweep, others for a poll: the REPLICA IDENTITY lacks"
            " columns:",
            n=len(silent),
        )
        yield CheckFinding("warning", _ABOUT, f"{text}\n{listed}\n{slot.SETUP}")
    for table, why in sorted(slot.untold(found, streams).items()):
        yield CheckFinding("off", _ABOUT, tr("Polled, not in the stream: {table}: {why}.", table=table, why=why))
