"""What a look asks the server about a slot and a publication that nobody made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kiva_relay.source import slot


class Server:
    """Answers the first question, and counts them."""

    def __init__(self, **facts: Any) -> None:
        self.asked: list[str] = []
        names = "role wal_level keep standbys standby may_follow partial here plugin reader wal_status kept timeline"
        nothing: dict[str, Any] = dict.fromkeys(names.split())
        self._row = SimpleNamespace(**nothing, next_xid=7, version=170_000, survives=False, there=False, **facts)

    def execute(self, asked: Any) -> Any:
        self.asked.append(str(asked))
        listed = SimpleNamespace(all=list)
        return SimpleNamespace(one=lambda: self._row, scalars=lambda: listed)


@pytest.mark.parametrize(("published", "questions"), [(False, 1), (True, 2)])
def test_without_a_publication_nobody_asks_for_its_tables(published: bool, questions: int) -> None:  # noqa: FBT001
    """A relay that polls asks it at each look."""
    server = Server(published=published)
    found = slot.facts(server, None, "kiva_relay", (), all_of_it=False)  # type: ignore[arg-type]
    assert (found.made, found.others, len(server.asked)) == (published, {}, questions)
