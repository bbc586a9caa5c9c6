from __future__ import annotations

import pytest

from testbed.kiva import fault


def fires(one: fault.Fault, calls: int) -> list[int]:
    return [number for number in range(1, calls + 1) if one.strikes()]


def test_a_fault_happens_once_unless_it_says_otherwise() -> None:
    assert fires(fault.parse({"kind": "drop_after"}), 5) == [1]
    assert fires(fault.parse({"kind": "drop_after", "times": 2}), 5) == [1, 2]
    assert fires(fault.parse({"kind": "drop_after", "times": None}), 3) == [1, 2, 3]


def test_every_nth_call_after_some_that_pass() -> None:
    assert fires(fault.parse({"kind": "drop_after", "every": 3}), 9) == [3, 6, 9]
    assert fires(fault.parse({"kind": "drop_after", "every": 3, "after": 1, "times": 2}), 12) == [4, 7]


def test_chance_repeats_itself_with_the_same_seed() -> None:
    first = fires(fault.parse({"kind": "drop_after", "probability": 0.2, "seed": 7}), 1000)
    again = fires(fault.parse({"kind": "drop_after", "probability": 0.2, "seed": 7}), 1000)
    other = fires(fault.parse({"kind": "drop_after", "probability": 0.2, "seed": 8}), 1000)
    assert first == again != other
    assert 150 < len(first) < 250


def test_groups_of_calls() -> None:
    assert fault.parse({"kind": "slow", "seconds": 1, "on": "post"}).on == fault.POSTS
    assert fault.parse({"kind": "slow", "seconds": 1, "on": ["token", "loans"]}).on == ("token", "loans")
    assert fault.parse({"kind": "slow", "seconds": 1}).on == fault.TARGETS


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "kind: '' is not one of"),
        ({"kind": "drop_afer"}, "Did you mean 'drop_after'?"),
        ({"kind": "drop_after", "evry": 2}, "Did you mean 'every'?"),
        ({"kind": "drop_after", "on": "loan_drafts"}, "Did you mean 'loan_draft'?"),
        ({"kind": "drop_after", "on": 3}, "expected a name or a list"),
        ({"kind": "drop_after", "every": 0}, "every"),
        ({"kind": "drop_after", "times": "2"}, "times: '2' is of the wrong type"),
        ({"kind": "drop_after", "probability": 2}, "probability"),
        ({"kind": "slow"}, "seconds"),
        ({"kind": "forbid_scope", "scope": "read:loan"}, "Did you mean 'read:loans'?"),
        ({"kind": "problem"}, "problem"),
        ({"kind": "status", "status": 99}, "status"),
        ({"kind": "revoke_tokens", "status": 500}, "status"),
        ({"kind": "drop_in_body", "loan_id": "A"}, "loan_id"),
    ],
)
def test_a_mistake_in_a_fault_is_named(document: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        fault.parse(document)
    assert said in str(caught.value)
