"""One word, one meaning: no class name of the product means two things."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "daemon" / "kiva_relay"


def test_no_two_classes_have_the_same_name() -> None:
    where = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(f"{file.relative_to(PACKAGE)}:{node.lineno}")
    assert where
    assert {name: files for name, files in where.items() if len(files) > 1} == {}
