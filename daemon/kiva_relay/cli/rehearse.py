"""`kiva-relay rehearse`: the whole book mapped, with every reason counted, and sent to a stand-in on this machine.

Of a large book some thousands are sent: a request costs as much as one to Kiva, and the stand-in keeps what it takes.
"""

import contextlib
import io
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from kiva_relay import log
from kiva_relay.capture import trial
from kiva_relay.capture.trial import Tally, TrialOutcome, TrialPage
from kiva_relay.cli import comparison, frame, mappings
from kiva_relay.clock import SystemClock
from kiva_relay.config.secret import Secret
from kiva_relay.config.settings import Settings
from kiva_relay.errors import UsageError, counted
from kiva_relay.outbox import listing
from kiva_relay.outbox.state import State
from kiva_relay.resource import body as bodies
from kiva_relay.resource import refusal
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.sandbox import server
from kiva_relay.sandbox.config import Delays, SandboxConfig
from kiva_relay.service import opening
from kiva_relay.service.relay import Relay
from kiva_relay.words import personal

_IDS = 3
_REASONS = 12
_ALWAYS = 100
_ENOUGH = 2_000
"""Requests to the stand-in, and what was begun by then."""


def command(
    config: frame.Config = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write every body there. They contain names: delete it afterwards."),
    ] = None,
    as_json: frame.AsJson = False,
) -> int:
    """Map all that the mappings cover, and send it to a stand-in for Kiva on this machine. Nothing leaves it.

    Of a large book some thousands are sent.

    The MIS is only read; the outbox of the relay is not touched. Every reason for which something would not be sent
    is counted. Exit code 1 when something would be refused.
    """
    settings = frame.load(config)
    if not as_json:
        frame.header(settings)
        frame.say("Reads your MIS, maps all that the mappings cover, sends it to a stand-in for Kiva on this machine,")
        frame.say(f"of a large book {_ENOUGH:,} requests.")
        frame.say("Nothing leaves it.")
    if out is not None:
        _prepare(out)
    tallies, busy = _read(settings, out)
    taken = _send(settings)
    if as_json:
        frame.print_json({name: _json(tally, taken.get(name, {})) for name, tally in tallies.items()})
    else:
        frame.say(f"  {counted(sum(tally.rows for tally in tallies.values()), 'row')} read (MIS time {busy:.1f} s)")
        is_part = sum(states.get(State.DELIVERED.value, 0) for states in taken.values()) >= _ENOUGH
        for name, tally in tallies.items():
            _show(name, tally, taken.get(name, {}), is_part=is_part)
        if out is None:
            frame.say()
            frame.say("  Every body: kiva-relay rehearse --out DIR   (contains names; delete it afterwards)")
    return 1 if any(tally.outcomes[TrialOutcome.REFUSED] for tally in tallies.values()) else 0


# ---------------------------------------------------------------- mapping


def _read(settings: Settings, out: Path | None) -> tuple[dict[str, Tally], float]:
    """What becomes of every row in scope, by resource; and how long the MIS was busy with it, in seconds."""
    documents = mappings.load(settings)
    lists, now = comparison.lists(settings), frame.now()
    tallies: dict[str, Tally] = {name: Tally() for name in RESOURCES if name in settings.resources}
    with contextlib.closing(opening.open_mis(settings, clock=SystemClock())) as mis:
        wrong = mappings.verified(documents, mis)
        if wrong is not None and mappings.severe(wrong.mistakes):
            raise wrong
        run = trial.Trial(mis, listed=None)
        for document in documents:
            look = trial.look(document, _everything(settings), lists=lists, now=now, first_start=now)
            with comparison.progress(f"reading {document.name}", 0) as advance:
                for page in run.pages(look):
                    tallies[document.resource].add(page)
                    advance(page.done, page.total)
                    if out is not None:
                        _write(out, document.name, page)
        return tallies, mis.busy_seconds


def _prepare(out: Path) -> None:
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=False)
    except FileExistsError:
        raise UsageError(f"{out} is there already; bodies go into a folder of their own.") from None
    except OSError as error:
        raise UsageError(f"{out} cannot be made: {error.strerror}.") from None


