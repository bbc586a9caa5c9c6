"""What was sent of one loan, and what persons did: in plain words, oldest or newest first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from kiva_relay.account import copies
from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import act, decision, history, listing, settlement
from kiva_relay.outbox.act import Done
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.history import History
from kiva_relay.outbox.person import Person
from kiva_relay.outbox.state import State
from kiva_relay.page import act as act_of_page
from kiva_relay.page.button import Button
from kiva_relay.terminal import visible
from kiva_relay.words.language import Language

_MOST_ACTS = 200
_PERIOD = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_SHOWN = ("what", "loan", "kiva_id")
WHAT = ("all", "loan_draft", "repayment", "journal")
"""What can be held and released, in words; a stream is named by its mapping."""
OUTCOMES = ("accepted", "refused", "not_processed", "in_doubt")
VERBS = (
    "adopt",
    "hold",
    "release",
    "reload",
    "review_done",
    "watermark_set",
    "settle_delivered",
    "settle_resend",
    "settle_discard",
    "review_corrected",
    "review_deleted",
    "draft_another",
    "report_decide_send",
    "report_decide_keep",
    "report_decide_leave_out",
    "report_decide_value",
    "report_decide_is",
    "report_aliases_undo",
    "report_finalised",
    "report_reopen",
    "report_send",
    "reconcile_done",
    "outbox_forget",
    "page_user_add",
    "page_user_remove",
    "backfill",
    "sweep",
)
"""Acts that have words; the others are shown as they were typed."""


@dataclass(frozen=True)
class Happened:
    """One thing that happened: when, to which number or by whom, what; a person's own words in `note`."""

    when: str
    number: str
    text: str
    note: str = ""
    about: str = ""


@dataclass(frozen=True)
class LoanShown:
    """The life of one loan as far as the relay knows it. `comes_to`: how often it can be at Kiva.

    `settles` is what an administrator may say of it.
    """

    loan_id: str
    happened: tuple[Happened, ...]
    comes_to: tuple[str, ...]
    settles: tuple[Button, ...] = ()


def loan(
    tx: Connection, wanted: str, settings: Settings, person: Person, spoken: Language, *, now: datetime
) -> LoanShown | None:  # fmt: skip
    """All that was owed for a loan, by the id that PA2 shows; None when the relay does not know it."""
    known = [history.of_entry(tx, entry) for entry in listing.of_loan(tx, wanted)] if wanted else []
    if not known:
        return None
    zone = settings.mis.timezone
    loan_id = known[-1].entry.loan_id
    found = [event for one in known for event in _events(one, spoken)]
    events = sorted([*found, *_decided(tx, loan_id, spoken)], key=lambda one: one[0])
    return LoanShown(
        loan_id,
        tuple(Happened(spoken.moment(at, zone, at=now), number, text, note) for at, number, text, note in events),
        tuple(spoken.say(f"page.copies.{one.possible.value}.{one.resource}") for one in copies.copies(known)),
        settles=_settles(tx, [one.entry for one in known], person, spoken),
    )


def _settles(tx: Connection, entries: Sequence[Entry], person: Person, spoken: Language) -> tuple[Button, ...]:
    """What an administrator may say of each version, also where nobody is asked."""
    if person.role != "administrator":
        return ()
    return tuple(
        Button(verb, f"{spoken.handle(entry.id)} {spoken.say(f'page.{verb}')}", act_of_page.seen([entry]))
        for entry in entries
        for verb in settlement.possible(tx, entry)
        if not (verb == "resend" and entry.state is State.DELIVERED)  # first deleted in PA2: asked with the drafts
    )


def acts(tx: Connection, settings: Settings, spoken: Language, *, now: datetime) -> list[Happened]:
    """What persons did, the newest first."""
    zone = settings.mis.timezone
    return [
        Happened(
            spoken.moment(one.at, zone, at=now),
            act.who(one.person),
            _verb(one.verb, spoken),
            one.note,
            _about(one, spoken),
        )
        for one in act.latest(tx, most=_MOST_ACTS)
    ]


def _about(one: Done, spoken: Language) -> str:
    """What an act was about: the number of an entry, a report, a loan, what was held; empty where nothing says."""
    about = one.about if isinstance(one.about, Mapping) else {}
    said = [spoken.handle(number)] if isinstance(number := about.get("entry"), int) else []
    period = about.get("period")
    if isinstance(period, str) and _PERIOD.fullmatch(period):
        said.append(spoken.month(period))
    said += [_shown(str(about[name]), spoken) for name in _SHOWN if about.get(name)]
    return " · ".join(said)


def _shown(written: str, spoken: Language) -> str:
    return spoken.say(f"page.what.{written}") if written in WHAT else visible.text(written)


def _decided(tx: Connection, loan_id: str, spoken: Language) -> Iterator[tuple[datetime, str, str, str]]:
    """What persons decided about a loan of a report."""
    for one in decision.of_loan(tx, loan_id):
        said = _verb(f"report decide --{one.verb}", spoken)
        yield one.at, spoken.month(one.period) if one.period else "", spoken.label(act.who(one.person), said), one.note


def _events(one: History, spoken: Language) -> Iterator[tuple[datetime, str, str, str]]:
    entry, number = one.entry, spoken.handle(one.entry.id)
    amount = spoken.amount(entry.amount, entry.currency)
    yield entry.created_at, number, spoken.say(f"page.seen.{entry.resource}", amount=amount), ""
    for tried in one.attempts:
        if tried.ended_at is None or tried.outcome not in OUTCOMES:
            yield tried.started_at, number, spoken.say("page.tried.open"), ""
        else:
            told = spoken.quoted(tried.detail) if tried.detail and tried.outcome == "refused" else ""
            yield tried.ended_at, number, f"{spoken.say(f'page.tried.{tried.outcome}')} {told}".strip(), ""
    for done in one.acts:
        yield done.at, number, spoken.label(act.who(done.person), _verb(done.verb, spoken)), done.note
    for differs in one.divergences:
        yield differs.since, number, spoken.say(f"page.differs.{differs.kind}"), ""
    if entry.settled_at is not None and entry.state.value in ("superseded", "withdrawn", "discarded"):
        yield entry.settled_at, number, spoken.say(f"page.ended.{entry.state.value}"), ""
    elif entry.evidence in ("adopted", "look_up") and entry.settled_at is not None:
        yield entry.settled_at, number, spoken.say(f"page.ended.{entry.evidence}"), ""


def _verb(verb: str, spoken: Language) -> str:
    """A person's act in words; the command as it was typed where we have none."""
    named = verb.replace("--", "").replace(" ", "_").replace("-", "_")
    return spoken.say(f"page.verb.{named}") if named in VERBS else verb
