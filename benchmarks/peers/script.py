"""A plain script: what many would write. It sends what stands in a view and not in its table `sent`, one by one.

It runs in an environment of its own: psycopg and httpx, one connection each, and three tries when no answer came.
"""

from __future__ import annotations

import json
import os
import time

import httpx
import psycopg

TRIES = 3
BATCH = int(os.environ.get("BATCH", "1"))


def post(kiva: httpx.Client, path: str, body: str) -> None:
    """Send, and again after a second when no answer came."""
    for attempt in range(1, TRIES + 1):
        try:
            kiva.post(path, content=body.encode()).raise_for_status()
        except httpx.TransportError:
            if attempt == TRIES:
                raise
            time.sleep(1)
        else:
            return


def main() -> None:
    """Send all that was not sent."""
    most = int(os.environ["NUMBER"])
    headers = {"Content-Type": "application/json", "Authorization": "Bearer t"}
    with (
        psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as mis,
        psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as own,
        httpx.Client(base_url=os.environ["SINK_URL"], headers=headers, timeout=150) as kiva,
    ):
        for name in ("sent", "reported"):
            own.execute(f"CREATE TABLE IF NOT EXISTS {name} (account text PRIMARY KEY, at timestamptz DEFAULT now())")
        if BATCH == 1:
            rows = mis.execute(
                "SELECT account, body FROM draft WHERE id <= %s AND account NOT IN (SELECT account FROM sent)"
                " ORDER BY id",
                [most],
            )
            for account, body in rows:
                post(kiva, "/v3/partner/123/loan_draft", body)
                own.execute("INSERT INTO sent (account) VALUES (%s)", [account])
            return
        found = mis.execute('SELECT loan_id, amount FROM "position" WHERE id <= %s ORDER BY id', [most])
        while rows_of := found.fetchmany(BATCH):
            document = {"repayments": [{"loan_id": loan, "amount": amount} for loan, amount in rows_of]}
            post(kiva, "/v3/partner/123/repayments", json.dumps(document))
            own.cursor().executemany("INSERT INTO reported (account) VALUES (%s)", [[loan] for loan, _ in rows_of])


if __name__ == "__main__":
    main()
