"""Which tables the mappings read, in their SQL too."""

from collections.abc import Iterator, Sequence

from kiva_relay.errors import RelayError
from kiva_relay.frozen import dataclass
from kiva_relay.mapping.document import Document
from kiva_relay.source import named

_ROOT = "kr_root"


@dataclass(frozen=True)
class TablesRead:
    """The tables, as the database calls them, true for those that are read whole; and SQL that is not understood."""

    tables: dict[str, bool]
    unclear: list[str]


def read_by(mappings: Sequence[Document], *, dialect: str) -> TablesRead:
    """What these mappings read; `dialect` is the database's, by name."""
    whole: set[str] = set()
    partly: set[str] = set()
    unclear: dict[str, None] = {}
    for mapping in mappings:
        whole.add(mapping.stream.table)
        whole.update(relation.table for relation in mapping.stream.watched() if relation.table is not None)
        for select in _selects(mapping):
            try:
                partly.update(named.tables(select, dialect=dialect))
            except RelayError as error:
                unclear[f"{mapping.name}: {error}"] = None
    return TablesRead({name: name in whole for name in sorted((whole | partly) - {_ROOT})}, [*unclear])


def _selects(mapping: Document) -> Iterator[str]:
    if mapping.stream.where:
        yield f"SELECT 1 FROM {_ROOT} WHERE {mapping.stream.where}"  # noqa: S608 - it is read here, never run
    yield from (relation.sql for relation in mapping.stream.watched() if relation.sql is not None)
    yield from (parameter.sql for parameter in mapping.parameters if parameter.sql is not None)
