"""Who may open the page, and what a person has open: kept, found again, ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kiva_relay.outbox import person
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.person import IDLE, LASTS, Person
from testbed.rig.outboxes import NOW

AWA = Person("awa", "coordinator", "fr")
OMAR = Person("omar", "administrator", "en")


@pytest.fixture(autouse=True)
def _both(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        assert person.put(tx, AWA, password="hash-1", by="root", now=NOW)
        assert person.put(tx, OMAR, password="hash-2", by="root", now=NOW)


def test_a_person_is_found_by_name_with_the_hash(outbox: Outbox) -> None:
    with outbox.read() as tx:
        assert person.find(tx, "awa") == (AWA, "hash-1")
        assert person.find(tx, "nobody") is None
        assert person.everybody(tx) == [(AWA, None), (OMAR, None)]


def test_who_is_there_gets_another_password_role_and_language_and_what_was_open_ends(outbox: Outbox) -> None:
    new = Person("awa", "administrator", "es")
    with outbox.begin() as tx:
        awas, omars = (person.begin_session(tx, name, now=NOW) for name in ("awa", "omar"))
        assert not person.put(tx, new, password="hash-3", by="omar", now=NOW)
        assert person.find(tx, "awa") == (new, "hash-3")
        assert person.find(tx, "omar") == (OMAR, "hash-2")
        assert person.session(tx, awas, now=NOW) is None
        assert person.session(tx, omars, now=NOW) is not None


def test_a_person_is_taken_off_once_and_what_was_open_ends(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        token = person.begin_session(tx, "awa", now=NOW)
        assert person.remove(tx, "awa")
        assert not person.remove(tx, "awa")
        assert person.session(tx, token, now=NOW) is None
        assert [one for one, _ in person.everybody(tx)] == [OMAR]


def test_another_language_is_that_persons_own(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        person.speaks(tx, "awa", "es")
        assert [(one.name, one.language) for one, _ in person.everybody(tx)] == [("awa", "es"), ("omar", "en")]


def test_a_session_is_found_by_its_token_alone(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        awas, omars = (person.begin_session(tx, name, now=NOW) for name in ("awa", "omar"))
        found = [person.session(tx, token, now=NOW) for token in (awas, omars)]
        assert [one[0].person for one in found if one is not None] == [AWA, OMAR]
        assert len({awas, omars, *(one[0].form for one in found if one is not None)}) == 4
        assert person.session(tx, awas[:-1], now=NOW) is None
        person.end_session(tx, awas)
        assert person.session(tx, awas, now=NOW) is None
        assert person.session(tx, omars, now=NOW) is not None


def test_a_session_that_is_used_lasts_and_one_that_is_not_ends(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        token = person.begin_session(tx, "awa", now=NOW)
        soon = person.session(tx, token, now=NOW + timedelta(seconds=1))
        assert soon is not None
        assert not soon[1], "it need not be written down at each request"
        assert person.session(tx, token, now=NOW + IDLE) is not None
        assert person.session(tx, token, now=NOW + IDLE + timedelta(seconds=1)) is None
        last = NOW + IDLE - timedelta(minutes=1)
        late = person.session(tx, token, now=last)
        assert late is not None
        assert late[1], "it is time to write it down"
        person.seen(tx, token, now=last)
        assert person.session(tx, token, now=NOW + IDLE + timedelta(seconds=1)) is not None
        assert person.everybody(tx)[0] == (AWA, last)


def test_none_outlasts_its_day_however_much_it_is_used(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        token = person.begin_session(tx, "awa", now=NOW)
        person.seen(tx, token, now=NOW + LASTS)
        assert person.session(tx, token, now=NOW + LASTS) is not None
        assert person.session(tx, token, now=NOW + LASTS + timedelta(seconds=1)) is None


def test_what_is_over_is_forgotten_when_another_begins(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        person.begin_session(tx, "awa", now=NOW)
        person.begin_session(tx, "omar", now=NOW + IDLE + timedelta(seconds=1))
        assert [seen for _, seen in person.everybody(tx)] == [None, NOW + IDLE + timedelta(seconds=1)]
