"""What an edited mapping would change over the present book, for the commands that ask before it comes into force."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

import rich.progress

from kiva_relay.capture import trial
from kiva_relay.capture.context import mapper_context
from kiva_relay.capture.trial import MappingDifference
from kiva_relay.cli import frame, mappings
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.errors import RelayError, UsageError, counted
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import lookup, mapper
from kiva_relay.mapping.difference import KINDS, Change
from kiva_relay.mapping.plan import Document
from kiva_relay.outbox import listing
from kiva_relay.outbox.state import State
from kiva_relay.resource import window
from kiva_relay.service import opening
from kiva_relay.source.mis import Mis

_SAMPLES = 3
_PERSONAL = ("first_name", "last_name", "group_name", "description", "loanuse", "subject", "body", "image_encoded")
_WAITS = (State.READY, State.WAITING)
_SENT = (State.DELIVERED, State.SENDING, State.IN_DOUBT)


@dataclass(frozen=True)
class Compared:
    """A difference, and where the loans that it concerns stand: waiting to be sent, or at Kiva."""

    difference: MappingDifference
    waiting: int
    sent: int


def lists(settings: Settings, *, quiet: bool = False) -> lookup.Lists:
    """Kiva's lists; none of them when they are not known, which is said unless `quiet`."""
    try:
        return mappings.lists(settings)
    except RelayError as error:
        if not quiet:
            frame.notice(f"Kiva's lists are not known: {error}")
        return lookup.Lists()


def context(settings: Settings, *, quiet: bool = False) -> mapper.Context:
    """What the mapper is given beside the rows, as of now; photos as fingerprints."""
    now = frame.now()
    today = now.astimezone(ZoneInfo(settings.mis.timezone)).date()
    cutoff, known = window.report(settings, now).cutoff, lists(settings, quiet=quiet)
    return mapper_context(settings, lists=known, today=today, cutoff=cutoff, photos="sha256")


def compare(settings: Settings, old: Document, new: Document, mis: Mis | None = None) -> Compared:
    """Both versions over the whole book, with progress.

    Raises:
        RelayError: the MIS does not answer, or refuses what one of the two asks for.
    """
    with contextlib.ExitStack() as stack:
        if mis is None:
            mis = opening.open_mis(settings, clock=SystemClock())
            stack.callback(mis.close)
        found = MappingDifference()
        with progress(f"comparing {new.name}", mis.count(old.stream)) as advance:
            for page in trial.compare(old, new, mis, context=context(settings)):
                found.add(page)
                advance(found.rows)
    waiting, sent = _standing(settings, new, found.bodies)
    return Compared(found, waiting, sent)


@contextlib.contextmanager
def progress(doing: str, total: int) -> Iterator["_Advance"]:
    """A bar on a terminal, with rows a second and how long it still takes; nothing in a pipe."""
    output = frame.console(stderr=True)
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[rate]}"),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=output, transient=True, disable=not output.is_terminal) as bar:
        yield _Advance(bar, bar.add_task(doing, total=total, rate=""))


class _Advance:
    """Moves a bar to how many are done."""

    def __init__(self, bar: rich.progress.Progress, task: rich.progress.TaskID) -> None:
        self._bar, self._task = bar, task

    def __call__(self, done: int, total: int | None = None) -> None:
        speed = self._bar.tasks[0].speed
        self._bar.update(self._task, completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "")


def _standing(settings: Settings, new: Document, changes: Sequence[Change]) -> tuple[int, int]:
    """How many of the loans wait to be sent, and how many are at Kiva; none without an outbox."""
    identities = {change.identity for change in changes}
    with contextlib.suppress(UsageError), frame.outbox(settings) as outbox, outbox.read() as tx:
        states = listing.latest_states(tx, new.resource, identities)
        return sum(state in _WAITS for state in states.values()), sum(state in _SENT for state in states.values())
    return 0, 0


def show(compared: Compared, new: Document, *, everything: bool = False, show_names: bool = False) -> None:
    """The difference in words: how many, which fields, where they stand, and some of them."""
    found = compared.difference
    kinds = Counter(change.kind for change in found.changes)
    frame.say(f"  book       {counted(found.rows, 'row')} compared")
    if not found.changes:
        frame.say("               nothing would change")
        return
    for kind, words in KINDS.items():
        if not kinds[kind]:
            continue
        fields = ""
        if kind == "changed":
            fields = "      " + ", ".join(f"{field} {number:,}" for field, number in found.fields().most_common())
        frame.say(f"               {kinds[kind]:>6,}  {words}{fields}")
    if compared.waiting:
        frame.say(f"               {compared.waiting:,} of them wait to be sent      → would be sent as they are then")
    if compared.sent and new.resource != "repayment":
        then = "would appear as “different in the MIS” for the coordinator; they are not sent again"
        frame.say(f"               {compared.sent:,} of them are at Kiva already      → {then}")
    shown = found.changes if everything else found.changes[:_SAMPLES]
    for number, change in enumerate(shown):
        lead = "for example" if number == 0 and not everything else ""
        frame.say(f"             {lead:<11}  {change.loan_id or change.key}   {_words(change, show_names=show_names)}")


def _words(change: Change, *, show_names: bool) -> str:
    if not change.fields:
        return KINDS[change.kind]
    parts = []
    for path, was, now in change.fields[:_SAMPLES]:
        hidden = not show_names and path.rpartition(".")[2].partition("[")[0] in _PERSONAL
        parts.append(f"{path} {_value(was, hidden=hidden)} → {_value(now, hidden=hidden)}")
    more = len(change.fields) - len(parts)
    return ", ".join(parts) + (f" and {counted(more, 'field')} more" if more else "")


def _value(value: object, *, hidden: bool) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list | dict):
        return f"{len(value)} items"
    return "…" if hidden else str(value)
