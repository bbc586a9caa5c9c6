"""What the relay would report, against the file that was uploaded by hand last month. Nothing is sent."""

from collections.abc import Iterable

from kiva_relay.cli import frame, report_screen
from kiva_relay.report.comparison import Basis, Comparison
from kiva_relay.report.handmade import Handmade
from kiva_relay.report.month import Month
from kiva_relay.resource.repayment import OUTSTANDING
from kiva_relay.terminal import visible
from kiva_relay.words.language import Language

_MOST = 20


def show(found: Comparison, by_hand: Handmade, facts: Month, language: Language) -> None:
    """The verdict about the basis, the loans that went the wrong way, and what only one of both has."""
    report_screen.head(facts, language)
    name = by_hand.file.name
    say = language.say
    frame.say(say("screen.compared", n=found.compared, file=name))
    way = "owed" if facts.report.basis == OUTSTANDING else "repaid"
    frame.say(f"  {say(f'screen.compared.{way}', right=found.as_it_should, wrong=len(found.against))}")
    frame.say(f"  → {say(f'screen.basis.{found.basis.value}', file=name)}", style="bold")
    if found.basis is Basis.SWAPPED:
        frame.say(f"    {say('screen.basis.ask')}")
    frame.say()
    _named(
        [
            f"{one.line.loan_id}   {language.figure(one.by_hand.amount, one.line.currency)}"
            f" → {language.amount(one.now, one.line.currency)}"
            for one in found.against
        ],
        language,
    )
    lists = (
        ("only_by_hand", [f"{row.loan_id}   {language.figure(row.amount)}" for row in found.only_by_hand]),
        ("only_here", [f"{one.loan_id}   {language.amount(one.position, one.currency)}" for one in found.only_here]),
        ("without_amount", [one.loan_id for one in found.without_amount]),
    )
    for code, lines in lists:
        if lines:
            frame.say(say(f"screen.compared.{code}", n=len(lines)))
            _named(lines, language)
    for written, line in list(found.perhaps.items())[:_MOST]:
        frame.say(say("screen.compared.perhaps", written=written, loan=line.loan_id))


def _named(lines: Iterable[str], language: Language) -> None:
    every = list(lines)
    for line in every[:_MOST]:
        frame.say(f"  {visible.text(line)}")
    if (more := len(every) - _MOST) > 0:
        frame.say(f"  {language.say('screen.more', n=more, command='kiva-relay report --compare FILE --json')}")
    if every:
        frame.say()
