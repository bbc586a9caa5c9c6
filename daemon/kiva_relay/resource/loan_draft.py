"""A loan draft: one loan, or one group's loan, that the coordinator reviews and publishes in PA2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from kiva_relay.resource import contact, field
from kiva_relay.resource.body import Body
from kiva_relay.resource.field import CheckFacts, Field
from kiva_relay.resource.refusal import Refusal

PATH = "loan_draft"

# PA2 publishes a loan that was disbursed less than 30 days ago, or will be in at most 90.
DAYS_BACK = 29
DAYS_AHEAD = 90

# No instalment is due further from the disbursal: 2570 is 2027 in the Thai calendar, and 27 is a year cut short.
YEARS_BEFORE = 1
YEARS_AFTER = 30

# What a mapping says nothing about has a word of its own here.
CONSENT = ("client_waiver_signed",)

GROUP_FIELDS = ("internal_loan_id", "internal_client_id", "group_name")

FIELDS = (
    Field(
        "entreps",
        "list",
        "The borrowers: exactly one for an individual loan, one for each member of a group.",
        required=True,
        fields=(
            Field("client_id", "text", "The borrower's id in the MIS.", required=True, limit=field.ID_LIMIT),
            Field("loan_id", "text", "The id of the borrower's loan in the MIS.", required=True, limit=field.ID_LIMIT),
            Field("first_name", "text", "The borrower's first name.", required=True, limit=field.NAME_LIMIT),
            Field("last_name", "text", "The borrower's last name.", limit=field.NAME_LIMIT),
            Field("gender", "text", "`female`, `male` or `unknown`.", to_publish=True),
            Field("amount", "amount", "The borrower's share, in the loan's currency; above 0.", required=True),
        ),
    ),
    Field("internal_loan_id", "text", "The group loan's id in the MIS. Group loans only.", limit=field.ID_LIMIT),
    Field("internal_client_id", "text", "The group's id in the MIS. Group loans only.", limit=field.ID_LIMIT),
    Field("group_name", "text", "The group's name. Group loans only.", limit=field.NAME_LIMIT),
    Field(
        "not_pictured",
        "list",
        "For each borrower, in the same order: true when *not* in the photo. Group loans only.",
        items="boolean",
    ),
    Field(
        "client_waiver_signed",
        "boolean",
        "Whether the signed consent is on file. Never guessed.",
        to_publish=True,
    ),
    Field("currency", "text", "The ISO 4217 code, as `XOF`.", required=True),
    Field("description", "text", "The borrower's story.", to_publish=True),
    Field("description_language_id", "integer", "The language of the story: an id of Kiva's locales."),
    Field("loanuse", "text", "Completes “… will use this loan …”.", to_publish=True),
    Field("activity_id", "integer", "An id of Kiva's activities.", to_publish=True),
    Field("theme_type_id", "integer", "An id of Kiva's loan themes."),
    Field("location", "text", "Exactly one of Kiva's locations, as `City: Country`.", to_publish=True),
    Field("disburse_time", "date", "The day of the disbursal.", required=True),
    Field(
        "schedule",
        "list",
        "The instalments; their principal adds up to the loan.",
        required=True,
        fields=(
            Field("date", "date", "The day on which it is due.", required=True),
            Field("principal", "amount", "The principal that is due.", required=True),
            Field("interest", "amount", "The interest that is due.", required=True),
        ),
    ),
    Field("image_encoded", "image", "The photo.", to_publish=True),
)


def check(body: Mapping[str, Any], facts: CheckFacts) -> list[Refusal]:
    """What PA2 would refuse when the coordinator publishes it, said before it is sent."""
    return [
        *field.problems(FIELDS, body),
        *_group_fields(body),
        *_amounts(body),
        *_schedule(body),
        *_day(body, facts.today),
        *_due(body, facts.today),
        *(each for name, text in _texts(body) for each in contact.refusals(text, name, facts.contacts)),
    ]


def warn(body: Mapping[str, Any], facts: CheckFacts) -> list[Refusal]:
    """What is sent all the same, and PA2 or the coordinator will ask about."""
    return [
        *_consent(body, facts),
        *(Refusal("needed_to_publish", name) for name in still_needed(body) if name not in (*facts.left, *CONSENT)),
        *_instalments(body),
        *(each for name, text in _texts(body) for each in contact.warnings(text, name)),
    ]


def publish_by(body: Mapping[str, Any]) -> date | None:
    """The last day on which PA2 publishes it: 29 days after the disbursal. None without a disbursal."""
    day = field.as_date(body.get("disburse_time"))
    return None if day is None else day + timedelta(days=DAYS_BACK)


def loan_ids(body: Mapping[str, Any]) -> list[str]:
    """The ids under which Kiva may list the loan: the group's own first, then the borrowers'."""
    found = [body.get("internal_loan_id"), *(entrep.get("loan_id") for entrep in _entreps(body))]
    return list(dict.fromkeys(str(loan_id) for loan_id in found if loan_id))


def shown(body: Mapping[str, Any]) -> tuple[str, str]:
    """The loan id and the client id that PA2 shows; empty where the body has none."""
    first = next(iter(_entreps(body)), {})
    loan_id = body.get("internal_loan_id") or first.get("loan_id") or ""
    client_id = body.get("internal_client_id") or first.get("client_id") or ""
    return str(loan_id), str(client_id)


def complete(body: Body, facts: CheckFacts) -> Body:
    """A draft is sent as it was mapped, whatever the partner's settings."""
    del facts
    return body


