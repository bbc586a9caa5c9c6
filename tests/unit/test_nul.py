"""A NUL in a text stops nothing on PostgreSQL: it is shown as the replacement character, and the rest stays."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.adapt import PyFormat

from kiva_relay.outbox.nul import WithoutNul


@pytest.mark.parametrize(
    ("text", "sent"),
    [("", ""), ("Awa", "Awa"), ("A\0wa", "A�wa"), ("\0\0", "��"), ("Thiès\0 é", "Thiès� é")],
)
def test_a_text_leaves_without_nul(text: str, sent: str) -> None:
    assert WithoutNul(str).dump(text) == sent.encode()


def test_without_it_psycopg_refuses_such_a_text() -> None:
    """When this one fails, the dumper is no longer needed."""
    refuses = psycopg.adapters.get_dumper(str, PyFormat.AUTO)
    with pytest.raises(psycopg.DataError, match="NUL"):
        refuses(str).dump("A\0wa")
