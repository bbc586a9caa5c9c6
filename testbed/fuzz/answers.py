"""Garbles answers and gives them to the reader: `python -m testbed.fuzz.answers --number 100000`.

For each kind: nothing may raise; whatever is kept must be text that both databases can hold; and a receipt may only be read
where an oracle that knows nothing of the reader agrees that the signs are there. What fails is told with its seed, which
repeats it: `--seed 17 --number 1`.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from kiva_relay.delivery import outcome
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.document import NotUnderstood
from kiva_relay.delivery.outcome import Outcome
from kiva_relay.delivery.receipt import Receipt
from testbed.fuzz import garble, oracle
from testbed.fuzz.sample import KINDS, SampleKind
from testbed.rig.outboxes import NOW

_SHOWN = 20


@dataclass
class FuzzResult:
    """What became of the answers of one kind. `wrong` are the failures, each with its seed."""

    kind: str
    number: int = 0
    read: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def made(kind: SampleKind, seed: int) -> Answer:
    """The answer of a seed; a third of them come near to what is accepted, for only one place of them is changed."""
    dice = random.Random(f"{kind.name} {seed}")
    return garble.answer(dice, dice.choice(kind.said))


def tried(kind: SampleKind, seed: int) -> tuple[list[str], str]:
    """What each reader of the kind made of one answer, and what is wrong with that; empty: nothing."""
    answer = made(kind, seed)
    read = []
    for reader in kind.reads:
        try:
            found = reader(answer)
            read.append(type(found).__name__)
            if why := _wrong(kind, answer, found):
                return read, f"{why}: {answer.content[:400]!r}"
        except Exception:
            return read, f"{traceback.format_exc(limit=-3)}{answer.content[:400]!r}"
    return read, ""


def _wrong(kind: SampleKind, answer: Answer, found: Any) -> str:
    if isinstance(found, Receipt):
        resource = (
            "repayment" if "upload_id" in found.signs else "journal" if "archive_id" in found.signs else "loan_draft"
        )
        orjson.dumps(found.kept())
        if "\0" in str(found.kept()):
            return "a text that PostgreSQL cannot hold is kept"
        if why := oracle.wrong(answer, resource, found):
            return f"a receipt was read, though {why}"
    if kind.resource:
        decision = outcome.decide(answer, shape=isinstance(found, Receipt), now=NOW)
        if decision.outcome is Outcome.ACCEPTED and not isinstance(found, Receipt):
            return "accepted without a receipt"
        if answer.status in range(200, 300) and decision.outcome is Outcome.REFUSED:
            return "a success was taken for a refusal"
    if not isinstance(found, NotUnderstood) and "\ud800" in repr(found):
        return "half a letter is kept"
    return ""


def run(kind: SampleKind, *, seed: int, number: int) -> FuzzResult:
    """Try so many answers of one kind, from a seed on."""
    result = FuzzResult(kind.name)
    for each in range(seed, seed + number):
        read, why = tried(kind, each)
        result.number += 1
        result.read.update(read)
        if why:
            result.wrong.append(f"seed {each}: {why}")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=10_000, help="how many answers of each kind")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--kind", choices=[*KINDS], action="append", help="only this kind")
    chosen = parser.parse_args()
    failed = 0
    for name in chosen.kind or KINDS:
        began = time.monotonic()
        result = run(KINDS[name], seed=chosen.seed, number=chosen.number)
        read = ", ".join(f"{count:,} {what}" for what, count in result.read.most_common())
        took = time.monotonic() - began
        sys.stdout.write(f"{name:<11} {result.number:>9,} answers  {len(result.wrong)} wrong  {took:.0f} s  ({read})\n")
        for line in result.wrong[:_SHOWN]:
            sys.stdout.write(f"  {line}\n")
        failed += len(result.wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
