"""`kiva-relay support`: one file for who helps: versions, settings, what was tried. Nothing personal, no secret."""

import importlib.metadata
import io
import os
import platform
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import sqlalchemy as sa
import typer
from sqlalchemy.engine import Connection

from kiva_relay import __version__, errors
from kiva_relay.cli import frame
from kiva_relay.config import concealed
from kiva_relay.config.secret import Secret
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import discrepancy, meta, own_file, query, table

File = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="Where it goes; else kiva-relay-support-DATE.tar.gz, here.")
]

_LIBRARIES = ("sqlalchemy", "psycopg", "PyMySQL", "httpx", "pydantic", "apscheduler", "jinja2", "alembic")
_ATTEMPTS, _REQUESTS = 100, 5
_SECONDS = 180
_LEFT_OUT = ("detail", "problems", "request_sha256")
"""Of an attempt: Kiva's words may quote a name."""
_URLS = ("url", "proxy", "token_url", "api_url", "public_url")


def command(file: File = None, config: frame.Config = None) -> int:
    """Write one bundle (tar.gz, mode 0600) for who helps you: look into it, then send it.

    It holds versions, settings without secrets, `status` and `check`, the last attempts, the last requests that failed
    as cURL with token and persons masked, and how far the clock is off. No names, texts or photos; loan ids, yes.
    """
    settings = frame.load_to_look(config)
    now = frame.now()
    target = file or Path(f"kiva-relay-support-{now:%Y-%m-%d}.tar.gz")
    with frame.working("asking status and check"):
        parts = {**dict(_of_outbox(settings)), **dict(_said(config))}
    shown = _without_secrets(settings.model_dump(warnings=False))
    parts |= {"versions.json": _json(_versions()), "settings.json": _json(shown)}
    _write(target, parts, now=now)
    frame.header(settings)
    frame.say(f"Written: {target.absolute()} ({target.stat().st_size / 1024:,.0f} kB), readable by you alone.")
    for name in sorted(parts):
        frame.say(f"  {name}")
    frame.say("No names, texts, photos, tokens or passwords are in it; loan ids are. Look into it:")
    frame.say(f"  tar -xzOf {target} | less")
    return 0


def _versions() -> dict[str, str]:
    found = {"kiva-relay": __version__, "python": platform.python_version(), "system": platform.platform()}
    found["sqlite"] = sqlite3.sqlite_version
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not there"
    return found


def _without_secrets(value: Any, name: str = "") -> Any:
    """Settings, as a bundle may show them: of an address without what may be a password."""
    if isinstance(value, Mapping):
        return {str(key): _without_secrets(one, str(key)) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_without_secrets(one, name) for one in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, Secret):
        return "…"
    text = str(value)
    return concealed.url(text) if name in _URLS or "://" in text else text


def _said(config: Path | None) -> Iterator[tuple[str, str]]:
    """What commands say that a helper would ask for, each in a process of its own: one that fails takes no other."""
    where = [] if config is None else ["--config", str(config)]
    for name in ("status", "check", "mapping list"):
        given = [sys.executable, "-m", "kiva_relay", *name.split(), *where, "--json"]
        try:
            done = subprocess.run(given, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - our own
            text = f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}\n"
        except subprocess.TimeoutExpired:
            text = f"it took longer than {_SECONDS} seconds\n"
        yield f"{name.replace(' ', '-')}.txt", text


def _of_outbox(settings: Settings) -> Iterator[tuple[str, str]]:
    try:
        with frame.outbox(settings) as outbox, outbox.read() as tx:
            yield "attempts.json", _json(_attempts(tx))
            yield "requests.txt", "\n\n".join(_requests(tx, settings))
            known, compared = meta.KIVA_TIME.get(tx), meta.RECONCILED.get(tx)
            facts = {"clock": None if known is None else asdict(known), "outbox_bytes": outbox.size()}
            facts["reconciled"] = None if compared is None else asdict(compared)
            yield "facts.json", _json(facts | {"differences": discrepancy.numbers(tx)})
    except errors.RelayError as error:
        yield "outbox.txt", f"{error}\n{error.hint or ''}\n"


def _attempts(tx: Connection) -> list[dict[str, Any]]:
    shown = [column for column in table.attempt.c if column.name not in _LEFT_OUT]
    rows = tx.execute(sa.select(*shown).order_by(table.attempt.c.id.desc()).limit(_ATTEMPTS))
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def _requests(tx: Connection, settings: Settings) -> Iterator[str]:
    """The last requests that went wrong, as Kiva's support asks for them."""
    from kiva_relay.delivery import batch, curl  # noqa: PLC0415 - what sends takes long to import

    columns = table.attempt.c
    failed = columns.outcome.in_(["refused", "in_doubt", "not_processed"])
    rows = tx.execute(sa.select(table.attempt).where(failed).order_by(columns.id.desc()).limit(_REQUESTS)).all()
    for row in rows:
        together = query.members(tx, row.batch_id)
        key = batch.key(meta.OUTBOX_ID.get(tx) or "", row.id)
        said = f"# attempt {row.id}, begun {row.started_at:%Y-%m-%d %H:%M:%S} UTC: {row.outcome}, status {row.status}"
        yield f"{said}\n{curl.command(row.resource, [one.body for one in together], settings.kiva, key=key)}"


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode()


def _write(target: Path, parts: Mapping[str, str], *, now: datetime) -> None:
    try:
        descriptor = own_file.opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError as error:
        raise errors.UsageError(
            f"{target} is there already. Nothing was written.", hint="Name another file."
        ) from error
    except OSError as error:
        raise errors.UsageError(f"{target} cannot be written: {error.strerror}.", hint="Name another file.") from error
    with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as bundle:
        for name, text in sorted(parts.items()):
            content = text.encode()
            entry = tarfile.TarInfo(f"kiva-relay-support/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(now.timestamp()), 0o600
            bundle.addfile(entry, io.BytesIO(content))
