"""What `check` says about noticing changes: how, what it costs the MIS, and what would better it."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from kiva_relay import errors
from kiva_relay.capture import follow
from kiva_relay.cli import frame, watching
from kiva_relay.cli.finding import Finding
from kiva_relay.config.settings import Settings
from kiva_relay.service import opening
from kiva_relay.source import slot
from kiva_relay.source.mis import Mis
from kiva_relay.source.stream import Stream

_HORIZON_IS_OLD = timedelta(minutes=10)
_FOLLOWS = ("auto", "replication")
_ABOUT = "changes"


def changes(settings: Settings, opened: Mis, streams: Sequence[Stream]) -> Iterator[Finding]:
    """Each mapping, the stream that the MIS has or could have, and what a look costs."""
    found = None
    if settings.mis.url.startswith("postgresql:"):
        found = opened.slot(opening.stream_name(settings), streams)
    follows = found is not None and settings.mis.watch in _FOLLOWS and not slot.lacks(found)
    followed = slot.covered(found, streams) if found is not None and follows else {}
    cycle = opened.changes(streams, {stream.name: None for stream in streams}, followed=followed)
    yield from watching.findings(opened, streams, cycle, followed, asked=settings.mis.watch)
    busy = opened.busy_seconds
    opened.changes(streams, dict(cycle.next), followed=followed)
    yield _cost(settings, opened.busy_seconds - busy)
    if found is not None:
        yield from _stream(settings, found, streams)
    if cycle.horizon_age > _HORIZON_IS_OLD:
        yield Finding(
            "warning",
            _ABOUT,
            f"A transaction has been open in the MIS for {frame.length(cycle.horizon_age)}"
            f"{f' ({cycle.pinned_by})' if cycle.pinned_by else ''}. Nothing is lost;"
            " the same rows are looked at again until it ends.",
        )


def _cost(settings: Settings, busy: float) -> Finding:
    """What one look takes of the MIS's time; a look comes later where it would take more than its share."""
    mis = settings.mis
    every = max(mis.poll_every.total_seconds(), busy * 100 / float(mis.max_load))
    text = f"a look takes {busy * 1000:,.0f} ms of the MIS's time, every {every:.3g} s: {busy / every:.1%} of it"
    if every > mis.poll_every.total_seconds():
        asked = f"{mis.poll_every.total_seconds():g} s"
        text += f"\nNot every {asked}, as mis.poll_every says, for it keeps to mis.max_load, {mis.max_load:g} %."
    return Finding("ok", _ABOUT, text)


def _stream(settings: Settings, found: slot.SlotFacts, streams: Sequence[Stream]) -> Iterator[Finding]:
    lacks = slot.lacks(found)
    if found.there and settings.mis.watch not in _FOLLOWS:
        yield Finding(
            "warning",
            _ABOUT,
            f"The slot {found.name} is there and mis.watch is {settings.mis.watch}: nobody reads it, and the server"
            f" keeps its log for it ({_megabytes(found.kept)} by now).\nkiva-relay watch drop",
        )
    elif lacks and settings.mis.watch == "replication":
        yield Finding("error", _ABOUT, f"mis.watch is replication, but {lacks}.\n{slot.SETUP}")
    elif lacks and found.made:
        yield Finding("warning", _ABOUT, f"It is polled, for {lacks}. Nothing is lost.\n{slot.SETUP}")
    elif lacks and settings.mis.watch == "auto":
        text = "By PostgreSQL's stream they would come within milliseconds, deletes too. What it takes, as SQL:"
        yield Finding("off", _ABOUT, f"{text}\n{slot.SETUP}")
    elif not lacks and settings.mis.watch in _FOLLOWS:
        yield from _followed(found, streams)


def _followed(found: slot.SlotFacts, streams: Sequence[Stream]) -> Iterator[Finding]:
    """How the slot is, and which tables it does not tell everything of."""
    reader = f"read by process {found.reader}" if found.reader else "nobody reads it now"
    text = f"slot {found.name}: {reader}; the server keeps {_megabytes(found.kept)} of its log for it"
    grave = found.wal_status == "unreserved" or (found.kept or 0) > follow.MUCH_KEPT
    if grave:
        text += "\nIt fills the MIS's disk until the relay has read it: kiva-relay status"
    yield Finding("warning" if grave else "ok", _ABOUT, text)
    if found.keep == "-1":
        text = "Nothing bounds what the server keeps for a relay that is away (max_slot_wal_keep_size is -1)."
        yield Finding("warning", _ABOUT, f"{text}\n{slot.SETUP}")
    silent = slot.silent(found, streams)
    if silent:
        listed = "\n".join(f"{table}: {', '.join(columns)}" for table, columns in sorted(silent.items()))
        tables = errors.counted(len(silent), "table")
        text = f"Deleted and moved rows of {tables} wait for the sweep; their REPLICA IDENTITY lacks columns:"
        yield Finding("warning", _ABOUT, f"{text}\n{listed}\n{slot.SETUP}")


def _megabytes(size: int | None) -> str:
    return f"{(size or 0) / 1_000_000:,.1f} MB"
