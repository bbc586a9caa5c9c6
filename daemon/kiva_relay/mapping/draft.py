"""The beginning of a mapping for a table of the live database: what the columns are called like is filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from kiva_relay.resource.field import Field
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.resource.loan_draft import GROUP_FIELDS

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
    "disburse_time": (
        "disbursed on",
        "disbursedon date",
        "disbursement date",
        "disbursal date",
        "disbursed",
        "loan date",
    ),
    "client_waiver_signed": ("waiver", "consent"),
    "image_encoded": ("photo", "image", "picture"),
    "subject": ("subject", "title"),
    "body": ("note", "body", "text", "comment"),
}
_CHANGED = ("last modified", "updated at", "modified at", "changed at", "updated", "modified")
_CREATED = ("created at", "created on", "created")
_INSTALMENT = {
    "date": ("due date", "duedate", "due on", "due", "date"),
    "principal": ("principal amount", "principal due", "principal"),
    "interest": ("interest amount", "interest due", "interest"),
}

# The kinds of column that a field can be made of; text where nothing is said.
_FIT: Mapping[str, tuple[str, ...]] = {
    "text": ("text",),
    "integer": ("text", "integer"),
    "amount": ("number", "integer"),
    "date": ("date", "datetime"),
    "boolean": ("boolean", "integer"),
    "image": ("text", "bytes"),
}
_STAMPS = ("datetime", "date")
_IDS = ("text", "integer")

# Fields of a person, which often stand in a table of clients.
_OF_CLIENT = ("client_id", "first_name", "last_name", "gender", "image_encoded")
_CLIENTS = ("client", "member", "customer", "borrower", "person")
_SCHEDULES = ("loan_repayment_schedule", "repayment_schedule", "loan_schedule", "schedule", "instalment", "installment")

Columns = Mapping[str, str]


def neighbours(table: str, columns: Columns) -> dict[str, list[str]]:
    """Tables that may belong to `table`, by what they would be: to be looked for in the database."""
    prefix = next((part for part in ("m_", "tbl_", "t_") if table.startswith(part)), "")
    clients = [word for word in _CLIENTS if f"{word}_id" in columns]
    return {"client": _spelled(clients, prefix), "schedule": _spelled(_SCHEDULES, prefix)}


def _spelled(words: Iterable[str], prefix: str) -> list[str]:
    return [
        f"{before}{word}{ending}" for word in words for before in dict.fromkeys((prefix, "")) for ending in ("", "s")
    ]


def text(table: str, columns: Columns, resource: str, *, client: Found = None, schedule: Found = None) -> str:
    """A mapping file for `table`, with its columns and their kinds beside it; what is not known is a comment.

    `client` and `schedule` are tables that belong to it, with their columns, where the database has them. Lines that
    a person has to look at are marked with an arrow.
    """
    key = next((name for name in columns if name.lower() in ("id", f"{table.lower()}_id")), next(iter(columns)))
    identity = key
    if resource != "journal":  # a note is known by its own id, a position by its loan's
        identity = _column(columns, _WORDS["loan_id"], _IDS) or key
    is_draft = resource == "loan_draft"
    work = _Draft(columns, client if is_draft else None, _instalments(schedule) if is_draft else None)
    lines = [
        f"# {table} → {resource}. Words and functions: docs/mapping.md",
        "# Try it on one loan, nothing is sent:   kiva-relay mapping preview NAME --loan ID",
        "# Lines with ← are guesses, or missing: look at each of them.",
        f"resource: {resource}",
        f"identity: {identity}          # ← the id by which Kiva will know it",
        "source:",
        f"  table: {table}",
        f"  key: {key}",
        *_stamps(columns),
        "  # where: kiva = 1            # ← which rows are for Kiva? Without it, all of them",
        *work.relations(),
        "fields:",
        *(line for field in RESOURCES[resource].fields for line in work.field(field, "  ")),
        "",
        *(line for name, its in work.tables(table) for line in _listed(name, its)),
    ]
    return "\n".join(lines) + "\n"


Found = tuple[str, Columns] | None
"""A table and its columns; None where the database has none."""


Instalments = tuple[str, Columns, dict[str, str]] | None
"""The same of instalments, with what becomes of which column."""


def _stamps(columns: Columns) -> Iterator[str]:
    changed, created = _column(columns, _CHANGED, _STAMPS), _column(columns, _CREATED, _STAMPS)
    yield (
        f"  changed_at: {changed}   # ← set whenever a row changes?"
        if changed
        else "  # changed_at: the column that says when a row changed; without one, it is found at night"
    )
    if created:
        yield f"  created_at: {created}"


def _listed(name: str, columns: Columns) -> list[str]:
    return [f"# The columns of {name}:", *(f"#   {column}  ({kind})" for column, kind in columns.items())]


def _instalments(schedule: Found) -> Instalments:
    """The table of instalments with what becomes of its columns; None when one of them is not there."""
    if schedule is None or "loan_id" not in schedule[1]:
        return None
    kinds = {"date": _FIT["date"]}
    parts = {part: _column(schedule[1], words, kinds.get(part, _FIT["amount"])) for part, words in _INSTALMENT.items()}
    known = {part: column for part, column in parts.items() if column is not None}
    return (*schedule, known) if len(known) == len(parts) else None


class _Draft:
    """The fields of one mapping on their way, and the tables that they are taken from."""

    def __init__(self, columns: Columns, client: Found, schedule: Instalments) -> None:
        self.columns = columns
        self.client = client
        self.schedule = schedule

    def tables(self, table: str) -> Iterator[tuple[str, Columns]]:
        yield table, self.columns
        if self.client is not None:
            yield self.client
        if self.schedule is not None:
            yield self.schedule[:2]

    def relations(self) -> list[str]:
        lines = []
        if self.client is not None:
            table, columns = self.client
            ours = next(f"{word}_id" for word in _CLIENTS if f"{word}_id" in self.columns)
            stamp = _column(columns, _CHANGED, _STAMPS)
            watched = f", changed_at: {stamp}" if stamp else ""
            lines.append(f"  client: {{table: {table}, match: {{id: {ours}}}{watched}}}   # ←")
        if self.schedule is not None:
            table, columns, parts = self.schedule
            order = next((name for name in ("installment", "instalment", "number") if name in columns), parts["date"])
            lines.append(f"  schedule: {{table: {table}, match: {{loan_id: id}}, many: true, order_by: {order}}}   # ←")
        head = "relations:" if lines else "# relations:                   # what belongs to a row, out of other tables:"
        known = [head, *lines]
        if self.client is None:
            known.append("#   client: {table: clients, match: {id: client_id}}")
        if self.schedule is None:
            known.append("#   schedule: {table: instalments, match: {loan_id: id}, many: true, order_by: due_on}")
        return known

    def field(self, field: Field, indent: str) -> list[str]:
        """The lines of one field: a guess, or a comment that says what Kiva takes."""
        if field.kind == "list" and field.fields and field.name == "entreps":
            inner = [line for part in field.fields for line in self.field(part, "      ")]
            return [f"{indent}entreps:          # {field.doc}", f"{indent}  -", *inner]
        if field.name == "schedule" and self.schedule is not None:
            parts = ", ".join(f"{part}: {column}" for part, column in self.schedule[2].items())
            return [f"{indent}schedule: {{each: schedule, do: {{{parts}}}}}   # ← {field.doc}"]
        if field.kind == "list":
            parts = ", ".join(f"{part.name}: …" for part in field.fields)
            do = f"{{each: schedule, do: {{{parts}}}}}" if parts else "[…]"
            return [f"{indent}# {field.name}: {do}   # {'← needed. ' if field.required else ''}{field.doc}"]
        found = self._found(field)
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
        # A field of group loans only would make an individual one be refused.
        group = field.name in GROUP_FIELDS and not field.required
        return [f"{indent}{'# ' if group else ''}{field.name}: {value}   # ← {field.doc}"]

    def _found(self, field: Field) -> str | None:
        words = _WORDS.get(field.name, ())
        kinds = _IDS if field.name in ("client_id", "loan_id", "internal_loan_id") else _FIT.get(field.kind, ())
        if self.client is not None and field.name in _OF_CLIENT:
            of_client = _column(self.client[1], (*words, *_WORDS_OF_CLIENT.get(field.name, ())), kinds)
            if of_client is not None:
                return f"client.{of_client}"
        return _column(self.columns, words, kinds)


_WORDS_OF_CLIENT = {"client_id": ("account no", "account number", "number")}


def _column(columns: Columns, words: tuple[str, ...], kinds: tuple[str, ...]) -> str | None:
    """The column of one of these kinds that is called like one of the words, or else most like one."""
    split = {
        name: " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)).lower()
        for name, kind in columns.items()
        if kind in kinds or kind == "other"
    }
    for wanted in words:
        for name, called in split.items():
            if called == wanted:
                return name
    for wanted in words:
        near = [name for name, called in split.items() if all(word in called.split() for word in wanted.split())]
        if near:
            return min(near, key=lambda name: len(split[name]))
    return None
