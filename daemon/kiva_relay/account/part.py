"""A part of a task: of three hundred things ten are shown at once, and the title speaks of all."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from kiva_relay.account import task
from kiva_relay.account.task import Task


def some(one: Task, first: int, most: int) -> Task:
    """A part of a task: its things from `first` on, at most `most`. All that is told of each goes with it."""
    if isinstance(one, task.FindInMis):
        return one
    if isinstance(one, task.DecidePositions):
        behind = first - len(one.lines)
        alone = one.alone[max(behind, 0) : max(behind + most, 0)]
        return replace(one, lines=one.lines[first : first + most], entries=alone, alone=alone, part_of=one)
    parts: dict[str, Any] = {
        name: value[first : first + most] for name, value in vars(one).items() if isinstance(value, tuple)
    }
    return replace(one, part_of=one, **parts)


def how_many(one: Task) -> int:
    """Of how many things a task speaks; of a part, the whole task."""
    match one.part_of or one:
        case task.FindInMis() as whole:
            return len(whole.loans)
        case task.SettleDifferences() as whole:
            return len(whole.found)
        case task.DecidePositions() as whole:
            return len(whole.lines) + len(whole.alone)
        case whole:
            return len(whole.entries)


def resources(one: Task) -> Counter[str]:
    """Of how many things of each resource a task speaks; of a part, the whole task."""
    return Counter(entry.resource for entry in (one.part_of or one).entries)
