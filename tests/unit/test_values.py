"""Values are frozen dataclasses: whoever is given one may keep it, and it can be a member of a set."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator

import kiva_relay

GROWING = {
    "capture.trial.MappingDifference",
    "capture.trial.Tally",
    "config.mistake_report.MistakeReport",
    "config.written.Written",
    "delivery.context.DeliveryContext",
    "delivery.staging.Recorder",
    "report.csv.CsvReport",
    "service.reload.InForce",
    "source.change.Found",
    "source.halves.Halves",
    "source.pgoutput.Transaction",
    "source.route.Routed",
}
"""What is filled step by step, or says what is in force now. What a file keeps to itself may be as it likes."""


def classes() -> Iterator[tuple[str, type]]:
    for found in pkgutil.walk_packages(kiva_relay.__path__, "kiva_relay."):
        if found.name.startswith("kiva_relay.sandbox") or found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for one in vars(module).values():
            if isinstance(one, type) and one.__module__ == found.name and dataclasses.is_dataclass(one):
                yield f"{found.name.removeprefix('kiva_relay.')}.{one.__name__}", one


def test_a_dataclass_is_frozen_unless_it_grows() -> None:
    every = dict(classes())
    assert len(every) > 100
    open_ones = {name for name, one in every.items() if not _refuses(one) and not one.__name__.startswith("_")}
    assert open_ones == GROWING


def _refuses(one: type) -> bool:
    """Does it take no other value once it is made?"""
    return any("__setattr__" in vars(each) for each in one.__mro__ if each is not object)
