"""dlt's extract of the tables of the book, by its sqlalchemy backend: what it takes until they are in its files."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import dlt
from dlt.sources.sql_database import sql_database


def main() -> None:
    """Extract, and say how long it took."""
    source = sql_database(
        os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"),
        table_names=["client", "loan", "instalment"],
        backend="sqlalchemy",
    )
    pipeline = dlt.pipeline("book", destination="filesystem", pipelines_dir=str(Path.cwd() / "pipelines"))
    began, cpu = time.perf_counter(), time.process_time()
    pipeline.extract(source)
    took, used = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": took, "cpu": used, "peak": peak}))


if __name__ == "__main__":
    main()
