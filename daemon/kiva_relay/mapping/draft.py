"""The beginning of a mapping for a table of the live database: what the columns are called like is filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kiva_relay.resource.field import Field
from kiva_relay.resource.kind import RESOURCES

# For each field the words by which a column of it is known, the likeliest first; a column has all of a group.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "client_id": (
        "client no",
        "client number",
        "client code",
        "member no",
        "customer no",
        "client id",
        "member id",
        "customer id",
    ),
    "loan_id": ("loan no", "loan number", "loan code", "account no", "account number", "loan id", "contract no"),
    "internal_loan_id": ("loan no", "loan number", "loan code", "account no", "loan id"),
    "first_name": ("first name", "firstname", "given name", "prenom", "nombre"),
    "last_name": ("last name", "lastname", "surname", "family name", "nom", "apellido"),
    "gender": ("gender", "sex", "sexe", "sexo"),
    "amount": (
        "approved amount",
        "loan amount",
        "principal amount",
        "principal repaid",
        "principal",
        "amount",
        "montant",
        "monto",
    ),
    "currency": ("currency", "devise", "moneda"),
    "description": ("story", "description"),
    "loanuse": ("loan use", "purpose"),
    "activity_id": ("activity", "sector", "purpose"),
    "location": ("branch", "office", "town", "city", "agence"),
    "disburse_time": ("disbursed on", "disbursement date", "disbursal date", "disbursed", "date"),
    "client_waiver_signed": ("waiver", "consent"),
    "image_encoded": ("photo", "image", "picture"),
    "subject": ("subject", "title"),
    "body": ("note", "body", "text", "comment"),
}
_CHANGED = ("last modified", "updated at", "modified at", "changed at", "updated", "modified")
_CREATED = ("created at", "created on", "created")


def text(table: str, columns: Mapping[str, str], resource: str) -> str:
    """A mapping file for `table`, with its columns and their kinds beside it; what is not known is a comment.

    Lines that a person has to look at are marked with an arrow.
    """
    key = next((name for name in columns if name.lower() in ("id", f"{table.lower()}_id")), next(iter(columns)))
    changed, created = _column(columns, _CHANGED), _column(columns, _CREATED)
    identity = _column(columns, _WORDS["loan_id"]) or key
    stamps = [
        f"  changed_at: {changed}"
        if changed
        else "  # changed_at: the column that says when a row changed; without one, it is found at night"
    ]
    if created:
        stamps.append(f"  created_at: {created}")
    lines = [
        f"# {table} → {resource}. Words and functions: docs/mapping.md",
        "# Try it on one loan, nothing is sent:   kiva-relay mapping preview NAME --loan ID",
        "# Lines with ← are guesses, or missing: look at each of them.",
        f"resource: {resource}",
        f"identity: {identity}          # ← the id by which Kiva will know it",
        "source:",
        f"  table: {table}",
        f"  key: {key}",
        *stamps,
        "  # where: kiva = 1            # ← which rows are for Kiva? Without it, all of them",
        "# relations:                   # what belongs to a row, out of other tables:",
        "#   client: {table: clients, match: {id: client_id}}",
        "#   schedule: {table: instalments, match: {loan_id: id}, many: true, order_by: due_on}",
        "fields:",
        *(line for field in RESOURCES[resource].fields for line in _field(field, columns, "  ")),
        "",
        "# The columns of " + table + ":",
        *(f"#   {name}  ({kind})" for name, kind in columns.items()),
    ]
    return "\n".join(lines) + "\n"


def _field(field: Field, columns: Mapping[str, str], indent: str) -> list[str]:
    """The lines of one field: a guess, or a comment that says what Kiva takes."""
    if field.kind == "list" and field.fields and field.name == "entreps":
        inner = [line for part in field.fields for line in _field(part, columns, "      ")]
        return [f"{indent}entreps:          # {field.doc}", f"{indent}  -", *inner]
    if field.kind == "list":
        parts = ", ".join(f"{part.name}: …" for part in field.fields)
        do = f"{{each: schedule, do: {{{parts}}}}}" if parts else "[…]"
        return [f"{indent}# {field.name}: {do}   # {'← needed. ' if field.required else ''}{field.doc}"]
    found = _column(columns, _WORDS.get(field.name, ()))
    if found is None:
        return [f"{indent}# {field.name}: …   # {'← needed. ' if field.required else ''}{field.doc}"]
    value = {
        "gender": f"{{from: {found}, choose: {{F: female, M: male}}, else: refuse}}",
        "activity_id": f"{{from: {found}, lookup: activities}}",
        "location": f"{{from: {found}, lookup: locations}}",
        "first_name": f"{{from: {found}, name: true, required: true}}",
        "last_name": f"{{from: {found}, name: true}}",
        "image_encoded": f"{{from: {found}, image: true, else: leave_out}}",
    }.get(field.name, found)
    return [f"{indent}{field.name}: {value}   # ← {field.doc}"]


def _column(columns: Mapping[str, str], words: tuple[str, ...]) -> str | None:
    """The column that is called most like one of the words."""
    split = {name: " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)).lower() for name in columns}
    for wanted in words:
        for exact in (True, False):
            for name, called in split.items():
                spoken = called.split()
                if called == wanted if exact else all(word in spoken for word in wanted.split()):
                    return name
    return None
