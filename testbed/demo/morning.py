"""The morning after the demo: the coordinator's page, with a person for it and things to decide."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from kiva_relay.errors import RelayError
from kiva_relay.outbox import person
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.person import Person
from kiva_relay.page import password
from testbed.demo.stage import Process, Stage
from testbed.institution.branch import KIVA_FUND
from testbed.rig import patience

NAME = "awa"
UNKNOWN = ("KV/93", "KV/104")
"""Loans that somebody typed into PA2 with numbers of their own."""

_STARTS_WITHIN = 30.0
_AT = re.compile(r"The page is at (\S+)")
_REPAID = b"""
    SELECT account_no, currency_code FROM m_loan
    WHERE fund_id = %(fund)s AND loan_type_enum = 1 AND loan_status_id = 300 AND principal_repaid_derived > 10
      AND NOT account_no = ANY(%(at_kiva)s)
    ORDER BY id LIMIT 1
"""


@dataclass(frozen=True)
class OpenPage:
    """Where the page is, and how one gets in."""

    url: str
    name: str
    password: str

    @property
    def lines(self) -> tuple[str, ...]:
        """For the screen."""
        return (
            f"  The coordinator's page   {self.url}   name: {self.name}   password: {self.password}",
            "    three loans of the month's report to decide · follow-ups to confirm · then the month to finalise",
        )


@contextlib.contextmanager
def opened(scene: Stage) -> Iterator[OpenPage]:
    """The page as a process of its own beside the relay, until the block ends.

    Raises:
        RelayError: it did not start; with what it said.
    """
    _ask(scene)
    secret = secrets.token_urlsafe(9)
    _let_in(scene, secret)
    page = Process("page", scene.folder, ("kiva_relay", "page", "--config", str(scene.settings.file)))
    try:
        page.start()
        yield OpenPage(_answers(page), NAME, secret)
    finally:
        page.stop()


def _ask(scene: Stage) -> None:
    """Three things that a person has to decide: two numbers that the MIS does not have, and more repaid than lent."""
    at_kiva = [loan["internal_loan_id"] for loan in scene.sandbox.loans()]
    with psycopg.connect(scene.mis) as connection:
        found = connection.execute(_REPAID, {"fund": KIVA_FUND, "at_kiva": at_kiva}).fetchone()
        currency = connection.execute("SELECT currency_code FROM m_loan LIMIT 1").fetchone()
    money = str(currency[0]) if currency else "XOF"
    loans = [{"internal_loan_id": loan, "price": "75000.00", "currency": money} for loan in UNKNOWN]
    if found is not None:
        loans.append({"internal_loan_id": found[0], "price": "10.00", "currency": found[1]})
    scene.sandbox.seed_loans(
        [{"status": "payingBack", "borrower_count": 1, "age": 90 * 86_400.0} | one for one in loans]
    )


def _let_in(scene: Stage, secret: str) -> None:
    outbox = Outbox(scene.settings.outbox.url)
    try:
        with outbox.begin() as tx:
            who = Person(NAME, "coordinator", "en")
            person.put(tx, who, password=password.made(secret), by="the demo", now=scene.clock.now())
    finally:
        outbox.close()


def _answers(page: Process) -> str:
    deadline = time.monotonic() + patience.seconds(_STARTS_WITHIN)
    while time.monotonic() < deadline:
        page.check()
        found = _AT.search(page.log.read_text(encoding="utf-8"))
        if found:
            return found[1]
        time.sleep(0.05)
    raise RelayError(f"The page did not start within {_STARTS_WITHIN:.0f} seconds. See {page.log}.")
