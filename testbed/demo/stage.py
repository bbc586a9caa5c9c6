"""Everything of the demo, started and ended: a MIS, a stand-in for Kiva, and the relay as in production.

All of it is in one folder and on loopback. The relay and the stand-in are processes of their own; so that Ctrl-C
reaches this process alone, which ends the others in order, they have sessions of their own; see `leash`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from pathlib import Path
from random import Random
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from kiva_relay.clock import Clock, SystemClock
from kiva_relay.config import loader
from kiva_relay.config.settings import Settings
from kiva_relay.errors import RelayError
from testbed.database import leash, postgres
from testbed.institution import book, fineract
from testbed.institution.branch import KIVA_FUND, PURPOSES
from testbed.judge import expected
from testbed.judge.expected import ExpectedDraft
from testbed.judge.history import History
from testbed.kiva.control import Sandbox
from testbed.rig import patience

ZONE = "Africa/Dakar"
"""Where the institution is; its clocks show UTC."""

OURS_SINCE = timedelta(days=21)
"""Drafts and journals that are older were posted by hand, as at an institution that takes the relay into use."""

UNKNOWN_PURPOSE = next(purpose for purpose, activity in PURPOSES.items() if activity is None)

_PARTNER = "123"
_DATABASE = "fineract_default"
_READER = "kiva_relay"
_STARTS_WITHIN = 30.0
_STOPS_WITHIN = 20.0
_AT_KIVA = 0.75
_TYPED_BY_HAND = 0.1

_CONFIG = """\
# What `make demo` runs on. The same daemon as in production; only the times are short.
kiva:
  environment: sandbox
  partner_id: {partner}
  client_id: kiva-relay-demo
  client_secret: {{file: kiva-secret}}
  token_url: {kiva}/oauth/token
  api_url: {kiva}
mis:
  url: "{mis}"
  password: {{file: mis-password}}
  timezone: {zone}
  poll_every: 300ms
  max_load: 100
  photos: "{folder}/photos"
mappings: fineract
parameters: {{kiva_fund: {fund}}}
outbox:
  url: "sqlite:///{folder}/outbox.db"
  witness: "{folder}/witness.log"
