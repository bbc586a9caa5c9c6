"""Offices, officers, products, lists, clients and groups, as rows with ids of their own."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from testbed.institution import fineract, people, photo
from testbed.institution.branch import BRANCHES, FUNDS, GENDERS, PURPOSES, Branch
from testbed.institution.past import DAY, Desk

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import IntEnum
    from pathlib import Path
    from random import Random

    from testbed.institution.fineract import Row

HEAD_OFFICE = 1
CENTRE, GROUP = 1, 2
GROUP_SIZES = (5, 6, 7, 8, 9, 10)


@dataclass
class Member:
    """A client: the id, and the place of the branch in `BRANCHES`."""

    id: int
    branch: int
    grouped: bool = False


def office_of(branch: int) -> int:
    """`m_office.id` of a branch by its place, which is also `m_appuser.id` of its teller."""
    return branch + 2


def officer_of(branch: int) -> int:
    """`m_staff.id` of a branch's loan officer."""
    return branch + 1


class Institution:
    """Collects the rows of the tables that do not move with the loans."""

    def __init__(self, rng: Random, photos: Path, today: date) -> None:
        self.rng = rng
        self.photos = photos
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.clients: list[Member] = []
        self.groups: list[tuple[int, list[Member]]] = []
        self.purposes: dict[str, int] = {}
        self._genders: dict[str, int] = {}
        self._today = today
        self._began = today - timedelta(days=1200)

    def add(self, table: str, **row: Any) -> int:
        """Add a row; returns its id. All rows of a table have the same columns."""
        self.rows[table].append({"id": len(self.rows[table]) + 1, **row})
        return len(self.rows[table])

    def desk(self, branch: int) -> Desk:
        """Where that branch's rows are written."""
        return Desk(office_of(branch), office_of(branch), self._today, self.rng)

    def organise(self) -> None:
        """Offices, officers, users, products, and the lists."""
        self.add("m_office", parent_id=None, hierarchy=".", name="Head Office", opening_date=self._began)
        self._user("admin", HEAD_OFFICE)
        for place, branch in enumerate(BRANCHES):
            self._open(place, branch)
        for code, digits in {branch.currency: branch.digits for branch in BRANCHES}.items():
            name = f"currency.{code}"
            self.add(
                "m_organisation_currency",
                code=code,
                decimal_places=digits,
                name=code,
                internationalized_name_code=name,
            )
        for fund in FUNDS:
            self.add("m_fund", name=fund)
        for level, name in ((CENTRE, "Center"), (GROUP, "Group")):
            self.add(
                "m_group_level",
                parent_id=level - 1 or None,
                super_parent=level == CENTRE,
                level_name=name,
                recursable=True,
                can_have_clients=level == GROUP,
            )
        self._genders = self._code("Gender", GENDERS)
        self.purposes = self._code("LoanPurpose", PURPOSES)
        self._enumeration("loan_status_id", fineract.Status)
        self._enumeration("loan_type_enum", fineract.Kind)
        self._enumeration("transaction_type_enum", fineract.Money)
        self.rows["x_registered_table"] = [{"registered_table_name": "dt_kiva", "application_table_name": "m_loan"}]

    def admit(self, count: int) -> None:
        """Clients, and the groups that four of ten of them belong to."""
        for _ in range(count):
            self._client(self.rng.randrange(len(BRANCHES)))
        for branch in range(len(BRANCHES)):
            here = [client for client in self.clients if client.branch == branch]
            self._form_groups(branch, here[: len(here) * 2 // 5])

    def _open(self, place: int, branch: Branch) -> None:
        office = self.add(
            "m_office",
            parent_id=HEAD_OFFICE,
            hierarchy=f".{office_of(place)}.",
            name=branch.name,
            opening_date=self._began,
        )
        names = people.NAMES[branch.names]
        first, last = self.rng.choice(names.women), self.rng.choice(names.families)
        self.add(
            "m_staff",
            is_loan_officer=True,
            office_id=office,
            firstname=first,
            lastname=last,
            display_name=f"{last}, {first} ({place + 1})",
        )
        self._user(f"teller{place + 1}", office)
        self.add(
            "m_product_loan",
            short_name=f"P{place + 1:02}",
            name=f"Microcredit {branch.currency} {place + 1}",
            currency_code=branch.currency,
            currency_digits=branch.digits,
            principal_amount=branch.unit * 20,
            interest_method_enum=0,
            repay_every=1,
            repayment_period_frequency_enum=2,
            number_of_repayments=12,
            amortization_method_enum=0,
            accounting_type=1,
        )

    def _user(self, name: str, office: int) -> None:
        self.add(
            "m_appuser",
            office_id=office,
            username=name,
            firstname=name,
            lastname="-",
            password="{noop}",
            email=f"{name}@example.org",
            firsttime_login_remaining=False,
            nonexpired=True,
            nonlocked=True,
            nonexpired_credentials=True,
            enabled=True,
        )

    def _code(self, name: str, values: Iterable[str]) -> dict[str, int]:
        code = self.add("m_code", code_name=name, is_system_defined=True)
        return {
            value: self.add("m_code_value", code_id=code, code_value=value, order_position=position)
            for position, value in enumerate(values)
        }

    def _enumeration(self, name: str, values: type[IntEnum]) -> None:
        for value in values:
            text = value.name.capitalize().replace("_", " ")
            self.rows["r_enum_value"].append(
                {
                    "enum_name": name,
                    "enum_id": int(value),
                    "enum_message_property": text,
                    "enum_value": text,
                    "enum_type": False,
                }
            )

    def _client(self, place: int) -> None:
        names = people.NAMES[BRANCHES[place].names]
        somebody = people.person(names, self.rng)
        client_id = len(self.clients) + 1
        joined = self._today - self.rng.randrange(30, 1100) * DAY
        image = None
        if self.rng.randrange(3) == 0:
            location = photo.save(self.photos, client_id, self.rng)
            image = self.add("m_image", location=location, storage_type_enum=photo.FILE_SYSTEM)
        self.add(
            "m_client",
            account_no=f"{client_id:09}",
            status_enum=300,
            activation_date=joined,
            office_joining_date=joined,
            office_id=office_of(place),
            staff_id=officer_of(place),
            firstname=somebody.firstname,
            middlename=somebody.middlename,
            lastname=somebody.lastname,
            fullname=somebody.fullname,
            display_name=somebody.display_name,
            mobile_no=f"+000 {client_id:07}",
            gender_cv_id=self._genders.get(somebody.gender or ""),
            date_of_birth=date(1960, 1, 1) + self.rng.randrange(16000) * DAY,
            image_id=image,
            submittedon_date=joined,
            legal_form_enum=2 if people.is_entity(somebody, names) else self.rng.choice((1, None)),
            **self.desk(place).stamp(joined).created,
        )
        self.clients.append(Member(client_id, place))

    def _form_groups(self, place: int, members: list[Member]) -> None:
        names = people.NAMES[BRANCHES[place].names]
        centre = self._group(place, names.groups[0], CENTRE, None)
        while len(members) >= GROUP_SIZES[0]:
            size = self.rng.choice(GROUP_SIZES)
            mine, members = members[:size], members[size:]
            group = self._group(place, self.rng.choice(names.groups), GROUP, self.rng.choice((centre, None)))
            for member in mine:
                member.grouped = True
                self.rows["m_group_client"].append({"group_id": group, "client_id": member.id})
            self.groups.append((group, mine))

    def _group(self, place: int, name: str, level: int, parent: int | None) -> int:
        number = len(self.rows["m_group"]) + 1
        formed = self._today - self.rng.randrange(750, 1100) * DAY
        return self.add(
            "m_group",
            status_enum=300,
            activation_date=formed,
            office_id=office_of(place),
            staff_id=officer_of(place),
            parent_id=parent,
            level_id=level,
            display_name=f"{name} {number}",
            hierarchy=f".{parent}.{number}." if parent else f".{number}.",
            submittedon_date=formed,
            account_no=f"{number:09}",
        )
