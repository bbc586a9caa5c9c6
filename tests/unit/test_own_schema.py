"""Of outbox.url: which schema it names, and what else cannot be said behind the "?"."""

from __future__ import annotations

import pytest

from kiva_relay.config import own_schema
from kiva_relay.config.mismatch import Mismatch


@pytest.mark.parametrize(
    ("url", "schema"),
    [
        ("postgresql://k@h/outboxes?options=-csearch_path=north", "north"),
        ("postgresql://k@h/outboxes?options=-csearch_path%3Dnorth_2", "north_2"),
        ("postgresql://k@a,b:5433/outboxes?target_session_attrs=read-write&options=-c%20search_path%3Dnorth", "north"),
        ("postgresql://k@h/outboxes", ""),
        ("postgresql://k@/outboxes?host=/run/postgresql", ""),
        ("sqlite:////srv/outbox.db?options=odd", ""),
    ],
)
def test_the_schema_that_a_url_names(url: str, schema: str) -> None:
    assert own_schema.of(url) == schema
    assert own_schema.checked(url) == url


@pytest.mark.parametrize(
    "options",
    [
        "-cstatement_timeout=3",
        "-csearch_path=north%20-cstatement_timeout=3",
        "-csearch_path=north,public",
        "-csearch_path=North",
        "-csearch_path=",
        "-csearch_path=2north",
        f"-csearch_path={'n' * 64}",
        "",
    ],
)
def test_anything_else_is_refused_with_what_to_write(options: str) -> None:
    with pytest.raises(Mismatch) as caught:
        own_schema.checked(f"postgresql://k@h/outboxes?options={options}")
    assert "?options=-csearch_path=north" in caught.value.remedy
