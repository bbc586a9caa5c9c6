"""Rows that are not read because nobody can tell their key: in words, and as the commands say them."""

from collections.abc import Iterable, Iterator, Mapping

from sqlalchemy.engine import Connection

from kiva_relay.cli import frame, words
from kiva_relay.outbox import meta
from kiva_relay.outbox.meta import Nameless
from kiva_relay.words.spoken import tr

_FEW = 3


def known(tx: Connection, mappings: Iterable[str]) -> dict[str, Nameless]:
    """Those of the mappings that have such rows."""
    found = ((name, meta.nameless(name).get(tx)) for name in mappings)
    return {name: one for name, one in found if one is not None}


def sentence(mapping: str, found: Nameless) -> str:
    """How many, and where."""
    gaps = found.gaps
    number, shown = sum(one.number for one in gaps), "; ".join(one.words for one in gaps[:_FEW])
    if len(gaps) > _FEW:
        shown += tr("; and {n} place more", "; and {n} places more", n=len(gaps) - _FEW)
    return tr(
        "{n} row of {table} not read by {mapping}, for nobody can tell the key ({key}): {shown}",
        "{n} rows of {table} not read by {mapping}, for nobody can tell the key ({key}): {shown}",
        n=number,
        table=found.table,
        mapping=mapping,
        key=", ".join(found.key),
        shown=shown,
    )


def lines(found: Nameless) -> Iterator[str]:
    """What follows, and what to type."""
    yield tr("The other rows are read. These are, once they have a key: correct them in the MIS.")
    for query in dict.fromkeys(filter(None, (one.query(found.table, found.key) for one in found.gaps[:_FEW]))):
        yield words.to_type(tr("In the MIS"), query)


def say(found: Mapping[str, Nameless]) -> None:
    """Say it of each mapping, by its name."""
    for mapping, one in found.items():
        frame.verdict("error", "\n".join([sentence(mapping, one), *lines(one)]))
