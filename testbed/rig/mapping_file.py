"""A small mapping to be broken in one place, and rows to go with it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from kiva_relay.mapping import document, mapper
from kiva_relay.mapping.lookup import Lists
from kiva_relay.mapping.plan import Document
from kiva_relay.resource.kind import CheckFacts

TODAY = date(2026, 11, 23)

DRAFT = """\
resource: loan_draft
identity: account_no
source:
  table: m_loan
  key: id
  where: loan_status_id = 300
relations:
  client: {table: m_client, match: {id: client_id}}
  gender: {table: m_code_value, match: {id: client.gender_cv_id}, optional: true}
  schedule: {table: m_loan_repayment_schedule, match: {loan_id: id}, many: true, order_by: installment}
fields:
  entreps:
    - client_id: client.account_no
      loan_id: account_no
      first_name: client.firstname
      last_name: {from: client.lastname, trim: true}
      gender: {from: gender.code_value, choose: {Femme: female, Homme: male}, else: refuse}
      amount: approved_principal
  currency: currency_code
  disburse_time: disbursedon_date or expected_disbursedon_date
  schedule:
    each: schedule
    do: {date: duedate, principal: principal_amount, interest: interest_amount or 0}
"""

LISTS = Lists.of(
    {
        "activities": [{"activity": "Livestock", "activity_id": 79}],
        "themes": [{"theme_type": "General", "theme_type_id": 48}],
        "locations": [{"full_name": "Thiès: Senegal"}],
        "locales": [{"currency": "XOF", "language_code": "fr", "language_name": "French", "language_id": 3}],
    }
)


def changed(old: str, new: str) -> str:
    """The small mapping with one line changed."""
    assert old in DRAFT
    return DRAFT.replace(old, new)


def load(folder: Path, text: str, *, name: str = "loan_draft", **parameters: Any) -> Document:
    """The mapping that stands in a text."""
    (folder / f"{name}.yaml").write_text(text, "utf-8")
    return document.load([folder], parameters=parameters)[0]


def context(**changes: Any) -> mapper.Context:
    """A context with small lists of Kiva's."""
    given: dict[str, Any] = {
        "lists": LISTS,
        "today": TODAY,
        "cutoff": date(2026, 10, 31),
        "timezone": "Africa/Dakar",
        "facts": CheckFacts(today=TODAY, columns=3),
        "photos": "sha256",
    }
    return mapper.Context(**(given | changes))
