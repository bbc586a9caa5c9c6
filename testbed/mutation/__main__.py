"""`python -m testbed.mutation`: draw mutants, try the unit and contract tests on each, say which nobody noticed."""

from __future__ import annotations

import argparse
import difflib
import hashlib
import itertools
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.mutation import mutant
from testbed.mutation.fork import Job, Result
from testbed.mutation.memory import Fate, Memory, validity
from testbed.mutation.mutant import Mutant
from testbed.mutation.progress import Progress
from testbed.mutation.tree import Tree, copied

SEED = 11
_EQUIVALENT = Path(__file__).with_name("equivalent.toml")
# A run that takes this much longer than its tests did goes round in circles.
_LATE_AFTER, _LATE_FACTOR = 60.0, 5.0


def main() -> int:
    """Exit code 0 when enough were noticed."""
    given = _parser().parse_args()
    memory = Memory()
    with copied() as tree:
        drawn = _drawn(tree, given)
        coverage = _coverage(tree, memory, at_once=given.jobs, only=given.tests)
        fates = _fates(tree, drawn, coverage, memory, given)
        return _report(tree, drawn, fates, at_least=given.at_least, diffs=not given.no_diffs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testbed.mutation", description=__doc__)
    add = parser.add_argument
    add("--number", type=int, default=200, help="how many are drawn (default %(default)s)")
    add("--seed", type=int, default=SEED, help="the same seed draws the same (default %(default)s)")
    add("--only", action="append", default=[], metavar="TEXT", help="only of files whose name holds this; repeatable")
    add("--tests", default="", metavar="TEXT", help="only by test files whose name holds this, for a short try")
    add("--all", action="store_true", help="every mutant, none drawn; with --only")
    add("--again", action="store_true", help="try also those whose fate is known")
    add("--jobs", type=int, default=2, help="runs at the same time (default %(default)s)")
    add("--at-least", type=float, default=80.0, metavar="PERCENT", help="to be noticed (default %(default)s)")
    add("--no-diffs", action="store_true", help="only the table")
    return parser


def _drawn(tree: Tree, given: argparse.Namespace) -> list[Mutant]:
    """By a hash of seed and key, so that an edit changes only what is drawn of the lines that it touches."""
    every = [one for file, text in tree.sources().items() for one in mutant.all_of(file, text)]
    every.sort(key=lambda one: hashlib.sha256(f"{given.seed}|{one.key}".encode()).digest())
    valid = (one for one in every if one.valid)
    drawn = list(valid if given.all else itertools.islice(valid, given.number))
    chosen = [one for one in drawn if not given.only or any(part in one.file for part in given.only)]
    sys.stdout.write(f"{len(every)} mutants of {len(tree.sources())} files, {len(chosen)} to be tried\n")
    return sorted(chosen, key=lambda one: (one.file, one.line))


# ---------------------------------------------------------------- which tests


def _coverage(tree: Tree, memory: Memory, *, at_once: int, only: str) -> dict[str, dict[str, Any]]:
    """Of each test how long it takes and which lines of the rooms it runs, by the files' names in the package."""
    around = tree.digest("daemon", "testbed", "tests/conftest.py")
    known: dict[str, dict[str, Any]] = {}
    jobs = []
    digests = {file: (tree.digest(file), around) for file in tree.tests() if only in file}
    for file, (own, rest) in digests.items():
        tests = memory.coverage(file, own, rest)
        if tests is None:
            jobs.append(Job(file, (file,), 900.0, traced=tuple(f"{tree.path(room)}/" for room in _rooms(tree))))
        else:
            known |= tests
    progress = Progress()
    for number, result in enumerate(tree.run(jobs, at_once=at_once) if jobs else (), 1):
        progress.say(f"which lines the tests run: {number} of {len(jobs)} files", last=number == len(jobs))
        if result.code not in (0, 1, 5):
            # Somebody may be in the middle of writing it.
            sys.stdout.write(f"cannot be run, and is left out: {result.name}\n{result.printed[-500:]}\n")
            continue
        tests = {
            name: {
                "seconds": test.get("seconds", 0.0),
                "failed": test.get("failed", False),
                "lines": {path.removeprefix(f"{tree.path('')}/"): lines for path, lines in test["lines"].items()},
            }
            for name, test in json.loads(result.found).items()
        }
        memory.keep_coverage(result.name, *digests[result.name], tests)
        known |= tests
    red = sorted(name for name, test in known.items() if test["failed"])
    for name in red:
        sys.stdout.write(f"fails without any mutant, and is left out: {name}\n")
    return {name: test for name, test in known.items() if name not in red}


def _rooms(tree: Tree) -> list[str]:
    return sorted({file.partition("/")[0] for file in tree.sources()})


def _noticing(one: Mutant, coverage: Mapping[str, dict[str, Any]]) -> list[str]:
    """The tests that run a mutant, the quickest first."""
    found = [
        name
        for name, test in coverage.items()
        if one.file in test["lines"] and (one.at_import or one.statement in test["lines"][one.file])
    ]
    return sorted(found, key=lambda name: (coverage[name]["seconds"], name))


# ---------------------------------------------------------------- trying


def _fates(
    tree: Tree,
    drawn: Sequence[Mutant],
    coverage: Mapping[str, dict[str, Any]],
    memory: Memory,
    given: argparse.Namespace,
) -> dict[str, Fate]:
    known = {} if given.again else memory.fates()
    fates: dict[str, Fate] = {}
    jobs: list[Job] = []
    by_key = {one.key: one for one in drawn}
    progress = Progress()
    for one in drawn:
        fate = known.get(one.key)
        if fate is not None and fate.valid == validity(tree, one, fate.by):
            fates[one.key] = fate
            continue
        tests = _noticing(one, coverage)
        if not tests:
            fates[one.key] = Fate(one.key, "uncovered", "", validity(tree, one, ""))
            _keep(memory, fates[one.key], given)
            progress.note(_in_a_line(one, fates[one.key]))
            continue
        seconds = _LATE_AFTER + _LATE_FACTOR * sum(coverage[name]["seconds"] for name in tests)
        jobs.append(Job(one.key, tuple(tests), seconds, changed=(tree.path(one.file), one.source)))
    for number, result in enumerate(tree.run(jobs, at_once=given.jobs) if jobs else (), 1):
        one = by_key[result.name]
        fate = _fate(tree, one, result)
        fates[fate.key] = fate
        _keep(memory, fate, given)
        if not fate.noticed:
            progress.note(_in_a_line(one, fate))
        alive = sum(not one.noticed for one in fates.values())
        progress.say(f"{number} of {len(jobs)} tried, {alive} not noticed so far", last=number == len(jobs))
    return fates


def _keep(memory: Memory, fate: Fate, given: argparse.Namespace) -> None:
    """Whom some tests did not notice, others may."""
    if fate.noticed or not given.tests:
        memory.keep(fate)


def _fate(tree: Tree, one: Mutant, result: Result) -> Fate:
    survived, failed = 0, (1, 2, 3, 4)
    if result.code == survived:
        return Fate(one.key, "survived", "", validity(tree, one, ""))
    named = [line.split()[1] for line in result.printed.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    by = named[0].partition("[")[0] if named else ""
    file = by.partition("::")[0]
    by = by if file and (tree.folder / file).exists() else ""
    # A negative code: the run was ended by a signal, as of too much memory.
    fate = "late" if result.code is None else "killed"
    if result.code is not None and result.code not in failed and result.code >= 0:
        raise RuntimeError(f"pytest ended with {result.code}:\n{result.printed}")
    return Fate(one.key, fate, by, validity(tree, one, by))


# ---------------------------------------------------------------- the report


def _report(tree: Tree, drawn: Sequence[Mutant], fates: Mapping[str, Fate], *, at_least: float, diffs: bool) -> int:
    declared = {one["key"]: one["why"] for one in tomllib.loads(_EQUIVALENT.read_text("utf-8")).get("mutant", ())}
    sources = tree.sources()
    alive = [one for one in drawn if not fates[one.key].noticed and one.key not in declared]
    if diffs:
        for one in alive:
            sys.stdout.write(_shown(one, fates[one.key], sources[one.file]))
    sys.stdout.write("\n" + "".join(f"{line}\n" for line in _table(drawn, fates, declared)))
    same = [one for one in drawn if one.key in declared]
    noticed = sum(fates[one.key].noticed for one in drawn)
    share = 100 * noticed / max(1, len(drawn) - len([one for one in same if not fates[one.key].noticed]))
    sys.stdout.write(
        f"\n{noticed} of {len(drawn)} were noticed, {len(same)} are declared to mean the same: {share:.1f} %\n"
    )
    wrong = [one for one in same if fates[one.key].noticed]
    for one in wrong:
        sys.stdout.write(f"declared to mean the same, and yet noticed by {fates[one.key].by}: {one.key}\n")
    return 0 if share >= at_least and not wrong and len(same) <= 0.05 * len(drawn) else 1


def _in_a_line(one: Mutant, fate: Fate) -> str:
    return f"{one.key} {fate.fate}: {one.file}:{one.line} {one.scope}: {one.before} → {one.after}"


def _shown(one: Mutant, fate: Fate, source: str) -> str:
    changed = difflib.unified_diff(source.splitlines(), one.source.splitlines(), one.file, one.file, lineterm="", n=2)
    head = f"\n{one.key}  {one.file}:{one.line} {one.scope}  {one.kind}, {fate.fate}\n"
    return head + "".join(f"    {line}\n" for line in list(changed)[2:])


def _table(drawn: Sequence[Mutant], fates: Mapping[str, Fate], declared: Mapping[str, str]) -> Iterator[str]:
    rows: dict[str, Counter[str]] = {}
    for one in drawn:
        fate = fates[one.key]
        kind = "noticed" if fate.noticed else "the same" if one.key in declared else fate.fate
        rows.setdefault(one.file, Counter())[kind] += 1
    yield f"{'':<28}{'noticed':>9}{'survived':>10}{'uncovered':>11}{'the same':>10}"
    for file, counts in sorted(rows.items()):
        yield f"{file:<28}{counts['noticed']:>9}{counts['survived']:>10}{counts['uncovered']:>11}{counts['the same']:>10}"


if __name__ == "__main__":
    sys.exit(main())
