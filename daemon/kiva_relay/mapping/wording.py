"""Texts in several languages, with values of the row in them: `texts: {fr: "… {amount} …", en: "…"}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kiva_relay.frozen import dataclass
from kiva_relay.mapping import function, operation
from kiva_relay.mapping.expression import Expression
from kiva_relay.mapping.function import Refused, Run

# `{{` and `}}` are the brackets themselves, as in Python's own texts.
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


@dataclass(frozen=True)
class Wording:
    """A text for each language, and the expression that says which. `source` is how the language is written."""

    language: Expression
    texts: Mapping[str, tuple[str | Expression, ...]]

    @property
    def source(self) -> str:
        """What it is called where its origin is shown."""
        return f"the text for {self.language.source}"

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions that its expressions use."""
        inside = [part for parts in self.texts.values() for part in parts if isinstance(part, Expression)]
        return tuple(name for each in (self.language, *inside) for name in each.functions)

    def value(self, names: Mapping[str, Any], run: Run) -> str | None:
        """The text in the row's language; NULL when the language or one of its values is NULL.

        Raises Refused for a language without a text.
        """
        language = self.language.value(names, run)
        if language is None:
            return None
        code = function.written(language)
        if code not in self.texts:
            raise Refused("code_unknown", value=code, known=", ".join(self.texts))
        parts = self.texts[code]
        return operation.joined([part.value(names, run) if isinstance(part, Expression) else part for part in parts])


def parts(text: str, parse: Callable[[str, int], Expression | None]) -> tuple[str | Expression, ...]:
    """The parts of a text; `parse` is handed each expression between brackets and how far into the text it is."""
    found: list[str | Expression] = []
    end = 0
    for place in _PLACE.finditer(text):
        found.append(text[end : place.start()])
        end = place.end()
        if place[1] is None:
            found.append(place[0][0])
        elif (expression := parse(place[1], place.start(1))) is not None:
            found.append(expression)
    return tuple(part for part in (*found, text[end:]) if part != "")
