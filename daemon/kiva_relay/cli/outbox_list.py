"""`kiva-relay outbox list`: what is owed to Kiva and what became of it, the most pressing first."""

import shlex
from datetime import datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from kiva_relay import errors
from kiva_relay.cli import figure, frame, words
from kiva_relay.config import duration
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import listing
from kiva_relay.outbox import state as states
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.listing import EntryPage, Filter

_FEW = 50
_COLUMNS = ("loan", "#", "what", "state", "since", "amount", "why")
_CSV = (
    "loan_id",
    "client_id",
    "number",
    "resource",
    "state",
    "changed_at",
    "amount",
    "currency",
    "publish_by",
    "code",
)

Resource = Annotated[str | None, typer.Option("--resource", metavar="NAME", help="loan_draft, repayment or journal.")]
State = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="STATE", help="For example in_doubt or refused; may be repeated."),
]
Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="CODE", help="Why it waits or was refused: a code, for example name_empty."),
]
Held = Annotated[bool, typer.Option("--held", help="Only what a hold keeps back.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="Changed since then: 2026-11-30, or 6h or 2d ago.")
]
Csv = Annotated[bool, typer.Option("--csv", help="Print all of it as CSV, for a spreadsheet.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show at most N.")]


def command(
    config: frame.Config = None,
    *,
    resource: Resource = None,
    state: State = None,
    reason: Reason = None,
    loan: frame.Loan = None,
    since: Since = None,
    held: Held = False,
    limit: Limit = _FEW,
    as_csv: Csv = False,
    as_json: frame.AsJson = False,
) -> None:
    """List what is owed to Kiva. Without filters: all that is not settled, the most pressing first."""
    settings = frame.load_to_look(config)
    chosen = chosen_by(settings, resource=resource, state=state, reason=reason, loan=loan, since=since, held=held)
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        page = listing.entries(tx, chosen, limit=None if as_csv or as_json else limit)
        meant = listing.loans_like(tx, loan) if loan and not page.total else []
    if as_json:
        frame.print_json([words.entry_json(entry) for entry in page.entries])
    elif as_csv:
        _write_csv(page)
    else:
        frame.header(settings)
        _show(page, settings, loan=loan, meant=meant)


def chosen_by(
    settings: Settings,
    *,
    resource: str | None = None,
    state: list[str] | None = None,
    reason: str | None = None,
    loan: str | None = None,
    since: str | None = None,
    held: bool = False,
) -> Filter:
    """A filter from what was typed; without anything typed, what is not settled."""
    states = tuple(words.state(one) for one in state or ())
    if not states and loan is None and since is None and reason is None:
        states = listing.OPEN
    return Filter(
        resource=None if resource is None else frame.resource(resource),
        states=states,
        reason=None if reason is None else reason.strip().lower().replace("-", "_"),
        loan=loan,
        since=None if since is None else _moment(since, settings),
        held=held,
    )


def rows(entries: list[Entry], settings: Settings) -> list[list[object]]:
    """One line an entry, the loan id first."""
    now = frame.now()
    return [
        [
            words.loan(entry),
            entry.id,
            words.noun(entry.resource),
            words.said_of(entry.state),
            figure.moment(entry.changed_at, settings, at=now),
            figure.amount(entry.amount, entry.currency),
            words.why(entry),
        ]
        for entry in entries
    ]


def table(entries: list[Entry], settings: Settings) -> None:
    """Print entries, one line each."""
    frame.table(_COLUMNS, rows(entries, settings), right=("#", "amount"))


def _show(page: EntryPage, settings: Settings, *, loan: str | None, meant: list[str]) -> None:
    if not page.total:
        if loan is not None:
            frame.say(f"The outbox knows nothing of loan {loan}.")
            for other in meant:
                frame.say(f"  Did you mean:   kiva-relay outbox list --loan {shlex.quote(other)}")
        else:
            frame.say("Nothing matches. Nothing is lost, nothing needs you here.")
        return
    table(page.entries, settings)
    rest = page.total - len(page.entries)
    frame.say()
    if rest:
        frame.say(f"{page.total:,} in all; {rest:,} more:   --limit {page.total}")
    first = page.entries[0]
    frame.say(f"One of them in full:   kiva-relay outbox show {first.id}")


def _write_csv(page: EntryPage) -> None:
    frame.print_csv(
        _CSV,
        (
            [
                entry.loan_id,
                entry.client_id,
                entry.id,
                entry.resource,
                entry.state.value,
                entry.changed_at.isoformat(timespec="seconds"),
                entry.amount,
                entry.currency,
                entry.publish_by,
                _codes(entry),
            ]
            for entry in page.entries
        ),
    )


def _codes(entry: Entry) -> str:
    """Why an entry is where it is, in codes: of its refusals, its evidence or its reason."""
    if entry.state is states.State.REFUSED:
        return " ".join(dict.fromkeys(one.code for one in entry.reasons))
    return entry.evidence or entry.reason or ""


def _moment(written: str, settings: Settings) -> datetime:
    """A day in the MIS's zone, a moment, or a length of time ago."""
    zone = ZoneInfo(settings.mis.timezone)
    try:
        moment = datetime.fromisoformat(written.strip())
    except ValueError:
        return frame.now() - _ago(written)
    if len(written.strip()) == len("2026-11-30"):
        moment = datetime.combine(moment.date(), time())
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _ago(written: str) -> timedelta:
    try:
        return duration.parse(written)
    except Mismatch as error:
        raise errors.UsageError(
            f"--since: expected a day, like 2026-11-30, or a length of time, like 6h or 2d; found {written}.",
            hint="kiva-relay outbox list --since 2d",
        ) from error
