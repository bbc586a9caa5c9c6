"""Each button of the page in a browser, while relay and page are killed: no act is lost, none is double.

Each is pressed twice at once, in two tabs, and again in a tab from before. What it leads to is at Kiva's stand-in once.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
import sqlalchemy as sa

from kiva_relay.account import task
from kiva_relay.outbox import discrepancy, table
from kiva_relay.page import act, app, brake, button, report
from testbed.kiva import server as kiva_server
from testbed.kiva.control import Sandbox
from testbed.rig import chromium, patience
from testbed.rig.branch import ROLES, SECRET, Branch, called
from testbed.rig.killed_page import Killer
from testbed.rig.pressed import MANNERS, Press, Presser

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing() or "")]

TEMPLATES = Path(app.__file__).with_name("template")
KILLS = ("", "after", "", "at", "", "", "before", "")
"""What dies at each act in turn, beside what dies at random."""


@dataclass(frozen=True)
class EntryCase:
    """A button about one entry. `where` is the kind of task, or the page; `label` what `page.` says it is."""

    where: str
    label: str
    kind: str
    paths: tuple[str, ...]
    verb: str
    resource: str = "loan_draft"
    role: str = "coordinator"


@dataclass(frozen=True)
class LineCase:
    """A button about a line of the report; `typed` is what stands beside it."""

    kind: str
    do: str
    typed: tuple[tuple[str, str], ...] = ()

    @property
    def verb(self) -> str:
        """Of the act."""
        return f"report decide --{self.do.partition(' ')[0].replace('_', '-')}"


SETTLED = {"delivered": "settle --delivered", "resend": "settle --resend", "discard": "settle --discard"}
LOOK, CALL = ("/task?name=look.loan_draft",), ("/",)
BEFORE_RELEASE = (
    EntryCase("TypeByHand", "typed", "typed", ("/task?name=expiring",), SETTLED["delivered"]),
    EntryCase("loan", "discard", "discard", ("/loan?id={loan}",), SETTLED["discard"], role="administrator"),
)
ENTRIES = (
    EntryCase("LookInPa2", "delivered", "there", LOOK, SETTLED["delivered"]),
    EntryCase("LookInPa2", "resend", "not_there", LOOK, SETTLED["resend"]),
    EntryCase("LookInPa2", "resend", "not_news", ("/task?name=look.journal",), SETTLED["resend"], resource="journal"),
    EntryCase("LookAtCall", "delivered", "warned_there", CALL, SETTLED["delivered"]),
    EntryCase("LookAtCall", "resend", "warned_again", CALL, SETTLED["resend"]),
    EntryCase("SameLoan", "is_same", "CASE", ("/task?name=same_loan",), SETTLED["delivered"]),
    EntryCase("SameLoan", "is_other", "OTHER", ("/task?name=same_loan",), SETTLED["resend"]),
    EntryCase("SameClientAndAmount", "another", "another", ("/task?name=duplicate",), "draft another"),
    EntryCase("drafts", "same", "same", ("/drafts",), SETTLED["discard"]),
    EntryCase("DeleteInPa2", "deleted", "cancelled", ("/task?name=delete.loan_draft",), "review deleted"),
    EntryCase("TooOldToPublish", "done", "too_old", ("/task?name=too_old",), "review done"),
    EntryCase("ChangedAfterSending", "corrected", "corrected", ("/task?name=changed",), "review corrected"),
    EntryCase("ChangedAfterSending", "again", "changed_again", ("/task?name=changed",), SETTLED["resend"]),
    EntryCase("drafts", "published", "published", ("/drafts",), "review done"),
    EntryCase("drafts", "deleted", "deleted", ("/drafts",), "review deleted"),
    EntryCase("drafts", "again", "again", ("/drafts",), SETTLED["resend"]),
    EntryCase("ConfirmJournals", "done", "news", ("/",), "review done", resource="journal"),
    EntryCase("journals", "done", "pair_a", ("/journals",), "review done", resource="journal"),
    EntryCase("KnowWhatWasNotDecided", "done", "undecided", ("/task?name=closed_undecided",), "review done", "repayment"),
    EntryCase("KnowWhatWasReported", "done", "unknown", ("/task?name=closed_unknown",), "review done", "repayment"),
)  # fmt: skip
LINES = (
    LineCase("fell_send", "send"),
    LineCase("fell_keep", "keep"),
    LineCase("fell_out", "leave_out"),
    LineCase("exceeds", "value 100"),
    LineCase("broken", "value", (("amount", "90"),)),
    LineCase("at_kiva_only", "is", (("loan", "in_the_mis-{suit}"),)),
)
LATE = (
    LineCase("late_send", "send"),
    LineCase("late_keep", "keep"),
    LineCase("late_out", "leave_out"),
)
"""Answered when the report has closed."""
AT_KIVA = {
    **dict.fromkeys(("published", "deleted", "corrected", "cancelled", "too_old", "twin_another", "twin_same"), 1),
    **dict.fromkeys(("not_there", "warned_again", "another", "OTHER"), 1),
    **dict.fromkeys(("there", "typed", "discard", "warned_there", "same", "CASE"), 0),
    **dict.fromkeys(("again", "changed_again"), 2),
}
"""How many drafts of a loan Kiva has at the end."""
POSITIONS = {
    "fell_send": 150, "fell_keep": 180, "exceeds": 100, "broken": 90, "at_kiva_only": 70, "held": 12, "after": 11,
    "late_send": 150, "late_keep": 180, "fell_out": None, "late_out": None, "undecided": None, "unknown": None,
}  # fmt: skip
"""What Kiva was given last in this report; nothing where nothing may go."""


# ---------------------------------------------------------------- all there are


def test_no_button_is_without_a_case() -> None:
    cases = {(one.where, one.label) for one in (*BEFORE_RELEASE, *ENTRIES)}
    tasks = {(kind.__name__, verb) for kind in get_args(task.Task) for verb in button.verbs_of(kind)}
    drafts = {("drafts", verb) for verb in (*button.OF_DRAFTS, *button.OF_TWINS)}
    said_by_task = {("SettleDifferences", "apart"), ("SameClientAndAmount", "same"), ("drafts", "another")}
    assert (tasks | drafts) - cases <= said_by_task, "a button of a task or a draft"
    assert {one.do.partition(" ")[0] for one in LINES} == set(report.VERBS)
    assert {verb for one in (*BEFORE_RELEASE, *ENTRIES) for verb in [button.MEANS.get(one.label, one.label)]} == {
        *act.VERBS
    } - {"apart"}
    assert set(brake.VERBS) == {"hold", "release"}
    assert set(report.OF_THE_WHOLE) == {"finalised", "reopen", "send"}
    actions = set()
    for file in TEMPLATES.glob("*.html"):
        actions |= set(re.findall(r'<form[^>]*method="post"[^>]*action="([^"]+)"', file.read_text(encoding="utf-8")))
    assert actions == {"/act", "/decide", "/finalised", "/login", "/logout", "/language"}


# ---------------------------------------------------------------- one after the other


@dataclass
class Play:
    """The office, those who press, and what was pressed."""

    branch: Branch
    killer: Killer
    windows: dict[tuple[str, str], Presser]
    manners: dict[str, str]
    pressed: Counter[str]
    kills: Iterator[str]

    def press(self, one: Press, suit: str, *, verb: str, role: str = "coordinator", manner: str = "") -> None:
        """In the language and the manner of a suit."""
        presser = self.windows[role, suit.partition(".")[0]]
        presser.press(one, manner=manner or self.manners[suit], kill=next(self.kills))
        self.pressed[verb] += 1

    def counts(self, verb: str, about: Callable[[dict[str, object]], bool] = lambda _: True) -> Callable[[], int]:
        """How many such acts are written down."""
        return lambda: sum(1 for done, _, told in self.branch.acts() if done == verb and about(told))

    def entry(self, case: EntryCase, suit: str) -> None:
        """Press a button about an entry."""
        loan = called(case.kind, suit)
        numbers = [entry.id for entry in self.branch.rows(table.entry.c.loan_id == loan)]
        entry = self.branch.newest(loan, case.resource)
        assert entry is not None
        does = button.MEANS.get(case.label, case.label)
        one = Press(
            f"{case.where} {case.label} {suit}",
            [path.format(loan=loan) for path in case.paths],
            f'button[name="do"][value^="{does} {entry.id}:"]',
            self.counts(case.verb, lambda told: told.get("entry") in numbers),
        )
        self.press(one, suit, verb=case.verb, role=case.role)

    def line(self, case: LineCase, suit: str) -> None:
        """Press a button about a line of the report."""
        loan = called(case.kind, suit)
        with self.branch.outbox.read() as tx:
            (kiva_id,) = tx.execute(sa.text("SELECT kiva_id FROM mirror WHERE loan_id = :loan"), {"loan": loan}).one()
        one = Press(
            f"report {case.do} {suit}",
            ("/report", "/report?kind=closed_without", "/report?kind=closed_wrong"),
            f'article[id="l{kiva_id}"] button[name="do"][value="{case.do}"]',
            self.counts(case.verb, lambda told: told.get("kiva_id") == kiva_id),
            {name: text.format(suit=suit) for name, text in case.typed},
        )
        self.press(one, suit, verb=case.verb)

    def whole(self, do: str, suit: str, *, role: str = "coordinator") -> None:
        """Press a button about the report as a whole."""
        verb = f"report {do}"
        # Not that of a line, which may be called the same.
        button = f'form[action="/finalised"] button[name="do"][value="{do}"]'
        one = Press(f"{verb} {suit}", ("/report",), button, self.counts(verb))
        self.press(one, suit, verb=verb, role=role)

    def brake(self, verb: str, what: str, suit: str) -> None:
        """Keep something back, or let it go."""
        value = f"hold {what}" if verb == "hold" else "release "
        one = Press(
            f"{verb} {what} {suit}",
            ("/",),
            f'button[name="do"][value^="{value}"]',
            self.counts(verb),
            {"note": "asked for"},
        )
        self.press(one, suit, verb=verb, role="administrator")

    def apart(self, suit: str) -> None:
        """Say that a difference was seen."""
        loan = called("unknown_here", suit)

        def found() -> list[int]:
            with self.branch.outbox.read() as tx:
                return [one.id for one in discrepancy.every(tx) if one.loan_id == loan]

        (number,) = patience.eventually(found)
        one = Press(
            f"apart {suit}",
            ("/task?name=apart",),
            f'button[name="do"][value^="apart {number}:"]',
            self.counts("reconcile done", lambda told: told.get("loan") == loan),
        )
        self.press(one, suit, verb="reconcile done")

    def old_tabs(self) -> None:
        """What was open all the while."""
        for presser in self.windows.values():
            presser.again()


SUITS = [
    pytest.param(("sqlite", ["en"], False), id="sqlite-en"),
    pytest.param(("sqlite", ["fr", "es"], False), id="sqlite-fr-es", marks=pytest.mark.night),
    pytest.param(("postgresql", ["en", "fr", "es"], False), id="postgresql", marks=pytest.mark.night),
    pytest.param(("sqlite", ["en", "fr", "es"], True), id="sqlite-all", marks=pytest.mark.night),
    pytest.param(("postgresql", ["en", "fr", "es"], True), id="postgresql-all", marks=pytest.mark.night),
]


@pytest.fixture
def played(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    engine, languages, every_manner = request.param
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    url = "" if engine == "sqlite" else str(request.getfixturevalue("postgres_outbox"))
    if every_manner:
        manners = {f"{one}.{number}": manner for one in languages for number, manner in enumerate(MANNERS)}
    else:
        # Each language has the next manner at each act, so that together they have all.
        manners = dict.fromkeys(languages, "")
    with kiva_server.start() as pa2, Sandbox(pa2.url) as kiva:
        branch = Branch(tmp_path, kiva, pa2.url, [*manners], languages, url)
        branch.is_laid()
        killer = Killer(branch.relay, lambda: int(kiva.state()["requests"]), random.Random(7))
        play = Play(branch, killer, {}, manners, Counter(), itertools.cycle(KILLS))
        branch.page.begin()
        address = f"http://{branch.office.changes['page.listen']}"
        try:
            with chromium.running() as browser, contextlib.ExitStack() as open_windows:
                for language, role in itertools.product(languages, ROLES):
                    window = open_windows.enter_context(browser.window(address))
                    window.log_in(f"{role}-{language}", SECRET)
                    play.windows[role, language] = Presser(window, branch.page, killer)
                yield play
        finally:
            branch.page.kill()
            branch.outbox.close()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("played", SUITS, indirect=True)
def test_no_act_is_lost_and_none_is_double(played: Play) -> None:
    branch, manners = played.branch, itertools.cycle(MANNERS)
    suits = [*played.manners]

    def each(press: Callable[[str], None]) -> None:
        next(manners)
        for suit in suits:
            played.manners[suit] = played.manners[suit] if "." in suit else next(manners)
            press(suit)

    with played.killer.at_work():
        for case in BEFORE_RELEASE:
            each(lambda suit, case=case: played.entry(case, suit))  # type: ignore[misc]
        each(lambda suit: braked(played, suit))
        for case in ENTRIES:
            each(lambda suit, case=case: played.entry(case, suit))  # type: ignore[misc]
        each(played.apart)
        for line in LINES:
            each(lambda suit, line=line: played.line(line, suit))  # type: ignore[misc]
        each(lambda suit: first_report(played, suit))
        each(lambda suit: finalised_and_not(played, suit))
        played.old_tabs()
        played.killer.rests()
        doubts_of_the_killed(played)
        patience.eventually(lambda: as_it_should_be(branch, suits, late=False) == {}, within=60)
    branch.closes()
    with played.killer.at_work():
        for line in LATE:
            each(lambda suit, line=line: played.line(line, suit))  # type: ignore[misc]
        played.old_tabs()
        played.killer.rests()
        doubts_of_the_killed(played)
        patience.eventually(lambda: as_it_should_be(branch, suits, late=True) == {}, within=60)
    assert Counter(verb for verb, _, _ in branch.acts()) == played.pressed
    assert played.killer.kills > 0
    assert branch.page.lives > 1


def braked(played: Play, suit: str) -> None:
    """What is kept back is let go, and the next thing is kept back."""
    played.brake("release", "loan_draft", suit)
    if suit != [*played.manners][-1]:
        played.brake("hold", "loan_draft", suit)
        return
    played.brake("hold", "journal", suit)
    played.brake("release", "journal", suit)


def first_report(played: Play, suit: str) -> None:
    """A report that waits for who has looked at it."""
    played.branch.holds("repayment", "first_report")
    played.branch.repays(called("held", suit), 12)
    played.whole("send", suit, role="administrator")


def finalised_and_not(played: Play, suit: str) -> None:
    """Nothing goes while it is finalised."""
    played.whole("finalised", suit)
    played.branch.repays(called("after", suit), 11)
    played.whole("reopen", suit)


def doubts_of_the_killed(played: Play) -> None:
    """Who was killed while it sent does not know what became of it: she looks in PA2, and says it."""
    branch = played.branch
    for resource in ("loan_draft", "journal"):
        waiting = (table.entry.c.resource == resource, table.entry.c.state.in_(["ready", "sending"]))

        def settled(where: tuple[sa.ColumnElement[bool], ...] = waiting) -> bool:
            return not branch.rows(*where)

        for _ in range(20):
            doubts = branch.rows(table.entry.c.resource == resource, table.entry.c.state == "in_doubt")
            if not doubts and settled():
                break
            for entry in doubts:
                there = len(branch.sent(resource).get(entry.loan_id, ())) > before_it(branch, entry.loan_id, resource)
                verb = "delivered" if there else "resend"
                case = EntryCase("", verb, "", (f"/task?name=look.{resource}",), SETTLED[verb])
                suit = next(iter(played.manners))
                one = Press(
                    f"doubt {entry.id}",
                    case.paths,
                    f'button[name="do"][value^="{verb} {entry.id}:"]',
                    played.counts(case.verb, lambda told, number=entry.id: told.get("entry") == number),  # type: ignore[misc]
                )
                played.press(one, suit, verb=case.verb, manner="double click")
            patience.eventually(
                lambda: settled() or branch.rows(table.entry.c.resource == resource, table.entry.c.state == "in_doubt"),  # noqa: B023 - asked at once
                within=30,
            )


def before_it(branch: Branch, loan: str, resource: str) -> int:
    """How often Kiva has had it by attempts that were answered; a call with a problem was laid, and Kiva has none."""
    accepted = (
        "SELECT count(*) FROM entry JOIN batch_member ON batch_member.entry_id = entry.id"
        " JOIN attempt ON attempt.batch_id = batch_member.batch_id"
        " WHERE entry.loan_id = :loan AND entry.resource = :resource AND attempt.outcome = 'accepted'"
    )
    with branch.outbox.read() as tx:
        number = int(tx.execute(sa.text(accepted), {"loan": loan, "resource": resource}).scalar_one())
    return number - loan.startswith("warned_")


def as_it_should_be(branch: Branch, suits: list[str], *, late: bool) -> dict[str, object]:
    """What is not: loan → what Kiva has of it."""
    wrong: dict[str, object] = {}
    drafts, news, positions = (branch.sent(resource) for resource in ("loan_draft", "journal", "repayment"))
    for suit in suits:
        for kind, number in AT_KIVA.items():
            if len(drafts.get(called(kind, suit), ())) != number:
                wrong[called(kind, suit)] = len(drafts.get(called(kind, suit), ()))
        for kind in ("news", "pair_a", "pair_b", "not_news"):
            if len(news.get(called(kind, suit), ())) != 1:
                wrong[called(kind, suit)] = len(news.get(called(kind, suit), ()))
        for kind, amount in POSITIONS.items():
            if not late and kind.startswith("late"):
                continue
            loan = called(kind, suit)
            given = [
                int(one["amount"])
                for record in positions.get(loan, ())
                for one in record["body"]["repayments"]
                if one["loan_id"] == loan
            ]
            first = {"held": 10, "after": 10, "unknown": 10}.get(kind, 180 if kind in PAID_BEFORE else None)
            since = given[1:] if given[:1] == [first] else given
            if (since[-1] if since else None) != amount:
                wrong[loan] = given
    return wrong


PAID_BEFORE = ("fell_send", "fell_keep", "fell_out", "late_send", "late_keep", "late_out", "undecided")
"""Positions that Kiva took last month."""
