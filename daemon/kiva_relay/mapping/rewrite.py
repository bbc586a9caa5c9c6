"""The line to write in a mapping instead of one that YAML, or the language of expressions, takes for something else."""

from __future__ import annotations

import json
import re

from kiva_relay.config import yaml_line
from kiva_relay.config.mistake_report import Writing
from kiva_relay.config.yaml_line import TYPOGRAPHIC
from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.mapping.plan import LONG_FORM

_CHOOSE = re.compile(r"^(?P<source>[^|]+?)\s*\|\s*choose\(\s*\{(?P<codes>[^}]*)\}\s*(?:,(?P<otherwise>[^)]*))?\)$")
_EXPRESSION = re.compile(r"[|~()\[\]{}'\"]|\b(?:or|and|if|else)\b|[-+]\s")
_DEFAULT = re.compile(r"\s*\|\s*d(?:efault)?\(\s*([^(),]+?)\s*(?:,[^()]*)?\)")
_WORDS = re.compile(r"^[^|~()\[\]{}]+$")
_COMPUTED = re.compile(r"\s[-+*/]\s|\b(?:or|and|if|else|CASE|WHEN|THEN|SELECT|NULL)\b|==|<|>")
_SWITCHES = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def words(key: str, text: str) -> str:
    """The line that sends these very words."""
    return f"{key}: {{text: {json.dumps(text.strip(TYPOGRAPHIC), ensure_ascii=False)}}}"


def line(keys: tuple[str, ...], value: str) -> str:
    """The line for a value that YAML takes for something else.

    A field of Kiva's is an expression, or else these very words; any other value, and a part of the long form, stands
    between quotes.
    """
    key = keys[-1]
    field = keys[0] == "fields" and not set(keys[1:]) & set(LONG_FORM)
    chosen = _CHOOSE.match(value)
    if field and chosen:
        codes = ", ".join(part.replace("'", "").replace('"', "").strip() for part in chosen["codes"].split(","))
        otherwise = (chosen["otherwise"] or "refuse").split("=")[-1].strip().strip("'\"")
        return f"{key}: {{from: {chosen['source']}, choose: {{{codes}}}, else: {otherwise}}}"
    if field and not _EXPRESSION.search(value):
        return words(key, value.strip("'\""))
    # Jinja's `default` is our `or`.
    return yaml_line.quoted(keys, _DEFAULT.sub(r" or \1", value))


def looks_like_words(text: str) -> bool:
    """Whether a text that is no expression was meant to be sent as it is."""
    return bool(_WORDS.match(text.strip("'\""))) and not _COMPUTED.search(text)


def switch(scalar: YamlTree) -> str | None:
    """`true` or `false` for `yes`, `no` and their like, which are words in YAML 1.2; None for anything else."""
    return None if scalar.quoted else _SWITCHES.get(scalar.text.lower())


MAPPING = Writing(line)
