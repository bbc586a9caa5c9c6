"""Capture under fire: an MFI at work, and one relay a capture mode that must not lose a change; `make workload` runs it.

Each relay is a process with an outbox of its own, and is killed now and then; the database is restarted. The judge is
the MIS at rest against each outbox: before the sweep nothing may be missing but what no stamp and no row shows, after
it nothing at all. A poller that asks `changed > max(seen)` runs beside them, so that one can see what there is to lose.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kiva_relay import errors
from kiva_relay.capture import many_left
from kiva_relay.config import duration
from kiva_relay.outbox import hold, watermark
from testbed.rig import patience
from testbed.workload.branch import Branch
from testbed.workload.change import Seen
from testbed.workload.engine import Engine, engine, engines
from testbed.workload.verdict import Loan, judge, truth
from testbed.workload.watcher import Naive, Watcher, watcher

_IN_MEMORY = Path("/dev/shm")
_PATIENCE = 600.0
"""Seconds for what is waited for: on a busy machine a poll after much work takes long, and is no miss."""

_STAMPS: tuple[Seen, ...] = ("stamp",)
SEEN_BY: Mapping[str, Collection[Seen]] = {
    "xmin": ("stamp", "row"),
    "compare": ("stamp", "row"),
    "horizon": _STAMPS,
    "overlap": _STAMPS,
    "replication": ("stamp", "row", "nothing"),
}
"""What each capture mode sees without the sweep."""


# ---------------------------------------------------------------- the run


@dataclass
class Figures:
    """What came out, of one engine."""

    engine: str
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    keys: int = 0
    naive: int = 0
    lines: list[str] = field(default_factory=list)
    missed: dict[str, list[str]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Did the relays lose nothing, and would it have shown if they had?"""
        return self.naive > 0 and not any(self.missed.values())


def run(
    name: str, folder: Path, *, seconds: float, rate: float, seed: int, loans: int = 2000, at_least: int = 0
) -> Figures:
    """One engine: work for so long, and until so much is committed; come to rest, judge, sweep, judge."""
    figures = Figures(name)
    with engine(name, folder) as mis, contextlib.ExitStack() as stack:
        branch = Branch(mis, loans=loans, rate=rate, seed=seed)
        branch.open()
        watchers = [watcher(mis, mode, folder / mode) for mode in mis.modes]
        for each in watchers:
            if each.mode == "replication":
                each.set_up()
            each.start()
            stack.callback(each.stop)
        for each in watchers:
            _until(lambda each=each: not _scanning(each), within=_PATIENCE, what=f"{each.mode}: the backfill")  # type: ignore[misc]
        naive = Naive(mis)
        stack.callback(naive.stop)
        began = time.monotonic()
        _under_fire(mis, branch, watchers, seconds=seconds, seed=seed, at_least=at_least)
        figures.seconds = time.monotonic() - began
        time.sleep(1)
        naive.stop()
        loans_now = truth(mis)
        figures.counts, figures.keys = branch.log.counts, len({one.key for one in branch.log.changes})
        figures.naive = _lost_by(naive, loans_now, branch)
        for each in watchers:
            _judge(each, loans_now, branch, figures)
    return figures


def _under_fire(
    mis: Engine, branch: Branch, watchers: Sequence[Watcher], *, seconds: float, seed: int, at_least: int
) -> None:
    dice, over = random.Random(seed), threading.Event()
    failed: list[BaseException] = []

    def kill() -> None:
        try:
            first = dice.sample(watchers, len(watchers))  # each of them once, before chance decides
            while not over.wait(dice.uniform(2, 8)):
                (first.pop() if first else dice.choice(watchers)).kill()
            for each in first:
                each.kill()
        except BaseException as error:
            failed.append(error)

    def restart() -> None:
        mis.restart()
        branch.log.counts["restarts of the database"] += 1

    # What makes every loan be looked at again comes early: it would hide what was missed before it.
    minutes = max(1, round(seconds / 60))
    jobs: list[tuple[float, Callable[[], None]]] = [(0.1, branch.mass_stamp), (0.2, branch.mass_stamp)]
    jobs += [
        (number / (minutes + 1), job) for number in range(1, minutes + 1) for job in (restart, branch.refill_arrears)
    ]
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        branch.work(seconds=seconds, jobs=jobs, at_least=at_least)
    finally:
        over.set()
        killer.join()
    if failed:
        raise failed[0]


