"""`kiva-relay backfill`: read the whole book in, as at the first start; with --dry-run only say what would be owed."""

import contextlib
import io
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, TextIO, cast

import sqlalchemy as sa
import typer

from kiva_relay import log
from kiva_relay.capture import fit, trial
from kiva_relay.capture.context import CaptureContext
from kiva_relay.capture.pace import Pace
from kiva_relay.capture.trial import Tally, TrialOutcome
from kiva_relay.cli import comparison, frame, mapping_stopped, mappings, nameless_words, scans
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.errors import RelayError, Unreachable, UsageError, counted
from kiva_relay.mapping import lookup
from kiva_relay.outbox import catalogue, meta, mirror, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.resource import refusal
from kiva_relay.service import opening
from kiva_relay.service.relay import Relay
from kiva_relay.source.mis import Mis
from kiva_relay.words import personal

_REASONS = 12
_SAVED_FOR = 20.0
"""Seconds of the MIS's time that may be saved up, as the daemon does."""

_WORDS: Mapping[TrialOutcome, str] = {
    TrialOutcome.OWED: "would be owed",
    TrialOutcome.AT_KIVA: "at Kiva already, under the same loan id: adopted, not sent",
    TrialOutcome.OLDER: "older than `since`: posted by hand, stay so",
    TrialOutcome.KNOWN: "in the outbox already",
    TrialOutcome.WAITING: "would wait: not complete yet, or their loan is not at Kiva",
    TrialOutcome.NOTHING: "nothing owed: Kiva expects no report of these loans now",
    TrialOutcome.REFUSED: "would be refused:",
}
_ALWAYS_SAID = (TrialOutcome.OWED, TrialOutcome.AT_KIVA, TrialOutcome.OLDER)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be owed. Nothing is written or sent.")]


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
    """What a backfill would owe now, beside what the real outbox has already."""
    known, first_start = _known(settings)
    log.configure("text", stream=cast("TextIO", io.StringIO()))
    opened = opening.open_mis(settings, clock=SystemClock())
    with contextlib.closing(opened) as mis, _kiva_list(settings) as (listed, lists):
        fitting = fit.Fit([one for one in mappings.load(settings) if one.name in names], mis, clock=SystemClock())
        documents = fitting.those_that_fit()
        wrong = mappings.verified(documents, mis)
        if wrong is not None and mappings.severe(wrong.mistakes):
            raise wrong
        run = trial.Trial(mis, listed=listed, known=known)
        now = frame.now()
        tallies: dict[str, Tally] = {}
        for one in documents:
            look = trial.look(one, settings, lists=lists, now=now, first_start=first_start or now)
            try:
                tallies[one.name] = _tally(run, look, mis)
            except Unreachable:
                raise
            except RelayError as error:
                fitting.stop(one.name, error)
        nameless = mappings.nameless(mis, documents)
        with listed.read() as tx:
            asked = mirror.last_complete(tx) is not None
    if as_json:
        told = {name: _json(one) for name, one in tallies.items()}
        frame.print_json({"kiva_was_asked": asked, "mappings": told, "not_read": fitting.stopped})
    else:
        frame.header(settings)
        _show(tallies, asked=asked)
        mapping_stopped.say(fitting.stopped)
        nameless_words.say(nameless)
    return 1 if fitting.stopped or nameless else 0


def _tally(run: trial.Trial, look: CaptureContext, mis: Mis) -> Tally:
    """One mapping, read as gently as a daemon reads."""
    clock, never, tally = SystemClock(), threading.Event(), Tally()
    pace = Pace(float(look.settings.mis.max_load) / 100, saved_for=_SAVED_FOR, clock=clock)
    busy = mis.busy_seconds
    with comparison.progress(f"reading {look.document.name}", 0) as advance:
        for page in run.pages(look):
            tally.add(page)
            advance(page.done, page.total)
            pace.spent(mis.busy_seconds - busy)
            busy = mis.busy_seconds
            clock.wait(never, pace.wait())
    return tally


@contextlib.contextmanager
def _kiva_list(settings: Settings) -> Iterator[tuple[Outbox, lookup.Lists]]:
    """What Kiva lists now, in an outbox that is thrown away; and its lists of words."""
    with tempfile.TemporaryDirectory(prefix="kiva-relay-backfill-") as folder:
        asking = Relay(_elsewhere(settings, Path(folder)), [])
        asking.open()
        try:
            with frame.working("asking Kiva what it has"):
                Refresher(asking.context).look()
            with asking.outbox.read() as tx:
                lists = lookup.Lists.of(catalogue.load(tx))
            yield asking.outbox, lists
        finally:
            asking.close()


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


def _show(tallies: Mapping[str, Tally], *, asked: bool) -> None:
    for name, tally in tallies.items():
        frame.say(f"  {name:<26} {counted(tally.rows, 'row')} in scope")
        for outcome, what in _WORDS.items():
            if (number := tally.outcomes[outcome]) or outcome in _ALWAYS_SAID:
                frame.say(f"  {'':<26} {number:>8,}  {what}")
        for reason, loans in tally.by_number(tally.reasons)[:_REASONS]:
            frame.say(f"  {'':<26} {'':>8}    {len(loans):,}  {refusal.sentence(tally.examples[reason])}")
    frame.say()
    if not asked:
        frame.say("  Kiva's list of loans could not be read: what it has already is counted as owed.")
    frame.say("  Nothing was written or sent.     Every reason, with all loans: kiva-relay rehearse")


def _json(tally: Tally) -> dict[str, object]:
    reasons = [
        {
            "code": reason.code,
            "field": tally.examples[reason].field,
            "number": len(loans),
            "params": personal.safe(tally.examples[reason]).params,
        }
        for reason, loans in tally.by_number(tally.reasons)
    ]
    return {
        "rows": tally.rows,
        **{outcome.value: tally.outcomes[outcome] for outcome in TrialOutcome},
        "reasons": reasons,
    }
