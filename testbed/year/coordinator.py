"""The coordinator: decides some lines of a report, forgets others, and says that it is finalised. By the product's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from kiva_relay import errors
from kiva_relay.report import current, decide, finalising
from kiva_relay.report.decide import LineAnswer, Verb
from kiva_relay.report.line import ReportLine, ReportLineKind
from testbed.year import verdict
from testbed.year.stage import Stage
from testbed.year.verdict import Said

NAME = "Awa"

_ABOUT = (verdict.FELL, verdict.MORE_THAN_LENT, verdict.MORE_THAN_AT_KIVA, verdict.CURRENCY)
_DECIDES = 0.7
"""Of the lines that ask her, so many she answers; she forgets the others."""


@dataclass
class Coordinator:
    """What she said is remembered by `kiva_id`: of a report, and for life whose loan it is."""

    stage: Stage
    dice: Random
    said: dict[str, Said] = field(default_factory=dict)
    for_life: dict[str, str] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        """Another report: what was said of the one before holds no more."""
        self.said.clear()

    @property
    def remembered(self) -> Mapping[str, Said]:
        """All that holds now."""
        nothing = Said()
        known = {kiva_id: replace(self.said.get(kiva_id, nothing), own=own) for kiva_id, own in self.for_life.items()}
        return {**self.said, **known}

    def decide(self, period: str) -> None:
        """Go through the lines that ask, and answer most of them."""
        called = {one.identity: one.now_called for one in self.stage.village.borrowings if one.now_called}
        spelled = {at_kiva: own for own, at_kiva in self.stage.financed.spelled.items()}
        twins = Counter(line.loan_id for line in self._lines(period))
        for line in self._lines(period):
            if not line.needs_a_person or line.kiva_id in self.said or self.dice.random() > _DECIDES:
                continue
            own = spelled.get(line.loan_id, "")
            answer = self._answer(line, called.get(own, own), twice=twins[line.loan_id] > 1)
            try:
                self._put(line, answer, period)
            except errors.UsageError:  # the institution does not have that one either
                self.done[f"refused: {answer.verb}"] += 1

    def send_late(self, period: str) -> None:
        """The report has closed: some of what was forgotten is sent all the same."""
        for line in self._lines(period):
            asks = line.kind in {ReportLineKind.CLOSED_WITHOUT, ReportLineKind.CLOSED_WRONG} and line.cause in _ABOUT
            if asks and line.position is not None and line.position >= 0 and self.dice.random() < _DECIDES:
                self._put(line, LineAnswer("send", None, "she called: it is right", late=True), period)

    def finalise(self, period: str) -> dict[str, int]:
        """Say that the report is finalised; how many lines of each kind it had."""
        relay, now = self.stage.open_relay(), self.stage.clock.now()
        with relay.outbox.begin() as tx:
            finalising.finalise(tx, relay.settings, period, by=NAME, note="seen in PA2", now=now)
        return dict(Counter(line.kind.value for line in self._lines(period)))

    def _lines(self, period: str) -> tuple[ReportLine, ...]:
        relay = self.stage.open_relay()
        with relay.outbox.read() as tx:
            return current.lines_of(tx, relay.settings, period, self.stage.clock.now())

    def _answer(self, line: ReportLine, own: str, *, twice: bool) -> LineAnswer:
        if line.cause in _ABOUT and line.position is not None and not twice:
            verbs: list[Verb] = ["send", "leave_out", "value", *(["keep"] if line.before is not None else [])]  # type: ignore[list-item]
            verb = self.dice.choice(verbs)
            return LineAnswer(verb, f"{line.position:f}" if verb == "value" else None, "looked at the paper")
        if line.identity is None and own not in {"", line.loan_id.strip()} and not twice:
            return LineAnswer("is", own, "it is the same loan")
        return LineAnswer("leave_out", None, "typed in PA2 by hand")

    def _put(self, line: ReportLine, answer: LineAnswer, period: str) -> None:
        relay, now = self.stage.open_relay(), self.stage.clock.now()
        with relay.outbox.begin() as tx:
            decide.decide(tx, relay.settings, line, answer, period=period, by=NAME, now=now)
        if answer.verb == "is":
            self.for_life[line.kiva_id] = answer.value or ""
        else:
            self.said[line.kiva_id] = Said(answer.verb, answer.value or "", line.position, answer.late)
        self.done[f"decided{' late' * answer.late}: {answer.verb}"] += 1
