"""A borrower's telephone number or e-mail address inside a text: what is published must not hold it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kiva_relay.resource.refusal import Refusal

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
# Eight digits and more, written together or in groups: shorter ones are amounts, ages and dates.
_PHONE = re.compile(r"(?<![\w.,])\+?\(?\d(?:[\s().\-/]{0,2}\d){7,14}(?!\w)")
_DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{4} ?[-/] ?\d{4}")
# An amount in groups of three, as 12 500 000; a telephone number is hardly ever grouped like this throughout.
_AMOUNT = re.compile(r"[1-9]\d{0,2}([ .\u00a0\u202f])\d{3}(?:\1\d{3})*(?:,\d+)?|\d+[.,]\d{1,2}")
_ENOUGH = 7
_COLUMN = re.compile(r"phone|mobile|telef|e_?mail|whatsapp", re.IGNORECASE)


def is_column(name: str) -> bool:
    """Whether a column that is called so says how somebody can be reached."""
    return _COLUMN.search(name) is not None


def digits(text: str) -> str:
    """The digits of a telephone number, whatever stands between them."""
    return re.sub(r"\D", "", text)


def numbers(texts: Iterable[str]) -> tuple[str, ...]:
    """Telephone numbers and addresses to be looked for, those that are long enough to be ones."""
    found = (text.strip() if "@" in text else digits(text) for text in texts)
    return tuple(dict.fromkeys(each for each in found if "@" in each or len(each) >= _ENOUGH))


def refusals(text: str, path: str, own: Iterable[str]) -> list[Refusal]:
    """An e-mail address, or a number or address that the MIS has for the borrower."""
    if _EMAIL.search(text):
        return [Refusal("contact_in_text", path, {"what": "an e-mail address"})]
    # In another country's writing the beginning differs: 0771234567 is +221 77 123 45 67.
    written = digits(text)
    if any(each[-_ENOUGH - 1 :] in written for each in own if "@" not in each):
        return [Refusal("contact_in_text", path, {"what": "the borrower's telephone number"})]
    return []


def warnings(text: str, path: str) -> list[Refusal]:
    """What looks like a telephone number."""
    for found in _PHONE.finditer(text):
        written = found[0].strip()
        if not _DATE.fullmatch(written) and not _AMOUNT.fullmatch(written):
            return [Refusal("phone_in_text", path)]
    return []
