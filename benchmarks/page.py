"""The figures as a person reads them: tables for the terminal and for docs/benchmarks.md, and its plots."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import backfill, drafts, faults, latency, life, positions, stages
from benchmarks.figure import BARE, COURIER, DURABLE, FOUR, OURS, Figure, Figures, shown
from benchmarks.plot import Bar, bars

_PART = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- /measured -->)", re.DOTALL)
_LIMIT = "limit: "
SHOWN_ABOVE = {
    "faults": {"faults": "Sent twice"},
    "drafts": {"drafts": "Drafts a second, at once", "drafts-50": "Drafts a second, after 50 ms"},
    "backfill": {"backfill": "From the book to entries"},
    "latency": {"latency": "From commit to accepted"},
}
"""The plots of a part of the page."""


def tables(figures: Figures) -> str:
    """All of them, one below the other."""
    parts = [f"{name}\n\n{text}" for name, part in PARTS.items() if (text := part(figures).strip())]
    return "\n\n".join(parts) + "\n"


def write(folder: Path, figures: Figures) -> None:
    """Write what is measured into benchmarks.md, and the plots beside it; the text around it stays."""
    file, drawn = folder / "benchmarks.md", _plots(figures)
    text = file.read_text(encoding="utf-8")

    def anew(part: re.Match[str]) -> str:
        made = PARTS[part[2]](figures).strip()
        above = SHOWN_ABOVE.get(part[2], {})
        pictures = [f"![{title}](plots/{name}.svg)" for name, title in above.items() if name in drawn]
        made = "\n\n".join([*(pictures if made else ()), made])
        return f"{part[1]}\n{made}\n\n{part[3]}" if made else part[0]

    file.write_text(_PART.sub(anew, text), encoding="utf-8")
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    for name, plot in drawn.items():
        (plots / f"{name}.svg").write_text(plot, encoding="utf-8")


def machine(figures: Figures) -> str:
    """Where and when, with which versions."""
    about = figures.about
    peers = ", ".join(f"{name} ({version})" for name, version in dict(about.get("peers", {})).items())
    took, after = about.get("minutes", "?"), about.get("load_after", "?")
    lines = [
        (
            f"{about['day']}: {about['cores']} cores ({about['processor']}), {about['memory_gb']} GB, {about['disk']},"
            f" Python {about['python']}; load {about['load_before']} before and {after} after, {took} minutes."
            f" A book of {about['loans']:,} loans. {peers and f'Beside it: {peers}.'}"
        ),
        *(f"Not measured: {who} ({why})." for who, why in figures.missing.items()),
    ]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell or " " for cell in line) + " |" for line in lines)


def _who(figures: Sequence[Figure]) -> list[str]:
    """Ours first, then the peers, then the limits."""
    named = dict.fromkeys(one.who for one in figures)
    return sorted(named, key=lambda who: (who.startswith(_LIMIT), not who.startswith(OURS)))


def _cell(one: Figure | None) -> str:
    if one is None:
        return ""
    return shown(one.middle) + (f" ({one.spread})" if one.spread else "")


def _wrong(one: Figure | None) -> str:
    return "" if one is None or one.duplicates is None else f"{one.duplicates} / {one.lost}"


def _summed(found: Sequence[Figure]) -> str:
    known = [one for one in found if one.duplicates is not None]
    if not known:
        return ""
    return f"{sum(one.duplicates or 0 for one in known)} / {sum(one.lost or 0 for one in known)}"


def _under_faults(figures: Figures, who: str) -> list[str]:
    """Duplicates and losses of the same sender where answers are lost, and where it is killed."""
    name = OURS if who == COURIER else who
    return [_wrong(figures.find(faults.PART, case, name)) for case in (faults.LOST, faults.KILLED)]


_CORRECT = ("duplicates / lost here", "with 1 % lost answers", "with three kills")


def of_drafts(figures: Figures) -> str:
    """Drafts a second, at each delay."""
    found = figures.of(drafts.PART)
    cases = [case.name for case in drafts.CASES if case.peers]
    rows = []
    for who in _who(found):
        its = [figures.find(drafts.PART, case, who) for case in cases]
        first = its[0]
        rows.append([
            who,
            *map(_cell, its),
            f"{first.cost:.1f}" if first else "",
            f"{first.peak:.0f}" if first and first.peak else "",
            _summed([one for one in found if one.who == who]),
            *_under_faults(figures, who),
        ])  # fmt: skip
    return _table(["drafts a second", *cases, "CPU ms each", "peak MB", *_CORRECT], rows)


def of_large(figures: Figures) -> str:
    """Drafts a second with a photo, and over a slow wire."""
    cases = [case.name for case in drafts.CASES if not case.peers]
    found = [one for one in figures.of(drafts.PART) if one.case in cases]
    rows = [
        [
            who,
            *(_cell(figures.find(drafts.PART, case, who)) for case in cases),
            _summed([x for x in found if x.who == who]),
        ]
        for who in _who(found)
    ]
    return _table(["drafts a second", *cases, _CORRECT[0]], rows)


_RATIOS = (
    ("drafts at 0 ms: courier to httpx with two commits and a sync", drafts.PART, "0 ms", COURIER, DURABLE, "0.7"),
    ("drafts at 0 ms: courier to bare httpx", drafts.PART, "0 ms", COURIER, BARE, "0.35"),
    ("drafts at 50 ms: courier to one bare connection", drafts.PART, "50 ms", COURIER, BARE, "0.95; a window: 2.5"),
    ("drafts at 50 ms: four bare connections to one", drafts.PART, "50 ms", FOUR, BARE, ""),
    (
        "drafts over TLS: courier to one bare connection",
        drafts.PART,
        "TLS, 100 ms of round trip",
        COURIER,
        BARE,
        "0.95",
    ),
    ("positions: relay to dlt", positions.PART, positions.CASE, OURS, "dlt", "0.25"),
)


def ratios(figures: Figures) -> str:
    """Ours to the others, in one run."""
    rows = []
    for what, part, case, ours, other, least in _RATIOS:
        one, two = figures.find(part, case, ours), figures.find(part, case, other)
        if one and two and two.middle:
            rounds = [a / b for a, b in zip(one.values, two.values, strict=False) if b]
            spread = f"{min(rounds):.2f}-{max(rounds):.2f}" if len(rounds) > 1 else ""
            rows.append([what, f"{one.middle / two.middle:.2f}", spread, least])
    for one in figures.of(backfill.PART):
        two = figures.find(backfill.PART, one.case, backfill.EXTRACT)
        if one.who == OURS and two and two.middle:
            rows.append(
                [f"book to entries, {one.case}: relay to dlt's extract", f"{one.middle / two.middle:.2f}", "", "1"]
            )
    for name in ("p50", "p99"):
        found = {one.who: one for one in figures.of(latency.PART, f"20 a second, {name}")}
        stream = found.pop(latency.STREAM, None)
        theirs = [one.middle for who, one in found.items() if not who.startswith(OURS)]
        if stream and theirs:
            what = f"from commit to accepted at 20 a second, {name}: stream to Debezium's better"
            rows.append([what, f"{stream.middle / min(theirs):.2f}", "", "at most 1"])
    return _table(["ratio", "middle", "of each round", "wanted at least"], rows)


def of_positions(figures: Figures) -> str:
    """Positions a second."""
    rows = [
        [
            one.who,
            _cell(one),
            f"{1000 * one.cost:.0f}",
            f"{one.peak:.0f}" if one.peak else "",
            _wrong(one),
        ]
        for who in _who(figures.of(positions.PART))
        if (one := figures.find(positions.PART, positions.CASE, who))
    ]
    head = ["positions in calls of 250", "a second", "CPU ms for 1,000", "peak MB", _CORRECT[0]]
    return _table(head, rows)


def of_faults(figures: Figures) -> str:
    """What was doubled and lost."""
    rows = []
    for who in _who(figures.of(faults.PART)):
        cells = []
        for case in (faults.LOST, faults.KILLED):
            one = figures.find(faults.PART, case, who)
            cells += [str(one.duplicates), str(one.lost), shown(one.middle)] if one else ["", "", ""]
        doubts = [figures.find(faults.PART, case, who) for case in (faults.LOST, faults.KILLED)]
        asked = " + ".join(str(one.more["in_doubt"]) for one in doubts if one and "in_doubt" in one.more)
        rows.append([who, *cells, asked])
    sent = next((one.more["sent"] for one in figures.of(faults.PART)), 0)
    head = [
        f"{sent:,} drafts",
        "1 % lost: duplicates",
        "lost",
        "s",
        "three kills: duplicates",
        "lost",
        "s",
        "a person is asked",
    ]
    return _table(head, rows)


def of_backfill(figures: Figures) -> str:
    """Loans a second, from the book to entries."""
    found = figures.of(backfill.PART)
    cases = list(dict.fromkeys(one.case for one in found))
    rows = []
    for who in _who(found):
        its = [figures.find(backfill.PART, case, who) for case in cases]
        first = next(one for one in its if one)
        peak = max(one.peak for one in its if one)
        rows.append([
            who,
            *map(_cell, its),
            f"{first.cost:.2f}",
            f"{peak:.0f}" if peak else "",
            _summed([one for one in its if one]),
        ])  # fmt: skip
    return _table(["loans a second", *cases, "CPU ms each", "peak MB", "doubled / missing"], rows)


def of_latency(figures: Figures) -> str:
    """Milliseconds from commit to accepted."""
    found = figures.of(latency.PART)
    cases = list(dict.fromkeys(one.case for one in found))
    rows = []
    for who in _who(found):
        its = [figures.find(latency.PART, case, who) for case in cases]
        last = its[-1]
        cpu = f"{last.cost:.1f}" if last else ""
        peak = f"{max(one.peak for one in its if one):.0f}"
        rows.append([who, *map(_cell, its), cpu, peak, _summed([one for one in its if one])])
    return _table(["ms from commit to accepted", *cases, "CPU ms a change at 20", "MB", _CORRECT[0]], rows)


def of_life(figures: Figures) -> str:
    """Starts and rest."""
    rows = [[one.case, one.who, _cell(one) + f" {one.unit}"] for one in figures.of(life.PART)]
    return _table(["what", "who", ""], rows)


def of_growth(figures: Figures) -> str:
    """What a long history costs."""
    rows = [[one.case, f"{one.middle:.2f}", f"{one.cost:.1f}"] for one in figures.of(life.GROWTH)]
    return _table(["after a long history to after a short one", "times", "CPU ms"], rows)


def of_stages(figures: Figures) -> str:
    """Where the time goes."""
    rows = [
        [what, ", ".join(f"{one.who.partition(': ')[2]} {one.middle:.0f} %" for one in figures.of(stages.PART, what))]
        for what in ("capture", "delivery")
        if figures.of(stages.PART, what)
    ]
    return "\n\n".join(f"*{what}*: {text}." for what, text in rows)


def of_costs(figures: Figures) -> str:
    """The functions in which most of the time was found."""
    parts = []
    for what in ("capture", "delivery"):
        rows = [[f"`{one.who}`", f"{one.middle:.1f} %"] for one in figures.of(stages.NAMED, what)]
        parts.append(_table([f"{what}: found in", "of the time"], rows))
    return "\n\n".join(part for part in parts if part)


PARTS: Mapping[str, Callable[[Figures], str]] = {
    "machine": machine,
    "ratios": ratios,
    "faults": of_faults,
    "drafts": of_drafts,
    "large": of_large,
    "positions": of_positions,
    "backfill": of_backfill,
    "latency": of_latency,
    "life": of_life,
    "growth": of_growth,
    "stages": of_stages,
    "costs": of_costs,
}


def _plots(figures: Figures) -> dict[str, str]:
    """Each plot that there are figures for, by name."""
    found = {}
    for name, title, part, case in (
        ("drafts", "Drafts a second, Kiva answers at once", drafts.PART, "0 ms"),
        ("drafts-50", "Drafts a second, Kiva answers after 50 ms", drafts.PART, "50 ms"),
    ):
        rows = [_bar(one, "") for who in _who(figures.of(part)) if (one := figures.find(part, case, who))]
        found[name] = bars(title, rows) if rows else ""
    doubled = [
        Bar(f"{who}: {case}", float(one.duplicates or 0), f"{one.duplicates}", "ours" if who == OURS else "peer")
        for case in (faults.LOST, faults.KILLED)
        for who in _who(figures.of(faults.PART))
        if (one := figures.find(faults.PART, case, who))
    ]
    found["faults"] = bars("Sent twice, of 2,000 drafts", doubled, less_is_better=True) if doubled else ""
    loans = [one for one in figures.of(backfill.PART) if one.who in (OURS, backfill.EXTRACT, backfill.LIMIT)]
    rows = [_bar(one, f", {one.case}") for one in loans]
    found["backfill"] = bars("From the book to entries, loans a second", rows) if rows else ""
    waits = [one for one in figures.of(latency.PART) if one.case.startswith("20 a second")]
    rows = [_bar(one, f", {one.case.rpartition(' ')[2]}") for one in waits]
    title = "From commit to accepted, 20 new loans a second, ms"
    found["latency"] = bars(title, rows, less_is_better=True) if rows else ""
    return {name: plot for name, plot in found.items() if plot}


def _bar(one: Figure, more: str) -> Bar:
    kind = "ours" if one.who.startswith(OURS) else "limit" if one.who.startswith(_LIMIT) else "peer"
    return Bar(one.who.removeprefix(_LIMIT) + more, one.middle, shown(one.middle), kind)
