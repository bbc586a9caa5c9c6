"""One line of `kiva-relay check`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of `check`: a word (ok, warning, error, off), what it is about, and sentences, remedies indented.

    `unreachable` marks an error that may be over by itself.
    """

    word: Literal["ok", "warning", "error", "off"]
    about: str
    text: str
    unreachable: bool = False
