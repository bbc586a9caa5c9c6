"""Rewrites the parts of the documentation that are made from the code, between their markers.

A part begins with `<!-- rendered: NAME -->` and ends with `<!-- /rendered -->`. What stands between the two is
written by the function of that name in PARTS, so a page cannot fall behind the code: tests/unit/test_docs.py fails
while a page differs from what this script would write.

    make docs
"""
# ruff: noqa: INP001 - a script beside the pages that it writes, no module of the package

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from kiva_relay import cli, meter
from kiva_relay.cli import words
from kiva_relay.config import sample, settings
from kiva_relay.delivery import outcome
from kiva_relay.mapping import function
from kiva_relay.outbox import reason, state, table
from kiva_relay.outbox.state import State
from kiva_relay.resource import refusal
from kiva_relay.words import catalogue

ROOT = Path(__file__).resolve().parents[1]

_PART = re.compile(r"(<!-- rendered: (\w+) -->\n).*?(<!-- /rendered -->)", re.DOTALL)

_MEANINGS: Mapping[State, str] = {
    State.READY: "It is sent when it is due and nothing holds it.",
    State.WAITING: "Something is missing that comes by itself, or a person's decision; the reason says what.",
    State.REFUSED: "The mapping, our checks or Kiva said no; all reasons are on record.",
    State.SENDING: "An attempt is open.",
    State.IN_DOUBT: "It was sent, and nobody knows whether Kiva took it.",
    State.DELIVERED: "Kiva has it; the evidence says how we know.",
    State.SUPERSEDED: "A newer version took its place before it was sent.",
    State.WITHDRAWN: "It is no longer owed.",
    State.DISCARDED: "A person said that it must not go out.",
}


