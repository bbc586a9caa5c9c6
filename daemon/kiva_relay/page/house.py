"""What the requests to the page share, and one request of a person who is logged in."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import jinja2
from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from kiva_relay.account import standing
from kiva_relay.account.balance import Account
from kiva_relay.account.standing import Standing
from kiva_relay.clock import Clock
from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import person as persons
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.person import PageSession, Person
from kiva_relay.page import brought
from kiva_relay.page.attempts import Attempts
from kiva_relay.page.names import MisNames
from kiva_relay.page.place import PagePlace
from kiva_relay.words import catalogue, language, unbroken
from kiva_relay.words.language import Language

_COOKIE = "kiva-relay"
_COOKIE_ENCRYPTED = "__Host-kiva-relay"
"""Browsers take a cookie of such a name from us alone, not from a neighbour in the same domain."""
_CHECKS_AT_ONCE = 2  # of passwords: each takes 64 MB
_DIGITS = 7


@dataclass(frozen=True)
class Visit:
    """One request of a person who is logged in."""

    house: House
    session: PageSession
    form: Mapping[str, str]
    query: Mapping[str, str]
    now: datetime

    @property
    def person(self) -> Person:
        """Who asks."""
        return self.session.person

    @property
    def language(self) -> Language:
        """How she is spoken to."""
        return language.of(self.person.language)

    @property
    def page(self) -> int:
        """Which page of a long list."""
        number = self.query.get("page", "1")
        return int(number) if number.isascii() and number.isdigit() and len(number) < _DIGITS else 1

    @property
    def said(self) -> str:
        """What is said over the page she came back to."""
        return self.language.say("page.did") if self.query.get("said") == "did" else ""

    def facts(self, tx: Connection) -> Standing:
        """How things stand. Of what was counted for the page before, that is taken over which has not moved."""
        house = self.house
        found = standing.gather(tx, house.settings, now=self.now, in_parts=True, before=house.account)
        house.account = found.account
        return found

    def show(self, template: str, *, status: int = 200, loans: Iterable[str] = (), **values: Any) -> Response:
        """A page. Of `loans` the names are shown, where the settings say so."""
        known = self.house.names
        names = {} if known is None else known.of(self.house.outbox, list(loans))
        return self.house.show(
            template, self.language, status=status, form=self.session.form, person=self.person, names=names, **values
        )


class House:
    """What all requests share."""

    def __init__(
        self, settings: Settings, outbox: Outbox, *, where: PagePlace, clock: Clock, names: MisNames | None
    ) -> None:
        self.settings, self.outbox, self.where, self.clock, self.names = settings, outbox, where, clock, names
        self.attempts = Attempts(clock)
        self.account: Account | None = None
        self.checks = threading.BoundedSemaphore(_CHECKS_AT_ONCE)
        self.cookie = _COOKIE_ENCRYPTED if where.encrypted else _COOKIE
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("kiva_relay.page", "template"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.style = (jinja2.PackageLoader("kiva_relay.page", "template").get_source(self._templates, "style.css"))[0]

    def show(self, template: str, spoken: Language, *, status: int = 200, **values: Any) -> Response:
        """A template with its values, in a language."""
        environment = self.settings.kiva.environment
        text = self._templates.get_template(template).render(
            say=spoken.say, lang=spoken.name, languages=catalogue.OWN_NAMES, environment=environment, **values
        )
        return HTMLResponse(unbroken.kept(text), status_code=status)

    def visit(self, request: Request, form: Mapping[str, str]) -> Visit | None:
        """The session of a request; None: nobody is logged in."""
        token, now = request.cookies.get(self.cookie, ""), self.clock.now()
        if not token:
            return None
        with self.outbox.read() as tx:
            found = persons.session(tx, token, now=now)
        if found is None:
            return None
        if found[1]:
            with self.outbox.begin() as tx:
                persons.seen(tx, token, now=now)
        return Visit(self, found[0], form, brought.without_zero(dict(request.query_params)), now)
