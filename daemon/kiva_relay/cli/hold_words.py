"""What a hold is in words: what is held and why, what is known of it, what follows if nobody acts, what to type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from kiva_relay import errors
from kiva_relay.account import health
from kiva_relay.account.finding import HeldBack
from kiva_relay.cli import figure, frame, words
from kiva_relay.config.settings import RESOURCES, Settings
from kiva_relay.outbox import hold
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.reason import Lifter
from kiva_relay.words import spoken
from kiva_relay.words.spoken import marked, tr

_FOLLOWS = {
    Lifter.KIVA: marked("Nothing to release: the relay asks Kiva again by itself, and goes on as soon as Kiva agrees."),
    Lifter.LIST: marked("Nothing to release: the relay lifts this by itself when it can read all of Kiva's list."),
    Lifter.CLOCK: marked(
        "Nothing to release: the relay lifts this by itself when the clocks agree, or Kiva says the hour."
    ),
    Lifter.COMPARISON: marked("Nothing to release: the relay lifts this by itself when it has compared all rows."),
    Lifter.PERSON: marked("Until somebody releases it, none of it is sent."),
}


_NAMED = {
    "journal": marked("journals"),
    "loan_draft": marked("loan drafts"),
    "repayment": marked("positions"),
}


def held(one: HeldBack, settings: Settings, *, now: datetime) -> tuple[str, list[str]]:
    """The sentence, and the lines below it."""
    kept, present = one.kept, one.kept.hold
    ready = words.counted(kept.ready)
    lines = [tr("Ready, and kept back: {what}. Nothing is lost; the MIS is still being read.", what=ready)]
    if one.adopted:
        there = words.counted(one.adopted)
        lines.append(tr("At Kiva already, under the same loan id, and so not sent: {what}.", what=there))
    lines += known(present)
    if present.allowance:
        lines.append(tr("{number} of them may still go (released with --limit).", number=present.allowance))
    if one.also:
        also = spoken.joined([*map(named, one.also)])
        lines.append(tr("Held for the same reason, with nothing ready: {what}.", what=also))
    lines.append(tr(*_FOLLOWS[present.why.lifter]))
    return sentence(present, settings, now=now), [*lines, *_to_type(one)]


def sentence(one: Hold, settings: Settings, *, now: datetime) -> str:
    """What is held and why, as `Loan drafts are held: a person asked for it (since 14:02:11).`."""
    since = figure.moment(one.since, settings, at=now)
    what, why = words.capital(named(one.what)), tr(one.why.words)
    if _is_one(one.what):
        return tr("{what} is held: {why} (since {since}).", what=what, why=why, since=since)
    return tr("{what} are held: {why} (since {since}).", what=what, why=why, since=since)


def known(one: Hold) -> list[str]:
    """What the relay knows about a hold beyond its reason, in lines."""
    return [line for paragraph in one.known(tr) for line in paragraph.splitlines()]


def named(what: str) -> str:
    """`everything`, `loan drafts`, `the mapping loan_draft.group`."""
    if what == hold.ALL:
        return tr("everything")
    if what.startswith(hold.STREAM):
        return tr("the mapping {name}", name=what.removeprefix(hold.STREAM))
    return tr(*_NAMED[what])


def target(written: str, streams: Iterable[str]) -> str:
    """What is to be held or released: `all`, a resource, or `stream:NAME`.

    Raises:
        UsageError: there is nothing of this name; names the nearest.
    """
    text, known_streams = written.strip(), list(streams)
    if text.lower() == hold.ALL:
        return hold.ALL
    if text.lower().replace("-", "_").removesuffix("s") in RESOURCES:
        return frame.resource(text)  # a mapping may be called like its resource: then it is stream:NAME
    name = text.removeprefix(hold.STREAM)
    if name in known_streams:
        return hold.STREAM + name
    expected = [hold.ALL, *RESOURCES, *(hold.STREAM + stream for stream in known_streams)]
    near = errors.nearest(text, [*expected, *known_streams], limit=1)
    raise errors.UsageError(
        f"There is nothing called “{written}”: expected {words.either(expected)}. Nothing was changed.",
        hint=f"Did you mean: {near[0]}" if near else None,
    )


def release(what: str, *, more: str = "", note: str = "…") -> str:
    """The command that releases something."""
    return f'kiva-relay release {what}{more} --note "{note}"'


def _is_one(what: str) -> bool:
    return what == hold.ALL or what.startswith(hold.STREAM)


def _to_type(one: HeldBack) -> Iterator[str]:
    kept, present = one.kept, one.kept.hold
    for about, command in present.why.look:
        yield words.to_type(tr(about), command)
    if kept.total:
        only = f" --resource {present.what}" if present.what in RESOURCES else ""
        yield words.to_type(tr("The list"), f"kiva-relay outbox list --held{only}")
    if present.why.lifts_itself:
        return
    if one.few_first:
        few = release(present.what, more=f" --limit {health.FEW}", note="a first look")
        yield words.to_type(tr("Send a few first"), few)
    yield words.to_type(tr(present.why.release), release(present.what))
