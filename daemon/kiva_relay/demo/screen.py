"""What a person sees: one screen that moves while it works, plain lines in a pipe, and a last screen that teaches."""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import rich.console
import rich.live
import rich.text

from kiva_relay.demo.judge import Verdict
from kiva_relay.demo.watch import Event, View
from kiva_relay.outbox.entry import Entry
from kiva_relay.resource import refusal

_WIDTH = 110
_EVENTS = 12
_A_LINE_EVERY = timedelta(seconds=5)
_QUIET_EVENT_EVERY = timedelta(seconds=1)
_EXAMPLES = 3

_NAMES = {"loan_draft": "loan drafts", "repayment": "repayment positions", "journal": "journals"}


@dataclass(frozen=True)
class Ending:
    """What the last screen tells besides the verdict."""

    work: timedelta
    internal_notes: int
    faults: Counter[str]
    found: int
    sent_again: int
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

    def show(self, view: View, events: Sequence[Event], *, elapsed: timedelta, kills: int) -> None:
        """The state of now, and what happened since the last time."""
        if self._moves:
            self._events.extend(events)
            if self._live is None:
                self._live = rich.live.Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(self._picture(view, elapsed, kills), refresh=True)
            return
        for event in events:
            if event.loud or self._time_for_a_quiet_one(elapsed):
                self.say(_line(event))
        if self._last_line is None or elapsed - self._last_line >= _A_LINE_EVERY:
            self._last_line = elapsed
            for line in _numbers(view, elapsed, kills):
                self.say(line)

    def still(self) -> None:
        """Take the moving screen away; what was loud stays readable above what follows."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def last(self, verdict: Verdict, ending: Ending) -> None:
        """The last screen."""
        self.still()
        for text, style in _last(verdict, ending):
            self.say(text, style=style)

    def _time_for_a_quiet_one(self, elapsed: timedelta) -> bool:
        if self._last_quiet is not None and elapsed - self._last_quiet < _QUIET_EVENT_EVERY:
            return False
        self._last_quiet = elapsed
        return True

    def _picture(self, view: View, elapsed: timedelta, kills: int) -> rich.text.Text:
        picture = rich.text.Text()
        for line in _numbers(view, elapsed, kills):
            name, rest = line[:12], line[12:]
            picture.append(name, style="bold cyan").append(f"{rest}\n")
        for event in self._events:
            picture.append(f"{_line(event)}\n", style="yellow" if event.loud else "dim")
        return picture


def _line(event: Event) -> str:
    return f" {event.at.astimezone():%H:%M:%S}  {event.text}"


def _numbers(view: View, elapsed: timedelta, kills: int) -> list[str]:
    """The four lines."""
    done = view.done
    granted = sum(n for what, n in done.items() if what.startswith("granted")) + done.get("approved", 0)
    repaid = done.get("repaid", 0) + done.get("entered late", 0)
    notes, marked = done.get("noted internally", 0), done.get("noted for Kiva", 0)
    accepted = view.kiva.get("accepted", {})
    loans = view.kiva.get("loans", {})
    behind = f"behind the MIS by {view.behind.total_seconds():.1f} s" if view.behind is not None else "reading the MIS"
    doubts = view.count("in_doubt")
    return [
        f" MIS         tellers at work for {elapsed.total_seconds():.0f} s: {granted} approvals, {repaid} repayments,"
        f" {done.get('reversed', 0)} reversals, {notes + marked} notes ({marked} for Kiva)",
        f" relay       delivered {view.count('delivered'):,} · due {view.count('ready', 'sending'):,}"
        f" · waiting {view.count('waiting')} · refused {view.count('refused')} · in doubt {doubts}"
        f" · {behind}{f' · killed {kills} time' if kills else ''}",
        f" Kiva        accepted {accepted.get('loan_draft', 0)} drafts, {accepted.get('repayment', 0)} repayment"
        f" reports, {accepted.get('journal', 0)} journals",
        f" coordinator (played) published {loans.get('fundRaising', 0) + loans.get('payingBack', 0):,} loans;"
        f" {loans.get('draft', 0)} drafts to look at",
    ]


# ---------------------------------------------------------------- the last screen


def _last(verdict: Verdict, ending: Ending) -> list[tuple[str, str]]:
    rule = "─" * _WIDTH
    lines: list[tuple[str, str]] = [
        (rule, "dim"),
        (
            f"What you saw, in {ending.work.total_seconds():.0f} s: the same daemon as in production, on a"
            " Fineract-shaped MIS, sending to a stand-in for Kiva.",
            "bold",
        ),
        ("", ""),
        *_table(verdict, ending),
        ("", ""),
        *_on_purpose(verdict, ending),
        *_waiting(verdict, ending),
    ]
    if verdict.differences:
        lines += [("", ""), ("  Not as it should be", "bold red")]
        lines += [(f"    {one.kind:<11}{one.resource:<11}{one.loan_id:<12} {one.text}", "") for one in verdict.differences]
    lost, twice = verdict.count("lost"), verdict.count("duplicated")
    lines += [
        ("", ""),
        (
            f"lost {lost} · duplicated {twice} · answers lost {verdict.answers_lost} · kills {ending.kills}",
            "bold green" if verdict.good else "bold red",
        ),
        ("", ""),
        *_next(verdict, ending),
        (rule, "dim"),
    ]
    return lines


def _table(verdict: Verdict, ending: Ending) -> list[tuple[str, str]]:
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


def _on_purpose(verdict: Verdict, ending: Ending) -> list[tuple[str, str]]:
    faults = ending.faults
    person = [entry for entry in verdict.in_doubt if entry.resource == "journal"]
    numbers = ", ".join(f"entry {entry.id}" for entry in person)
    cut = faults["drop_before"]
    rows = [
        (_many(cut, "request") + " cut off before Kiva had " + _it(cut), "→ looked for, not found, sent again"),
        (f"{faults['status']} times Kiva said: come back later", "→ sent again then"),
        (
            _many(verdict.answers_lost, "answer") + " lost after Kiva had accepted",
            f"→ drafts and journals not sent again: {ending.found} found at Kiva later"
            + (f", {len(person)} waits for a person ({numbers})" if person else ""),
        ),
        ("", "  a repayment position says the whole amount: repeating it is harmless"),
        (f"{ending.kills} kill -9 in the middle of sending", "→ went on by itself; its answer is one of those lost"),
    ]
    return [("  Made to go wrong on purpose", "bold"), *((f"    {what:<50}{then}", "") for what, then in rows)]


def _waiting(verdict: Verdict, ending: Ending) -> list[tuple[str, str]]:
    """What a person has to do, as in real life."""
    lines: list[tuple[str, str]] = [("  Waiting for a person, as in real life", "bold")]
    journals = [entry for entry in verdict.in_doubt if entry.resource == "journal"]
    for entry in journals:
        command = _command("outbox settle", ending, f"{entry.id} --delivered --note 'seen in PA2'")
        lines.append((f"    1 journal in doubt   loan {entry.loan_id}: is it in PA2 under Journals? (entry {entry.id})", ""))
        lines.append((f"                         → {command}" if ending.kept else "                         → " + _short(entry), ""))
    by_code: dict[str, list[Entry]] = {}
    for entry in verdict.refused:
        by_code.setdefault(entry.reasons[0].code, []).append(entry)
    for entries in by_code.values():
        lines += _group(entries, "not sent", lambda one: _why(one.reasons[0]))
    fell = [entry for entry in verdict.waiting if entry.resource == "repayment"]
    if fell:
        lines += _group(fell, "kept back", _position)
    others = Counter(entry.reason for entry in verdict.waiting if entry.resource != "repayment")
    if others["incomplete"]:
        lines.append((f"    {_many(others['incomplete'], 'group loan')} not complete: not all members are approved yet", ""))
    if others["loan_not_at_kiva"]:
        lines.append((f"    {_many(others['loan_not_at_kiva'], 'journal')} for loans that Kiva does not have", ""))
    return lines


def _group(entries: Sequence[Entry], what: str, say: Callable[[Entry], str]) -> list[tuple[str, str]]:
    """The same thing repeated is one line with a count, and some examples."""
    first, *rest = [f"{entry.loan_id}  {say(entry)}" for entry in entries[:_EXAMPLES]]
    head = f"    {_many(len(entries), 'loan')} {what}"
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


def _next(verdict: Verdict, ending: Ending) -> list[tuple[str, str]]:
    if ending.kept:
        looks = [_command(command, ending) for command in ("status", "review", "outbox list")]
        return [("It all runs on. In another terminal:", "bold"), *((f"  {one}", "") for one in looks)]
    number = next((entry.id for entry in verdict.in_doubt), 1)
    return [
        (f"Next   look around in it        make demo KEEP=1        then: kiva-relay status · review · outbox show {number}", ""),
        ("       your own database        docs/first-day.md       reads only; nothing leaves this machine", ""),
    ]


def _command(command: str, ending: Ending, rest: str = "") -> str:
    return f"kiva-relay {command} --config {ending.config} {rest}".rstrip()


def _short(entry: Entry) -> str:
    return f"kiva-relay outbox settle {entry.id} --delivered   (or --resend)   --note 'looked in PA2'"


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _it(number: int) -> str:
    return "it" if number == 1 else "them"


