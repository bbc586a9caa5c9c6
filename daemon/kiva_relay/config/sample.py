"""The complete config.yaml, written from the settings: what each one does, its default, and an example."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import time, timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kiva_relay.config import duration, settings
from kiva_relay.config.repayments import MonthDay
from kiva_relay.config.settings import Settings

_WIDTH = 100
_HEAD = """\
# The settings of kiva-relay, all of them.   /etc/kiva-relay/config.yaml
#
# A line that begins with # and no space shows a default: take the # away to change it. What has no #
# must be set. Lengths of time carry their unit: 500ms, 30s, 15m, 6h, 2d. A key can also be given by
# the environment: KIVA_RELAY_MIS__POLL_EVERY=5s for mis.poll_every.
#
#   kiva-relay check       shows every mistake at once, and what to write instead
#   kiva-relay reload      makes changes take effect
"""


def render() -> str:
    """The sample; as it stands it is a valid configuration, pointing to the sandbox."""
    return "\n".join([_HEAD, *_group(Settings, "")]).rstrip() + "\n"


def _group(model: type[BaseModel], margin: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = settings.section_of(field)
        yield from _prose(field, margin)
        if inner is None:
            yield from _setting(name, field, margin)
        else:
            yield f"{margin}{name}:"
            yield from _group(inner, margin + "  ")
        if not margin:
            yield ""


def _prose(field: FieldInfo, margin: str) -> Iterator[str]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    where = str(extra.get("where", ""))
    text = f"{field.description} [{where}]" if where.startswith("PA2") else str(field.description)
    for line in textwrap.wrap(text, _WIDTH - len(margin) - 2, break_long_words=False, break_on_hyphens=False):
        yield f"{margin}# {line}"


def _setting(name: str, field: FieldInfo, margin: str) -> Iterator[str]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    example = str(extra.get("example", ""))
    if field.is_required():
        yield f"{margin}{name}: {example}"
    elif field.default is None or field.default_factory is not None:
        yield f"{margin}#{name}: {example}   # an example; not set by default"
    else:
        yield f"{margin}#{name}: {written_as(field.default)}"


def written_as(value: Any) -> str:
    """A default as a person would write it."""
    match value:
        case bool():
            return str(value).lower()
        case timedelta():
            return duration.format(value)
        case time():
            return f'"{value:%H:%M}"'
        case tuple():
            return f"[{', '.join(map(written_as, value))}]"
        case MonthDay():
            return f"{{day: {value.day}, at: {written_as(value.at)}}}"
        case float():
            return f"{value:g}"
    return str(value)
