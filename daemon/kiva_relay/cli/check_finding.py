"""One line of `kiva-relay check`."""

from typing import Literal

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.words.spoken import marked

ABOUT = {
    "configuration": marked("configuration"),
    "secrets": marked("secrets"),
    "mappings": marked("mappings"),
    "examples": marked("examples"),
    "MIS": marked("MIS"),
    "grants": marked("grants"),
    "clocks": marked("clocks"),
    "changes": marked("changes"),
    "sending": marked("sending"),
    "stamps": marked("stamps"),
    "outbox": marked("outbox"),
    "witness": marked("witness"),
    "replicas": marked("replicas"),
    "lease": marked("lease"),
    "relay": marked("relay"),
    "backup": marked("backup"),
    "certificates": marked("certificates"),
    "unit": marked("unit"),
    "mail": marked("mail"),
}
"""What a line is about, in words; in JSON it stays as it is."""


@dataclass(frozen=True)
class CheckFinding:
    """One line of `check`: a word (ok, warning, error, off), what it is about, and sentences, remedies indented.

    `unreachable` marks an error that may be over by itself.
    """

    word: Literal["ok", "warning", "error", "off"]
    about: str
    text: str
    unreachable: bool = False


def is_over_by_itself(error: errors.RelayError) -> bool:
    """Whether a server is away; one that answers and refuses us waits for a person."""
    return isinstance(error, errors.Unreachable) and not isinstance(error, errors.Denied)


def failed(about: str, error: errors.RelayError) -> CheckFinding:
    """A finding out of an error, with what to type next."""
    text = str(error) + "".join(f"\n{line}" for line in (error.hint or "").splitlines())
    return CheckFinding("error", about, text, unreachable=is_over_by_itself(error))