def still_needed(body: Mapping[str, Any]) -> list[str]:
    """The fields that PA2 will ask the coordinator for before it publishes."""
    wanted = [each.name for each in FIELDS if each.to_publish and each.name not in body]
    return wanted + [
        f"entreps[{number}].gender" for number, entrep in enumerate(_entreps(body)) if "gender" not in entrep
    ]


def _entreps(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entreps = body.get("entreps")
    return [each for each in entreps if isinstance(each, Mapping)] if isinstance(entreps, list) else []


def _texts(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("description", "loanuse"):
        if isinstance(body.get(name), str):
            yield name, body[name]


def _consent(body: Mapping[str, Any], facts: CheckFacts) -> list[Refusal]:
    signed = body.get("client_waiver_signed")
    if signed is None:
        return [] if "client_waiver_signed" in facts.left else [Refusal("waiver_not_given", "client_waiver_signed")]
    return [] if signed else [Refusal("waiver_declined", "client_waiver_signed")]


def _instalments(body: Mapping[str, Any]) -> list[Refusal]:
    """Days that cannot be, and instalments of nothing."""
    rows = body.get("schedule")
    found = []
    before = field.as_date(body.get("disburse_time"))
    for number, row in enumerate(rows if isinstance(rows, list) else []):
        if not isinstance(row, Mapping):
            continue
        path = f"schedule[{number}]"
        day = field.as_date(row.get("date"))
        if day is not None and before is not None and day < before:
            found.append(Refusal("instalment_too_early", f"{path}.date", {"date": str(day), "before": str(before)}))
        before = day or before
        if _is(row.get("principal"), 0) and _is(row.get("interest"), 0):
            found.append(Refusal("instalment_of_nothing", path))
    return found


def _is(amount: Any, number: int) -> bool:
    return field.fits("amount", amount) and bool(amount == number)


def _group_fields(body: Mapping[str, Any]) -> list[Refusal]:
    borrowers = len(_entreps(body))
    given = [name for name in GROUP_FIELDS if body.get(name)]
    pictured = body.get("not_pictured")
    if borrowers == 1 and len(given) < len(GROUP_FIELDS):
        # A group of one has all three; anything less is an individual loan with a field too many.
        foreign = [*given, *(["not_pictured"] if pictured else [])]
        return [Refusal("group_field_on_individual", name) for name in foreign]
    found = [Refusal("group_field_missing", name) for name in GROUP_FIELDS if name not in given and borrowers > 1]
    if isinstance(pictured, list) and pictured and len(pictured) != borrowers:
        params = {"found": str(len(pictured)), "expected": str(borrowers)}
        found.append(Refusal("not_pictured_length", "not_pictured", params))
    return found


def _amounts(body: Mapping[str, Any]) -> list[Refusal]:
    found = []
    for number, entrep in enumerate(_entreps(body)):
        amount: Any = entrep.get("amount")
        if field.fits("amount", amount) and amount <= 0:
            params = {"value": f"{Decimal(amount):f}"}
            found.append(Refusal("amount_not_positive", f"entreps[{number}].amount", params))
    rows = body.get("schedule")
    for number, row in enumerate(rows if isinstance(rows, list) else []):
        for name in ("principal", "interest"):
            due: Any = row.get(name) if isinstance(row, Mapping) else None
            if field.fits("amount", due) and due < 0:
                params = {"value": f"{Decimal(due):f}"}
                found.append(Refusal("instalment_negative", f"schedule[{number}].{name}", params))
    return found


def _schedule(body: Mapping[str, Any]) -> list[Refusal]:
    lent = _sum(_entreps(body), "amount")
    instalments = body.get("schedule")
    due = _sum(instalments, "principal") if isinstance(instalments, list) else None
    if lent is None or due is None or lent == due:
        return []
    return [Refusal("schedule_sum", "schedule", {"found": f"{due:f}", "expected": f"{lent:f}"})]


def _sum(rows: list[Any], name: str) -> Decimal | None:
    values = [row.get(name) if isinstance(row, Mapping) else None for row in rows]
    amounts = [Decimal(value) for value in values if value is not None and field.fits("amount", value)]
    return sum(amounts, Decimal(0)) if amounts and len(amounts) == len(values) else None


def _day(body: Mapping[str, Any], today: date) -> list[Refusal]:
    day = field.as_date(body.get("disburse_time"))
    if day is None:
        return []
    ago = (today - day).days
    if ago > DAYS_BACK:
        return [Refusal("disbursed_too_long_ago", "disburse_time", {"days": str(ago)})]
    if -ago > DAYS_AHEAD:
        return [Refusal("disbursal_too_far", "disburse_time", {"days": str(-ago)})]
    return []


def _due(body: Mapping[str, Any], today: date) -> list[Refusal]:
    """Instalments in a year that no loan reaches."""
    lent = field.as_date(body.get("disburse_time")) or today
    rows = body.get("schedule")
    found = []
    for number, row in enumerate(rows if isinstance(rows, list) else []):
        day = field.as_date(row.get("date")) if isinstance(row, Mapping) else None
        if day is not None and not lent.year - YEARS_BEFORE <= day.year <= lent.year + YEARS_AFTER:
            found.append(Refusal("date_impossible", f"schedule[{number}].date", {"date": str(day), "lent": str(lent)}))
    return found