def pages() -> list[Path]:
    """Every page of the project, the README first."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]


def rendered(text: str) -> str:
    """A page with its rendered parts written again."""
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]().strip()}\n\n{part[3]}", text)


# ---------------------------------------------------------------- the parts


def diagram() -> str:
    """The state machine as a Mermaid diagram: one arrow for each pair of states, with who makes the move."""
    arrows: dict[tuple[str, str], dict[str, None]] = {}
    for move in state.MOVES:
        source = "[*]" if move.source is None else move.source.value
        arrows.setdefault((source, move.target.value), {})[move.by.value] = None
    lines = [f"    {source} --> {target}: {', '.join(by)}" for (source, target), by in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def states() -> str:
    """Each state, what it means, and whether it is final."""
    rows = [(f"`{one}`", _MEANINGS[one], "yes" if one in state.FINAL else "") for one in State]
    return _table(("state", "means", "final"), rows)


def moves() -> str:
    """Every move: arrows with the same reason in one row."""
    grouped: dict[tuple[State, str], tuple[dict[str, None], dict[str, None]]] = {}
    for move in state.MOVES:
        sources, actors = grouped.setdefault((move.target, move.when), ({}, {}))
        sources["(new)" if move.source is None else f"`{move.source}`"] = None
        actors[move.by.value] = None
    rows = [
        (", ".join(sources), f"`{target}`", ", ".join(actors), when)
        for (target, when), (sources, actors) in grouped.items()
    ]
    return _table(("from", "to", "by", "when"), rows)


def outcomes() -> str:
    """What an answer means, first match first."""
    rows = [(seen, f"`{became}`", follows) for seen, became, follows in outcome.TABLE]
    return _table(("the first line that applies", "outcome", "what follows"), rows)


def holds() -> str:
    """Every reason for a hold, who lifts it, and how grave it is."""
    rows = [
        (f"`{code}`", why.words, why.lifter.value, "may send twice: look first" if why.grave else "")
        for code, why in reason.REASONS.items()
    ]
    return _table(("reason", "held, because", "lifted by", "released without a look"), rows)


def indexes() -> str:
    """The partial unique indexes of the entries, which keep the promise in the database itself."""
    unique = sorted((one for one in table.entry.indexes if one.unique), key=lambda one: str(one.name))
    rows = [
        (
            f"`{one.name}`",
            ", ".join(f"`{column.name}`" for column in one.columns),
            f"`{one.info['where']}`",
        )
        for one in unique
    ]
    return _table(("index", "unique over", "among rows where"), rows)


def tables() -> str:
    """The tables of the outbox."""
    missing = table.metadata.tables.keys() ^ _TABLES.keys()
    if missing:
        raise KeyError(*missing)
    return _table(("table", "holds"), [(f"`{name}`", holds) for name, holds in _TABLES.items()])


_TABLES: Mapping[str, str] = {
    "forgotten": "keyed hashes of loans of which nothing more is sent, for their borrower asked to be forgotten",
    "discrepancy": "what MIS, outbox and Kiva say differently of a loan, by the newest comparison",
    "meta": "facts about the outbox itself: destination, MIS, its own id, the relay's heartbeat",
    "lease": "who is the active relay, with a fence that grows with each holder",
    "watermark": "how far each mapping has read the MIS, and the scan (backfill, sweep) that is under way",
    "scan": "how far the latest scan of each mapping has come, and what it found",
    "captured": "each key that was seen, with the hash of its content; nothing personal",
    "entry": "one row for each thing owed to Kiva, in each of its versions",
    "tally": "how many things are at Kiva, counted as they get there",
    "batch": "one row for each request",
    "batch_member": "which entries went in it, in which order",
    "attempt": "one row for each try; its outcome is written once, its evidence never overwritten",
    "hold": "what is held, why, since when, and who released it",
    "divergence": "what the MIS changed after it was sent",
    "mirror": "the loans that Kiva lists",
    "mirror_refresh": "each reading of that list, and whether it was complete",
    "catalogue": "Kiva's own lists: activities, locales, locations, themes",
    "act": "what persons did, with their notes",
    "report": "the repayment report of each period: opened, looked at last, closed, finalised by a person",
    "report_line": "where each loan stood when its report closed",
    "decision": "what persons decided about a loan of a report, or for its whole life",
    "position": "of each position: what its amount means, what the MIS lent, what its schedule says",
    "duplicate": "drafts of which persons said that they are another loan than the one that they look like",
    "upload": "each call of positions that Kiva took, with its problems in Kiva's words",
    "mail": "mail to coordinators and administrators: which, to whom, and whether a server took it",
    "person": "who may open the coordinator's page; of passwords only hashes",
    "session": "who has it open",
    "mirror_event": "each change of a loan's status at Kiva, with the moment when it was seen",
}


def metrics() -> str:
    """Every metric as a scrape shows it."""
    rows = []
    for metric in meter.registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = ", ".join(f"`{label}`" for label in _labels(metric.name))
        rows.append((f"`{name}`", metric.type, labels, metric.documentation))
    return _table(("metric", "type", "labels", "means"), rows)


def _labels(name: str) -> Sequence[str]:
    collectors: Any = meter.registry._collector_to_names  # noqa: SLF001 - the library has no other way to ask
    return next(one._labelnames for one, names in collectors.items() if name in names)  # noqa: SLF001 - as above


def configuration() -> str:
    """Every setting, in the order of the sample, section by section."""
    sections: dict[str, list[tuple[str, ...]]] = {}
    for key, field in settings.every():
        section = key.rpartition(".")[0]
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        where = str(extra.get("where", ""))
        does = f"{field.description}{f' Find it: {where}.' if where.startswith('PA2') else ''}"
        sections.setdefault(section.partition(".")[0], []).append((f"`{key}`", _default(field.default, field), does))
    parts = []
    for section, rows in sections.items():
        parts += [f"## `{section}`" if section else "## At the top level", "", _table(("key", "default", "does"), rows)]
        parts.append("")
    return "\n".join(parts)


def _default(value: Any, field: Any) -> str:
    if field.is_required():
        return "**required**"
    if value is None or value is PydanticUndefined:
        return "none"
    return f"`{sample.written_as(value)}`"


def commands() -> str:
    """Every command and what it is for."""
    return _table(("command", "for"), [(f"`kiva-relay {name}`", line) for name, line in cli.COMMANDS.items()])


def reasons() -> str:
    """The codes that stand in `reason` of an entry."""
    return _table(("code", "in words"), [(f"`{code}`", text) for code, text in words.REASONS.items()])


def refusals() -> str:
    """Every refusal code: its sentence, and what to do."""
    rows = []
    for code, texts in refusal.SENTENCES.items():
        sentence, remedy = (text.replace("{{", "{").replace("}}", "}") for text in texts)
        rows.append((f"`{code}`", _blanks(sentence), _blanks(remedy)))
    return _table(("code", "says", "what to do"), rows)


def _blanks(text: str) -> str:
    return re.sub(r"\{(\w+)\}", r"*\1*", text).replace("<", "&lt;").replace(">", "&gt;")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def mapping_functions() -> str:
    """The functions of a mapping, with the examples that a test holds them to."""
    rows = []
    for name, each in function.FUNCTIONS.items():
        shown = "<br>".join(f"`{source}` → {given}" for source, given in each.examples)
        rows.append((f"`{name}`", " ".join((each.compute.__doc__ or "").split()), shown))
    return _table(("function", "what it gives", "as"), rows)


def translations() -> str:
    """The coordinator's sentences that nobody who speaks French or Spanish has read yet."""
    agreed = catalogue.agreed("fr") & catalogue.agreed("es")
    english, *others = (catalogue.every(name) for name in catalogue.NAMES)
    rows = [
        (f"`{code}`", *(_blanks(" / ".join(dict.fromkeys(each[code]))) for each in (english, *others)))
        for code in english
        if code not in agreed
    ]
    return _table(("code", "English", "français", "español"), rows)


PARTS: Mapping[str, Callable[[], str]] = {
    part.__name__: part
    for part in (
        commands,
        configuration,
        diagram,
        holds,
        indexes,
        mapping_functions,
        metrics,
        moves,
        outcomes,
        reasons,
        refusals,
        states,
        tables,
        translations,
    )
}


def stale() -> Iterator[Path]:
    """The pages whose rendered parts differ from the code."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if rendered(text) != text:
            yield page


def main() -> int:
    """Write every stale page again, and name it."""
    for page in stale():
        page.write_text(rendered(page.read_text(encoding="utf-8")), encoding="utf-8")
        sys.stdout.write(f"{page.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