def _write(out: Path, name: str, page: TrialPage) -> None:
    for row in page.rows:
        if row.outcome is not TrialOutcome.OWED or row.mapped.body is None:
            continue
        safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in row.key)
        handle = os.open(out / f"{name}-{safe}.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(bodies.encode(row.mapped.body))


# ---------------------------------------------------------------- sending


def _send(settings: Settings) -> dict[str, dict[str, int]]:
    """The real relay with an outbox of its own towards the stand-in; of each resource how many reached which state."""
    log.configure("text", stream=cast("TextIO", _Silence()))
    pace = Delays(publish_after=timedelta(0), fund_after=timedelta(0))
    with (
        tempfile.TemporaryDirectory(prefix="kiva-relay-rehearse-") as folder,
        server.start(server.plain(SandboxConfig(partner=settings.kiva.partner_id, coordinator=pace))) as pa2,
    ):
        rehearsal = _rehearsal(settings, pa2.url, Path(folder))
        relay = Relay(rehearsal, mappings.load(rehearsal))
        relay.open()
        try:
            with frame.working("sending to the stand-in"):
                relay.once(enough=_ENOUGH)
                # What was published meanwhile lets journals and positions follow.
                relay.time.wait(threading.Event(), 1.1)
                relay.once(enough=_ENOUGH)
            with relay.outbox.read() as tx:
                counts = listing.counts(tx)
        finally:
            relay.close()
    return {
        name: {state.value: number for state, number in states.items() if number} for name, states in counts.items()
    }


class _Silence(io.TextIOBase):
    """Where the lines of the rehearsing relay go: what matters of them is counted."""

    def write(self, text: str) -> int:
        """Forget it."""
        return len(text)


def _rehearsal(settings: Settings, url: str, folder: Path) -> Settings:
    """The same settings, towards the stand-in, with nothing kept back and nothing left behind."""
    now = timedelta(0)
    kiva = settings.kiva.model_copy(
        update={
            "environment": "sandbox",
            "api_url": url,
            "token_url": f"{url}/oauth/token",
            "audience": "kiva-sandbox",
            "client_secret": Secret("literal", "rehearsal"),
            "proxy": None,
            "ca": None,
            "send": True,
        }
    )
    outbox = settings.outbox.model_copy(
        update={"url": f"sqlite:///{folder / 'outbox.db'}", "password": None, "witness": folder / "witness.log"}
    )
    delivery = settings.delivery.model_copy(update={"hold_for": now, "brake": 10_000_000})
    return _everything(settings).model_copy(
        update={
            "kiva": kiva,
            "outbox": outbox,
            "delivery": delivery,
            "first_start": "send",
            "mirror": settings.mirror.model_copy(update={"refresh_every": timedelta(seconds=1)}),
        }
    )


def _everything(settings: Settings) -> Settings:
    """The same settings by which all of the book is owed on whatever day: all that is not older than a given day."""
    drafts, journals = (_reach(each.since) for each in (settings.loan_drafts, settings.journals))
    return settings.model_copy(
        update={
            "loan_drafts": settings.loan_drafts.model_copy(update={"since": drafts}),
            "journals": settings.journals.model_copy(update={"since": journals}),
            "repayments": settings.repayments.model_copy(update={"when": "continuous"}),
        }
    )


def _reach(since: str | date) -> str | date:
    """A day is a person's word for what is owed; before the first start nothing else is."""
    return since if isinstance(since, date) else "all"


# ---------------------------------------------------------------- showing


def _show(name: str, tally: Tally, taken: Mapping[str, int], *, is_part: bool) -> None:
    """`is_part`: not all of the book was sent."""
    good, refused, waiting = (
        tally.outcomes[one] for one in (TrialOutcome.OWED, TrialOutcome.REFUSED, TrialOutcome.WAITING)
    )
    frame.say()
    if name == "repayment":
        frame.say(
            f"  {name:<12} {counted(tally.rows, 'loan')} with a position, {refused:,} refused; which of them Kiva"
        )
        frame.say(f"  {'':<12} expects is known only with Kiva's credentials")
    else:
        waits = f"   {waiting:,} not complete yet" if waiting else ""
        frame.say(f"  {name:<12} {tally.rows:,} in scope   {good:,} good   {refused:,} refused{waits}")
    if delivered := taken.get(State.DELIVERED.value):
        rest = "; that is enough to see that it goes, and no more were sent" if is_part and delivered < good else ""
        frame.say(f"  {'':<12} {delivered:,} taken by the stand-in{rest}")
    for line in (*_reasons(tally), *_warned(tally), *_full(name, tally)):
        frame.say(line)


def _reasons(tally: Tally) -> Iterator[str]:
    ordered = tally.by_number(tally.reasons)
    for reason, loans in ordered[:_REASONS]:
        yield f"  {len(loans):>6,}  {refusal.sentence(tally.examples[reason])}   {_some(loans)}"
        yield f"          → {refusal.remedy(tally.examples[reason])}"
    if len(ordered) > _REASONS:
        yield f"          and {counted(len(ordered) - _REASONS, 'reason')} more: --json"


def _warned(tally: Tally) -> Iterator[str]:
    for reason, loans in tally.by_number(tally.warnings)[:_REASONS]:
        if reason.code != "needed_to_publish":
            yield f"  {len(loans):>6,}  warning: {refusal.sentence(tally.examples[reason])}   {_some(loans)}"


def _some(loans: Sequence[str]) -> str:
    return " ".join(loans[:_IDS]) + (" …" if len(loans) > _IDS else "")


def _full(name: str, tally: Tally) -> Iterator[str]:
    """How full the drafts are: what is always there, and what only sometimes."""
    good = tally.outcomes[TrialOutcome.OWED]
    if name != "loan_draft" or not good:
        return
    share = {each.name: round(_ALWAYS * tally.filled[each.name] / good) for each in RESOURCES[name].fields}
    yield f"          how full they are   always: {', '.join(each for each, part in share.items() if part == _ALWAYS)}"
    for each, part in share.items():
        if 0 < part < _ALWAYS:
            yield f"          {'':<20}{part} %: {each}"
    yield f"          {'':<20}never: {', '.join(each for each, part in share.items() if part == 0) or 'none'}"


def _json(tally: Tally, taken: Mapping[str, int]) -> dict[str, Any]:
    return {
        "in_scope": tally.rows,
        "good": tally.outcomes[TrialOutcome.OWED],
        "refused": tally.outcomes[TrialOutcome.REFUSED],
        "waiting": tally.outcomes[TrialOutcome.WAITING],
        "in_the_stand_in": dict(taken),
        "reasons": [
            {
                "code": reason.code,
                "about": reason.about,
                "number": len(loans),
                "loans": loans,
                "params": personal.safe(tally.examples[reason]).params,
            }
            for reason, loans in tally.by_number(tally.reasons)
        ],
        "warnings": [
            {"code": reason.code, "field": reason.about, "number": len(loans), "loans": loans}
            for reason, loans in tally.by_number(tally.warnings)
        ],
        "filled": dict(tally.filled),
    }
