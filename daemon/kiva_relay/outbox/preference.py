"""Which machine is preferred as the active one, and how a relay that stands by on one asks for the lease.

It leaves another word under its machine's name, again and again. The holder sees that it is another one than at its
last look: so whoever asks is alive, and no clock of a wall is compared.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import meta
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.meta import Fact

STAY = timedelta(minutes=10)
"""So long a holder stays at least before it hands over: a machine that keeps dying does not take it again and again."""

_MOST_DOUBLINGS = 7


@dataclass(frozen=True)
class HandedOver:
    """To which machine the lease was handed over last, and how often since a relay held it there for a stay."""

    to: str
    times: int


HANDED_OVER = meta.of_type("handed_over", HandedOver)


def before(machines: Sequence[str], machine: str) -> tuple[str, ...]:
    """Those that are preferred to a machine, the first choice first; one that is not named comes behind all."""
    return tuple(machines[: machines.index(machine)] if machine in machines else machines)


def ask(outbox: Outbox, machine: str) -> None:
    """A relay that stands by on this machine would take the lease. It wakes nobody, and waits for nobody.

    Raises:
        OutboxAway: the outbox does not answer.
    """
    # Two of one machine may ask for the first time: then one of them has asked.
    with contextlib.suppress(sa.exc.IntegrityError), outbox.begin(alone=False, quiet=True) as tx:
        _asked(machine).put(tx, secrets.token_hex(8))


def asking(cx: Connection, machines: Sequence[str]) -> dict[str, str]:
    """The last word of each of these machines that ever asked."""
    facts = {machine: _asked(machine) for machine in machines}
    known = meta.known(cx, *facts.values())
    return {machine: word for machine, fact in facts.items() if (word := known.of(fact)) is not None}


def stay(known: HandedOver | None, machine: str) -> timedelta:
    """How long a holder stays before it hands over to this machine: each time longer, while it does not stay there."""
    times = known.times if known is not None and known.to == machine else 0
    return STAY * (1 << min(times, _MOST_DOUBLINGS))


def hand_over(tx: Connection, machine: str) -> None:
    """Note down that the lease goes to this machine."""
    known = HANDED_OVER.get(tx)
    times = known.times if known is not None and known.to == machine else 0
    HANDED_OVER.put(tx, HandedOver(machine, times + 1))


def stayed(tx: Connection, machine: str) -> None:
    """A relay on this machine has held the lease for a stay: it works there."""
    known = HANDED_OVER.get(tx)
    if known is not None and known.to == machine:
        HANDED_OVER.remove(tx)


def _asked(machine: str) -> Fact[str]:
    return meta.text(f"lease asked for by {machine}")
