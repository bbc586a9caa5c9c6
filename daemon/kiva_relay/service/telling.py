"""A relay that stands by tells what its witness knows: what its machine sent, and the active one may not know of."""

from __future__ import annotations

from pathlib import Path

from kiva_relay import errors, log
from kiva_relay.clock import Clock
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import binding, failover
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.failover import Told
from kiva_relay.outbox.witness import Witness

_log = log.get("delivery")


def is_awaited(outbox: Outbox, number: str) -> bool:
    """Does the active relay wait for what the witness with this number knows?"""
    with outbox.glance() as cx:
        return failover.is_awaited(cx, number)


def tell(outbox: Outbox, settings: Settings, *, clock: Clock) -> str:
    """Put down what the witness of this machine knows and the outbox lacks; its number.

    Raises:
        OutboxRefused: the outbox is of another destination.
        UsageError: the witness cannot be made or written.
    """
    kiva = settings.kiva
    witness = Witness(settings.outbox.witness, api_url=kiva.api_url, partner_id=kiva.partner_id)
    try:
        with outbox.begin() as tx:
            binding.check_destination(tx, settings)
            told = failover.tell(tx, witness, now=clock.now())
        _say(told)
        return witness.id
    finally:
        witness.close()


def tell_for(outbox: Outbox, settings: Settings, file: Path, *, clock: Clock) -> Told:
    """The same by a copy of another machine's witness.

    Raises:
        UsageError: the file is no witness, is this machine's own, or ends too early.
    """
    kiva = settings.kiva
    witness = Witness(file, api_url=kiva.api_url, partner_id=kiva.partner_id, copied=True)
    try:
        if _is_own(settings, witness.id):
            raise errors.UsageError(
                f"{file} is the witness of this machine, which each start reads.", hint="kiva-relay outbox recover"
            )
        with outbox.begin() as tx:
            binding.check_destination(tx, settings)
            told = failover.tell(tx, witness, now=clock.now())
        if told is None:
            raise errors.UsageError(
                f"{file} ends before something that this outbox knows to be answered: it is no whole copy. Nothing was"
                " changed.",
                hint="Copy it again, with the relay of that machine stopped.",
            )
        return told
    finally:
        witness.close()


def _is_own(settings: Settings, number: str) -> bool:
    if not settings.outbox.witness.exists():
        return False
    kiva = settings.kiva
    own = Witness(settings.outbox.witness, api_url=kiva.api_url, partner_id=kiva.partner_id, copied=True)
    try:
        return own.id == number
    finally:
        own.close()


def _say(told: Told | None) -> None:
    if told is None:
        _log.error("The witness of this machine is not whole; it tells nothing")
        return
    if told.taken is not None:
        _log.error(
            "The outbox lacked what this machine has sent; nothing is sent until a person releases it",
            in_doubt=len(told.taken.doubts),
            delivered=len(told.taken.delivered),
        )
    if told.settled or told.released:
        _log.info("What this machine had sent is told", settled=len(told.settled), ends_hold=told.released)
