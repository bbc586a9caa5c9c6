"""A request as Kiva's support asks for it: a cURL command that says all of it but the token and persons."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kiva_relay import log
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import batch as batches
from kiva_relay.delivery import client
from kiva_relay.resource import body as json_body

MASKED = "***"


def command(resource: str, bodies: Sequence[str | None], kiva: Kiva, *, key: str, shown: Collection[str] = ()) -> str:
    """The POST of these bodies, None where one was deleted meanwhile. `shown`: personal fields that are told anyway."""
    headers = client.said_of_us(kiva) | client.said_of_post(MASKED, key)
    lines = [f"curl --request POST {shlex.quote(kiva.api_url.rstrip('/') + batches.path(resource, kiva))}"]
    lines += [f"--header {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()]
    there = [json_body.encode(_masked(json_body.decode(one.encode()), shown)).decode() for one in bodies if one]
    if there:
        lines.append(f"--data-raw {shlex.quote(batches.request(resource, there, kiva).decode())}")
    return " \\\n  ".join(lines)


def _masked(value: Any, shown: Collection[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            name: MASKED if name.lower() in log.PERSONAL and name not in shown and one else _masked(one, shown)
            for name, one in value.items()
        }
    return [_masked(one, shown) for one in value] if isinstance(value, list) else value
