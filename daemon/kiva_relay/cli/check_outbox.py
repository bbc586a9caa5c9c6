"""What `check` finds of the outbox: there or not yet, whose it is, how old its tables are, and room to grow."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.cli import check_replicas, frame, nameless_words
from kiva_relay.cli.check_finding import CheckFinding, failed
from kiva_relay.config import hosts
from kiva_relay.config.database import OutboxSettings
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import binding, heartbeat, migration, own_file, table, watermark
from kiva_relay.outbox.database import FREE_BYTES, Outbox
from kiva_relay.service import opening
from kiva_relay.words.spoken import tr

_LITTLE_SPACE = 1 << 30
_POSTGRESQL = 5432
_SERVICE = "kiva-relay"


def outbox(settings: Settings) -> Iterator[CheckFinding]:
    """The outbox: there or not yet, whose it is, and room to grow."""
    file = settings.outbox.file
    if is_the_mis(settings):
        text = tr(
            "outbox.url is the database of the MIS: the relay never writes there. Give the outbox one of its own:"
        )
        own = f"outbox: {{url: {OutboxSettings.model_fields['url'].default}}}"
        yield CheckFinding("error", "outbox", f"{text}\n{own}")
        return
    if remedy := own_file.foreign(file) if file is not None else "":
        text = tr("{file} belongs to another user: the service cannot write it.", file=file)
        yield CheckFinding("error", "outbox", f"{text}\n{remedy}")
        return
    try:
        if file is not None and not _present(file):
            yield _new_file(file)
        else:
            yield from _opened(settings)
    except errors.RelayError as error:
        yield failed("outbox", error)


def is_the_mis(settings: Settings) -> bool:
    """Whether both URLs lead to one database."""
    mis, ours = opening.mis_url(settings), hosts.made(settings.outbox.url, target="read-write")
    if mis.get_backend_name() != ours.get_backend_name():
        return False
    if settings.outbox.file is not None:
        return Path(mis.database or "").resolve() == settings.outbox.file.resolve()
    return mis.database == ours.database and not _addresses(settings.mis.url).isdisjoint(
        _addresses(settings.outbox.url)
    )


def _addresses(url: str) -> set[tuple[str, int]]:
    """Each of its servers, under one name where it is this machine."""
    one = sa.make_url(hosts.single(url))
    found = hosts.of(url) or [(one.host or str(one.query.get("host", "")), str(one.port or ""))]
    return {(_named(host), int(port or _POSTGRESQL)) for host, port in found}


def _named(host: str) -> str:
    alone = host in ("", "localhost", "127.0.0.1", "::1") or host.startswith("/")
    return "" if alone else host.lower()


def _present(file: Path) -> bool:
    try:
        return file.exists()
    except PermissionError:
        raise errors.UsageError(
            f"The outbox {file} belongs to the service and cannot be read by your user.", hint=frame.with_sudo()
        ) from None


def _new_file(file: Path) -> CheckFinding:
    if not file.parent.is_dir():
        return CheckFinding("error", "outbox", f"{_absent(file.parent)}\n{_make(file.parent)}")
    if not _writable(file.parent):
        return CheckFinding("error", "outbox", f"{_closed(file.parent)}\n{frame.with_sudo()}")
    return _with_space(file, tr("new, will be {file}", file=file))


def _absent(folder: Path) -> str:
    return tr("The folder {folder} does not exist.", folder=folder)


def _closed(folder: Path) -> str:
    return tr("{folder} cannot be written by this user.", folder=folder)


def _opened(settings: Settings) -> Iterator[CheckFinding]:
    opened = Outbox(settings.outbox.url, password=settings.outbox.password)
    try:
        with opened.read() as tx:
            schema = migration.present(tx)
        if schema is None:
            yield CheckFinding("ok", "outbox", tr("{url}: empty, `run` makes its tables", url=settings.outbox.url))
            yield from check_replicas.replicas(opened, settings)
            return
        if schema != migration.revisions()[-1] and schema in migration.revisions():
            newest = migration.revisions()[-1]
            how = tr("`run` brings it up to date, after a copy") if opened.is_file else migration.how(opened)
            text = tr("schema {schema}, this version needs {newest}", schema=schema, newest=newest)
            yield CheckFinding("warning", "outbox", f"{text}\n{how}")
            return
        migration.check(opened)
        with opened.read() as tx:
            binding.check_destination(tx, settings)
            entries = tx.execute(sa.select(sa.func.count()).select_from(table.entry)).scalar_one()
            beat = heartbeat.read(tx)
            nameless = nameless_words.known(tx, watermark.watermarks(tx))
        place = settings.outbox.file or settings.outbox.url
        text = tr("{place}: {n} entry", "{place}: {n} entries", n=entries, place=place)
        yield CheckFinding("ok", "outbox", text) if not opened.is_file else _with_space(opened.path, text)
        yield from check_replicas.replicas(opened, settings)
        for name, why in {} if beat is None else beat.stopped_streams.items():
            text = tr("The running relay does not read the mapping {name}: {why}", name=name, why=why)
            yield CheckFinding("error", "relay", f"{text}\nkiva-relay mapping check")
        for name, found in nameless.items():
            text = "\n".join([nameless_words.sentence(name, found), *nameless_words.lines(found)])
            yield CheckFinding("error", "relay", text)
    finally:
        opened.close()


def _with_space(file: Path, text: str) -> CheckFinding:
    free = shutil.disk_usage(file.parent).free
    if free < FREE_BYTES:
        left = f"{free / (1 << 20):,.1f}"
        told = tr(
            "{text}; {free} MB free, and below {least} MB nothing is sent", text=text, free=left, least=FREE_BYTES >> 20
        )
        return CheckFinding("error", "outbox", f"{told}\ndf -h {file.parent}")
    if free < _LITTLE_SPACE:
        told = tr("{text}; only {free} MB free", text=text, free=round(free / (1 << 20)))
        return CheckFinding("warning", "outbox", f"{told}\ndf -h {file.parent}")
    return CheckFinding("ok", "outbox", tr("{text}; {free} GB free", text=text, free=round(free / (1 << 30))))


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def _make(folder: Path) -> str:
    return f"sudo install -d -o {_SERVICE} -m 0700 {folder}"
