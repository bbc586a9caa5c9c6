"""drt's project for the comparison: writes it into the folder that it is started in, and runs `drt run`.

As its documentation shows: a profile of the database, a sync of the REST destination with a template of the body, its
own retries (three, a second apart at first). Its limit of ten requests a second is lifted; each tool has its limit off.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

BATCH = int(os.environ.get("BATCH", "1"))
PATHS = {1: "/v3/partner/123/loan_draft"}


def main() -> None:
    """Write it, and run it."""
    at, most = urlsplit(os.environ["DATABASE_URL"]), int(os.environ["NUMBER"])
    profile = {
        "type": "postgres",
        "host": at.hostname,
        "port": at.port or 5432,
        "dbname": at.path.lstrip("/"),
        "user": at.username,
        "password": at.password or "none",
    }
    destination: dict[str, object] = {
        "type": "rest_api",
        "url": os.environ["SINK_URL"] + PATHS.get(BATCH, "/v3/partner/123/repayments"),
        "method": "POST",
        "headers": {"Content-Type": "application/json", "Authorization": "Bearer t"},
    }
    if BATCH == 1:
        destination |= {"body_template": "{{ row.body }}"}
        model = f"SELECT id, account, body FROM draft WHERE id <= {most} ORDER BY id"
    else:
        each = '{"loan_id": {{ row.loan_id | tojson_safe }}, "amount": {{ row.amount }}}'
        template = '{"repayments": [{% for row in rows %}' + each + "{{ ',' if not loop.last }}{% endfor %}]}"
        destination |= {"body_mode": "batch", "batch_template": template, "max_records_per_request": BATCH}
        model = f'SELECT id, loan_id, amount FROM "position" WHERE id <= {most} ORDER BY id'
    sync = {
        "name": "kiva",
        "model": model,
        "destination": destination,
        "sync": {
            "mode": "incremental",
            "cursor_field": "id",
            "batch_size": max(BATCH, 100),
            "rate_limit": {"requests_per_second": 1_000_000},
            "on_error": "skip",
        },
    }
    home = Path.cwd()
    (home / ".drt").mkdir(exist_ok=True)
    (home / "syncs").mkdir(exist_ok=True)
    # JSON is YAML
    (home / ".drt" / "profiles.yml").write_text(json.dumps({"book": profile}), encoding="utf-8")
    (home / "drt_project.yml").write_text(json.dumps({"name": "kiva", "version": "0.1", "profile": "book"}))
    (home / "syncs" / "kiva.yml").write_text(json.dumps(sync), encoding="utf-8")
    typed = [str(Path(sys.executable).with_name("drt")), "run"]
    os.execve(typed[0], typed, {**os.environ, "HOME": str(home), "DO_NOT_TRACK": "1"})


if __name__ == "__main__":
    main()
