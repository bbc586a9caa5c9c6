"""The three kinds of things that Kiva accepts, and what sending one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from kiva_relay.frozen import dataclass
from kiva_relay.resource import journal, loan_draft, repayment
from kiva_relay.resource.body import Body
from kiva_relay.resource.field import CheckFacts, Field
from kiva_relay.resource.refusal import Refusal

__all__ = ["RESOURCES", "CheckFacts", "Field", "Resource"]


@dataclass(frozen=True)
class Resource:
    """One kind of thing that Kiva accepts.

    `path` is the last part of its URL. `effect`: `additive`, a repeat makes a second one at Kiva;
    `idempotent`, a repeat changes nothing. `create_once`: sent once in its life. `batch_limit`: how many of
    them one call takes at most. `scope` is the OAuth scope that it needs. `complete` makes the body as sent
    out of the body as mapped; `check` says what is wrong with a body as sent, `warn` what a person should look at
    although it is sent; `shown` gives the loan id and the
    client id that PA2 shows.
    """

    name: str
    path: str
    effect: Literal["additive", "idempotent"]
    create_once: bool
    batch_limit: int
    scope: str
    fields: tuple[Field, ...]
    check: Callable[[Mapping[str, Any], CheckFacts], list[Refusal]]
    warn: Callable[[Mapping[str, Any], CheckFacts], list[Refusal]]
    complete: Callable[[Body, CheckFacts], Body]
    shown: Callable[[Mapping[str, Any]], tuple[str, str]]


RESOURCES: dict[str, Resource] = {
    "loan_draft": Resource(
        name="loan_draft",
        path=loan_draft.PATH,
        effect="additive",
        create_once=True,
        batch_limit=1,
        scope="create:loan_draft",
        fields=loan_draft.FIELDS,
        check=loan_draft.check,
        warn=loan_draft.warn,
        complete=loan_draft.complete,
        shown=loan_draft.shown,
    ),
    "repayment": Resource(
        name="repayment",
        path=repayment.PATH,
        effect="idempotent",
        create_once=False,
        batch_limit=300,
        scope="create:repayment",
        fields=repayment.FIELDS,
        check=repayment.check,
        warn=repayment.warn,
        complete=repayment.complete,
        shown=repayment.shown,
    ),
    "journal": Resource(
        name="journal",
        path=journal.PATH,
        effect="additive",
        create_once=True,
        batch_limit=300,
        scope="create:journal_update",
        fields=journal.FIELDS,
        check=journal.check,
        warn=journal.warn,
        complete=journal.complete,
        shown=journal.shown,
    ),
}
