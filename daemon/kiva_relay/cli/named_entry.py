"""The entries that a person means: by their numbers, or by the loan."""

from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.outbox import listing, query
from kiva_relay.outbox.entry import Entry


def by_number(tx: Connection, number: int) -> Entry:
    """The entry with this number.

    Raises:
        UsageError: there is none.
    """
    entry = query.find(tx, number)
    if entry is None:
        raise errors.UsageError(f"There is no entry {number} in this outbox.", hint="kiva-relay outbox list")
    return entry


def of_loan(tx: Connection, loan: str) -> list[Entry]:
    """The entries of a loan, oldest first.

    Raises:
        UsageError: there are none; names the ids that end alike.
    """
    found = listing.of_loan(tx, loan)
    if not found:
        meant = listing.loans_like(tx, loan)
        raise errors.UsageError(
            f"The outbox knows nothing of loan {loan}: the relay never owed Kiva anything for it.",
            hint="\n".join(f"Did you mean: --loan {one}" for one in meant) or "kiva-relay mapping preview --help",
        )
    return found
