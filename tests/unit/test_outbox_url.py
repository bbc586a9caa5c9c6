"""What may stand behind the "?" of outbox.url: psycopg refuses a name that libpq does not know, by no word of ours."""

from __future__ import annotations

import pytest
from psycopg import pq

from kiva_relay.config import url_parameters
from kiva_relay.config.mismatch import Mismatch


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://k@h/outbox",
        "postgresql://k@a,b/outbox?target_session_attrs=read-write&sslmode=verify-full&sslrootcert=/srv/ca.pem",
        "postgresql://k@h/outbox?options=-csearch_path=north",
        "sqlite:////srv/outbox.db?odd=1",
    ],
)
def test_what_is_known_stays(url: str) -> None:
    assert url_parameters.of_outbox(url) == url


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("option=-csearch_path=north", "did you mean options?"),
        ("ssl_mode=require", "did you mean sslmode?"),
        ("tier=1", "take it out"),
    ],
)
def test_what_libpq_does_not_know_is_a_mistake_of_the_file(written: str, remedy: str) -> None:
    with pytest.raises(Mismatch) as caught:
        url_parameters.of_outbox(f"postgresql://k@h/outbox?{written}")
    assert written.partition("=")[0] in str(caught.value)
    assert remedy in caught.value.remedy


def test_libpq_knows_all_of_them() -> None:
    there = {one.keyword.decode() for one in pq.Conninfo.get_defaults()}
    assert {*url_parameters.LIBPQ} <= there
