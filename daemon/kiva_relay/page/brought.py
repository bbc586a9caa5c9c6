"""What a form or an address brings: texts by their names, each once."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

_MOST_FIELDS = 40


async def form(request: Request) -> dict[str, str]:
    """The fields of a form, each once."""
    try:
        body = await request.body()
    except ClientDisconnect:
        return {}
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return {}
    return without_zero(dict(fields))


def without_zero(fields: Mapping[str, str]) -> dict[str, str]:
    """No text of a database holds the letter zero, and PostgreSQL takes none."""
    return {name: text.replace("\0", "") for name, text in fields.items()}
