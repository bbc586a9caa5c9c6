"""What would become of a position that is mapped now: sent, asked about, or not expected. By capture's own decision."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Connection

from kiva_relay.capture import facts, owed, owed_position
from kiva_relay.capture.context import CaptureContext
from kiva_relay.capture.owed import MappedKey
from kiva_relay.cli import figure, words
from kiva_relay.config.settings import Settings
from kiva_relay.mapping import lookup
from kiva_relay.mapping.mapper import Mapped
from kiva_relay.mapping.plan import Document
from kiva_relay.outbox import decision, mirror
from kiva_relay.report import place
from kiva_relay.resource import refusal, window

_WHY_NOT = {
    owed_position.NOT_EXPECTED: "not sent: Kiva expects no report of this loan.",
    place.LEFT_OUT: "not sent: a person left it out of this report.",
}


def lines(
    tx: Connection, settings: Settings, document: Document, key: str, mapped: Mapped, *, now: datetime
) -> Sequence[str]:
    """What a person is told below the body of a position. Nothing is written."""
    if mirror.last_complete(tx) is None:
        return ["whether Kiva expects it, and whether a person is asked, is known once Kiva's list was read."]
    look = _look(tx, settings, document, now=now)
    row = MappedKey(key, None, mapped, "")
    decided = owed.decide(look, row, facts.read(tx, look, row))
    found = decided.owed
    if found is None:
        return [_WHY_NOT[one.reason] for one in decided.withdrawals if one.reason in _WHY_NOT]
    if found.waits in refusal.PERSON_DECIDES:
        return [
            f"waits for a person: {words.reason(found.waits).partition(':')[0]}.",
            "what may be answered, once the relay has read it:   kiva-relay report --exceptions",
        ]
    said = [refusal.sentence(one) for one in found.refusals]
    if found.position is not None and found.position.decided:
        said.append(f"a person decided about it: {figure.amount(found.amount)} would be sent.")
    return said


def _look(tx: Connection, settings: Settings, document: Document, *, now: datetime) -> CaptureContext:
    """As of a poll while the report is open."""
    due = replace(window.report(settings, now), is_open=True)
    return CaptureContext(
        document=document,
        settings=settings,
        origin="poll",
        now=now,
        today=now.astimezone(ZoneInfo(settings.mis.timezone)).date(),
        report=due,
        scan_number=None,
        lists=lookup.Lists(),
        first_start=now,
        aliases={**lookup.loan_ids(settings.mapping_folders), **decision.aliases(tx)},
        decisions=decision.in_force(tx, due.period),
    )
