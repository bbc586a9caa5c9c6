"""dlt as a reverse ETL: a custom destination that posts what `sql_table` reads. One run of a pipeline.

As its documentation says: `batch_size` items a call of the function, loading in sequence because the order counts, and
dlt's own retries of a package. `requests` is its own HTTP client with retries for what a server says and for no answer.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dlt
from dlt.sources.helpers import requests
from dlt.sources.sql_database import sql_table

BATCH = int(os.environ.get("BATCH", "1"))
SINK = os.environ["SINK_URL"]
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer t"}
PATHS = {"draft": "/v3/partner/123/loan_draft", "position": "/v3/partner/123/repayments"}
client = requests.Client(request_timeout=150)


@dlt.destination(batch_size=BATCH, loader_parallelism_strategy="sequential", name="kiva")
def kiva(items: Any, table: Any) -> None:
    """Post them."""
    if table["name"] == "draft":
        for item in items:
            client.post(SINK + PATHS["draft"], data=item["body"].encode(), headers=HEADERS)
        return
    rows = [{"loan_id": item["loan_id"], "amount": item["amount"]} for item in items]
    client.post(SINK + PATHS["position"], json={"repayments": rows}, headers=HEADERS)


def main() -> None:
    """Read, and post."""
    most, view = int(os.environ["NUMBER"]), "draft" if BATCH == 1 else "position"
    table = sql_table(
        os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"),
        table=view,
        backend="sqlalchemy",
        query_adapter_callback=lambda query, its: query.where(its.c.id <= most).order_by(its.c.id),
    )
    pipeline = dlt.pipeline("kiva", destination=kiva, pipelines_dir=str(Path.cwd() / "pipelines"))
    if pipeline.has_pending_data:  # after a kill: first what was under way
        pipeline.load()
        return
    pipeline.run(table, table_name=view)


if __name__ == "__main__":
    main()
