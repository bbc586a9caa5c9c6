"""`kiva-relay release WHAT`: send what was held, all of it or a few first. Shows what it releases, asks once."""

from typing import Annotated

import typer
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.cli import frame, health, held, words
from kiva_relay.cli.hold import What
from kiva_relay.config.settings import RESOURCES, Settings
from kiva_relay.outbox import act, heartbeat, hold, listing
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.listing import Filter, Kept

_SHOWN = 10

Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Let only so many go; the rest stays held.")
]


def command(
    what: What,
    config: frame.Config = None,
    *,
    limit: Limit = None,
    note: frame.Note = "",
    yes: frame.Yes = False,
    as_json: frame.AsJson = False,
) -> int:
    """Send what was held. With --limit a few go first, and the rest stays held."""
    note = words.why_is_said(note)
    settings = frame.load(config)
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            chosen = held.target(what, listing.streams(tx))
            concerned = _concerned(tx, chosen)
            _possible(tx, what, chosen, concerned, limit=limit)
        if not as_json:
            frame.header(settings)
            _show(outbox, settings, chosen, concerned, limit=limit)
        number = f"at most {limit:,}" if limit else "all"
        if not frame.agreed(f"Release {held.named(chosen)}, {number} of what is ready?", yes=yes):
            frame.say("Nothing was released. Everything stays as it was.")
            return 0
        with outbox.begin() as tx:
            released = _release(tx, chosen, concerned, note=note, limit=limit)
            left = listing.held(tx)
            runs = health.is_alive(heartbeat.read(tx), frame.now())
    if as_json:
        frame.print_json({"released": chosen, "limit": limit, "holds": released, "still_held": left})
        return 0
    _said(chosen, limit=limit, left=left, runs=runs)
    return 0


def _concerned(tx: Connection, chosen: str) -> list[Kept]:
    """The holds that keep back what was named: its own, and for a resource also those on everything."""
    whats = (chosen, hold.ALL) if chosen in RESOURCES else (chosen,)
    return [kept for kept in listing.kept_back(tx) if kept.hold.what in whats]


def _possible(tx: Connection, written: str, chosen: str, concerned: list[Kept], *, limit: int | None) -> None:
    if not concerned:
        others = sorted({held_.what for held_ in hold.in_force(tx)})
        hint = "\n".join(f'sudo kiva-relay release {other} --note "…"' for other in others)
        raise errors.UsageError(
            f"Nothing holds {held.named(chosen)}" + (f"; held are: {words.joined(others)}." if others else "."),
            hint=hint or "kiva-relay status",
        )
    if limit is not None and chosen.startswith(hold.STREAM):
        raise errors.UsageError(
            f"--limit counts entries of a resource; {written} is a mapping. Nothing was released.",
            hint=f'sudo kiva-relay release {chosen} --note "…"',
        )


def _show(outbox: Outbox, settings: Settings, chosen: str, concerned: list[Kept], *, limit: int | None) -> None:
    """What would go: a verb that is always the answer gets scripted, so it shows what it does."""
    for kept in concerned:
        word = "STOPPED" if kept.hold.reason in held.GRAVE else "HELD"
        since = frame.moment(kept.hold.since, settings)
        frame.verdict(word, f"{held.named(kept.hold.what).capitalize()}: {kept.hold.sentence} (since {since}).")
    chosen_filter = Filter(
        held=True,
        resource=chosen if chosen in RESOURCES else None,
        stream=chosen.removeprefix(hold.STREAM) if chosen.startswith(hold.STREAM) else None,
    )
    with outbox.read() as tx:
        page = listing.entries(tx, chosen_filter, limit=min(limit or _SHOWN, _SHOWN))
    frame.say()
    if not page.total:
        frame.say("  Nothing is ready at present. What comes later goes without asking.")
    for entry in page.entries:
        money = frame.amount(entry.amount, entry.currency)
        frame.say(f"  {entry.loan_id}   n° {entry.id}   {words.noun(entry.resource)}   {money}".rstrip())
    rest = page.total - len(page.entries)
    if rest > 0:
        frame.say(f"  and {rest:,} more:   sudo kiva-relay outbox list --held")
    frame.say()
    frame.say(f"  What Kiva accepts cannot be taken back from here. Towards: {settings.kiva.environment.upper()}")


def _release(tx: Connection, chosen: str, shown: list[Kept], *, note: str, limit: int | None) -> list[str]:
    """Release the holds that were shown, no newer ones; one on everything is first divided by resource."""
    now, person = frame.now(), frame.person()
    reasons = sorted({kept.hold.reason for kept in shown})
    for kept in shown:
        if kept.hold.what == hold.ALL != chosen:
            _divide(tx, kept.hold, by=person)
    for reason in reasons:
        hold.release(tx, chosen, by=person, note=note, now=now, limit=limit, reason=reason)
    about = {"what": chosen, "limit": limit, "reasons": reasons}
    act.record(tx, by=person, verb="release", about=about, note=note, now=now)
    return reasons


def _divide(tx: Connection, everything: hold.Hold, *, by: str) -> None:
    """A hold on everything becomes the same hold on each resource, so that one of them can be released."""
    for resource in RESOURCES:
        hold.put(
            tx,
            resource,
            everything.reason,
            now=everything.since,
            params=everything.params,
            by=everything.held_by,
            note=everything.note,
        )
    hold.release(tx, hold.ALL, by=by, note="divided by resource", now=frame.now(), reason=everything.reason)


def _said(chosen: str, *, limit: int | None, left: dict[str, int], runs: bool) -> None:
    number = "All that is due goes" if limit is None else f"At most {limit:,} may go"
    when = "within seconds" if runs else "when the relay runs (it does not: sudo systemctl start kiva-relay)"
    frame.say(f"Released: {held.named(chosen)}. {number}, each once, {when}.")
    if limit is not None:
        frame.say("The rest stays held until it is released.")
    if left:
        frame.say(f"Still held, and not sent: {words.counted(left)}. Nothing is lost.")
    frame.say("See what becomes of it:   sudo kiva-relay status")
