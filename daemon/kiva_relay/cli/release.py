"""`kiva-relay release WHAT`: send what was held, all of it or a few first. Shows what it releases, asks once."""

from collections.abc import Mapping
from typing import Annotated

import typer
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.account import release
from kiva_relay.account.release import ReleasePlan
from kiva_relay.cli import figure, frame, hold_words, release_mirror, words
from kiva_relay.cli.hold import What
from kiva_relay.config.settings import RESOURCES, Settings
from kiva_relay.outbox import act, heartbeat, hold, listing
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.listing import Filter, Kept
from kiva_relay.outbox.reason import Lifter

_SHOWN = 10

_LIFTED: Mapping[Lifter, str] = {
    Lifter.KIVA: "the relay asks Kiva again by itself, and goes on as soon as Kiva agrees",
    Lifter.LIST: "the relay reads Kiva's list again by itself, and goes on as soon as all of it can be read",
    Lifter.CLOCK: "the relay goes on as soon as the clocks agree, or Kiva says the hour",
    Lifter.COMPARISON: "the relay is comparing all rows with the edited mapping, and lifts it when it has",
}

_INSTEAD: Mapping[Lifter, str] = {
    Lifter.KIVA: "kiva-relay check       shows what Kiva says",
    Lifter.LIST: "kiva-relay check       shows what Kiva says",
    Lifter.CLOCK: "timedatectl            shows whether the clock of this machine is set by the network",
    Lifter.COMPARISON: "kiva-relay status      shows how far it is",
}

Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Let N go; the rest stays held.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Also what the relay would lift itself, before it is sure.")]


def command(
    what: What,
    config: frame.Config = None,
    *,
    limit: Limit = None,
    anyway: Anyway = False,
    note: frame.Note = "",
    yes: frame.Yes = False,
    as_json: frame.AsJson = False,
) -> int:
    """Send what was held. With --limit a few go first, and the rest stays held.

    What the relay lifts itself needs no release, and gets none without --anyway. `mirror` is Kiva's list of
    loans: where it lacks the same for three hours, it is taken as it is, and drafts go by what it lists.
    """
    note = words.why_is_said(note)
    settings = frame.load(config)
    if what.strip().lower() == release_mirror.WHAT:
        if limit is not None or anyway:
            raise errors.UsageError("--limit and --anyway do not belong to mirror. Nothing was released.")
        return release_mirror.command(settings, note=note, yes=yes, as_json=as_json)
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            chosen = hold_words.target(what, listing.streams(tx))
            plan = release.plan(listing.kept_back(tx), chosen, anyway=anyway)
            _must_be_possible(tx, settings, what, chosen, plan, limit=limit)
        if not as_json:
            frame.header(settings)
            _show(outbox, settings, chosen, plan, limit=limit)
        number = f"at most {limit:,}" if limit else "all"
        if not frame.agreed(f"Release {hold_words.named(chosen)}, {number} of what is ready?", yes=yes):
            frame.say("Nothing was released. Everything stays as it was.")
            return 0
        with outbox.begin() as tx:
            released = _release(tx, chosen, plan.go, note=note, limit=limit)
            left = listing.held(tx)
            runs = heartbeat.is_running(tx, frame.now())
    if as_json:
        stays = sorted(kept.hold.reason for kept in plan.stay)
        frame.print_json({"released": chosen, "limit": limit, "holds": released, "stay": stays, "still_held": left})
        return 0
    _said(chosen, limit=limit, left=left, runs=runs)
    return 0


def _must_be_possible(
    tx: Connection, settings: Settings, written: str, chosen: str, plan: ReleasePlan, *, limit: int | None
) -> None:
    if not plan.go and plan.stay:
        lifter = plan.stay[0].hold.why.lifter
        raise errors.UsageError(
            f"{hold_words.sentence(plan.stay[0].hold, settings, now=frame.now())} Nobody has to release it:"
            f" {_LIFTED[lifter]}. Nothing was released.",
            hint=f"{_INSTEAD[lifter]}\nTo release it all the same:   {hold_words.release(chosen, more=' --anyway')}",
        )
    if not plan.go:
        others = sorted({one.what for one in hold.in_force(tx) if not one.why.lifts_itself})
        names = words.joined(map(hold_words.named, others))
        raise errors.UsageError(
            f"Nothing holds {hold_words.named(chosen)}{f'. Held: {names}' if others else ''}. Nothing was released.",
            hint="\n".join(map(hold_words.release, others)) or "kiva-relay status",
        )
    if limit is not None and chosen.startswith(hold.STREAM):
        raise errors.UsageError(
            f"--limit counts entries of a resource; {written} is a mapping. Nothing was released.",
            hint=hold_words.release(chosen),
        )


def _show(outbox: Outbox, settings: Settings, chosen: str, plan: ReleasePlan, *, limit: int | None) -> None:
    """What would go: a verb that is always the answer gets scripted, so it shows what it does."""
    now = frame.now()
    for kept in plan.go:
        word = "STOPPED" if kept.hold.why.grave else "HELD"
        text = hold_words.sentence(kept.hold, settings, now=now)
        frame.verdict(word, "\n".join(filter(None, (text, kept.hold.why.released))))
    for kept in plan.stay:
        text = hold_words.sentence(kept.hold, settings, now=now)
        frame.verdict("HELD", f"{text}\nThis one stays: {_LIFTED[kept.hold.why.lifter]}.")
    chosen_filter = Filter(
        held=True,
        resource=chosen if chosen in RESOURCES else None,
        stream=chosen.removeprefix(hold.STREAM) if chosen.startswith(hold.STREAM) else None,
    )
    with outbox.read() as tx:
        page = listing.entries(tx, chosen_filter, limit=min(limit or _SHOWN, _SHOWN))
    frame.say()
    if not page.total:
        frame.say("  Nothing is ready now. What comes later goes without asking.")
    for entry in page.entries:
        money = figure.amount(entry.amount, entry.currency)
        frame.say(f"  {words.name(entry)}   {words.noun(entry.resource)}   {money}".rstrip())
    more = page.total - len(page.entries)
    if more > 0:
        frame.say(f"  and {more:,} more:   kiva-relay outbox list --held")
    frame.say()
    frame.say(f"  What Kiva accepts cannot be taken back from here. It goes to {settings.kiva.environment.upper()}.")


def _release(tx: Connection, chosen: str, shown: tuple[Kept, ...], *, note: str, limit: int | None) -> list[str]:
    """Release the holds that were shown, no newer ones; one on everything is first divided by resource."""
    now, person = frame.now(), frame.person()
    reasons = sorted({kept.hold.reason for kept in shown})
    for kept in shown:
        if kept.hold.what == hold.ALL != chosen:
            hold.divide(tx, kept.hold, by=person, now=now)
    for reason in reasons:
        hold.release(tx, chosen, by=person, note=note, now=now, limit=limit, reason=reason)
    about = {"what": chosen, "limit": limit, "reasons": reasons}
    act.record(tx, by=person, verb="release", about=about, note=note, now=now)
    return reasons


def _said(chosen: str, *, limit: int | None, left: Mapping[str, int], runs: bool) -> None:
    number = "All that is due goes" if limit is None else f"At most {limit:,} may go"
    when = "within seconds" if runs else "when the relay runs (it does not: sudo systemctl start kiva-relay)"
    frame.say(f"Released: {hold_words.named(chosen)}. {number}, each once, {when}.")
    if limit is not None:
        frame.say("The rest stays held until it is released.")
    if left:
        frame.say(f"Still held, and not sent: {words.counted(left)}. Nothing is lost.")
    frame.say("See what becomes of it:   kiva-relay status")
