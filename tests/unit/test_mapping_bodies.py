"""Bodies of every version of the fingerprint stay what they were: else each upgrade would show the whole book as changed.

When a change of the mapper is meant to give other bodies: raise `document.FORMAT`, and add a folder of that number.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kiva_relay.config import yaml_tree
from kiva_relay.mapping import document, example
from kiva_relay.resource import body as bodies

FOLDERS = sorted((Path(__file__).parents[1] / "bodies").glob("format_*"))


def made(folder: Path) -> dict[str, dict[str, str]]:
    """Of each mapping its fingerprint, and of each of its examples the fingerprint of the body, or why there is none."""
    found: dict[str, dict[str, str]] = {}
    for mapping in document.load([folder], parameters={"kiva_donor": 2}):
        examples = example.tree_of(mapping.examples)
        shared = {name.text: yaml_tree.plain(value) for name, value in examples.entries if name.text != "examples"}
        mine = found[mapping.name] = {"fingerprint": mapping.fingerprint}
        listed = examples.get("examples")
        for each in listed.items if listed else ():
            mapped = example.mapped(mapping, shared, each)
            refused = " ".join(sorted(f"{reason.code}:{reason.field}" for reason in mapped.refusals))
            name = each.get("name")
            assert name is not None
            mine[name.text] = bodies.sha256(mapped.body) if mapped.body else mapped.waiting or refused
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_bodies_of_a_version_stay_what_they_were(folder: Path) -> None:
    assert made(folder) == json.loads((folder / "bodies.json").read_text("utf-8"))


def test_the_version_in_force_is_held() -> None:
    assert FOLDERS[-1].name == f"format_{document.FORMAT}"
