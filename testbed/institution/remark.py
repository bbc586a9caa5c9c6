"""Notes as officers write them: some for Kiva, marked in front, most for nobody outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from testbed.institution.branch import Branch

MARK = "KIVA:"

PRIVATE = (
    "Husband in hospital, asks for delay. Do not call before noon. 77 555 01 23",
    "PRIVÉ : cliente injoignable, mari au chômage, dettes chez le voisin",
    "CONFIDENCIAL: separada del esposo, amenazas en casa, visitar con cuidado",
    "سري: مشاكل عائلية، لا تتصل بزوجها",
    "Hid when the officer came; guarantor refuses to pay. ID card 1 755 1984 00213",
    "Not for KIVA: she is HIV positive and told nobody at the group meeting",
    "kiva? non, refuse la photo, famille contre",
    ".",
)
"""Internal remarks. None of them may ever leave the institution."""


def for_kiva(branch: Branch, rng: Random) -> str:
    """A follow-up that its writer marked for Kiva; no two are the same."""
    blank = rng.choice(("", " ", "\n"))
    return f"{MARK}{blank}{branch.story} ({rng.randrange(10**6):06})"


def internal(rng: Random) -> str:
    """A remark that is nobody's business."""
    return rng.choice(PRIVATE)
