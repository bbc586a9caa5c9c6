"""`kiva-relay rehearse`: the whole book into a stand-in for Kiva on this machine, with every reason counted."""

import io
import os
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from kiva_relay import log
from kiva_relay.cli import comparison, frame, mappings
from kiva_relay.clock import SystemClock
from kiva_relay.config.secret import Secret
from kiva_relay.config.settings import Settings
from kiva_relay.errors import UsageError, counted
from kiva_relay.mapping import book, mapper
from kiva_relay.mapping.plan import Document
from kiva_relay.outbox import listing
from kiva_relay.outbox.state import State
from kiva_relay.resource import body as bodies
from kiva_relay.resource import refusal
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.resource.refusal import Refusal
from kiva_relay.sandbox import server
from kiva_relay.sandbox.config import Delays, SandboxConfig
from kiva_relay.service import opening
from kiva_relay.service.relay import Relay
from kiva_relay.source.mis import Mis

_IDS = 3
_REASONS = 12
_ALWAYS = 100


@dataclass
class _Tally:
    """What a resource's mappings make of the book."""

    rows: int = 0
    good: int = 0
    waiting: int = 0
    reasons: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    examples: dict[tuple[str, str], Refusal] = field(default_factory=dict)
    warnings: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    filled: Counter[str] = field(default_factory=Counter)

    @property
    def refused(self) -> int:
        """How many are refused, for whatever reasons."""
        return self.rows - self.good - self.waiting


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

    The MIS is only read; the outbox of the relay is not touched. Every reason for which something would not be sent
    is counted. Exit code 1 when something would be refused.
    """
    settings = frame.load(config)
    if not as_json:
        frame.header(settings)
        frame.say("Reads your MIS, maps all that the mappings cover, sends it to a stand-in for Kiva on this machine.")
        frame.say("Nothing leaves it.")
    if out is not None:
        _prepare(out)
    tallies, busy = _read(settings, out)
    taken = _send(settings)
    if as_json:
        frame.print_json({name: _json(tally, taken.get(name, {})) for name, tally in tallies.items()})
    else:
        frame.say(f"  {counted(sum(tally.rows for tally in tallies.values()), 'row')} read (MIS time {busy:.1f} s)")
        for name, tally in tallies.items():
            _show(name, tally, taken.get(name, {}))
        if out is None:
            frame.say()
            frame.say("  Every body: kiva-relay rehearse --out DIR   (contains names; delete it afterwards)")
    return 1 if any(tally.refused for tally in tallies.values()) else 0


# ---------------------------------------------------------------- mapping


def _read(settings: Settings, out: Path | None) -> tuple[dict[str, _Tally], float]:
    """Every row in scope through its mapping; and how long the MIS was busy with it, in seconds."""
    documents = mappings.load(settings)
    context = comparison.context(settings)
    tallies: dict[str, _Tally] = {name: _Tally() for name in RESOURCES if name in settings.resources}
    mis = opening.open_mis(settings, clock=SystemClock())
    try:
        wrong = mappings.verified(documents, mis)
        if wrong is not None and mappings.severe(wrong.mistakes):
            raise wrong
        for document in documents:
            _through(tallies[document.resource], document, mis, context, out)
        return tallies, mis.busy_seconds
    finally:
        mis.close()


def _through(tally: _Tally, document: Document, mis: Mis, context: mapper.Context, out: Path | None) -> None:
    total, done = mis.count(document.stream), 0
    with comparison.progress(f"reading {document.name}", total) as advance:
        for page in book.contents(document.stream, mis, cutoff=context.cutoff):
            for content in page:
                mapped = mapper.apply(document, content, context=context)
                _count(tally, mapped)
                if out is not None and mapped.body is not None:
                    _write(out, document.name, content.key, mapped.body)
            done += len(page)
            advance(done)


def _count(tally: _Tally, mapped: mapper.Mapped) -> None:
    loan = mapped.loan_id or mapped.identity or "?"
    tally.rows += 1
    tally.waiting += mapped.waiting is not None
    for reason in mapped.refusals:
        kind = (reason.code, reason.params.get("value") or _without_numbers(reason.field))
        tally.reasons[kind].append(loan)
        tally.examples.setdefault(kind, reason)
    if mapped.body is not None:
        tally.good += 1
        tally.filled.update(mapped.body.keys())
    for warning in mapped.warnings:
        kind = (warning.code, _without_numbers(warning.field))
        if loan not in tally.warnings[kind][-1:]:
            tally.warnings[kind].append(loan)
        tally.examples.setdefault(kind, warning)


def _without_numbers(path: str) -> str:
    return "".join(part.partition("]")[2] if number else part for number, part in enumerate(path.split("[")))


def _prepare(out: Path) -> None:
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=False)
    except FileExistsError:
        raise UsageError(f"{out} is there already; bodies go into a folder of their own.") from None
    except OSError as error:
        raise UsageError(f"{out} cannot be made: {error.strerror}.") from None


def _write(out: Path, name: str, key: str, body: Mapping[str, Any]) -> None:
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in key)
    handle = os.open(out / f"{name}-{safe}.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(bodies.encode(body))


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
                relay.once()
                # What was published meanwhile lets journals and positions follow.
                relay.time.wait(threading.Event(), 1.1)
                relay.once()
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
    return settings.model_copy(
        update={
            "kiva": kiva,
            "outbox": outbox,
            "delivery": delivery,
            "first_start": "send",
            "loan_drafts": settings.loan_drafts.model_copy(update={"since": "all"}),
            "journals": settings.journals.model_copy(update={"since": "all"}),
            "repayments": settings.repayments.model_copy(update={"when": "continuous"}),
            "mirror": settings.mirror.model_copy(update={"refresh_every": timedelta(seconds=1)}),
        }
    )


# ---------------------------------------------------------------- showing


def _show(name: str, tally: _Tally, taken: Mapping[str, int]) -> None:
    frame.say()
    if name == "repayment":
        frame.say(
            f"  {name:<12} {counted(tally.rows, 'loan')} with a position, {tally.refused:,} refused; which of them Kiva"
        )
        frame.say(f"  {'':<12} expects is known only with Kiva's credentials")
    else:
        waits = f"   {tally.waiting:,} not complete yet" if tally.waiting else ""
        frame.say(f"  {name:<12} {tally.rows:,} in scope   {tally.good:,} good   {tally.refused:,} refused{waits}")
    if taken.get(State.DELIVERED.value):
        frame.say(f"  {'':<12} {taken[State.DELIVERED.value]:,} taken by the stand-in")
    for line in (*_reasons(tally), *_warned(tally), *_full(name, tally)):
        frame.say(line)


def _reasons(tally: _Tally) -> Iterator[str]:
    ordered = _ordered(tally.reasons)
    for kind, loans in ordered[:_REASONS]:
        yield f"  {len(loans):>6,}  {refusal.sentence(tally.examples[kind])}   {_some(loans)}"
        yield f"          → {refusal.remedy(tally.examples[kind])}"
    if len(ordered) > _REASONS:
        yield f"          and {counted(len(ordered) - _REASONS, 'reason')} more: --json"


def _warned(tally: _Tally) -> Iterator[str]:
    for kind, loans in _ordered(tally.warnings)[:_REASONS]:
        if kind[0] != "needed_to_publish":
            yield f"  {len(loans):>6,}  warning: {refusal.sentence(tally.examples[kind])}   {_some(loans)}"


def _ordered(found: Mapping[tuple[str, str], list[str]]) -> list[tuple[tuple[str, str], list[str]]]:
    return sorted(found.items(), key=lambda one: -len(one[1]))


def _some(loans: Sequence[str]) -> str:
    return " ".join(loans[:_IDS]) + (" …" if len(loans) > _IDS else "")


def _full(name: str, tally: _Tally) -> Iterator[str]:
    """How full the drafts are: what is always there, and what only sometimes."""
    if name != "loan_draft" or not tally.good:
        return
    share = {each.name: round(_ALWAYS * tally.filled[each.name] / tally.good) for each in RESOURCES[name].fields}
    yield f"          how full they are   always: {', '.join(each for each, part in share.items() if part == _ALWAYS)}"
    for each, part in share.items():
        if 0 < part < _ALWAYS:
            yield f"          {'':<20}{part} %: {each}"
    yield f"          {'':<20}never: {', '.join(each for each, part in share.items() if part == 0) or 'none'}"


def _json(tally: _Tally, taken: Mapping[str, int]) -> dict[str, Any]:
    reasons: Sequence[dict[str, Any]] = [
        {
            "code": code,
            "about": about,
            "number": len(loans),
            "loans": loans,
            "sentence": refusal.sentence(tally.examples[code, about]),
        }
        for (code, about), loans in _ordered(tally.reasons)
    ]
    warnings = [
        {"code": code, "field": path, "number": len(loans), "loans": loans}
        for (code, path), loans in _ordered(tally.warnings)
    ]
    return {
        "in_scope": tally.rows,
        "good": tally.good,
        "refused": tally.refused,
        "waiting": tally.waiting,
        "in_the_stand_in": dict(taken),
        "reasons": reasons,
        "warnings": warnings,
        "filled": dict(tally.filled),
    }
