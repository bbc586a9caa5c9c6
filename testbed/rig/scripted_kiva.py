"""A Kiva that answers what a test wrote down, in place of `delivery/client.Client`, and a delivery context around it."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kiva_relay.clock import Clock
from kiva_relay.config import loader
from kiva_relay.config.settings import Settings
from kiva_relay.delivery.breaker import Destination
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.token import SCOPES, Tokens
from kiva_relay.outbox import binding
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.witness import Witness
from testbed.rig import configuration
from testbed.rig.outboxes import NOW
from testbed.rig.set_clock import SetClock

LOST = Answer(None, {}, b"", body_complete=True, read_whole=False, error="ReadTimeout: lost")
UNREACHED = Answer(None, {}, b"", body_complete=False, read_whole=False, error="ConnectError: refused")


def answer(status: int, said: Any = None, **headers: str) -> Answer:
    """An answer with a JSON body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps(said).encode(), body_complete=True, read_whole=True)


@dataclass
class ScriptedKiva:
    """Answers POSTs from `answers`, and accepts when it is empty; lists `loans`, by status; `reading` spoils a GET.

    `posts` are path, content, token and key of what was sent; `tokens` counts those that were given.
    """

    answers: deque[Answer] = field(default_factory=deque)
    loans: dict[str, str] = field(default_factory=dict)
    reading: Answer | None = None
    scopes: tuple[str, ...] = SCOPES
    token: Answer | None = None
    tokens: int = 0
    gets: list[str] = field(default_factory=list)
    posts: list[tuple[str, bytes, str, str]] = field(default_factory=list)

    def form(self, _url: str, _fields: Mapping[str, str]) -> Answer:
        """A token."""
        self.tokens += 1
        said = {"access_token": f"t{self.tokens}", "expires_in": 3_600, "scope": " ".join(self.scopes)}
        return self.token or answer(200, said)

    def get(self, path: str, *, token: str, params: Mapping[str, str | int] | None = None) -> Answer:
        """The list of loans, or one of Kiva's lists."""
        self.gets.append(token)
        if self.reading is not None:
            return self.reading
        what = path.rsplit("/", 1)[1]
        if what != "loans":
            return answer(200, {what: []})
        found = [loan for loan, status in self.loans.items() if status == (params or {})["status"]]
        rows = [{"kiva_id": f"k{loan}", "internal_loan_id": loan} for loan in found]
        return answer(200, {"total_records": len(rows), "data": rows})

    def post(self, path: str, content: bytes, *, token: str, key: str) -> Answer:
        """A draft, positions or journals."""
        self.posts.append((path, content, token, key))
        if self.answers:
            return self.answers.popleft()
        said = {
            "loan_draft_uuid": "u",
            "upload_id": 7,
            "archive_id": "a",
            "confirm_url": "https://pa2.kiva.org/confirm/a",
        }
        return answer(200, said)


class _Lease:
    fence = 3

    def still_held(self) -> None:
        """It is."""


def settings(folder: Path, outbox: Outbox, *more: str) -> Settings:
    """A configuration of the sandbox in which positions are always owed and doubts settle after a minute."""
    url = outbox.url.render_as_string(hide_password=False)
    lines = f"""
        outbox: {{url: "{url}", witness: "{folder / "witness.log"}"}}
        repayments: {{when: continuous, cutoff: today, batch: 3}}
        delivery: {{settle_after: 1m}}
    """
    text = configuration.WRITTEN.replace("{env: KIVA_SECRET}", "'a secret'")
    return loader.load(configuration.write(folder, lines, *more, text=text), environ={})


def context(folder: Path, outbox: Outbox, kiva: ScriptedKiva, clock: Clock, *more: str) -> DeliveryContext:
    """What delivery works with, around a scripted Kiva. The outbox is bound; nothing was read yet."""
    found = settings(folder, outbox, *more)
    client: Any = kiva
    lease: Any = _Lease()
    with outbox.begin() as tx:
        binding.bind_destination(tx, found)
    return DeliveryContext(
        outbox=outbox,
        settings=found,
        clock=clock,
        client=client,
        tokens=Tokens(client, found.kiva, clock=clock),
        destination=Destination(clock=clock, dice=random.Random(1)),
        lease=lease,
        witness=Witness(found.outbox.witness, api_url=found.kiva.api_url, partner_id=found.kiva.partner_id),
        started=clock.monotonic(),
    )


def clock() -> SetClock:
    """A clock that begins at the rigs' NOW."""
    return SetClock(NOW)
