"""What a person sees: one screen that moves while it works, plain lines in a pipe, and a last screen that teaches."""

from __future__ import annotations

import shutil
import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import rich.console
import rich.live
import rich.text

from kiva_relay.outbox.entry import Entry
from kiva_relay.resource import refusal
from testbed.demo.event import Event
from testbed.demo.watch import View
from testbed.judge.case import Judgement

_WIDTH = 110
_EVENTS = 12
_A_LINE_EVERY = timedelta(seconds=5)
_QUIET_EVENT_EVERY = timedelta(seconds=1)
_EXAMPLES = 3

_NAMES = {"loan_draft": "loan drafts", "repayment": "repayment positions", "journal": "journals"}


@dataclass(frozen=True)
class LastScreen:
    """What the last screen tells besides the verdict."""

    work: timedelta
    internal_notes: int
    faults: Counter[str]
    found: int
    kills: int
    config: Path
    kept: bool


class Screen:
    """Prints. On a terminal the four lines stand still and events move below them; elsewhere each is a line."""

    def __init__(self, stream: TextIO) -> None:
        self._moves = stream.isatty()
        width = min(_WIDTH, shutil.get_terminal_size().columns) if self._moves else 1_000
        self._console = rich.console.Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
        self._events: deque[Event] = deque(maxlen=_EVENTS)
        self._live: rich.live.Live | None = None
        self._last_line = self._last_quiet = None if self._moves else timedelta(0)

    @property
    def console(self) -> rich.console.Console:
        """Where it prints."""
        return self._console

    def say(self, text: str = "", *, style: str = "") -> None:
        """A line that stays."""
        self._console.print(rich.text.Text(text, style=style), soft_wrap=True)

    def show(self, view: View, events: Sequence[Event], *, elapsed: timedelta) -> None:
        """The state of now, and what happened since the last time."""
        if self._moves:
            self._events.extend(events)
            if self._live is None:
                self._live = rich.live.Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(self._picture(view, elapsed), refresh=True)
            return
        for event in events:
            if event.loud or self._time_for_a_quiet_one(elapsed):
                self.say(_line(event))
        if self._last_line is None or elapsed - self._last_line >= _A_LINE_EVERY:
            self._last_line = elapsed
            for line in _numbers(view, elapsed):
                self.say(line)

    def still(self) -> None:
        """Take the moving screen away; what was loud stays readable above what follows."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def last(self, verdict: Judgement, ending: LastScreen) -> None:
        """The last screen."""
        self.still()
        for text, style in _last(verdict, ending):
            self.say(text, style=style)

    def _time_for_a_quiet_one(self, elapsed: timedelta) -> bool:
        if self._last_quiet is not None and elapsed - self._last_quiet < _QUIET_EVENT_EVERY:
            return False
        self._last_quiet = elapsed
        return True

    def _picture(self, view: View, elapsed: timedelta) -> rich.text.Text:
        picture = rich.text.Text()
        for line in _numbers(view, elapsed):
            name, rest = line[:12], line[12:]
            picture.append(name, style="bold cyan").append(f"{rest}\n")
        for event in self._events:
            picture.append(f"{_line(event)}\n", style="yellow" if event.loud else "dim")
        return picture


def _line(event: Event) -> str:
    return f" {event.at.astimezone():%H:%M:%S}  {event.text}"


def _numbers(view: View, elapsed: timedelta) -> list[str]:
    """The four lines."""
    done = view.done
    granted = sum(n for what, n in done.items() if what.startswith("granted")) + done.get("approved", 0)
    repaid = done.get("repaid", 0) + done.get("entered late", 0)
    notes, marked = done.get("noted internally", 0), done.get("noted for Kiva", 0)
    accepted = view.kiva.get("accepted", {})
    behind = f"behind the MIS by {view.behind.total_seconds():.1f} s" if view.behind is not None else "reading the MIS"
    waits = f"waiting {view.count('waiting')} · refused {view.count('refused')} · in doubt {view.count('in_doubt')}"
    due = f"delivered {view.count('delivered'):,} · due {view.count('ready', 'sending'):,}"
    killed = " · killed once" if view.kills else ""
    seconds = f"{elapsed.total_seconds():.0f} s"
    tellers = f"{granted} approvals, {repaid} repayments, {done.get('reversed', 0)} reversals"
    drafts, more = accepted.get("loan_draft", 0), view.kiva.get("loans", {}).get("draft", 0)
    reports, journals = accepted.get("repayment", 0), accepted.get("journal", 0)
    return [
        f" MIS         tellers at work for {seconds}: {tellers}, {notes + marked} notes ({marked} for Kiva)",
        f" relay       {due} · {waits} · {behind}{killed}",
        f" Kiva        accepted {drafts} drafts, {reports} repayment reports, {journals} journals",
        f" coordinator (played) published {view.published:,} drafts; {more} more to look at",
    ]


# ---------------------------------------------------------------- the last screen


def _last(verdict: Judgement, ending: LastScreen) -> list[tuple[str, str]]:
    rule = "─" * _WIDTH
    lost, twice = verdict.count("lost"), verdict.count("duplicated")
    seconds = f"{ending.work.total_seconds():.0f} s"
    title = f"What you saw, in {seconds}: the same daemon as in production, on a Fineract-shaped MIS,"
    sentence = f"lost {lost} · duplicated {twice} · answers lost {verdict.answers_lost} · kills {ending.kills}"
    lines: list[tuple[str, str]] = [
        (rule, "dim"),
        (f"{title} sending to a stand-in for Kiva.", "bold"),
        ("", ""),
        *_table(verdict, ending),
        ("", ""),
        *_on_purpose(verdict, ending),
        *_waiting(verdict, ending),
        ("", ""),
    ]
    if verdict.differences:
        lines.append(("  Not as it should be", "bold red"))
        lines += [
            (f"    {one.kind:<11}{one.resource:<11}{one.loan_id:<12} {one.text}", "") for one in verdict.differences
        ]
        lines.append(("", ""))
    lines.append((sentence, "bold green" if verdict.good else "bold red"))
    return [*lines, ("", ""), *_next(verdict, ending), (rule, "dim")]


def _table(verdict: Judgement, ending: LastScreen) -> list[tuple[str, str]]:
    lines = [(f"  {'':<22}{'the MIS owed':>13}{'Kiva holds':>13}{'lost':>7}{'duplicated':>13}", "dim")]
    remarks = {
        "loan_draft": f"{verdict.sums['loan_draft'].adopted} of them a person had typed into PA2: not sent again",
        "repayment": f"{verdict.sums['repayment'].postings:,} postings; only a loan's last position counts",
        "journal": f"{ending.internal_notes} internal notes were not marked for Kiva: not sent",
    }
    for resource, line in verdict.sums.items():
        lost, twice = verdict.count("lost", resource), verdict.count("duplicated", resource)
        numbers = f"{line.owed:>13,}{line.held:>13,}{lost:>7}{twice:>13}"
        lines.append((f"  {_NAMES[resource]:<22}{numbers}     {remarks[resource]}", ""))
    return lines


def _on_purpose(verdict: Judgement, ending: LastScreen) -> list[tuple[str, str]]:
    faults, lost = ending.faults, verdict.lost_answers
    cut, later = faults["drop_before"], faults["status"]
    rows = [
        (f"{_many(cut, 'request')} cut off before Kiva had {_it(cut)}", "looked for, not found, sent again"),
        (f"{_many(later, 'request')} that Kiva told to come back later", "sent again then"),
        (f"{_many(verdict.answers_lost, 'answer')} lost after Kiva had accepted", ""),
    ]
    if lost["loan_draft"]:
        found = f"{ending.found} found at Kiva later"
        rows.append((f"   {lost['loan_draft']} of loan drafts", f"not sent again; {found}"))
    if lost["journal"]:
        person = _journals(verdict)
        numbers = ", ".join(str(entry.id) for entry in person)
        waits = f"; {len(person)} waits for a person (entry {numbers})" if person else ""
        rows.append((f"   {lost['journal']} of journals", f"not sent again{waits}"))
    if lost["repayment"]:
        rows.append(
            (f"   {lost['repayment']} of repayment reports", "sent again: the whole amount, so that is harmless")
        )
    rows.append(
        (f"{ending.kills} kill -9 in the middle of sending", "went on by itself; its answer is one of those lost")
    )
    lines = [f"    {what:<50}{'→ ' if then else ''}{then}".rstrip() for what, then in rows]
    return [("  Made to go wrong on purpose", "bold"), *((line, "") for line in lines)]


def _journals(verdict: Judgement) -> list[Entry]:
    return [entry for entry in verdict.in_doubt if entry.resource == "journal"]


def _waiting(verdict: Judgement, ending: LastScreen) -> list[tuple[str, str]]:
    """What a person has to do, as in real life."""
    lines: list[tuple[str, str]] = [("  Waiting for a person, as in real life", "bold")]
    for entry in _journals(verdict):
        lines.append(
            (
                f"    {'1 journal in doubt':<21}loan {entry.loan_id}: is it in PA2, under Journals? (entry {entry.id})",
                "",
            )
        )
        answer = _command(f"outbox settle {entry.id} --delivered", ending, "--note 'seen in PA2'")
        lines.append((f"{'':<25}yes: {answer}", ""))
        lines.append((f"{'':<25}no:  the same with --resend. Until then it is not sent again", ""))
    by_code: dict[tuple[str, str], list[Entry]] = {}
    for entry in verdict.refused:
        by_code.setdefault((entry.resource, entry.reasons[0].code), []).append(entry)
    for (resource, _), entries in by_code.items():
        noun = "journal" if resource == "journal" else "loan"
        lines += _group(entries, noun, "not sent", lambda one: _why(one.reasons[0]))
    fell = [entry for entry in verdict.waiting if entry.resource == "repayment"]
    if fell:
        lines += _group(fell, "loan", "kept back", _position)
    others = Counter(entry.reason for entry in verdict.waiting if entry.resource != "repayment")
    if others["incomplete"]:
        lines.append(
            (f"    {_many(others['incomplete'], 'group loan')} not complete: not all members are approved yet", "")
        )
    if others["loan_not_at_kiva"]:
        lines.append((f"    {_many(others['loan_not_at_kiva'], 'journal')} for loans that Kiva does not have", ""))
    return lines


def _group(entries: Sequence[Entry], noun: str, what: str, say: Callable[[Entry], str]) -> list[tuple[str, str]]:
    """The same thing repeated is one line with a count, and some examples."""
    first, *rest = [f"{entry.loan_id}  {say(entry)}" for entry in entries[:_EXAMPLES]]
    head = f"    {_many(len(entries), noun)} {what}"
    lines = [(f"{head:<25}{first}", "")]
    lines += [(f"{'':<25}{one}", "") for one in rest]
    more = len(entries) - _EXAMPLES
    return lines + ([(f"{'':<25}and {more} more", "")] if more > 0 else [])


def _why(reason: refusal.Refusal) -> str:
    return f"{refusal.sentence(reason)} → {refusal.remedy(reason)}"


def _position(entry: Entry) -> str:
    if entry.reason == "position_fell":
        return f"the amount repaid fell to {entry.amount} (a repayment was reversed) → the coordinator decides"
    return f"{entry.amount} repaid is more than was lent → the coordinator decides"


def _next(verdict: Judgement, ending: LastScreen) -> list[tuple[str, str]]:
    number = next((entry.id for entry in _journals(verdict)), 1)
    if ending.kept:
        looks = [_command(command, ending) for command in ("status", "review", f"outbox show {number}")]
        return [("It all runs on. In another terminal:", "bold"), *((f"  {one}", "") for one in looks)]
    then = f"kiva-relay status · review · outbox show {number}"
    return [
        (f"Next   look around in it      make demo KEEP=1      then: {then}", ""),
        ("       your own database      docs/first-day.md     reads only; nothing leaves this machine", ""),
    ]


def _command(command: str, ending: LastScreen, rest: str = "") -> str:
    """A command that can be pasted as it stands while everything runs on."""
    if not ending.kept:
        return f"kiva-relay {command} {rest}".rstrip()
    return f"{_program()} {command} --config {ending.config} {rest}".rstrip()


def _program() -> str:
    """How this `kiva-relay` is typed from here."""
    beside = Path(sys.executable).parent / "kiva-relay"
    if not beside.exists():
        return "kiva-relay"
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _it(number: int) -> str:
    return "it" if number == 1 else "them"
