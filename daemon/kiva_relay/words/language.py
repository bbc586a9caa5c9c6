"""One language: how it says a sentence, a number, an amount, a day.

Amounts and numbers are written alike in all languages: blanks between thousands, a point before decimals, as many
decimals as the currency has. Days and months are Babel's, by patterns that stand in the catalogues.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache, cached_property
from typing import ClassVar
from zoneinfo import ZoneInfo

from babel import Locale, dates, numbers

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.terminal import visible
from kiva_relay.words import catalogue

_LONGEST = 300
_VOWELS = "aeiouyâàéèêîôû"
_FEW_DAYS = timedelta(days=6)
_A_YEAR = 11


class _Unknowns(dict[str, str]):
    """A parameter that was not given is shown as a question mark, never as an error."""

    def __missing__(self, name: str) -> str:
        return "?"


@dataclass(frozen=True)
class Language:
    """A language of PA2's. `has_buttons`: what is said stands beside buttons (`words/on_page.py`)."""

    has_buttons: ClassVar[bool] = False
    name: str

    def say(self, code: str, /, **params: str | int) -> str:
        """The sentence of a code, with its parameters. Foreign text in them is shown, never obeyed.

        `n` is the number that the sentence speaks of: it chooses between one and several.
        """
        forms = catalogue.read(self.name, code.partition(".")[0]).get(code, (code,))
        number = params.get("n")
        form = forms[0] if len(forms) == 1 else forms[self._place(number if isinstance(number, int) else 0)]
        shown = {
            name: visible.text(value) if isinstance(value, str) else self.number(value)
            for name, value in params.items()
        }
        return form.format_map(_Unknowns(shown))

    def knows(self, code: str) -> bool:
        """Is there a sentence of this code? An outbox may hold codes of a newer version."""
        return code in catalogue.read(self.name, code.partition(".")[0])

    def blanks(self, code: str) -> frozenset[str]:
        """The names of what a sentence has to be given."""
        return _blanks(catalogue.read(self.name, code.partition(".")[0])[code])

    # ---------------------------------------------------------------- numbers

    def number(self, number: int) -> str:
        """A count: `12 500`."""
        return f"{number:,}".replace(",", " ")

    def amount(self, amount: Decimal | str | None, currency: str | None = None) -> str:
        """An amount with its currency: `250 000 XOF`, `2 500.00 PEN`. Nothing for none."""
        written = self.figure(amount, currency)
        return f"{written} {currency}" if written and currency else written

    def figure(self, amount: Decimal | str | None, currency: str | None = None) -> str:
        """An amount where its currency stands already: `2 500.00`. Decimals beyond the currency's are never cut."""
        if amount is None:
            return ""
        exact = Decimal(amount).normalize()
        has = max(0, -int(exact.as_tuple().exponent))
        return f"{exact:,.{max(has, _decimals(currency))}f}".replace(",", " ")

    # ---------------------------------------------------------------- days

    def day(self, when: date, *, at: date | None = None) -> str:
        """A day by which something has to be done: `Fri 4 Dec`; with the year unless it is that of `at`."""
        code = "general.weekday" if at is not None and at.year == when.year else "general.weekday_year"
        return self._date(when, code)

    def on(self, when: date) -> str:
        """A day on which something happened: `28 November`."""
        return self._date(when, "general.date")

    def today(self, when: date) -> str:
        """The day of a message: `Tuesday 1 December 2026`."""
        return self._date(when, "general.today")

    def weekday(self, when: date) -> str:
        """The name of a day in the next days: `Friday`."""
        return self._date(when, "general.weekday_only")

    def moment(self, when: datetime, zone: str, *, at: datetime) -> str:
        """When something happened, in a zone: `1 Dec 02:12`; in another year than `at` with the year."""
        here, now = when.astimezone(ZoneInfo(zone)), at.astimezone(ZoneInfo(zone))
        day = self._date(here.date(), "general.short" if here.year == now.year else "general.short_year")
        return self.say("general.moment", n=here.hour, day=day, time=f"{here:%H:%M}")

    def hour(self, when: datetime, zone: str) -> tuple[str, int]:
        """The time of day, in a zone: `06:58`, and its hour, by which a language may choose its article."""
        here = when.astimezone(ZoneInfo(zone))
        return f"{here:%H:%M}", here.hour

    def deadline(self, when: datetime, zone: str) -> str:
        """When it is too late, in a zone: `Thursday 10 December, 18:00`."""
        here = when.astimezone(ZoneInfo(zone))
        return self.say("general.deadline", day=self._date(here.date(), "general.weekday_date"), time=f"{here:%H:%M}")

    def since(self, when: datetime, zone: str, *, at: datetime) -> str:
        """Since when, in a zone: `Tuesday 14:02`, or the day when it was more than six days ago."""
        here = when.astimezone(ZoneInfo(zone))
        if at - when <= _FEW_DAYS:
            return self.say("general.since_weekday", day=self.weekday(here.date()), time=f"{here:%H:%M}")
        return self.say("general.since_moment", moment=self.moment(when, zone, at=at))

    def month(self, period: str, *, at: date | None = None) -> str:
        """A report's month, given as `2026-11`: `November`; with the year unless it is one of the last eleven."""
        first = date.fromisoformat(f"{period}-01")
        is_near = at is not None and 0 <= (at.year - first.year) * 12 + at.month - first.month <= _A_YEAR
        return self._date(first, "general.month" if is_near else "general.month_year")

    def of_month(self, period: str, *, at: date | None = None) -> str:
        """Of a report's month: `November's`, `d'octobre`, `de noviembre`."""
        month = self.month(period, at=at)
        return self.say("general.of_month_vowel" if month[0] in _VOWELS else "general.of_month", month=month)

    # ---------------------------------------------------------------- parts of sentences

    def label(self, name: str, text: str) -> str:
        """What something is called, and what is said of it: `#33: nothing more to do`."""
        return self.say("general.label", name=name, text=text)

    def handle(self, number: int | str) -> str:
        """What a thing is called by on the telephone: `#1042`, `n° 1042`."""
        return self.say("general.handle", number=str(number))

    def quoted(self, said: str) -> str:
        """Somebody else's words, in one line."""
        return self.say("general.quoted", text=" ".join(said.split())[:_LONGEST])

    def counted(self, counts: Mapping[str, int]) -> str:
        """`2 drafts and 1 follow-up`, out of resource → how many; `nothing` without any."""
        order = [resource for resource in ("loan_draft", "repayment", "journal") if counts.get(resource)]
        parts = [self.say(f"general.count.{resource}", n=counts[resource]) for resource in order]
        return self.joined(parts) if parts else self.say("general.nothing")

    def joined(self, parts: Iterable[str]) -> str:
        """`a`, `a and b`, `a, b and c`."""
        *head, last = [*parts] or [""]
        return self.say("general.and", head=", ".join(head), last=last) if head else last

    # ----------------------------------------------------------------

    @cached_property
    def _locale(self) -> Locale:
        return Locale(self.name)

    def _place(self, number: int) -> int:
        return 0 if self._locale.plural_form(number) == "one" else 1

    def _date(self, when: date, code: str) -> str:
        """By a pattern of the catalogue; the first of a month may have one of its own (`1er`)."""
        forms = catalogue.read(self.name, "general")[code]
        return dates.format_date(when, forms[0 if when.day == 1 else -1], locale=self._locale)


@cache
def _blanks(forms: catalogue.Forms) -> frozenset[str]:
    return frozenset(name for form in forms for _, name, _, _ in string.Formatter().parse(form) if name is not None)


@cache
def _decimals(currency: str | None) -> int:
    """How many decimals amounts of a currency are written with, at least."""
    return numbers.get_currency_precision(currency) if currency and numbers.is_currency(currency) else 0


@cache
def of(name: str) -> Language:
    """The language that is called so: `en`, `fr`, `es`.

    Raises:
        UsageError: there is no such language; names the known ones.
    """
    written = name.strip().lower()
    if written in catalogue.NAMES:
        return Language(written)
    known = ", ".join(catalogue.NAMES)
    raise errors.UsageError(f"There is no language “{visible.text(name)}”: expected {known}.", hint="--lang fr")
