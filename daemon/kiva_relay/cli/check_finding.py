"""One line of `kiva-relay check`."""

from typing import Literal

from kiva_relay import errors
from kiva_relay.frozen import dataclass


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
