"""Mail in the outbox: once of each, with one Message-ID; tried again more and more slowly; told how it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kiva_relay.outbox import mail
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.mail import KeptMail, MailKey, MailStanding

NOW = datetime(2026, 12, 1, 7, 30, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
AWA, LUZ = MailKey("morning", "2026-12-01", "awa@example.org"), MailKey("morning", "2026-12-01", "luz@example.org")


def add(outbox: Outbox, *keys: MailKey, now: datetime = NOW) -> int:
    with outbox.begin() as tx:
        return mail.add(tx, keys, until=now + DAY, domain="example.org", now=now)


def due(outbox: Outbox) -> list[KeptMail]:
    with outbox.read() as tx:
        return mail.due(tx)


def standing(outbox: Outbox) -> MailStanding:
    with outbox.read() as tx:
        return mail.standing(tx)


def test_each_mail_is_noted_down_once(outbox: Outbox) -> None:
    assert add(outbox, AWA, LUZ) == 2
    assert add(outbox, AWA, LUZ) == 0
    assert add(outbox, MailKey("morning", "2026-12-02", AWA.address)) == 1
    first, second, third = due(outbox)
    assert len({one.message_id for one in (first, second, third)}) == 3
    assert first.message_id.startswith("<")
    assert first.message_id.endswith("@example.org>")
    with outbox.read() as tx:
        assert mail.known(tx, [("morning", "2026-12-01")]) == {AWA, LUZ}
        assert mail.last_about(tx, "morning") == "2026-12-02"
        assert mail.last_about(tx, "health") is None


def test_a_second_try_has_the_same_message_id_and_comes_later_each_time(outbox: Outbox) -> None:
    add(outbox, AWA)
    (before,) = due(outbox)
    pauses = []
    for _ in range(9):
        (one,) = due(outbox)
        with outbox.begin() as tx:
            mail.begun(tx, one, now=NOW)
            mail.failed(tx, [one], words="451 later", now=NOW)
        (after,) = due(outbox)
        assert after.message_id == before.message_id
        pauses.append((after.due_at - NOW) / MINUTE)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert after.attempts == 9


def test_who_was_killed_finds_it_due_at_once_and_soon_no_more(outbox: Outbox) -> None:
    add(outbox, AWA)
    waits = []
    for _ in range(4):
        (one,) = due(outbox)
        with outbox.begin() as tx:
            mail.begun(tx, one, now=NOW)
        waits.append((due(outbox)[0].due_at - NOW) / MINUTE)
    assert waits == [0, 1, 3, 7]


def test_what_was_tried_least_comes_first(outbox: Outbox) -> None:
    add(outbox, AWA, LUZ)
    with outbox.begin() as tx:
        mail.failed(tx, due(outbox)[:1], words="no end", now=NOW)
    assert [one.address for one in due(outbox)] == [LUZ.address, AWA.address]


def test_how_it_stands(outbox: Outbox) -> None:
    assert standing(outbox) == MailStanding()
    add(outbox, AWA, LUZ)
    awa, luz = due(outbox)
    with outbox.begin() as tx:
        mail.refused(tx, awa, words="550 no such\nuser", now=NOW)
        mail.failed(tx, [luz], words="Connection refused", now=NOW + MINUTE)
    expected = MailStanding(1, NOW, "Connection refused", ((AWA.address, "550 no such user"),))
    assert standing(outbox) == expected
    with outbox.begin() as tx:
        mail.sent(tx, luz, words="250 OK", now=NOW + 5 * MINUTE)
    assert standing(outbox) == MailStanding(refused=expected.refused, sent_at=NOW + 5 * MINUTE)
    add(outbox, MailKey("morning", "2026-12-02", AWA.address), now=NOW + DAY)
    with outbox.begin() as tx:
        mail.sent(tx, mail.due(tx)[0], words="250 OK", now=NOW + DAY)
    assert standing(outbox) == MailStanding(sent_at=NOW + DAY)


def test_what_is_settled_stays_so(outbox: Outbox) -> None:
    add(outbox, AWA)
    (one,) = due(outbox)
    with outbox.begin() as tx:
        mail.sent(tx, one, words="250 OK", now=NOW)
        mail.failed(tx, [one], words="too late", now=NOW)
        mail.missed(tx, one, now=NOW)
    assert due(outbox) == []
    assert standing(outbox).sent_at == NOW


@pytest.mark.parametrize(("days", "kept"), [(89, 2), (91, 1)])
def test_addresses_are_forgotten_after_ninety_days(outbox: Outbox, days: int, kept: int) -> None:
    add(outbox, AWA)
    with outbox.begin() as tx:
        mail.sent(tx, mail.due(tx)[0], words="250 OK", now=NOW)
    later = MailKey("morning", "2027-03-01", AWA.address)
    add(outbox, later, now=NOW + timedelta(days=days))
    with outbox.read() as tx:
        assert len(mail.known(tx, [("morning", "2026-12-01"), ("morning", "2027-03-01")])) == kept
