"""What a hold means to a person: why, what it keeps back, what happens if nobody acts, and what to type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kiva_relay import errors
from kiva_relay.cli import frame, words
from kiva_relay.config.settings import RESOURCES, Settings
from kiva_relay.outbox import hold
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.listing import Kept

GRAVE = ("restored_outbox", "witness_missing", "mis_went_back")
"""Here the relay may be wrong about what is at Kiva: whoever releases without looking may send twice."""

_FIRST_LOOK = 5
_DOUBTS = "Settle what is in doubt first:    sudo kiva-relay outbox list --state in_doubt"
_KNOWN: Mapping[str, tuple[str, ...]] = {
    "first_start": (
        "A draft that somebody typed into PA2 and did not publish is not seen at Kiva: it may be among them.",
    ),
    "first_report": ("Compare some amounts with last month's report before you release it.",),
    "brake": (
        "{number} became owed within {within}; delivery.brake is {brake}.",
        "Was it an import, or a mistake in the MIS?",
    ),
    "many_in_doubt": (_DOUBTS,),
    "values_vanished": (
        "Always filled until now, and empty in {empty} of the last {of} rows: {columns}.",
        "Was the MIS upgraded, or a form changed? Then correct the mapping, or the rows; what waits follows by itself.",
        "Is it as it should be? Then release it: what is usual now is learnt anew.",
        "One of them:       sudo kiva-relay mapping preview",
    ),
    "many_refusals": ("What Kiva said:   sudo kiva-relay outbox list --state refused",),
    "restored_outbox": (
        "Last attempt in the outbox: {outbox}; in the witness: {witness}. Was a backup put back, or the outbox lost?",
        "Taken from the witness: {delivered} delivered; {in_doubt} in doubt, for a person; {positions} positions that",
        "are sent anew. What persons decided since the backup was made is forgotten: it has to be decided again.",
        "What stays open:   sudo kiva-relay outbox recover",
    ),
    "witness_missing": (
        "It was {file}. Without it, nobody would notice that an older outbox was put back.",
        "Was it moved, or outbox.witness changed? Then put it back, and:   sudo systemctl restart kiva-relay",
        "Was the outbox restored on a new machine? What it lacks is known in PA2 only; draft by draft that is there:",
        '                   sudo kiva-relay outbox adopt --csv in-pa2.csv --note "seen in PA2"',
        "What stays open:   sudo kiva-relay outbox recover",
    ),
    "mis_went_back": (
        "Was a backup of the MIS restored? Its next loan numbers may go to other borrowers. It is read anew.",
        "How far that is:   sudo kiva-relay watermark show",
        "What Kiva has and the MIS lost, or has under another row:   sudo kiva-relay review",
        'When the MIS is complete again, read all of it once more:   sudo kiva-relay watermark set --note "complete"',
    ),
    "scope_missing": ("Kiva has to grant: {scope}. Ask partner support.",),
}
"""What else is known of a reason; a hold's params are filled in."""


def explained(
    kept: Kept, settings: Settings, *, adopted: Mapping[str, int], now: datetime, also: Sequence[str] = ()
) -> list[str]:
    """The sentence, then lines: what is known, what follows if nobody acts, what to type.

    `also` is what else is held for the same reason, with nothing to send.
    """
    held = kept.hold
    since = frame.moment(held.since, settings, at=now)
    sentence = f"{named(held.what).capitalize()}: {held.sentence} (since {since})."
    if held.reason == "first_start":
        place = settings.kiva.environment
        sentence = f"First start with this Kiva ({place}): {named(held.what)} {_wait(held.what)} for a person's look."
    lines = [f"Ready, and kept back: {words.counted(kept.ready)}. Nothing is lost; the MIS is read on."]
    lines += known(held, adopted)
    if held.allowance:
        lines.append(f"{held.allowance:,} of them may still pass (released with --limit).")
    if also:
        lines.append(f"Held for the same reason, with nothing ready: {words.joined(also)}.")
    return [sentence, *lines, *_ways_out(kept)]


