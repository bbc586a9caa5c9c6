"""Kiva's own lists, as `GET …/config/…` answers them: a part of each, enough to map a real book against."""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAMES = ("activities", "locales", "themes", "locations")


@functools.cache
def lists() -> Mapping[str, Sequence[Mapping[str, str | int]]]:
    """The four lists by name, each item keyed as Kiva keys it."""
    text = resources.files(__package__).joinpath("catalogue.json").read_bytes()
    document: dict[str, list[dict[str, str | int]]] = orjson.loads(text)
    return document


def values(name: str, key: str) -> frozenset[str | int]:
    """Every value of one key of a list, as all `full_name` of the locations."""
    return frozenset(item[key] for item in lists()[name])
