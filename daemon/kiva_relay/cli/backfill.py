"""`kiva-relay backfill`: read the whole book in, as at the first start; with --dry-run only say what would be owed."""

import contextlib
import io
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, TextIO, cast

import sqlalchemy as sa
import typer
from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.cli import comparison, frame, mappings, scans
from kiva_relay.config.settings import Settings
from kiva_relay.errors import UsageError, counted
from kiva_relay.outbox import meta, mirror, scan, table
from kiva_relay.outbox.state import State
from kiva_relay.resource import refusal
from kiva_relay.resource.refusal import Refusal
from kiva_relay.service.relay import Relay

_REASONS = 12

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be owed. Nothing is written or sent.")]


@dataclass
class _Tally:
    """What a backfill would make of one mapping's rows."""

    rows: int = 0
    older: int = 0
    known: int = 0
    owed: int = 0
    at_kiva: int = 0
    waiting: int = 0
    refused: int = 0
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    sentences: dict[tuple[str, str], str] = field(default_factory=dict)
    various: set[tuple[str, str]] = field(default_factory=set)

    @property
    def nothing(self) -> int:
        """Rows of which Kiva expects nothing now."""
        return self.rows - self.older - self.known - self.owed - self.at_kiva - self.waiting - self.refused


def command(
    config: frame.Config = None,
    *,
    mapping: scans.Chosen = None,
    dry_run: DryRun = False,
    note: frame.Note = "",
    yes: frame.Yes = False,
    as_json: frame.AsJson = False,
) -> int:
    """Read every row that the mappings cover. What `since` covers, and was not owed yet, becomes owed.

    The first start does it by itself. By hand it is for a `since` that reaches further back now. The running relay
    does it, as gently as mis.max_load says; without one, this command does, and sends nothing. Interrupted, it goes on
    where it was. With --dry-run: what would be owed, what Kiva has already, what would be refused and why.
    """
    settings = frame.load(config)
    names = scans.chosen(settings, mapping)
    if dry_run:
        return _would(settings, names, as_json=as_json)
    if as_json:
        raise UsageError("--json belongs to --dry-run.", hint="kiva-relay backfill --dry-run --json")
    frame.header(settings)
    since = f"loan_drafts.since: {settings.loan_drafts.since}, journals.since: {settings.journals.since}"
    frame.say(f"{since}. What becomes owed by it is sent.")
    frame.say("How much that is:   kiva-relay backfill --dry-run")
    if not frame.agreed("Read the whole book in?", yes=yes):
        frame.say("Nothing was changed.")
        return 0
    return scans.go(settings, "backfill", names, note=note)


def _would(settings: Settings, names: Collection[str], *, as_json: bool) -> int:
    """A real backfill into an outbox that is thrown away, less what the real outbox has already."""
    known, first_start = _known(settings)
    log.configure("text", stream=cast("TextIO", io.StringIO()))
    with tempfile.TemporaryDirectory(prefix="kiva-relay-backfill-") as folder:
        there = _elsewhere(settings, Path(folder))
        reader = Relay(there, [one for one in mappings.load(there) if one.name in names])
        reader.open()
        try:
            if first_start is not None:
                with reader.outbox.begin() as tx:
                    meta.FIRST_START.put(tx, first_start)
            with comparison.progress("reading", 0) as advance:
                for _ in reader.scan():
                    with reader.outbox.read() as tx:
                        under_way = [one for one in (scan.of(tx, name) for name in names) if one is not None]
                    advance(sum(one.done for one in under_way), sum(one.total for one in under_way))
            with reader.outbox.read() as tx:
                tallies = {name: _tally(tx, name, known) for name in names}
                asked = mirror.last_complete(tx) is not None
        finally:
            reader.close()
    if as_json:
        frame.print_json({"kiva_was_asked": asked, "mappings": {name: _json(one) for name, one in tallies.items()}})
    else:
        frame.header(settings)
        _show(tallies, asked=asked)
    return 0


