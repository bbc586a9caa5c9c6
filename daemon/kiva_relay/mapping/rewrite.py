"""The line to write instead of one that YAML, or the language of expressions, takes for something else."""

from __future__ import annotations

import json
import re

_CHOOSE = re.compile(r"^(?P<source>[^|]+?)\s*\|\s*choose\(\s*\{(?P<codes>[^}]*)\}\s*(?:,(?P<otherwise>[^)]*))?\)$")
_EXPRESSION = re.compile(r"[|~()\[\]{}'\"]|\b(?:or|and|if|else)\b|[-+]\s")
_DEFAULT = re.compile(r"\s*\|\s*d(?:efault)?\(\s*([^(),]+?)\s*(?:,[^()]*)?\)")
_WORDS = re.compile(r"^[^|~()\[\]{}]+$")
_COMPUTED = re.compile(r"\s[-+*/]\s|\b(?:or|and|if|else|CASE|WHEN|THEN|SELECT|NULL)\b|==|<|>")
_SECOND_COLON = re.compile(
    r"(?P<key>[\w\-]+:\s+)(?P<words>[^\s,{}\[\]'\"][^,{}\[\]'\"]*:\s[^,{}\[\]'\"]*?)(?=\s*[,}\]])"
)
_CLOSING = {"{": "}", "[": "]"}
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"")

TYPOGRAPHIC = "“”„«»‘’"  # noqa: RUF001 - these are meant
"""Quotes of a word processor: to YAML they are letters."""


def quoted(key: str, value: str) -> str:
    """The line with its value between quotes that YAML takes away again; Jinja's `default` is our `or`."""
    value = _DEFAULT.sub(r" or \1", value)
    if '"' not in value:
        return f'{key}: "{value}"'
    return f"{key}: '" + value.replace("'", "''") + "'"


def words(key: str, text: str) -> str:
    """The line that sends these very words."""
    return f"{key}: {{text: {json.dumps(text.strip(TYPOGRAPHIC), ensure_ascii=False)}}}"


def meant(key: str, value: str) -> str:
    """The line for a value that is an expression, or else these very words."""
    return quoted(key, value) if _EXPRESSION.search(value) else words(key, value.strip("'\""))


def looks_like_words(text: str) -> bool:
    """Whether a text that is no expression was meant to be sent as it is."""
    return bool(_WORDS.match(text.strip("'\""))) and not _COMPUTED.search(text)


def with_colon(key: str, value: str) -> str:
    """The line for a value in which YAML sees a second colon."""
    chosen = _CHOOSE.match(value)
    if chosen:
        codes = ", ".join(part.replace("'", "").replace('"', "").strip() for part in chosen["codes"].split(","))
        otherwise = (chosen["otherwise"] or "refuse").split("=")[-1].strip().strip("'\"")
        return f"{key}: {{from: {chosen['source']}, choose: {{{codes}}}, else: {otherwise}}}"
    if value[0] != "{":
        return meant(key, value)
    whole = _SECOND_COLON.sub(lambda part: part["key"] + json.dumps(part["words"], ensure_ascii=False), value)
    return f"{key}: {whole}" if whole != value else "put the text with the colon between double quotes"


def closed(text: str) -> str:
    """The text with the brackets that it lacks at its end."""
    return text.rstrip().rstrip(",") + "".join(_CLOSING[bracket] for bracket in reversed(brackets(text)))


def brackets(text: str) -> list[str]:
    """The brackets that are open at the end of the text; those between quotes do not count."""
    found: list[str] = []
    for letter in _QUOTED.sub("", text):
        if letter in _CLOSING:
            found.append(letter)
        elif found and letter == _CLOSING[found[-1]]:
            found.pop()
    return found


def without_quoted(text: str) -> str:
    """The text without what stands between quotes."""
    return _QUOTED.sub("", text)
