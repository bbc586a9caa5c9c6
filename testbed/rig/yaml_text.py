"""YAML for tests: JSON is YAML."""

import json
from typing import Any


def of(value: Any) -> str:
    """A value as a YAML document."""
    return json.dumps(value, indent=1, default=str, ensure_ascii=False)
