from __future__ import annotations

import pytest

from kiva_relay import errors


@pytest.mark.parametrize(
    ("wrong", "known", "near"),
    [
        ("Thies", ["Dakar: Senegal", "Thiès: Senegal"], ["Thiès: Senegal"]),
        ("urll", ["url", "timezone"], ["url"]),
        ("livestok", ["Food", "Livestock", "Dairy"], ["Livestock"]),
        ("da", ["Dairy", "Dakar: Senegal"], []),
        ("Travaux divers", ["Livestock", "Food"], []),
        ("loan", ["loan_draft.glim", "loan_draft.group", "loan_draft.individual", "loan", "journal"], ["loan"]),
    ],
)
def test_what_is_near_begins_alike_or_looks_alike(wrong: str, known: list[str], near: list[str]) -> None:
    assert errors.nearest(wrong, known)[: len(near) or 1] == near
    assert len(errors.nearest(wrong, known)) <= 3