def _elsewhere(settings: Settings, folder: Path) -> Settings:
    """The same settings with an outbox that is thrown away, and nothing sent."""
    outbox = settings.outbox.model_copy(
        update={"url": f"sqlite:///{folder / 'outbox.db'}", "password": None, "witness": folder / "witness.log"}
    )
    kiva = settings.kiva.model_copy(update={"send": False})
    delivery = settings.delivery.model_copy(update={"hold_for": timedelta(0)})
    return settings.model_copy(update={"outbox": outbox, "kiva": kiva, "delivery": delivery})


def _known(settings: Settings) -> tuple[set[tuple[str, str]], datetime | None]:
    """What the real outbox owes already or had delivered, by resource and identity; when it first started."""
    with contextlib.suppress(UsageError), frame.outbox(settings) as outbox, outbox.read() as tx:
        columns = table.entry.c
        rows = tx.execute(sa.select(columns.resource, columns.identity).distinct())
        return {(row.resource, row.identity) for row in rows}, meta.FIRST_START.get(tx)
    return set(), None


def _tally(tx: Connection, name: str, known: Collection[tuple[str, str]]) -> _Tally:
    captured, entry, tally = table.captured.c, table.entry.c, _Tally()
    of_stream = sa.select(captured.baselined, sa.func.count()).where(captured.stream == name, captured.in_scope)
    for baselined, number in tx.execute(of_stream.group_by(captured.baselined)):
        tally.rows += number
        tally.older += number if baselined else 0
    query = sa.select(entry.resource, entry.identity, entry.state, entry.refusals).where(entry.stream == name)
    for resource, identity, state, refusals in tx.execute(query):
        if (resource, identity) in known:
            tally.known += 1
        elif state == State.READY:
            tally.owed += 1
        elif state == State.DELIVERED:
            tally.at_kiva += 1
        elif state == State.WAITING:
            tally.waiting += 1
        elif state == State.REFUSED:
            tally.refused += 1
            for reason in map(Refusal.from_json, refusals or ()):
                kind = (reason.code, reason.field)
                tally.reasons[kind] += 1
                if tally.sentences.setdefault(kind, said := refusal.sentence(reason)) != said:
                    tally.various.add(kind)
    return tally


def _show(tallies: Mapping[str, _Tally], *, asked: bool) -> None:
    for name, tally in tallies.items():
        frame.say(f"  {name:<26} {counted(tally.rows, 'row')} in scope")
        for number, what in _parts(tally):
            frame.say(f"  {'':<26} {number:>8,}  {what}")
        for kind, number in tally.reasons.most_common(_REASONS):
            as_one = "as: " if kind in tally.various else ""
            frame.say(f"  {'':<26} {'':>8}    {number:,}  {as_one}{tally.sentences[kind]}")
    frame.say()
    if not asked:
        frame.say("  Kiva's list of loans could not be read: what it has already is counted as owed.")
    frame.say("  Nothing was written or sent.     Every reason, with all loans: kiva-relay rehearse")


def _parts(tally: _Tally) -> Iterator[tuple[int, str]]:
    yield tally.owed, "would be owed"
    yield tally.at_kiva, "at Kiva already, under the same loan id: adopted, not sent"
    yield tally.older, "older than `since`: posted by hand, stay so"
    for number, what in (
        (tally.known, "in the outbox already"),
        (tally.waiting, "would wait: not complete yet, or their loan is not at Kiva"),
        (tally.nothing, "nothing owed: Kiva expects no report of these loans now"),
        (tally.refused, "would be refused:"),
    ):
        if number > 0:
            yield number, what


def _json(tally: _Tally) -> dict[str, object]:
    reasons = [
        {"code": code, "field": place, "number": number, "sentence": tally.sentences[code, place]}
        for (code, place), number in tally.reasons.most_common()
    ]
    counts = {
        name: getattr(tally, name)
        for name in ("rows", "owed", "at_kiva", "older", "known", "waiting", "nothing", "refused")
    }
    return {**counts, "reasons": reasons}
