"""What docs/engines.md says of each kind of table: which changes wait for the sweep, by engine and way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from testbed.zoo.visit import Visit

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
_TITLE = "## What waits, by kind of table"
_COLUMNS = (
    ("postgresql", "xmin"),
    ("postgresql", "horizon"),
    ("postgresql", "replication"),
    ("mariadb", "compare"),
    ("mariadb", "horizon"),
    ("sqlite", "compare"),
)


def told() -> Mapping[tuple[str, str, str], str]:
    """By kind, engine and way, what stands there. A cell may say otherwise of MySQL, behind a semicolon."""
    section = PAGE.read_text(encoding="utf-8").partition(_TITLE)[2].partition("\n## ")[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == len(_COLUMNS) + 1:
            for (engine, way), cell in zip(_COLUMNS, cells[1:], strict=True):
                usual, _, of_mysql = cell.partition("; MySQL: ")
                found[cells[0], engine, way] = usual
                found[cells[0], {"mariadb": "mysql"}.get(engine, engine), way] = of_mysql or usual
    return found


def differences(seen: Visit, engine: str, way: str) -> list[str]:
    """What a visit shows otherwise than the page says."""
    page = told()
    return [
        f"{kind}: {engine}, {way}: {what} waits, but the page says {page.get((kind, engine, way), '?')}: {', '.join(names)}"
        for kind, outcomes in seen.by_kind().items()
        for what, names in outcomes.items()
        if what != page.get((kind, engine, way))
    ]
