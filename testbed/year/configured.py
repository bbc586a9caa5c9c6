"""The configuration of a relay that only reports: Fineract's ready-made mappings, Kiva's stand-in, an outbox in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.institution.branch import KIVA_FUND
from testbed.rig import yaml_text


def write(
    folder: Path, *, mis_url: str, mis_zone: str, kiva_url: str, repayments: Mapping[str, Any], columns: int = 2
) -> Path:
    """Write it into a folder; its path. `repayments` is that section of the settings, `columns` of `kiva`."""
    settings: dict[str, Any] = {
        "kiva": {
            "environment": "sandbox",
            "partner_id": "123",
            "client_id": "relay",
            "client_secret": "s3cr3t",
            "token_url": f"{kiva_url}/oauth/token",
            "api_url": kiva_url,
            "columns": columns,
        },
        "mis": {"url": mis_url, "timezone": mis_zone, "max_load": 100, "poll_every": "1s"},
        "mappings": "fineract",
        "parameters": {"kiva_fund": KIVA_FUND},
        "resources": ["repayment"],
        "loan_drafts": {"since": "all"},
        "journals": {"since": "all"},
        "repayments": dict(repayments),
        "delivery": {"brake": 100_000},
        "outbox": {"url": f"sqlite:///{folder / 'outbox.db'}"},
        "metrics": {"listen": "off"},
    }
    path = folder / "config.yaml"
    path.write_text(yaml_text.of(settings), encoding="utf-8")
    path.chmod(0o600)
    return path
