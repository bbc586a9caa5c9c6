"""How a task is said on the page, where she answers by a button and has nobody to tell."""

from __future__ import annotations

from typing import ClassVar

from kiva_relay.frozen import dataclass
from kiva_relay.words.language import Language

_INSTEAD = {
    "task.look.ask": "task.look.here",
    "task.call.ask": "task.call.here",
    "task.same.ask": "",
    "task.twin.ask": "",
    "task.delete.done": "",
    "task.done": "",
    "task.type.do": "task.type.here",
    "task.changed.again": "",
    "task.decide.do": "",
    "task.confirm.done": "",
    "task.apart.done": "",
    "task.rest.except": "task.rest.except_here",
}
"""What is said in place of a sentence that ends with "tell the administrator"; empty where the button says it."""


@dataclass(frozen=True)
class PageLanguage(Language):
    """A language, spoken beside buttons."""

    has_buttons: ClassVar[bool] = True

    def say(self, code: str, /, **params: str | int) -> str:
        """The sentence of a code; another one where a button answers, or none."""
        instead = _INSTEAD.get(code, code)
        return super().say(instead, **params) if instead else ""