def _judge(each: Watcher, loans: Mapping[int, Loan | None], branch: Branch, figures: Figures) -> None:
    hidden = branch.log.hidden(SEEN_BY[each.mode])
    # A table that was emptied makes the one that follows the stream compare the whole book, as a poller need not.
    _until(lambda: not _scanning(each), within=_PATIENCE, what=f"{each.mode}: its scan")
    _polled_twice(each)
    _until(lambda: _all_left(each), within=_PATIENCE, what=f"{each.mode}: what left")
    left = judge(each, loans, branch)
    missed = {loan: why for loan, why in left.wrong.items() if loan not in hidden}
    with each.outbox.begin() as tx:
        watermark.start_scan(tx, "loan_draft", "sweep", now=datetime.now(UTC))
    _until(lambda: not _scanning(each), within=_PATIENCE, what=f"{each.mode}: the sweep")
    _until(lambda: _all_left(each), within=_PATIENCE, what=f"{each.mode}: what the sweep saw leave")
    after = judge(each, loans, branch, closely=True)
    figures.missed[each.mode] = [
        *(f"not noticed: loan {loan}: {why}" for loan, why in missed.items()),
        *(f"not even by the sweep: loan {loan}: {why}" for loan, why in after.wrong.items()),
        *(f"torn: {why}" for why in after.torn),
    ]
    times = sorted(after.latency)
    shown = f"p50 {_part(times, 50):.2f} s, p99 {_part(times, 99):.2f} s"
    found = len(left.wrong) - len(missed)
    figures.lines.append(
        f"  {each.mode:<11} missed {len(missed)} · found by the sweep only {found} · missed after it {len(after.wrong)}"
        f" · torn {len(after.torn)} · kills {each.kills} · commit to entry {shown}"
    )


def _all_left(each: Watcher) -> bool:
    """The person who says that the loans really left: this institution closes more of them than is usual."""
    now = datetime.now(UTC)
    with contextlib.suppress(errors.OutboxAway), each.outbox.begin() as tx:
        hold.release(tx, "stream:loan_draft", by="a person", note="they left", now=now, reason=many_left.REASON)
        return not watermark.has_unseen(tx, "loan_draft")
    return False


def _polled_twice(each: Watcher) -> None:
    """Wait until W moved twice: the second poll began when everything had been committed, and is in the outbox."""
    seen: set[datetime | None] = set()

    def moved() -> bool:
        with contextlib.suppress(errors.OutboxAway), each.outbox.read() as tx:
            seen.update(mark.moved_at for mark in watermark.watermarks(tx).values())
        return len(seen) > 2

    _until(moved, within=_PATIENCE, what=f"{each.mode}: two polls")


def _scanning(each: Watcher) -> bool:
    with contextlib.suppress(errors.OutboxAway), each.outbox.read() as tx:  # it may not have its tables yet
        marks = watermark.watermarks(tx)
        return not marks or any(mark.scan is not None or mark.w is None for mark in marks.values())
    return True


def _lost_by(naive: Naive, loans: Mapping[int, Loan | None], branch: Branch) -> int:
    """Loans whose own row was stamped, and whose content the naive poller does not have."""
    hidden = branch.log.hidden(_STAMPS)
    return sum(
        1 for loan, should in loans.items() if should and loan not in hidden and naive.tokens.get(loan) != should[2]
    )


def _part(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else 0.0


def _until(question: Callable[[], bool], *, within: float, what: str) -> None:
    deadline = patience.Deadline(within)
    while not question():
        assert not deadline.over, f"{what} took longer than {within:g} s of a quick machine"
        time.sleep(0.1)


# ---------------------------------------------------------------- the script


def show(figures: Figures) -> None:
    """Print what came out."""
    counts = figures.counts
    _say(
        f"{figures.engine}: {counts.pop('committed', 0):,} transactions committed in {figures.seconds:.0f} s, "
        f"{figures.keys:,} loans changed; {', '.join(f'{number:,} {what}' for what, number in sorted(counts.items()))}"
    )
    _say(f"  naive       lost {figures.naive:,} loans: `changed > max(seen)`")
    _say("\n".join(figures.lines))
    for mode, what in figures.missed.items():
        for line in what[:10]:
            _say(f"  {mode}: {line}")


def main() -> int:
    """Run it on the engines that this machine has; 0 when nothing was missed and the naive poller lost some."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="length", default="10m", help="how long each engine works (default %(default)s)")
    parser.add_argument("--rate", type=float, default=50, help="transactions a second (default %(default)s)")
    parser.add_argument("--engine", choices=("postgresql", "mariadb", "mysql"), help="only this one")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", action="store_true", help="leave the folder with outboxes and logs")
    chosen = parser.parse_args()
    names = [chosen.engine] if chosen.engine else engines()
    _say(f"seed {chosen.seed}")
    for left in {"postgresql", "mariadb", "mysql"} - {*engines()}:
        _say(f"not run: {left}; `make servers` may make it")
    good = True
    for name in names:
        folder = Path(tempfile.mkdtemp(prefix="kiva-relay-workload-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
        seconds = duration.parse(chosen.length).total_seconds()
        figures = run(name, folder, seconds=seconds, rate=chosen.rate, seed=chosen.seed)
        show(figures)
        good = good and figures.good
        if chosen.keep or not figures.good:
            _say(f"  everything is in {folder}")
        else:
            shutil.rmtree(folder)
    return 0 if good else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
