"""Why something is not sent: a code, a field and parameters. The sentence is made when somebody reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kiva_relay.frozen import dataclass

PARAMETER_LIMIT = 500
"""Letters of a parameter of a refusal; what is longer is cut."""


def _bounded(value: str) -> str:
    return value if len(value) <= PARAMETER_LIMIT else value[: PARAMETER_LIMIT - 2] + " …"


@dataclass(frozen=True)
class Refusal:
    """One reason why a loan, a position or a note is not sent.

    `code` is one of `SENTENCES`; `field` is the place in the body, as `entreps[0].first_name`; `params` are
    the values that the sentence needs, as text. Codes are stored, sentences never.
    """

    code: str
    field: str = ""
    params: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bound the parameters: a code of the MIS may be a megabyte, and a refusal is kept, listed and mailed."""
        if any(len(value) > PARAMETER_LIMIT for value in self.params.values()):
            bounded = {name: _bounded(value) for name, value in self.params.items()}
            object.__setattr__(self, "params", bounded)

    def to_json(self) -> dict[str, Any]:
        """The form in which it is stored."""
        return {"code": self.code, "field": self.field, "params": dict(self.params)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Refusal:
        """The refusal that `to_json` wrote."""
        params = {str(name): str(value) for name, value in stored.get("params", {}).items()}
        return cls(str(stored["code"]), str(stored.get("field", "")), params)


# Not wrong by themselves: a person looks, and may send them as they are.
PERSON_DECIDES = frozenset(
    {
        "position_fell",
        "position_exceeds_principal",
        "position_exceeds_kiva",
        "other_currency",
        "id_shared_at_kiva",
        "answered_before",
    }
)

# Each code: the sentence, and what to do about it. `{field}` is the place in the body, the rest parameters.
SENTENCES: dict[str, tuple[str, str]] = {
    "name_empty": ("The name is empty in the MIS ({field}).", "Write the name in the MIS."),
    "missing": (
        "{field} is empty in the MIS, and Kiva needs it.",
        "Fill it in the MIS, or map another column to it.",
    ),
    "amount_not_positive": ("{field} is {value}; it has to be above 0.", "Correct the amount in the MIS."),
    "amount_negative": (
        "{field} is {value}; a position is never below 0.",
        "Look at the loan's transactions in the MIS.",
    ),
    "group_field_on_individual": (
        "{field} is given, and the loan has one borrower: PA2 would refuse to publish it.",
        "Take {field} out of the mapping, or map the group's members.",
    ),
    "group_field_missing": (
        "The loan has several borrowers, and {field} is empty.",
        "Map {field}: a group loan needs its own id, its client id and its name.",
    ),
    "not_pictured_length": (
        "not_pictured has {found} values, the loan has {expected} borrowers.",
        "Give one value for each borrower in the same order, or none at all.",
    ),
    "schedule_sum": (
        "The instalments add up to {found}, the loan is {expected}.",
        "Compare the schedule with the amount in the MIS.",
    ),
    "instalment_negative": ("{field} is {value}; an instalment is never below 0.", "Correct the schedule in the MIS."),
    "contact_in_text": (
        "{field} holds {what}, and it would be published.",
        "Take it out of the text in the MIS.",
    ),
    "date_impossible": (
        "{field} is {date}, and the loan is disbursed on {lent}.",
        "Correct the year in the MIS. A date of another calendar is converted in a relation of your own (sql:).",
    ),
    "disbursed_too_long_ago": (
        "Disbursed {days} days ago; PA2 takes less than 30. It can no longer be published.",
        "Tell the coordinator; nothing can be sent for this loan.",
    ),
    "disbursal_too_far": (
        "To be disbursed in {days} days; PA2 takes at most 90.",
        "It is tried again by itself when the day is near enough.",
    ),
    "activity_unknown": (
        "“{value}” is not one of Kiva's activities. Nearest: {nearest}.",
        "The administrator adds a line to lookup/activities.csv: {value},<one of Kiva's activities>",
    ),
    "theme_unknown": (
        "“{value}” is not one of Kiva's loan themes. Nearest: {nearest}.",
        "Correct the theme's name in the mapping or in its code table.",
    ),
    "location_unknown": (
        "Kiva has no location “{value}”. Nearest: {nearest}.",
        "The administrator adds a line to lookup/locations.csv: {value},<one of Kiva's locations>",
    ),
    "currency_unknown": ("Kiva has no currency “{value}”. Nearest: {nearest}.", "Correct the currency."),
    "language_unknown": ("Kiva has no language “{value}”. Nearest: {nearest}.", "Correct the language."),
    "code_unknown": (
        "“{value}” is none of the codes that the mapping knows for {field}: {known}.",
        "Add the code to `choose` in the mapping, or write `else:`.",
    ),
    "to_a_person": (
        "{value}: {reason}.",
        "Look at the loan in the MIS and type it in PA2, or say in a mapping of your own what it means.",
    ),
    "no_translation": (
        "“{value}” has no line in {table}.",
        "The administrator adds a line to {table}: {value},<what Kiva should get>",
    ),
    "not_the_same": (
        "{column} is not the same for all of them: {values}.",
        "Correct it in the MIS; one loan has one {column}.",
    ),
    "incomplete": (
        "The MIS says that it is not complete (`when:` in the mapping).",
        "Look at it in the MIS.",
    ),
    "relation_missing": (
        "The loan has no row in {table} (relation {relation}).",
        "Complete it in the MIS, or write `optional: true` at the relation.",
    ),
    "relation_not_unique": (
        "The relation {relation} found several rows in {table}; one was expected.",
        "Match it by a unique column, or write `many: true` at the relation.",
    ),
    "expression_failed": (
        "{field} could not be computed: {reason}.",
        "Correct the expression in the mapping.",
    ),
    "text_unreadable": (
        "What the MIS has in {column} cannot be read: a letter of it is none, or the database cannot give it.",
        "Type it again in the MIS.",
    ),
    "wrong_type": (
        "{field} has to be {expected}; found {found}.",
        "Map another column, or convert it (text, date, money, choose).",
    ),
    "too_long": ("{field} is {found} long; at most {limit} are sent.", "Shorten it in the MIS."),
    "identity_empty": (
        "The row has no identity: the column that Kiva would know it by is empty.",
        "Fill it in the MIS, or map another column in `identity:`.",
    ),
    "id_used_twice": (
        "The id {identity} belongs to more than one row of the MIS (key {other}).",
        (
            "Find out which of the two is the right one; none is sent by itself. Does Kiva have neither?"
            " Then: outbox settle --resend"
        ),
    ),
    "waiver_missing": (
        "The client's written consent is not recorded in the MIS.",
        "Record it in the MIS when the signed paper is on file.",
    ),
    "photo_too_large": (
        "The photo is too large ({found}; at most {limit}).",
        "Save a smaller photo in the MIS, as an ordinary JPEG.",
    ),
    "photo_unreadable": (
        "The photo could not be read: {reason}.",
        "Look whether the file is there, is a photo, and can be read by the user kiva-relay.",
    ),
    "position_fell": (
        "The amount repaid fell from {before} to {value}.",
        "Look at the loan's transactions; a person releases it when it is right.",
    ),
    "position_exceeds_principal": (
        "The amount repaid ({value}) is more than the principal ({principal}).",
        "Look at the loan's transactions in the MIS.",
    ),
    "position_exceeds_kiva": (
        "The amount ({value}) is more than Kiva lists as lent ({lent}).",
        "Look at the loan in PA2: was it raised in the MIS after it was posted?",
    ),
    "other_currency": (
        "The MIS has the loan in {value}, Kiva in {kiva}.",
        "Look at the loan in PA2 and in the MIS.",
    ),
    "id_shared_at_kiva": (
        "Kiva expects {number} loans that have this id.",
        "Correct the loan id of one of them in PA2.",
    ),
    "answered_before": (
        "A person decided about another amount; it is {value} now.",
        "Decide again.",
    ),
    "principal_unknown": (
        "The basis is the principal outstanding, and the mapping does not say what was lent.",
        "Add `checks: {{principal: …}}` to the mapping.",
    ),
    "too_late_to_publish": (
        "It had to be published by {publish_by}; that day is over.",
        "Tell the coordinator; nothing can be sent for this loan.",
    ),
    # What is sent all the same: said in `preview`, `mapping check`, `rehearse` and `review`.
    "needed_to_publish": (
        "{field} is not given; PA2 asks for it before it publishes.",
        "Map it, or name it under `left_to_the_coordinator`.",
    ),
    "waiver_not_given": (
        "The MIS does not say whether the client's consent is signed.",
        "The coordinator ticks it in PA2 when the paper is on file.",
    ),
    "waiver_declined": (
        "The client's consent is recorded as not signed: PA2 will not publish the loan.",
        "Record it in the MIS when the signed paper is on file.",
    ),
    "instalment_too_early": (
        "{field} is {date}, and {before} comes before it.",
        "Compare the schedule with the day of the disbursal.",
    ),
    "instalment_of_nothing": ("{field} is an instalment of 0.", "Look at the schedule in the MIS."),
    "phone_in_text": ("{field} seems to hold a telephone number.", "Look at the text before it is published."),
    "kiva_said_no": ("Kiva refused it: “{text}” (Kiva's own words).", "Correct what Kiva names, then retry."),
}


class _Blanks(dict[str, str]):
    """A parameter that was not stored is shown as a question mark, never as an error."""

    def __missing__(self, name: str) -> str:
        return "?"


def sentence(refusal: Refusal) -> str:
    """What a person reads, in English."""
    return _filled(refusal, 0)


def remedy(refusal: Refusal) -> str:
    """What to do about it, in English."""
    return _filled(refusal, 1)


def _filled(refusal: Refusal, part: int) -> str:
    if refusal.code not in SENTENCES:
        # An outbox may hold codes of a newer version.
        return refusal.code if part == 0 else ""
    values = _Blanks({**refusal.params, "field": refusal.field or "The value"})
    if not values.get("nearest", "x"):
        values["nearest"] = "none"
    return SENTENCES[refusal.code][part].format_map(values)