def named(what: str) -> str:
    """`everything`, `loan drafts`, `the mapping loan_draft.group`."""
    if what == hold.ALL:
        return "everything"
    if what.startswith(hold.STREAM):
        return f"the mapping {what.removeprefix(hold.STREAM)}"
    return words.noun(what, 2)


def target(written: str, streams: list[str]) -> str:
    """What is to be held or released: `all`, a resource, or `stream:NAME`.

    Raises:
        UsageError: there is nothing of this name; names the nearest.
    """
    text = written.strip()
    if text.lower() == hold.ALL:
        return hold.ALL
    if text.lower().replace("-", "_").removesuffix("s") in RESOURCES:
        return frame.resource(text)  # a mapping may be called like its resource: then it is stream:NAME
    name = text.removeprefix(hold.STREAM)
    if name in streams:
        return hold.STREAM + name
    known = [hold.ALL, *RESOURCES, *(hold.STREAM + stream for stream in streams)]
    near = errors.nearest(text, [*known, *streams], limit=1)
    raise errors.UsageError(
        f"There is nothing called “{written}”: expected {words.joined(known)}. Nothing was changed.",
        hint=f"Did you mean: {near[0]}" if near else None,
    )


def known(held: Hold, adopted: Mapping[str, int]) -> list[str]:
    """What the relay knows about this hold, beyond its reason."""
    if held.reason == "asked":
        return [f"{held.held_by} held it: “{held.note}”"]
    if held.reason == "destination_fault":
        return _fault(held.params)
    if held.reason in ("mapping_examined", "mapping_changes_much"):
        return _edited(held.params)
    if held.reason not in _KNOWN:
        return [f"{name}: {value}" for name, value in sorted(held.params.items())]
    params = defaultdict(lambda: "?", {name: str(value) for name, value in held.params.items()})
    lines = [line.format_map(params) for line in _KNOWN[held.reason]]
    if held.reason == "first_start" and adopted:
        lines.insert(0, f"At Kiva already, under the same loan id, and so not sent: {words.counted(adopted)}.")
    return lines


def _edited(params: Mapping[str, Any]) -> list[str]:
    """Which mapping, how much of what waited changes, and whether an upgrade did it."""
    mapping = params.get("mapping", "?")
    lines = []
    if "changed" in params:
        lines.append(f"{mapping} changes {params['changed']} of {params['waiting']} that waited.")
    if "base" in params:
        versions = f"version {params['before']} → {params['now']}"
        lines.append(f"Not edited here: the ready-made {params['base']} changed with the upgrade ({versions}).")
    return lines or [f"mapping: {mapping}"]


def _wait(what: str) -> str:
    return "waits" if what == hold.ALL or what.startswith(hold.STREAM) else "wait"


def _fault(params: Mapping[str, object]) -> list[str]:
    if "status" in params:
        return [
            f"Kiva answered {params['status']} to {params.get('path', 'the request')}. Nothing was processed.",
            "Look at kiva.partner_id, kiva.environment and the permissions that Kiva gave.",
        ]
    return [str(params[name]) for name in ("said", "hint") if params.get(name)]


def _ways_out(kept: Kept) -> list[str]:
    held = kept.hold
    if held.reason in hold.LIFTED_BY_ITSELF:
        return [
            "The relay asks again by itself and goes on as soon as Kiva agrees.",
            "Look closer:       sudo kiva-relay check",
        ]
    lines = ["It stays so until somebody releases it."]
    if kept.total:
        only = f" --resource {held.what}" if held.what in RESOURCES else ""
        lines.append(f"The list:          sudo kiva-relay outbox list --held{only}")
    release = f"sudo kiva-relay release {held.what}"
    if held.reason in ("first_start", "brake", "mapping_changes_much") and kept.total > _FIRST_LOOK:
        lines.append(f'Send a few first:  {release} --limit {_FIRST_LOOK} --note "a first look"')
    lines.append(f'Send all of it:    {release} --note "…"')
    return lines
