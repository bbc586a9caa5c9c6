"""Courier and refresher against a Kiva that garbles its answers: `python -m testbed.fuzz.relay --number 200`.

Real sockets, a real outbox, the real client; only time is played. In each round something new is owed of each resource, and each
answer of Kiva's may be garbled. Holds that a person would lift are lifted. Then the weather clears, and Kiva's ledger is
asked: nothing may have ended a turn, nothing may stand as delivered that Kiva never took, nothing that is created once may
have been sent twice, and nothing may be lost: what Kiva does not have is refused, in doubt, or was said.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from kiva_relay.delivery.client import Client
from kiva_relay.delivery.courier import Courier
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.delivery.token import Tokens
from kiva_relay.outbox import hold, store, table
from kiva_relay.outbox.hold import in_force
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.sandbox.server import SandboxServer
from testbed.kiva import server
from testbed.kiva.control import Sandbox
from testbed.kiva.fault import parse
from testbed.kiva.state import KivaState
from testbed.rig import outboxes, scripted_kiva
from testbed.rig.partner_caller import draft_body
from testbed.rig.scripted_kiva import ScriptedKiva
from testbed.rig.set_clock import SetClock

_GARBLED = {"token": 0.1, "loan_draft": 0.5, "repayments": 0.5, "journals": 0.5, "loans": 0.05, "config": 0.3}
"""How often each answer is garbled. A reading of the list is 28 answers, and a token is for hours."""

_CLEARING = 40
_MINUTE = 60.0


@dataclass
class Siege:
    """One run. `wrong` is what was found, each with its round."""

    number: int
    seed: int
    wrong: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        """Live through all of it."""
        with tempfile.TemporaryDirectory() as folder, server.start() as kiva:
            self._besiege(Path(folder), kiva)

    def _besiege(self, folder: Path, kiva: SandboxServer[KivaState]) -> None:
        clock, outbox = SetClock(outboxes.NOW), outboxes.on_file(folder)
        context = scripted_kiva.context(folder, outbox, ScriptedKiva(), clock, "mirror: {refresh_every: 2m}")
        urls = {"token_url": f"{kiva.url}/oauth/token", "api_url": kiva.url}
        there = context.settings.kiva.model_copy(update=urls)
        context.settings = context.settings.model_copy(update={"kiva": there})
        context.client = Client(there, clock=clock, environ={})
        context.tokens = Tokens(context.client, there, clock=clock)
        self._courier = Courier(context, stop=threading.Event())
        self._refresher = Refresher(context)
        faults, dice = kiva.state.faults, random.Random(self.seed)
        with Sandbox(kiva.url) as control:
            control.seed_loans([{"internal_loan_id": f"P{number}"} for number in range(self.number)])
        for call, share in _GARBLED.items():
            seed = dice.randrange(10**9)
            faults.add(parse({"kind": "odd", "answer": "garbled", "on": call, "probability": share, "seed": seed}))
        for number in range(self.number):
            self._owe(outbox, clock, number)
            self._turn(outbox, clock, f"round {number}")
        faults.remove()
        for number in range(_CLEARING):
            clock.passes(900)
            self._turn(outbox, clock, f"clearing {number}")
        self._judge(outbox, kiva)
        context.client.close()
        context.witness.close()
        outbox.close()

    def _owe(self, outbox: Any, clock: SetClock, number: int) -> None:
        draft, paid = f"L{number}", f"P{number}"
        bodies: tuple[tuple[str, str, Any], ...] = (
            ("loan_draft", draft, draft_body(draft)),
            ("repayment", paid, {"loan_id": paid, "amount": 5}),
            ("journal", paid, {"internal_loan_id": paid, "subject": "A note", "body": "All is well."}),
        )
        with outbox.begin() as tx:
            for resource, loan, body in bodies:
                changes: dict[str, object] = {"resource": resource, "stream": resource, "due_at": clock.now()}
                if resource == "repayment":
                    changes["period"] = "2026-11"
                made = outboxes.owed(loan, json.dumps(body), **changes)
                store.owe(tx, made, now=clock.now())

    def _turn(self, outbox: Any, clock: SetClock, when: str) -> None:
        """What the relay's two threads do within a minute, and what a person does who releases whatever is held."""
        for do in (self._refresher.look, self._courier.deliver):
            try:
                do()
            except Exception:
                self.wrong.append(f"{when}: a turn ended with {traceback.format_exc(limit=-4)}")
        with outbox.begin() as tx:
            for held in in_force(tx):
                if not held.why.lifts_itself:
                    hold.release(tx, held.what, by="the siege", note="looked", now=clock.now(), reason=held.reason)
        clock.passes(_MINUTE)

    def _judge(self, outbox: Any, kiva: SandboxServer[KivaState]) -> None:
        taken: dict[str, Counter[str]] = {resource: Counter() for resource in RESOURCES}
        for record in kiva.state.ledger.records:
            taken[record.resource].update(record.loan_ids)
        with outbox.read() as tx:
            rows = list(tx.execute(sa.select(table.entry)))
        self.states.update(f"{row.resource} {row.state}" for row in rows)
        for row in rows:
            times, what = taken[row.resource][row.loan_id], f"{row.resource} {row.loan_id}"
            if row.state == "delivered" and not times:
                self.wrong.append(f"{what} stands as delivered by {row.evidence}, and Kiva never took it")
            if times > 1 and RESOURCES[row.resource].effect == "additive":
                self.wrong.append(f"{what} was sent {times} times")
            if row.state in ("sending", "ready", "waiting"):
                self.wrong.append(f"{what} is {row.state} ({row.reason}) though the weather is good")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=200, help="rounds; in each, one of each resource becomes owed")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    siege = Siege(chosen.number, chosen.seed)
    siege.run()
    states = ", ".join(f"{count} {state}" for state, count in sorted(siege.states.items()))
    sys.stdout.write(f"{chosen.number} rounds from seed {chosen.seed}: {len(siege.wrong)} wrong ({states})\n")
    sys.stdout.writelines(f"  {line}\n" for line in siege.wrong[:20])
    return 1 if siege.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