loan_drafts: {{since: {since}}}
journals: {{since: {since}, batch: 1}}
repayments: {{when: continuous, cutoff: today}}
delivery: {{hold_for: 0, settle_after: 3s, brake: 100000}}
mirror: {{refresh_every: 2s}}
metrics: {{listen: "off"}}
page: {{listen: "127.0.0.1:0", show_names: true}}
"""


class Process:
    """A process of ours: started, stopped, killed; it writes its log into the folder."""

    def __init__(self, name: str, folder: Path, arguments: Sequence[str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", *arguments]
        self._leash: leash.Leash | None = None

    @property
    def pid(self) -> int:
        """Its number; 0 while it does not run."""
        return self._leash.process.pid if self._leash is not None else 0

    def start(self) -> None:
        """Start it, and do not wait for it."""
        with self.log.open("ab") as log:
            environment = _environment(os.environ)
            self._leash = leash.Leash(self._command, log=log, how=signal.SIGTERM, environment=environment)

    def check(self) -> None:
        """Raise RelayError, with what it said last, when it has ended by itself."""
        code = None if self._leash is None else self._leash.process.poll()
        if code is not None:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
            words = "\n".join(said)
            raise RelayError(f"The demo's {self.name} ended by itself (exit code {code}). It said last:\n{words}")

    def kill(self) -> None:
        """End it as kill -9 does, and as a power cut does."""
        if self._leash is not None:
            self._leash.process.kill()
            self._leash.process.wait()
            self._leash.let_go()
            self._leash = None

    def stop(self) -> None:
        """End it in order; by force when that takes too long."""
        if self._leash is None:
            return
        self._leash.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._leash.process.wait(patience.seconds(_STOPS_WITHIN))
        self.kill()


@dataclass(frozen=True)
class Stage:
    """Everything that runs. `mis` is where tellers and the judge reach the MIS; the relay has a role that only reads.

    `since` is the first day that is ours; `book` counts the rows of the MIS; `seeded` loans were at Kiva before.
    """

    folder: Path
    today: date
    since: date
    mis: str
    settings: Settings
    sandbox: Sandbox
    relay: Process
    kiva: Process
    history: History
    book: Mapping[str, int]
    seeded: int
    photos: Path
    clock: Clock

    def check(self) -> None:
        """Raise RelayError when something ended by itself."""
        self.relay.check()
        self.kiva.check()

    def kill_relay(self) -> None:
        """End the relay by kill -9, and start it again at once."""
        self.relay.kill()
        self.relay.start()


@contextlib.contextmanager
def set_up(folder: Path, *, clients: int, seed: int = 1, clock: Clock | None = None) -> Iterator[Stage]:
    """Start everything but the relay in `folder`; end all of it, the relay included, in reverse order.

    Raises:
        RelayError: something did not start; with what it said.
    """
    clock = clock or SystemClock()
    today = clock.now().astimezone(UTC).date()
    since = today - OURS_SINCE
    photos = folder / "photos"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgres.start(folder / "postgres"))
        mis = server.create_database(_DATABASE)
        with psycopg.connect(mis) as connection:
            fineract.create(connection)
            rows = book.seed(connection, photos, today=today, clients=clients, seed=seed).rows
            _mistype(connection, since)
            password = _let_read(connection)
        kiva = Process("kiva", folder, _kiva(folder))
        stack.callback(kiva.stop)
        sandbox = stack.enter_context(Sandbox(_started(kiva)))
        with psycopg.connect(mis, autocommit=True) as connection:
            drafts = expected.drafts(connection, fund_id=KIVA_FUND, today=today)
        history = History()
        history.note(drafts)
        seeded = _seed(sandbox, drafts, since, Random(seed))
        config = _configure(folder, mis=mis, password=password, kiva=sandbox.url, since=since)
        relay = Process("relay", folder, ("kiva_relay", "run", "--config", str(config)))
        stack.callback(relay.stop)
        yield Stage(
            folder=folder,
            today=today,
            since=since,
            mis=mis,
            settings=loader.load(config, environ={}),
            sandbox=sandbox,
            relay=relay,
            kiva=kiva,
            history=history,
            book=rows,
            seeded=seeded,
            photos=photos,
            clock=clock,
        )


def _mistype(connection: psycopg.Connection, since: date) -> None:
    """Two mistakes, as people make them: a name that was never typed in, a purpose that Kiva does not know."""
    recent = b"""
        SELECT id, client_id FROM m_loan
        WHERE fund_id = %(fund)s AND loan_type_enum = 1 AND loan_status_id = 200 AND created_on_utc >= %(since)s
        ORDER BY id LIMIT 2
    """
    found = connection.execute(recent, {"fund": KIVA_FUND, "since": since}).fetchall()
    for _, client_id in found[:1]:
        empty = (
            "UPDATE m_client SET firstname = NULL, lastname = NULL, fullname = NULL, display_name = '' WHERE id = %s"
        )
        connection.execute(empty, [client_id])
    for loan_id, _ in found[1:]:
        other = b"""
            UPDATE m_loan SET loanpurpose_cv_id = (SELECT id FROM m_code_value WHERE code_value = %(purpose)s)
            WHERE id = %(loan)s
        """
        connection.execute(other, {"purpose": UNKNOWN_PURPOSE, "loan": loan_id})


def _let_read(connection: psycopg.Connection) -> str:
    """A role of the MIS that may read and nothing else; its password."""
    password = secrets.token_urlsafe(18)
    role = sql.Identifier(_READER)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
    connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(role))
    return password


def _kiva(folder: Path) -> tuple[str, ...]:
    options = ("--listen", "127.0.0.1:0", "--partner", _PARTNER, "--ledger", str(folder / "kiva.jsonl"))
    return ("testbed.kiva", *options, "--coordinator", "fund_after=2s", "--drafts-visible")


def _started(kiva: Process) -> str:
    """Start the stand-in; its URL, which it prints when it answers."""
    kiva.start()
    deadline = time.monotonic() + patience.seconds(_STARTS_WITHIN)
    while time.monotonic() < deadline:
        kiva.check()
        words = kiva.log.read_text(encoding="utf-8").split()
        if words and words[-1].startswith("http://"):
            return words[-1]
        time.sleep(0.02)
    raise RelayError(f"The stand-in for Kiva did not start within {_STARTS_WITHIN:.0f} seconds. See {kiva.log}.")


def _seed(sandbox: Sandbox, drafts: Mapping[str, ExpectedDraft], since: date, rng: Random) -> int:
    """What Kiva had before the relay: most of the older loans, and a few newer ones that somebody typed in."""
    loans = []
    for draft in drafts.values():
        older = draft.created_at.date() < since
        disbursed = draft.disbursal < since + OURS_SINCE
        if disbursed and rng.random() < (_AT_KIVA if older else _TYPED_BY_HAND):
            loans.append(
                {
                    "internal_loan_id": draft.identity,
                    "status": "payingBack" if older else "fundRaising",
                    "price": f"{draft.principal:.2f}",
                    "currency": draft.currency,
                    "borrower_count": len(draft.borrowers),
                    "age": 30 * 86_400.0 if older else 86_400.0,
                }
            )
    return len(sandbox.seed_loans(loans))


def _configure(folder: Path, *, mis: str, password: str, kiva: str, since: date) -> Path:
    """Write the relay's configuration, its secrets in files of their own."""
    for name, secret in (("mis-password", password), ("kiva-secret", secrets.token_urlsafe(18))):
        _write(folder / name, secret)
    url = urlsplit(mis)
    text = _CONFIG.format(
        partner=_PARTNER,
        kiva=kiva,
        mis=urlunsplit(url._replace(netloc=f"{_READER}@{url.hostname}:{url.port}")),
        zone=ZONE,
        fund=KIVA_FUND,
        folder=folder,
        since=since,
    )
    return _write(folder / "config.yaml", text)


def _write(file: Path, text: str) -> Path:
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    return file


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What a process of the demo inherits: no setting of a relay, no proxy, nothing of a service manager."""
    foreign = ("KIVA_RELAY_", "NOTIFY_SOCKET", "WATCHDOG_", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "PG")
    return {
        name: value
        for name, value in ours.items()
        if not name.startswith(foreign) and not name.lower().endswith("_proxy")
    } | {"PYTHONUNBUFFERED": "1"}
