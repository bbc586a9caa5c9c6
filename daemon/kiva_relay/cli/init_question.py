"""What `kiva-relay init` asks, in the order of the sheet that administrator and coordinator fill in together.

Each question is a value: the setting that its answer becomes, and how the answer is read. What it says stands in the
catalogues of `words/` (`init.ask.KEY`); what a mapping asks for besides (which fund is Kiva's) is known to the mapping.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any, Literal

from kiva_relay.config import shipped
from kiva_relay.config.kiva import ENVIRONMENTS
from kiva_relay.frozen import dataclass

Trial = Literal["", "kiva", "mis"]
"""What an answer is tried on, with those before it: nothing, Kiva's token server, the MIS."""

_MOMENT = re.compile(r"(?P<day>\d{1,2}|last)(?:[ ,]+(?P<at>\d{1,2}:\d{2}))?", re.ASCII)
_SOCKETS = ("unix_socket=", "host=/", "host=%2F")


@dataclass(frozen=True)
class Question:
    """One question.

    `key` is the setting; `choices` are the answers that there are, each offered by its number, and a choice has a
    sentence of its own where `told`. `usual` is what an empty answer means; None where there has to be one.
    `group` are the keys that are asked again when a trial failed.
    """

    key: str
    usual: str | None = None
    choices: tuple[str, ...] = ()
    told: bool = False
    hidden: bool = False
    trial: Trial = ""
    group: tuple[str, ...] = ()
    becomes: Callable[[str], Any] = field(default=str)
    only: Callable[[Mapping[str, Any]], bool] = field(default=lambda _: True)


def moment(written: str) -> Any:
    """`1`, `1 06:00` or `last 18:00` as a day of every month; anything else as it stands, to be refused."""
    found = _MOMENT.fullmatch(written.strip())
    if not found:
        return written
    day = found["day"] if found["day"] == "last" else int(found["day"])
    return {"day": day, "at": f"{found['at'] or '00:00':0>5}"}


def _whole(written: str) -> Any:
    return int(written) if written.isascii() and written.isdecimal() else written


def _asks_for_password(given: Mapping[str, Any]) -> bool:
    """A file has none, who comes by a socket of this machine needs none, and one in the URL was taken out of it."""
    url = str(given.get("mis.url", ""))
    return (
        "mis.password" not in given and not url.startswith("sqlite:") and not any(socket in url for socket in _SOCKETS)
    )


_KIVA = ("kiva.client_id", "kiva.client_secret")
_MIS = ("mis.url", "mis.password")

QUESTIONS: tuple[Question, ...] = (
    Question("kiva.partner_id"),
    Question("kiva.columns", usual="2", choices=("2", "3"), becomes=_whole),
    Question(
        "repayments.basis",
        usual="cumulative_principal",
        choices=("cumulative_principal", "principal_outstanding"),
        told=True,
    ),
    Question("repayments.opens_on", usual="1 06:00", becomes=moment),
    Question("repayments.closes_on", usual="10 18:00", becomes=moment),
    Question("mappings", usual="fineract", choices=tuple(shipped.mappings())),
    Question("loan_drafts.since", usual="first_start"),
    Question("kiva.environment", usual="sandbox", choices=tuple(ENVIRONMENTS), told=True),
    Question("kiva.client_id"),
    Question("kiva.client_secret", hidden=True, trial="kiva", group=_KIVA),
    Question("mis.timezone"),
    Question("mis.url"),
    Question("mis.password", usual="", hidden=True, trial="mis", group=_MIS, only=_asks_for_password),
)
"""Which fund is Kiva's belongs behind `mappings`; it is asked at the end, because its choices stand in the MIS."""

SECRETS: Mapping[str, str] = MappingProxyType(
    {"kiva.client_secret": "kiva-client-secret", "mis.password": "mis-password", "outbox.password": "outbox-password"}
)
"""The settings whose answers are secrets, and the file of each in the folder `secret`."""
