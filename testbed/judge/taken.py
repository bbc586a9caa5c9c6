"""What Kiva took against what an office owes, by what each thing is called on both sides."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kiva_relay.resource.kind import RESOURCES
from testbed.kiva.state import KivaState
from testbed.rig.office import Office

Taken = Mapping[str, Counter[str]]
"""By resource, how often Kiva took each thing: a draft by its loan, a note by its text, a position by loan and amount."""


def taken(state: KivaState) -> Taken:
    """By what the ledger of a stand-in says."""
    found: dict[str, Counter[str]] = {resource: Counter() for resource in RESOURCES}
    for record in state.ledger.records:
        body: Any = json.loads(record.body)
        if record.resource == "journal":
            found["journal"].update(row["body"] for row in body)
        elif record.resource == "repayment":
            found["repayment"].update(f"{row['loan_id']} {row['amount']}" for row in body["repayments"])
        else:
            found["loan_draft"][body["entreps"][0]["loan_id"]] += 1
    return found


def called(row: Any) -> str:
    """What an entry, a row of the outbox, is about."""
    if row.body is None or row.resource == "loan_draft":
        return str(row.loan_id)
    body = json.loads(row.body)
    return str(body["body"]) if row.resource == "journal" else f"{row.loan_id} {body['amount']}"


def invented(rows: Sequence[Any], at_kiva: Taken) -> Iterator[str]:
    """Entries that say what is not so."""
    for row in rows:
        name, times = f"{row.resource} {called(row)}", at_kiva[row.resource][called(row)]
        if row.state == "delivered" and not times:
            yield f"{name} stands as delivered by {row.evidence}, and Kiva never took it"
        if row.state == "refused" and times and row.resource != "repayment":
            yield f"{name} stands as refused, and Kiva took it"


def duplicated(at_kiva: Taken) -> Iterator[str]:
    """What is created once, and Kiva has several times."""
    for resource in ("loan_draft", "journal"):
        for what, times in at_kiva[resource].items():
            if times > 1:
                yield f"{resource} {what} is at Kiva {times} times"


def lost(rows: Sequence[Any], at_kiva: Taken, office: Office) -> Iterator[str]:
    """What Kiva does not have, and nobody is asked about; in good weather nothing is still on its way."""
    asked = {(row.resource, called(row)) for row in rows if row.state in ("in_doubt", "refused")}
    owed = [("loan_draft", account) for account in office.drafts]
    owed += [("repayment", f"{account} {amount}") for account, amount in office.positions.items()]
    owed += [("journal", text) for text in office.notes]
    states = {(row.resource, called(row)): f"{row.state}, {row.reason}" for row in rows}
    for one in owed:
        if not at_kiva[one[0]][one[1]] and one not in asked:
            yield f"{one[0]} {one[1]} is lost: {states.get(one, 'not even in the outbox')}"
